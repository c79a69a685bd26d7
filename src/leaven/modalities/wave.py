"""Sound."""

from dataclasses import dataclass

from torch import Tensor

from leaven.modalities.modality import Modality
from leaven.modalities.value import Value


@dataclass(frozen=True, eq=False)
class Wave(Value):
    """Sound: samples (B, T) float; lengths (B,) int64; rate in Hz."""

    modality = "wave"
    samples: Tensor
    lengths: Tensor
    rate: float


class WaveModality(Modality):
    """One channel of sound."""

    name, noun, plural, values = "wave", "sound", "sounds", (Wave,)
