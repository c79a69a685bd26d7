import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.floors import LABELS_ONLY, PREVALENCE, UNTRAINED, trained_on_labels
from leaven.evaluation.frozen import LABEL_SOME, Features, FrozenProtocol, features_by
from leaven.evaluation.protocol import Trial, share_cell
from leaven.evaluation.sentences import Point
from leaven.evaluation.tagging import by_tag, tag_scores
from leaven.modalities.floor import INPUT
from leaven.modalities.tags import TagsModality
from leaven.modules.one_vs_rest import best_threshold, probe_tags

FLOOR_STEPS = 200  # of the labels-only floor, for each 1,000 labeled samples
TRIED_STEPS = 10  # by which the time of that floor is known beforehand


class TagProbes(FrozenProtocol):
    """How well logistic regression of each tag on the features ranks the test samples: mean average precision over tags; and F1 of the tags given.

    Scored are the tags that samples of both parts have. The L2 strength, and the threshold from which a tag is given, are chosen on held-out training
    samples.
    """

    name = "tags"
    title = "tags (mAP)"
    needs = "tags, of which a sample may have several"
    floors = (INPUT, UNTRAINED, PREVALENCE, LABELS_ONLY)
    constant = PREVALENCE
    headline = "map"
    rank = 4
    of_classes, of_tags = False, True

    @classmethod
    def suits(cls, trial: Trial) -> int:
        return int(bool(trial.data.spec.tag_names))

    def score(self, features: Features) -> Any:
        """{map, interval, f1_macro, f1_micro (each with its interval), threshold, l2, tags: [{tag, positives, average_precision, f1}], positives,
        samples, left_out (tags that only one part has)}."""
        known, scored = scored_tags(features)
        present = known.train_labels[:, scored] > 0
        probe = probe_tags(known.train, present, TagsModality().strata(known.train_labels), groups=known.groups, seed=features.seed)
        return self.measured(known, scored, probe.probabilities(known.test), probe.threshold) | {"l2": probe.l2}

    def majority(self, features: Features) -> Any:
        """The score of giving each tag the same probability everywhere: how many training samples have it."""
        known, scored = scored_tags(features)
        present = known.train_labels[:, scored] > 0
        rates = present.float().mean(0)
        return self.measured(known, scored, rates.expand(len(known.test), -1), best_threshold(rates.expand(len(present), -1), present))

    def measured(self, known: Features, scored: Tensor, probabilities: Tensor, threshold: float | None) -> dict[str, Any]:
        present = known.test_labels[:, scored] > 0
        score = tag_scores(probabilities, present, threshold, groups=known.test_groups, seed=known.seed)
        left_out = {"left_out": known.test_labels.shape[1] - len(scored)}
        return by_tag(score, [known.names[place] for place in scored.tolist()], present) | left_out

    def notes(self, score: Any) -> list[str]:
        if not (count := score["left_out"]):
            return []
        return [f"{count:,} of {count + len(score['tags']):,} tags are not scored, since no training sample or no test sample has them."]

    def trained_floors(self, trial: Trial, score: Any, train: Tensor, test: Tensor) -> tuple[dict[str, Any], list[str]]:
        """The same encoder trained on the tags alone, where the budget allows: mean average precision of what it says itself."""
        if LABELS_ONLY.name in trial.known_floors or (trial.budget is not None and trial.budget <= 0):
            return {}, []
        data = trial.data if trial.data_role == "x" else trial.data.with_role(trial.data_role, "x")
        train, test = (rows[data.rows.labeled[rows]] for rows in (train, test))
        steps = FLOOR_STEPS * max(1, len(train) // 1000)
        trial.say("training on the labels alone")

        def logits(steps: int) -> Tensor:
            return trained_on_labels(trial.encoder, data, train, test, seed=trial.seed, steps=steps)

        if trial.budget is not None:
            logits(1)  # what is loaded once
            begin = time.monotonic()
            logits(TRIED_STEPS)
            if (needed := (time.monotonic() - begin) / TRIED_STEPS * steps) > trial.budget:
                limit = f"it would take about {needed:.0f} seconds, and the budget is {trial.budget:.0f}"
                return {}, [f"the floor `labels only` is not measured: {limit}"]
        known, scored = scored_tags(features_by(data, train, test, trial.seed)(lambda rows: torch.empty(len(rows), 0)))
        return {LABELS_ONLY.name: self.measured(known, scored, logits(steps)[:, scored].sigmoid(), None)}, []

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        return super().rows(arms) + f1_rows(arms, "tags")

    def summary(self, score: Any, floors: Mapping[str, Any]) -> tuple[Point, Mapping[str, Point], str]:
        own, beside, _ = super().summary(score, floors)
        return own, beside, f"mean average precision over {len(score['tags']):,} tags"


def scored_tags(features: Features) -> tuple[Features, Tensor]:
    """The features of samples with labels, and the places of the tags that samples of both parts have. UserError where there is none."""
    known = features.labeled()
    scored = ((known.train_labels > 0).any(0) & (known.test_labels > 0).any(0)).nonzero().flatten()
    if not len(scored):
        raise UserError("no tag is that of a training sample and of a test sample", hint=LABEL_SOME)
    return known, scored


def f1_rows(arms: Sequence[Any], title: str) -> list[list[str]]:
    """Rows of a scorecard's table."""
    return [[f"{title} (F1, {kind})", *(share_cell(f1_point(score, f"f1_{kind}"), "f1") for score in arms)] for kind in ("macro", "micro")]


def f1_point(score: Any, key: str) -> Point | None:
    return {"f1": score[key], "interval": score[f"{key}_interval"]} if score and key in score else None
