"""Features from inputs: the project's own small encoders, any timm model, and the table behind `--encoder auto`."""

from leaven.encoders.build import build_encoder, choose_encoder, describe_encoder
from leaven.encoders.causal import Causal
from leaven.encoders.convnet import ConvNet
from leaven.encoders.dense import Dense
from leaven.encoders.encoder import OWN, Encoder
from leaven.encoders.lab import Lab
from leaven.encoders.masked_dense import MaskedDense
from leaven.encoders.mlp import MLP
from leaven.encoders.projected import Projected
from leaven.encoders.quantized import Quantized
from leaven.encoders.strided import Strided
from leaven.encoders.timm import Timm
from leaven.encoders.transformer import CausalTransformer, HuggingFaceText, TextEncoder, TextTransformer
from leaven.encoders.unet import UNet
from leaven.encoders.vit import ViT
from leaven.encoders.word_vectors import WordVectors

__all__ = [
    "MLP",
    "OWN",
    "Causal",
    "CausalTransformer",
    "ConvNet",
    "Dense",
    "Encoder",
    "HuggingFaceText",
    "Lab",
    "MaskedDense",
    "Projected",
    "Quantized",
    "Strided",
    "TextEncoder",
    "TextTransformer",
    "Timm",
    "UNet",
    "ViT",
    "WordVectors",
    "build_encoder",
    "choose_encoder",
    "describe_encoder",
]
