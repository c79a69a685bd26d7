"""Every protocol there is."""

from leaven.evaluation.registry import list_protocols

__all__ = ["list_protocols"]
