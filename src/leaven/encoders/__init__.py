"""Features from inputs: the project's own small encoders, any timm model, and the table behind `--encoder auto`."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

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
from leaven.errors import UserError, unknown_name
from leaven.modalities import InputSpec, modality_of

LIBRARIES: dict[str, Any] = {"timm": Timm, "transformers": HuggingFaceText}
"""Whose models `--encoder NAME` may name, by library."""


def choose_encoder(input: InputSpec, wants: str, device: str) -> tuple[str, str]:
    """The name and the reason behind `--encoder auto`."""
    side = max(input.shape[1:], default=0)
    for default in modality_of(input).encoders:
        if default.wants in (wants, "any") and default.device in (device, "any") and side <= default.largest:
            return default.name, default.reason
    raise UserError(f"no encoder is chosen automatically for {input.modality}", hint="name one with --encoder")


def build_encoder(name: str, input: InputSpec, arguments: dict[str, Any] | None = None) -> Encoder:
    """An encoder: one of our own by its name, else a model of timm or, for text, of transformers. Weights are fresh unless it is asked for others.

    Raises UserError for an unknown name, an unknown argument or an input that the encoder does not read.
    """
    arguments = dict(arguments or {})
    if name in OWN:
        kind = OWN[name]
    else:
        library = LIBRARIES.get(modality_of(input).library)
        if library is None or not library.knows(name):
            raise unknown_name("encoder", name, [*OWN, *(library.names() if library else [])], "leaven encoders")
        kind, arguments = library, {**arguments, "model": name}
    if input.modality not in kind.modalities:
        raise UserError(f"encoder {name} reads {', '.join(kind.modalities)}, not {input.modality}", hint="leave --encoder out to have one chosen")
    allowed = {parameter.name for parameter in inspect.signature(kind).parameters.values() if parameter.kind is parameter.KEYWORD_ONLY}
    if unknown := set(arguments) - allowed:
        raise UserError(f"encoder {name} has no argument {sorted(unknown)[0]!r}", hint=f"it has {', '.join(sorted(allowed - {'model'}))}")
    encoder = kind(input, **arguments)
    encoder.arguments = arguments
    return encoder.to(memory_format=kind.memory_format)


def describe_encoder(encoder: nn.Module) -> dict[str, Any]:
    """What config.json keeps of an encoder: enough to build it again. Networks that a method brought itself are built by the method."""
    if not isinstance(encoder, Encoder):
        return {"library": "method", "name": type(encoder).__name__, "arguments": {}}
    arguments = dict(encoder.arguments)
    name = encoder.name or arguments.pop("model")
    if isinstance(encoder, HuggingFaceText):
        arguments["config"] = encoder.config
    return {
        "library": encoder.library,
        "name": name,
        "arguments": arguments,
        "input": encoder.input.to_dict(),
        "dim": encoder.dim,
    }


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
