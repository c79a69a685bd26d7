"""What a run's samples are worth to a classifier that was trained on real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data import DataSet
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.evaluation.classifier import class_numbers, load_classifier, probabilities
from leaven.evaluation.features import check_input, encode
from leaven.evaluation.generation import dropped_classes, frechet_distance, likeness, new_samples, recognised
from leaven.evaluation.intervals import bootstrap_interval
from leaven.evaluation.scorecard import Scorecard
from leaven.methods.method import Method
from leaven.modalities import Value, modality_of
from leaven.modalities.content import spread
from leaven.run import Run
from leaven.training.supervision import learned_hashes

MOST, FITTED_ON = 10_000, 2000


def evaluate_samples(
    run: Run,
    made: Method,
    data: DataSet,
    judge: Run,
    *,
    count: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> Scorecard:
    """How like the scored part of the data a run's samples are, and how varied, by the features of a classifier (`judge`).

    count: how many are made (None: as many as are scored, at most 10,000). Where the method makes samples of a class that is asked for, equal numbers
    of each are, and `recognised` is the share that the judge finds to be of it. Beside them stand as many real samples of the training part, the
    ceiling ("real", with the share of scored samples whose class the judge finds), and of a Gaussian with the mean and covariance of 2,000 of
    these, the floor ("gaussian"). found: how often the judge finds each class, as a share of how often it should; missing: those below a tenth.
    Intervals are over samples, the balls around them kept. Raises UserError where the judge does not classify, reads other data, or does not know a
    class.
    """
    classifier, classes = load_classifier(judge)
    for encoder in (made.encoder, classifier.encoder):
        check_input(encoder, data.spec.roles["x"], where=data.name)
    train, test, part, note = data.held_out()
    count = min(len(test), MOST) if count is None else count
    if count < 1:
        raise UserError(f"count must be at least 1, not {count}")
    value = data.rows["x"]
    real, taught = value[spread(test, count)], value[spread(train, count)]
    asked, wanted = asked_classes(run, made, classes, count, judge)

    def looked_at(samples: Value) -> tuple[Tensor, Tensor]:
        everything = torch.arange(len(samples))
        given = torch.cat(list(probabilities(classifier, samples, everything, device=device)))
        return encode(classifier.encoder, samples, everything, device=device), given

    say(f"looking at {len(real):,} real samples with the judge")
    features, given = looked_at(real)
    say(f"making {count:,} samples")
    blocks = list(new_samples(made, count, asked, seed=seed, device=device))
    new_features, new_given = looked_at(blocks[0].cat(blocks))
    expected = given.argmax(1) if wanted is None else wanted
    dropped, ratio = dropped_classes(new_given, expected.bincount(minlength=len(classes)).double() / len(expected))
    scores: dict[str, Any] = {
        "judge": {"run": str(judge.path), "method": classifier.name, "encoder": classifier.encoder.name},
        "generated": count,
        "real": len(real),
        **compared(features, new_features, seed),
        "missing": [classes[number] for number in dropped],
        "found": {name: share for name, share in zip(classes, ratio.tolist(), strict=True) if share == share},
    }
    if wanted is not None:
        _, by_class = recognised(new_given, wanted)
        told = {name: share for name, share in zip(classes, by_class.tolist(), strict=True) if share == share}
        scores["recognised"] = {**mean_of(new_given.argmax(1) == wanted, seed), "by_class": told}
    say("looking at the ceiling and the floor")
    ceiling = compared(features, looked_at(taught)[0], seed)
    notes = [note] if note else []
    labels = class_numbers(data, classes)[test]
    unlearned = (labels >= 0) & ~torch.isin(data.hashes[test], learned_hashes(judge))
    if unlearned.any():
        found = torch.cat(list(probabilities(classifier, value, test[unlearned], device=device))).argmax(1)
        ceiling["recognised"] = mean_of(found == labels[unlearned], seed)
    else:
        notes.append("How often the judge is right cannot be told: no sample that is scored has a label that it has not learned from.")
    noise = gaussian(value[spread(train, FITTED_ON)], count, Draw("gaussian", seed))
    floors = {"real": {"samples": ceiling}, "gaussian": {"samples": compared(features, looked_at(noise)[0], seed)}}
    scored_on = f"{data.name} ({part}: {len(real):,} samples)"
    return Scorecard(made.name, made.encoder.name, scored_on, {"samples": scores}, floors, notes)


def compared(real: Float[Tensor, "real dim"], new: Float[Tensor, "generated dim"], seed: int) -> dict[str, Any]:
    """{precision, recall, density, coverage: {value, interval}, frechet_distance: {value}}."""
    found: dict[str, Any] = {name: mean_of(each, seed) for name, each in likeness(real, new).items()}
    return found | {"frechet_distance": {"value": frechet_distance(real, new)}}


def mean_of(each: Tensor, seed: int) -> dict[str, Any]:
    return {"value": each.double().mean().item(), "interval": list(bootstrap_interval(each.double(), seed=seed))}


def asked_classes(
    run: Run, made: Method, classes: Sequence[str], count: int, judge: Run
) -> tuple[Int64[Tensor, " count"] | None, Int64[Tensor, " count"] | None]:
    """Equal numbers of each class that the method makes, in its own numbers and in the judge's; none where it makes no class that is asked for."""
    if not made.learns_labels:
        return None, None
    names = run.config["asked"]["data"]["spec"]["class_names"]
    if unknown := [name for name in names if name not in classes]:
        raise UserError(f"the judge has no class {unknown[0]!r}, of which samples are made", where=judge.path, hint=f"it knows {', '.join(classes)}")
    asked = torch.arange(count) % len(names)
    return asked, torch.tensor([classes.index(name) for name in names])[asked]


def gaussian(samples: Value, count: int, draw: Draw) -> Value:
    """Samples of the normal distribution with the mean and covariance of these, cut to 0-1 or rounded to counts: sums of them, weighted by noise."""
    weights = draw.normal(count, len(samples)) / max(1, len(samples) - 1) ** 0.5

    def mixed(numbers: Tensor) -> Tensor:
        flat = numbers.flatten(1).float()
        return (flat.mean(0) + weights @ (flat - flat.mean(0))).unflatten(1, numbers.shape[1:])

    modality = modality_of(samples)
    return modality.of_numbers(mixed(modality.numbers(samples)), whole=True)
