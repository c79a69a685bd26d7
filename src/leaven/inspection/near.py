"""Pictures that are nearly the same: all pairs of them, found exactly, in memory that grows with the number of pictures.

Two pictures are compared by grey thumbnails without their mean, whitened: directions in which most pictures vary (light above, dark below) say
little, and agreement in rare detail says much. How alike a near copy must be follows from how alike the pictures of this data set ordinarily are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from leaven.modalities import Value, modality_of
from leaven.modalities.pixels import grey_weights
from leaven.threads import one_thread
from leaven.training.precision import cpu_multiplies_bf16

Pairs = tuple[Int64[Tensor, "pairs"], Int64[Tensor, "pairs"], Float[Tensor, "pairs"]]
"""Rows of a first and of a second set of pictures, and how alike they are."""

SIDE = 16
FLAT = 4 / 255  # standard deviation of a thumbnail below which there is nothing to compare but noise
VALUES = 2**22  # of pictures that are looked at together
BLOCK = 4096

PRIOR = 1000  # pictures that the prior of the covariance counts for
RIDGE = 0.1  # of the mean variance: below it lies what compression and resizing change
SAMPLED = 1000  # pictures whose neighbourhoods are looked at
NEIGHBOUR = 11
CHANCE = 1e-5  # of a picture having a neighbour as near as a near copy
BOUNDS = (0.7, 0.98)
MIDDLES = 0.7  # cosine of near copies without their margins, so that two pictures in the same frame are none
ROUNDING = 0.01  # more than the product of two unit vectors can be off in bf16: 2^-9 for each factor, 2^-9 for the result


def thumbnails(value: Value, rows: Tensor, side: int = SIDE) -> tuple[Float[Tensor, "rows pixels"], Tensor]:
    """Grey thumbnails without their mean, as unit vectors (brightness and contrast do not count); and (rows,) bool: which are flat (zeros)."""
    modality, count = modality_of(value), max(1, VALUES // value.shape[0].numel())
    with one_thread():
        grey = torch.cat([_thumbnails(modality.pictures(value[part]), side) for part in rows.split(count)])
    flat = grey.square().mean(1).sqrt() < FLAT
    return F.normalize(grey.masked_fill_(flat[:, None], 0), dim=1), flat


def thumbnail_side(*values: Value) -> int:
    """16, or less where pictures are smaller."""
    return min(SIDE, *(side for value in values for side in modality_of(value).pictures(value[:1]).shape[2:]))


def _thumbnails(pixels: Tensor, side: int) -> Tensor:
    small = F.adaptive_avg_pool2d(pixels.float(), side) / (255 if pixels.dtype == torch.uint8 else 1)  # before the colours: fewer numbers to mix
    small = torch.einsum("bchw,c->bhw", small, grey_weights(pixels.shape[1], pixels.device)).flatten(1)
    return small - small.mean(1, keepdim=True)


@dataclass(frozen=True)
class Likeness:
    """How alike two pictures of a data set are, and from where they are near copies. whitening: (pixels, pixels); alike: a cosine."""

    whitening: Tensor
    alike: float

    @classmethod
    def of(cls, thumbnails: Float[Tensor, "n pixels"]) -> Likeness:
        """From the data set's thumbnails, flat ones left out, and a prior that counts for 1,000 pictures: natural ones, whose power falls with the
        square of the frequency (Field 1987)."""
        full = thumbnails[thumbnails.any(1)]
        covariance = (full.T @ full + PRIOR * natural_covariance(math.isqrt(thumbnails.shape[1]))) / (len(full) + PRIOR)
        with one_thread():
            variance, directions = torch.linalg.eigh(covariance.double())
        whitening = (directions / (variance + RIDGE * variance.mean()).sqrt()).float()
        unbounded = cls(whitening, BOUNDS[0])
        return cls(whitening, ordinary_bound(unbounded.vectors(full)))

    def pairs(self, a: Float[Tensor, "n pixels"], b: Float[Tensor, "m pixels"] | None = None, *, device: str = "cpu") -> Iterator[Pairs]:
        """The near copies among thumbnails, some at a time; see `near_pairs`."""
        other = a if b is None else b
        kind = torch.bfloat16 if device == "cuda" or cpu_multiplies_bf16() else torch.float32
        for i, j, likeness in near_pairs(self.vectors(a), None if b is None else self.vectors(b), alike=self.alike, device=device, kind=kind):
            agree = (middles(a[i]) * middles(other[j])).sum(1) >= MIDDLES
            if agree.any():
                yield i[agree], j[agree], likeness[agree]

    def vectors(self, thumbnails: Float[Tensor, "n pixels"]) -> Float[Tensor, "n pixels"]:
        """Whitened unit vectors, whose products are the likenesses (-1 to 1); zeros stay zeros."""
        return F.normalize(thumbnails @ self.whitening, dim=1)


def middles(thumbnails: Float[Tensor, "n pixels"]) -> Float[Tensor, "n inner"]:
    """Unit vectors of thumbnails without an eighth at each side, and without their mean."""
    side = math.isqrt(thumbnails.shape[1])
    margin = side // 8
    inner = thumbnails.view(-1, side, side)[:, margin : side - margin, margin : side - margin].flatten(1)
    return F.normalize(inner - inner.mean(1, keepdim=True), dim=1)


def natural_covariance(side: int) -> Float[Tensor, "pixels pixels"]:
    """Of unit-length natural thumbnails without their mean: diagonal in cosines, with a variance of 1 / squared frequency, trace 1."""
    place, frequency = torch.arange(side) + 0.5, torch.arange(side)
    cosines = F.normalize(torch.cos(math.pi / side * frequency[:, None] * place), dim=1)
    basis = torch.kron(cosines, cosines)
    power = 1 / (frequency[:, None] ** 2 + frequency**2).flatten().float().clamp_min(1)
    power[0] = 0
    return basis.T @ (basis * (power / power.sum())[:, None])


def ordinary_bound(vectors: Float[Tensor, "n dim"]) -> float:
    """The likeness that a pair has by chance once in 100,000, in this data set's densest regions; within 0.7 and 0.98.

    Around a point, the number of others within a squared distance r grows with r^(d/2), where d is the intrinsic dimension, here estimated from the
    neighbours of up to 1,000 pictures (Levina and Bickel 2005). So the nearest of 11 is by chance within a share t of the distance to
    the eleventh about 11 t^(d/2) times. That distance is the one that only 1 % of the pictures fall below.
    """
    last = min(NEIGHBOUR, len(vectors) - 2)
    if last < 3:
        return BOUNDS[0]
    rows = torch.linspace(0, len(vectors) - 1, min(SAMPLED, len(vectors))).long()
    likeness = vectors[rows] @ vectors.T
    likeness[torch.arange(len(rows)), rows] = -1
    gaps = (1 - likeness.topk(last + 1, dim=1).values).clamp_min(1e-6)
    steps = torch.log(gaps[:, last:] / gaps[:, 1:last]).sum(1).clamp_min(1e-6)
    half_dimension = ((last - 2) / steps).median().item()
    share = (CHANCE / last) ** (1 / half_dimension)
    return min(max(1 - share * gaps[:, last].quantile(0.01).item(), BOUNDS[0]), BOUNDS[1])


def near_pairs(
    a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"] | None = None, *, alike: float, device: str = "cpu", kind: torch.dtype = torch.float32
) -> Iterator[Pairs]:
    """All pairs of unit vectors whose cosine is at least `alike`, some at a time; of `a` with itself, each pair once.

    kind: number format in which pairs that are clearly below are sorted out; the cosines of the others are computed in fp32.
    """
    ours = a.to(device, kind)
    theirs, other = (ours, a) if b is None else (b.to(device, kind), b)
    for top in range(0, len(ours), BLOCK):
        for left in range(top if b is None else 0, len(theirs), BLOCK):
            near = ours[top : top + BLOCK] @ theirs[left : left + BLOCK].T >= alike - ROUNDING
            if not near.any():
                continue
            i, j = (places.cpu() + start for places, start in zip(near.nonzero(as_tuple=True), (top, left), strict=True))
            if b is None:
                i, j = i[i < j], j[i < j]
            cosine = (a[i] * other[j]).sum(1)
            kept = cosine >= alike
            if kept.any():
                yield i[kept], j[kept], cosine[kept]
