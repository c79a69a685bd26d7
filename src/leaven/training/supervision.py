"""Which labels a training learns from, which ones decide when it ends, and which ones it must not see."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leaven.data import Batch, DataSet
from leaven.data.splits import hold_out
from leaven.errors import UserError
from leaven.methods.registry import provided_arguments, registry
from leaven.run import Run, write_whole
from leaven.stored import building
from leaven.training.distributed import agree
from leaven.vectors import label_of

FEWEST_TO_TEST = 5  # labels per class that must be left to learn from before any are kept for a test
FEWEST_TO_STOP = 400  # labels per class; with fewer, holding a fifth out costs accuracy: a point at 100, one or two at 10
FIFTH, MOST_HELD_OUT = 5, 5000
FOLDS, FEWEST_TO_COMPARE, FEWEST_STEPS, LEAST_BUDGET = 2, 100, 200, 60.0  # labels, steps and seconds from which cross-validation says something


@dataclass(frozen=True)
class Supervision:
    """Rows of a data set: those that train, and those whose labels decide when training ends. choices: what was chosen for the user, and why."""

    members: Tensor
    held_out: Tensor
    choices: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self, data: DataSet) -> dict[str, Any]:
        """What identifies it."""
        digest = hashlib.blake2b(data.hashes[torch.cat([self.members, self.held_out])].numpy().tobytes(), digest_size=16)
        return {"learned": int(data.rows.labeled[self.members].sum()), "held_out": len(self.held_out), "samples": digest.hexdigest()}


def supervision(data: DataSet, *, all_labels: bool | None = None, early_stopping: bool | None = None) -> Supervision:
    """The labeled rows of the train split; without a val or test split, the labeled rows outside of the fifth that `evaluate` tests on.

    all_labels: learn from that fifth as well (None: only where there are too few labels to keep any). early_stopping: hold out a fifth of the rows,
    the same share of each class and groups kept whole, to decide when training ends (None: where there are enough). Raises UserError without two
    classes.
    """
    naming, labels, names, choices = data.rows.naming, data.rows.named.main, len(data.spec.names), []
    everything = labeled(data, data.train())

    def occurring(rows: Tensor) -> int:
        return int((naming.counts(labels[rows], names) > 0).sum())

    classes = occurring(everything)
    if classes < (1 if data.spec.tag_names else 2):
        why = f"all are {data.spec.class_names[int(labels[everything[0]])]!r}" if classes else "there are none to learn from"
        raise UserError(f"labels of two classes or more are needed, and {why}", where=data.name, hint="say where they are with --labels")

    def per_name(rows: Tensor) -> float:
        return float(naming.counts(labels[rows], names).sum()) / classes

    rows = everything if all_labels or {"val", "test"} & data.splits.keys() else labeled(data, data.held_out()[0])
    if len(rows) < len(everything):
        why = "the others are kept for `leaven evaluate`; --all-labels learns from them too"
        enough = per_name(rows) >= FEWEST_TO_TEST and occurring(rows) == classes
        if all_labels is None and not enough:
            rows, why = everything, "too few to keep any for `leaven evaluate`"
        choices.append({"what": "labels", "value": f"{len(rows):,} of {len(everything):,}", "why": why})
    enough = per_name(rows) >= FEWEST_TO_STOP
    if early_stopping is None:
        value, why = "none", f"there are fewer than {FEWEST_TO_STOP} labels per class, and all are needed to learn from"
        if enough:
            value, why = "on a fifth of the labels", "there are enough; --no-early-stopping learns from all"
        choices.append({"what": "early stopping", "value": value, "why": why})
    held = held_out_labels(naming.strata(labels[rows]), data.hashes[rows], data.groups[rows])
    if early_stopping and not held.any():
        raise UserError(f"no class has {FIFTH} labels, so none can be held out", where=data.name, hint="leave --early-stopping out")
    if early_stopping or (early_stopping is None and enough):
        return Supervision(rows[~held], rows[held], choices)
    return Supervision(rows, rows[:0], choices)


def cross_validation(used: Supervision, *, steps: float | None, budget: float | None) -> tuple[int, list[dict[str, Any]]]:
    """In how many folds fine-tuning is compared with its probe by the same labels, and the choice for the user.

    0 where that would say nothing, and where held-out labels decide. steps, budget: of the whole training, cross-validation included, where they are
    known.
    """
    if len(used.held_out):
        return 0, []
    labels = len(used.members)
    why = ""
    if labels < FEWEST_TO_COMPARE:
        why = f"{labels} labels are too few to compare fine-tuning with its probe and to calibrate probabilities; {FEWEST_TO_COMPARE} are enough"
    elif (steps is not None and steps < FEWEST_STEPS) or (budget is not None and budget < LEAST_BUDGET):
        why = f"too short for it; {FEWEST_STEPS} steps or {LEAST_BUDGET:.0f} seconds are enough"
    if why:
        return 0, [{"what": "cross-validation", "value": "none", "why": why}]
    why = "half of the time goes into comparing fine-tuning with its probe and into calibrating probabilities; --set folds=0 leaves it out"
    return FOLDS, [{"what": "cross-validation", "value": f"{FOLDS} folds", "why": why}]


def beside_unlabeled(used: Supervision, data: DataSet, method: str, train: str = "all") -> Supervision:
    """The same labels, and beside them all samples of the train split that have none. method: by which these teach; train: which part of the encoder
    was to be trained. Raises UserError where there are none, or the method learns from no unlabeled samples."""
    able = [name for name, kind in registry().items() if kind.learns_unlabeled and "encoder" in provided_arguments(kind)]
    if method not in able:
        what = f"{method!r} is no method by which unlabeled samples teach beside labeled ones"
        raise UserError(what, where="unlabeled", hint=f"choose from {', '.join(able)}")
    if train != "all":
        raise UserError("with unlabeled samples the whole encoder is trained", where="train", hint="leave --train out, or --unlabeled")
    rows = data.train()
    rest = rows[~data.rows.labeled[rows]]
    if not len(rest):
        raise UserError("every sample has a label, so there are no unlabeled ones to learn from", where=data.name, hint="leave --unlabeled out")
    choice = {"what": "unlabeled", "value": f"{len(rest):,} samples", "why": f"they teach by {method}, beside {len(used.members):,} labels"}
    return replace(used, members=torch.cat([used.members, rest]).sort().values, choices=[*used.choices, choice])


def labeled(data: DataSet, rows: Tensor) -> Tensor:
    return rows[data.rows.labeled[rows]]


def held_out_labels(labels: Tensor, hashes: Tensor, groups: Tensor) -> Tensor:
    """(n,) bool, true for a fifth of every class, or of whole groups where there are any; at most about 5,000 in all.

    It depends on content alone, and samples of the same content stay on one side.
    """
    if (groups >= 0).any():
        return hold_out(hashes, groups)
    parts = max(FIFTH, -(-len(labels) // MOST_HELD_OUT))
    return torch.isin(hashes, torch.cat([hashes[labels == label].unique()[parts - 1 :: parts] for label in labels.unique()]))


class EarlyStopping:
    """Keeps the state with the smallest number on held-out samples; ends after `patience` looks without improvement (Prechelt 1998).

    Checkpoints hold all of it, so that a resumed training keeps the same state and ends at the same step.
    """

    def __init__(self, held_out: Batch, patience: int):
        self.held_out, self.patience = held_out, patience
        self.step, self.without_gain = 0, 0
        self.measures: dict[str, float] = {}
        self.kept: dict[str, Tensor] = {}

    @property
    def ended(self) -> bool:
        return self.without_gain >= self.patience

    def batches(self) -> Iterator[Batch]:
        for rows in torch.arange(len(self.held_out)).split(256):
            yield self.held_out.select(rows)

    def look(self, step: int, module: nn.Module, measures: dict[str, float]) -> dict[str, float]:
        """Records the measures of a look, of which the first decides, and returns them."""
        measures = {name: agree(number) for name, number in measures.items()}
        if not self.measures or next(iter(measures.values())) < next(iter(self.measures.values())):
            self.step, self.without_gain, self.measures = step, 0, measures
            self.kept = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        else:
            self.without_gain += 1
        return measures

    def restore(self, module: nn.Module) -> None:
        """The module as it was at the best look."""
        module.load_state_dict(self.kept)

    def summary(self) -> dict[str, Any]:
        return {"best_step": self.step, "held_out": len(self.held_out), **self.measures}

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "without_gain": self.without_gain, "measures": self.measures, "kept": self.kept}

    def load(self, state: dict[str, Any]) -> None:
        self.step, self.without_gain, self.measures, self.kept = (state[name] for name in ("step", "without_gain", "measures", "kept"))


def write_record(run: Run, data: DataSet, learned: Tensor, held_out: Tensor, hashes: Tensor) -> None:
    """learned-from.csv: file, label, part and content hash of every sample whose label the training used, so that none of them is tested on."""

    def save(partial: Path) -> None:
        with open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file", "label", "part", "hash"])
            for part, rows in (("learned", learned), ("held out", held_out)):
                for row in rows.tolist():
                    writer.writerow([data.files[row] or row, label_of(data, row), part, int(hashes[row])])

    write_whole(run.learned_path, save)


def learned_hashes(run: Run) -> Tensor:
    """(n,) int64 content hashes of the samples whose labels the run has used; empty where it used none."""
    return torch.tensor([int(line["hash"]) for line in record(run)], dtype=torch.int64)


def learned_labels(run: Run) -> dict[int, str]:
    """The label of each of these samples, by its content hash."""
    return {int(line["hash"]): line["label"] for line in record(run)}


def record(run: Run) -> list[dict[str, str]]:
    """The lines of learned-from.csv."""
    if not run.learned_path.is_file():
        return []
    with building(run.learned_path), open(run.learned_path, newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))
