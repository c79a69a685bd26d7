"""Say what a run is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leaven.api.opening import able
from leaven.console import Progress, Say, quiet, seconds
from leaven.data import DataSet, open_data
from leaven.errors import UserError
from leaven.evaluation.classifier import evaluate_classifier
from leaven.evaluation.evaluate import PROTOCOLS, USUAL, evaluate_encoder
from leaven.evaluation.pairs import evaluate_pairs, pair_of
from leaven.evaluation.samples import evaluate_samples
from leaven.evaluation.scorecard import PROTOCOL_NAMES, Scorecard, joined
from leaven.evaluation.similarity import ROLES as SCORED
from leaven.evaluation.similarity import evaluate_similarity
from leaven.methods.registry import registry
from leaven.report.story import report_run
from leaven.run import Run, write_json
from leaven.training.devices import choose_device
from leaven.training.supervision import learned_hashes
from leaven.training.trained import load_encoder_of


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
