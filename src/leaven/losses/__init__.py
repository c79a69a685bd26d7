"""Equations that several methods share. Pure functions of tensors."""

from leaven.losses.assignment import across_crops
from leaven.losses.contrast import info_nce, matched, nt_xent, weighted_contrast
from leaven.losses.within import mean_within

__all__ = ["across_crops", "info_nce", "matched", "mean_within", "nt_xent", "weighted_contrast"]
