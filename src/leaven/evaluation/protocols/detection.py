from collections.abc import Sequence
from typing import Any

from leaven.data.placed import Placed
from leaven.evaluation.average_precision import Pictures, detection_score
from leaven.evaluation.placing import Placing, objects_of, rows_of_classes
from leaven.evaluation.protocol import Trial
from leaven.evaluation.sentences import percent
from leaven.methods.method import Method


class Detection(Placing):
    """Mean average precision of boxes, as COCO measures it (over overlaps from 0.5 to 0.95), with bootstrap intervals over pictures.

    Scored are the classes that the test pictures have. Boxes are in pixels of the pictures as they lie on disk.
    """

    name = "detection"
    title = "boxes (mAP)"
    needs = "a run that finds objects, as `leaven finetune --task detection` makes, and boxes that it has not learned from"
    headline = "map"
    ability = "detect"

    def measured(self, method: Method, placed: Placed, rows: Sequence[int], trial: Trial) -> dict[str, Any]:
        found = []
        for objects in objects_of(method, placed, rows, trial.device):
            found.append(objects)
            trial.progress(len(found), len(rows))
        pictures = Pictures([placed.sizes[row] for row in rows], [placed.truth(row) for row in rows], found)
        return detection_score(pictures, placed.data.spec.class_names, groups=placed.data.groups[rows], seed=trial.seed)

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        half = ["mAP at an overlap of 0.5", *(percent(arm["map50"]) if arm else "" for arm in arms)]
        return [*super().rows(arms), half, *rows_of_classes(arms, "ap", "AP")]

    def verdict_of(self, score: Any) -> str:
        return "The boxes of this run have a mean average precision of"
