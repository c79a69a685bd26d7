"""What is in a picture file, page by page, before anything is resized."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from leaven.errors import UserError
from leaven.modalities.picture_formats import HEAD, formats, needed_package

STACKS = ("TIFF", "GIF", "WEBP", "PNG", "AVIF")  # whose pages or frames are samples of their own; in MPO or ICO they are previews
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by the orientation tag of TIFF
    2: np.fliplr,
    3: lambda values: np.rot90(values, 2),
    4: np.flipud,
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: np.rot90(values.swapaxes(0, 1), 2),
    8: np.rot90,
}
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PIXEL_LIMIT = 64_000_000
FLAT_TAIL = 1 / 4  # of the rows of a JPEG that ends too early: more than that is missing
PASSING_TROUBLE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}


@dataclass(frozen=True)
class Page:
    """One page of a file that has several, from 0."""

    file: Path
    number: int


Source = Path | bytes | Image.Image | Page


class Unusable(Exception):
    """This picture cannot be used, and why."""


class PictureFile(ABC):
    """A picture that is open.

    format: its name. size: width and height of its largest page. pages: the numbers of the pages of that size. smaller: how many others there are.
    bands: numbers for each pixel, without transparency. deep: whether they have more than 8 bits. grey: whether it has no colour. transparent:
    whether parts may be.
    """

    format: str
    size: tuple[int, int]
    pages: list[int]
    smaller = 0
    bands: int
    deep = grey = transparent = False

    @abstractmethod
    def load(self, page: int, side: int) -> Image.Image | np.ndarray:
        """A page as a picture of 8 bits, or as numbers (H, W, bands). side: to which it will be shrunk."""

    @abstractmethod
    def close(self) -> None: ...


class PillowFile(PictureFile):
    """What Pillow reads."""

    def __init__(self, picture: Image.Image, source: Source):
        self.picture, self.source, self.format = picture, source, picture.format or "?"
        count = getattr(picture, "n_frames", 1) if self.format in STACKS else 1
        differ = count > 1 and self.format == "TIFF"
        sizes = {page: self._size(page) if differ else picture.size for page in range(count)}
        self.size = max(sizes.values(), key=lambda size: size[0] * size[1])
        self.pages = [page for page, size in sizes.items() if size == self.size]
        self.smaller = count - len(self.pages)
        self.deep = picture.mode == "F" or picture.mode.startswith("I")
        self.grey = _is_grey(picture)
        self.bands = 1 if self.grey else 3
        self.transparent = not self.deep and picture.has_transparency_data

    def _size(self, page: int) -> tuple[int, int]:
        self.picture.seek(page)
        return self.picture.size

    def load(self, page: int, side: int) -> Image.Image | np.ndarray:
        if page or len(self.pages) > 1:
            self.picture.seek(page)
        self.picture.draft(None, (2 * side, 2 * side))
        try:
            self.picture.load()
        except OSError as error:
            if self.format != "JPEG" or "truncated" not in str(error):
                raise
            self.picture = _ended_early(self.source, error)
        with contextlib.suppress(Exception):  # a damaged EXIF block does not make the pixels unusable
            ImageOps.exif_transpose(self.picture, in_place=True)
        return np.asarray(self.picture)[..., None] if self.deep else self.picture

    def close(self) -> None:
        self.picture.close()


class TiffFile(PictureFile):
    """TIFF beyond what Pillow reads in full: more than 8 bits, other numbers of bands than 1 and 3, and what ImageJ and OME say of its channels."""

    format = "TIFF"

    def __init__(self, source: Path | bytes):
        from tifffile import TiffFile as Reader

        self.reader = Reader(io.BytesIO(source) if isinstance(source, bytes) else source)
        pages: list[Any] = list(self.reader.pages)
        areas = [page.imagelength * page.imagewidth for page in pages]
        largest = pages[int(np.argmax(areas))]
        self.size = largest.imagewidth, largest.imagelength
        self.pages = [number for number, area in enumerate(areas) if area == max(areas)]
        self.smaller = len(pages) - len(self.pages)
        self.bands = largest.samplesperpixel - any(int(kind) in (1, 2) for kind in largest.extrasamples)
        self.planes = {page: [page] for page in self.pages}  # of each picture, one for each channel
        stack = self.reader.series[0]
        if (self.reader.is_imagej or self.reader.is_ome) and "C" in stack.axes[:-2] and stack.axes.endswith("YX"):
            places = np.arange(math.prod(stack.shape[:-2])).reshape(stack.shape[:-2])
            self.bands = stack.shape[stack.axes.index("C")]
            self.planes = dict(enumerate(np.moveaxis(places, stack.axes.index("C"), -1).reshape(-1, self.bands).tolist()))
            self.pages = list(self.planes)
        self.grey, self.deep = self.bands == 1, largest.dtype is not None and largest.dtype.itemsize > 1

    def load(self, page: int, side: int) -> np.ndarray:
        return np.concatenate([self._plane(plane) for plane in self.planes[page]], axis=2)

    def _plane(self, page: int) -> np.ndarray:
        found: Any = self.reader.pages[page]
        values: np.ndarray = found.asarray()
        if values.ndim == 3 and found.axes.startswith("S"):
            values = values.transpose(1, 2, 0)
        values = values[..., None] if values.ndim == 2 else values[..., : self.bands]
        orientation = found.keyframe.tags.get(274)
        return UPRIGHT.get(orientation.value if orientation else 1, np.asarray)(values)

    def close(self) -> None:
        self.reader.close()


class DeepPng(PictureFile):
    """A PNG of 16 bits in colour, which Pillow reads with 8."""

    format, bands, deep = "PNG", 3, True

    def __init__(self, picture: Image.Image, source: Path | bytes):
        self.size, self.pages, self.source = picture.size, [0], source
        picture.close()

    def load(self, page: int, side: int) -> np.ndarray:
        from imagecodecs import png_decode

        return np.asarray(png_decode(_content(self.source)))

    def close(self) -> None:
        """Nothing is open."""


class ArrayFile(PictureFile):
    """A .npy file of one picture, (H, W), (H, W, bands) or (bands, H, W)."""

    format = "NPY"

    def __init__(self, file: Path):
        values = np.load(file, mmap_mode="r")
        if values.dtype.kind not in "biuf" or values.ndim not in (2, 3) or not values.size:
            raise Unusable(f"an array of {values.dtype} of shape {values.shape} is no picture")
        if values.ndim == 3 and channels_come_first(values.shape):
            values = values.transpose(1, 2, 0)
        self.values = values[..., None] if values.ndim == 2 else values
        self.size, self.pages, self.bands = (values.shape[1], values.shape[0]), [0], self.values.shape[2]
        self.grey, self.deep = self.bands == 1, values.dtype.itemsize > 1

    def load(self, page: int, side: int) -> np.ndarray:
        values = np.asarray(self.values)
        return values.astype(np.uint8) * 255 if values.dtype == bool else values

    def close(self) -> None:
        del self.values


@contextlib.contextmanager
def opened(source: Source) -> Iterator[PictureFile]:
    """An open picture. Raises Unusable with the reason, also for whatever its decoder raises while it is open; UserError for trouble that passes."""
    file = None
    try:
        file = _open(source)
        if file.size[0] * file.size[1] > PIXEL_LIMIT:
            raise Unusable(f"{file.size[0]} x {file.size[1]} pixels are more than the limit of {PIXEL_LIMIT // 1_000_000} million")
        if isinstance(source, Page):
            file.pages = [source.number]
        yield file
    except (Unusable, UserError):
        raise
    except Exception as error:  # decoders raise nearly anything on damaged input
        raise Unusable(_reason(error, source)) from error
    finally:
        if file is not None:
            file.close()


def all_pages(files: Sequence[Path]) -> list[list[int]]:
    """The pages of each file; one where it cannot be read."""

    def pages(file: Path) -> list[int]:
        with contextlib.suppress(Unusable), opened(file) as picture:
            return picture.pages
        return [0]

    with quiet(), ThreadPoolExecutor() as pool:
        return list(pool.map(pages, files))


def _open(source: Source) -> PictureFile:
    if isinstance(source, Image.Image):
        return PillowFile(source.copy(), source)
    source = source.file if isinstance(source, Page) else source
    if source == b"":
        raise Unusable("no picture bytes")
    if isinstance(source, Path):
        if source.exists() and not source.is_file():  # opening a pipe would wait for ever
            raise Unusable("not a file")
        if source.suffix.lower() == ".npy":
            return ArrayFile(source)
    try:
        picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats())
    except UnidentifiedImageError:
        if _head(source)[:4] in TIFF_HEADS:
            return TiffFile(source)
        raise
    except ValueError as error:  # more text or a larger colour profile than Pillow takes
        if not str(error).startswith(("Decompressed data too large", "Too much memory used in text")):
            raise
        return PillowFile(Image.open(io.BytesIO(_without_text(_content(source))), formats=("PNG",)), source)
    if picture.format == "TIFF" and _beyond_pillow(picture):
        picture.close()
        return TiffFile(source)
    if picture.format == "PNG" and picture.mode == "RGB" and picture.tile and picture.tile[0][3] == "RGB;16B":
        return DeepPng(picture, source)
    return PillowFile(picture, source)


def _beyond_pillow(picture: Any) -> bool:
    tags = picture.tag_v2
    bits, samples, photometric = max(tags.get(258, (1,))), tags.get(277, 1), tags.get(262)
    spare = samples > 3 and photometric == 2 and tags.get(338, (0,))[0] not in (1, 2)  # a fourth band that is not said to be alpha
    described = str(tags.get(270, ""))
    channels = "OME" in described or ("ImageJ=" in described and "channels=" in described)
    return bits > 8 or spare or channels or (photometric in (0, 1) and samples > 2)


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode in ("P", "PA"):
        palette = np.array(picture.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return picture.mode in ("1", "L", "LA", "La", "F") or picture.mode.startswith("I")


def _content(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _head(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:HEAD]
    with source.open("rb") as stream:
        return stream.read(HEAD)


def _without_text(png: bytes) -> bytes:
    """A PNG without its text and its colour profile."""
    kept, place = [png[:8]], 8
    while place + 12 <= len(png):
        end = place + 12 + int.from_bytes(png[place : place + 4])
        if png[place + 4 : place + 8] not in (b"iCCP", b"tEXt", b"zTXt", b"iTXt"):
            kept.append(png[place:end])
        place = end
    return b"".join(kept)


def _ended_early(source: Source, error: OSError) -> Image.Image:
    """A JPEG whose end is missing, as viewers show it: what is not there is filled up. Raises the error where that is more than a little."""
    if not isinstance(source, Path | bytes):
        raise error
    picture = Image.open(io.BytesIO(_content(source) + b"\xff\xd9"), formats=("JPEG",))
    picture.load()
    rows = np.asarray(picture).reshape(picture.height, -1)
    other = (rows != rows[-1, 0] if picture.mode == "L" else rows != np.resize(rows[-1, : len(picture.getbands())], rows.shape[1])).any(1)
    if not other.any() or other[::-1].argmax() > FLAT_TAIL * len(rows):
        raise error
    return picture


def channels_come_first(shape: tuple[int, ...]) -> bool:
    """Whether the first of the three last dimensions holds the channels, not the last; for shapes that could be read both ways, 1 or 3 channels
    count before square pictures, and these before fewer channels. Raises ValueError where that does not decide."""
    first, height, last = shape[-3], shape[-2], shape[-1]
    few = first in (1, 3), last in (1, 3)
    if few[0] != few[1]:
        return few[0]
    square = height == last, first == height
    if square[0] != square[1]:
        return square[0]
    if few == (False, False) and 2 * min(first, last) <= height and first != last:
        return first < last
    raise ValueError(f"cannot tell the channels of an array of shape {shape}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings: the list of broken pictures says what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL")
        yield


def _reason(error: Exception, source: Source) -> str:
    source = source.file if isinstance(source, Page) else source
    where = source if isinstance(source, Path) else None
    if isinstance(error, OSError) and error.errno in PASSING_TROUBLE:
        raise UserError(f"reading pictures failed: {error.strerror}", where=where, hint="try again") from error
    if isinstance(error, UnidentifiedImageError):
        if where is not None and where.stat().st_size == 0:
            return "empty file"
        head = b"" if isinstance(source, Image.Image) else _head(source)
        return needed_package(head, "" if where is None else where.name) or "not a picture that can be read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the limit of {PIXEL_LIMIT // 1_000_000} million"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
