"""Features from inputs: the project's own small encoders, any timm model, and the table behind `--encoder auto`."""

from leaven.encoders import causal, convnet, dense, lab, strided, timm, vit, word_vectors  # noqa: F401, since they register themselves
from leaven.encoders.build import build_encoder, choose_encoder, describe_encoder, rebuild_encoder
from leaven.encoders.encoder import OWN, Encoder
from leaven.encoders.projected import Projected, Quantized
from leaven.encoders.transformer import TextEncoder
from leaven.encoders.unet import UNet

__all__ = [
    "OWN", "Encoder", "Projected", "Quantized", "TextEncoder", "UNet", "build_encoder", "choose_encoder", "describe_encoder",
    "rebuild_encoder",
]  # fmt: skip
