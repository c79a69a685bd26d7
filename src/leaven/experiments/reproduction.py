"""Claims by their names, and how one becomes a grid of trainings with measures beside them."""

import functools
import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import leaven.experiments.claims as claims_folder
from leaven.console import Say
from leaven.data import DataSet
from leaven.draw import Draw
from leaven.errors import TrainingStopped, UserError, unknown_name
from leaven.evaluation.results import DIED, STOPPED, Cell
from leaven.experiments.claim import Claim, few_per_class
from leaven.experiments.grid import Entry, scored_encoder
from leaven.methods.registry import find_method
from leaven.run import write_json
from leaven.stored import read_json
from leaven.training.pretraining import Request


@functools.cache
def claims() -> dict[str, type[Claim]]:
    """Name -> claim, for every file in the folder `claims`."""
    registry: dict[str, type[Claim]] = {}
    for _, path, _ in pkgutil.iter_modules(claims_folder.__path__, f"{claims_folder.__name__}."):
        for value in vars(importlib.import_module(path)).values():
            if isinstance(value, type) and issubclass(value, Claim) and value.__module__ == path:
                value.name = path.rpartition(".")[2].replace("_", "-")
                registry[value.name] = value
    return dict(sorted(registry.items()))


def find_claim(claim: str | type[Claim]) -> Claim:
    """A claim by its name, or one of the user's own."""
    if isinstance(claim, str) and claim not in claims():
        raise unknown_name("claim", claim, claims(), "leaven claims")
    kind = claims()[claim] if isinstance(claim, str) else claim
    if not vars(kind).get("name"):
        kind.name = kind.__name__
    return kind()


def thinned(data: DataSet, train: int, test: int) -> Tensor | None:
    """Rows of at most so many samples to train on and to score by, drawn at random (the same ones at every call), in the data's order; None where all
    are used."""
    learned, scored, _, _ = data.held_out()
    if len(learned) <= train and len(scored) <= test:
        return None
    parts = ((learned, train, "train"), (scored, test, "test"))
    return torch.cat([rows[Draw(0, "thinned", name).permutations(len(rows), 1)[0][:count]] for rows, count, name in parts]).sort().values


def arms_of(claim: Claim, samples: DataSet, steps: int | None, device: str) -> list[Entry]:
    """The arms of a claim, for a grid. steps: another length for all of them. UserError where one cannot be trained on the samples, or not scored."""
    entries = []
    for name, arm in claim.arms().items():
        batch, length = arm.batch or (claim.batch if arm.per_class is None else None), steps or arm.steps or claim.steps
        training = Request(
            find_method(arm.method).name, arm.encoder, steps=length, batch=batch, settings=dict(arm.settings), device=device, keep_going=True
        )
        rows = None if arm.per_class is None else partial(few_per_class, samples, arm.per_class)
        seen = samples if rows is None else samples.subset(rows(0))
        entries.append(Entry(name, slug(name), training, scored_encoder(training, seen, device, None) if claim.protocols else {}, rows))
    return entries


def asked_of(claim: Claim, samples: DataSet, steps: int | None) -> dict[str, Any]:
    """What identifies a reproduction: a folder is only gone on with by one that asks for the same. More seeds may be asked for later."""
    arms = claim.arms().items()
    return {
        "claim": claim.name,
        "data": {"name": samples.name, "fingerprint": samples.fingerprint},
        "steps": steps or claim.steps,
        "arms": {name: {"settings": dict(arm.settings), "steps": arm.steps, "batch": arm.batch, "per_class": arm.per_class} for name, arm in arms},
    }


def refuse_unfinished(cells: Sequence[Cell]) -> None:
    """A rule needs every training: UserError where a process died, TrainingStopped where a training stopped itself."""
    for cell in cells:
        if cell.state == DIED:
            raise UserError(f"{cell.arm}, seed {cell.seed}: {cell.why}", where=cell.run.path, hint="the same command tries it again")
        if cell.state == STOPPED:
            last = cell.health[-1]
            raise TrainingStopped(last["verdict"], f"{last['why']} ({cell.arm}, seed {cell.seed})", step=cell.steps or 0)


def measured(claim: Claim, cells: Sequence[Cell], samples: DataSet, folder: Path, say: Say) -> dict[int, Mapping[str, Mapping[str, float]]]:
    """What the claim measures on the trainings of each seed, kept in measures/SEED.json."""
    measures: dict[int, Mapping[str, Mapping[str, float]]] = {}
    for seed in dict.fromkeys(cell.seed for cell in cells):
        kept = folder / "measures" / f"{seed}.json"
        if not kept.is_file():
            numbers = claim.measure({cell.arm: cell.run for cell in cells if cell.seed == seed}, samples, seed)
            write_json(kept, {arm: dict(values) for arm, values in numbers.items()})
        measures[seed] = read_json(kept)
        for arm, values in measures[seed].items():
            say(f"{arm}, seed {seed}: {', '.join(f'{measure} {number:.4g}' for measure, number in values.items())}")
    return measures


def slug(name: str) -> str:
    """A folder's name for an arm's words."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
