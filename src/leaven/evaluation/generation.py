"""How good and how varied generated samples are, by features of them and of real ones.

All of these depend on whose features they are: whoever reports a number names the encoder. A Frechet distance is FID only on those of Inception.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.errors import UserError
from leaven.threads import one_thread

ROWS = 1024  # whose distances to all others are held at a time
ROUNDING = 1 + 1e-9  # a sample that is itself the k-th neighbour lies within the ball, whichever way its distance was rounded


def likeness(
    real: Float[Tensor, "real dim"], generated: Float[Tensor, "generated dim"], *, near: int = 3, wide: int = 5
) -> dict[str, Float[Tensor, " samples"]]:
    """Precision and recall (Kynkaanniemi et al. 2019, eq. 1 and 2), density and coverage (Naeem et al. 2020, eq. 3 and 5), sample by sample.

    The means are what the papers name so. Each sample has a ball, which reaches to its `near`-th (`wide`-th for the latter two) nearest neighbour
    of its own kind, border included. precision: whether a generated sample lies in a ball of a real one; recall: whether a real one lies in one of a
    generated; density: in how many balls of real ones a generated one lies, over `wide`; coverage: whether the ball of a real one holds a generated.
    Where both are of one distribution, density is 1 in the mean and coverage about 1 - 2^-wide. UserError for too few samples of either.
    """
    real_near, real_wide = nearest_radii(real, near, wide)
    (generated_near,) = nearest_radii(generated, near)
    precision, density = torch.zeros(2, len(generated), dtype=torch.float64, device=real.device)
    recall, coverage = [], []
    for start, distances in blocks(real, generated):
        rows = slice(start, start + len(distances))
        precision = precision.maximum((distances <= real_near[rows, None]).any(0).double())
        recall.append((distances <= generated_near).any(1).double())
        within = distances <= real_wide[rows, None]
        density += within.sum(0) / wide
        coverage.append(within.any(1).double())
    return {"precision": precision, "recall": torch.cat(recall), "density": density, "coverage": torch.cat(coverage)}


def nearest_radii(points: Float[Tensor, "points dim"], *ks: int) -> list[Float[Tensor, " points"]]:
    """For each k the Euclidean distance of each point to its k-th nearest other one. UserError where there are not as many."""
    if min(ks) < 1 or len(points) <= max(ks):
        raise UserError(f"{len(points)} samples have no neighbour number {max(ks)}", hint="give more samples")
    radii = []
    for start, distances in blocks(points, points):
        itself = torch.arange(len(distances), device=points.device)
        distances[itself, start + itself] = torch.inf
        nearest = distances.topk(max(ks), dim=1, largest=False).values
        radii.append(nearest[:, [k - 1 for k in ks]])
    return list(ROUNDING * torch.cat(radii).T)


def blocks(a: Float[Tensor, "rows dim"], b: Float[Tensor, "others dim"]) -> Iterator[tuple[int, Float[Tensor, "block others"]]]:
    """Euclidean distances of some rows of a at a time to all of b, in float64, and the number of the first of these rows."""
    a, b = a.double(), b.double()
    for start in range(0, len(a), ROWS):
        yield start, torch.cdist(a[start : start + ROWS], b)


def frechet_distance(a: Float[Tensor, "samples dim"], b: Float[Tensor, "others dim"]) -> float:
    """Squared Frechet distance of Gaussians with the means and covariances of these features: |m - n|^2 + tr(A + B - 2 (A B)^(1/2)).

    (Dowson and Landau 1982, eq. 4; Heusel et al. 2017, eq. 6.) UserError for fewer than two samples of either.
    """
    if min(len(a), len(b)) < 2:
        raise UserError(f"{min(len(a), len(b))} samples have no covariance", hint="give two or more of each kind")
    a, b = a.double(), b.double()
    first, second = (torch.atleast_2d(each.T.cov()) for each in (a, b))
    with one_thread():
        values, vectors = torch.linalg.eigh(first)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.T
        cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()  # the eigenvalues of A B, which is not symmetric itself
    return ((a.mean(0) - b.mean(0)).square().sum() + first.trace() + second.trace() - 2 * cross).clamp(min=0).item()


def recognised(logits: Float[Tensor, "samples classes"], wanted: Int64[Tensor, " samples"]) -> tuple[float, Float[Tensor, " classes"]]:
    """The share of samples that a classifier assigns to the wanted class, over all and of each class (NaN where no sample was wanted of it)."""
    right = (logits.argmax(1) == wanted).double()
    counts = torch.bincount(wanted, minlength=logits.shape[1])
    return right.mean().item(), torch.bincount(wanted, weights=right, minlength=logits.shape[1]) / counts


def dropped_classes(
    logits: Float[Tensor, "samples classes"], shares: Float[Tensor, " classes"], least: float = 0.1
) -> tuple[list[int], Float[Tensor, " classes"]]:
    """Classes to which a classifier assigns less than `least` times the share of samples that they have in the data (`shares`), and for each class
    the ratio of the two: 1 where nothing is missing. A class that the data does not have is never missing (NaN)."""
    share = torch.bincount(logits.argmax(1), minlength=logits.shape[1]).double() / len(logits)
    ratio = torch.where(shares > 0, share / shares, torch.nan)
    return (ratio < least).nonzero().flatten().tolist(), ratio
