"""What encoders of sound and of signals share: they know the rate, and where each sample ends."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from leaven.encoders.encoder import Encoder
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value

LARGEST = 15.0  # deviations of a signal, beyond which a sample is an artefact


class TimeReader(Encoder):
    """An encoder of what lies over time, at a known `rate` in Hz. An array is read to its end; a `Wave` or a `Signal` says where its samples end."""

    modalities: ClassVar[tuple[str, ...]] = ("wave", "signal")

    def __init__(self, input: InputSpec, dim: int):
        super().__init__(input, dim)
        if not input.rate:
            raise UserError(f"the rate of this {input.modality} is not known", hint='give it with the data: {"x": samples, "rate": 16000}')
        self.rate = input.rate

    def in_wave(self, x: Value | Tensor) -> tuple[Float[Tensor, "batch time"], Int64[Tensor, " batch"]]:
        """Samples of sound, and how many of them are sound."""
        samples = self.numbers(x).to(self.scale.dtype)
        if isinstance(x, Tensor):
            return samples, samples.new_full((samples.shape[0],), samples.shape[1], dtype=torch.int64)
        return samples, x.lengths  # type: ignore[attr-defined]

    def in_signal(self, x: Value | Tensor) -> tuple[Float[Tensor, "batch channels time"], Bool[Tensor, "batch time"]]:
        """Samples of a signal, each channel of mean 0 and deviation 1 over the training data, and which of them are real; the others are 0."""
        samples = self.normalize(x).clamp(-LARGEST, LARGEST)
        if isinstance(x, Tensor):
            return samples, samples.new_ones(samples.shape[0], samples.shape[2], dtype=torch.bool)
        mask = x.mask  # type: ignore[attr-defined]
        return samples.masked_fill(~mask[:, None], 0), mask
