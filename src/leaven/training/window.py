"""Means of the loss over the steps between two rows of metrics."""

from collections import defaultdict

import torch
from torch import Tensor


class Window:
    """Sums since the last row, kept on the device, by the names of a step's terms: players have terms of their own."""

    def __init__(self, sums: dict[str, Tensor] | None = None):
        self.sums = sums or {}

    def add(self, terms: dict[str, Tensor], norm: Tensor) -> None:
        """norm: length of the gradient."""
        values = torch.stack([*terms.values(), norm]).double()
        names = ",".join(terms)
        self.sums[names] = self.sums.get(names, 0.0) + torch.cat([values, values.new_ones(1)])

    def take_means(self) -> dict[str, float]:
        """Means of each term, of their sum and of the gradient's length, over the steps that had them; the window is then empty."""
        sums: dict[str, float] = defaultdict(float)
        steps: dict[str, float] = defaultdict(float)
        for names, total in self.sums.items():
            *terms, norm, count = total.tolist()
            for name, value in [*zip(names.split(","), terms, strict=True), ("loss", sum(terms)), ("grad_norm", norm)]:
                sums[name] += value
                steps[name] += count
        self.sums = {}
        return {name: value / steps[name] for name, value in sums.items()}
