"""What the commands share: results written to files."""

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


def kept(place: Path | None, parts: list[Value], made: Method, columns: int | None = None) -> np.ndarray | list[str]:
    """What was made, written where it is asked for: numbers, or texts."""
    modality = modality_of(parts[0])
    if not modality.tokenized:
        samples = parts[0].cat(parts)
        written(place, samples, columns)
        return modality.numbers(samples).float().numpy()
    tokenizer: Any = next(iter(made.encoders().values())).tokenizer
    if tokenizer is None:
        raise UserError("this run was trained on tokens, and cannot say what they stand for", hint="use trained_method(run).sample in Python")
    texts = [text for part in parts for text in tokenizer.decode(part)]
    write_texts(place, texts)
    return texts


def write_texts(place: Path | None, texts: Sequence[str]) -> None:
    """One a line."""
    checked(place, ".txt", "texts are written as .txt")
    if place is not None:
        write_whole(place, lambda partial: partial.write_text("".join(f"{' '.join(text.split())}\n" for text in texts)))


def checked(path: str | Path | None, suffix: str, what: str) -> None:
    if path is not None and Path(path).suffix.lower() != suffix:
        raise UserError(what, where=path, hint=f"end it with {suffix}")


def checked_out(out: str | Path | None) -> Path | None:
    if out is not None and Path(out).suffix.lower() not in (".png", ".npy", ".txt"):
        raise UserError("samples are written as .png (pictures), .npy or .txt (texts)", where=out, hint="end --out with one of them")
    return None if out is None else Path(out)


def written(place: Path | None, samples: Value, columns: int | None = None) -> None:
    """Samples as a sheet of pictures or as numbers. UserError for a sheet of what are no pictures."""
    if place is None:
        return
    if place.suffix.lower() == ".txt":
        raise UserError(f"a .txt holds texts, and these are {samples.modality}", where=place, hint="end --out with .npy")
    if place.suffix.lower() == ".npy":
        write_npy(place, modality_of(samples).numbers(samples))
        return
    if not modality_of(samples).visible:
        raise UserError(f"a .png shows pictures, and these are {samples.modality}", where=place, hint="end --out with .npy")
    picture_grid(place, [samples], columns=columns or max(1, min(10, round(len(samples) ** 0.5))))


def write_npy(place: Path, numbers: Tensor) -> None:
    def save(partial: Path) -> None:
        with open(partial, "wb") as stream:
            np.save(stream, numbers.float().numpy())

    write_whole(place, save)
