"""From a claim's name to its verdict: the trainings, each kept on disk as soon as it is done, the rule, and a page."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

import leaven.experiments.claims as claims_folder
from leaven.api.console import Progress, Say, quiet
from leaven.api.evaluate import evaluate
from leaven.api.pretrain import pretrain
from leaven.data import DataSet, open_data
from leaven.draw import Draw
from leaven.errors import UserError, unknown_name
from leaven.evaluation.comparison import mean
from leaven.evaluation.registry import percent
from leaven.experiments.claim import Cell, Claim, Found, few
from leaven.report.reproduction import report_reproduction
from leaven.run import FORMAT, Run, read_json, write_json
from leaven.training.continuing import kept_plan
from leaven.training.devices import choose_device, describe_machine


@functools.cache
def claims() -> dict[str, type[Claim]]:
    """Name -> claim, for every file of this folder that defines one."""
    found: dict[str, type[Claim]] = {}
    for _, path, _ in pkgutil.iter_modules(claims_folder.__path__, "leaven.experiments.claims."):
        module = importlib.import_module(path)
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Claim) and value is not Claim and value.__module__ == path:
                value.name = path.rpartition(".")[2].replace("_", "-")
                found[value.name] = value
    return dict(sorted(found.items()))


def list_claims() -> list[dict[str, Any]]:
    """Every claim: name, what it says, its source, the rule that decides it, and how many minutes it takes on two CPU cores."""
    fields = ("name", "says", "source", "rule", "data", "seeds", "minutes")
    return [{field: getattr(claim, field) for field in fields} for claim in claims().values()]


def reproduce(
    claim: str | type[Claim],
    *,
    data: Any = None,
    out: str | Path | None = None,
    seeds: int | None = None,
    steps: int | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Check a claim of the field: train its arms with several seeds, apply the rule that was written before, and draw the picture.

    claim: a name from `list_claims`, or a Claim of your own. data: labeled samples, where not those that the claim was written for. out: a folder
    (default: leaven-runs/CLAIM), with a run for each arm and seed, reproduction.json and report.html; the same call goes on where it stopped.
    steps: another length for every training, in place of the claim's own: its verdict is then one on that length.

    Returns what reproduction.json holds: verdict, because, the scores of each arm, and how they were measured.
    Raises UserError for an unknown claim, wrong data, or another reproduction in `out`; Interrupted after SIGTERM or Ctrl-C.
    """
    kind = find_claim(claim) if isinstance(claim, str) else claim
    asked_claim = kind()
    seeds = asked_claim.seeds if seeds is None else seeds
    if seeds < 1 or (steps is not None and steps < 1):
        raise UserError("a reproduction needs one seed and one step at least")
    given = asked_claim.given(data_root) if data is None else data
    opened = open_data(given, root=data_root, size=asked_claim.size, labels=labels, columns=columns, progress=partial(progress, "decoded"))
    if asked_claim.protocols and opened.spec.classes < 2:
        raise UserError("a claim is checked by labels of two classes or more", where=opened.name, hint="say where they are with --labels")
    samples = thinned(opened, asked_claim.train, asked_claim.test)
    folder = Path(out or Path("leaven-runs") / (asked_claim.name or kind.__name__))
    machine = settle(folder, asked_claim, samples, seeds, steps, device)
    say(f"The claim: {asked_claim.says}")
    say(f"The rule: {asked_claim.rule}")
    trainings = Trainings(asked_claim, samples, folder, seeds, steps, device, say, progress)
    for seed in range(seeds):  # so that a slow hour of the machine touches all arms alike
        trainings.train(seed)
        trainings.measure(seed)
    found = Found(trainings.cells, trainings.measures)
    outcome = asked_claim.decide(found)
    _, test, part, note = samples.held_out()
    content = {
        "claim": asked_claim.name or kind.__name__,
        "says": asked_claim.says,
        "source": asked_claim.source,
        "rule": asked_claim.rule,
        **outcome.to_dict(),
        "scores": {arm: {protocol: over_seeds(found, arm, protocol) for protocol in asked_claim.protocols} for arm in found.arms},
        "measures": {arm: {what: found.number(arm, what) for what in numbers} for arm, numbers in found.measures[0].items()},
        "floors": found.cells[0].floors,
        "data": f"{samples.name}: {len(samples.train()):,} samples to train on, scored on {len(test):,} ({part})",
        "seeds": seeds,
        "notes": [note] if note else [],
        "machine": machine,
        "seconds": round(sum(cell.run.config["result"]["seconds"] for cell in found.cells), 1),
        "health": {f"{cell.arm}, seed {cell.seed}": cell.run.health for cell in found.cells if cell.run.health},
        "out": str(folder),
        "report": str(folder / "report.html"),
    }
    write_json(folder / "reproduction.json", content)
    report_reproduction(content, asked_claim.figure(found), folder / "report.html", command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    return content


def find_claim(name: str) -> type[Claim]:
    if name not in claims():
        raise unknown_name("claim", name, claims(), "leaven claims")
    return claims()[name]


def thinned(data: DataSet, train: int, test: int) -> DataSet:
    """At most so many samples to train on and to score by, drawn at random (the same ones at every call), in the data's order."""
    learned, scored, _, _ = data.held_out()

    def some(rows: torch.Tensor, count: int, name: str) -> torch.Tensor:
        return rows[Draw(0, "thinned", name).permutations(len(rows), 1)[0][:count]]

    if len(learned) <= train and len(scored) <= test:
        return data
    return data.subset(torch.cat([some(learned, train, "train"), some(scored, test, "test")]).sort().values)


def settle(folder: Path, claim: Claim, samples: DataSet, seeds: int, steps: int | None, device: str) -> dict[str, Any]:
    """Write down what is asked, or check that the folder holds the same; returns the machine that it began on. More seeds may be asked for later."""
    asked = {
        "claim": claim.name or type(claim).__name__,
        "data": {"name": samples.name, "fingerprint": samples.fingerprint},
        "steps": steps or claim.steps,
        "arms": {
            name: {"settings": dict(arm.settings), "steps": arm.steps, "batch": arm.batch, "per_class": arm.per_class}
            for name, arm in claim.arms().items()
        },
    }
    plan = kept_plan(folder, asked, "reproduction")
    if plan is None:
        plan = {"format": FORMAT, "asked": asked, "machine": describe_machine(choose_device(device))}
        write_json(folder / "plan.json", plan)
    return dict(plan["machine"])


@dataclass
class Trainings:
    """Every arm of a claim with every seed, and what is measured on them; kept on disk as soon as it is done, and never made twice."""

    claim: Claim
    samples: DataSet
    folder: Path
    seeds: int
    steps: int | None
    device: str
    say: Say
    progress: Progress
    cells: list[Cell] = field(default_factory=list)
    measures: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)

    def train(self, seed: int) -> None:
        """Every arm with this seed, trained and scored."""
        claim, arms = self.claim, self.claim.arms()
        for name, arm in arms.items():
            place = Run(self.folder / slug(name) / str(seed))
            told = f"[{len(self.cells) + 1}/{self.seeds * len(arms)}] {name}, seed {seed}"
            seen = self.samples if arm.per_class is None else self.samples.subset(few(self.samples, arm.per_class, seed))
            run = pretrain(
                seen, method=arm.method, encoder=arm.encoder, out=place.path, steps=self.steps or arm.steps or claim.steps,
                batch=arm.batch or (claim.batch if arm.per_class is None else None), settings=dict(arm.settings), seed=seed, device=self.device,
                keep_going=True, report=False, progress=partial(progress_of, self.progress, told),
            )  # fmt: skip
            if claim.protocols and not place.scorecard_path.is_file():
                known = self.cells[0].floors if self.cells and "few-label" not in claim.protocols else None
                evaluate(
                    run, self.samples, protocols=claim.protocols, labels_per_class=claim.labels_per_class or (1,), seed=seed, device=self.device,
                    report=False, budget=claim.floor_seconds, known_floors=known,
                )  # fmt: skip
            card = read_json(place.scorecard_path) if claim.protocols else {"scores": {}, "floors": {}}
            self.cells.append(Cell(name, seed, card["scores"], card["floors"], run))
            self.say(f"{told}: {', '.join(shown(self.cells[-1], protocol) for protocol in claim.protocols) or 'trained'}")

    def measure(self, seed: int) -> None:
        """What the claim measures itself on the trainings of this seed, kept in measures/SEED.json."""
        kept = self.folder / "measures" / f"{seed}.json"
        if not kept.is_file():
            found = self.claim.measure({cell.arm: cell.run for cell in self.cells if cell.seed == seed}, self.samples, seed)
            write_json(kept, {arm: dict(numbers) for arm, numbers in found.items()})
        self.measures[seed] = read_json(kept)
        for arm, numbers in self.measures[seed].items():
            self.say(f"{arm}, seed {seed}: {', '.join(f'{what} {number:.4g}' for what, number in numbers.items())}")


def progress_of(progress: Progress, told: str, what: str, *numbers: Any) -> None:
    progress(f"{told}: {what}", *numbers)


def shown(cell: Cell, protocol: str) -> str:
    score = cell.scores[protocol]
    return f"{protocol} {percent(score[-1] if isinstance(score, list) else score)}"


def over_seeds(found: Found, arm: str, protocol: str) -> Any:
    first = found.of(arm)[0].scores[protocol]
    if not isinstance(first, list):
        return found.score(arm, protocol)
    rows = zip(*(cell.scores[protocol] for cell in found.of(arm)), strict=True)
    return [{"labels_per_class": row[0]["labels_per_class"], **mean(list(row))} for row in rows]


def slug(name: str) -> str:
    """A folder's name for an arm's words."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
