"""Samples through a code and back, and how much of them is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from leaven.api import options
from leaven.api.open import open_for
from leaven.api.write import check_samples_suffix, write_npy, write_texts
from leaven.console import Progress, quiet
from leaven.data import DataSet
from leaven.encoders import Encoder
from leaven.evaluation.abilities import open_method, reconstructed
from leaven.modalities import Value
from leaven.report.contact_sheet import picture_grid
from leaven.training.devices import choose_device


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """numbers: (samples, ...) float32. squared_error: the mean over values, on the test split where there is one; that of the mean training sample
    stands beside it as `of_the_mean`. tested: how many samples that is over."""

    numbers: np.ndarray
    squared_error: float
    of_the_mean: float
    tested: int

    def to_dict(self) -> dict[str, Any]:
        return {"count": len(self.numbers), "squared_error": self.squared_error, "of_the_mean": self.of_the_mean, "tested": self.tested}

    def text(self) -> str:
        share = f" ({self.squared_error / self.of_the_mean:.1%} of it)" if self.of_the_mean else ""
        return f"squared error {self.squared_error:.5f} per value on {self.tested:,} samples; the mean sample has {self.of_the_mean:.5f}{share}"


@dataclass(frozen=True, eq=False)
class TextReconstruction:
    """texts: what is written from each code. originals: as the tokeniser knows them. words_kept: share of an original's words that stand in its text
    in their order, on the test split where there is one; that of the next sample's text stands beside it as `of_another`. tested: how many samples
    that is over."""

    texts: list[str]
    originals: list[str]
    words_kept: float
    of_another: float
    tested: int

    def to_dict(self) -> dict[str, Any]:
        scores = {"words_kept": self.words_kept, "of_another": self.of_another, "tested": self.tested}
        return {"count": len(self.texts), **scores, "texts": self.texts}

    def text(self, shown: int = 5) -> str:
        pairs = [line for pair in zip(self.originals[:shown], self.texts, strict=False) for line in zip(("  ", "> "), pair, strict=True)]
        line = f"{self.words_kept:.1%} of the words come back in their order on {self.tested:,} samples; {self.of_another:.1%} from another's code"
        return "\n".join([*map("".join, pairs), line])


@options.documented
def reconstruct(
    run: options.RunFolder,
    data: options.Data,
    *,
    out: Annotated[
        options.OptionalPath, "A .png of the first pictures, each above its reconstruction, a .npy of all, or a .txt with one text per line."
    ] = None,
    role: options.Role = None,
    columns: options.Columns = None,
    method: options.OwnMethod = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    progress: Progress = quiet,
) -> Reconstruction | TextReconstruction:
    """Send each sample through the code and back, and say how much is lost.

    Numbers come with their squared error beside that of the mean sample (counts as shares), texts with the share of their words that come back.
    Raises UserError where the run's method decodes nothing.
    """
    place = check_samples_suffix(out)
    model = open_method(run, "decode", method)
    opened = open_for(run, data, role=role, columns=columns, data_root=data_root, progress=progress)
    encoder, samples = opened.encoder, opened.data
    pairs: list[tuple[Value, Value]] = []
    for pair in reconstructed(model, opened.samples, encoder.input, device=choose_device(device)):
        pairs.append(pair)
        progress("reconstructed", sum(len(original) for original, _ in pairs), len(samples))
    before, after = zip(*pairs, strict=True)
    rows = samples.splits.get("test", torch.arange(len(samples)))
    if encoder.modality.tokenized:
        return of_texts(place, encoder, before, after, rows)
    return of_numbers(place, encoder, before, after, rows, samples)


def of_numbers(
    place: Path | None, encoder: Encoder, before: Sequence[Value], after: Sequence[Value], rows: Tensor, samples: DataSet
) -> Reconstruction:
    x, again = (torch.cat([encoder.modality.compared(part) for part in parts]) for parts in (before, after))
    error, floor = (x[rows] - again[rows]).square().mean().item(), (x[rows] - x[samples.train()].mean(0)).square().mean().item()
    numbers = again.view(len(again), *encoder.input.shape)
    if place is not None and place.suffix.lower() == ".png":
        shown = rows[:20]
        both = [part.view(-1, *encoder.input.shape)[shown] for part in (x, numbers)]
        picture_grid(place, [encoder.modality.of_numbers(part, encoder.input) for part in both], columns=10)
    elif place is not None:
        write_npy(place, numbers)
    return Reconstruction(numbers.numpy(), error, floor, len(rows))


def of_texts(place: Path | None, encoder: Encoder, before: Sequence[Value], after: Sequence[Value], rows: Tensor) -> TextReconstruction:
    tokenizer: Any = encoder.tokenizer
    originals = [text for part in before for text in tokenizer.decode(encoder.in_tokens(part))]  # type: ignore[operator]
    texts = [text for part in after for text in tokenizer.decode(part)]
    write_texts(place, texts)
    tested = rows.tolist()
    kept = [words_kept(originals[row], texts[row]) for row in tested]
    others = [words_kept(originals[row], texts[other]) for row, other in zip(tested, tested[1:] + tested[:1], strict=True)]
    return TextReconstruction(texts, originals, float(np.mean(kept)), float(np.mean(others)), len(tested))


def words_kept(original: str, text: str) -> float:
    """Share of a text's words that stand in another one in their order, by matching the longest runs first."""
    words = original.split()
    return sum(match.size for match in SequenceMatcher(None, words, text.split(), autojunk=False).get_matching_blocks()) / max(1, len(words))
