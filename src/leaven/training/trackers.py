"""Experiment trackers: the rows of metrics.jsonl also as TensorBoard or Weights & Biases logs, in the run's folder.

A resumed training repeats the rows after its last checkpoint; a tracker must keep each step once.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from leaven.console import Say, quiet
from leaven.errors import UserError
from leaven.run import Run, write_json
from leaven.stored import read_json


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row of metrics.jsonl, those of its clock among them."""
    flat = {**row, **row.get("clock", {})}
    return {name: float(value) for name, value in flat.items() if name != "step" and isinstance(value, int | float)}


class TensorBoard:
    """RUN/tensorboard, through Fabric's logger. What an interrupted process wrote beyond the first step of this one is purged."""

    def __init__(self, run: Run, asked: dict[str, Any]):
        self.run, self.asked = run, asked
        self.logger: Any = None

    def _opened(self, step: int) -> Any:
        if self.logger is None:
            from lightning_fabric.loggers import TensorBoardLogger

            self.logger = TensorBoardLogger(self.run.path, name="tensorboard", version="", purge_step=step)
            self.logger.experiment.add_text("asked", f"```json\n{json.dumps(self.asked, indent=2)}\n```", step)
        return self.logger

    def row(self, row: dict[str, Any]) -> None:
        self._opened(row["step"]).log_metrics(numbers(row), row["step"])
        self.logger.save()

    def verdict(self, step: int, line: str) -> None:
        self._opened(step).experiment.add_text("verdict", line, step)

    def close(self) -> None:
        if self.logger is not None:
            self.logger.finalize("")


class Wandb:
    """RUN/wandb: offline, to be sent with `wandb sync`, unless WANDB_MODE says otherwise. A resumed training keeps its id.

    A killed process loses what wandb had not written yet, so an offline log is begun anew from metrics.jsonl, and an online one goes on after
    the last step that the server has.
    """

    def __init__(self, run: Run, asked: dict[str, Any]):
        self.run, self.asked, self.last = run, asked, -1
        self.log: Any = None
        self.kept = run.path / "wandb" / "leaven.json"
        self.known: dict[str, Any] = read_json(self.kept) if self.kept.is_file() else {"id": secrets.token_hex(4), "verdicts": []}

    def _opened(self) -> Any:
        if self.log is None:
            import wandb

            mode: Any = os.environ.get("WANDB_MODE", "offline")
            write_json(self.kept, self.known)
            if mode == "offline":
                for old in self.kept.parent.glob(f"offline-run-*-{self.known['id']}"):
                    shutil.rmtree(old)
            self.log = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "leaven"), name=self.run.path.name, id=self.known["id"], dir=self.run.path,
                config=self.asked, mode=mode, resume=None if mode == "offline" else "allow", settings=wandb.Settings(silent=True, console="off"),
            )  # fmt: skip
            self.last = self.log.step - 1
            earlier = [(row["step"], numbers(row)) for row in self.run.metrics] + [(step, {"verdict": line}) for step, line in self.known["verdicts"]]
            for step, values in sorted(earlier, key=lambda entry: entry[0]):
                self._keep(step, values)
        return self.log

    def _keep(self, step: int, values: dict[str, Any]) -> None:
        if step >= self.last:  # a verdict and a row may share a step
            self.log.log(values, step=step)
            self.last = step

    def row(self, row: dict[str, Any]) -> None:
        self._opened()
        self._keep(row["step"], numbers(row))

    def verdict(self, step: int, line: str) -> None:
        self._opened()
        self._keep(step, {"verdict": line})
        self.known["verdicts"].append([step, line])
        write_json(self.kept, self.known)

    def close(self) -> None:
        if self.log is not None:
            self.log.finish()


Tracker = TensorBoard | Wandb
KINDS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": Wandb}


class Trackers:
    """All trackers of one training; none by default. One that fails is named and left out: a training does not end for it."""

    def __init__(self, trackers: Sequence[Tracker] = (), say: Say = quiet):
        self.trackers, self.say = list(trackers), say

    @classmethod
    def of(cls, names: Sequence[str], run: Run, asked: dict[str, Any], say: Say) -> Trackers:
        """Trackers by name. Raises UserError for an unknown name, or where its package is not installed."""
        for name in names:
            if name not in KINDS:
                raise UserError(f"no tracker is named {name!r}", hint=f"--track takes {' or '.join(KINDS)}")
            package = importlib.util.find_spec(name)
            if package is None or package.origin is None:  # a mere folder of that name has no origin
                raise UserError(f"the tracker {name} is not installed", hint="pip install 'leaven[track]'")
        return cls([KINDS[name](run, asked) for name in dict.fromkeys(names)], say)

    def row(self, row: dict[str, Any]) -> None:
        """A row of metrics.jsonl, after it was written there."""
        self._each(lambda tracker: tracker.row(row))

    def verdict(self, step: int, line: str) -> None:
        self._each(lambda tracker: tracker.verdict(step, line))

    def close(self) -> None:
        self._each(lambda tracker: tracker.close())

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self.trackers):
            try:
                call(tracker)
            except Exception as error:
                self.trackers.remove(tracker)
                self.say(f"{type(tracker).__name__} failed and is left out from here on; the training goes on: {type(error).__name__}: {error}")
