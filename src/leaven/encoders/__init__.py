"""Features from inputs: the project's own small encoders, any timm model, and the table behind `--encoder auto`."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from leaven.data.spec import InputSpec
from leaven.encoders.causal import Causal
from leaven.encoders.convnet import ConvNet
from leaven.encoders.dense import Dense
from leaven.encoders.encoder import Encoder
from leaven.encoders.lab import Lab
from leaven.encoders.masked_dense import MaskedDense
from leaven.encoders.mlp import MLP
from leaven.encoders.projected import Projected
from leaven.encoders.quantized import Quantized
from leaven.encoders.strided import Strided
from leaven.encoders.transformer import CausalTransformer, HuggingFaceText, TextEncoder, TextTransformer
from leaven.encoders.unet import UNet
from leaven.encoders.vit import ViT
from leaven.encoders.word_vectors import WordVectors
from leaven.errors import UserError, unknown_name

KINDS = (
    ConvNet, ViT, Lab, MLP, Dense, MaskedDense, Causal, Projected, Quantized, Strided, UNet, TextTransformer, CausalTransformer, WordVectors,
)  # fmt: skip
OWN: dict[str, type[Encoder]] = {encoder.name: encoder for encoder in KINDS}

AUTO: list[tuple[str, str, str, int, str, str]] = [
    # modality, wants, device, largest side, encoder, reason
    ("pixels", "tokens", "cpu", 10_000, "vit", "the method needs tokens, and this transformer suits CPUs"),
    ("pixels", "tokens", "cuda", 64, "vit", "the method needs tokens, and the pictures are small"),
    ("pixels", "tokens", "cuda", 10_000, "vit_small_patch16_224", "the method needs tokens, and a GPU is there"),
    ("pixels", "channel_groups", "any", 10_000, "lab", "the method contrasts lightness and colours, and this network reads them apart"),
    ("pixels", "any", "cpu", 10_000, "convnet", "a small residual network that suits CPUs"),
    ("pixels", "any", "cuda", 64, "resnet18", "small pictures on a GPU"),
    ("pixels", "any", "cuda", 10_000, "resnet50", "larger pictures on a GPU"),
    ("vector", "any", "any", 10_000, "mlp", "plain numbers"),
    ("counts", "any", "any", 10_000, "mlp", "counts"),
    ("text", "words", "any", 10_000, "word_vectors", "the method learns vectors of words"),
    ("text", "causal_tokens", "any", 10_000, "causal_transformer", "the method predicts what comes next"),
    ("text", "any", "any", 10_000, "transformer", "a small transformer for text"),
]


def choose_encoder(input: InputSpec, wants: str, device: str) -> tuple[str, str]:
    """The name and the reason behind `--encoder auto`."""
    side = max(input.shape[1:], default=0)
    for modality, wanted, place, largest, name, reason in AUTO:
        if modality == input.modality and wanted in (wants, "any") and place in (device, "any") and side <= largest:
            return name, reason
    raise UserError(f"no encoder is chosen automatically for {input.modality}", hint="name one with --encoder")


def build_encoder(name: str, input: InputSpec, arguments: dict[str, Any] | None = None) -> Encoder:
    """An encoder: one of our own by its name, else a model of timm or, for text, of transformers. Weights are fresh unless it is asked for others.

    Raises UserError for an unknown name, an unknown argument or an input that the encoder does not read.
    """
    arguments = dict(arguments or {})
    if name in OWN:
        kind = OWN[name]
    elif input.modality == "text":
        kind, arguments = HuggingFaceText, {**arguments, "model": name}
    else:
        import timm

        from leaven.encoders.timm import Timm

        if not timm.is_model(name):
            raise unknown_name("encoder", name, [*OWN, *timm.list_models()], "leaven encoders")
        kind, arguments = Timm, {**arguments, "model": name}
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
    "ConvNet",
    "Dense",
    "Encoder",
    "Lab",
    "Projected",
    "Quantized",
    "Strided",
    "TextEncoder",
    "UNet",
    "ViT",
    "build_encoder",
    "choose_encoder",
    "describe_encoder",
]
