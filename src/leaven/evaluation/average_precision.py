"""Average precision of boxes, by faster-coco-eval, on all pictures and on resamples of them."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from leaven.errors import UserError, not_installed
from leaven.evaluation.gains import PerResample
from leaven.evaluation.intervals import percentile_interval, resampled

RESAMPLES, MOST = 500, 100  # and boxes of each picture, the surest first
HALF = 0  # the place of an overlap of 0.5 among those from 0.5 to 0.95


class Pictures(NamedTuple):
    """Of each picture: height and width; the true boxes (n, 4) and classes (n,); and what was found, as `objects_of` gives it."""

    sizes: Sequence[tuple[int, int]]
    truths: Sequence[tuple[Tensor, Tensor]]
    found: Sequence[dict[str, Tensor]]


def detection_score(pictures: Pictures, names: Sequence[str], *, groups: Tensor | None = None, seed: int = 0) -> dict[str, Any]:
    """{map, interval, map50, classes: [{class, ap, ap50, boxes}], boxes, samples, per_sample}, over the classes that the pictures have."""
    counts = np.bincount(np.concatenate([classes.numpy() for _, classes in pictures.truths]), minlength=len(names))
    there = np.flatnonzero(counts)
    evaluate = evaluator(pictures, there.tolist())
    count = len(pictures.sizes)
    precision = evaluate(np.arange(count))
    drawn = np.array([
        evaluate(np.repeat(np.arange(count), times)).mean() for times in resampled(count, groups=groups, resamples=RESAMPLES, seed=seed)
    ])  # fmt: skip
    score = float(precision.mean())
    return {
        "map": score,
        "interval": percentile_interval(drawn, groups=groups),
        "map50": float(precision[HALF].mean()),
        "classes": [
            {"class": names[int(number)], "ap": float(ap.mean()), "ap50": float(ap[HALF]), "boxes": int(counts[number])}
            for number, ap in zip(there, precision.T, strict=True)
        ],
        "boxes": int(counts.sum()),
        "samples": count,
        "per_sample": PerResample(drawn, score, count, groups),
    }


def evaluator(pictures: Pictures, classes: Sequence[int]) -> Any:
    """A function from pictures, by number, with repetitions, to the average precision (overlaps, classes) of those of these classes that
    they have."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
        from faster_coco_eval.faster_eval_api_cpp import COCOevalAccumulate
    except ImportError:
        raise not_installed("faster-coco-eval") or UserError("average precision needs the package faster-coco-eval") from None

    truth: dict[str, Any] = {
        "images": [{"id": number, "height": height, "width": width} for number, (height, width) in enumerate(pictures.sizes)],
        "categories": [{"id": number, "name": str(number)} for number in classes],
        "annotations": [],
    }
    for number, (boxes, labels) in enumerate(pictures.truths):
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            truth["annotations"].append({"id": len(truth["annotations"]) + 1, "image_id": number, "category_id": label, "iscrowd": 0, **placed(box)})
    found = [
        {"id": 0, "image_id": number, "category_id": label, "score": score, **placed(box)}
        for number, objects in enumerate(pictures.found)
        for box, label, score in zip(*(objects[name].tolist() for name in ("boxes", "labels", "scores")), strict=True)
        if label in classes
    ]
    found = [{**one, "id": place} for place, one in enumerate(found, 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(truth)
        predicted = COCO({**truth, "annotations": found})
        matched = COCOeval_faster(known, predicted, "bbox", separate_eval=True)
        matched.params.areaRng, matched.params.areaRngLbl, matched.params.maxDets = [[0, 1e10]], ["all"], [MOST]
        matched.evaluate()
    each = np.array(matched._evalImgs_cpp, dtype=object).reshape(len(classes), len(pictures.sizes))
    totals = np.array([[int((labels == number).sum()) for _, labels in pictures.truths] for number in classes])

    def precision(rows: np.ndarray) -> np.ndarray:
        params = copy.copy(matched._paramsEval)
        params.imgIds = list(range(len(rows)))
        table = np.array(COCOevalAccumulate(params, each[:, rows].ravel().tolist())["precision"])
        averages = table.reshape(len(params.iouThrs), -1, len(classes)).mean(1)
        there = totals[:, rows].sum(1) > 0
        return averages[:, there]

    return precision


def placed(box: Sequence[float]) -> dict[str, Any]:
    """A box as COCO has it."""
    left, top, right, bottom = box
    return {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
