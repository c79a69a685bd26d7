"""Train several methods for the same time and set them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leaven.api.console import Progress, Say, quiet, seconds
from leaven.api.open import describe_data
from leaven.data import open_data
from leaven.errors import UserError
from leaven.evaluation.comparison import Comparison
from leaven.evaluation.evaluate import PROTOCOLS
from leaven.experiments.grid import Grid, entries
from leaven.methods.method import Method
from leaven.report.comparison import report_comparison
from leaven.run import write_json
from leaven.training.devices import choose_device, describe_machine


def compare(
    data: Any,
    *,
    methods: str | Sequence[str | type[Method]] = "all",
    encoder: str = "auto",
    budget: str | float | None = None,
    steps: int | None = None,
    seeds: int = 3,
    jobs: int = 1,
    out: str | Path | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    protocols: Sequence[str] = ("knn", "linear"),
    size: int | None = None,
    precision: str = "auto",
    device: str = "auto",
    data_root: str | Path | None = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Comparison:
    """Train several methods for the same time with several seeds, and score them beside their floors; into `out` (default leaven-runs/compare-DATA).

    methods: names, or all that suit the data. budget: time for each training (default 3m), turned into steps once a method, before any is trained;
    or steps. settings: hyper-parameters of all methods by name, or of one as "method:name". Each training is a run in OUT/METHOD/SEED, made by a
    process of its own; jobs: how many at a time, each on its share of the CPU cores. The same call goes on where it stopped, and more seeds may be
    asked for later. A training that stops itself is a result; one whose process dies is tried again by the next call.

    Raises UserError for wrong input, data without labels, or another comparison in `out`; Interrupted after SIGTERM or Ctrl-C.
    """
    if budget is not None and steps is not None:
        raise UserError("give one of --budget and --steps")
    if seeds < 1 or (steps is not None and steps < 1):
        raise UserError("a comparison needs one seed and one step at least")
    if jobs < 1:
        raise UserError(f"a comparison makes one training at a time or more, not {jobs}")
    if unknown := sorted(set(protocols) - set(PROTOCOLS)):
        raise UserError(f"methods are not compared by {unknown[0]!r}", hint=f"choose from {', '.join(PROTOCOLS)}")
    length: dict[str, Any] = {"budget": seconds("3m" if budget is None else budget)} if steps is None else {"steps": steps}
    device = choose_device(device)
    samples = open_data(data, root=data_root, size=size, labels=labels, columns=columns, progress=partial(progress, "decoded"))
    describe_data(samples, say)
    if samples.spec.classes < 2:
        hint = "say where they are with --labels COLUMN, FILE.csv or folder"
        raise UserError("scores need labels of two classes or more", where=samples.name, hint=hint)
    found, left_out = entries(methods, samples, device, settings or {}, encoder=encoder, size=size, precision=precision, **length)
    for name, why in left_out.items():
        say(f"left out: {name}: {why}")
    if not found:
        raise UserError("no method suits this data", where=samples.name, hint="name some with --methods to see why")
    folder = Path(out or Path("leaven-runs") / f"compare-{Path(samples.name).name.replace(':', '-')}")
    asked = {
        "methods": [entry.name for entry in found],
        "data": {"name": samples.name, "fingerprint": samples.fingerprint},
        "length": length,
        "protocols": list(protocols),
        "precision": precision,
        "settings": {entry.name: entry.request.settings for entry in found},
        "encoders": {entry.name: entry.encoder for entry in found},
    }
    grid = Grid(folder, asked, describe_machine(device))
    opening = {"data": data, "data_root": data_root, "labels": labels, "columns": columns}
    grid.settle_lengths(found, opening, say)
    cells = grid.fill(found, seeds, opening, {"protocols": tuple(protocols), "device": device}, say, progress, jobs)
    _, test, part, note = samples.held_out()
    scored_on = f"{samples.name} ({part}: {len(test):,} samples)"
    notes = [*([note] if note else []), *grid.plan["notes"]]
    comparison = Comparison(str(folder), scored_on, tuple(protocols), length, seeds, cells, left_out, grid.plan["machine"], notes)
    write_json(folder / "comparison.json", comparison.to_dict())
    report_comparison(comparison, samples, device=device)
    return comparison
