"""Check the claims of the field."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from leaven.api import options
from leaven.console import Progress, Say, quiet
from leaven.data import open_data
from leaven.errors import UserError
from leaven.experiments.cell import Scoring, Source
from leaven.experiments.claim import Findings
from leaven.experiments.grid import Grid
from leaven.experiments.reproduction import arms_of, asked_of, find_claim, measured, refuse_unfinished, thinned
from leaven.report.reproduction import report_reproduction
from leaven.run import write_json
from leaven.training.devices import choose_device


@options.documented
def reproduce(
    claim: options.ClaimName,
    *,
    data: Annotated[options.Data, options.Option("Labeled data, in place of the data that the claim was written for.", names="data")] = None,
    out: Annotated[options.OptionalPath, "The reproduction's folder (default leaven-runs/CLAIM). The same command goes on where it stopped."] = None,
    seeds: Annotated[int | None, options.Option("Trainings of each arm (default: the claim's own number).", least=1, most=1000)] = None,
    steps: Annotated[options.Steps, "Another length for every training, in optimiser steps; the verdict is then one on that length."] = None,
    jobs: options.Jobs = 1,
    labels: options.Labels = None,
    columns: options.Columns = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Check a claim of the field: train with several seeds, apply a rule that was written before, show a figure and a verdict.

    The folder holds a run for each arm and seed, reproduction.json and report.html. Returns what reproduction.json holds: verdict, because, the
    scores of each arm, and how they were measured. Raises UserError for an unknown claim, wrong data, or another reproduction in `out`;
    TrainingStopped where a training stopped itself; Interrupted after SIGTERM or Ctrl-C.
    """
    checked = find_claim(claim)
    seeds = checked.seeds if seeds is None else seeds
    if seeds < 1 or (steps is not None and steps < 1):
        raise UserError("a reproduction needs one seed and one step at least")
    if jobs < 1:
        raise UserError(f"a reproduction makes one training at a time or more, not {jobs}")
    device = choose_device(device)
    data = checked.open(data_root) if data is None else data
    opened = open_data(data, root=data_root, labels=labels, columns=columns, progress=partial(progress, "decoded"))
    if checked.protocols and opened.spec.classes < 2:
        raise UserError("a claim is checked by labels of two classes or more", where=opened.name, hint="say where they are with --labels")
    rows = thinned(opened, checked.train, checked.test)
    samples = opened if rows is None else opened.subset(rows)
    folder = Path(out or Path("leaven-runs") / checked.name)
    arms = arms_of(checked, samples, steps, device)
    source = dataclasses.replace(Source.of(data, opened, root=data_root, labels=labels, columns=columns), rows=rows)
    scoring = Scoring(checked.protocols, device, settings=checked.protocol_settings, budget=checked.floor_seconds, page=False)
    grid = Grid(folder, "reproduction", asked_of(checked, samples, steps), source, scoring)
    say(f"The claim: {checked.says}")
    say(f"The rule: {checked.rule}")
    cells = grid.fill(arms, seeds, say, progress, jobs)
    refuse_unfinished(cells)
    findings = Findings(cells, measured(checked, cells, samples, folder, say))
    outcome = checked.decide(findings)
    _, test, part, note = samples.held_out()
    content = {
        "claim": checked.name,
        "says": checked.says,
        "source": checked.source,
        "rule": checked.rule,
        **dataclasses.asdict(outcome),
        "scores": {arm: findings.scores(arm) for arm in findings.arms},
        "measures": {arm: {name: findings.number(arm, name) for name in numbers} for arm, numbers in findings.measures[0].items()},
        "floors": cells[0].floors,
        "data": f"{samples.name}: {len(samples.train()):,} samples to train on, scored on {len(test):,} ({part})",
        "seeds": seeds,
        "notes": [*([note] if note else []), *grid.plan["notes"]],
        "machine": grid.plan["machine"],
        "seconds": round(sum(cell.seconds or 0.0 for cell in cells), 1),
        "health": {f"{cell.arm}, seed {cell.seed}": cell.health for cell in cells if cell.health},
        "out": str(folder),
        "report": str(folder / "report.html"),
    }
    write_json(folder / "reproduction.json", content)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    report_reproduction(content, checked.figure(findings), folder / "report.html", command=command)
    return content
