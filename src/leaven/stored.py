"""What the files of a run's folder may hold. They may come from anybody, so they are checked as typed values before anything is built from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, NotRequired

from annotated_types import Ge, Interval, Len
from typing_extensions import TypedDict  # pydantic reads those of `typing` from Python 3.12 on

from leaven.errors import UserError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MOST_BYTES = 2**28  # of a file of JSON
Count = Annotated[int, Interval(ge=0, le=10**12)]
Steps = Annotated[int, Interval(ge=0, le=999_999_999)]  # as many digits as the name of a checkpoint has
Positive = Annotated[int, Interval(ge=1, le=10**9)]
Amount = Annotated[float, Ge(0)]
Size = Annotated[int, Interval(ge=1, le=2**24)]


class Column(TypedDict):
    """How a column of a table was read."""

    column: str
    median: NotRequired[list[float]]
    categories: NotRequired[list[str]]


class Reading(TypedDict):
    """How files were read."""

    table: NotRequired[list[Column]]
    pages: NotRequired[str]
    background: NotRequired[str]
    range: NotRequired[Annotated[list[float], Len(2, 2)]]


class Input(TypedDict):
    """An `InputSpec`."""

    modality: str
    shape: Annotated[list[Size], Len(0, 3)]
    mean: NotRequired[list[float]]
    std: NotRequired[list[Annotated[float, Ge(0)]]]
    range: NotRequired[Annotated[list[float], Len(2, 2)] | None]
    vocabulary: NotRequired[Size | None]
    special: NotRequired[dict[str, Annotated[int, Interval(ge=0, le=2**24)]]]
    rate: NotRequired[Annotated[float, Interval(gt=0, le=1e9)] | None]
    reading: NotRequired[Reading]


class Described(TypedDict):
    """What an encoder is built from."""

    name: str
    arguments: dict[str, Any]
    input: Input


class Kept(TypedDict):
    """The same of what a method keeps: networks of its own do not say what they read."""

    library: str
    name: str
    arguments: dict[str, Any]
    input: NotRequired[Input]


class Spec(TypedDict):
    """A `DataSpec`."""

    samples: Count
    roles: dict[str, Input]
    classes: Count
    labeled: Count
    class_names: list[str]
    tag_names: NotRequired[list[str]]


class Data(TypedDict):
    name: str
    fingerprint: str
    spec: Spec


class Kind(TypedDict):
    name: str
    hyperparameters: dict[str, Any]


class Length(TypedDict):
    budget: Amount | None
    steps: Count | None
    epochs: Amount | None


class Asked(TypedDict):
    """What determines the result of a training."""

    method: Kind
    recipe: dict[str, Any]
    encoder: dict[str, Kept]
    given: NotRequired[dict[str, Described]]
    data: Data
    length: Length
    seed: int
    precision: str
    accumulate: Positive
    start: NotRequired[dict[str, Any] | None]
    teacher: NotRequired[dict[str, str]]
    labels: NotRequired[dict[str, Any]]
    tokenizer: NotRequired[dict[str, Any]]


class Planned(TypedDict):
    """A `Plan`."""

    steps: Steps
    batch: Positive
    budget: Amount | None
    changes: list[Annotated[list[Steps], Len(2, 2)]]


class Verdict(TypedDict):
    verdict: str
    why: str
    since_step: Steps
    until_step: NotRequired[Steps | None]


class Result(TypedDict):
    steps: Steps
    samples: Count
    seconds: Amount
    samples_per_second: Amount
    time_split: dict[str, Amount]
    cpu_seconds: NotRequired[Amount]
    peak_memory: NotRequired[Count | None]
    health: list[Verdict]


class Stopped(TypedDict):
    step: Steps
    health: list[Verdict]


class Choice(TypedDict):
    what: str
    value: Any
    why: str


class Config(TypedDict):
    """The config.json of a run."""

    format: Literal[1]
    leaven: NotRequired[str]
    versions: dict[str, str]
    machine: dict[str, Any]
    command: list[str]
    asked: Asked
    start: NotRequired[str | dict[str, str] | None]
    start_role: NotRequired[str | dict[str, str | None] | None]
    choices: list[Choice]
    plan: Planned
    result: Result | None
    stopped: NotRequired[Stopped]


class Times(TypedDict):
    parts: dict[str, Amount]
    processor: Amount | None


class State(TypedDict):
    """What all checkpoints hold, beside the states of parts that check their own."""

    step: Steps
    stage: Annotated[int, Interval(ge=0, le=10**4)]
    stage_start: Steps
    method: dict[str, Any]
    times: Times


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError where it is not there, not whole, too large to be Leaven's, or holds what is no number."""
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            content = json.loads(path.read_text(), parse_constant=no_number)
            if isinstance(content, dict):
                return content
    raise UserError(f"{path.name} is not whole", where=path.parent, hint="start again in another folder with --out")


@contextmanager
def building(where: Path) -> Iterator[None]:
    """Values of the right types may still describe nothing that can be built. Raises UserError then."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError, AssertionError) as error:
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"nothing can be built as described here: {why[0]}", where=where, hint="take a whole copy of the run") from None


def no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def checked(content: dict[str, Any], kind: Any, path: Path) -> dict[str, Any]:
    """What a file holds, if that is of this kind. Raises UserError that names the first fault."""
    from pydantic import ValidationError

    try:
        validator(kind).validate_python(content, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        what = f"{path.name} is not as Leaven wrote it: {'.'.join(map(str, fault['loc']))}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
        raise UserError(what, where=path.parent, hint="take a whole copy of the run, or train again with another --out") from None
    return content


@cache
def validator(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
