"""Randomness that does not depend on devices: every number is drawn for the global batch and sliced."""

import hashlib

import torch
from torch import Tensor


def seed_of(*key: object) -> int:
    """A 63-bit seed from any printable key, the same on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Draw:
    """Random numbers for one part of a global batch.

    The global batch is cut into `parts` equal parts (rank-major, then micro-batch). Each call draws for all parts and returns
    the rows of this `part`, so that one process, two processes and four micro-batches see the same numbers.
    Two draws with the same key give the same sequence; `child` opens an independent sequence.
    """

    def __init__(self, *key: object, part: int = 0, parts: int = 1, device: torch.device | str = "cpu"):
        self.key, self.part, self.parts, self.device = key, part, parts, torch.device(device)
        self.generator = torch.Generator(device=self.device).manual_seed(seed_of(*key))

    def child(self, *key: object) -> "Draw":
        """An independent sequence with its own name, so that adding a draw in one place changes none in another."""
        return Draw(*self.key, *key, part=self.part, parts=self.parts, device=self.device)

    def _rows(self, values: Tensor) -> Tensor:
        rows = len(values) // self.parts
        return values[self.part * rows : (self.part + 1) * rows]

    def uniform(self, rows: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(rows, *shape) from U[low, high)."""
        values = self._rows(torch.rand(rows * self.parts, *shape, generator=self.generator, device=self.device))
        return values if (low, high) == (0.0, 1.0) else values * (high - low) + low

    def normal(self, rows: int, *shape: int) -> Tensor:
        """(rows, *shape) from N(0, 1)."""
        return self._rows(torch.randn(rows * self.parts, *shape, generator=self.generator, device=self.device))

    def gumbel(self, rows: int, *shape: int) -> Tensor:
        """(rows, *shape) of noise that, added to logits, makes the largest one a random draw from their softmax."""
        return -(-self.uniform(rows, *shape).clamp(min=1e-20).log()).log()

    def integers(self, high: int, rows: int, *shape: int) -> Tensor:
        """(rows, *shape) int64 from 0 .. high - 1."""
        return self._rows(torch.randint(high, (rows * self.parts, *shape), generator=self.generator, device=self.device))

    def chance(self, probability: float, rows: int, *shape: int) -> Tensor:
        """(rows, *shape) bool, each true with the given probability."""
        return self.uniform(rows, *shape) < probability

    def permutations(self, length: int, rows: int) -> Tensor:
        """(rows, length) int64, each row an independent uniform permutation."""
        return self.uniform(rows, length).argsort(dim=1)
