from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from leaven.data.order import in_order
from leaven.encoders.encoder import Encoder
from leaven.encoders.store import load_encoder
from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.evaluation.floors import UNTRAINED, untrained
from leaven.evaluation.frozen import check_labels
from leaven.evaluation.gains import PerSample
from leaven.evaluation.intervals import mean_with_interval
from leaven.evaluation.protocol import Chart, Protocol, Result, Trial
from leaven.evaluation.protocols.knn import NearestNeighbours
from leaven.evaluation.sentences import percent


@dataclass(frozen=True)
class Forgetting(Protocol):
    """What an encoder still knows of the earlier parts of a stream (Lopez-Paz and Ranzato 2017, section 2; Chaudhry et al. 2018, section 3).

    The classes are parted by when they come. After each part of the training, nearest neighbours among all training samples name the test samples of
    every part by the features that the encoder had then. Backward transfer is how the accuracy on a part has changed since that part ended;
    forgetting is how far it lies below its best.

    parts: of the stream (0: as many as the run kept snapshots).
    """

    name = "forgetting"
    title = "after the stream"
    needs = "a run that kept snapshots (`pretrain --snapshots`), and labels of two classes or more"
    floors = (UNTRAINED,)
    headline = "accuracy"
    rank = 2

    parts: int = 0

    @classmethod
    def suits(cls, trial: Trial) -> int:
        return 2 * int(trial.run is not None and len(trial.run.snapshots) > 1 and trial.data.spec.classes > 1)

    def evaluate(self, trial: Trial) -> Result:
        data, run = trial.data, trial.run
        check_labels(data)
        if data.spec.tag_names:
            raise UserError("one class per sample is needed, and these samples have tags", where=data.name)
        if run is None or len(run.snapshots) < 2:
            hint = "train with --snapshots 5, for example"
            raise UserError("this run kept no encoders on the way", where=run.path if run else None, hint=hint)
        encoder, role = trial.encoder, next(iter(trial.encoders))
        train, test, part, note = data.held_out()
        train, test = (rows[data.rows.label[rows] >= 0] for rows in (train, test))
        ends = len(run.snapshots)
        of_class = parts_of_classes(data.rows.label, train, [data.files[int(row)] for row in train], self.parts or ends)
        truth, groups = data.rows.label[test], data.groups[test]
        test, truth, groups = (tensor[of_class[truth] >= 0] for tensor in (test, truth, groups))
        if not len(train) or not len(test):
            raise UserError("labels are needed on the training side and on the test side", where=data.name, hint="label some samples of both")

        def right(network: Encoder) -> Bool[Tensor, " test"]:
            features = [encode(network, trial.value, rows, device=trial.device) for rows in (train, test)]
            return NearestNeighbours().predict(features[0], data.rows.label[train], features[1]) == truth

        correct = []
        for number, folder in enumerate(run.snapshots):
            trial.say(f"scoring the encoder after part {number + 1} of {ends}")
            correct.append(right(load_encoder(folder / role if (folder / role).is_dir() else folder)))
            trial.progress(number + 1, ends)
        scores = {self.name: self.measured(torch.stack(correct), of_class[truth], groups, trial.seed)}
        floors = {name: dict(floor) for name, floor in trial.known_floors.items()}
        if UNTRAINED.name not in floors:
            trial.say("scoring the untrained encoder")
            known = right(untrained(encoder, trial.seed, trial.value, train))
            floors[UNTRAINED.name] = {self.name: mean_with_interval(known, groups=groups, seed=trial.seed) | {"per_sample": PerSample(known, groups)}}
        return Result(scores, floors, f"{data.name} ({part}: {len(test):,} samples)", [note] if note else [])

    def measured(
        self, correct: Bool[Tensor, "snapshots test"], part: Int64[Tensor, " test"], groups: Int64[Tensor, " test"], seed: int
    ) -> dict[str, Any]:
        """{accuracy, interval (of the last encoder), backward_transfer and its interval, forgetting, matrix: [[accuracy on each part] after each]}.

        part: of each test sample, from 0. Of a sample of the last part nothing can be forgotten.
        """
        count, parts = len(correct), int(part.max()) + 1
        matrix = [[row[part == number].double().mean().item() for number in range(parts)] for row in correct]
        ended = ((part + 1) * count / parts).ceil().long().clamp(max=count) - 1
        since = correct[-1].double() - correct.gather(0, ended[None])[0].double()
        earlier = ended < count - 1
        score: dict[str, Any] = mean_with_interval(correct[-1], groups=groups, seed=seed) | {"per_sample": PerSample(correct[-1], groups)}
        score["matrix"] = matrix
        if earlier.any():
            transfer = mean_with_interval(since[earlier], groups=groups[earlier], seed=seed)
            score |= {"backward_transfer": transfer["accuracy"], "backward_transfer_interval": transfer["interval"]}
            known_before = [number for number in range(parts) if (ended[part == number] < count - 1).all()]
            score["forgetting"] = sum(max(row[number] for row in matrix) - matrix[-1][number] for number in known_before) / len(known_before)
        return score

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        def signed(score: Any, key: str) -> str:
            if not score or key not in score:
                return ""
            interval = score.get(f"{key}_interval")
            return f"{100 * score[key]:+.1f}" + (f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})" if interval else "")

        more = [["backward transfer (points)", "backward_transfer"], ["forgetting (points)", "forgetting"]]
        return super().rows(arms) + [[title, *(signed(arm, key) for arm in arms)] for title, key in more]

    def second_sentence(self, score: Any, floors: Mapping[str, Any]) -> str | None:
        """What happened to the first part."""
        matrix, interval = score.get("matrix") or [], score.get("backward_transfer_interval")
        if interval is None:
            return None
        parts = len(matrix[0])
        first = matrix[-(-len(matrix) // parts) - 1][0]
        if interval[1] < 0:
            return f"It forgot: the accuracy on the first part of the stream went from {percent(first)} to {percent(matrix[-1][0])}."
        if interval[0] > 0:
            return f"Later parts helped: the accuracy on the first part of the stream went from {percent(first)} to {percent(matrix[-1][0])}."
        return "Whether it forgot the earlier parts of the stream cannot be told from these test samples."

    def figure(self, arms: Mapping[str, Any]) -> Chart | None:
        matrix = next(iter(arms.values())).get("matrix")
        if not matrix:
            return None
        lines: dict[str, list[tuple[float, float, Sequence[float] | None]]] = {
            f"part {part + 1}": [(number + 1, row[part], None) for number, row in enumerate(matrix)] for part in range(len(matrix[0]))
        }
        text = "A line that falls after its own part has ended shows what was forgotten."
        return Chart("Accuracy on each part of the stream", text, "after part", "test accuracy", lines)


def parts_of_classes(labels: Int64[Tensor, " n"], train: Int64[Tensor, " train"], files: Sequence[str], parts: int) -> Int64[Tensor, " classes"]:
    """The part of the stream in which each class comes: classes in the order of their mean place, in as many parts of about equally many classes as
    there are. -1: of classes that no training sample has. files: of the training samples."""
    ordered = labels[train][torch.from_numpy(in_order(files)[0])]
    place = torch.arange(len(ordered), dtype=torch.float64)
    classes = int(labels.max()) + 1
    count = ordered.bincount(minlength=classes)
    mean = torch.zeros(classes, dtype=torch.float64).scatter_add_(0, ordered, place) / count
    seen = (count > 0).nonzero().flatten()
    part = torch.full((classes,), -1)
    part[seen[mean[seen].argsort()]] = torch.arange(len(seen)) * min(parts, len(seen)) // len(seen)
    return part
