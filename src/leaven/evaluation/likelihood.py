"""How likely samples are under a model of the data."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leaven.draw import Draw
from leaven.evaluation.intervals import bootstrap_interval
from leaven.evaluation.predictions import write_csv
from leaven.methods.method import Method
from leaven.modalities import Value
from leaven.modalities.modality import fitted

AT_ONCE = 250  # a constant, since what is random in a block is drawn for the block


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """what: which number it is (a log-likelihood, a bound of one, an estimate). files: where each sample came from. nats: of each sample.
    values: how many numbers a sample has, or, of texts, how many tokens each has. parts: rows of each split, where the data has some."""

    what: str
    files: tuple[str, ...]
    nats: Float[np.ndarray, " samples"]
    values: int | np.ndarray
    parts: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.nats)

    def mean(self, rows: np.ndarray | None = None) -> dict[str, Any]:
        """{nats, interval (95 %, bootstrap over samples), bits_per_value, perplexity (per token, of texts), samples} of some rows, or of all."""
        nats = self.nats if rows is None else self.nats[rows]
        values = self.values if rows is None or isinstance(self.values, int) else self.values[rows]
        interval = bootstrap_interval(torch.from_numpy(nats)) if len(nats) > 1 else None
        bits = -float(nats.mean()) / float(np.mean(values)) / math.log(2)
        tokens = {} if isinstance(self.values, int) else {"perplexity": 2**bits}
        return {"nats": float(nats.mean()), "interval": interval, "bits_per_value": bits, **tokens, "samples": len(nats)}

    def ranked(self) -> np.ndarray:
        """Rows, the least likely sample first: what is unusual."""
        return self.nats.argsort(kind="stable")

    def to_dict(self, most: int = 10) -> dict[str, Any]:
        splits = {name: self.mean(rows) for name, rows in self.parts.items() if len(rows)}
        unusual = [{"file": self.files[row], "index": int(row), "nats": float(self.nats[row])} for row in self.ranked()[:most]]
        return {"what": self.what, **self.mean(), "splits": splits, "least_likely": unusual}

    def write(self, path: Path) -> None:
        """A csv file: file, nats, in the data's order."""
        write_csv(path, ("file", "nats"), zip(self.files, (f"{nats:.4f}" for nats in self.nats), strict=True))


@torch.no_grad()
def log_probs(method: Method, value: Value, shape: Sequence[int], *, seed: int = 0, device: str = "cpu") -> Iterator[Float[Tensor, " block"]]:
    """`log_prob` of every sample, block by block, in order, on the CPU. The same seed draws the same."""
    method = method.to(device).eval()
    for number, rows in enumerate(torch.arange(len(value)).split(AT_ONCE)):
        block = fitted(value[rows].to(device), tuple(shape))
        yield method.log_prob(block, Draw("log_prob", seed, number, device=device)).double().cpu()


@torch.no_grad()
def reconstructed(method: Method, value: Value, shape: Sequence[int], *, device: str = "cpu") -> Iterator[tuple[Value, Value]]:
    """Each block of samples as the encoder reads it, and what is decoded from its features of it; both on the CPU."""
    method = method.to(device).eval()
    for rows in torch.arange(len(value)).split(AT_ONCE):
        block = fitted(value[rows].to(device), tuple(shape))
        yield block.to("cpu"), method.decode(method.encoder(block).float()).to("cpu")
