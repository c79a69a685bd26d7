"""Pictures cut into a grid of patches with gaps between them, each moved a little; and what removes colour as a clue to where a patch lay."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.errors import UserError


def patch_side(side: int, cells: int, gap: float) -> int:
    """Side of the patches that a picture of this side is cut into: that of a cell, without a share of it as gap.

    Raises UserError where nothing is left of at least 4 pixels.
    """
    if not 0 <= gap < 1:
        raise UserError(f"gap must be from 0 to below 1, not {gap}")
    patch = round(side // cells * (1 - gap))
    if patch < 4:
        raise UserError(f"{cells} x {cells} patches with a gap of {gap} are too small in pictures of {side} x {side}", hint="give larger pictures")
    return patch


def cut_patches(
    x: Float[Tensor, "batch channel side side"], draw: Draw, *, cells: int, patch: int, jitter: float
) -> Float[Tensor, "patches batch channel patch patch"]:
    """The cells x cells patches of each picture, row by row of the grid.

    Each lies in its cell of side // cells pixels; `jitter` is the share of the free pixels by which it moves at random, whole pixels and uniform:
    0 keeps it in the middle, 1 lets it touch its neighbours.
    """
    batch, channels, height, width = x.shape
    cell = min(height, width) // cells
    room = round((cell - patch) * jitter)
    moves = (cell - patch - room) // 2 + draw.integers(room + 1, batch, cells * cells, 2).to(x.device)
    start = torch.arange(0, cells * cell, cell, device=x.device)
    corners = torch.cartesian_prod(start, start) + moves
    within = torch.arange(patch, device=x.device)
    pixels = (corners[..., :1, None] + within[:, None]) * width + corners[..., 1:, None] + within
    cut = x.flatten(2).gather(2, pixels.view(batch, 1, -1).expand(-1, channels, -1))
    return cut.view(batch, channels, -1, patch, patch).permute(2, 0, 1, 3, 4)


def enlarged_side(side: int, share: float, multiple: int = 1) -> int:
    """A share of a picture's side, as near as possible to it among the multiples of what an encoder reads. UserError unless 0 < share <= 1."""
    if not 0 < share <= 1:
        raise UserError(f"enlarge must be above 0 and at most 1, not {share}")
    return max(1, round(side * share / multiple)) * multiple


def enlarge_patches(patches: Float[Tensor, "patches batch channel patch patch"], side: int) -> Float[Tensor, "patches batch channel side side"]:
    """Each patch brought to another side. Patches of a few pixels leave a network for whole pictures maps of one place, where most of the weights
    of its convolutions see only the border."""
    return F.interpolate(patches.flatten(0, 1), side, mode="bilinear").unflatten(0, patches.shape[:2])


def normalize_patch(x: Float[Tensor, "*batch channel height width"], mean: Tensor, std: Tensor) -> Float[Tensor, "*batch channel height width"]:
    """Each channel of each patch with the same mean and standard deviation: brightness and tint no longer tell from which picture or place it comes.

    mean, std: (1, channels, 1, 1), those that an encoder expects. The deviation is taken as 0.01 at least, so that flat patches stay flat.
    """
    variance, center = torch.var_mean(x, dim=(-2, -1), keepdim=True, correction=0)
    return (x - center) / variance.sqrt().clamp_min(0.01) * std + mean


def drop_colors(x: Float[Tensor, "batch channel height width"], kept: Tensor, noise: Tensor) -> Float[Tensor, "batch channel height width"]:
    """All channels but one become noise of a hundredth of that one's deviation around its mean (Doersch et al. 2015, section 3).

    kept: (batch,) int64, which channel stays. noise: (batch, channel, height, width), standard normal.
    """
    left = x.gather(1, kept[:, None, None, None].expand(-1, 1, *x.shape[2:]))
    deviation, mean = torch.std_mean(left, dim=(2, 3), keepdim=True, correction=0)
    stays = torch.arange(x.shape[1], device=x.device)[:, None, None] == kept[:, None, None, None]
    return torch.where(stays, x, mean + 0.01 * deviation * noise)


__all__ = ["cut_patches", "drop_colors", "enlarge_patches", "enlarged_side", "normalize_patch", "patch_side"]
