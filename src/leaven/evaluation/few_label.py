"""Few-label curve: what frozen features give when only 1, 2, 5 or 10 samples of each class have a label."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.intervals import crossed_interval
from leaven.evaluation.linear import fit_logistic, standardisation

LABELS_PER_CLASS = (1, 2, 5, 10)
PENALTY = 1.0
NUMBERS_AT_ONCE = 2**24  # of the labeled features of all draws together, in float64


def few_label_curve(
    train_features: Float[Tensor, "train dim"],
    train_labels: Int64[Tensor, "train"],
    test_features: Float[Tensor, "test dim"],
    test_labels: Int64[Tensor, "test"],
    *,
    labels_per_class: Sequence[int] = LABELS_PER_CLASS,
    draws: int = 10,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Accuracy with few labels, as a list of {labels_per_class, accuracy, interval, draws} with a note where a class had fewer samples.

    For each draw the labeled samples of `label_draws` are fitted by logistic regression and all test samples are scored. Arms called with the same
    labels and seed see the same draws, so their differences are paired. Features are centred by the mean of all training samples, labeled or not,
    and divided by one number, their root mean variance: a user who has few labels has the other inputs too. (Each feature by its own deviation
    blows up rare pixels: raw 8x8 digits then reach 62 % with one label per class instead of 65 %.) Nothing is tuned, since one label leaves nothing
    to tune on (see `few_label_predictions`). Samples labeled -1 (none) are never drawn and never scored.
    """
    scored = test_labels >= 0
    truth = test_labels[scored].cpu()
    if not len(truth):
        raise UserError("no test labels to score few labels with")
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    center, deviation = standardisation(train_features)
    scale = deviation.square().mean().sqrt()
    train, test = (train_features.float() - center) / scale, (test_features[scored].float() - center) / scale
    curve = []
    for count in labels_per_class:
        rows = torch.stack(label_draws(train_labels, count, draws, seed)).to(train.device)
        predictions = few_label_predictions(train[rows], train_labels[rows], test, classes=classes)
        curve.append(few_label_point(predictions == truth, count, train_labels=train_labels))
    return curve


def label_draws(labels: Int64[Tensor, "n"], labels_per_class: int, draws: int, seed: int = 0) -> list[Int64[Tensor, "labeled"]]:
    """Rows of the labeled samples of each draw: `labels_per_class` of every class, or all that a class has; -1 (none) is never drawn.

    A draw depends on the seed and its number alone, and its rows for fewer labels are among its rows for more, so curves are smooth and arms
    comparable.
    """
    labels = labels.cpu()
    if labels_per_class < 1 or draws < 1:
        raise UserError("few-label draws need at least one label per class and one draw", where=f"{labels_per_class} labels, {draws} draws")
    if not (labels >= 0).any():
        raise UserError("no labels to draw from")
    drawn = []
    for number in range(draws):
        shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed * 100_003 + number))
        by_class = shuffled[labels[shuffled].argsort(stable=True)]
        of_class = labels[by_class]
        first = torch.searchsorted(of_class, of_class)
        rank = torch.arange(len(labels)) - first
        drawn.append(by_class[(rank < labels_per_class) & (of_class >= 0)])
    return drawn


def few_label_predictions(
    features: Float[Tensor, "draws labeled dim"],
    labels: Int64[Tensor, "draws labeled"],
    test_features: Float[Tensor, "test dim"],
    *,
    classes: int,
) -> Int64[Tensor, "draws test"]:
    """Logistic regression on each draw of standardised features; (draws, test) predicted classes on the CPU.

    The objective is scikit-learn's at C = 1: summed cross-entropy + |weight|^2 / 2, bias free. Fitted in float64, in the space that the labeled
    samples span (the solution has no part outside it), all draws by one L-BFGS.
    """
    _, labeled, dim = features.shape
    together = max(1, NUMBERS_AT_ONCE // (labeled * dim))
    predictions = []
    for x, y in zip(features.split(together), labels.split(together), strict=True):
        basis, coordinates = torch.linalg.qr(x.double().mT)
        fit = fit_logistic(coordinates.mT.contiguous(), y, classes=classes, l2=PENALTY / labeled, tolerance=1e-6)
        weight, bias = (basis @ fit.weight).float(), fit.bias.float()
        for one_weight, one_bias in zip(weight, bias, strict=True):
            predictions.append((test_features.float() @ one_weight + one_bias).argmax(dim=1).cpu())
    return torch.stack(predictions)


def few_label_point(
    correct: Shaped[Tensor, "draws test"], labels_per_class: int, *, train_labels: Int64[Tensor, "train"] | None = None
) -> dict[str, Any]:
    """One point of a few-label curve from what each draw got right, for any arm: {labels_per_class, accuracy, interval, draws}, perhaps a note.

    The interval covers other draws and other test samples (`crossed_interval`).
    """
    point: dict[str, Any] = {"labels_per_class": labels_per_class, "accuracy": correct.double().mean().item()}
    point |= {"interval": list(crossed_interval(correct)), "draws": len(correct)}
    if train_labels is not None:
        sizes = train_labels[train_labels >= 0].bincount()
        short = int(((sizes > 0) & (sizes < labels_per_class)).sum())
        if short:
            point["note"] = f"{short} of {int((sizes > 0).sum())} classes have fewer than {labels_per_class} training samples and give what they have"
    return point
