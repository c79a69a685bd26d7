"""What encoders that cut pictures into square patches share."""

from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.encoders.encoder import Encoder
from leaven.modalities import Value
from leaven.modules.patches import patchify


class PatchEncoder(Encoder):
    """An encoder of pictures whose tokens are patches. `patch` is their side in pixels."""

    patch: Any

    @property
    def token_grid(self) -> tuple[int, int]:
        return self.input.shape[1] // self.patch, self.input.shape[2] // self.patch

    @property
    def pyramid_step(self) -> int:
        return 2 * self.patch

    def pyramid(self, x: Value | Tensor) -> list[Tensor]:
        """Of the last tokens: at twice, once and half of their fineness (Li et al. 2022, without deconvolutions, which a head may learn)."""
        x = self.numbers(x)
        tokens = self.token_features(x).tokens
        middle = tokens.mT.unflatten(2, (x.shape[2] // self.patch, x.shape[3] // self.patch))
        return [F.interpolate(middle, scale_factor=2.0, mode="bilinear"), middle, F.avg_pool2d(middle, 2)]

    @property
    def patch_size(self) -> int:
        return self.input.shape[0] * self.patch**2

    def patches(self, x: Value | Tensor) -> Float[Tensor, "batch tokens values"]:
        """The pixels in 0-1 of each patch."""
        return patchify(self.unit(x), self.patch)
