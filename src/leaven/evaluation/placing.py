"""What a run finds in whole pictures, in their own pixels; and how that is scored."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from leaven.data.placed import Placed
from leaven.errors import UserError
from leaven.evaluation.abilities import open_method
from leaven.evaluation.floors import LABELS_ONLY, untrained
from leaven.evaluation.protocol import Protocol, Result, Scores, Trial, summed_up_floors
from leaven.evaluation.sentences import gain_over, percent, summed_up
from leaven.methods.method import Method
from leaven.methods.registry import registry
from leaven.run import Run
from leaven.training.build import build_training
from leaven.training.devices import choose_device, launch
from leaven.training.loop import Training
from leaven.training.precision import NAMES, choose_precision
from leaven.training.request import Request

AT_ONCE = 8  # pictures


@torch.no_grad()
def masks_of(method: Method, placed: Placed, rows: Sequence[int], device: str) -> Iterator[UInt8[Tensor, "height width"]]:
    """The likeliest class of each pixel of these pictures as they lie on disk."""
    for row, logits in blocks(method, placed, rows, device):
        tall, broad = placed.scaled(row)
        whole = F.interpolate(logits[None, :, :tall, :broad].float(), placed.sizes[row], mode="bilinear")
        yield whole[0].argmax(0).to(torch.uint8).cpu()


@torch.no_grad()
def objects_of(method: Method, placed: Placed, rows: Sequence[int], device: str) -> Iterator[dict[str, Tensor]]:
    """boxes (n, 4) in pixels of these pictures as they lie on disk, scores (n,) and labels (n,), best first."""
    for row, found in blocks(method, placed, rows, device):
        (height, width), (tall, broad) = placed.sizes[row], placed.scaled(row)
        boxes = found["boxes"].float().cpu() * torch.tensor([width / broad, height / tall] * 2)
        boxes = torch.minimum(boxes, torch.tensor([width, height] * 2))
        kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
        yield {"boxes": boxes[kept], "scores": found["scores"].float().cpu()[kept], "labels": found["labels"].cpu()[kept]}


def blocks(method: Method, placed: Placed, rows: Sequence[int], device: str) -> Iterator[tuple[int, Any]]:
    """Each row, and what the method says of it."""
    method = method.to(device).eval()
    says = method.segment if "segment" in method.abilities() else method.detect
    for start in range(0, len(rows), AT_ONCE):
        some = torch.tensor(rows[start : start + AT_ONCE])
        yield from zip(some.tolist(), says(placed.data.rows["x"][some].to(device)), strict=True)


class Placing(Protocol):
    """Scores what a run finds in whole pictures, beside the same network trained from scratch on the same labels for as many steps."""

    floors = (LABELS_ONLY,)
    arm = "fine-tuned"
    rank = 9
    tested_on = "pictures"
    ability = ""
    """What the run's method must be able to do."""

    @classmethod
    def suits(cls, trial: Trial) -> int:
        kind = registry().get(trial.method)
        return 3 if trial.run is not None and kind is not None and cls.ability in kind.abilities() else 0

    @abstractmethod
    def measured(self, method: Method, placed: Placed, rows: Sequence[int], trial: Trial) -> dict[str, Any]:
        """The score of a method on these rows."""

    def evaluate(self, trial: Trial) -> Result:
        """UserError where the run finds nothing of the kind, or no labels are left to test on."""
        if trial.run is None or trial.placed is None:
            hint = "make one with leaven finetune RUN DATA --task segmentation or detection"
            raise UserError(f"{self.name} needs a run that has learned from whole pictures", where=trial.data.name, hint=hint)
        method = open_method(trial.run, self.ability)
        placed, data, seed = trial.placed, trial.data, trial.seed
        learned = torch.isin(data.hashes, trial.learned)
        test = next((data.splits[name] for name in ("test", "val") if name in data.splits), None)
        rows = (torch.arange(len(data)) if test is None else test).tolist()
        rows = [row for row in rows if not learned[row]]
        if not rows:
            hint = "label some more pictures, or fine-tune without --all-labels"
            raise UserError("there are no labels to test on that this run has not learned from", where=data.name, hint=hint)
        part = "labels that it has not learned from" if test is None else "test" if "test" in data.splits else "val"
        trial.say(f"scoring {len(rows):,} pictures")
        scores, floors, notes = {self.name: self.measured(method, placed, rows, trial)}, dict[str, Scores](), list[str]()
        took = trial.run.config["result"]["seconds"]
        members = learned.nonzero().flatten()
        if len(members) < len(trial.learned.unique()):
            notes.append("No labels-only floor: some of the pictures that it has learned from are not in this data, or have no labels there.")
        elif trial.left is not None and took > trial.left:
            notes.append(f"No labels-only floor: it would take about {took:.0f} seconds, and {trial.left:.0f} are left (--labels-only).")
        else:
            trial.say("training from scratch on the same labels")
            scratch = from_scratch(trial.run, method, placed, members, seed)
            floors[LABELS_ONLY.name] = {self.name: self.measured(scratch, placed, rows, trial)}
        return Result(scores, floors, f"{data.name} ({part}: {len(rows):,} pictures)", notes)

    def sentence(self, score: Any, floors: Mapping[str, Any]) -> str:
        own = summed_up(score)
        verdict = f"{self.verdict_of(score)} {percent(own[self.headline])} on {score['samples']:,} pictures"
        beside = summed_up_floors(floors, self.headline).get(LABELS_ONLY.name)
        if beside is None:
            return f"{verdict}; no floor was measured, so what pre-training adds is unknown."
        gain = gain_over(LABELS_ONLY.name, own, beside, self.headline)
        verdict += f"; training from scratch on the same labels: {percent(beside[self.headline])}."
        if gain.better or gain.worse:
            return f"{verdict} Pre-training {'helps' if gain.better else 'made it worse'} here."
        return f"{verdict} They cannot be told apart with these {self.tested_on}{gain.would_tell(self.tested_on)}."

    def verdict_of(self, score: Any) -> str:
        return self.title


def rows_of_classes(arms: Sequence[Any], key: str, title: str) -> list[list[str]]:
    """Rows of a scorecard's table: the number of each class, which stands in "classes" under this key."""
    by_class = [{one["class"]: one[key] for one in (arm or {}).get("classes", ())} for arm in arms]
    return [[f"{title} of {name}", *(percent(arm[name]) if name in arm else "" for arm in by_class)] for name in by_class[0]]


def from_scratch(run: Run, method: Method, placed: Placed, members: Tensor, seed: int) -> Method:
    """The same network with fresh weights, all of it trained at the head's rate on these pictures for as many steps."""
    device = choose_device("auto")
    fabric = launch(device, 1, NAMES[choose_precision("auto", device)[0]])
    asked = run.config["asked"]
    recipe = {f"recipe.{name}": value for name, value in asked["recipe"].items()}
    settings = {**asked["method"]["hyperparameters"], **recipe, "train": "all", "encoder_rate": 1.0}
    request = Request(
        asked["method"]["name"], steps=run.config["result"]["steps"], batch=asked["length"]["batch"], settings=settings, seed=seed, keep_going=True,
        checkpoint_seconds=float("inf"),
    )  # fmt: skip
    parts = build_training(request, placed.data, device, members=members, make_encoder=lambda: untrained(method.encoder, seed))
    with tempfile.TemporaryDirectory(prefix="leaven-") as folder:
        rows, where = placed.data.rows, fabric.device
        Training(parts.method, parts.recipe, rows, members, parts.plan, Run(folder), request, fabric.autocast, device=where, watch=False).run()
    return parts.method.eval()
