"""Equations that several methods share. Pure functions of tensors."""

from leaven.losses.assignment import across_crops
from leaven.losses.contrast import info_nce, nt_xent, weighted_contrast
from leaven.losses.redundancy import barlow_twins, covariance, variance_hinge

__all__ = ["across_crops", "barlow_twins", "covariance", "info_nce", "nt_xent", "variance_hinge", "weighted_contrast"]
