from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.evaluation.frozen import Features
from leaven.evaluation.protocol import Protocol, Scores, Trial
from leaven.evaluation.protocols.classifier import Classifier, Truths, learned_tags, names_samples
from leaven.evaluation.protocols.tags import TagProbes, f1_rows, scored_tags
from leaven.evaluation.sentences import percent


class Tagger(Classifier):
    """Mean average precision and F1 of a run's own tags on labels that it has not learned from, beside other uses of the learned labels.

    The floors are those of `classifier`, with a probe for each tag. A tag is given where its probability reaches the threshold that the run keeps.
    """

    name = "tagger"
    title = "tags (mAP)"
    needs = "a run that has learned tags, as `leaven finetune` makes, and labels that it has not learned from"
    headline = "map"

    @classmethod
    def suits(cls, trial: Trial) -> int:
        return 3 if names_samples(trial) and learned_tags(trial.run) else 0

    def measured(self, predicted: Tensor, truths: Truths, classifier: Any) -> Scores:
        return scored(predicted, truths, float(classifier.threshold))

    def probed(self, features: Features) -> Scores:
        return TagProbes().score(features)

    def judged(self, logits: Tensor, truths: Truths, data: DataSet, rows: Tensor) -> Scores:
        there = [data.spec.names.index(name) for name in truths.names]
        return scored(logits[:, there].sigmoid(), truths, None)

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        return Protocol.rows(self, arms) + f1_rows(arms, "tags")

    def verdict_of(self, score: Any) -> str:
        measured_on = f"over {len(score['tags']):,} tags of {score['samples']:,} test samples"
        return f"The tags of this run reach a mean average precision of {percent(score['map'])} {measured_on}"

    def figure(self, arms: Mapping[str, Any]) -> None:
        return None


def scored(probabilities: Tensor, truths: Truths, threshold: float | None) -> Scores:
    """Of the tags that learned samples and test samples have."""
    known, places = scored_tags(truths.with_features(torch.empty(len(truths.learned), 0), torch.empty(len(truths.test), 0)))
    return TagProbes().measured(known, places, probabilities[:, places], threshold)
