"""Any wav2vec 2.0, HuBERT or WavLM of the transformers library."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leaven.encoders.encoder import Hidden, TokenFeatures, names_within
from leaven.encoders.frames import Frames
from leaven.encoders.over_time import TimeReader
from leaven.encoders.transformer import CODE, without_bars
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value
from leaven.modalities.timeline import beginnings
from leaven.modules.frames import pooled
from leaven.stored import read_json

RATE = 16000  # of models that do not say another


class HuggingFaceSound(TimeReader):
    """A model of the transformers library that reads a waveform by strided convolutions. The feature of a sound is the mean over its frames.

    model: its name or folder. pretrained: start from its weights (fetched by transformers where a name is given). config: the model's own, kept so
    that it is built again without its source. normalize: whether each sound is brought to mean 0 and variance 1 (None: as its feature extractor
    says). rate: Hz that it reads (None: the same); sounds of another rate are resampled.
    """

    library = "transformers"
    offers = ("features", "tokens", "frames")
    modalities = ("wave",)
    architecture = ("config",)

    @staticmethod
    def knows(name: str) -> bool:
        """Any name may be a model; building it shows."""
        return True

    @staticmethod
    def names() -> list[str]:
        return []

    def __init__(
        self,
        input: InputSpec,
        *,
        model: str,
        pretrained: bool = True,
        config: dict[str, Any] | None = None,
        normalize: bool | None = None,
        rate: float | None = None,
    ):
        from transformers import AutoConfig, AutoModel

        try:
            if config:
                architecture = AutoConfig.for_model(
                    **{name: value for name, value in config.items() if name not in CODE and not name.startswith("_")}
                )
            else:
                architecture = AutoConfig.from_pretrained(model, trust_remote_code=False)
            if not hasattr(architecture, "conv_stride"):
                raise ValueError("it does not read a waveform")
            with without_bars():
                build: Any = AutoModel.from_pretrained if pretrained and config is None else AutoModel.from_config
                network = build(model if pretrained and config is None else architecture, trust_remote_code=False, attn_implementation="sdpa")
            extractor = {} if None not in (normalize, rate) else feature_extractor(model)
        except (OSError, ValueError) as error:
            hint = "give the name or the folder of a wav2vec 2.0, HuBERT or WavLM model"
            raise UserError(f"the model {model} cannot be loaded: {str(error).splitlines()[0]}", hint=hint) from error
        self.standardize = extractor.get("do_normalize", True) if normalize is None else normalize
        own = float(extractor.get("sampling_rate", RATE) if rate is None else rate)
        if input.rate and input.rate != own:
            input = dataclasses.replace(input, shape=(round(input.shape[0] * own / input.rate),), rate=own)
        super().__init__(input, network.config.hidden_size)
        network.config.apply_spec_augment = False  # methods hide what they want to
        self.network: Any = network
        self.config, self.latent_size = network.config.to_dict(), network.config.conv_dim[-1]
        self.over_time = getattr(network.config, "feat_extract_norm", "") == "group"
        """Whether every frame depends on how long the sound is, so that sounds cannot be filled up to one length."""

    def kept_arguments(self) -> dict[str, Any]:
        return {"config": self.config, "normalize": self.standardize, "rate": self.rate}

    @property
    def token_grid(self) -> tuple[int, int]:
        return 1, int(self.frame_counts(torch.tensor(self.input.shape[0])))

    def frame_counts(self, lengths: Tensor) -> Tensor:
        for kernel, stride in zip(self.network.config.conv_kernel, self.network.config.conv_stride, strict=True):
            lengths = (lengths - kernel) // stride + 1
        return lengths.clamp(min=1)

    def read(self, x: Value | Tensor) -> tuple[Tensor, Tensor]:
        """Samples at its rate, standardised where it wants that, and their lengths."""
        rate: float = getattr(x, "rate", self.rate)
        if isinstance(x, Value) and rate != self.rate:
            x = self.modality.fitted(x, (round(x.main.shape[1] * self.rate / rate),), self.rate)
        samples, lengths = self.in_wave(x)
        if self.standardize:
            count = lengths.clamp(min=1)[:, None]
            real = beginnings(lengths, samples.shape[1])
            samples = (samples - samples.sum(1, keepdim=True) / count) * real
            samples = samples / (samples.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
        return samples, lengths

    def real_tokens(self, x: Value | Tensor) -> Bool[Tensor, "batch tokens"]:
        samples, lengths = self.read(x)
        return self.real(lengths, samples.shape[1])

    def real(self, lengths: Tensor, time: int) -> Bool[Tensor, "batch frames"]:
        return beginnings(self.frame_counts(lengths), int(self.frame_counts(torch.tensor(time))))

    def frames(self, x: Value | Tensor) -> Frames:
        """The moments of samples before any context."""
        samples, lengths = self.read(x)
        shortest = self.shortest()
        samples = torch.nn.functional.pad(samples, (0, max(0, shortest - samples.shape[1])))
        real = self.real(lengths, samples.shape[1])
        if not self.over_time or bool((lengths == samples.shape[1]).all()):
            latents = self.network.feature_extractor(samples).transpose(1, 2)
        else:
            latents = samples.new_zeros(*real.shape, self.latent_size)
            for length in lengths.unique().tolist():
                rows = (lengths == length).nonzero()[:, 0]
                part = self.network.feature_extractor(samples[rows, : max(length, shortest)]).transpose(1, 2)
                latents = latents.index_put((rows[:, None], torch.arange(part.shape[1], device=rows.device)), part.to(latents.dtype))
        return Frames(latents * real[..., None], real)

    def shortest(self) -> int:
        """The samples that one frame sees."""
        reach = 1
        for kernel, stride in zip(reversed(self.network.config.conv_kernel), reversed(self.network.config.conv_stride), strict=True):
            reach = (reach - 1) * stride + kernel
        return reach

    def context(self, frames: Frames, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        """The moments in their context. keep: (batch, kept) int64, the only places that are read. hidden: content that is replaced before."""
        projected = self.network.feature_projection(frames.latents)
        tokens = projected[0] if isinstance(projected, tuple) else projected
        tokens = tokens if hidden is None else hidden.within(tokens)
        real = frames.real
        if keep is not None:
            real = real & torch.zeros_like(real).scatter_(1, keep, True)
        layers: list[Tensor] = []

        def note(_: object, __: object, output: Any) -> None:
            layers.append(output[0] if isinstance(output, tuple) else output)

        hooks = [layer.register_forward_hook(note) for layer in self.network.encoder.layers]
        try:
            last = self.network.encoder(tokens, attention_mask=real).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return TokenFeatures(pooled(last, real), last, layers)

    def token_features(self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        return self.context(self.frames(x), keep, hidden=hidden)

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.token_features(x).features

    def depths(self) -> list[list[str]]:
        layers = [names_within(self, layer) for layer in self.network.encoder.layers]
        inside = {name for block in layers for name in block}
        last = names_within(self, self.network.encoder.layer_norm)
        first = [name for name, _ in self.named_parameters() if name not in inside and name not in last]
        return [first, *layers[:-1], layers[-1] + last]


def feature_extractor(model: str) -> dict[str, Any]:
    """What the feature extractor beside a model says; nothing where there is none."""
    from transformers.utils import cached_file

    quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors", "gated_repo")}
    path = cached_file(model, "preprocessor_config.json", **quiet)  # type: ignore[arg-type]
    return read_json(Path(path)) if path else {}
