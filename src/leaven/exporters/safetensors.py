"""The encoder's own folder, as `leaven.load` reads it: every weight in model.safetensors, how to build it in config.json."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from leaven.encoders import Encoder
from leaven.encoders.store import load_encoder, save_encoder
from leaven.exporters.target import Target, of_files


class Safetensors(Target):
    """A folder of config.json and model.safetensors, whose keys are the encoder's parameters and buffers by name."""

    def write(self, encoder: Encoder, out: Path) -> None:
        save_encoder(out, encoder)

    def read(self, out: Path) -> Callable[[Tensor], Tensor]:
        return of_files(load_encoder(out))
