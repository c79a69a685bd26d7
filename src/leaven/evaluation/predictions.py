"""What a trained method says of each sample: its label, or how likely it is."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float

from leaven.data.labels import TAG_MARKS
from leaven.evaluation.intervals import bootstrap_interval
from leaven.run import write_whole


@dataclass(frozen=True, eq=False)
class Predictions:
    """files: where each sample came from (its row number where there is no file). classes: names by number. probabilities: (samples, classes).
    calibrated: whether labels that were not learned from have set how sure they are."""

    files: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: Float[np.ndarray, "samples classes"]
    calibrated: bool = True

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
        return replace(self, files=tuple(self.files[row] for row in order), probabilities=self.probabilities[order])

    def write(self, path: Path) -> None:
        """A csv file: file, label, probability."""
        write_csv(path, ("file", "label", "probability"), zip(self.files, self.labels, (f"{sure:.4f}" for sure in self.probability), strict=True))


@dataclass(frozen=True, eq=False)
class TagPredictions(Predictions):
    """The same of tags, whose probabilities do not sum to 1: a sample has each tag whose probability reaches the threshold. classes: names of the
    tags."""

    threshold: float = 0.5

    @property
    def given(self) -> Bool[np.ndarray, "samples classes"]:
        """Which tags each sample gets."""
        return self.probabilities >= self.threshold

    @property
    def labels(self) -> list[str]:
        """The tags of each sample, with a mark between them that no tag has."""
        mark = next((mark for mark in TAG_MARKS if not any(mark in name for name in self.classes)), TAG_MARKS[0])
        return [mark.join(name for name, has in zip(self.classes, row, strict=True) if has) for row in self.given]

    @property
    def counts(self) -> dict[str, int]:
        """How many samples each tag is given to."""
        return dict(zip(self.classes, self.given.sum(axis=0).tolist(), strict=True))

    @property
    def margin(self) -> Float[np.ndarray, "samples"]:
        """How far the tag that is least sure is from the threshold."""
        return np.abs(self.probabilities - self.threshold).min(axis=1)

    def write(self, path: Path) -> None:
        """A csv file: file, tags, and the probability of each tag in a column of its own."""
        rows = zip(self.files, self.labels, self.probabilities, strict=True)
        write_csv(path, ("file", "tags", *self.classes), ([file, tags, *(f"{sure:.4f}" for sure in row)] for file, tags, row in rows))


@dataclass(frozen=True, eq=False)
class Written:
    """Texts that were written about samples. files: where each sample came from (its row number where there is no file). role: what the texts are,
    as their run calls it."""

    files: tuple[str, ...]
    role: str
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def write(self, path: Path) -> None:
        """A csv file: file, and the text in a column that is called like its role."""
        write_csv(path, ("file", self.role), zip(self.files, self.texts, strict=True))


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """what: which number it is (a log-likelihood, a bound of one, an estimate). files: where each sample came from. nats: of each sample.
    values: how many numbers a sample has, or, of texts, how many tokens each has. parts: rows of each split, where the data has some. groups: of the
    samples, -1 = none."""

    what: str
    files: tuple[str, ...]
    nats: Float[np.ndarray, " samples"]
    values: int | np.ndarray
    parts: dict[str, np.ndarray]
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.nats)

    def mean(self, rows: np.ndarray | None = None) -> dict[str, Any]:
        """{nats, interval (95 %, bootstrap over samples, or groups), bits_per_value, perplexity (per token, of texts), samples} of some
        rows, or of all."""
        nats = self.nats if rows is None else self.nats[rows]
        values = self.values if rows is None or isinstance(self.values, int) else self.values[rows]
        groups = np.full(len(nats), -1) if self.groups is None else self.groups if rows is None else self.groups[rows]
        several = len(set(groups.tolist())) > 1 or (len(nats) > 1 and groups[0] < 0)
        interval = bootstrap_interval(torch.from_numpy(nats), groups=torch.from_numpy(groups)) if several else None
        bits = -float(nats.mean()) / float(np.mean(values)) / math.log(2)
        tokens = {} if isinstance(self.values, int) else {"perplexity": 2**bits}
        return {"nats": float(nats.mean()), "interval": interval, "bits_per_value": bits, **tokens, "samples": len(nats)}

    def ranked(self) -> np.ndarray:
        """Rows, the least likely sample first: what is unusual."""
        return self.nats.argsort(kind="stable")

    def to_dict(self, most: int = 10) -> dict[str, Any]:
        splits = {name: self.mean(rows) for name, rows in self.parts.items() if len(rows)}
        unusual = [{"file": self.files[row], "index": int(row), "nats": float(self.nats[row])} for row in self.ranked()[:most]]
        return {"what": self.what, **self.mean(), "splits": splits, "least_likely": unusual}

    def write(self, path: Path) -> None:
        """A csv file: file, nats, in the data's order."""
        write_csv(path, ("file", "nats"), zip(self.files, (f"{nats:.4f}" for nats in self.nats), strict=True))


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    def save(partial: Path) -> None:
        with open(partial, "w", newline="", encoding="utf-8", errors="replace") as stream:  # of names that are not UTF-8
            csv.writer(stream).writerows([head, *rows])

    write_whole(path, save)
