"""Generated samples beside real ones: which of them a classifier is sure of, how far they are from real ones, and whether they help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from leaven.evaluation.intervals import Groups, mean_with_interval, paired_difference
from leaven.evaluation.sentences import Gain, percent

MOST = 10_000  # samples from which a classifier learns: its time grows with their square
COMPARED = 2000  # of each kind, whose nearest neighbours are looked at


def classifier(x: Shaped[np.ndarray, "n dim"], y: Shaped[np.ndarray, " n"]) -> Any:
    """A support vector machine of standardised numbers."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(decision_function_shape="ovr")).fit(x, y)


def sureness(model: Any, x: Shaped[np.ndarray, "n dim"], label: Any) -> Shaped[np.ndarray, " n"]:
    """How sure a classifier is that these are samples of this class."""
    decision, classes = model.decision_function(x), list(model.classes_)
    return decision[:, classes.index(label)] if len(classes) > 2 else decision * (1 if classes[1] == label else -1)


def surest(sure: Shaped[np.ndarray, " n"], count: int) -> Shaped[np.ndarray, " count"]:
    """Places of the surest ones, the surest first."""
    return sure.argsort(kind="stable")[::-1][:count]


def told_apart(real: Float[Tensor, "real dim"], generated: Float[Tensor, "generated dim"]) -> float:
    """The share of samples whose nearest neighbour is of their own kind, among as many of each (Lopez-Paz and Oquab 2017, section 3: the two-sample
    test of a nearest-neighbour classifier).

    0.5: generated samples lie among real ones as these do; 1: apart from them; below 0.5: nearly copies of them.
    """
    count = min(len(real), len(generated), COMPARED)
    a, b = (x[torch.linspace(0, len(x) - 1, count).long()].double() for x in (real, generated))
    both = torch.cat([a, b])
    kind = torch.arange(2 * count) >= count
    nearest = torch.cat([apart_from_itself(both, rows).argmin(1) for rows in torch.arange(2 * count).split(COMPARED // 2)])
    return (kind[nearest] == kind).double().mean().item()


def apart_from_itself(points: Tensor, rows: Tensor) -> Tensor:
    """Distances of these rows to all, where that to itself is infinite."""
    distances = torch.cdist(points[rows], points)
    distances[torch.arange(len(rows)), rows] = torch.inf
    return distances


@dataclass(frozen=True)
class Labeled:
    """Features of samples, and their classes."""

    x: Float[Tensor, "n dim"]
    y: Int64[Tensor, " n"]


def gain_of_generated(real: Labeled, generated: Labeled, test: Labeled, *, groups: Groups = None, seed: int = 0) -> dict[str, Any]:
    """{alone, augmented: {accuracy, interval}, gain: `paired_difference`, learned_from: {real, generated}}: test accuracies of a classifier of real
    samples, and of one that learns from generated ones as well. groups: of the test samples."""
    correct = [torch.from_numpy(classifier(x.numpy(), y.numpy()).predict(test.x.numpy())) == test.y for x, y in (
        (real.x, real.y), (torch.cat([real.x, generated.x]), torch.cat([real.y, generated.y])),
    )]  # fmt: skip
    alone, augmented = (mean_with_interval(right, groups=groups, seed=seed) for right in correct)
    gain = paired_difference(correct[1].double(), correct[0].double(), groups=groups)
    return {"alone": alone, "augmented": augmented, "gain": gain, "learned_from": {"real": len(real.y), "generated": len(generated.y)}}


def verdict(gain: dict[str, Any]) -> str:
    """Whether generated samples help, in words."""
    low, high = gain["gain"]["interval"]
    told = Gain(gain["gain"]["difference"], low, high, gain["gain"]["more_test_samples"])
    points = f"{100 * gain['gain']['difference']:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
    what = f"a classifier of the raw input gets {percent(gain['augmented']['accuracy'])} of the test samples right with generated samples and "
    what += f"{percent(gain['alone']['accuracy'])} without, {points}"
    if told.better:
        return f"It helps: {what}."
    if told.worse:
        return f"It makes things worse here: {what}."
    return f"These test samples do not tell whether it helps: {what}{told.would_tell('samples')}."


def distance_in_words(share: float) -> str:
    """What `told_apart` says."""
    nearest = f"{percent(share)} of real and generated samples have one of their own kind as their nearest neighbour"
    if share < 0.45:
        return f"{nearest} (50 %: alike; fewer: many generated ones are nearly copies of real ones)."
    return f"{nearest} (50 %: they lie among each other as samples of one kind do; 100 %: apart)."
