"""What sound and signals have in common as kinds of data."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from leaven.modalities.modality import Modality
from leaven.modalities.quality import quality_cautions
from leaven.modalities.spec import InputSpec


class OverTime(Modality):
    """Samples over time, at a rate."""

    def extent(self, spec: InputSpec) -> str:
        *channels, time = spec.shape
        rate = spec.rate or 1.0
        size = f"up to {time / rate:.3g} s at {rate:g} Hz"
        return f"{channels[0]} channels, {size}" if channels else size

    def origins(self, value: Any) -> Tensor | None:
        return value.origin

    def cautions(self, described: dict[str, Any], sizes: dict[str, Any] | None) -> list[str]:
        return quality_cautions(described, self.plural)

    def open_options(self, spec: InputSpec) -> dict[str, Any]:
        return {"reading": {**spec.reading, "rate": spec.rate}}
