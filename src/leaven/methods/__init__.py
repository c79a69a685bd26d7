"""One file is one method is one paper, in a folder per family: the listing is the field's table of contents. These names are for such files."""

from leaven.data.spec import DataSpec
from leaven.encoders import Encoder
from leaven.hyperparameters import Count, NonNegative, PartialShare, Positive, PositiveShare, Range, Share, ShareBelowOne, TwoOrMore, Whole, Width
from leaven.methods.method import Method, Outputs, Recipe, Rule, Stage

__all__ = [
    "Count", "DataSpec", "Encoder", "Method", "NonNegative", "Outputs", "PartialShare", "Positive", "PositiveShare", "Range", "Recipe", "Rule",
    "Share", "ShareBelowOne", "Stage", "TwoOrMore", "Whole", "Width",
]  # fmt: skip
