"""Train several methods for the same time and set them side by side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from leaven.api import options
from leaven.api.open import beside_of, describe_data, reading_of
from leaven.console import Progress, Say, quiet, seconds
from leaven.data import open_data
from leaven.data.dataset import singly
from leaven.errors import UserError
from leaven.evaluation.comparison import Comparison
from leaven.evaluation.evaluate import fitting
from leaven.evaluation.frozen import FrozenProtocol, check_labels, scorer
from leaven.evaluation.gains import add_gains
from leaven.evaluation.registry import address, find_protocol, frozen_protocols
from leaven.experiments.cell import Scoring, Source
from leaven.experiments.entries import entries
from leaven.experiments.grid import Grid
from leaven.methods.registry import find_method
from leaven.report.comparison import report_comparison
from leaven.run import write_json
from leaven.training.devices import choose_device


@options.documented
def compare(
    data: options.Data,
    *,
    methods: options.MethodNames = "all",
    encoder: options.EncoderName = "auto",
    budget: Annotated[options.Budget, "Time for each training: 90s, 10m, 2h (default 3m); it becomes a number of steps once per method."] = None,
    steps: Annotated[options.Steps, "Optimiser steps of each training, in place of a time."] = None,
    seeds: Annotated[int, options.Option("Trainings of each method.", least=1, most=1000)] = 3,
    jobs: options.Jobs = 1,
    out: Annotated[
        options.OptionalPath, "The comparison's folder (default leaven-runs/compare-DATA). The same command goes on where it stopped."
    ] = None,
    labels: options.Labels = None,
    columns: options.Columns = None,
    groups: options.Groups = None,
    role: Annotated[options.Role, "The role whose encoder is scored, where a method keeps several."] = None,
    settings: Annotated[options.Settings, "A hyper-parameter: method:name=value, or name=value for all methods. May be repeated."] = None,
    protocols: options.FrozenProtocols = None,
    beside: options.Beside = (),
    size: options.Size = None,
    precision: options.Precision = "auto",
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Comparison:
    """Train several methods for the same time and score them beside their floors: a table with intervals, and a page.

    Each training is a run in OUT/METHOD/SEED, made by a process of its own. A later call may ask for more seeds. A training that stops itself is a
    result; one whose process dies is tried again by the next call. Raises UserError for wrong input, data without labels, or another comparison in
    `out`; Interrupted after SIGTERM or Ctrl-C.
    """
    if budget is not None and steps is not None:
        raise UserError("give one of --budget and --steps")
    if seeds < 1 or (steps is not None and steps < 1):
        raise UserError("a comparison needs one seed and one step at least")
    if jobs < 1:
        raise UserError(f"a comparison makes one training at a time or more, not {jobs}")
    chosen = [find_protocol(protocol) for protocol in protocols or ()]
    if unsuited := [protocol.name for protocol in chosen if not protocol.frozen]:
        raise UserError(f"methods are not compared by {unsuited[0]!r}", hint=f"choose from {', '.join(frozen_protocols())}")
    length: dict[str, Any] = {"budget": seconds("3m" if budget is None else budget)} if steps is None else {"steps": steps}
    device = choose_device(device)
    named = [name for name in (methods.split(",") if isinstance(methods, str) else methods) if name != "all"]
    reading, rest = reading_of(settings, *map(find_method, named))
    opened = partial(open_data, data, root=data_root, labels=labels, columns=columns, groups=groups, progress=partial(progress, "decoded"))
    samples = opened(size=size, reading=reading)
    describe_data(samples, say)
    check_labels(samples)
    chosen = chosen or [find_protocol(protocol) for protocol in (("tags",) if samples.spec.tag_names else ("knn", "linear"))]
    kept, unfit = fitting([protocol() for protocol in chosen], samples)
    chosen = [type(protocol) for protocol in kept]
    names = tuple(protocol.name for protocol in chosen)
    arms, left_out = entries(methods, samples, device, rest, role, encoder=encoder, size=size, precision=precision, **length)
    for name, why in left_out.items():
        say(f"left out: {name}: {why}")
    if not arms:
        raise UserError("no method suits this data", where=samples.name, hint="name some with --methods to see why")
    scored = role if role in samples.rows.roles else "x"
    models = beside_of(beside, singly(samples, [scored]), lambda **needs: singly(opened(**needs), [scored]), arms[0].encoder["input"]["modality"])
    folder = Path(out or Path("leaven-runs") / f"compare-{Path(samples.name).name.replace(':', '-')}")
    asked = {
        "methods": [arm.name for arm in arms],
        "data": {"name": samples.name, "fingerprint": samples.fingerprint},
        "length": length,
        "protocols": list(names),
        "role": role,
        "precision": precision,
        "settings": {arm.name: arm.request.settings for arm in arms},
        "encoders": {arm.name: arm.encoder for arm in arms},
    }
    source = Source.of(data, samples, root=data_root, labels=labels, columns=columns, groups=groups, reading=reading)
    grid = Grid(folder, "comparison", asked, source, Scoring(tuple(map(address, chosen)), device, role))
    cells = grid.fill(arms, seeds, say, progress, jobs)
    train, test, part, note = samples.held_out()
    score = scorer([protocol() for protocol in chosen if issubclass(protocol, FrozenProtocol)], samples, train, test, 0)
    scored_on = f"{samples.name} ({part}: {len(test):,} samples)"
    notes = [*unfit, *([note] if note else []), *grid.plan["notes"]]
    others = {}
    for model in models:
        say(f"scoring {model.name}")
        others[model.name] = score(partial(model.features, scored, device=device, progress=partial(progress, "encoded")))
    add_gains({}, others)
    comparison = Comparison(str(folder), scored_on, names, length, seeds, cells, left_out, grid.plan["machine"], notes, role, others)
    write_json(folder / "comparison.json", comparison.to_dict())
    report_comparison(comparison, samples, device=device)
    return comparison
