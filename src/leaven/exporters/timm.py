"""A folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` reads."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

from leaven.encoders import Encoder
from leaven.exporters.target import Target


class Timm(Target):
    """A folder in timm's hub format: the network alone, with the normalisation it wants in config.json."""

    def unfit(self, encoder: Encoder) -> str:
        if encoder.library != "timm":
            return f"{encoder.name or 'this encoder'} is no timm model: export it to safetensors or onnx"
        if has_small_stem(encoder.network):
            return (
                "timm has no arguments for the small stem (3x3, no pooling) that this network was given for small pictures: "
                "export it to safetensors or onnx, or pre-train with --set encoder.small_stem=false"
            )
        return ""

    def write(self, encoder: Encoder, out: Path) -> None:
        network: Any = copy.deepcopy(encoder.network).to(memory_format=torch.contiguous_format)
        channels = encoder.input.shape[0]
        low, high = encoder.modality.file_range(encoder.input) or (0.0, 1.0)
        mean, std = encoder.input.mean or (0.0,) * channels, encoder.input.std or (1.0,) * channels
        network.pretrained_cfg = {
            "architecture": encoder.arguments["model"],
            "num_classes": 0,
            "input_size": encoder.input.shape,
            "mean": tuple(low + value * (high - low) for value in mean),
            "std": tuple(value * (high - low) for value in std),
            "crop_pct": 1.0,
            "crop_mode": "center",
            "interpolation": "bicubic",
            **{name: network.pretrained_cfg.get(name) for name in ("fixed_input_size", "first_conv", "classifier")},
        }
        save_for_hf(network, str(out), safe_serialization=True)

    def read(self, out: Path) -> Callable[[Tensor], Tensor]:
        network: Any = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
        mean, std = (Tensor(network.pretrained_cfg[name]).view(-1, 1, 1) for name in ("mean", "std"))
        return lambda pixels: network(((pixels / 255 if pixels.dtype == torch.uint8 else pixels) - mean) / std)


def has_small_stem(network: Any) -> bool:
    """Whether a residual network begins with 3x3 filters of stride 1 and no pooling."""
    stem = getattr(network, "conv1", None)
    return isinstance(stem, nn.Conv2d) and stem.stride == (1, 1) and isinstance(getattr(network, "maxpool", None), nn.Identity)
