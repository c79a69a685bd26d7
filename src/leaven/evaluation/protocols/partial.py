import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from leaven.errors import UserError
from leaven.evaluation.auc import margin, with_auc
from leaven.evaluation.features import encode
from leaven.evaluation.floors import LABELS_ONLY, MAJORITY, trained_on_labels
from leaven.evaluation.frozen import LABEL_SOME, Features, check_labels
from leaven.evaluation.protocol import Result, Trial
from leaven.evaluation.protocols.classifier import FROZEN
from leaven.evaluation.protocols.few_label import FewLabels, few_label_point, label_draws
from leaven.evaluation.sentences import labels_per_class
from leaven.modalities.floor import FloorName


@dataclass(frozen=True)
class Partial(FewLabels):
    """Accuracy where the first blocks stay frozen, and the last ones learn from a few labels per class together with a linear classifier.

    So Gidaris et al. 2018 (figure 3) compare pre-training with learning from scratch. Beside it stand a probe on the whole frozen encoder, and the
    same encoder trained from scratch on the same labels for as many steps.

    counts: labels per class; those that no class has are left out. draws: how many times labels are drawn for each count. blocks: how many of the
    last ones learn.
    """

    name = "partial"
    title = "last blocks trained"
    floors: ClassVar[tuple[FloorName, ...]] = (FROZEN, MAJORITY, LABELS_ONLY)
    probes = ()
    frozen = False
    rank = 13

    counts: tuple[int, ...] = (20, 100, 400, 1000, 5000)
    draws: int = 2
    blocks: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks < 1:
            raise UserError("partial trains 1 block or more", where="partial.blocks", hint="few-label scores the whole encoder, frozen")

    def evaluate(self, trial: Trial) -> Result:
        """UserError where the encoder has fewer blocks, or no class has as many labels as the smallest count."""
        data = trial.data
        check_labels(data)
        blocks = len(trial.encoder.depths())
        if self.blocks > blocks:
            raise UserError(f"this encoder has {blocks} blocks, not {self.blocks}", where="partial.blocks", hint=f"choose 1 to {blocks}")
        train, test, part, note = data.held_out()
        labeled = data.rows.labeled
        test = test[labeled[test] & ~torch.isin(trial.hashes[test], trial.learned)]
        if not labeled[train].any() or not len(test):
            raise UserError("labels are needed on the training side and on the test side", where=data.name, hint=LABEL_SOME)
        largest_class = int(data.rows.label[train][labeled[train]].bincount().max())
        counts = tuple(count for count in sorted(self.counts) if count <= largest_class)
        if not counts:
            what = f"partial needs {labels_per_class(min(self.counts))}, and the largest class has {largest_class} to learn from"
            raise UserError(what, where=data.name, hint=f"--set partial.counts={largest_class}")
        notes = [note] if note else []
        if left_out := [str(count) for count in sorted(self.counts) if count > largest_class]:
            notes.append(f"No class has {' or '.join(left_out)} labels to learn from.")
        curve = self.curve(trial, counts, train, test)
        there = type(self)(counts, self.draws, self.blocks)
        trial.say("scoring the frozen encoder with the same labels")
        features = [encode(trial.encoder, trial.value, rows, device=trial.device, progress=trial.progress) for rows in (train, test)]
        label, group = data.rows.label, data.groups
        known = Features(features[0], label[train], features[1], label[test], None, trial.seed, group[test], data.spec.names)
        floors = {FROZEN.name: FewLabels(counts, self.draws).score(known), MAJORITY.name: there.majority(known)}
        trained, more = there.trained_floors(trial, curve, train, test)
        scores = {name: {self.name: score} for name, score in {**floors, **trained}.items()}
        return Result({self.name: curve}, scores, f"{data.name} ({part}: {len(test):,} samples)", [*notes, *more])

    def curve(self, trial: Trial, counts: tuple[int, ...], train: Tensor, test: Tensor) -> list[dict[str, Any]]:
        """[{labels_per_class, accuracy, interval, draws}] of trainings from the run's encoder."""
        data = trial.data if trial.data_role == "x" else trial.data.with_role(trial.data_role, "x")
        labels, truth, groups, curve = data.rows.label[train], data.rows.label[test], data.groups[test], []
        settings = {"train": f"last:{self.blocks}", "interpolation": 1.0}
        for count in counts:
            trial.say(f"training the last {self.blocks} of {len(trial.encoder.depths())} blocks on {labels_per_class(count)}")
            drawn = label_draws(labels, count, self.draws, trial.seed)
            logits = torch.stack(
                [
                    trained_on_labels(
                        trial.encoder, data, train[rows], test, seed=trial.seed + number, steps=self.steps(len(rows)),
                        start=copy.deepcopy(trial.encoder), settings=settings,
                    )
                    for number, rows in enumerate(drawn)
                ]
            )  # fmt: skip
            point = few_label_point(logits.argmax(2) == truth, count, labels, groups)
            curve.append(with_auc(point, margin(logits), truth, groups=groups))
        return curve
