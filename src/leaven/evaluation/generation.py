"""How good and how varied generated samples are, by features of them and of real ones.

All of these depend on whose features they are: whoever reports a number names the encoder. A Frechet distance is FID only on those of Inception.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from leaven.errors import UserError

AT_ONCE = 1024  # rows whose distances to all others are held at a time
ROUNDING = 1 + 1e-9  # a sample that is itself the k-th neighbour lies within the ball, whichever way its distance was rounded


def nearest_radii(points: Float[Tensor, "points dim"], k: int) -> Float[Tensor, " points"]:
    """The Euclidean distance of each point to its k-th nearest other one. UserError where there are not as many."""
    if k < 1 or len(points) <= k:
        raise UserError(f"{len(points)} samples have no neighbour number {k}", hint="give more samples, or a smaller k from 1")
    radii = []
    for start, distances in blocks(points, points):
        itself = torch.arange(len(distances), device=points.device)
        distances[itself, start + itself] = torch.inf
        radii.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(radii)


def blocks(a: Float[Tensor, "rows dim"], b: Float[Tensor, "others dim"]) -> Iterator[tuple[int, Float[Tensor, "block others"]]]:
    """Euclidean distances of some rows of a at a time to all of b, in float64, and the number of the first of these rows."""
    a, b = a.double(), b.double()
    for start in range(0, len(a), AT_ONCE):
        yield start, torch.cdist(a[start : start + AT_ONCE], b)


def within_any(points: Float[Tensor, "points dim"], centers: Float[Tensor, "balls dim"], radii: Float[Tensor, " balls"]) -> Bool[Tensor, " points"]:
    """Which points lie in one ball or more, its border included."""
    return torch.cat([(distances <= radii * ROUNDING).any(1) for _, distances in blocks(points, centers)])


def precision_and_recall(real: Float[Tensor, "real dim"], generated: Float[Tensor, "generated dim"], k: int = 3) -> tuple[float, float]:
    """Share of generated samples among the real ones, and of real ones among the generated (Kynkaanniemi et al. 2019, eq. 1 and 2).

    Among them is what lies no further from one of them than its k-th nearest neighbour of its own kind does.
    """
    precision = within_any(generated, real, nearest_radii(real, k)).double().mean().item()
    return precision, within_any(real, generated, nearest_radii(generated, k)).double().mean().item()


def density_and_coverage(real: Float[Tensor, "real dim"], generated: Float[Tensor, "generated dim"], k: int = 5) -> tuple[float, float]:
    """In how many real samples' balls a generated one lies, over k, and the share of these balls that hold one (Naeem et al. 2020, eq. 3 and 5).

    A ball reaches to the k-th nearest neighbour. Density is 1 where both are of one distribution, and may be above; coverage is near 1 - 2^-k there.
    """
    radii = nearest_radii(real, k) * ROUNDING
    inside, covered = 0, []
    for start, distances in blocks(real, generated):
        within = distances <= radii[start : start + len(distances), None]
        inside += int(within.sum())
        covered.append(within.any(1))
    return inside / (k * len(generated)), torch.cat(covered).double().mean().item()


def frechet_distance(a: Float[Tensor, "samples dim"], b: Float[Tensor, "others dim"]) -> float:
    """Squared Frechet distance of Gaussians with the means and covariances of these features: |m - n|^2 + tr(A + B - 2 (A B)^(1/2)).

    (Dowson and Landau 1982, eq. 4; Heusel et al. 2017, eq. 6.) UserError for fewer than two samples of either.
    """
    if min(len(a), len(b)) < 2:
        raise UserError(f"{min(len(a), len(b))} samples have no covariance", hint="give two or more of each kind")
    a, b = a.double(), b.double()
    first, second = (torch.atleast_2d(each.T.cov()) for each in (a, b))
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()  # the eigenvalues of A B, which is not symmetric itself
    return ((a.mean(0) - b.mean(0)).square().sum() + first.trace() + second.trace() - 2 * cross).clamp(min=0).item()


def recognised(logits: Float[Tensor, "samples classes"], asked: Int64[Tensor, " samples"]) -> tuple[float, Float[Tensor, " classes"]]:
    """Share of samples that a classifier finds to be of the class that was asked for, over all and of each class (NaN where none was asked for)."""
    right = (logits.argmax(1) == asked).double()
    counts = torch.bincount(asked, minlength=logits.shape[1])
    return right.mean().item(), torch.bincount(asked, weights=right, minlength=logits.shape[1]) / counts


def dropped_classes(
    logits: Float[Tensor, "samples classes"], shares: Float[Tensor, " classes"], least: float = 0.1
) -> tuple[list[int], Float[Tensor, " classes"]]:
    """Classes that a classifier finds less than `least` times as often among samples as `shares` says they are in the data, and their shares of both:
    found / expected, 1 where nothing is missing. A class that the data does not have is never missing (NaN)."""
    found = torch.bincount(logits.argmax(1), minlength=logits.shape[1]).double() / len(logits)
    ratio = torch.where(shares > 0, found / shares, torch.nan)
    return (ratio < least).nonzero().flatten().tolist(), ratio
