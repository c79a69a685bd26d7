"""A folder whose weights are the encoder of a segmentation or detection network: of segmentation-models-pytorch, or of whatever takes timm's maps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from leaven.encoders import Encoder
from leaven.exporters import timm as plain

WEIGHTS = "smp.safetensors"


class Segmentation(plain.Timm):
    """The same folder as `timm`, which `features_only=True` reads; the weights once more by the names of segmentation-models-pytorch; and README.md,
    which says how both are used."""

    def unfit(self, encoder: Encoder) -> str:
        if why := super().unfit(encoder):
            return why
        return "" if "maps" in encoder.offers else f"{encoder.arguments['model']} has tokens, not maps at several scales: export it to timm"

    def write(self, encoder: Encoder, out: Path) -> None:
        super().write(encoder, out)
        network = features_of(out)
        save_file({f"model.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}, out / WEIGHTS)
        mean, std = (list(network.default_cfg[name]) for name in ("mean", "std"))
        channels, (model, weights) = encoder.input.shape[0], (encoder.arguments["model"], WEIGHTS)
        (out / "README.md").write_text(READ.format(model=model, channels=channels, weights=weights, mean=mean, std=std))

    def compared(self, encoder: Encoder) -> Callable[[Tensor], Tensor]:
        """The coarsest map."""
        network: Any = encoder.network
        return lambda pixels: network.forward_intermediates(encoder.normalize(pixels), intermediates_only=True)[-1]

    def read(self, out: Path) -> Callable[[Tensor], Tensor]:
        network = features_of(out)
        mean, std = (Tensor(network.default_cfg[name]).view(-1, 1, 1) for name in ("mean", "std"))
        return lambda pixels: network(((pixels / 255 if pixels.dtype == torch.uint8 else pixels) - mean) / std)[-1]


def features_of(folder: Path) -> Any:
    """The network as timm gives it for its maps at every scale."""
    return timm.create_model(f"local-dir:{folder}", pretrained=True, features_only=True).eval()


READ = """# An encoder trained with Leaven

```python
import torch
import segmentation_models_pytorch as smp
from safetensors.torch import load_file

model = smp.Unet("tu-{model}", encoder_weights=None, in_channels={channels}, classes=2)  # or FPN, DeepLabV3Plus, ...
model.encoder.load_state_dict(load_file("{weights}"))

mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in ({mean}, {std}))
masks = model((pixels - mean) / std)  # pixels: (batch, {channels}, height, width) in 0-1, sides that 32 divides
```

With timm alone, for any head over maps at several scales:

```python
import timm

maps = timm.create_model("local-dir:.", pretrained=True, features_only=True)((pixels - mean) / std)
```
"""
