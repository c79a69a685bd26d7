"""Which files are pictures, by their names and by how they begin."""

import contextlib
import importlib.util
from functools import cache
from pathlib import Path

from PIL import Image

# Formats that Pillow decodes by itself; EPS and WMF would start other programs.
FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "PCX"),
    *("TGA", "ICO", "ICNS", "SGI", "QOI", "DDS", "PSD", "SUN", "XBM", "XPM", "HEIF", "JXL"),
)
PLUGINS = {"heic": "pillow-heif", "heif": "pillow-heif", "hif": "pillow-heif", "jxl": "pillow-jxl-plugin"}
MODULES = {"pillow-heif": "pillow_heif", "pillow-jxl-plugin": "pillow_jxl"}
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
HEAD = 32  # bytes by which Pillow knows a format


@cache
def formats() -> tuple[str, ...]:
    """What can be read here: some builds of Pillow lack some, and MPO opens as JPEG. The plugins for HEIC and JPEG XL are used where they are."""
    Image.init()
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def extensions() -> frozenset[str]:
    """Lower-case file endings, with the dot, that count as pictures."""
    formats()
    known = {ending for ending, name in Image.registered_extensions().items() if name in FORMATS}
    return frozenset(known | {f".{ending}" for ending in PLUGINS})


def is_picture_file(path: object) -> bool:
    """Whether this names an existing picture file."""
    return isinstance(path, str | Path) and Path(path).suffix.lower() in extensions() and Path(path).expanduser().is_file()


def looks_like_a_picture(file: Path) -> bool:
    """Whether a file begins as pictures do, whatever its name is."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return False
    if is_heif(head):
        return True
    for name in formats():
        accept = Image.OPEN[name][1]
        if accept is not None and name not in ("TGA", "PCX"):  # their beginnings say too little
            with contextlib.suppress(Exception):  # fewer bytes than it looks at
                if accept(head) is True:
                    return True
    return False


def needed_package(head: bytes, name: str) -> str:
    """The format of a picture and the package that reads it, where that is not installed; empty for all others. name: of the file."""
    ending = "heic" if is_heif(head) else Path(name).suffix.lower()[1:]
    package = PLUGINS.get(ending)
    return f"{ending.upper()} needs a package: pip install {package}" if package and not importlib.util.find_spec(MODULES[package]) else ""


def is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS
