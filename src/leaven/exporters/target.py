"""What every target offers, and how an encoder leaves: written beside, read again, compared, and only then put in place."""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.run import write_whole, writing

BATCHES = (1, 3, 17)
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Difference:
    """The largest difference between the features of what was written and those of the encoder, on random input in batches of 1, 3 and 17.

    absolute: in units of the features. relative: as a share of the largest feature.
    """

    absolute: float
    relative: float


@dataclass(frozen=True)
class Exported:
    """What was written: where, in which form, how many parameters the encoder has, and how long a feature vector is."""

    out: Path
    to: str
    count: int
    dim: int
    difference: Difference

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "out": str(self.out)}


class Target(ABC):
    """A form that other programs read.

    suffix: the ending of its file; "" where it is a folder. Keyword-only arguments of `__init__` are settings (`--set`).
    """

    suffix: ClassVar[str] = ""

    def unfit(self, encoder: Encoder) -> str:
        """Why this encoder cannot be written, and what to do instead; "" where it can."""
        return ""

    @abstractmethod
    def write(self, encoder: Encoder, out: Path) -> None:
        """Write an encoder in eval mode to a file or a folder that is not there yet."""

    @abstractmethod
    def read(self, out: Path) -> Callable[[Tensor], Tensor]:
        """What was written, as a function from raw input (as `Modality.example` gives it) to features; it uses nothing of the encoder."""

    def compared(self, encoder: Encoder) -> Callable[[Tensor], Tensor]:
        """What must give the same as the function that `read` returns."""
        return of_files(encoder)

    def export(self, encoder: Encoder, out: Path, *, replace: bool = False) -> Difference:
        """Put an encoder at `out`, complete and compared, or leave what is there as it is.

        replace: whether a folder that is already there gives way (a file of the right ending always does).
        Raises UserError where the encoder does not fit, the place is taken, or the features differ by more than 1e-4 of the largest.
        """
        if self.suffix and out.suffix != self.suffix:
            raise UserError(f"this is written as {self.suffix}", where=out, hint=f"end --out with {self.suffix}")
        if out.exists() and out.is_file() != bool(self.suffix):
            raise UserError("there is a file here" if out.is_file() else "there is a folder here", where=out, hint="choose another --out")
        if not self.suffix and out.is_dir() and any(out.iterdir()) and not replace:
            raise UserError("this folder is not empty", where=out, hint="remove it, or choose another --out")
        if why := self.unfit(encoder):
            raise UserError(why)
        differences: list[Difference] = []

        def save(partial: Path) -> None:
            self.write(encoder, partial)
            differences.append(difference(encoder, self.compared(encoder), self.read(partial)))
            if not differences[-1].relative <= TOLERANCE:
                what = f"the written form gives other features (by {differences[-1].relative:.2g} of the largest), so it was not kept"
                raise UserError(what, where=out, hint="export it to another form")

        if self.suffix:
            write_whole(out, save)
        else:
            write_folder(out, save)
        return differences[-1]


class OfFiles(nn.Module):
    """An encoder that takes the numbers of files where these are scaled before it sees them: low becomes 0, high becomes 1."""

    def __init__(self, encoder: nn.Module, low: float, high: float):
        super().__init__()
        self.encoder, self.low, self.high = encoder, low, high

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.encoder(((x - self.low) / (self.high - self.low)).clamp(0, 1))
        return features


def of_files(encoder: Encoder) -> nn.Module:
    """The encoder as what is exported: from the numbers of files to features."""
    edges = encoder.modality.file_range(encoder.input)
    return encoder if edges is None else OfFiles(encoder, *edges)


@torch.no_grad()
def difference(encoder: Encoder, kept: Callable[[Tensor], Tensor], read: Callable[[Tensor], Tensor]) -> Difference:
    """How far two functions from the raw input of an encoder to features are from each other."""
    generator = torch.Generator().manual_seed(0)
    batches = [encoder.modality.example(encoder.input, count, generator) for count in BATCHES]
    ours, theirs = (torch.cat([features(batch) for batch in batches]) for features in (kept, read))
    absolute = (ours - theirs).abs().max()
    return Difference(absolute.item(), (absolute / ours.abs().max()).item() if absolute else 0.0)


def write_folder(path: Path, save: Callable[[Path], object]) -> None:
    """Call save(temporary path), which makes a folder there, and put it in place only when it is complete; the old one stays until then."""
    partial, old = (path.with_name(f"{path.name}.{os.getpid()}.{word}") for word in ("partial", "old"))
    try:
        with writing(path.parent):
            save(partial)
            if path.exists():
                os.replace(path, old)
            os.replace(partial, path)
    finally:
        if old.exists() and not path.exists():
            os.replace(old, path)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
