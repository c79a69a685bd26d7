"""The grid of a comparison: a run for each method and seed, kept on disk, each made by a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from leaven.api.console import Progress, Say, quiet
from leaven.data import DataSet
from leaven.data.sampler import Sampler
from leaven.encoders import Encoder, describe_encoder
from leaven.errors import Interrupted, UserError
from leaven.evaluation.comparison import DIED, FINISHED, OF_INPUT, STOPPED, Cell
from leaven.experiments.process import Died, Family, apart
from leaven.methods.method import Method
from leaven.methods.registry import find_method, registry
from leaven.run import FORMAT, Run, read_json, write_json
from leaven.training.build import build_training
from leaven.training.continuing import kept_plan
from leaven.training.request import Request


@dataclass(frozen=True)
class Entry:
    """A method that takes part: how its trainings are asked for, and the encoder that all of them start from."""

    name: str
    request: Request
    encoder: dict[str, Any]

    @property
    def shown_encoder(self) -> str:
        """The encoder's name, with the arguments that were set."""
        arguments = ", ".join(f"{name} {value}" for name, value in self.encoder["arguments"].items())
        return f"{self.encoder['name']} ({arguments})" if arguments else str(self.encoder["name"])


def entries(
    methods: str | Sequence[str | type[Method]], data: DataSet, device: str, settings: Mapping[str, Any], **request: Any
) -> tuple[list[Entry], dict[str, str]]:
    """The methods that take part, and those that `all` would include but the data or the encoder do not suit, with the reason.

    settings: "name" for every method, "method:name" for one. A method that is asked for by name and does not suit raises UserError.
    """
    asked = list(registry()) if methods == "all" else [name.strip() for name in methods.split(",")] if isinstance(methods, str) else methods
    kinds = {short(kind.name): kind for kind in map(find_method, asked)}
    if len(kinds) < len(asked):
        raise UserError("two of the methods have one name", where=", ".join(map(str, asked)), hint="name each method once")
    for name in settings:
        if (method := name.rpartition(":")[0]) and method not in kinds:
            raise UserError(f"a setting is for {method!r}, which is not compared", where=name, hint=f"the methods are {', '.join(kinds)}")
    found, left_out = [], {}
    for name, kind in kinds.items():
        own = {key.rpartition(":")[2]: value for key, value in settings.items() if key.rpartition(":")[0] in ("", name)}
        wanted = Request(method=kind.name, settings=own, device=device, **request)
        try:
            found.append(Entry(name, wanted, scored_encoder(wanted, data, device)))
        except UserError as error:
            if methods != "all" or any(key.startswith(f"{name}:") for key in settings):
                raise
            left_out[name] = error.what
    return found, left_out


def scored_encoder(request: Request, data: DataSet, device: str) -> dict[str, Any]:
    """The description of the encoder that a training would keep. Raises UserError where it could not be trained, or would keep none to score."""
    members = data.train()
    kind = find_method(request.method)
    if kind.continues:
        raise UserError(f"{kind.name} goes on from a trained encoder", hint="compare ways to train one")
    if (kind.classifies or kind.learns_labels or "labeled" in kind.pools) and torch.isin(data.held_out()[1], members).any():
        hint = "give a test split, so that it is scored by labels that it has not seen"
        raise UserError(f"{kind.name} learns from labels, and this data has no test split of its own", where=data.name, hint=hint)
    parts = build_training(request, data, device)
    Sampler(parts.data.rows.label[parts.members], parts.plan.batch, request.seed, parts.method.pools, parts=1)
    kept = list(parts.method.encoders().values())
    if len(kept) != 1:
        raise UserError(f"{kind.name} keeps {len(kept)} encoders, and a comparison scores one")
    if not isinstance(kept[0], Encoder):
        raise UserError(f"{kind.name} brings networks of its own, which have no input specification to score by")
    return json.loads(json.dumps(describe_encoder(kept[0])))


def short(method: str) -> str:
    """The name of a method; of a user's own, the class alone."""
    return method.rpartition(":")[2]


class Grid:
    """A comparison's folder: plan.json (what was asked, the machine, the steps of each method) and METHOD/SEED, a run each."""

    def __init__(self, folder: Path, asked: dict[str, Any], machine: dict[str, Any]):
        """Goes on with a comparison that was asked for in the same way. UserError where the folder holds another."""
        self.folder = folder
        fresh = {"format": FORMAT, "asked": json.loads(json.dumps(asked)), "machine": machine, "methods": {}, "notes": []}
        self.plan: dict[str, Any] = kept_plan(folder, asked, "comparison") or fresh

    def settle_lengths(self, entries: list[Entry], opening: Mapping[str, Any], say: Say) -> None:
        """How many steps the trainings of each method take: as asked for, or by rehearsing the method once. Written down, they stay so."""
        for entry in entries:
            if entry.name in self.plan["methods"]:
                continue
            if entry.request.steps is not None:
                settled = {"steps": entry.request.steps}
            else:
                self.note_load(say)
                settled = apart("pace", {"request": entry.request, "opening": opening}, say=say, progress=quiet)
                say(f"{entry.name}: {settled['steps']:,} steps of {settled['batch']} samples, {1000 * settled['seconds_a_step']:.0f} ms each")
            self.plan["methods"][entry.name] = settled
            write_json(self.folder / "plan.json", self.plan)

    def note_load(self, say: Say) -> None:
        """Before the first rehearsal: whether other work would make the lengths come out short."""
        load, cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, os.cpu_count() or 1
        if not self.plan["methods"] and load > 0.5 * cores:
            busy = f"the machine was busy when the lengths were settled (load {load:.1f} on {cores} cores)"
            self.note(f"{busy}: budgets may hold fewer steps than they could", say)

    def note(self, said: str, say: Say = quiet) -> None:
        """A note that the page shows, said once."""
        if said not in self.plan["notes"]:
            self.plan["notes"].append(said)
            write_json(self.folder / "plan.json", self.plan)
            say(said)

    def fill(
        self,
        entries: list[Entry],
        seeds: int,
        opening: Mapping[str, Any],
        evaluation: Mapping[str, Any],
        say: Say,
        progress: Progress,
        jobs: int = 1,
    ) -> list[Cell]:
        """Every cell, made where it is not there yet; seed by seed, so that a slow hour of the machine touches all methods alike.

        jobs: cells made at a time, each on its share of the cores; the eldest of them tells its progress. UserError when none came to an end.
        """
        wanted = [(seed, entry) for seed in range(seeds) for entry in entries]
        finished: list[Cell] = []
        under_way: dict[str, None] = {}

        def told(place: str, task: str, *numbers: Any) -> None:
            if place == next(iter(under_way), place):
                progress(task, *numbers)

        def make(number: int, seed: int, entry: Entry) -> Cell:
            cell, place = self.cell(entry, seed), f"[{number}/{len(wanted)}] {entry.name}, seed {seed}"
            if cell is None:
                if family.asked_to_end:
                    raise Interrupted("what is finished is kept")
                say(place)
                under_way[place] = None
                task = {
                    "request": replace(entry.request, budget=None, steps=self.plan["methods"][entry.name]["steps"], seed=seed),
                    "opening": opening,
                    "folder": self.run(entry.name, seed).path,
                    "evaluation": {**evaluation, "seed": seed, "known_floors": self.known_floors(entry, seed, entries, finished)},
                }
                try:
                    apart("train_and_score", task, family, say=say, progress=partial(told, place, f"{entry.name}, seed {seed}"))
                    cell = self.cell(entry, seed)
                    assert cell is not None
                except Died as died:
                    cell = Cell(entry.name, seed, DIED, f"{entry.name}/{seed}", encoder=entry.shown_encoder, why=str(died))
                finally:
                    del under_way[place]
            finished.append(cell)
            say(f"{place}: {cell.told()}")
            return cell

        if jobs > 1 and not all(self.cell(entry, seed) for seed, entry in wanted):
            self.note(f"{jobs} trainings ran side by side: seconds, samples/s and FLOP/s are those of a share of the cores", say)
        with Family(None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)) as family, ThreadPoolExecutor(jobs) as pool:
            making = [pool.submit(make, number, *place) for number, place in enumerate(wanted, start=1)]
            try:
                cells = [cell.result() for cell in making]
            except BaseException:
                family.end()
                pool.shutdown(cancel_futures=True)
                raise
        if all(cell.state == DIED for cell in cells):
            raise UserError("no training came to an end", where=self.folder, hint=cells[0].why)
        return cells

    def run(self, method: str, seed: int) -> Run:
        return Run(self.folder / method / str(seed))

    def cell(self, entry: Entry, seed: int) -> Cell | None:
        """A cell that has come to an end; none while it has not."""
        run = self.run(entry.name, seed)
        mark = run.path / "cell.json"
        if not mark.is_file():
            return None
        ended, config = json.loads(mark.read_text()), run.config
        at: dict[str, Any] = {
            "method": entry.name,
            "seed": seed,
            "folder": f"{entry.name}/{seed}",
            "encoder": entry.shown_encoder,
            "health": run.health,
        }
        if ended["state"] == STOPPED:
            return Cell(**at, state=STOPPED, steps=config["stopped"]["step"], why=ended["why"])
        result, card = config["result"], read_json(run.scorecard_path)
        measured = {name: result[name] for name in ("steps", "seconds", "samples_per_second", "cpu_seconds", "peak_memory", "time_split")}
        speed = ended["flops_a_step"] * result["steps"] / result["seconds"]
        return Cell(**at, state=FINISHED, scores=card["scores"], floors=card["floors"], flops_per_second=speed, **measured)

    def known_floors(self, entry: Entry, seed: int, all_entries: list[Entry], cells: list[Cell]) -> dict[str, Any]:
        """Floors that finished cells have measured: all of them for the same encoder and seed; those of the input, also for the same input."""
        finished = [found for found in cells if found.state == FINISHED]
        encoders = {other.name: other.encoder for other in all_entries}
        for found in finished:
            if found.seed == seed and encoders[found.method] == entry.encoder:
                return found.floors
        for found in finished:
            if encoders[found.method]["input"] == entry.encoder["input"] and (found.seed == seed or "few-label" not in found.scores):
                return {name: found.floors[name] for name in OF_INPUT if name in found.floors}
        return {}
