"""Picture files -> square uint8 arrays of one size and one number of channels."""

import contextlib
import errno
import io
import statistics
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from leaven.errors import UserError

# Formats that Pillow decodes by itself; EPS and WMF would start other programs.
FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "PCX"),
    *("TGA", "ICO", "ICNS", "SGI", "QOI", "DDS", "PSD", "SUN", "XBM", "XPM"),
)
PIXEL_LIMIT = 64_000_000
SURVEY = 512
NATIVE_LIMIT = 64
DEFAULT_SIZE = 96
MARGIN = 1.15  # pictures are stored a little above training size, so that crops have something to choose from
PASSING_TROUBLE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}

Source = Path | bytes | Image.Image


class Unusable(Exception):
    """This picture cannot be used, and why."""


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # some builds of Pillow lack some; MPO opens as JPEG


@cache
def extensions() -> frozenset[str]:
    """Lower-case file endings, with the dot, that count as pictures."""
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in FORMATS)


def is_picture_file(path: object) -> bool:
    """Whether this names an existing picture file."""
    return isinstance(path, str | Path) and Path(path).suffix.lower() in extensions() and Path(path).expanduser().is_file()


def decode(source: Source, side: int, channels: int) -> np.ndarray:
    """(channels, side, side) uint8: short side resized to `side`, then the centre. EXIF rotation is applied, transparency lies on white.

    Raises Unusable with the reason.
    """
    try:
        with _open(source) as picture:
            picture.draft(None, (2 * side, 2 * side))
            picture.load()
            with contextlib.suppress(Exception):  # a damaged EXIF block does not make the pixels unusable
                ImageOps.exif_transpose(picture, in_place=True)
            plain = _plain(picture, channels)
            if plain.size != (side, side):
                plain = ImageOps.fit(plain, (side, side), Image.Resampling.BICUBIC)
            array = np.asarray(plain)
        return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))
    except (Unusable, UserError):
        raise
    except Exception as error:  # decoders raise nearly anything on damaged input
        raise Unusable(_reason(error, source)) from error


def stored_shape(sources: Iterable[Source], size: int | None, channels: int | None) -> tuple[int, int]:
    """(side, channels) at which pictures are stored for training at `size`, by the headers of some of them; None: chosen.

    Headers that cannot be read are left out. One channel is enough where none of the pictures has colour.
    """
    sides, grey = [], True
    with quiet():
        for source in sources:
            with contextlib.suppress(Exception), _open(source) as picture:
                sides.append(min(picture.size))
                grey = grey and _is_grey(picture)
    side = stored_side(statistics.median_low(sides), size) if sides else size or DEFAULT_SIZE
    return side, channels or (1 if sides and grey else 3)


def stored_side(native: int, size: int | None) -> int:
    """The native side unless it is more than 15 % above the training size; no size given: native up to 64, else 96."""
    if size is None:
        size = native if native <= NATIVE_LIMIT else DEFAULT_SIZE
    return native if native <= MARGIN * size else round(MARGIN * size)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings: the list of broken pictures says what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL")
        yield


def _open(source: Source) -> Image.Image:
    if isinstance(source, Image.Image):
        picture = source.copy()
    elif isinstance(source, bytes):
        if not source:
            raise Unusable("no picture bytes")
        picture = Image.open(io.BytesIO(source), formats=_formats())
    else:
        if source.exists() and not source.is_file():  # opening a pipe would wait for ever
            raise Unusable("not a file")
        picture = Image.open(source, formats=_formats())
    width, height = picture.size
    if width * height > PIXEL_LIMIT:
        picture.close()
        raise Unusable(f"{width} x {height} pixels are more than the limit of {PIXEL_LIMIT // 1_000_000} million")
    return picture


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode in ("P", "PA"):
        palette = np.array(picture.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return picture.mode in ("1", "L", "LA", "La", "F") or picture.mode.startswith("I")


def _plain(picture: Image.Image, channels: int) -> Image.Image:
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _eight_bits(picture)
    elif picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("L" if channels == 1 else "RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit pictures by their full range; 32-bit and floating ones by the narrowest usual range that holds them."""
    values = np.nan_to_num(np.asarray(picture).astype(np.float64))
    top = values.max(initial=0)
    if picture.mode.startswith("I;16"):
        full = 65535.0
    elif picture.mode == "F" and top <= 1:
        full = 1.0
    else:
        full = next((limit for limit in (255.0, 65535.0, 2.0**31 - 1) if top <= limit), top)
    return Image.fromarray(np.clip(np.rint(values * (255 / full)), 0, 255).astype(np.uint8))


def _reason(error: Exception, source: Source) -> str:
    if isinstance(error, OSError) and error.errno in PASSING_TROUBLE:
        where = source if isinstance(source, Path) else None
        raise UserError(f"reading pictures failed: {error.strerror}", where=where, hint="try again") from error
    if isinstance(error, UnidentifiedImageError):
        empty = isinstance(source, Path) and source.stat().st_size == 0
        return "empty file" if empty else "not a picture that can be read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the limit of {PIXEL_LIMIT // 1_000_000} million"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
