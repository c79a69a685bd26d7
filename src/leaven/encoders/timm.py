"""Any picture model of timm, by its name."""

from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leaven.encoders.encoder import Hidden, Places, TokenFeatures
from leaven.encoders.patched import PatchEncoder
from leaven.errors import UserError
from leaven.modalities import InputSpec, Value
from leaven.modules.patches import gather_tokens

TRANSFORMER = ("patch_embed", "_pos_embed", "blocks", "norm")
"""The parts of a network whose tokens can be read."""

FINEST = 4  # pixels between the places of the finest map of a pyramid


class Timm(PatchEncoder):
    """A timm model without its classifier.

    model: timm's name. pretrained: start from published weights (downloaded by timm) with the normalisation they were trained with.
    small_stem: for residual networks, a 3x3 stem of stride 1 without pooling (None: when the side is 64 or less), as is usual on CIFAR.
    """

    library = "timm"
    offers = ("features", "maps", "tokens", "patches", "pyramid")
    network: Any

    @staticmethod
    def knows(name: str) -> bool:
        import timm

        return timm.is_model(name)

    @staticmethod
    def names() -> list[str]:
        import timm

        return timm.list_models()

    def __init__(self, input: InputSpec, *, model: str, pretrained: bool = False, small_stem: bool | None = None):
        side = min(input.shape[1:])
        options: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0, "in_chans": input.shape[0]}
        network = created(model, input.shape[1:], options)
        if pretrained:
            mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
            input = InputSpec(input.modality, input.shape, tuple(mean[: input.shape[0]]), tuple(std[: input.shape[0]]))
        super().__init__(input, getattr(network, "head_hidden_size", None) or network.num_features)
        stem = getattr(network, "conv1", None)
        if isinstance(stem, nn.Conv2d) and hasattr(network, "maxpool") and (side <= 64 if small_stem is None else small_stem) and not pretrained:
            network.conv1 = nn.Conv2d(input.shape[0], stem.out_channels, 3, 1, 1, bias=False)
            network.maxpool = nn.Identity()
            small_stem = True
        stages = getattr(network, "feature_info", None)
        reduction = (stages[-1]["reduction"] if stages else 1) // (4 if small_stem else 1)
        if side < reduction:  # besides being useless, convolutions with stride on a single position have wrong gradients in bf16 on CPUs
            hint = f"leave {'--encoder' if small_stem is None else 'small_stem'} out, or give larger pictures"
            raise UserError(f"{model} makes pictures {reduction} times smaller, and these have {side} pixels", hint=hint)
        self.network, self.pretrained = network, pretrained
        kinds = ("tokens", "patches") if all(hasattr(network, part) for part in TRANSFORMER) else ("maps",)
        pyramid = ("pyramid",) if "tokens" in kinds or hasattr(network, "forward_intermediates") else ()
        self.offers = ("features", *kinds, *pyramid)  # type: ignore[misc]

    def kept_arguments(self) -> dict[str, Any]:
        """Built again without published weights, it keeps the stem that they have."""
        return {"small_stem": False} if self.pretrained else {}

    def forward(self, x: Value | Tensor) -> Float[Tensor, "batch dim"]:
        return self.network(self.normalize(x))

    def maps(self, x: Value | Tensor) -> Float[Tensor, "batch channels height width"]:
        maps = self.network.forward_features(self.normalize(x))
        if maps.ndim != 4:
            raise TypeError(f"{self.arguments['model']} has tokens, not maps")
        return maps

    @property
    def pyramid_step(self) -> int:
        return super().pyramid_step if "tokens" in self.offers else max(32, self.network.feature_info[-1]["reduction"])

    def pyramid(self, x: Value | Tensor) -> list[Tensor]:
        """Of a convolutional network, the stages that make pictures four times smaller or more."""
        if "tokens" in self.offers:
            return super().pyramid(x)
        x = self.normalize(x)
        maps = self.network.forward_intermediates(x, intermediates_only=True)
        return [one for one in maps if x.shape[2] >= FINEST * one.shape[2]]

    def with_places(self, x: Value | Tensor) -> Places:
        if "tokens" in self.offers:
            return super().with_places(x)
        maps = self.maps(x)
        return Places(self.network.forward_head(maps), maps.flatten(2).mT)

    def token_features(self, x: Value | Tensor, keep: Tensor | None = None, *, hidden: Hidden | None = None) -> TokenFeatures:
        network = self.network
        if "tokens" not in self.offers:
            raise TypeError(f"{self.arguments['model']} has no tokens")
        prefixes = network.num_prefix_tokens
        patches = network.patch_embed(self.normalize(x))
        if hidden is not None:
            patches = hidden.within(patches.flatten(1, -2)).view_as(patches)
        tokens = network._pos_embed(patches)
        if keep is not None:
            tokens = torch.cat([tokens[:, :prefixes], gather_tokens(tokens[:, prefixes:], keep)], dim=1)
        tokens = network.norm_pre(tokens)
        layers = [tokens := block(tokens) for block in network.blocks]
        tokens = network.norm(tokens)
        return TokenFeatures(network.forward_head(tokens), tokens[:, prefixes:], [layer[:, prefixes:] for layer in layers])

    def depths(self) -> list[list[str]]:
        from timm.models import group_parameters

        if not hasattr(self.network, "group_matcher"):
            return super().depths()
        blocks = group_parameters(self.network, self.network.group_matcher())
        return [[f"network.{name}" for name in blocks[depth]] for depth in sorted(blocks)]

    @property
    def patch(self) -> int:
        return self.network.patch_embed.patch_size[0]


def created(model: str, size: tuple[int, ...], options: dict[str, Any]) -> Any:
    """A timm model, for pictures of this size if it has to know it: transformers do, most convolutional models do not."""
    import timm

    for sizes in ({"img_size": size, "dynamic_img_size": True}, {"img_size": size}):
        with suppress(TypeError):
            return timm.create_model(model, **sizes, **options)
    return timm.create_model(model, **options)
