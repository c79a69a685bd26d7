"""Transformer layers, as timm has them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


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

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return (self.outputs(tokens) or [tokens])[-1]

    def outputs(self, tokens: Float[Tensor, "batch tokens width"]) -> list[Float[Tensor, "batch tokens width"]]:
        """The output of every layer, from the first to the last."""
        # on CPUs the fused kernel's backward is slow for short sequences: two layers on 64 tokens take 304 ms with it and 181 ms without
        plain = tokens.device.type == "cpu" and tokens.shape[1] <= self.short and torch.is_grad_enabled()
        outputs = []
        for layer in self.layers:
            layer.attn.fused_attn = not plain  # type: ignore[union-attr, assignment]
            outputs.append(tokens := layer(tokens))
        return outputs
