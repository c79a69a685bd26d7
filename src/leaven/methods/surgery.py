"""What methods share that put a head over an encoder's maps at every scale: to name each pixel, or to find objects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from leaven.data.spec import DataSpec
from leaven.encoders.encoder import Encoder, pyramid_shapes
from leaven.errors import UserError
from leaven.methods.method import Method, Rule
from leaven.methods.supervised.finetune import trained_blocks
from leaven.modalities import find_modality, modality_of
from leaven.views import default_views

STRETCH = 1.25  # how much wider or narrower a crop may be than its picture


class Surgery(Method):
    """Reads whole pictures, of another size than the encoder's own. A subclass says the role of its target."""

    target = ""
    wants = "pyramid"
    modality = "pixels"
    purpose = "placed"
    continues = True
    learns_labels = True
    whole_pictures = True
    shapes_features = False

    def __init__(self, encoder: Encoder, data: DataSpec, *, train: str, encoder_rate: float):
        if self.target not in data.roles or not data.class_names:
            what = f"{self.name} learns from {self.target_noun}, and this data has none"
            raise UserError(what, hint=f"use leaven finetune RUN DATA --task {self.name} --labels LABELS")
        _, height, width = data.roles["x"].shape
        views = default_views(self.purpose, encoder.input.modality)
        super().__init__(None, replace(views, ratio=(width / height / STRETCH, width / height * STRETCH)))  # type: ignore[call-arg]
        self.encoder, self.classes = encoder, len(data.class_names)
        self.shapes = pyramid_shapes(encoder)
        blocks = encoder.depths()
        trained = trained_blocks(train, len(blocks))
        for place in range(len(blocks)):
            for name in blocks[place] if place not in trained else ():
                encoder.get_parameter(name).requires_grad_(False)
        self.rules = {"encoder.": Rule(encoder_rate)}

    @property
    def target_noun(self) -> str:
        return find_modality(self.target).plural

    def train(self, mode: bool = True) -> Surgery:
        """What does not train stays the same to the bit, running statistics included."""
        super().train(mode)
        for module in self.encoder.modules():
            trainable = [parameter.requires_grad for parameter in module.parameters()]
            if trainable and not any(trainable):
                module.eval()
        return self

    def views(self, batch: Any, draw: Any) -> Any:
        (view,), (geometry,) = self.augment.with_geometry(batch["x"], draw)
        target = batch[self.target]
        return {"x": view, "target": modality_of(target).moved(target, geometry)}

    def maps(self, x: Any) -> tuple[list[Tensor], tuple[int, int]]:
        """The pyramid of pictures that are padded to sides that it divides, and these sides."""
        pixels, step = self.encoder.unit(x), self.encoder.pyramid_step
        pixels = F.pad(pixels, (0, -pixels.shape[3] % step, 0, -pixels.shape[2] % step))
        return self.encoder.pyramid(pixels), (pixels.shape[2], pixels.shape[3])


class Lateral(nn.Module):
    """Maps of all scales at one width, each with what the coarser ones say (Lin et al. 2017, without the last 3x3 convolution)."""

    def __init__(self, channels: list[int], width: int):
        super().__init__()
        self.sides = nn.ModuleList(nn.Sequential(nn.Conv2d(number, width, 1, bias=False), nn.GroupNorm(8, width)) for number in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        sided = [side(one) for side, one in zip(self.sides, maps, strict=True)]
        for place in range(len(sided) - 1, 0, -1):
            sided[place - 1] = sided[place - 1] + F.interpolate(sided[place], sided[place - 1].shape[2:], mode="nearest")
        return sided
