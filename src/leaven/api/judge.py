"""Say what an encoder is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leaven.api.console import Progress, Say, describe_data, quiet, seconds
from leaven.api.generate import able
from leaven.api.use import load_encoder_of
from leaven.data import DataSet, open_data
from leaven.errors import UserError
from leaven.evaluation.classifier import evaluate_classifier
from leaven.evaluation.comparison import Comparison
from leaven.evaluation.evaluate import PROTOCOLS, USUAL, evaluate_encoder
from leaven.evaluation.pairs import evaluate_pairs, pair_of
from leaven.evaluation.samples import evaluate_samples
from leaven.evaluation.scorecard import PROTOCOL_NAMES, Scorecard, joined
from leaven.evaluation.similarity import ROLES as SCORED
from leaven.evaluation.similarity import evaluate_similarity
from leaven.experiments.grid import Grid, entries
from leaven.methods.method import Method
from leaven.methods.registry import registry
from leaven.report.comparison import report_comparison
from leaven.report.story import report_run
from leaven.run import Run, write_json
from leaven.training.devices import choose_device, describe_machine
from leaven.training.supervision import learned_hashes


def evaluate(
    run: str | Path | Run,
    data: Any,
    *,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    protocols: Sequence[str] | None = None,
    labels_per_class: Sequence[int] = (1, 2, 5, 10),
    judge: str | Path | Run | None = None,
    count: int | None = None,
    budget: str | float | None = "2m",
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    known_floors: Mapping[str, Any] | None = None,
    report: bool = True,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Scorecard:
    """What a run is worth on labeled data, beside its floors; writes scorecard.json and report.html into the run's folder.

    protocols: of knn, linear, few-label, retrieval and clusters, which score the frozen encoder with labels; pairs, whether samples find their
    partners (roles anchor and positive, or a and b), and sts, whether pairs of texts are as alike as people say (roles a, b and score); classifier;
    and samples, which scores what the run generates. None: what the data is made for: sts or pairs for pairs without classes, classifier for a run
    that learned classes, as `finetune` makes, else the first three. No label that the run has learned from is tested on. judge, count: for samples; a
    run that classifies, whose features tell generated samples from real ones, and how many are made (None: as many as are scored, at most 10,000).
    budget: time for the labels-only floor (the same encoder trained on the labels alone). known_floors: those of another scorecard of the same
    encoder, data and seed, which are not measured again. report: write report.html, some seconds. Raises UserError without labels, which samples do
    not need.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    encoder = load_encoder_of(opened)
    decoded = partial(progress, "decoded")
    samples = open_data(data, root=data_root, labels=labels, columns=columns, progress=decoded, **encoder.modality.open_options(encoder.input))
    method = opened.config["asked"]["method"]["name"]
    kind = registry().get(method)
    classifies = opened.learned_path.is_file() and not (kind and kind.learns_labels)
    asked = usual(samples, classifies) if protocols is None else tuple(protocols)
    if unknown := sorted(set(asked) - set(PROTOCOL_NAMES)):
        raise UserError(f"no protocol is named {unknown[0]!r}", hint=f"choose from {', '.join(PROTOCOL_NAMES)}")
    shared: dict[str, Any] = {"seed": seed, "device": choose_device(device), "say": say}
    cards = [evaluate_classifier(opened, samples, budget=seconds(budget), **shared)] if "classifier" in asked else []
    if "samples" in asked:
        made = able(opened, "sample", None)
        if judge is None:
            raise UserError("samples are judged by a run that classifies", hint="give one that was trained on real ones with --judge RUN2")
        cards.append(evaluate_samples(opened, made, samples, judge if isinstance(judge, Run) else Run.open(judge), count=count, **shared))
    cards += [
        of_pairs(encoder, samples, method=method, known_floors=known_floors, **shared)
        for protocol, of_pairs in (("pairs", evaluate_pairs), ("sts", evaluate_similarity))
        if protocol in asked
    ]
    if "samples" not in asked and (judge is not None or count is not None):
        raise UserError("a judge and a count are for samples", hint="add --protocol samples")
    if frozen := [protocol for protocol in asked if protocol in PROTOCOLS]:
        cards.append(
            evaluate_encoder(
                encoder, samples, method=method, protocols=frozen, labels_per_class=labels_per_class, budget=seconds(budget),
                known_floors=known_floors, learned=learned_hashes(opened), linear_floor=kind is not None and kind.family == "latent",
                progress=partial(progress, "encoded"), **shared,
            )
        )  # fmt: skip
    card = joined(cards)
    write_json(opened.scorecard_path, card.to_dict())
    if report:
        report_run(opened, samples, encoder, card, device=choose_device(device))
    return card


def usual(samples: DataSet, classifies: bool) -> tuple[str, ...]:
    """The protocols that a data set is made for."""
    if set(SCORED) <= set(samples.rows.roles):
        return ("sts",)
    if samples.spec.classes < 2 and pair_of(samples):
        return ("pairs",)
    return ("classifier",) if classifies else USUAL


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
