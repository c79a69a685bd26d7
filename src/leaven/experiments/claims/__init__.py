"""Claims of the field that anyone can check: one file each, with the rule that decides it."""

from leaven.experiments.runner import list_claims, reproduce

__all__ = ["list_claims", "reproduce"]
