"""Pictures."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.modalities.content import CHUNK, evenly_spaced, moments
from leaven.modalities.decoding import DEFAULT_SIZE, NATIVE_LIMIT, RANGED, RANGED_VALUES, Reading, common_range, decode, stored_form, stored_side
from leaven.modalities.geometry import Geometry
from leaven.modalities.modality import TOKENS, DefaultEncoder, Modality, PublicModel
from leaven.modalities.picture_files import Unusable, channels_come_first
from leaven.modalities.picture_formats import is_picture_file
from leaven.modalities.spec import InputSpec
from leaven.modalities.value import Value

PLAIN = Reading()  # with everything to be chosen from the data
LAYOUTS = "pictures are (N,H,W), (N,H,W,C) or (N,C,H,W), vectors (N,D)"
COLOURS = {1: "grey", 3: "in colour"}
LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue in a grey picture, as torchvision has it
LARGEST_RAW, SHRUNK = 64, 32  # larger pictures would take gigabytes as features, and a probe on their pixels is no better
LONG = 1.8  # times as long as wide
AT_ONCE = 2**20  # numbers that are made floats at a time
HINT = "give a picture file, or a row such as #17"


@dataclass(frozen=True, eq=False)
class Pixels(Value):
    """Pictures: (B, C, H, W), uint8 0-255 or float 0-1. reading: how they were read (see `Reading`), as plain JSON values."""

    modality = "pixels"
    pixels: Tensor  # or a LazyTensor, until samples are selected
    reading: dict[str, Any] = field(default_factory=dict)

    def unit(self) -> Tensor:
        """(B, C, H, W) float32 in 0-1."""
        return unit(self.pixels)


class PixelsModality(Modality):
    """Pictures of one size, grey or in colour."""

    name, noun, plural, values = "pixels", "picture", "pictures", (Pixels,)
    role_names = ("image", "picture", "photo")
    axes = 3
    encoders = (
        DefaultEncoder("vit", "the method needs tokens, and this transformer suits CPUs", TOKENS, "cpu"),
        DefaultEncoder("vit", "the method needs tokens, and the pictures are small", TOKENS, "cuda", 64),
        DefaultEncoder("vit_small_patch16_224", "the method needs tokens, and a GPU is there", TOKENS, "cuda"),
        DefaultEncoder("lab", "the method contrasts lightness and colours, and this network reads them separately", "channel_groups"),
        DefaultEncoder("convnet", "a small residual network that suits CPUs", device="cpu"),
        DefaultEncoder("resnet18", "small pictures on a GPU", device="cuda", largest=64),
        DefaultEncoder("resnet50", "larger pictures on a GPU", device="cuda"),
    )
    library = "timm"
    public_models = (
        PublicModel("timm:tf_efficientnet_lite0", "cpu"),
        PublicModel("timm:mobilenetv3_small_100", "cpu"),
        PublicModel("timm:vit_small_patch14_dinov2.lvd142m@224", "cuda"),
        PublicModel("timm:resnet50.a1_in1k", "cuda"),
    )
    method = ("simclr", "the most accurate after a short training, of the methods measured on pictures")
    views = {
        # Chen et al. 2020, with its settings for small pictures.
        "contrast": {"kind": "pictures"},
        # Grill et al. 2020, table 6, without its blur, which small pictures do not survive.
        "byol": {"kind": "pictures", "saturation": 0.2, "solarize": (0.0, 0.2)},
        # Caron et al. 2020 and 2021, without the blur.
        "multicrop": {"kind": "multicrop"},
        # He et al. 2022: a crop and a flip.
        "reconstruction": {"kind": "pictures", "count": 1, "jitter": 0, "grey": 0},
        # Crops would make things look larger in training than they are in use (Touvron et al. 2019).
        "labels": {"kind": "pictures", "count": 1, "crop_min": 1, "jitter": 0, "grey": 0},
        # Beside a weak view, one of which the class can only just be recognised (Sohn et al. 2020).
        "strong": {"kind": "pictures", "count": 1, "crop_min": 0.3, "solarize": (0.2,)},
        # Light crops and colours: what lies in the pictures moves along, and stays large enough to be found.
        "placed": {
            "kind": "pictures",
            "count": 1,
            "crop_min": 0.5,
            "jitter": 0.5,
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.2,
            "hue": 0.02,
            "grey": 0,
        },
        "plain": {"kind": "pictures", "count": 1, "crop_min": 1, "flip": 0, "jitter": 0, "grey": 0},
    }
    likelihoods = ("bernoulli", "gaussian", "categorical")
    bounded = continuous = visible = True
    levels = 256
    export_name, export_format = "pixels", "uint8 0-255, (batch, channels, height, width)"

    def spec(self, value: Any, train: Tensor) -> InputSpec:
        mean, std = moments(value.pixels, train)
        return InputSpec(self.name, tuple(value.pixels.shape[1:]), mean, std, reading=value.reading)

    def resized(self, value: Any, size: int | None, channels: int | None) -> Value:
        """Pictures with so many channels, and resized as pictures from files are when much larger than `size`."""
        pixels = value.pixels
        native = min(pixels.shape[2:])
        side = stored_side(native, size)
        change = {channels, pixels.shape[1]} == {1, 3}
        if side == native and not change:
            return value
        parts = [fit(part, side if side != native else None, channels if change else None) for part in pixels.split(CHUNK)]
        return replace(value, pixels=torch.cat(parts))

    def resizing(self, value: Any, resized: Any) -> Geometry | None:
        """The central square of each picture, resized."""
        height, width = value.pixels.shape[2:]
        sides = tuple(resized.pixels.shape[2:])
        if sides == (height, width):
            return None
        square, side = min(height, width), sides[0]
        top, left = (round((round(length * side / square) - side) // 2 * square / side) for length in (height, width))
        whole = torch.ones(len(value), dtype=torch.int64)
        return Geometry(whole * top, whole * left, whole * square, whole * square, sides)

    def title(self, count: int, described: dict[str, Any]) -> str:
        channels, height, width = described["shape"]
        pictures = self.noun if count == 1 else self.plural
        return f"{count:,} {pictures}, {COLOURS.get(channels) or f'{channels} channels'}, stored at {width} x {height}"

    def cautions(self, described: dict[str, Any], sizes: dict[str, Any] | None) -> list[str]:
        lines = []
        if described["shape"][0] == 1:
            lines.append("the pictures are grey: the views of colour change nothing but brightness and contrast")
        if sizes:
            width, height = sizes["width"]["median"], sizes["height"]["median"]
            if max(width, height) > LONG * min(width, height):
                lines.append(f"the pictures are oblong (median {width} x {height}): only their central squares are used")
        return lines

    def open_options(self, spec: InputSpec) -> dict[str, Any]:
        return {"size": spec.shape[1], "channels": spec.shape[0], **super().open_options(spec)}

    def training_input(self, spec: InputSpec, size: int | None) -> InputSpec:
        """Square pictures: of the side asked for, else the stored one where it is small, else 96."""
        stored = spec.shape[1]
        side = size or (stored if stored <= NATIVE_LIMIT else min(stored, DEFAULT_SIZE))
        return replace(spec, shape=(spec.shape[0], side, side))

    def difference(self, spec: InputSpec, wanted: InputSpec) -> str:
        """Sides may differ: pictures are resized."""
        if spec.shape[0] == wanted.shape[0]:
            return ""
        return f"this encoder reads pictures of {wanted.shape[0]} channels, and the data has {spec.shape[0]}"

    def fitted(self, value: Any, shape: tuple[int, ...], rate: float | None = None) -> Value:
        if value.pixels.shape[2:] == tuple(shape[1:]):
            return value
        return Pixels(F.interpolate(value.unit(), shape[1:], mode="bilinear", antialias=True).clamp(0, 1))

    def statistics(self, spec: InputSpec) -> tuple[Tensor, Tensor]:
        mean, std = super().statistics(spec)
        return mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)

    def numbers(self, value: Any) -> Float[Tensor, "samples channels height width"]:
        return value.unit()

    def of_numbers(self, numbers: Tensor, spec: InputSpec, *, whole: bool = False) -> Value:
        return Pixels(numbers.clamp(0, 1))

    def raw_features(self, value: Any, train: Tensor) -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """Pixels in 0-1; pictures of more than 64 pixels are shrunk to 32 first."""
        channels, *sides = value.shape[0]
        small = (channels, *(sides if max(sides) <= LARGEST_RAW else (SHRUNK, SHRUNK)))
        at_once = max(8, min(250, AT_ONCE // value.shape[0].numel()))

        def features(some: Any) -> Tensor:
            parts = (self.fitted(some[start : start + at_once], small) for start in range(0, len(some), at_once))
            return torch.cat([self.numbers(part).flatten(1) for part in parts])

        return features

    def pictures(self, value: Any) -> Tensor:
        return value.pixels

    def written_as_pictures(self, spec: InputSpec) -> bool:
        return spec.shape[0] in COLOURS

    def stored(self, value: Any) -> np.ndarray:
        pixels = value.pixels.detach().cpu()
        return (pixels if pixels.dtype == torch.uint8 else (255 * pixels).round().to(torch.uint8)).numpy()

    def recognizes(self, query: Any) -> bool:
        return isinstance(query, np.ndarray | Tensor | Image.Image) or is_picture_file(query)

    def query(self, query: Any, spec: InputSpec) -> tuple[str, Value]:
        """A picture file or a PIL picture is decoded as the data's were, so that one of them finds itself."""
        if isinstance(query, np.ndarray | Tensor):
            sample = of_array(torch.as_tensor(query)[None], "the array", Reading.of(spec.reading))
            return "array", self.resized(sample, min(spec.shape[1:]), spec.shape[0])
        if not isinstance(query, str | Path | Image.Image):
            raise UserError(f"a {type(query).__name__} is no query", hint=HINT)
        name = "picture" if isinstance(query, Image.Image) else str(query)
        source = query if isinstance(query, Image.Image) else Path(query).expanduser()
        if isinstance(source, Path) and not os.path.exists(source):
            raise UserError("no such picture, and no such sample in the data", where=name, hint=HINT)
        try:
            pixels = decode(source, stored_form(spec))
        except Unusable as reason:
            raise UserError(f"the query cannot be used: {reason}", where=name, hint=HINT) from None
        return name, Pixels(torch.from_numpy(pixels.copy())[None], spec.reading)

    def of_array(self, array: Tensor, rate: float | None = None) -> Value:
        return of_array(array, "the array")

    def example(self, spec: InputSpec, count: int, generator: torch.Generator) -> Tensor:
        if (edges := self.file_range(spec)) is not None:
            return edges[0] + (edges[1] - edges[0]) * torch.rand(count, *spec.shape, generator=generator)
        return torch.randint(256, (count, *spec.shape), generator=generator, dtype=torch.uint8)

    def file_range(self, spec: InputSpec) -> tuple[float, float] | None:
        return Reading.of(spec.reading).range


def unit(pixels: Tensor) -> Tensor:
    """uint8 0-255 or float 0-1 as float32 in 0-1."""
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()


def grey_weights(channels: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """What each channel adds to a grey picture: luma, or equal shares where there are not three."""
    return torch.tensor(LUMA if channels == 3 else [1 / channels] * channels, device=device, dtype=dtype)


def of_array(array: Tensor, where: str, reading: Reading = PLAIN, train: Tensor | None = None) -> Pixels:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) of uint8, whole numbers in 0-255, or floats in 0-1. Other numbers are scaled by the reading's range, or
    by their own over the samples `train` (None: all). Raises UserError where the channels cannot be told."""
    return in_range(channels_first(array, where), reading, train)


def channels_first(array: Tensor, where: str) -> Tensor:
    if array.ndim == 3:
        return array[:, None]
    try:
        return array if channels_come_first(tuple(array.shape)) else array.permute(0, 3, 1, 2)
    except ValueError as error:
        raise UserError(str(error), where=where, hint=LAYOUTS) from None


def in_range(pixels: Tensor, reading: Reading, train: Tensor | None = None) -> Pixels:
    """As uint8 0-255 or float 0-1."""
    if pixels.dtype == torch.bool:
        return Pixels(pixels.to(torch.uint8) * 255)
    if pixels.dtype == torch.uint8:
        return Pixels(pixels)
    if reading.range is None:
        edges = [part.min() for part in _numbers(pixels)], [part.max() for part in _numbers(pixels)]
        low, high = float(min(edges[0])), float(max(edges[1]))
        if pixels.is_floating_point() and low >= 0 and high <= 1:
            return Pixels(pixels.float())
        if pixels.dtype != torch.uint16 and not pixels.is_floating_point() and low >= 0 and high <= 255:
            return Pixels(pixels.to(torch.uint8))
        rows = torch.arange(len(pixels)) if train is None else train
        chosen = rows[torch.from_numpy(evenly_spaced(len(rows), RANGED))]
        values = [part.flatten()[:: max(1, part.numel() // RANGED_VALUES)] for row in chosen.tolist() for part in _numbers(pixels[row : row + 1])]
        reading = replace(reading, range=common_range(torch.cat(values).double().numpy(), np.dtype(str(pixels.dtype).removeprefix("torch."))))
    assert reading.range is not None
    low, high = reading.range
    scaled = [((part.double() - low) / (high - low)).clamp_(0, 1).float() for part in _numbers(pixels)]
    return Pixels(torch.cat(scaled), Reading(range=reading.range).to_dict())


def _numbers(pixels: Tensor) -> Iterator[Tensor]:
    """Some at a time, of a type that torch computes with."""
    return (part.int() if part.dtype == torch.uint16 else part for part in pixels.split(CHUNK))


def fit(pixels: Tensor, side: int | None, channels: int | None) -> Tensor:
    """Resized to this short side and cut to a square; grey to colour, or colour to grey."""
    values = pixels.float()
    if side is not None:
        height, width = (round(length * side / min(pixels.shape[2:])) for length in pixels.shape[2:])
        values = F.interpolate(values, (height, width), mode="bilinear", antialias=True)
        top, left = (height - side) // 2, (width - side) // 2
        values = values[:, :, top : top + side, left : left + side]
    if channels == 3:
        values = values.expand(-1, 3, -1, -1)
    elif channels == 1:
        values = (values * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    return values.round().to(torch.uint8) if pixels.dtype == torch.uint8 else values
