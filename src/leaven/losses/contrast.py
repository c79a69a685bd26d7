"""Losses that compare each sample with the others of its batch."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F


def nt_xent(a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"], temperature: float) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy (Chen et al. 2020, eq. 1): the mean over the 2B views of
    -log exp(sim(i, j) / t) / sum over k != i of exp(sim(i, k) / t), where j is the other view of the same sample and sim the cosine.

    Identical embeddings everywhere give ln(2B - 1). Needs a batch of at least 2.
    """
    if len(a) < 2:
        raise ValueError("NT-Xent needs at least 2 samples: a batch of 1 has no negatives")
    z = F.normalize(torch.cat([a, b]), dim=1, eps=1e-6)
    logits = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    partner = torch.arange(len(z), device=z.device).roll(len(a))
    return F.cross_entropy(logits, partner)


def weighted_contrast(z: Float[Tensor, "batch dim"], weight: Float[Tensor, "batch batch"], temperature: float) -> Float[Tensor, ""]:
    """Supervised contrast (Khosla et al. 2020, eq. 2, L_out), where each sample's positives may weigh differently: the mean over samples, and the
    mean by weight over the others j, of -log exp(sim(i, j) / t) / sum over k != i of exp(sim(i, k) / t). Samples without a positive count as 0.

    weight: 0 or more; that of a sample to itself is not looked at. Needs a batch of at least 2.
    """
    if len(z) < 2:
        raise ValueError("contrast needs at least 2 samples: a batch of 1 has no negatives")
    z = F.normalize(z, dim=1, eps=1e-6)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    weight = weight.masked_fill(itself, 0)
    unlikely = (logits.logsumexp(1, keepdim=True) - logits).masked_fill(itself, 0)
    return ((unlikely * weight).sum(1) / weight.sum(1).clamp(min=1e-12)).mean()


def info_nce(
    queries: Float[Tensor, "batch dim"],
    keys: Float[Tensor, "keys dim"],
    temperature: float,
    negatives: Float[Tensor, "others dim"] | None = None,
    same: Int64[Tensor, " keys"] | None = None,
    own: Bool[Tensor, "batch others"] | None = None,
) -> Float[Tensor, ""]:
    """InfoNCE (van den Oord et al. 2018, eq. 4): the mean over queries of -log exp(sim(q, k) / t) / sum over k' of exp(sim(q, k') / t), with k the
    key of the query's row and sim the cosine.

    k' is every key, of which there may be more than queries; where `negatives` are given, it is the query's own key and these (He et al. 2020, eq.
    1). same: a key with the number of a query's own is no negative of it. own: which of `negatives` are no negatives of a query. Identical
    embeddings everywhere give ln(keys), or ln(1 + others). Needs a batch of at least 2 without `negatives`.
    """
    if negatives is None and len(keys) < 2:
        raise ValueError("InfoNCE needs at least 2 samples: a batch of 1 has no negatives")
    q, k = F.normalize(queries, dim=1, eps=1e-6), F.normalize(keys, dim=1, eps=1e-6)
    if negatives is None:
        logits, own = q @ k.T / temperature, torch.arange(len(q), device=q.device)
        if same is not None:
            logits = logits.masked_fill((same[: len(q), None] == same) & (own[:, None] != torch.arange(len(k), device=q.device)), float("-inf"))
        return F.cross_entropy(logits, own)
    wrong = q @ F.normalize(negatives, dim=1, eps=1e-6).T
    logits = torch.cat([(q * k).sum(1, keepdim=True), wrong if own is None else wrong.masked_fill(own, float("-inf"))], dim=1)
    return F.cross_entropy(logits / temperature, torch.zeros(len(q), dtype=torch.int64, device=q.device))


def matched(logits: Float[Tensor, "batch batch"], right: Bool[Tensor, "batch batch"]) -> Float[Tensor, ""]:
    """Symmetric InfoNCE (Radford et al. 2021, figure 3): the mean, over rows and over columns, of the cross-entropy to the right ones of each, which
    are equally likely where there are several.

    right: symmetric, with at least the diagonal. With the diagonal alone, and logits that are all equal, it is ln(batch).
    """
    share = right / right.sum(1, keepdim=True)
    return (F.cross_entropy(logits, share) + F.cross_entropy(logits.T, share)) / 2
