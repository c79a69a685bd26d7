"""Transformers that read text: a small one that suits CPUs, and any model of the transformers library."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from leaven.data.batch import Batch
from leaven.encoders.encoder import Hidden, TokenFeatures, names_within
from leaven.encoders.text_reader import TextReader
from leaven.errors import UserError
from leaven.hyperparameters import Depth, Width
from leaven.modalities import InputSpec, Tokens, Value
from leaven.modules.packing import NAME, Packing, packed_attention
from leaven.threads import one_thread

CODE = ("auto_map", "attn_implementation", "quantization_config")
"""What the configuration of a model may name that is fetched or executed."""
POOLINGS = ("mean", "first", "last")
WHITENED_BY = 5000
SHRUNK = 0.25  # power of the variances by which directions are divided; 0.5 would be whole whitening


class Whitening(nn.Module):
    """A linear map after which the features of the training set have mean 0 and vary more alike in all directions (Su et al. 2021, section 3, have
    variance 1 in all of them).

    Each direction is divided by the square root of its deviation, half of the way: whole whitening serves cosines a little better and makes of a few
    labels much less. It is the identity until it is fitted. Of all such maps it is the one that rotates features least. The covariance is shrunk
    towards one that is the same in all directions (Ledoit and Wolf 2004), so that the noise of few samples is not taken for variance.
    """

    center: Tensor
    axes: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("axes", torch.eye(dim))

    @property
    def fitted(self) -> bool:
        return bool((self.axes != torch.eye(len(self.axes), device=self.axes.device)).any())

    def forward(self, features: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        with torch.autocast(features.device.type, enabled=False):
            return (features.to(self.center.dtype) - self.center) @ self.axes

    @torch.no_grad()
    def fit(self, features: Float[Tensor, "samples dim"]) -> None:
        """features: as they are before this map. With fewer than twice as many samples as dimensions, or equal samples, the map stays as it is."""
        if len(features) < 2 * len(self.center):
            return
        from sklearn.covariance import ledoit_wolf

        samples = features.cpu().double()  # some devices have no doubles
        center = samples.mean(0)
        covariance = torch.from_numpy(ledoit_wolf((samples - center).numpy(), assume_centered=True)[0])
        with one_thread():
            variance, directions = torch.linalg.eigh(covariance)
        if variance[-1] > 0:
            self.center.copy_(center)
            self.axes.copy_(directions / variance.clamp(min=1e-9 * variance[-1]) ** SHRUNK @ directions.T)

    @torch.no_grad()
    def reset(self) -> None:
        self.center.zero_()
        self.axes.copy_(torch.eye(len(self.axes)))


class TextEncoder(TextReader):
    """A network of the transformers library over tokens, computed nearly without padding where its attention allows.

    network: embeddings of tokens, layers and last normalisation. pooling: the feature of a text is the "mean" of its tokens' features, or that of its
    "first" or "last" token. The pooled feature goes through `whitening`, which a method may fit.
    """

    offers: ClassVar[tuple[str, ...]] = ("features", "tokens")
    network: Any

    def __init__(self, input: InputSpec, network: Any, pooling: str):
        if pooling not in POOLINGS:
            raise UserError(f"features cannot be pooled by {pooling!r}", where="encoder.pooling", hint=f"choose {', '.join(POOLINGS)}")
        if input.vocabulary is None:
            raise UserError("this text is not in tokens yet")
        super().__init__(dataclasses.replace(input, mean=(), std=()), network.config.hidden_size)
        self.network, self.pooling = network, pooling
        padding = getattr(getattr(getattr(network, "embeddings", None), "position_embeddings", None), "padding_idx", None)
        self.first_position = 0 if padding is None else padding + 1  # RoBERTa and its relatives count from the one after padding
        self.whitening = Whitening(self.dim)

    def pool_by(self, pooling: str) -> None:
        """Let features be pooled like this from now on."""
        self.pooling = pooling
        self.arguments = {**self.arguments, "pooling": pooling}

    def token_features(self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        read = self.in_tokens(x)
        mask = read.mask if keep is None else read.mask & torch.zeros_like(read.mask).scatter_(1, keep, True)
        tokens = self.network.get_input_embeddings()(read.ids)
        last, *layers = self.states(mask, layers=True, inputs_embeds=tokens if hidden is None else hidden.within(tokens))
        return TokenFeatures(self.pooled(last, mask), last, layers)

    def states(self, mask: Bool[Tensor, "batch longest"], *, layers: bool = False, **inputs: Tensor) -> list[Float[Tensor, "batch longest dim"]]:
        """The output of the network, and with `layers` that of each layer; 0 where there is no token. inputs: (batch, longest, ...)."""
        if self.network.config._attn_implementation != NAME:
            outputs = self.network(**inputs, attention_mask=mask.long(), output_hidden_states=layers)
            return [states * mask[..., None] for states in (outputs.last_hidden_state, *(outputs.hidden_states or ())[1:])]
        packing = Packing.of(mask)
        packed = {name: value.flatten(0, 1)[packing.flat][None] for name, value in inputs.items()}
        positions = packing.positions[None] + self.first_position
        outputs = self.network(**packed, position_ids=positions, packing=packing, output_hidden_states=layers)
        return [packing.unpacked(states[0], mask.shape) for states in (outputs.last_hidden_state, *(outputs.hidden_states or ())[1:])]

    def pooled(self, tokens: Float[Tensor, "batch longest dim"], mask: Bool[Tensor, "batch longest"]) -> Float[Tensor, "batch dim"]:
        if self.pooling == "mean":
            mean = tokens.sum(1, dtype=torch.promote_types(tokens.dtype, torch.float32)) / mask.sum(1, keepdim=True).clamp(min=1)
            return self.whitening(mean)
        place = torch.arange(mask.shape[1], device=mask.device)
        end = (mask * (place + 1)).argmax(1) if self.pooling == "last" else mask.long().argmax(1)
        return self.whitening(tokens[torch.arange(len(tokens), device=tokens.device), end])

    def features_of(self, read: Tokens) -> Float[Tensor, "batch dim"]:
        (last,) = self.states(read.mask, input_ids=read.ids)
        return self.pooled(last, read.mask)

    def whiten(self, encode: Callable[[Callable[[Batch], Tensor]], Tensor], samples: int) -> None:
        """Fit `whitening` on a few thousand training texts. encode: maps a function over the batches of all `samples` training texts."""
        self.whitening.reset()
        every = max(1, samples // WHITENED_BY)

        def some(batch: Batch) -> Tensor:
            chosen = batch["x"][batch.index % every == 0]
            return self(chosen) if len(chosen) else self.whitening.center.new_zeros(0, self.dim)

        self.whitening.fit(encode(some))

    @contextmanager
    def padded(self) -> Iterator[None]:
        """Computed with padding, by operations that an exported graph can hold."""
        before = self.network.config._attn_implementation
        self.network.set_attn_implementation("eager")
        try:
            yield
        finally:
            self.network.config._attn_implementation = before

    def no_weight_decay(self) -> list[str]:
        """Embeddings of positions, and of which of two texts a token belongs to."""
        names = [name for name, _ in self.network.named_parameters()]
        return [f"network.{name}" for name in names if any(part in name for part in ("position_embeddings", "token_type_embeddings", "wpe"))]

    def depths(self) -> list[list[str]]:
        layers = next((module for module in self.network.modules() if isinstance(module, nn.ModuleList) and len(module) > 0), None)
        if layers is None:
            return super().depths()
        blocks = [names_within(self, layer) for layer in layers]
        names = [name for name, _ in self.named_parameters()]
        start, end = names.index(blocks[0][0]), names.index(blocks[-1][-1])
        return [names[:start], *blocks[:-1], blocks[-1] + names[end + 1 :]]


class TextTransformer(TextEncoder):
    """Pre-norm transformer layers with learned positions: RoBERTa-PreLayerNorm of the transformers library, small and with fresh weights.

    width: of a token. depth: layers. heads: of attention. dropout: of embeddings, layers and attention. pooling: a text's feature is the "mean" of
    its tokens, the "first" or the "last" one.
    """

    name = "transformer"
    causal = False

    def __init__(self, input: InputSpec, *, width: Width = 256, depth: Depth = 4, heads: Width = 4, dropout: float = 0.1, pooling: str = "mean"):
        if width % heads:
            raise UserError(f"a width of {width} does not divide into {heads} heads", where="encoder.heads")
        from transformers import RobertaPreLayerNormConfig

        config = RobertaPreLayerNormConfig(
            vocab_size=input.vocabulary or 1, hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * width,
            hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, max_position_embeddings=input.shape[0] + 2, type_vocab_size=1,
            pad_token_id=input.special.get("pad", 0), bos_token_id=input.special.get("begin"), eos_token_id=input.special.get("end"),
            is_decoder=self.causal, use_cache=False,
        )  # fmt: skip
        super().__init__(input, bare_network(config), pooling)


class CausalTransformer(TextTransformer):
    """The same network, in which each token sees only those before it (Radford et al. 2018).

    width: of a token. depth: layers. heads: of attention. dropout: of embeddings, layers and attention. pooling: a text's feature is the "mean" of
    its tokens, the "first" or the "last" one.
    """

    name = "causal_transformer"
    offers = ("features", "tokens", "causal_tokens")
    causal = True


class HuggingFaceText(TextEncoder):
    """A text model of the transformers library.

    model: its name or folder. pretrained: start from its weights (fetched by transformers where a name is given). pooling: a text's feature is the
    "mean" of its tokens, the "first" or the "last" one. config: the model's own, kept so that it is built again without its source.
    """

    library = "transformers"
    architecture = ("config",)

    @staticmethod
    def knows(name: str) -> bool:
        """Any name may be a model; building it shows."""
        return True

    @staticmethod
    def names() -> list[str]:
        return []

    def __init__(self, input: InputSpec, *, model: str, pretrained: bool = True, pooling: str = "mean", config: dict[str, Any] | None = None):
        from transformers import AutoConfig

        try:
            if config:
                architecture = AutoConfig.for_model(
                    **{name: value for name, value in config.items() if name not in CODE and not name.startswith("_")}
                )
            else:
                architecture = AutoConfig.from_pretrained(model, trust_remote_code=False)
            if not hasattr(architecture, "vocab_size"):
                raise ValueError("it does not read text")
            network = bare_network(architecture, model if pretrained and config is None else None)
        except (OSError, ValueError) as error:
            raise UserError(
                f"the model {model} cannot be loaded: {str(error).splitlines()[0]}", hint="give the name or the folder of a text model"
            ) from error
        super().__init__(input, network, pooling)
        self.config = network.config.to_dict()
        if any(getattr(module, "is_causal", False) for module in network.modules()):
            self.offers = CausalTransformer.offers  # type: ignore[misc]

    def kept_arguments(self) -> dict[str, Any]:
        return {"config": self.config}


def bare_network(config: Any, model: str | None = None) -> Any:
    """A network with the weights of a model, or fresh ones, without the pooler, which features do not use."""
    from transformers import AutoModel

    with without_bars():
        build = AutoModel.from_config if model is None else AutoModel.from_pretrained
        network = build(config if model is None else model, attn_implementation=attention(config), trust_remote_code=False)
    if hasattr(network, "pooler"):
        network.pooler = None
    return network


@contextmanager
def without_bars() -> Iterator[None]:
    """No progress bars while weights are read or written, which takes a second."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def attention(config: Any) -> str | None:
    """Attention without padding, where models of this type let theirs be replaced."""
    from transformers import AttentionInterface, AutoModel

    AttentionInterface.register(NAME, packed_attention)
    kind: Any = AutoModel._model_mapping[type(config)]
    return NAME if kind._supports_attention_backend else None
