"""Samples that a model makes, written to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from leaven.errors import UserError
from leaven.methods.method import Method
from leaven.modalities import Value, modality_of
from leaven.report.contact_sheet import picture_grid
from leaven.run import write_whole


def check_suffix(path: str | Path | None, suffix: str, what: str, flag: str = "--out") -> Path | None:
    """The path. Raises UserError unless it ends in this suffix."""
    if path is not None and Path(path).suffix.lower() != suffix:
        raise UserError(f"{what} written as {suffix}", where=path, hint=f"end {flag} with {suffix}")
    return None if path is None else Path(path)


def check_samples_suffix(out: str | Path | None) -> Path | None:
    if out is not None and Path(out).suffix.lower() not in (".png", ".npy", ".txt"):
        raise UserError("samples are written as .png (pictures), .npy or .txt (texts)", where=out, hint="end --out with one of them")
    return None if out is None else Path(out)


def write_samples(place: Path | None, parts: list[Value], method: Method, columns: int | None = None) -> np.ndarray | list[str]:
    """All samples as numbers or texts, written where a place is given. method: which made them. columns: of a sheet of pictures."""
    modality = modality_of(parts[0])
    if modality.tokenized:
        tokenizer: Any = next(iter(method.encoders().values())).tokenizer
        if tokenizer is None:
            raise UserError("this run was trained on tokens, and cannot say what they stand for", hint="use trained_method(run).sample in Python")
        texts = [text for part in parts for text in tokenizer.decode(part)]
        write_texts(place, texts)
        return texts
    samples = parts[0].cat(parts)
    numbers = modality.numbers(samples)
    if place is not None and place.suffix.lower() == ".npy":
        write_npy(place, numbers)
    elif place is not None and place.suffix.lower() == ".txt":
        raise UserError(f"a .txt holds texts, and these are {samples.modality}", where=place, hint="end --out with .npy")
    elif place is not None:
        if not modality.visible:
            raise UserError(f"a .png shows pictures, and these are {samples.modality}", where=place, hint="end --out with .npy")
        picture_grid(place, [samples], columns=columns or max(1, min(10, round(len(samples) ** 0.5))))
    return numbers.float().numpy()


def write_texts(place: Path | None, texts: Sequence[str]) -> None:
    """One text per line."""
    if check_suffix(place, ".txt", "texts are") is not None:
        write_whole(place, lambda partial: partial.write_text("".join(f"{' '.join(text.split())}\n" for text in texts)))  # type: ignore[arg-type]


def write_npy(place: Path, numbers: Tensor) -> None:
    def save(partial: Path) -> None:
        with open(partial, "wb") as stream:
            np.save(stream, numbers.float().numpy())

    write_whole(place, save)
