from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from leaven.data.placed import Placed
from leaven.evaluation.gains import PerResample
from leaven.evaluation.intervals import percentile_interval, resampled
from leaven.evaluation.placing import Placing, masks_of, rows_of_classes
from leaven.evaluation.protocol import Trial
from leaven.evaluation.sentences import percent
from leaven.methods.method import Method
from leaven.modalities.mask import IGNORED

RESAMPLES = 1000


class Segmentation(Placing):
    """Mean intersection over union of the classes of pixels, over the classes that the test masks have, with bootstrap intervals over pictures.

    Pixels are those of the pictures as they lie on disk. Pixels of no class do not count.
    """

    name = "segmentation"
    title = "masks (mIoU)"
    needs = "a run that names pixels, as `leaven finetune --task segmentation` makes, and masks that it has not learned from"
    headline = "miou"
    ability = "segment"

    def measured(self, method: Method, placed: Placed, rows: Sequence[int], trial: Trial) -> dict[str, Any]:
        names, counts = placed.data.spec.class_names, []
        for row, mask in zip(rows, masks_of(method, placed, rows, trial.device), strict=True):
            counts.append(confusion(mask, placed.truth(row), len(names)))
            trial.progress(len(counts), len(rows))
        return segmentation_score(torch.stack(counts), names, groups=placed.data.groups[torch.tensor(rows)], seed=trial.seed)

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        accuracy = ["pixels named correctly", *(percent(arm["pixel_accuracy"]) if arm else "" for arm in arms)]
        return [*super().rows(arms), accuracy, *rows_of_classes(arms, "iou", "IoU")]

    def verdict_of(self, score: Any) -> str:
        return "The masks of this run have a mean intersection over union of"


def confusion(mask: UInt8[Tensor, "height width"], truth: UInt8[Tensor, "height width"], classes: int) -> Int64[Tensor, "classes classes"]:
    """How many pixels of each class (row) were given each class (column)."""
    known = truth != IGNORED
    return (truth[known].long() * classes + mask[known].long()).bincount(minlength=classes**2).view(classes, classes)


def segmentation_score(
    counts: Int64[Tensor, "pictures classes classes"], names: Sequence[str], *, groups: Tensor | None = None, seed: int = 0
) -> dict[str, Any]:
    """{miou, interval, pixel_accuracy, classes: [{class, iou, pixels}], samples, per_sample}."""
    tables = counts.double().numpy()
    total = tables.sum(0)
    there = total.sum(1) > 0
    shares = overlaps(total)
    drawn = np.array([
        np.nanmean(overlaps(np.tensordot(times, tables, 1))[there]) for times in resampled(len(tables), groups=groups, resamples=RESAMPLES, seed=seed)
    ])  # fmt: skip
    miou = float(shares[there].mean())
    return {
        "miou": miou,
        "interval": percentile_interval(drawn, groups=groups),
        "pixel_accuracy": float(total.trace() / total.sum()),
        "classes": [{"class": names[int(place)], "iou": float(shares[place]), "pixels": int(total[place].sum())} for place in np.flatnonzero(there)],
        "samples": len(tables),
        "per_sample": PerResample(drawn, miou, len(tables), groups),
    }


def overlaps(table: np.ndarray) -> np.ndarray:
    """Intersection over union of each class; not a number where it is nowhere."""
    both = table.diagonal()
    either = table.sum(0) + table.sum(1) - both
    with np.errstate(invalid="ignore"):
        return both / either
