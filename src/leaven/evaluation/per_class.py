"""How well each class is named, where some classes are rare."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Int64
from torch import Tensor

UNEQUAL = 3  # times as many samples in the largest class as in the smallest, from which classes are looked at one by one
MOST_CLASSES = 100


def per_class(named: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], names: Sequence[str]) -> dict[str, Any]:
    """{balanced_accuracy, per_class: [{class, accuracy, samples}]} of predicted classes; the second one of up to 100 classes that have test samples.

    balanced_accuracy: the mean over these classes of the share that is named correctly.
    """
    counts = labels.bincount(minlength=len(names))
    shares = labels[named == labels].bincount(minlength=len(names)).double() / counts.clamp_min(1)
    there = counts.nonzero().flatten().tolist()
    score: dict[str, Any] = {"balanced_accuracy": shares[there].mean().item()}
    if len(there) <= MOST_CLASSES:
        score["per_class"] = [{"class": str(names[row]), "accuracy": shares[row].item(), "samples": int(counts[row])} for row in there]
    return score


def are_unequal(*labels: Int64[Tensor, " n"]) -> bool:
    """Whether the classes of one of these sets of samples have very different sizes."""
    sizes = [counts[counts > 0] for counts in (some.bincount() for some in labels)]
    return any(bool(counts.max() >= UNEQUAL * counts.min()) for counts in sizes if len(counts))


def worst(score: Any) -> str:
    """The class that is named worst, in words: 41.0 % (ship); empty where classes were not looked at."""
    if not (classes := score.get("per_class")):
        return ""
    last = min(classes, key=lambda one: one["accuracy"])
    return f"{100 * last['accuracy']:.1f} % ({last['class']})"
