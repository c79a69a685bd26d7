"""One file is one kind of data: its typed values, and everything that only this kind knows. A modality registers itself by being defined."""

from leaven.modalities.boxes import Boxes
from leaven.modalities.counts import Counts
from leaven.modalities.geometry import Geometry
from leaven.modalities.label import Label
from leaven.modalities.mask import Mask
from leaven.modalities.modality import MODALITIES, DefaultEncoder, Floor, Modality, find_modality, modality_of
from leaven.modalities.naming import Naming
from leaven.modalities.pixels import Pixels
from leaven.modalities.signal import Signal
from leaven.modalities.spec import InputSpec
from leaven.modalities.tags import Tags
from leaven.modalities.text import Strings, Text, Tokens
from leaven.modalities.value import LazyTensor, Value
from leaven.modalities.vector import Vector
from leaven.modalities.wave import Wave

__all__ = [
    "MODALITIES",
    "Boxes",
    "Counts",
    "DefaultEncoder",
    "Floor",
    "Geometry",
    "InputSpec",
    "Label",
    "LazyTensor",
    "Mask",
    "Modality",
    "Naming",
    "Pixels",
    "Signal",
    "Strings",
    "Tags",
    "Text",
    "Tokens",
    "Value",
    "Vector",
    "Wave",
    "find_modality",
    "modality_of",
]
