"""Projectors and predictors."""

from torch import nn


def mlp(inputs: int, *widths: int, last_norm: bool = False) -> nn.Sequential:
    """Linear layers with batch norm and ReLU between them; `last_norm` ends with a batch norm without ReLU.

    Layers before a batch norm carry no bias (the norm has its own).
    """
    layers: list[nn.Module] = []
    for depth, width in enumerate(widths):
        last = depth == len(widths) - 1
        layers.append(nn.Linear(inputs, width, bias=last and not last_norm))
        if not last or last_norm:
            layers.append(nn.BatchNorm1d(width))
        if not last:
            layers.append(nn.ReLU(inplace=True))
        inputs = width
    return nn.Sequential(*layers)
