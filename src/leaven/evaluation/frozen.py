"""Protocols that score frozen features with labels: each arm is encoded once for all of them."""

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8, Int64
from torch import Tensor, isin

from leaven.data import DataSet
from leaven.data.splits import hold_out
from leaven.errors import UserError
from leaven.evaluation.auc import is_uneven, margin, with_auc
from leaven.evaluation.features import encode
from leaven.evaluation.floors import MAJORITY, UNTRAINED, untrained
from leaven.evaluation.gains import PerSample, without_samples
from leaven.evaluation.intervals import mean_with_interval
from leaven.evaluation.protocol import Protocol, Result, Scores, Trial
from leaven.evaluation.sentences import percent
from leaven.modalities.floor import INPUT, FloorName
from leaven.training.precision import give_back_memory

LABEL_SOME = "label some samples of the training part and some of the test part"


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one arm, with labels: classes (-1 = none), or tags as in `Tags`. names: of the classes or tags. groups: of the training samples,
    which a probe's own held-out part must not cut (None: none); test_groups: of the test samples, which are resampled as a whole.

    left_out: the source's group of every sample, those of the training part first; -1 = none, or one whose labels the encoder has learned (None: the
    source has no groups). group_names: by their numbers. probe: what learns from them, as in `Floor`."""

    train: Float[Tensor, "train dim"]
    train_labels: Int64[Tensor, " train"] | Int8[Tensor, "train tags"]
    test: Float[Tensor, "test dim"]
    test_labels: Int64[Tensor, " test"] | Int8[Tensor, "test tags"]
    groups: Int64[Tensor, " train"] | None = None
    seed: int = 0
    test_groups: Int64[Tensor, " test"] | None = None
    names: Sequence[str] = ()
    left_out: Int64[Tensor, " samples"] | None = None
    group_names: Mapping[int, str] = field(default_factory=dict)
    probe: str | None = None

    @property
    def classes(self) -> int:
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1

    def labeled(self) -> Self:
        """Those of samples with a label. UserError where there are none on one of the sides."""
        train, test = ((labels >= 0).reshape(len(labels), -1)[:, 0] for labels in (self.train_labels, self.test_labels))
        if not train.any() or not test.any():
            raise UserError("there are no labels to score with", hint=LABEL_SOME)
        groups, test_groups = (None if of is None else of[known] for of, known in ((self.groups, train), (self.test_groups, test)))
        left_out = None if self.left_out is None else self.left_out[torch.cat([train, test])]
        return replace(
            self, train=self.train[train], train_labels=self.train_labels[train], test=self.test[test], test_labels=self.test_labels[test],
            groups=groups, test_groups=test_groups, left_out=left_out,
        )  # fmt: skip


def accuracy_point(scores: Float[Tensor, "test classes"], known: Features, *, seed: int = 0) -> dict[str, Any]:
    """{accuracy, interval, per_sample}, and of two classes the AUC (see `with_auc`). scores: of the test samples, the highest names the class. known:
    all have labels."""
    correct = scores.argmax(1) == known.test_labels
    point = mean_with_interval(correct, groups=known.test_groups, seed=seed) | {"per_sample": PerSample(correct, known.test_groups)}
    return with_auc(point, margin(scores), known.test_labels, groups=known.test_groups)


class FrozenProtocol(Protocol):
    """Scores features of test samples by labels; probes learn on the data's train split and are scored once on its test split (else val, else a
    held-out fifth). The floors are the same score of the raw input, of the untrained encoder and of what the modality adds."""

    needs = "labels of two classes or more"
    floors: ClassVar[tuple[FloorName, ...]] = (INPUT, UNTRAINED)
    constant: ClassVar[FloorName] = MAJORITY
    """What the floor is called that says the same of every sample."""
    headline = "accuracy"
    frozen = True
    of_classes: ClassVar[bool] = True
    """Whether it scores samples that have one class each."""
    of_tags: ClassVar[bool] = False
    """Whether it scores samples that have tags."""
    probes: ClassVar[tuple[str, ...]] = ()
    """Which probes of floors' own it can use (see `Floor`)."""
    of_groups: ClassVar[bool] = False
    """Whether it leaves out groups, so that a random split stands beside it."""

    @abstractmethod
    def score(self, features: Features) -> Any:
        """The score of one arm: a dict with the headline and "interval". With "per_sample", its `PerSample`, the arms are compared sample by
        sample."""

    def majority(self, features: Features) -> Any:
        """The score of saying the same of every sample: the commonest class of the training samples; None where the headline is no accuracy."""
        if self.headline != "accuracy":
            return None
        known = features.labeled()
        same = F.one_hot(known.train_labels.bincount().argmax(), known.classes).expand(len(known.test), -1)
        return accuracy_point(same, known)

    def notes(self, score: Any) -> list[str]:
        """What a reader of the encoder's own score must know."""
        return []

    def trained_floors(self, trial: Trial, score: Any, train: Tensor, test: Tensor) -> tuple[dict[str, Any], list[str]]:
        """Floors that only this protocol has and that must be trained, as {name: score}, and notes. score: the encoder's own."""
        return {}, []

    def check(self, data: DataSet) -> None:
        """Raises UserError where the data has labels, but not what more this protocol needs."""

    def mixed(self, features: Features) -> Any:
        """The score of samples that were split at random, whatever stands beside them."""
        return self.score(features)

    def evaluate(self, trial: Trial) -> Result:
        return evaluate_frozen([self], trial)


def check_labels(data: DataSet) -> None:
    """Raises UserError unless samples have tags, or classes of which there are two at least."""
    if data.spec.classes < 2 and not data.spec.tag_names:
        hint = "say where they are with --labels COLUMN, FILE.csv or folder"
        raise UserError("scores need labels of two classes or more", where=data.name, hint=hint)


def labels_of(data: DataSet, rows: Tensor) -> Int64[Tensor, " labeled"]:
    """The classes of those of these rows that have one."""
    labels = data.rows.label[rows]
    return labels[labels >= 0]


def features_by(
    data: DataSet, train: Tensor, test: Tensor, seed: int, learned: Tensor | None = None
) -> Callable[[Callable[[Tensor], Tensor]], Features]:
    """What gives the features of an arm, with their labels, from what gives those of some rows. learned: (n,) bool, the samples whose labels the
    encoder has learned."""
    labels = data.rows.named.main
    left_out, group_names = left_out_of(data, torch.cat([train, test]), learned)
    groups, test_groups = (group if (group >= 0).any() else None for group in (data.groups[train], data.groups[test]))
    if groups is not None and test_groups is not None and torch.isin(test_groups[test_groups >= 0], groups).any():
        groups = None  # the test samples are of these groups too, so a probe may be tuned on samples of groups that it has seen

    def features(features_of: Callable[[Tensor], Tensor]) -> Features:
        train_side, test_side = (features_of(train), labels[train]), (features_of(test), labels[test])
        return Features(*train_side, *test_side, groups, seed, test_groups, data.spec.names, left_out, group_names)

    return features


def left_out_of(data: DataSet, rows: Tensor, learned: Tensor | None) -> tuple[Int64[Tensor, " rows"] | None, dict[int, str]]:
    """The source's groups of these rows, see `Features`, and their names."""
    groups = data.rows.group
    if not (groups[rows] >= 0).any():
        return None, {}
    if learned is not None:
        groups = torch.where(isin(groups, groups[learned]), -1, groups)
    left_out = groups[rows]
    return left_out, {group: data.group_name(group) for group in left_out[left_out >= 0].unique().tolist()}


def scorer(
    protocols: Sequence[FrozenProtocol], data: DataSet, train: Tensor, test: Tensor, seed: int, learned: Tensor | None = None
) -> Callable[[Callable[[Tensor], Tensor]], Scores]:
    """What gives the scores of an arm by these protocols, from what gives the features of some rows. UserError where the data does not suit them."""
    for protocol in protocols:
        protocol.check(data)
    features = features_by(data, train, test, seed, learned)
    return lambda features_of: scored(protocols, features(features_of))


def scored(protocols: Sequence[FrozenProtocol], features: Features) -> Scores:
    return {protocol.name: protocol.score(features) for protocol in protocols}


def by_random_split(protocols: Sequence[FrozenProtocol], features: Features, hashes: Tensor) -> Scores:
    """What the accuracies would be if samples were held out one by one, whatever stands beside them. hashes: of the training samples, then the test
    samples."""
    held = hold_out(hashes, torch.full_like(hashes, -1))
    inputs, labels = torch.cat([features.train, features.test]), torch.cat([features.train_labels, features.test_labels])
    mixed = Features(inputs[~held], labels[~held], inputs[held], labels[held], seed=features.seed)
    return without_samples({protocol.name: protocol.mixed(mixed) for protocol in protocols if protocol.headline == "accuracy"})


def evaluate_frozen(protocols: Sequence[FrozenProtocol], trial: Trial) -> Result:
    """The scores of several protocols, beside their floors. UserError without labels on both sides."""
    data, encoder, seed = trial.data, trial.encoder, trial.seed
    check_labels(data)
    value = trial.value
    train, test, part, note = data.held_out()
    learned = isin(trial.hashes, trial.learned)
    test = test[~learned[test]]
    labeled = data.rows.labeled
    known_by, scores = features_by(data, train, test, seed, learned), scorer(protocols, data, train, test, seed, learned)
    if not labeled[train].any() or not labeled[test].any():
        raise UserError("labels are needed on the training side and on the test side", where=data.name, hint=LABEL_SOME)
    notes = [note] if note else []
    if not data.spec.tag_names and is_uneven(truth := labels_of(data, test)):
        share = truth.bincount().max().item() / len(truth)
        notes.append(f"{percent(share)} of the test samples are of one class, so scores are areas under the ROC curve (AUC): 50 % is chance.")
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
    kept_together = data.own_test() is None and bool((data.groups[train] >= 0).any())
    mixing = [protocol for protocol in protocols if protocol.of_groups or kept_together]
    if mixing and fits("a random split as well, to show the difference"):
        random_split = by_random_split(mixing, features, trial.hashes[torch.cat([train, test])])
    floors = dict(trial.known_floors)
    if UNTRAINED.name not in floors and fits("the untrained encoder"):
        floors[UNTRAINED.name] = scores(encoded(untrained(encoder, seed, value, train)))
    for name, (what, fit, probe) in encoder.modality.floors(value, train, encoder.dim, seed).items():
        suited = [protocol for protocol in protocols if probe is None or probe in protocol.probes]
        if suited and name not in floors and fits(what):
            fitted = fit()
            floor_features = known_by(lambda rows, fitted=fitted: fitted(value.take(rows)))  # type: ignore[misc]
            floors[name] = scored(suited, replace(floor_features, probe=probe))
    known = known_by(lambda rows: torch.empty(len(rows), 0))
    for name in dict.fromkeys(protocol.constant.name for protocol in protocols if protocol.constant.name not in floors):
        majorities = {protocol.name: protocol.majority(known) for protocol in protocols if protocol.constant.name == name}
        if said := {protocol: score for protocol, score in majorities.items() if score is not None}:
            floors[name] = said
    if trial.linear_floor and not any(name.startswith(("pca", "lsa")) for name in floors) and fits("a linear code of the input"):
        name, code = encoder.modality.linear_code(value, train, encoder.dim, seed)
        floors[name] = scores(lambda rows: code(value.take(rows)))
    beside: dict[str, Scores] = {}
    for other in trial.beside:
        if fits(other.name):
            beside[other.name] = scores(partial(other.features, trial.data_role, device=trial.device, progress=trial.progress))
    for protocol in protocols:
        more, why = protocol.trained_floors(trial, own[protocol.name], train, test)
        notes += [*protocol.notes(own[protocol.name]), *why]
        for name, score in more.items():
            floors[name] = {**floors.get(name, {}), protocol.name: score}
    give_back_memory()
    return Result(own, floors, f"{data.name} ({part}: {len(test):,} samples)", notes, beside, random_split, left_out)
