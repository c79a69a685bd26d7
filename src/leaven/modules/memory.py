"""Embeddings of earlier steps: the newest ones in a queue, or one for each sample in a bank."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F


def random_directions(rows: int, dim: int) -> Float[Tensor, "rows dim"]:
    return F.normalize(torch.randn(rows, dim), dim=1)


class Queue(nn.Module):
    """The newest `length` embeddings, first in, first out, normalised (He et al. 2020, section 3.2).

    It starts with random directions, as the authors' code does; `entered` leaves out those that no embedding has replaced yet.
    """

    embeddings: Tensor
    count: Tensor

    def __init__(self, length: int, dim: int):
        super().__init__()
        self.register_buffer("embeddings", random_directions(length, dim))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))  # how many have come in so far

    @property
    def entered(self) -> Float[Tensor, "others dim"]:
        return self.embeddings[: int(self.count)]

    @torch.no_grad()
    def enqueue(self, embeddings: Float[Tensor, "batch dim"]) -> None:
        """Overwrite the oldest embeddings. Of more rows than the queue is long, the last ones stay."""
        length, rows = len(self.embeddings), len(embeddings)
        newest = embeddings[-length:]
        places = (self.count + torch.arange(rows - len(newest), rows, device=newest.device)) % length
        self.embeddings[places] = F.normalize(newest.to(self.embeddings.dtype), dim=1, eps=1e-6)
        self.count += rows

    @torch.no_grad()
    def nearest(self, embeddings: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """The member with the largest cosine to each row, without gradient."""
        similarity = F.normalize(embeddings.to(self.embeddings.dtype), dim=1, eps=1e-6) @ self.embeddings.T
        return self.embeddings[similarity.argmax(dim=1)]


class Bank(nn.Module):
    """A normalised embedding for each sample of the data set, by its index (Wu et al. 2018, section 3.1). It starts with random directions."""

    embeddings: Tensor

    def __init__(self, samples: int, dim: int):
        super().__init__()
        self.register_buffer("embeddings", random_directions(samples, dim))

    @torch.no_grad()
    def update(self, index: Int64[Tensor, " batch"], embeddings: Float[Tensor, "batch dim"], momentum: float) -> None:
        """The entries of these samples become momentum * entry + (1 - momentum) * embedding, normalised."""
        moved = torch.lerp(F.normalize(embeddings.to(self.embeddings.dtype), dim=1, eps=1e-6), self.embeddings[index], momentum)
        self.embeddings[index] = F.normalize(moved, dim=1, eps=1e-6)
