"""Picture files -> square arrays of one size, one number of channels and one scale."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

from leaven.errors import UserError
from leaven.hyperparameters import replace_fields
from leaven.modalities.picture_files import PictureFile, Source, Unusable, opened, quiet
from leaven.modalities.spec import InputSpec

SURVEY = 512
NATIVE_LIMIT = 64
DEFAULT_SIZE = 96
MARGIN = 1.15  # pictures are stored a little above training size, so that crops have something to choose from
RANGED, RANGED_VALUES = 256, 2**16  # pictures, and numbers of each, from which the range is taken
OUTSIDE = 0.01  # percent of the numbers that lie below the range, and above it
AS_CHANNELS = 8  # pages, at most, that are taken for the channels of one picture
FLAT = 8.0  # deviation, of 255, below which nothing is seen
Background = Literal["auto", "white", "black", "grey"]
BACKGROUNDS: dict[Background, int] = {"white": 255, "black": 0, "grey": 128}


@dataclass(frozen=True)
class Reading:
    """How picture files are read.

    pages: of files with several: the "first" or the "middle" one, "all" as samples of their own, or all as the "channels" of one picture.
    background: what lies under transparent pictures. range: the numbers that become 0 and 1 in pictures of more than 8 bits.
    Where nothing is given, the data decides.
    """

    pages: Literal["auto", "first", "middle", "all", "channels"] = "auto"
    background: Background = "auto"
    range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.range is not None and not (all(map(math.isfinite, self.range)) and self.range[0] < self.range[1]):
            raise UserError(f"range takes two numbers, the smaller first, not {self.range[0]:g},{self.range[1]:g}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Reading:
        """From texts of a user, or from what an encoder keeps."""
        return replace_fields(cls(), dict(given), "reading")

    def to_dict(self) -> dict[str, Any]:
        """What was said or chosen, as plain JSON values."""
        plain = Reading()
        kept = {name: value for name, value in dataclasses.asdict(self).items() if value != getattr(plain, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


@dataclass(frozen=True)
class Stored:
    """The arrays that pictures become: (channels, side, side), uint8 or, where the data is `deep`, float32 in 0-1, which keeps all levels."""

    side: int
    channels: int
    deep: bool = False
    reading: Reading = field(default_factory=Reading)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32 if self.deep else np.uint8)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.side, self.side

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def stored_form(spec: InputSpec) -> Stored:
    """The form in which the pictures of this input are stored."""
    reading = Reading.of(spec.reading)
    return Stored(spec.shape[1], spec.shape[0], reading.range is not None, reading)


def decode(source: Source, stored: Stored) -> np.ndarray:
    """The array of one picture: the short side resized, then the centre. EXIF rotation is applied. Raises Unusable with the reason."""
    with opened(source) as file:
        pages = chosen_pages(file, stored.reading.pages)
        if len(pages) > 1:
            each = dataclasses.replace(stored, channels=max(1, stored.channels // len(pages)))
            array = np.concatenate([_array(file, page, each) for page in pages])
        else:
            array = _array(file, pages[0], stored)
    if len(array) != stored.channels:
        raise Unusable(f"it has {len(array)} channels, and the others have {stored.channels}")
    return array


def decode_whole(source: Source, sides: tuple[int, int], channels: int, reading: Reading) -> tuple[np.ndarray, tuple[int, int]]:
    """The array (channels, *sides) of one whole picture, scaled to fit and laid at the top left on black, and its own height and width.

    Raises Unusable with the reason.
    """
    with opened(source) as file:
        form = Stored(max(sides), channels, reading.range is not None, reading)
        page = chosen_pages(file, "first" if reading.pages == "first" else "middle")[0]
        sizes: list[tuple[int, int]] = []

        def laid(picture: Image.Image) -> Image.Image:
            width, height = file.size
            turned = (picture.width > picture.height) != (width > height) and picture.width != picture.height  # by EXIF
            sizes.append((width, height) if turned else (height, width))
            tall, broad = scaled_to(sizes[-1], sides)
            canvas = Image.new(picture.mode, (sides[1], sides[0]))
            canvas.paste(picture.resize((broad, tall), Image.Resampling.BICUBIC))
            return canvas

        array = _array(file, page, form, laid)
    if len(array) != channels:
        raise Unusable(f"it has {len(array)} channels, and the others have {channels}")
    return array, sizes[0]


def scaled_to(size: tuple[int, int], sides: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture of this size when it is scaled to fit into these sides."""
    scale = min(sides[0] / size[0], sides[1] / size[1])
    return max(1, min(sides[0], round(size[0] * scale))), max(1, min(sides[1], round(size[1] * scale)))


def chosen_pages(file: PictureFile, pages: str) -> list[int]:
    """The pages that make one picture."""
    if pages == "channels":
        return file.pages
    return [file.pages[0 if pages == "first" else (len(file.pages) - 1) // 2]]


def _array(file: PictureFile, page: int, stored: Stored, laid: Callable[[Image.Image], Image.Image] | None = None) -> np.ndarray:
    """laid: how a picture gets its size (None: the centre is cut to a square)."""
    loaded, sides = file.load(page, stored.side), (stored.side, stored.side)
    laid = laid or (lambda picture: picture if picture.size == sides else ImageOps.fit(picture, sides, Image.Resampling.BICUBIC))
    if isinstance(loaded, Image.Image):
        array = np.asarray(laid(_plain(loaded, stored)))
        array = array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
        return array.astype(np.float32) / 255 if stored.deep else array
    low, high = (0.0, 255.0) if loaded.dtype == np.uint8 else stored.reading.range or usual_range(loaded)
    bands = [(band - low) / (high - low) for band in _bands(loaded, stored.channels)]
    array = np.stack([np.asarray(laid(Image.fromarray(band))) for band in bands]).clip(0, 1)
    return array if stored.deep else np.rint(array * 255).astype(np.uint8)


def _bands(values: np.ndarray, channels: int) -> list[np.ndarray]:
    """As many planes of float32 as the data has channels: grey in all of three, colour as its lightness in one, else the first three."""
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        if not finite.size:
            raise Unusable("none of its numbers is finite")
        values = np.nan_to_num(values, nan=finite.min(), posinf=finite.max(), neginf=finite.min())
    planes = [values[..., band].astype(np.float32) for band in range(values.shape[2])]
    if len(planes) == channels:
        return planes
    if channels == 3:
        return planes[:3] if len(planes) > 3 else [planes[0]] * 3
    if channels == 1:
        weights = (0.299, 0.587, 0.114) if len(planes) >= 3 else (1 / len(planes),) * len(planes)
        return [sum(weight * plane for weight, plane in zip(weights, planes, strict=False))]  # type: ignore[list-item]
    return planes


def _plain(picture: Image.Image, stored: Stored) -> Image.Image:
    """Without transparency, grey or in colour. A picture that is transparent everywhere is shown as it is."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema() != (0, 0):
            shade = BACKGROUNDS[stored.reading.background if stored.reading.background != "auto" else "white"]
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, (shade, shade, shade, 255)), picture)
        picture = picture.convert("RGB")
    return picture.convert("L" if stored.channels == 1 else "RGB")


def usual_range(values: np.ndarray) -> tuple[float, float]:
    """The numbers that viewers show as black and white. Used for the few deep pictures of a data set of 8 bits."""
    low, high = (float(edge) for edge in (np.nanmin(values), np.nanmax(values)))
    if low >= 0 and high <= 65535:
        whole = [65535] if values.dtype == np.uint16 else [1, 255, 65535] if values.dtype.kind == "f" else [255, 65535]
        return 0.0, float(next(limit for limit in whole if high <= limit))
    return low, max(high, low + 1)


def common_range(values: np.ndarray, kind: np.dtype) -> tuple[float, float]:
    """The range of all pictures of a data set from many of their numbers: floats in 0-1, and 16 bits that are used in full, stay as they are."""
    low, high = (float(f"{edge:.6g}") for edge in np.percentile(values, (OUTSIDE, 100 - OUTSIDE)))
    if kind.kind == "f" and values.min() >= 0 and 0.5 < values.max() <= 1:
        return 0.0, 1.0
    if kind == np.uint16 and high > 65535 / 2:
        return 0.0, 65535.0
    return (low, high) if low < high else (low, low + 1)


def survey(
    sources: Iterable[Source], size: int | None, channels: int | None, reading: Reading, train: Callable[[int], Iterable[Source]]
) -> tuple[Stored, list[str]]:
    """How pictures are stored for training at `size`, by the headers of some of them, and what is unusual about them, one phrase each.

    size, channels: None where they are to be chosen; one channel is enough where no picture has colour. train: gives about so many pictures to train
    on, from which the range is taken. What cannot be read is left out.
    """
    sides: list[int] = []
    bands: Counter[int] = Counter()
    pages: list[int] = []
    several: list[PictureFile] = []
    deep = grey = smaller = 0
    transparent: list[Source] = []
    with quiet():
        for source in sources:
            with suppress(Unusable), opened(source) as file:
                sides.append(min(file.size))
                bands[file.bands] += 1
                deep, grey = deep + file.deep, grey + file.grey
                transparent += [source] if file.transparent else []
                pages.append(len(file.pages))
                several += [file] if len(file.pages) > 1 else []
                smaller += file.smaller > 0
        side = stored_side(statistics.median_low(sides), size) if sides else size or DEFAULT_SIZE
        notes = []
        if smaller:
            notes.append(f"{share(smaller, len(sides))} smaller copies of the picture: the largest page is read")
        if several:
            reading = dataclasses.replace(reading, pages=as_pages(reading.pages, several, len(sides)))
            notes.append(pages_note(reading.pages, pages))
        if channels is None:
            usual = bands.most_common(1)[0][0] if bands else 3
            channels = usual if usual not in (1, 3) else 1 if sides and grey == len(sides) else 3
            if reading.pages == "channels" and several:
                channels = statistics.mode(pages)
        if transparent and reading.background == "auto":
            reading, note = with_background(reading, transparent)
            notes += [note] if note else []
        mostly = 2 * deep > len(sides)
        if mostly and reading.range is None:
            reading, note = with_range(reading, train(RANGED))
            notes.append(note)
        elif deep and not mostly:
            notes.append(f"{share(deep, len(sides))} more than 8 bits: as the others have 8, they are read with 8")
    return Stored(side, channels, mostly, reading), notes


def stored_side(native: int, size: int | None) -> int:
    """The native side unless it is more than 15 % above the training size; no size given: native up to 64, else 96."""
    if size is None:
        size = native if native <= NATIVE_LIMIT else DEFAULT_SIZE
    return native if native <= MARGIN * size else round(MARGIN * size)


def as_pages(pages: str, several: list[PictureFile], total: int) -> Any:
    """Which pages to read. Chosen are the channels where nearly all pictures are TIFF of the same few grey pages, else the middle page: the first is
    often empty, or out of focus."""
    if pages != "auto":
        return pages
    counts = Counter(len(file.pages) for file in several if file.format == "TIFF" and file.grey)
    count, alike = counts.most_common(1)[0] if counts else (0, 0)
    return "channels" if 1 < count <= AS_CHANNELS and alike >= 0.9 * total else "middle"


def pages_note(pages: str, counts: list[int]) -> str:
    several = [count for count in counts if count > 1]
    least, most = min(several), max(several)
    held = f"{share(len(several), len(counts))} {least if least == most else f'{least} to {most}'} pages"
    read = {
        "first": "the first is read", "middle": "the middle one is read", "channels": "they are read as channels of one picture",
    }[pages]  # fmt: skip
    others = "|".join(name for name in ("first", "middle", "channels", "all") if name != pages)
    return f"{held}: {read} (--set pages={others} reads them otherwise)"


def with_background(reading: Reading, transparent: list[Source]) -> tuple[Reading, str]:
    """White, unless more of these pictures can be seen on black, or on grey."""
    composed: dict[Background, list[float]] = {name: [] for name in BACKGROUNDS}
    for source in transparent:
        with suppress(Unusable):
            for name, deviations in composed.items():
                deviations.append(float(decode(source, Stored(NATIVE_LIMIT, 1, reading=dataclasses.replace(reading, background=name))).std()))
    unseen = {name: sum(deviation < FLAT for deviation in deviations) for name, deviations in composed.items()}
    best = min(unseen, key=unseen.__getitem__)
    if best == "white":
        return dataclasses.replace(reading, background="white"), ""
    hidden = f"on white, {unseen['white']:,} of {len(composed['white']):,} could not be seen"
    return dataclasses.replace(reading, background=best), f"transparent pictures lie on {best}: {hidden}"


def with_range(reading: Reading, train: Iterable[Source]) -> tuple[Reading, str]:
    """The range of pictures of more than 8 bits, over some pictures to train on."""
    found, kinds = [], Counter[np.dtype]()
    for source in train:
        with suppress(Unusable), opened(source) as file:
            for page in chosen_pages(file, reading.pages):
                loaded = file.load(page, max(file.size))
                if isinstance(loaded, np.ndarray) and loaded.dtype != np.uint8:
                    values = loaded.reshape(-1)[:: max(1, loaded.size // RANGED_VALUES)].astype(np.float64)
                    found.append(values[np.isfinite(values)])
                    kinds[loaded.dtype] += 1
    values = np.concatenate(found) if found else np.zeros(0)
    if not values.size:
        return reading, "more than 8 bits"
    low, high = common_range(values, kinds.most_common(1)[0][0])
    return dataclasses.replace(reading, range=(low, high)), range_note(low, high)


def range_note(low: float, high: float) -> str:
    return f"more than 8 bits: {low:g} to {high:g} becomes 0 to 1 in all pictures (--set range=LOW,HIGH takes another)"


def share(count: int, total: int) -> str:
    """How many pictures have something."""
    if total == 1:
        return "the picture has"
    return f"all {total:,} pictures have" if count == total else f"{count:,} of {total:,} pictures {'has' if count == 1 else 'have'}"
