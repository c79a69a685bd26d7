"""What the user has -> samples that methods can read: folders, tables, arrays and named data sets, decoded once."""

from leaven.data.batch import Batch, Counts, Pixels, Signal, Text, Tokens, Value, Vector, Wave
from leaven.data.dataset import Broken, DataSet
from leaven.data.draw import Draw
from leaven.data.sources import open_data
from leaven.data.spec import DataSpec, InputSpec

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
