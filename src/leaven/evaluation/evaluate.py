"""Scores of a frozen encoder beside its floors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.clusters import clusters
from leaven.evaluation.features import encode
from leaven.evaluation.few_label import few_label_curve
from leaven.evaluation.floors import labels_only_curve, untrained
from leaven.evaluation.knn import knn_accuracy
from leaven.evaluation.linear import linear_accuracy
from leaven.evaluation.retrieval import retrieval
from leaven.evaluation.scorecard import Scorecard, Scores
from leaven.training.precision import give_back_memory

USUAL = ("knn", "linear", "few-label")
PROTOCOLS = (*USUAL, "retrieval", "clusters")


def evaluate_encoder(
    encoder: Encoder,
    data: DataSet,
    *,
    method: str,
    protocols: Sequence[str] = USUAL,
    labels_per_class: Sequence[int] = (1, 2, 5, 10),
    draws: int = 10,
    budget: float | None = 120.0,
    seed: int = 0,
    device: str = "cpu",
    known_floors: Mapping[str, Scores] | None = None,
    learned: Tensor | None = None,
    linear_floor: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Scorecard:
    """kNN, linear probe, few-label curve, retrieval and clusters of an encoder, the raw input and the untrained encoder; of texts also of tf-idf of
    characters and the mean of word vectors; and training on the labels alone.

    known_floors: those measured before (by the same protocols, on the same data), which are not measured again. learned: content hashes of samples
    whose labels the encoder has learned from; they are not tested on. linear_floor: also a linear code of the input as long as the features, fitted
    to the training part: "pca 256", or of counts "lsa 256".
    Probes learn on the data's train split and are scored once on its test split (else val, else a held-out fifth).
    Raises UserError without labels on both sides.
    """
    if data.spec.classes < 2:
        raise UserError(
            "scores need labels of two classes or more", where=data.name, hint="say where they are with --labels COLUMN, FILE.csv or folder"
        )
    train, test, part, note = data.held_out()
    if learned is not None:
        test = test[~torch.isin(data.hashes[test], learned)]
    labels = data.rows.label
    if not (labels[train] >= 0).any() or not (labels[test] >= 0).any():
        raise UserError("labels are needed on the training side and on the test side", where=data.name, hint="label some of each")
    notes = [note] if note else []
    if overlap := data.overlap(train, test):
        notes.append(f"{overlap} of {len(test)} test samples also stand in the training part")
    value = data.rows["x"]

    def scores(features: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        a, b = features(train), features(test)
        found: dict[str, Any] = {}
        if "knn" in protocols:
            found["knn"] = knn_accuracy(a, labels[train], b, labels[test])
        if "linear" in protocols:
            found["linear"] = linear_accuracy(a, labels[train], b, labels[test], groups=groups(data.rows.group[train]))
        if "few-label" in protocols:
            found["few-label"] = few_label_curve(a, labels[train], b, labels[test], labels_per_class=labels_per_class, draws=draws, seed=seed)
        if "retrieval" in protocols:
            found["retrieval"] = retrieval(a, labels[train], b, labels[test], seed=seed)
        if "clusters" in protocols:
            found["clusters"] = clusters(b, labels[test], seed=seed)
        return found

    say("scoring the pre-trained encoder")
    own = scores(lambda rows: encode(encoder, value, rows, device=device, progress=progress))
    floors = dict(known_floors or {})
    for floor, (what, fit) in encoder.modality.floors(value, train, encoder.dim, seed).items():
        if floor not in floors:
            say(f"scoring {what}")
            features = fit()
            floors[floor] = scores(lambda rows, features=features: features(value.take(rows)))  # type: ignore[misc]
    if "untrained" not in floors:
        say("scoring the untrained encoder")
        fresh = untrained(encoder, seed, value, train)
        floors["untrained"] = scores(lambda rows: encode(fresh, value, rows, device=device, progress=progress))
    if linear_floor and not any(name.startswith(("pca", "lsa")) for name in floors):
        say("scoring a linear code of the input")
        name, code = encoder.modality.linear_code(value, train, encoder.dim, seed)
        floors[name] = scores(lambda rows: code(value.take(rows)))
    if "few-label" in protocols and "labels-only" not in floors and (budget is None or budget > 0):
        say("training on the labels alone")
        target = own["few-label"][-1]["accuracy"]
        curve, left_out = labels_only_curve(encoder, data, train, test, labels_per_class=labels_per_class, target=target, budget=budget, seed=seed)
        notes += left_out
        if curve:
            floors["labels-only"] = {"few-label": curve}
    give_back_memory()
    name = f"{data.name} ({part}: {len(test):,} samples)"
    return Scorecard(method=method, encoder=encoder.name or encoder.arguments.get("model", ""), data=name, scores=own, floors=floors, notes=notes)


def groups(group: Tensor) -> Tensor | None:
    return group if (group >= 0).any() else None


__all__ = ["PROTOCOLS", "USUAL", "evaluate_encoder"]
