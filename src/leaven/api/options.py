"""The options of the public functions: each is declared once, for signatures, help texts, the command line and scikit-learn.

A parameter whose annotation holds an `Option` is an option of the command as well; one that holds only a text is for Python alone. A text beside an
`Option` replaces its help: `out: Annotated[OptionalPath, "A .csv file."]`. Torch is not loaded here, so that help and completion answer at once.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from leaven.console import Progress, Say, quiet  # noqa: F401  signatures name them
from leaven.errors import UserError

if TYPE_CHECKING:
    from leaven.data.rewriting import Rewriter
    from leaven.evaluation.protocol import Protocol
    from leaven.experiments.claim import Claim
    from leaven.methods.method import Method
    from leaven.run import Run

Documented = TypeVar("Documented", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """How a parameter is written on the command line.

    flags: instead of --name. argument: whether it stands without a flag. many: whether it may be repeated. required: on the command line, where
    Python has a default. least, most: the smallest and the largest number. values: some that it may take. names: what completion offers as well
    ("methods", "encoders", "targets", "claims", "data"). read: makes what the function takes from the text, or from the list of texts where `many`,
    and the flag.
    """

    help: str
    flags: tuple[str, ...] = ()
    argument: bool = False
    many: bool = False
    required: bool = False
    least: float | None = None
    most: float | None = None
    environment: str | None = None
    values: tuple[str, ...] = ()
    names: str | None = None
    read: Callable[[Any, str], Any] | None = None


def assignments(pairs: Iterable[str], flag: str) -> dict[str, str]:
    """name=value texts as a dict."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(f"{flag} takes name=value, not {pair!r}")
        values[name.strip()] = value.strip()
    return values


def columns_of(text: str, flag: str) -> dict[str, str]:
    return assignments(text.split(","), flag)


def names_of(text: str, flag: str) -> tuple[str, ...]:
    return tuple(text.split(","))


# --- what is read ---

Data = Annotated[
    Any,
    Option(
        "A folder, file, glob, named data set (cifar10, mnist, ...), demo:digits or demo:shapes; in Python also arrays.", argument=True, names="data"
    ),
]
RunFolder = Annotated["Path | str | Run", Option("The folder that `leaven pretrain` made.", argument=True)]
GeneratorRun = Annotated["Path | str | Run", Option("The run of a method that makes samples of a class.")]
OwnMethod = Annotated[
    "str | type[Method] | None", "The class, or file.py:Class, of a run that your own method made; a run's code is never run by itself."
]
Role = Annotated[str | None, Option("Which of the run's encoders, where it has several.")]
Columns = Annotated[Mapping[str, str] | None, Option("Which column plays which role: role=column,...", read=columns_of)]
Labels = Annotated[
    Any, Option("Where labels are: a column (or first:second of 0 and 1), FILE.csv (file,label), or `folder` (`innermost`, `outermost`).")
]
Groups = Annotated[
    str | None,
    Option(
        "What belongs together, on one side of every split: a column, recording, folder, or a pattern of file names: '{label}_{speaker}_{take}.wav'."
    ),
]
Root = Annotated[Path | str | None, Option("The folder of named data sets.", flags=("--data-root",), environment="LEAVEN_DATA")]
Size = Annotated[int | None, Option("Side of training pictures in pixels.", least=1, most=10_000)]
RewriterName = Annotated["Path | str | Rewriter", Option("A file of synonyms, or file.py:function, which takes a list of texts and returns as many.")]

# --- how to train ---

MethodName = Annotated["str | type[Method]", Option("A name from `leaven methods`, or file.py:Class.", names="methods")]
EncoderName = Annotated[
    "str | Path | Run | Mapping[str, str | Path | Run]",
    Option(
        "auto, a name from `leaven encoders`, a timm or transformers model, or a run or trained model (as --beside) to start from; role=NAME,...",
        values=("auto",),
        names="encoders",
    ),
]
MethodNames = Annotated[
    "str | Sequence[str | type[Method]]", Option("Names from `leaven methods`, separated by commas, or all.", values=("all",), names="methods")
]
ClaimName = Annotated["str | type[Claim]", Option("A name from `leaven claims`.", argument=True, names="claims")]
Jobs = Annotated[int, Option("Trainings that run at a time, each on its share of the CPU cores.", flags=("--jobs", "-j"), least=1)]
Budget = Annotated[str | float | None, Option("How long: 90s, 10m, 2h.")]
Epochs = Annotated[float | None, Option("How long: passes over the data.", least=0)]
Steps = Annotated[int | None, Option("How long: optimiser steps.", least=1)]
Batch = Annotated[int | None, Option("Samples per step, over all devices and micro-batches.", least=1)]
Settings = Annotated[
    Mapping[str, Any] | None,
    Option(
        "A hyper-parameter: name=value; views., recipe. and encoder. reach into parts; pages, background and range say how pictures are read, "
        "rate, window, hop and channels how recordings are, labels and fewest how labels are, split (random, contiguous) how tests are held out.",
        flags=("--set",),
        many=True,
        read=assignments,
    ),
]
Seed = Annotated[int, Option("Seed of everything random.", least=0, most=2**32 - 1)]
Precision = Annotated[str, Option("auto, fp32, bf16 or fp64.", values=("auto", "fp32", "bf16", "fp64"))]
Device = Annotated[str, Option("auto, cpu, cuda or mps.", values=("auto", "cpu", "cuda", "mps"))]
Devices = Annotated[int, Option("Processes (GPUs) that share each batch.", least=1)]
Accumulate = Annotated[int, Option("Micro-batches per step, to save memory.", least=1)]
KeepGoing = Annotated[bool, Option("Go on when a verdict says that going on is useless.")]
AcceptData = Annotated[bool, Option("Go on although the data has changed since the run began.")]
Track = Annotated[Sequence[str], Option("Log to tensorboard or wandb as well. May be repeated.", many=True, values=("tensorboard", "wandb"))]
StreamPolicy = Annotated[
    str | None,
    Option(
        "Samples come in their order, once, through a replay buffer; which of them it keeps: fifo, reservoir or minred (the least redundant).",
        values=("fifo", "reservoir", "minred"),
    ),
]
Buffer = Annotated["str | int | None", Option("How much that buffer holds: samples, or bytes as in 500MB (default: 4096 samples).")]
Fresh = Annotated[int | None, Option("Samples of the stream that arrive before each step (default: an eighth of a batch).", least=1)]
Snapshots = Annotated[int | None, Option("How many encoders are kept on the way, for `leaven evaluate --protocol forgetting`.", least=1, most=999)]
CheckpointSeconds = Annotated[float, "Time between checkpoints."]
Report = Annotated[bool, "Whether to write report.html at the end, which takes some seconds."]

# --- how to score ---

Protocols = Annotated[
    "Sequence[str | type[Protocol]] | None",
    Option(
        "Names from `leaven protocols`, or file.py:Class, separated by commas (default: what suits the run and the data).",
        flags=("--protocol",),
        read=names_of,
        names="protocols",
    ),
]
FrozenProtocols = Annotated[
    Protocols, "Protocols that score features with labels (see `leaven protocols`), or file.py:Class (default: knn and linear, or tags)."
]
ClassNames = Annotated[
    "Path | str | None",
    Option(
        "What classes are called, for a run that compares texts with its other input: a file with a name per line, or a table with a column `name`."
    ),
]
Templates = Annotated[
    "Sequence[str]",
    Option("A sentence in which {} is the name of a class (default: the name alone). May be repeated.", flags=("--templates",), many=True),
]
Judge = Annotated["Path | str | Run | None", Option("The same as --set samples.judge=...")]
KnownFloors = Annotated[Mapping[str, Any] | None, "Floors of another scorecard of the same encoder, data and seed; they are not measured again."]
Beside = Annotated[
    "Sequence[str | Path | Run]",
    Option(
        "A trained model to score beside: timm:NAME, hf:NAME, or the folder of a run, an encoder, or a timm or transformers model. May be repeated.",
        many=True,
    ),
]
ProtocolSettings = Annotated[
    Mapping[str, Any] | None,
    Option(
        "An option of a protocol (`leaven protocols`): few-label.counts=1,2,5; or how labels are read: labels=tags; or how a test part is held out: "
        "split=random (contiguous). May be repeated.",
        flags=("--set",),
        many=True,
        read=assignments,
    ),
]

# --- what is written ---

OptionalPath = Annotated[Path | str | None, Option("Where it is written.")]
RequiredPath = Annotated[Path | str | None, Option("Where it is written.", required=True)]
SamplesOut = Annotated[RequiredPath, "A .png of pictures, a .npy of numbers, or a .txt of texts."]


def option_of(annotation: str, names: Mapping[str, Any]) -> tuple[Any, Option | None, str]:
    """What an annotation says: the type, how the parameter is written on the command line (None: it is for Python alone), and what it means."""
    declared = eval(annotation, dict(names))
    if get_origin(declared) is not Annotated:
        return declared, None, ""
    kind, *notes = get_args(declared)
    option = next((note for note in reversed(notes) if isinstance(note, Option)), None)
    meaning = next((note for note in reversed(notes) if isinstance(note, str)), option.help if option else "")
    return kind, option and replace(option, help=meaning), meaning


def documented(thing: Documented) -> Documented:
    """Add the meaning of each parameter to the docstring of a function or a class, for `help` and notebooks."""
    lines, names = [], vars(sys.modules[thing.__module__])
    for name, parameter in inspect.signature(thing).parameters.items():
        _, _, meaning = option_of(parameter.annotation, names)
        if meaning:
            lines += textwrap.wrap(f"{name}: {meaning}", 140, initial_indent="        ", subsequent_indent="            ")
    thing.__doc__ = f"{(thing.__doc__ or '').rstrip()}\n\n    Parameters:\n" + "\n".join(lines) + "\n    "
    return thing
