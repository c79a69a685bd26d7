"""Features that vary alike in all directions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Whitening(nn.Module):
    """After it the features of the training set have mean 0 and variance 1 in all directions (Su et al. 2021, section 3). The identity until fitted.

    Of the maps that do so it is the one that turns features least. The covariance of few samples is drawn towards one that is the same in all
    directions (Ledoit and Wolf 2004), so that noise is not taken for variance; of fewer than twice as many as there are directions none is taken.
    """

    center: Tensor
    axes: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("axes", torch.eye(dim))

    @property
    def fitted(self) -> bool:
        return bool((self.axes != torch.eye(len(self.axes), device=self.axes.device)).any())

    def forward(self, features: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        with torch.autocast(features.device.type, enabled=False):
            return (features.to(self.center.dtype) - self.center) @ self.axes

    @torch.no_grad()
    def fit(self, features: Float[Tensor, "samples dim"]) -> None:
        """features: as they are before this map. It stays as it is where they are too few, or all the same."""
        if len(features) < 2 * len(self.center):
            return
        from sklearn.covariance import ledoit_wolf

        found = features.cpu().double()  # some devices have no doubles
        center = found.mean(0)
        covariance = torch.from_numpy(ledoit_wolf((found - center).numpy(), assume_centered=True)[0])
        variance, directions = torch.linalg.eigh(covariance)
        if variance[-1] > 0:
            self.center.copy_(center)
            self.axes.copy_(directions / variance.clamp(min=1e-9 * variance[-1]).sqrt() @ directions.T)

    @torch.no_grad()
    def reset(self) -> None:
        self.center.zero_()
        self.axes.copy_(torch.eye(len(self.axes)))
