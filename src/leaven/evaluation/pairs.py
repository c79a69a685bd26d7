"""Pairs that belong together: whether each sample finds its partner among all partners, and the floors beside what is measured on pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.data import DataSet
from leaven.data.batch import content_hashes
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.evaluation.floors import untrained
from leaven.evaluation.retrieval import searched, told
from leaven.evaluation.scorecard import Scorecard, Scores
from leaven.modalities import Value, modality_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ROLES = (("anchor", "positive"), ("a", "b"))
Rows: TypeAlias = "Tensor | csr_matrix"  # the latter of tf-idf


def pair_of(data: DataSet) -> tuple[str, str] | None:
    """The roles whose samples belong together."""
    return next(((a, b) for a, b in ROLES if a in data.rows.roles and b in data.rows.roles), None)


def evaluate_pairs(
    encoder: Encoder,
    data: DataSet,
    *,
    method: str,
    seed: int = 0,
    device: str = "cpu",
    known_floors: Mapping[str, Scores] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Scorecard:
    """Every test sample asks for its partner among the partners of all test samples, by cosine, in the shape of `retrieval`: the mean average
    precision of one right answer is the mean reciprocal rank, recall the share that is found among the first. Partners of the same content are
    equally right.

    data: roles anchor and positive, or a and b. Raises UserError where there are none.
    """
    roles = pair_of(data)
    if roles is None:
        hint = "say which columns they are, as in --columns anchor=said,positive=heard"
        raise UserError("there are no pairs: no anchor and positive, no a and b", where=data.name, hint=hint)
    train, test, part, notes = parts(data)
    a, b = (data.rows[role] for role in roles)
    partner = content_hashes({"partner": b.take(test)}).unique(return_inverse=True)[1]

    def measure(first: Rows, second: Rows) -> Scores:
        return {"pairs": told(searched(similarities(first, second), partner, partner), len(partner), seed)}

    own, floors = beside_floors(encoder, (a, b), train, test, measure, seed=seed, device=device, known_floors=known_floors, say=say)
    name = f"{data.name} ({part}: {len(test):,} pairs)"
    return Scorecard(method, encoder.name or encoder.arguments.get("model", ""), name, own, floors, notes)


def parts(data: DataSet) -> tuple[Tensor, Tensor, str, list[str]]:
    """(rows from whose texts floors learn, rows that are scored, the name of these, notes). Nothing is fitted to pairs, so that without a test split
    all of them are scored."""
    for name in ("test", "val"):
        if name in data.splits:
            return data.train(), data.splits[name], name, []
    every = torch.arange(len(data))
    return every, every, "all", ["No test split: every pair was scored. Did pre-training read these texts?"]


def beside_floors(
    encoder: Encoder,
    pair: tuple[Value, Value],
    train: Tensor,
    test: Tensor,
    measure: Callable[[Rows, Rows], Scores],
    *,
    seed: int,
    device: str,
    known_floors: Mapping[str, Scores] | None,
    say: Callable[[str], None],
) -> tuple[Scores, dict[str, Scores]]:
    """What is measured on the features of the test pairs, and on those of the floors: the untrained encoder, and of texts tf-idf of words and of
    characters, and the mean of word vectors, all of which learn from the texts of the training pairs.

    measure: (pairs, dim) of the first ones and of the second ones -> scores. known_floors are not measured again.
    """

    def of_encoder(each: Encoder) -> Scores:
        return measure(*(encode(each, side, test, device=device) for side in pair))

    say("scoring the pre-trained encoder")
    own, floors = of_encoder(encoder), {name: dict(floor) for name, floor in (known_floors or {}).items()}
    a, b = pair
    if a.modality == b.modality:
        for name, (_, fit) in modality_of(a).pair_floors((a, b), train, encoder.dim, seed).items():
            if name not in floors:
                features = fit()
                floors[name] = measure(features(a[test]), features(b[test]))
    if "untrained" not in floors:
        say("scoring the untrained encoder")
        floors["untrained"] = of_encoder(untrained(encoder, seed, a, train))
    return own, floors


def similarities(first: Rows, second: Rows) -> Callable[[Tensor], Float[Tensor, "some pairs"]]:
    """What gives some of the first ones (rows) their cosines with all of the second ones."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        left, right = F.normalize(first, dim=1), F.normalize(second, dim=1)
        return lambda rows: left[rows] @ right.T
    return lambda rows: torch.from_numpy((first[rows.numpy()] @ second.T).toarray()).float()  # type: ignore[union-attr]


def cosines(first: Rows, second: Rows) -> Float[Tensor, " pairs"]:
    """Of each pair."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return F.cosine_similarity(first, second)
    return torch.from_numpy(np.asarray(first.multiply(second).sum(1)).ravel())
