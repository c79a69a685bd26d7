"""What protocols of pairs share: the test pairs, the floors beside them, and cosines of dense and sparse features."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.data import DataSet
from leaven.encoders import Encoder
from leaven.evaluation.features import encode
from leaven.evaluation.floors import UNTRAINED, untrained
from leaven.evaluation.protocol import Result, Trial
from leaven.modalities import modality_of
from leaven.training.trained import shared_space

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ROLES = (("anchor", "positive"), ("a", "b"))
Rows: TypeAlias = "Tensor | csr_matrix"  # the latter of tf-idf


def pair_of(data: DataSet) -> tuple[str, str] | None:
    """The roles whose samples belong together."""
    return next(((a, b) for a, b in ROLES if a in data.rows.roles and b in data.rows.roles), None)


def scored_pairs(data: DataSet) -> tuple[Tensor, Tensor, str, list[str]]:
    """(rows from whose samples floors learn, rows that are scored, the name of the latter, notes). Nothing is fitted to pairs, so without a test
    split all of them are scored."""
    for name in ("test", "val"):
        if name in data.splits:
            return data.train(), data.splits[name], name, []
    every = torch.arange(len(data))
    return every, every, "all", ["No test split: every pair was scored. Did pre-training read these samples?"]


def evaluate_pairs(trial: Trial, protocol: str, roles: tuple[str, str], measure: Callable[[Rows, Rows, Tensor], Any]) -> Result:
    """A score of the features of the test pairs, beside that of the floors: the untrained encoders, and, where both sides are of one modality, those
    that it has for pairs (of texts: tf-idf of words and of characters, and the mean of word vectors), which learn from the training pairs.

    measure: (features of the first ones, of the second ones, the rows of these pairs) -> score.
    """
    data, seed = trial.data, trial.seed
    train, test, part, notes = scored_pairs(data)
    sides, encoders = [data.rows[role] for role in roles], [trial.encoder_for(role) for role in roles]
    one = encoders[0] is encoders[1]

    def encoded(networks: Sequence[Encoder], seed: int | None = None) -> Any:
        """The score of these networks; features of different encoders are compared in the space that their method learned."""
        features = [encode(network, side, test, device=trial.device) for network, side in zip(networks, sides, strict=True)]
        if not one:
            assert trial.run is not None
            project = shared_space(trial.run, seed)
            features = [project(network, side) for network, side in zip(networks, features, strict=True)]
        return measure(features[0], features[1], test)

    trial.say("scoring the pre-trained encoder")
    own = encoded(encoders)
    floors = {name: dict(floor) for name, floor in trial.known_floors.items()}
    a, b = sides
    if a.modality == b.modality:
        for name, (_, fit, _) in modality_of(a).pair_floors((a, b), train, encoders[0].dim, seed).items():
            if name not in floors:
                features = fit()
                floors[name] = {protocol: measure(features(a[test]), features(b[test]), test)}
    if UNTRAINED.name not in floors:
        trial.say("scoring the untrained encoder")
        fresh = untrained(encoders[0], seed, a, train)
        floors[UNTRAINED.name] = {protocol: encoded([fresh, fresh if one else untrained(encoders[1], seed, b, train)], seed)}
    beside = {}
    for other in trial.beside:
        first, second = (other.features(role, test, device=trial.device, progress=trial.progress) for role in roles)
        beside[other.name] = {protocol: measure(first, second, test)}
    return Result({protocol: own}, floors, f"{data.name} ({part}: {len(test):,} pairs)", notes, beside)


def similarities(first: Rows, second: Rows) -> Callable[[Tensor], Float[Tensor, "some pairs"]]:
    """A function from some of the first ones (rows) to their cosines with all of the second ones."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        left, right = F.normalize(first, dim=1), F.normalize(second, dim=1)
        return lambda rows: left[rows] @ right.T
    return lambda rows: torch.from_numpy((first[rows.numpy()] @ second.T).toarray()).float()  # type: ignore[union-attr]


def cosines(first: Rows, second: Rows) -> Float[Tensor, " pairs"]:
    """The cosine of each pair."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return F.cosine_similarity(first, second)
    return torch.from_numpy(np.asarray(first.multiply(second).sum(1)).ravel())
