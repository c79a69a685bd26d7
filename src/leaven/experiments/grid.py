"""The grid under `compare` and `reproduce`: arms x seeds, a run for each cell, kept on disk and made by a process of its own."""

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from leaven.console import Progress, Say, quiet
from leaven.data import DataSet
from leaven.encoders import Encoder, describe_encoder
from leaven.encoders.build import encoder_title
from leaven.errors import Interrupted, UserError
from leaven.evaluation.comparison import OF_INPUT
from leaven.evaluation.results import DIED, FINISHED, STOPPED, Cell
from leaven.experiments.cell import Scoring, Source, pace, readable, train_and_score
from leaven.experiments.process import Died, Family, run_in_process
from leaven.inspection.advice import duration
from leaven.inspection.estimate import BUSY, load
from leaven.methods.registry import find_method
from leaven.run import FORMAT, Run, write_json
from leaven.sampling import Members
from leaven.stored import read_json
from leaven.training.build import build_training
from leaven.training.checkpoint import kept_plan
from leaven.training.devices import describe_machine
from leaven.training.request import Request


@dataclass(frozen=True)
class Entry:
    """An arm of a grid, which is trained once per seed.

    folder: its name on disk. request: its training, without the seed. encoder: description of the encoder that is scored, before its training (empty
    where none is). rows: seed -> the samples of the data that this training sees (None: all of them).
    """

    name: str
    folder: str
    request: Request
    encoder: dict[str, Any]
    rows: Callable[[int], Tensor] | None = None

    @property
    def shown_encoder(self) -> str:
        return encoder_title(self.encoder) if self.encoder else ""


def scored_encoder(request: Request, data: DataSet, device: str, role: str | None) -> dict[str, Any]:
    """The description of the encoder that a training would keep and that is scored: that of the role, where there are several.

    Raises UserError where the training is not possible, or keeps no encoder that could be scored.
    """
    kind, data = find_method(request.method), readable(request, data)
    parts = build_training(request, data, device)
    method = parts.method
    Members(parts.data.rows, parts.members).sampler(parts.plan.batch, request.seed, "order", pools=method.pools, nearness=method.nearness)
    encoders = parts.method.encoders()
    if len(encoders) > 1 and role not in encoders:
        wanted = f", and none for {role!r}" if role else ", and only one is scored"
        hint = f"choose one with --role: {' or '.join(encoders)}"
        raise UserError(f"{kind.name} keeps several encoders ({', '.join(encoders)}){wanted}", hint=hint)
    read = next(iter(kind.inputs(data.spec)))
    if len(encoders) == 1 and role not in (None, read) and role in data.rows.roles:
        raise UserError(f"{kind.name} keeps an encoder of {read!r}, and that of {role!r} is to be scored", hint="leave --role out")
    encoder = encoders[str(role)] if len(encoders) > 1 else next(iter(encoders.values()), None)
    if not isinstance(encoder, Encoder):
        raise UserError(f"{kind.name} brings its own networks, and they do not say what input they can be scored on")
    return json.loads(json.dumps(describe_encoder(encoder)))


class Grid:
    """A folder: plan.json (what was asked for, the machine, the steps of arms that were given a time, notes), and ARM/SEED, a run for each cell.

    A cell that has come to an end is marked by cell.json.
    """

    def __init__(self, folder: Path, kind: str, asked: dict[str, Any], source: Source, scoring: Scoring):
        """Go on with a grid that was asked for in the same way. kind: what the folder holds. UserError where it holds another."""
        self.folder, self.source, self.scoring = folder, source, scoring
        kept = kept_plan(folder, asked, kind)
        self.plan: dict[str, Any] = {"methods": {}, "notes": [], **(kept or {"format": FORMAT, "asked": json.loads(json.dumps(asked))})}
        if kept is None:
            self.plan["machine"] = describe_machine(scoring.device)
            self.save()

    def save(self) -> None:
        write_json(self.folder / "plan.json", self.plan)

    def note(self, text: str, say: Say) -> None:
        """A note that the page shows, said once."""
        if text not in self.plan["notes"]:
            self.plan["notes"].append(text)
            self.save()
            say(text)

    def settle_lengths(self, entries: Sequence[Entry], family: Family, say: Say) -> None:
        """Turn the time of each arm into steps, by rehearsing it once. Written down, they stay so."""
        for entry in entries:
            if entry.request.steps is not None or entry.name in self.plan["methods"]:
                continue
            if not self.plan["methods"] and load() > BUSY:
                busy = f"the machine was busy when budgets were turned into steps (load {load():.1f} per core)"
                self.note(f"{busy}: they may hold fewer steps than they could", say)
            settled = run_in_process(pace, {"request": entry.request, "source": self.source}, family, say=say, progress=quiet)
            say(f"{entry.name}: {settled['steps']:,} steps of {settled['batch']} samples, {1000 * settled['seconds_a_step']:.0f} ms per step")
            self.plan["methods"][entry.name] = settled
            self.save()

    def fill(self, entries: Sequence[Entry], seeds: int, say: Say, progress: Progress, jobs: int = 1) -> list[Cell]:
        """Every cell, made where it is not there yet; seed by seed, so that a slow hour of the machine touches all arms alike.

        jobs: cells made at a time, each on its share of the cores; the oldest of them reports its progress. UserError when no training came to an
        end.
        """
        with Family() as alone:
            self.settle_lengths(entries, alone, say)
        wanted = [(seed, entry) for seed in range(seeds) for entry in entries]
        to_make = [(seed, entry) for seed, entry in wanted if self.cell(entry, seed) is None]
        paces = [self.plan["methods"].get(entry.name) for _, entry in to_make]
        if to_make and all(pace and "seconds_a_step" in pace for pace in paces):
            together = sum(pace["steps"] * pace["seconds_a_step"] for pace in paces) / jobs
            say(f"{len(to_make)} trainings, about {duration(together)} in all, and their scores beside it")
        started, made = time.monotonic(), 0
        ended: list[tuple[Entry, Cell]] = []
        under_way: list[str] = []

        def report(place: str, task: str, *numbers: Any) -> None:
            if under_way[:1] == [place]:
                progress(task, *numbers)

        def make(number: int, seed: int, entry: Entry) -> Cell:
            nonlocal made
            cell, place = self.cell(entry, seed), f"[{number}/{len(wanted)}] {entry.name}, seed {seed}"
            if cell is None:
                if family.ending:
                    raise Interrupted("what is finished is kept")
                say(place)
                under_way.append(place)
                steps = entry.request.steps or self.plan["methods"][entry.name]["steps"]
                task = {
                    "request": replace(entry.request, budget=None, steps=steps, seed=seed),
                    "source": self.source,
                    "rows": entry.rows and entry.rows(seed),
                    "folder": self.run(entry, seed).path,
                    "scoring": self.scoring,
                    "known_floors": known_floors(entry, seed, ended),
                }
                try:
                    run_in_process(train_and_score, task, family, say=say, progress=partial(report, place, f"{entry.name}, seed {seed}"))
                    cell = self.cell(entry, seed)
                    assert cell is not None
                except Died as died:
                    cell = Cell(entry.name, seed, DIED, self.run(entry, seed), encoder=entry.shown_encoder, why=str(died))
                finally:
                    under_way.remove(place)
                made += 1
            ended.append((entry, cell))
            left = (time.monotonic() - started) / made * (len(to_make) - made) if made else 0.0
            say(f"{place}: {cell.summary()}" + (f"; about {duration(left)} left" if left else ""))
            return cell

        if jobs > 1 and not all(self.cell(entry, seed) for seed, entry in wanted):
            self.note(f"{jobs} trainings ran side by side: seconds, samples/s and FLOP/s are those of a share of the cores", say)
        with Family(None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)) as family, ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(make, number, *place) for number, place in enumerate(wanted, start=1)]
            try:
                cells = [future.result() for future in futures]
            except BaseException:
                family.end()
                pool.shutdown(cancel_futures=True)
                raise
        if all(cell.state == DIED for cell in cells):
            raise UserError("no training came to an end", where=self.folder, hint=cells[0].why)
        return cells

    def run(self, entry: Entry, seed: int) -> Run:
        return Run(self.folder / entry.folder / str(seed))

    def cell(self, entry: Entry, seed: int) -> Cell | None:
        """A cell that has come to an end; None while it has not."""
        run = self.run(entry, seed)
        if not (run.path / "cell.json").is_file():
            return None
        mark, config = read_json(run.path / "cell.json"), run.config
        cell = Cell(entry.name, seed, mark["state"], run, encoder=entry.shown_encoder, health=run.health)
        if mark["state"] == STOPPED:
            return replace(cell, steps=config["stopped"]["step"], why=mark["why"])
        result = config["result"]
        measured = {name: result.get(name) for name in ("steps", "seconds", "samples_per_second", "cpu_seconds", "peak_memory")}
        if "flops_a_step" in mark:
            measured["flops_per_second"] = mark["flops_a_step"] * result["steps"] / result["seconds"]
        card = read_json(run.scorecard_path) if self.scoring.protocols else {"scores": {}, "floors": {}}
        return replace(cell, scores=card["scores"], floors=card["floors"], time_split=result.get("time_split", {}), **measured)


def known_floors(entry: Entry, seed: int, ended: Sequence[tuple[Entry, Cell]]) -> dict[str, Any]:
    """Floors that finished cells have measured: all of them for the same encoder and seed; those of the input, also for the same input."""
    finished = [(other, cell) for other, cell in ended if cell.state == FINISHED and cell.floors]
    for other, cell in finished:
        if cell.seed == seed and other.encoder == entry.encoder:
            return cell.floors
    for other, cell in finished:
        if other.encoder["input"] == entry.encoder["input"] and (cell.seed == seed or "few-label" not in cell.scores):
            return {name: cell.floors[name] for name in OF_INPUT if name in cell.floors}
    return {}
