"""Pictures as rows of patches, fixed positions on their grid, and transformer layers over them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


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


def overlapping_patches(
    pixels: Float[Tensor, "batch channels height width"], patch: int, stride: int
) -> Float[Tensor, "batch rows columns channels side side"]:
    """Squares of side `patch` whose corners are `stride` pixels apart; what is left over at the right and below is not covered."""
    return pixels.unfold(2, patch, stride).unfold(3, patch, stride).permute(0, 2, 3, 1, 4, 5)


class Transformer(nn.Module):
    """Pre-norm layers with GELU, no dropout, Xavier weights (Dosovitskiy et al. 2021; initialised as in MAE)."""

    short = 256

    def __init__(self, width: int, depth: int, heads: int):
        from timm.models.vision_transformer import Block

        super().__init__()
        self.layers = nn.ModuleList(Block(width, heads, qkv_bias=True) for _ in range(depth))
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Float[Tensor, "batch tokens width"], seen: Tensor | None = None) -> Float[Tensor, "batch tokens width"]:
        return (self.outputs(tokens, seen) or [tokens])[-1]

    def outputs(self, tokens: Float[Tensor, "batch tokens width"], seen: Tensor | None = None) -> list[Float[Tensor, "batch tokens width"]]:
        """The output of every layer, from the first to the last.

        seen: which tokens each one sees, bool, broadcast to (batch, heads, tokens, tokens); one that would see none sees all (None: all see all).
        """
        # on CPUs the fused kernel's backward is slow for short sequences: two layers on 64 tokens take 304 ms with it and 181 ms without
        plain = tokens.device.type == "cpu" and tokens.shape[1] <= self.short and torch.is_grad_enabled()
        unseen = None
        if seen is not None:
            unseen = torch.zeros_like(seen, dtype=tokens.dtype).masked_fill(~(seen | ~seen.any(-1, keepdim=True)), -torch.inf)
        outputs = []
        for layer in self.layers:
            layer.attn.fused_attn = not plain  # type: ignore[union-attr, assignment]
            outputs.append(tokens := layer(tokens, attn_mask=unseen))
        return outputs
