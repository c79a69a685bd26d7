"""Semantic textual similarity: whether the cosines of sentence pairs rise with what people say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.data import DataSet
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.pairs import Rows, beside_floors, cosines, parts
from leaven.evaluation.scorecard import Scorecard, Scores

ROLES = ("a", "b", "score")
RESAMPLES = 1000
FLAT = 1e-5  # of the widest direction: what lies along one so narrow is rounding


def evaluate_similarity(
    encoder: Encoder,
    data: DataSet,
    *,
    method: str,
    seed: int = 0,
    device: str = "cpu",
    known_floors: Mapping[str, Scores] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Scorecard:
    """Spearman's rank correlation of cosines and scores over the test pairs (all of them in one list), beside the floors of pairs. Nothing is fitted
    to the scores.

    data: roles a and b (texts) and score (numbers). Raises UserError where a role is missing, or all scores are the same.
    """
    if missing := [role for role in ROLES if role not in data.rows.roles]:
        hint = "say which columns they are, as in --columns a=sentence1,b=sentence2,score=score"
        raise UserError(f"similarity needs pairs of texts and their score, and there is no {' and no '.join(missing)}", where=data.name, hint=hint)
    train, test, part, notes = parts(data)
    a, b, gold = (data.rows[role] for role in ROLES)
    scores = gold.tensors()["numbers"][test, 0].double()
    if len(scores) < 3 or bool((scores == scores[0]).all()):
        raise UserError("all pairs have the same score", where=data.name)

    def measure(first: Rows, second: Rows) -> Scores:
        found = told(cosines(first, second), scores, seed)
        return {"sts": {**found, **shape(first, second, scores)} if isinstance(first, Tensor) and isinstance(second, Tensor) else found}

    own, floors = beside_floors(encoder, (a, b), train, test, measure, seed=seed, device=device, known_floors=known_floors, say=say)
    name = f"{data.name} ({part}: {len(test):,} pairs)"
    if (reached := own["sts"].get("whitened", -1.0)) > own["sts"]["interval"][1]:
        notes = [*notes, f"whitened, the same vectors reach {100 * reached:.1f}: scikit-learn's PCA(whiten=True), fitted on them, does that"]
    return Scorecard(method, encoder.name or encoder.arguments.get("model", ""), name, own, floors, notes)


def told(cosine: Float[Tensor, " pairs"], scores: Float[Tensor, " pairs"], seed: int) -> dict[str, Any]:
    """{spearman, interval, pairs}: 95 %, bootstrap over pairs. Ties share their mean rank."""
    from scipy.stats import rankdata

    cosines, wanted = cosine.double().numpy(), scores.numpy()
    draw = np.random.default_rng(seed)
    found = []
    with np.errstate(invalid="ignore"):  # a resample of one pair alone has no ranks
        for _ in range(RESAMPLES):
            rows = draw.integers(len(wanted), size=len(wanted))
            found.append(np.corrcoef(rankdata(cosines[rows]), rankdata(wanted[rows]))[0, 1])
    low, high = np.nanquantile(found, [0.025, 0.975])
    return {
        "spearman": correlation(cosine, scores),
        "interval": [float(low), float(high)],
        "pairs": len(wanted),
    }


def correlation(cosine: Float[Tensor, " pairs"], scores: Float[Tensor, " pairs"]) -> float:
    """Spearman's: of ranks, tied ones with their mean."""
    from scipy.stats import spearmanr

    return float(spearmanr(cosine.double().numpy(), scores.numpy()).statistic)


def shape(a: Float[Tensor, "pairs dim"], b: Float[Tensor, "pairs dim"], scores: Float[Tensor, " pairs"]) -> dict[str, float]:
    """alignment: mean squared distance of the pairs in the uppermost fifth of the scores; uniformity: log of the mean of exp(-2 d^2) over all texts
    (Wang and Isola 2020, section 4.1); anisotropy: mean cosine of two different texts (Ethayarajh 2019). All of features at unit length. whitened:
    Spearman's correlation after these texts, without their scores, have told how to give all directions the same variance (Su et al. 2021), where
    they are more than the directions."""
    first, second = F.normalize(a, dim=1), F.normalize(b, dim=1)
    low, high = scores.min(), scores.max()
    near = scores >= low + 0.8 * (high - low)
    together = torch.cat([first, second]).unique(dim=0)
    cosine = (together @ together.T)[~torch.eye(len(together), dtype=torch.bool)]
    found = {
        "alignment": (first - second)[near].square().sum(1).mean().item(),
        "uniformity": (-2 * (2 - 2 * cosine)).exp().mean().log().item(),
        "anisotropy": cosine.mean().item(),
    }
    if len(together) > 2 * a.shape[1]:
        found["whitened"] = correlation(cosines(*whitened(a, b)), scores)
    return found


def whitened(a: Float[Tensor, "pairs dim"], b: Float[Tensor, "pairs dim"]) -> list[Float[Tensor, "pairs rank"]]:
    """Both without their mean, along their principal directions at unit variance; directions in which nothing varies are left out."""
    texts = torch.cat([a, b]).unique(dim=0).double()
    center = texts.mean(0)
    _, scale, axes = torch.linalg.svd(texts - center, full_matrices=False)
    kept = scale > FLAT * scale[0]
    return [(each.double() - center) @ axes[kept].T / scale[kept] for each in (a, b)]
