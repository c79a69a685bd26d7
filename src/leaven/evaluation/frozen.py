"""Protocols that score frozen features with labels: each arm is encoded once for all of them."""

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor, isin

from leaven.data import DataSet
from leaven.data.splits import hold_out
from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.evaluation.floors import MAJORITY, UNTRAINED, untrained
from leaven.evaluation.gains import PerSample, without_samples
from leaven.evaluation.intervals import mean_with_interval
from leaven.evaluation.protocol import Protocol, Result, Scores, Trial
from leaven.modalities.floor import INPUT, FloorName
from leaven.training.precision import give_back_memory

LABEL_SOME = "label some samples of the training part and some of the test part"


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one arm, with labels (-1 = none). groups: of the training samples, which a probe's own held-out part must not cut (None: none);
    test_groups: of the test samples, which are resampled as a whole."""

    train: Float[Tensor, "train dim"]
    train_labels: Int64[Tensor, " train"]
    test: Float[Tensor, "test dim"]
    test_labels: Int64[Tensor, " test"]
    groups: Int64[Tensor, " train"] | None = None
    seed: int = 0
    test_groups: Int64[Tensor, " test"] | None = None

    @property
    def classes(self) -> int:
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1

    def labeled(self) -> Self:
        """Those of samples with a label. UserError where there are none on one of the sides."""
        train, test = self.train_labels >= 0, self.test_labels >= 0
        if not train.any() or not test.any():
            raise UserError("there are no labels to score with", hint=LABEL_SOME)
        groups, test_groups = (None if of is None else of[known] for of, known in ((self.groups, train), (self.test_groups, test)))
        return type(self)(self.train[train], self.train_labels[train], self.test[test], self.test_labels[test], groups, self.seed, test_groups)


class FrozenProtocol(Protocol):
    """Scores features of test samples by labels; probes learn on the data's train split and are scored once on its test split (else val, else a
    held-out fifth). The floors are the same score of the raw input, of the untrained encoder and of what the modality adds."""

    needs = "labels of two classes or more"
    floors: ClassVar[tuple[FloorName, ...]] = (INPUT, UNTRAINED)
    headline = "accuracy"
    frozen = True

    @abstractmethod
    def score(self, features: Features) -> Any:
        """The score of one arm: a dict with the headline and "interval". With "per_sample", its `PerSample`, the arms are compared sample by
        sample."""

    def majority(self, features: Features) -> Any:
        """The score of always naming the commonest class of the training samples; None where the headline is no accuracy."""
        if self.headline != "accuracy":
            return None
        known = features.labeled()
        correct = known.test_labels == known.train_labels.bincount().argmax()
        return mean_with_interval(correct, groups=known.test_groups) | {"per_sample": PerSample(correct, known.test_groups)}

    def trained_floors(self, trial: Trial, score: Any, train: Tensor, test: Tensor) -> tuple[dict[str, Any], list[str]]:
        """Floors that only this protocol has and that must be trained, as {name: score}, and notes. score: the encoder's own."""
        return {}, []

    def evaluate(self, trial: Trial) -> Result:
        return evaluate_frozen([self], trial)


def features_by(data: DataSet, train: Tensor, test: Tensor, seed: int) -> Callable[[Callable[[Tensor], Tensor]], Features]:
    """What gives the features of an arm, with their labels, from what gives those of some rows."""
    labels = data.rows.label
    groups, test_groups = (group if (group >= 0).any() else None for group in (data.groups[train], data.groups[test]))

    def features(features_of: Callable[[Tensor], Tensor]) -> Features:
        return Features(features_of(train), labels[train], features_of(test), labels[test], groups, seed, test_groups)

    return features


def scorer(
    protocols: Sequence[FrozenProtocol], data: DataSet, train: Tensor, test: Tensor, seed: int
) -> Callable[[Callable[[Tensor], Tensor]], Scores]:
    """What gives the scores of an arm by these protocols, from what gives the features of some rows."""
    features = features_by(data, train, test, seed)
    return lambda features_of: scored(protocols, features(features_of))


def scored(protocols: Sequence[FrozenProtocol], features: Features) -> Scores:
    return {protocol.name: protocol.score(features) for protocol in protocols}


def by_random_split(protocols: Sequence[FrozenProtocol], features: Features, hashes: Tensor) -> Scores:
    """What the accuracies would be if samples were held out one by one, whatever stands beside them. hashes: of the training samples, then the test
    samples."""
    held = hold_out(hashes, torch.full_like(hashes, -1))
    inputs, labels = torch.cat([features.train, features.test]), torch.cat([features.train_labels, features.test_labels])
    mixed = Features(inputs[~held], labels[~held], inputs[held], labels[held], seed=features.seed)
    return without_samples(scored([protocol for protocol in protocols if protocol.headline == "accuracy"], mixed))


def evaluate_frozen(protocols: Sequence[FrozenProtocol], trial: Trial) -> Result:
    """The scores of several protocols, beside their floors. UserError without labels on both sides."""
    data, encoder, seed = trial.data, trial.encoder, trial.seed
    if data.spec.classes < 2:
        hint = "say where they are with --labels COLUMN, FILE.csv or folder"
        raise UserError("scores need labels of two classes or more", where=data.name, hint=hint)
    value = trial.value
    train, test, part, note = data.held_out()
    test = test[~isin(trial.hashes[test], trial.learned)]
    labels = data.rows.label
    known_by, scores = features_by(data, train, test, seed), scorer(protocols, data, train, test, seed)
    if not (labels[train] >= 0).any() or not (labels[test] >= 0).any():
        raise UserError("labels are needed on the training side and on the test side", where=data.name, hint=LABEL_SOME)
    notes = [note] if note else []
    if overlap := data.overlap(train, test):
        notes.append(f"{overlap} of {len(test)} test samples are in the training part too")

    def encoded(network: Any) -> Callable[[Tensor], Tensor]:
        return lambda rows: encode(network, value, rows, device=trial.device, progress=trial.progress)

    def fits(what: str) -> bool:
        """Whether an arm that takes as long as the encoder's own ends in time; what does not is left out, and named."""
        if in_time := trial.deadline is None or time.monotonic() + an_arm <= trial.deadline:
            trial.say(f"scoring {what}")
        else:
            left_out.append(what)
        return in_time

    trial.say("scoring the pre-trained encoder")
    began, left_out = time.monotonic(), list[str]()
    features = known_by(encoded(encoder))
    own = scored(protocols, features)
    an_arm = time.monotonic() - began
    random_split = {}
    if data.order is not None and fits("a random split as well, to show the difference"):
        random_split = by_random_split(protocols, features, trial.hashes[torch.cat([train, test])])
    floors = dict(trial.known_floors)
    if UNTRAINED.name not in floors and fits("the untrained encoder"):
        floors[UNTRAINED.name] = scores(encoded(untrained(encoder, seed, value, train)))
    for name, (what, fit) in encoder.modality.floors(value, train, encoder.dim, seed).items():
        if name not in floors and fits(what):
            fitted = fit()
            floors[name] = scores(lambda rows, fitted=fitted: fitted(value.take(rows)))  # type: ignore[misc]
    if MAJORITY.name not in floors:
        known = known_by(lambda rows: torch.empty(len(rows), 0))
        if majorities := {protocol.name: score for protocol in protocols if (score := protocol.majority(known)) is not None}:
            floors[MAJORITY.name] = majorities
    if trial.linear_floor and not any(name.startswith(("pca", "lsa")) for name in floors) and fits("a linear code of the input"):
        name, code = encoder.modality.linear_code(value, train, encoder.dim, seed)
        floors[name] = scores(lambda rows: code(value.take(rows)))
    beside: dict[str, Scores] = {}
    for other in trial.beside:
        if fits(other.name):
            beside[other.name] = scores(partial(other.features, trial.data_role, device=trial.device, progress=trial.progress))
    for protocol in protocols:
        more, why = protocol.trained_floors(trial, own[protocol.name], train, test)
        notes += why
        for name, score in more.items():
            floors[name] = {**floors.get(name, {}), protocol.name: score}
    if left_out:
        notes.append(f"{', '.join(left_out)}: not scored, since the budget ends before; give more time with --budget")
    give_back_memory()
    return Result(own, floors, f"{data.name} ({part}: {len(test):,} samples)", notes, beside, random_split)
