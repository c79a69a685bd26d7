"""Every protocol by its name, and how one is configured."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leaven.errors import UserError, unknown_name
from leaven.evaluation import protocols
from leaven.evaluation.protocol import PROTOCOLS, Protocol, Result, Trial, share_cell
from leaven.evaluation.sentences import AUC, Point
from leaven.evaluation.sentences import percent as share
from leaven.hyperparameters import replace_fields
from leaven.plugin import from_file


@functools.cache
def import_protocols() -> None:
    for module in pkgutil.iter_modules(protocols.__path__):
        importlib.import_module(f"{protocols.__name__}.{module.name}")


def registry() -> dict[str, type[Protocol]]:
    """Leaven's protocols and those that the user has defined in this process, by name."""
    import_protocols()
    return dict(sorted(PROTOCOLS.items()))


def frozen_protocols() -> list[str]:
    """Those that only need features and labels, which `compare` can use."""
    return [name for name, protocol in registry().items() if protocol.frozen]


def find_protocol(name: str | type[Protocol]) -> type[Protocol]:
    """A protocol by its name, or a user's own as `path/to/file.py:Class` (which runs that file) or as the class itself."""
    if isinstance(name, str) and ".py:" in name:
        protocol = from_file(name, "--protocol takes names or file.py:Class")
        if not (isinstance(protocol, type) and issubclass(protocol, Protocol)):
            raise UserError(f"{name.rpartition(':')[2]!r} is not a Protocol", where=name, hint="derive it from leaven.evaluation.protocol.Protocol")
        return protocol
    if isinstance(name, type):
        return name
    if name not in registry():
        raise unknown_name("protocol", name, registry(), "leaven protocols")
    return registry()[name]


def address(protocol: type[Protocol]) -> str:
    """By what another process finds a protocol: its name, or `path/to/file.py:Class` of a user's own."""
    if protocol.__module__.startswith(f"{protocols.__name__}."):
        return protocol.name
    return f"{Path(inspect.getfile(protocol)).resolve()}:{protocol.__name__}"


def configured(names: Sequence[str | type[Protocol]], settings: Mapping[str, Any] | None = None) -> list[Protocol]:
    """Protocols with the user's options. settings: {"few-label.counts": (1, 2, 5)}. UserError for options of protocols that are not among them."""
    chosen = {protocol.name: protocol for protocol in map(find_protocol, names)}
    options: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    for setting, value in (settings or {}).items():
        name, _, option = setting.partition(".")
        if name not in chosen:
            find_protocol(name)
            raise UserError(f"{setting} is an option of {name}, which is not used here", hint=f"add it to --protocol, or leave {setting} out")
        options[name][option] = value
    return [replace_fields(protocol(), options[name], name) for name, protocol in chosen.items()]


class Unknown(Protocol):
    """Stands for a protocol that is not defined here (a user's own, read from a scorecard)."""

    headline = "accuracy"

    def __init__(self, name: str):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "title", name)

    def evaluate(self, trial: Trial) -> Result:
        raise unknown_name("protocol", self.name, registry(), "leaven protocols")

    def cell(self, point: Any) -> str:
        return cell(point)


def protocol_of(name: str) -> Protocol:
    """What knows how to show scores of a protocol, with its default options."""
    return registry()[name]() if name in registry() else Unknown(name)


def protocol_title(name: str) -> str:
    return protocol_of(name).title


def measure_of(score: Point) -> str | None:
    """The key of the number that sums up a score of whatever protocol; None where there is none."""
    headlines = (protocol.headline for protocol in registry().values())
    return next((key for key in (score.get("measure"), *headlines, AUC) if key and key in score), None)


def headline(score: Point) -> float:
    """The number that sums up a score: its accuracy, mean average precision, rank correlation, V-measure, ..."""
    return float(score[measure_of(score) or "accuracy"])


def cell(score: Point | None) -> str:
    """A score of whatever protocol with its interval; numbers that sum nothing up are shown by name."""
    if not score:
        return ""
    if (measure := measure_of(score)) is not None:
        return share_cell(score, measure)
    return ", ".join(f"{name} {value:.3g}" for name, value in score.items() if isinstance(value, float))


def percent(score: Point) -> str:
    """84.2 %, from the number that sums a score up."""
    return share(headline(score))
