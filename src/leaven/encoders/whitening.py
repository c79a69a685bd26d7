"""Features that vary alike in all directions."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Whitening(nn.Module):
    """A linear map after which the features of the training set have mean 0 and variance 1 in all directions (Su et al. 2021, section 3).

    It is the identity until it is fitted. Of all such maps it is the one that rotates features least. The covariance is shrunk towards one that is
    the same in all directions (Ledoit and Wolf 2004), so that the noise of few samples is not taken for variance.
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
        """features: as they are before this map. With fewer than twice as many samples as dimensions, or equal samples, the map stays as it is."""
        if len(features) < 2 * len(self.center):
            return
        from sklearn.covariance import ledoit_wolf

        samples = features.cpu().double()  # some devices have no doubles
        center = samples.mean(0)
        covariance = torch.from_numpy(ledoit_wolf((samples - center).numpy(), assume_centered=True)[0])
        variance, directions = torch.linalg.eigh(covariance)
        if variance[-1] > 0:
            self.center.copy_(center)
            self.axes.copy_(directions / variance.clamp(min=1e-9 * variance[-1]).sqrt() @ directions.T)

    @torch.no_grad()
    def reset(self) -> None:
        self.center.zero_()
        self.axes.copy_(torch.eye(len(self.axes)))
