"""What the user has -> samples that methods can read: folders, tables, arrays and named data sets, decoded once."""

from leaven.data.batch import Batch
from leaven.data.dataset import Broken, DataSet
from leaven.data.open import open_data
from leaven.data.spec import DataSpec
from leaven.draw import Draw
from leaven.modalities import Counts, InputSpec, Pixels, Signal, Text, Tokens, Value, Vector, Wave

__all__ = [
    "Batch",
    "Broken",
    "Counts",
    "DataSet",
    "DataSpec",
    "Draw",
    "InputSpec",
    "Pixels",
    "Signal",
    "Text",
    "Tokens",
    "Value",
    "Vector",
    "Wave",
    "open_data",
]
