"""Equations that several methods share. Pure functions of tensors."""

from leaven.losses.contrast import nt_xent

__all__ = ["nt_xent"]
