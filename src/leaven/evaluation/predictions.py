"""Labels for the rest of the data, and how sure each of them is."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float

from leaven.run import write_whole


@dataclass(frozen=True, eq=False)
class Predictions:
    """files: where each sample came from (its row number where there is no file). classes: names by number. probabilities: (samples, classes)."""

    files: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: Float[np.ndarray, "samples classes"]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def labels(self) -> list[str]:
        """The name of the likeliest class of each sample."""
        return [self.classes[number] for number in self.probabilities.argmax(axis=1)]

    @property
    def counts(self) -> dict[str, int]:
        """How many samples each class gets."""
        return dict(zip(self.classes, np.bincount(self.probabilities.argmax(axis=1), minlength=len(self.classes)).tolist(), strict=True))

    @property
    def probability(self) -> Float[np.ndarray, "samples"]:
        """Of the likeliest class."""
        return self.probabilities.max(axis=1)

    @property
    def margin(self) -> Float[np.ndarray, "samples"]:
        """How far the likeliest class is above the next one: near 0 where a label is worth asking for (Scheffer et al. 2001)."""
        highest = np.partition(self.probabilities, -2, axis=1)
        return highest[:, -1] - highest[:, -2]

    def uncertain_first(self) -> Self:
        """The same predictions in the order of their margins, smallest first."""
        order: np.ndarray = self.margin.argsort(kind="stable")
        return type(self)(tuple(self.files[row] for row in order), self.classes, self.probabilities[order])

    def write(self, path: Path) -> None:
        """A csv file: file, label, probability."""
        write_csv(path, ("file", "label", "probability"), zip(self.files, self.labels, (f"{sure:.4f}" for sure in self.probability), strict=True))


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    def save(partial: Path) -> None:
        with open(partial, "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([head, *rows])

    write_whole(path, save)
