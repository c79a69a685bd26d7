"""One cell of a grid: a training on data that its process opens for itself, and its score."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from leaven.console import Progress, Say
from leaven.data import DataSet, open_data
from leaven.data.dataset import singly
from leaven.errors import TrainingStopped
from leaven.evaluation.evaluate import evaluate_protocols
from leaven.evaluation.protocol import Trial
from leaven.evaluation.registry import find_protocol
from leaven.evaluation.results import FINISHED, STOPPED
from leaven.inspection.estimate import rehearse
from leaven.methods.registry import find_method
from leaven.report.story import report_run
from leaven.run import Run, write_json
from leaven.stored import read_json
from leaven.training.build import build_training
from leaven.training.devices import choose_device
from leaven.training.pretraining import train
from leaven.training.request import Request
from leaven.training.step import flops_a_step
from leaven.training.trained import load_encoders, trained_method


@dataclass(frozen=True)
class Source:
    """Data that every process opens for itself: the arguments of `open_data`, and the samples of it that count (None: all)."""

    data: Any
    root: str | Path | None = None
    labels: Any = None
    columns: Mapping[str, str] | None = None
    groups: str | None = None
    reading: Mapping[str, Any] | None = None
    rows: Tensor | None = None

    @classmethod
    def of(
        cls,
        data: Any,
        opened: DataSet,
        *,
        root: str | Path | None,
        labels: Any,
        columns: Mapping[str, str] | None,
        groups: str | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> Source:
        """What a user gave by name or as a list goes to the processes as it is; anything else, as it was opened."""
        return cls(data, root, labels, columns, groups, reading) if isinstance(data, str | os.PathLike | list | tuple) else cls(opened)

    def open(self, **options: Any) -> DataSet:
        """options: further arguments of `open_data`."""
        reading = {**(self.reading or {}), **options.pop("reading", {})}
        opened = open_data(self.data, root=self.root, labels=self.labels, columns=self.columns, groups=self.groups, reading=reading, **options)
        return opened if self.rows is None else opened.subset(self.rows)


@dataclass(frozen=True)
class Scoring:
    """How cells are scored. protocols: names, or file.py:Class of a user's own. role: of the encoder, where a method keeps several. settings: of the
    protocols. budget: seconds for floors that must be trained.

    page: whether each run gets its report and a count of its arithmetic, which the page of a comparison shows.
    """

    protocols: tuple[str, ...]
    device: str = "auto"
    role: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    budget: float = 120.0
    page: bool = True


def pace(request: Request, source: Source, **_: Any) -> dict[str, Any]:
    """How many steps of a training fit into its budget here."""
    assert request.budget is not None
    rehearsal = rehearse(request, source.open(size=request.size))
    return {"steps": max(1, rehearsal.steps_in(request.budget)), "batch": rehearsal.batch, "seconds_a_step": rehearsal.step}


def train_and_score(
    request: Request,
    source: Source,
    rows: Tensor | None,
    folder: Path,
    scoring: Scoring,
    known_floors: Mapping[str, Any],
    *,
    say: Say,
    progress: Progress,
) -> None:
    """A run's folder, trained, scored and marked as ended by cell.json; a training that stops itself is a result as well.

    rows: the samples of the data that the training sees (None: all).
    """
    data, run = source.open(size=request.size), Run(folder)
    data = readable(request, data if rows is None else data.subset(rows))
    try:
        train(request, data, run, progress=progress)
    except TrainingStopped as stopped:
        if scoring.page:
            report_run(run, data)
        write_json(folder / "cell.json", {"state": STOPPED, "why": str(stopped)})
        return
    reported = not scoring.page or (run.path / "report.html").is_file()
    names = {find_protocol(protocol).name for protocol in scoring.protocols}
    # an earlier process may have scored the run and ended before it could mark the cell
    if names and not (reported and run.scorecard_path.is_file() and names <= set(read_json(run.scorecard_path)["scores"])):
        score(request, source, run, scoring, known_floors, say)
    mark: dict[str, Any] = {"state": FINISHED}
    if scoring.page and run.config["plan"]["steps"]:
        parts = build_training(request, data, "cpu", folder=run)
        mark["flops_a_step"] = flops_a_step(trained_method(run, request.method), parts.data.rows, parts.members, run.config["plan"]["batch"])
    write_json(folder / "cell.json", mark)


def readable(request: Request, data: DataSet) -> DataSet:
    """The data as the method takes it: one text per sample, where it reads one at a time."""
    return singly(data, find_method(request.method).inputs(data.spec))


def score(request: Request, source: Source, run: Run, scoring: Scoring, known_floors: Mapping[str, Any], say: Say) -> None:
    """Write the scorecard, and the report where one is wanted."""
    encoders, device = load_encoders(run, scoring.role), choose_device(scoring.device)
    (encoder,) = encoders.values()
    data = source.open(**encoder.modality.open_options(encoder.input))
    data = data if scoring.role in data.rows.roles else singly(data, ["x"])
    latent = find_method(request.method).family == "latent"
    method = run.config["asked"]["method"]["name"]
    trial = Trial(data, encoders, method, run, scoring.role, scoring.budget, request.seed, device, known_floors, latent, say=say)
    card = evaluate_protocols(trial, scoring.protocols, scoring.settings)
    write_json(run.scorecard_path, card.to_dict())
    if scoring.page:
        report_run(run, data, card, encoders=encoders, device=device)
