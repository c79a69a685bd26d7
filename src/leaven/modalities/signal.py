"""Signals of several channels, such as EEG."""

from dataclasses import dataclass

from torch import Tensor

from leaven.modalities.modality import Modality
from leaven.modalities.value import Value


@dataclass(frozen=True, eq=False)
class Signal(Value):
    """Signals of several channels: samples (B, C, T) float; mask (B, T) bool, true where there is signal; rate in Hz."""

    modality = "signal"
    samples: Tensor
    mask: Tensor
    rate: float


class SignalModality(Modality):
    """Channels over time."""

    name, noun, plural, values = "signal", "signal", "signals", (Signal,)
    axes = 2
