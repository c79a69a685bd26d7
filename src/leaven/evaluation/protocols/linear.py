from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.auc import auc_values, is_uneven, margin
from leaven.evaluation.floors import MAJORITY, UNTRAINED
from leaven.evaluation.forest import FOREST, forest_scores
from leaven.evaluation.frozen import Features, FrozenProtocol, accuracy_point
from leaven.evaluation.per_class import are_unequal, per_class, worst
from leaven.evaluation.sentences import percent
from leaven.modalities.floor import INPUT
from leaven.modules.logistic import LogisticFit, fit_logistic, second_moments

L2_GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # on standardised features, against the mean cross-entropy; strong to weak, as the path is walked
TUNED_ON = 20_000  # training samples on which the L2 strength is chosen, at most; the probe itself is fitted on all


@dataclass(frozen=True)
class Probe:
    """l2: the chosen strength. notes: what a reader of the score should know."""

    logits: Float[Tensor, "test classes"]
    l2: float
    converged: bool
    notes: tuple[str, ...]

    @property
    def predictions(self) -> Int64[Tensor, "test"]:
        return self.logits.argmax(1)


class LinearProbe(FrozenProtocol):
    """The share of test samples that logistic regression on the features names correctly, its L2 strength chosen on held-out training samples."""

    name = "linear"
    title = "linear probe"
    rank = 3
    floors = (INPUT, UNTRAINED, MAJORITY)
    probes = (FOREST,)

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        """Of classes of very different size also the balanced accuracy, and the class that is named worst; the AUC of two says it by itself."""
        uneven = [bool(arm) and "balanced_accuracy" in arm and self.measure(arm) == self.headline for arm in arms]
        balanced = [percent(arm["balanced_accuracy"]) if shown else "" for arm, shown in zip(arms, uneven, strict=True)]
        more = [[f"{self.title}, balanced", *balanced], [f"{self.title}, worst class", *(worst(arm or {}) for arm in arms)]]
        return super().rows(arms) + (more if any(balanced) else [])

    def score(self, features: Features) -> Any:
        if features.probe is None:
            return linear_accuracy(features)
        known = features.labeled()
        return accuracy_point(probe_scores(known), known) | {"samples": len(known.test)}


def probe_scores(features: Features, *, seed: int = 0) -> Float[Tensor, "test classes"]:
    """What the probe of these features gives the test samples: a linear one, or the floor's own. All have labels."""
    if features.probe == FOREST:
        return forest_scores(features.train, features.train_labels, features.test, classes=features.classes, seed=seed)
    return linear_probe(features, seed=seed).logits


def linear_accuracy(features: Features, *, seed: int = 0) -> dict[str, Any]:
    """{accuracy, interval, l2, converged, samples, per_sample} of a linear probe, of two classes also its AUC, of classes of
    very different size how well each is named, and a note where one is due."""
    known = features.labeled()
    probe = linear_probe(known, seed=seed)
    score = accuracy_point(probe.logits, known, seed=seed) | {"l2": probe.l2, "converged": probe.converged, "samples": len(known.test)}
    if are_unequal(known.train_labels, known.test_labels):
        score |= per_class(probe.predictions, known.test_labels, features.names or [str(number) for number in range(known.classes)])
    return score | ({"note": "; ".join(probe.notes)} if probe.notes else {})


def linear_probe(features: Features, *, seed: int = 0) -> Probe:
    """Logistic regression on features standardised by the training samples, fitted by full-batch L-BFGS with fp32 products. All have labels.

    The L2 strength (mean cross-entropy + l2 / 2 * |weight|^2, bias free; scikit-learn's C is 1 / (n * l2)) is the one of `L2_GRID` with the best
    accuracy (or AUC, where one of two classes is common), then the lowest cross-entropy, on a fifth of the training samples: a fifth of every class,
    or whole groups where there are some; of more than 20,000 training samples, 20,000 take part in the choice. The probe is then refitted on all
    training samples; the test samples are only predicted.
    """
    center, scale = standardisation(features.train)
    x, y, classes = (features.train.float() - center) / scale, features.train_labels, features.classes
    covariance, notes = second_moments(x), []
    drawn = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:TUNED_ON].sort().values
    held = held_out_fifth(y[drawn], None if features.groups is None else features.groups[drawn], seed=seed)
    kept, judge, fit = drawn[~held], drawn[held], None
    if not len(kept) or not len(judge):
        best = L2_GRID[len(L2_GRID) // 2]
        notes.append(f"l2 = {best:g} is not tuned: there are too few samples or groups to hold any out")
    else:
        scores: dict[float, tuple[float, float]] = {}
        fits: dict[float, LogisticFit] = {}
        x_kept, y_kept, x_judge, y_judge = x[kept], y[kept], x[judge], y[judge]
        for l2 in L2_GRID:
            fit = fits[l2] = fit_logistic(x_kept, y_kept, classes=classes, l2=l2, start=fit, covariance=covariance, tolerance=1e-3)
            logits = fit.logits(x_judge)
            scores[l2] = (quality(logits, y_judge), -F.cross_entropy(logits, y_judge).item())
            best = max(scores, key=lambda strength: scores[strength])
            # Two weaker strengths in a row that are worse in both ways: the weakest and slowest fits cannot win.
            if len(scores) > 2 and all(later < scores[best] and later[1] < scores[best][1] for later in list(scores.values())[-2:]):
                break
        fit = fits[best]
    fit = fit_logistic(x, y, classes=classes, l2=best, start=fit, covariance=covariance, tolerance=3e-4)
    if not fit.converged:
        notes.append(f"the probe had not converged after {fit.iterations} iterations")
    logits = torch.cat([fit.logits((part.float() - center) / scale) for part in features.test.split(16384)])
    return Probe(logits, best, fit.converged, tuple(notes))


def quality(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Accuracy; where one of two classes is common, the AUC."""
    if (margins := margin(logits)) is not None and is_uneven(labels):
        return auc_values(margins, labels == 1).mean().item()
    return (logits.argmax(1) == labels).double().mean().item()


def standardisation(features: Float[Tensor, "n dim"]) -> tuple[Float[Tensor, "dim"], Float[Tensor, "dim"]]:
    """Mean and standard deviation of each feature in fp32; 1 for features that do not vary. Features that are not finite raise UserError."""
    x = features.float()
    scale, center = torch.std_mean(x, dim=0, correction=0)
    if not (torch.isfinite(scale).all() and torch.isfinite(center).all()):
        raise UserError("features are not finite", hint="the encoder gave NaN or infinity; look at the health verdicts of its run")
    # Rounding leaves a constant feature a little spread, which must not be blown up to 1.
    constant = scale <= 1e-6 * torch.maximum(scale.max(), center.abs())
    return center, torch.where(constant, 1.0, scale)


def held_out_fifth(labels: Int64[Tensor, "n"], groups: Int64[Tensor, "n"] | None = None, *, seed: int = 0) -> Tensor:
    """(n,) bool, true for about a fifth of the samples: of every class alike, or of whole groups (-1 = a group of its own).

    It depends on the seed and the order: features have no content hash, by which `data.splits.hold_out` and `training.supervision` choose.
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(labels)
    if groups is None:
        shuffled = torch.randperm(n, generator=generator)
        by_class = shuffled[labels[shuffled].argsort(stable=True)]
        held = torch.zeros(n, dtype=torch.bool)
        held[by_class[4::5]] = True
        return held
    alone = groups < 0
    groups = torch.where(alone, groups.max() + 1 + alone.cumsum(0), groups)
    _, member, sizes = groups.unique(return_inverse=True, return_counts=True)
    chosen = torch.zeros(len(sizes), dtype=torch.bool)
    if len(sizes) > 1:
        order = torch.randperm(len(sizes), generator=generator)
        chosen[order[sizes[order].cumsum(0) <= max(n / 5, int(sizes.min()))]] = True
        if not chosen.any():
            chosen[sizes.argmin()] = True
    return chosen[member]
