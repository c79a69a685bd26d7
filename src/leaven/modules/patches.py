"""Pictures as rows of patches, and fixed positions on their grid."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def patchify(pixels: Float[Tensor, "batch channels height width"], patch: int) -> Float[Tensor, "batch patches values"]:
    """Cut into patch x patch squares, row by row; each is flattened as (patch row, patch column, channel)."""
    batch, channels, height, width = pixels.shape
    grid = pixels.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


def sincos_positions(rows: int, columns: int, dim: int) -> Float[Tensor, "patches dim"]:
    """Fixed 2-D sine and cosine positions: half of the dimensions for the row, half for the column (MAE, appendix A.1)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(dim // 4) / (dim // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (row, column)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)


def gather_tokens(tokens: Float[Tensor, "batch tokens dim"], index: Tensor) -> Float[Tensor, "batch kept dim"]:
    """The tokens at these places, one list of places per sample: index (batch, kept) int64."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))


def hide_tokens(tokens: Float[Tensor, "batch tokens dim"], hidden: Tensor | None, mask_token: Tensor | None) -> Float[Tensor, "batch tokens dim"]:
    """Tokens with those at the hidden places (batch, tokens) bool replaced by mask_token (dim,); unchanged where nothing is hidden."""
    if hidden is None:
        return tokens
    assert mask_token is not None
    return torch.where(hidden[..., None], mask_token.to(tokens.dtype), tokens)


def overlapping_patches(
    pixels: Float[Tensor, "batch channels height width"], patch: int, stride: int
) -> Float[Tensor, "batch rows columns channels side side"]:
    """Squares of side `patch` whose corners are `stride` pixels apart; what is left over at the right and below is not covered."""
    return pixels.unfold(2, patch, stride).unfold(3, patch, stride).permute(0, 2, 3, 1, 4, 5)
