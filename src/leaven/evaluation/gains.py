"""What a score has over each floor, from the same test samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from leaven.evaluation.intervals import paired_difference, resampled_difference

PER_SAMPLE = "per_sample"


@dataclass(frozen=True, eq=False)
class PerSample:
    """The values whose mean is a score of 0-1, for each test sample, and for each draw of labels where there are some. groups: of the samples.

    They are in memory only: a scorecard keeps what `add_gains` makes of them.
    """

    values: Shaped[Tensor, "*draws n"]
    groups: Int64[Tensor, " n"] | None = None

    def over(self, other: PerSample) -> dict[str, Any]:
        """`paired_difference` to the score of another arm on the same samples."""
        return paired_difference(self.values, other.values, groups=self.groups)


@dataclass(frozen=True, eq=False)
class PerResample:
    """A score that is no mean over samples, on each of the same resamples of the test samples for all arms. samples: how many there are."""

    values: Float[np.ndarray, " resamples"]
    score: float
    samples: int
    groups: Int64[Tensor, " n"] | None = None

    def over(self, other: PerResample) -> dict[str, Any]:
        """In the shape of `paired_difference`."""
        return resampled_difference(self.values - other.values, self.score - other.score, self.samples, groups=self.groups)


def add_gains(scores: Mapping[str, Any], floors: Mapping[str, Mapping[str, Any]]) -> None:
    """Give each score `gains`, {floor: `paired_difference`}, and take "per_sample" out of all of them; the same of numbers beside it, such as
    `auc_gains` of "auc_per_sample". Floors that were measured elsewhere have none, and give no gains."""
    ours = {place: (point, point.pop(place[-1])) for place, point in measured(scores)}
    for name, floor in floors.items():
        for place, point in measured(floor):
            theirs = point.pop(place[-1])
            if place in ours:
                own, values = ours[place]
                own.setdefault(place[-1].replace(PER_SAMPLE, "gains"), {})[name] = values.over(theirs)


def without_samples(scores: dict[str, Any]) -> dict[str, Any]:
    """The scores without "per_sample", for those that are compared with nothing."""
    for place, point in measured(scores):
        del point[place[-1]]
    return scores


def measured(scores: Mapping[str, Any]) -> Iterator[tuple[tuple[str, int | None, str], Any]]:
    """(protocol, labels per class, key of values per sample), and the score, for each such key."""
    for protocol, score in scores.items():
        for point in score if isinstance(score, list) else [score]:
            for key in [key for key in point if key.endswith(PER_SAMPLE)]:
                yield (protocol, point.get("labels_per_class"), key), point
