from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.evaluation.auc import auc_values, is_uneven, margin, with_auc
from leaven.evaluation.floors import MAJORITY, UNTRAINED
from leaven.evaluation.forest import FOREST
from leaven.evaluation.frozen import Features, FrozenProtocol, accuracy_point
from leaven.evaluation.gains import PerSample
from leaven.evaluation.intervals import mean_with_interval, percentile_interval, resampled
from leaven.evaluation.protocols.linear import probe_scores
from leaven.evaluation.sentences import AUC, Point
from leaven.modalities.floor import INPUT

SHOWN = 12  # groups that have a row each
HINT = "say what belongs together with --groups: a column, `folder`, `recording`, or a pattern such as '{label}_{speaker}_{take}.wav'"


@dataclass(frozen=True)
class LeaveOneGroupOut(FrozenProtocol):
    """A linear probe learns from all groups but one (speakers, subjects, sessions, recordings) and is scored on that one, for each group in turn.

    folds: of more groups than this, several are left out at once.
    """

    name = "groups"
    title = "leave one group out"
    needs = "labels of two classes or more, and groups (--groups)"
    tested_on = "groups"
    floors = (INPUT, UNTRAINED, MAJORITY)
    rank = 4
    of_groups = True
    probes = (FOREST,)
    flaw_of_random_split = "samples of groups that were learned"

    folds: int = 20

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise UserError(f"groups needs two folds or more, not {self.folds}")

    def check(self, data: DataSet) -> None:
        if len(data.rows.group[data.rows.group >= 0].unique()) < 2:
            raise UserError("there are no two groups, so none can be left out", where=data.name, hint=HINT)

    def score(self, features: Features) -> Any:
        """{accuracy, interval (over groups), groups: [{group, accuracy, interval, samples}], worst, folds}: means over groups of a linear probe."""
        return self.over_groups(features, lambda fold: probe_scores(fold, seed=features.seed))

    def majority(self, features: Features) -> Any:
        return self.over_groups(features, lambda fold: F.one_hot(fold.train_labels.bincount().argmax(), fold.classes).expand(len(fold.test), -1))

    def mixed(self, features: Features) -> Any:
        known = features.labeled()
        return accuracy_point(probe_scores(known, seed=features.seed), known)

    def over_groups(self, features: Features, scores_of: Callable[[Features], Tensor]) -> dict[str, Any]:
        """The score from what gives the scores of each fold's test samples."""
        known = features.labeled()
        if known.left_out is None or len(known.left_out[known.left_out >= 0].unique()) < 2:
            raise UserError("there are no two groups with labels that the encoder has not learned from", hint=HINT)
        inputs, labels, group = torch.cat([known.train, known.test]), torch.cat([known.train_labels, known.test_labels]), known.left_out
        fold = self.folds_of(group, features.seed)
        scores = torch.zeros(len(group), known.classes)
        for number in range(int(fold.max()) + 1):
            out = fold == number
            scores[out] = scores_of(
                replace(known, train=inputs[~out], train_labels=labels[~out], groups=group[~out], test=inputs[out], test_labels=labels[out])
            ).float()
        tested = group >= 0
        return grouped_point(scores[tested], labels[tested], group[tested], known.group_names, features.seed) | {"folds": int(fold.max()) + 1}

    def folds_of(self, group: Int64[Tensor, " n"], seed: int) -> Int64[Tensor, " n"]:
        """The fold in which each sample is left out; -1 = never. Groups lie in folds at random, as many in each as in any other."""
        names, member = group.unique(return_inverse=True)
        there = (names >= 0).nonzero().flatten()
        fold = torch.full((len(names),), -1)
        fold[there[torch.randperm(len(there), generator=torch.Generator().manual_seed(seed))]] = torch.arange(len(there)) % self.folds
        return fold[member]

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        """The mean, then each group, or of many the worst."""
        rows = super().rows(arms)
        own = arms[0] or {}
        by_name: list[Mapping[str, Point]] = [{one["group"]: one for one in (arm or {}).get("groups", ())} for arm in arms]
        names = list(by_name[0]) if len(by_name[0]) <= SHOWN else [own["worst"]]
        return rows + [[f"group {name}", *(self.cell(groups.get(name)) for groups in by_name)] for name in names]

    def second_sentence(self, score: Any, floors: Mapping[str, Any]) -> str | None:
        groups = {one["group"]: one for one in score["groups"]}
        worst = groups[score["worst"]]
        return f"Of {len(groups)} groups left out, {worst['group']} is the worst: {self.cell(worst)} of {worst['samples']:,} samples."


def grouped_point(
    scores: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], group: Int64[Tensor, " n"], names: Mapping[int, str], seed: int
) -> dict[str, Any]:
    """{accuracy, interval, groups, worst, samples, per_sample}, and of two classes the AUC of the groups that have both: means over groups."""
    numbers = group.unique().tolist()
    correct = (scores.argmax(1) == labels).double()
    accuracy, interval, per_sample = mean_over_groups(correct, group, seed)
    entries = []
    for number in numbers:
        mine = group == number
        entry = {"group": names[number], **mean_with_interval(correct[mine], seed=seed), "samples": int(mine.sum())}
        entry = with_auc(entry, margin(scores[mine]), labels[mine])
        entries.append({key: value for key, value in entry.items() if key not in (f"{AUC}_per_sample", "measure")})
    point: dict[str, Any] = {"accuracy": accuracy, "interval": interval, "per_sample": per_sample, "samples": len(labels)}
    both = [number for number, entry in zip(numbers, entries, strict=True) if AUC in entry]
    if both:
        values = torch.full((len(labels),), torch.nan, dtype=torch.float64)
        for number in both:
            mine = group == number
            values[mine] = auc_values(margin(scores[mine]), labels[mine] == 1)  # type: ignore[arg-type]
        there = ~values.isnan()
        area, area_interval, area_samples = mean_over_groups(values[there], group[there], seed)
        point |= {AUC: area, f"{AUC}_interval": area_interval, f"{AUC}_per_sample": area_samples}
        if is_uneven(labels):
            point["measure"] = AUC
            entries = [entry | ({"measure": AUC} if AUC in entry else {}) for entry in entries]
    key = str(point.get("measure", "accuracy"))
    worst = min((entry for entry in entries if key in entry), key=lambda entry: entry[key])
    return point | {"groups": entries, "worst": worst["group"]}


def mean_over_groups(values: Float[Tensor, " n"], group: Int64[Tensor, " n"], seed: int) -> tuple[float, list[float], PerSample]:
    """The mean over groups of their own means, its interval over resampled groups, and values per sample whose mean it is as well and whose sums over
    groups differ as the means do."""
    _, member, sizes = group.unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(sizes), dtype=torch.float64).index_add_(0, member, values.double()) / sizes
    mean = means.mean().item()
    drawn = [times @ means.numpy() / len(means) for times in resampled(len(means), seed=seed)]
    interval = percentile_interval(np.array(drawn), groups=group)
    spread = mean + (len(values) / (len(sizes) * sizes[member])) * (values.double() - mean)
    return mean, list(interval), PerSample(spread, group)
