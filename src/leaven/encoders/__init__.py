"""Features from inputs: the project's own small encoders, any timm model, and the table behind `--encoder auto`."""

from leaven.encoders import (  # noqa: F401, since they register themselves
    causal,
    convnet,
    dense,
    eeg,
    frames,
    hub_sound,
    lab,
    mel_convnet,
    mel_vit,
    strided,
    timm,
    vit,
    word_vectors,
)
from leaven.encoders.build import build_encoder, choose_encoder, describe_encoder, rebuild_encoder
from leaven.encoders.encoder import OWN, Encoder
from leaven.encoders.projected import Projected, Quantized
from leaven.encoders.transformer import TextEncoder
from leaven.encoders.unet import UNet

__all__ = [
    "OWN", "Encoder", "Projected", "Quantized", "TextEncoder", "UNet", "build_encoder", "choose_encoder", "describe_encoder",
    "rebuild_encoder",
]  # fmt: skip
