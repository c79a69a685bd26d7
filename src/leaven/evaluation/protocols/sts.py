from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.evaluation.floors import UNTRAINED
from leaven.evaluation.intervals import Groups, percentile_interval, resampled
from leaven.evaluation.pairing import Rows, cosines, evaluate_pairs, scored_pairs
from leaven.evaluation.protocol import Protocol, Result, Trial
from leaven.modalities.floor import INPUT
from leaven.threads import one_thread

ROLES = ("a", "b", "score")
FLAT = 1e-5  # of the widest direction: what lies along one so narrow is rounding


class Similarity(Protocol):
    """Semantic textual similarity: Spearman's rank correlation of the cosines of test pairs with the scores that people gave them.

    All test pairs are ranked in one list, and nothing is fitted to the scores.
    """

    name = "sts"
    title = "similarity (Spearman)"
    needs = "pairs with a score: roles a, b and score"
    floors = (INPUT, UNTRAINED)
    headline = "spearman"
    tested_on = "pairs"

    @classmethod
    def suits(cls, trial: Trial) -> int:
        return 4 if set(ROLES) <= set(trial.data.rows.roles) else 0

    def evaluate(self, trial: Trial) -> Result:
        data = trial.data
        if missing := [role for role in ROLES if role not in data.rows.roles]:
            hint = "say which columns they are, as in --columns a=sentence1,b=sentence2,score=score"
            raise UserError(
                f"similarity needs pairs of texts and their score, and there is no {' and no '.join(missing)}", where=data.name, hint=hint
            )
        scores = data.rows["score"].main[scored_pairs(data)[1], 0].double()
        if len(scores) < 3 or bool((scores == scores[0]).all()):
            raise UserError("all pairs have the same score", where=data.name)

        def measure(first: Rows, second: Rows, rows: Tensor) -> dict[str, Any]:
            score = rank_correlation(cosines(first, second), scores, trial.seed, data.groups[rows])
            return {**score, **shape(first, second, scores)} if isinstance(first, Tensor) and isinstance(second, Tensor) else score

        result = evaluate_pairs(trial, self.name, ("a", "b"), measure)
        score = result.scores[self.name]
        if (reached := score.get("whitened", -1.0)) > score["interval"][1]:
            result.notes.append(f"whitened, the same vectors reach {100 * reached:.1f}: scikit-learn's PCA(whiten=True), fitted on them, does that")
        return result


def rank_correlation(cosine: Float[Tensor, " pairs"], scores: Float[Tensor, " pairs"], seed: int, groups: Groups = None) -> dict[str, Any]:
    """{spearman, interval, pairs}. Interval: 95 %, bootstrap over pairs, or groups of them. Ties share their mean rank."""
    from scipy.stats import rankdata

    cosines, wanted = cosine.double().numpy(), scores.numpy()
    statistics = []
    with np.errstate(invalid="ignore"):  # a resample of one pair alone has no ranks
        for times in resampled(len(wanted), groups=groups, seed=seed):
            rows = np.repeat(np.arange(len(wanted)), times)
            statistics.append(np.corrcoef(rankdata(cosines[rows]), rankdata(wanted[rows]))[0, 1])
    interval = percentile_interval(statistics, groups=groups, bounds=(-1.0, 1.0))
    return {"spearman": correlation(cosine, scores), "interval": list(interval), "pairs": len(wanted)}


def correlation(cosine: Float[Tensor, " pairs"], scores: Float[Tensor, " pairs"]) -> float:
    """Spearman's: the correlation of ranks, where ties share their mean rank."""
    from scipy.stats import spearmanr

    return float(spearmanr(cosine.double().numpy(), scores.numpy()).statistic)


def shape(a: Float[Tensor, "pairs dim"], b: Float[Tensor, "pairs dim"], scores: Float[Tensor, " pairs"]) -> dict[str, float]:
    """How the features lie, at unit length.

    alignment: mean squared distance of the pairs in the uppermost fifth of the range of scores; uniformity: log of the mean of exp(-2 d^2) over all
    texts (Wang and Isola 2020, section 4.1); anisotropy: mean cosine of two different texts (Ethayarajh 2019); whitened: Spearman's correlation once
    these texts, without their scores, have determined a transformation to equal variance in all directions (Su et al. 2021), where there are more
    texts than directions.
    """
    first, second = F.normalize(a, dim=1), F.normalize(b, dim=1)
    low, high = scores.min(), scores.max()
    near = scores >= low + 0.8 * (high - low)
    together = torch.cat([first, second]).unique(dim=0)
    cosine = (together @ together.T)[~torch.eye(len(together), dtype=torch.bool)]
    numbers = {
        "alignment": (first - second)[near].square().sum(1).mean().item(),
        "uniformity": (-2 * (2 - 2 * cosine)).exp().mean().log().item(),
        "anisotropy": cosine.mean().item(),
    }
    if len(together) > 2 * a.shape[1]:
        numbers["whitened"] = correlation(cosines(*whitened(a, b)), scores)
    return numbers


def whitened(a: Float[Tensor, "pairs dim"], b: Float[Tensor, "pairs dim"]) -> list[Float[Tensor, "pairs rank"]]:
    """Both without their mean, along their principal directions at unit variance; directions in which nothing varies are left out."""
    texts = torch.cat([a, b]).unique(dim=0).double()
    center = texts.mean(0)
    with one_thread():
        _, scale, axes = torch.linalg.svd(texts - center, full_matrices=False)
    kept = scale > FLAT * scale[0]
    return [(side.double() - center) @ axes[kept].T / scale[kept] for side in (a, b)]
