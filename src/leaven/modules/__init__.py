"""Parts that several methods share: heads, teachers, batch normalisation across processes, masks."""

from leaven.modules.heads import mlp
from leaven.modules.teacher import Teacher

__all__ = ["Teacher", "mlp"]
