"""Protocols that score frozen features with labels: each arm is encoded once for all of them."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

from jaxtyping import Float, Int64
from torch import Tensor, isin

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.evaluation.floors import UNTRAINED, untrained
from leaven.evaluation.protocol import Protocol, Result, Scores, Trial
from leaven.modalities.floor import INPUT, FloorName
from leaven.training.precision import give_back_memory

LABEL_SOME = "label some samples of the training part and some of the test part"


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one arm, with labels (-1 = none). groups: of the training samples, which a probe's own held-out part must not cut (None: none)."""

    train: Float[Tensor, "train dim"]
    train_labels: Int64[Tensor, " train"]
    test: Float[Tensor, "test dim"]
    test_labels: Int64[Tensor, " test"]
    groups: Int64[Tensor, " train"] | None = None
    seed: int = 0

    @property
    def classes(self) -> int:
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1

    def labeled(self) -> Self:
        """Those of samples with a label. UserError where there are none on one of the sides."""
        train, test = self.train_labels >= 0, self.test_labels >= 0
        if not train.any() or not test.any():
            raise UserError("there are no labels to score with", hint=LABEL_SOME)
        groups = None if self.groups is None else self.groups[train]
        return type(self)(self.train[train], self.train_labels[train], self.test[test], self.test_labels[test], groups, self.seed)


class FrozenProtocol(Protocol):
    """Scores features of test samples by labels; probes learn on the data's train split and are scored once on its test split (else val, else a
    held-out fifth). The floors are the same score of the raw input, of the untrained encoder and of what the modality adds."""

    needs = "labels of two classes or more"
    floors: ClassVar[tuple[FloorName, ...]] = (INPUT, UNTRAINED)
    headline = "accuracy"
    frozen = True

    @abstractmethod
    def score(self, features: Features) -> Any:
        """The score of one arm: a dict with the headline and "interval"."""

    def trained_floors(self, trial: Trial, score: Any, train: Tensor, test: Tensor) -> tuple[dict[str, Any], list[str]]:
        """Floors that only this protocol has and that must be trained, as {name: score}, and notes. score: the encoder's own."""
        return {}, []

    def evaluate(self, trial: Trial) -> Result:
        return evaluate_frozen([self], trial)


def scorer(
    protocols: Sequence[FrozenProtocol], data: DataSet, train: Tensor, test: Tensor, seed: int
) -> Callable[[Callable[[Tensor], Tensor]], Scores]:
    """What gives the scores of an arm by these protocols, from what gives the features of some rows."""
    labels, groups = data.rows.label, data.rows.group[train]

    def scores(features_of: Callable[[Tensor], Tensor]) -> Scores:
        features = Features(features_of(train), labels[train], features_of(test), labels[test], groups if (groups >= 0).any() else None, seed)
        return {protocol.name: protocol.score(features) for protocol in protocols}

    return scores


def evaluate_frozen(protocols: Sequence[FrozenProtocol], trial: Trial) -> Result:
    """The scores of several protocols, beside their floors. UserError without labels on both sides."""
    data, encoder, seed = trial.data, trial.encoder, trial.seed
    if data.spec.classes < 2:
        hint = "say where they are with --labels COLUMN, FILE.csv or folder"
        raise UserError("scores need labels of two classes or more", where=data.name, hint=hint)
    value = trial.value
    train, test, part, note = data.held_out()
    test = test[~isin(trial.hashes[test], trial.learned)]
    labels, scores = data.rows.label, scorer(protocols, data, train, test, seed)
    if not (labels[train] >= 0).any() or not (labels[test] >= 0).any():
        raise UserError("labels are needed on the training side and on the test side", where=data.name, hint=LABEL_SOME)
    notes = [note] if note else []
    if overlap := data.overlap(train, test):
        notes.append(f"{overlap} of {len(test)} test samples are in the training part too")

    def encoded(network: Any) -> Scores:
        return scores(lambda rows: encode(network, value, rows, device=trial.device, progress=trial.progress))

    trial.say("scoring the pre-trained encoder")
    own = encoded(encoder)
    floors = dict(trial.known_floors)
    for name, (what, fit) in encoder.modality.floors(value, train, encoder.dim, seed).items():
        if name not in floors:
            trial.say(f"scoring {what}")
            features = fit()
            floors[name] = scores(lambda rows, features=features: features(value.take(rows)))  # type: ignore[misc]
    if UNTRAINED.name not in floors:
        trial.say("scoring the untrained encoder")
        floors[UNTRAINED.name] = encoded(untrained(encoder, seed, value, train))
    if trial.linear_floor and not any(name.startswith(("pca", "lsa")) for name in floors):
        trial.say("scoring a linear code of the input")
        name, code = encoder.modality.linear_code(value, train, encoder.dim, seed)
        floors[name] = scores(lambda rows: code(value.take(rows)))
    for protocol in protocols:
        more, why = protocol.trained_floors(trial, own[protocol.name], train, test)
        notes += why
        for name, score in more.items():
            floors[name] = {**floors.get(name, {}), protocol.name: score}
    beside: dict[str, Scores] = {}
    for other in trial.beside:
        trial.say(f"scoring {other.name}")
        beside[other.name] = scores(partial(other.features, trial.data_role, device=trial.device, progress=trial.progress))
    give_back_memory()
    return Result(own, floors, f"{data.name} ({part}: {len(test):,} samples)", notes, beside)
