"""Moments of time, one after another: strided convolutions that make them, networks that relate them, and their pooling."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.modules.patches import Transformer

Context = Literal["transformer", "gru", "lstm", "none"]


class StridedConv(nn.Module):
    """A convolution over time whose kernel spans one to two strides, without bias and padding, as two matrix products over blocks of one stride.

    The same as Conv1d on (batch, channels, time), but with channels last, where nothing is copied.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        if not stride <= kernel <= 2 * stride:
            raise ValueError(f"a kernel of {kernel} is not between one and two strides of {stride}")
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(outputs, kernel * inputs))  # of a moment, then of the next
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Float[Tensor, "batch time inputs"]) -> Float[Tensor, "batch steps outputs"]:
        time, inputs = x.shape[1:]
        steps = self.steps(time)
        blocks = F.pad(x, (0, 0, 0, (steps + 1) * self.stride - time)).reshape(x.shape[0], steps + 1, self.stride * inputs)
        own, following = self.weight.split([self.stride * inputs, (self.kernel - self.stride) * inputs], 1)
        y = F.linear(blocks, own)[:, :-1]
        return y + F.linear(blocks[..., : following.shape[1]], following)[:, 1:] if self.kernel > self.stride else y

    def steps(self, time: int) -> int:
        return (time - self.kernel) // self.stride + 1


def pooled(frames: Float[Tensor, "batch frames dim"], real: Bool[Tensor, "batch frames"]) -> Float[Tensor, "batch dim"]:
    """The mean over the real frames of each sample."""
    frames = frames if frames.dtype == torch.float64 else frames.float()
    weight = real.to(frames.dtype) / real.sum(1, keepdim=True).clamp(min=1)
    return torch.bmm(weight[:, None], frames)[:, 0]


def sinusoids(frames: int, dim: int, device: torch.device) -> Float[Tensor, "frames dim"]:
    """Fixed sine and cosine positions (Vaswani et al. 2017, section 3.5)."""
    frequencies = torch.exp(torch.arange(dim // 2, device=device) * (-9.21034 / max(1, dim // 2)))  # down to 1 / 10,000
    angles = torch.arange(frames, device=device)[:, None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, dim % 2))


def reversed_in_time(frames: Float[Tensor, "batch frames dim"], real: Bool[Tensor, "batch frames"]) -> Float[Tensor, "batch frames dim"]:
    """The real frames of each sample, which come first, in the opposite order; the others stay where they are. It undoes itself."""
    place = torch.arange(real.shape[1], device=real.device)
    count = real.sum(1, keepdim=True)
    places = torch.where(place < count, count - 1 - place, place)
    return frames.gather(1, places[..., None].expand_as(frames))


class Recurrent(nn.Module):
    """Layers of GRU or LSTM cells with a skip around each; unless `causal`, half of the cells of a layer read backwards from a sample's end."""

    def __init__(self, kind: Literal["gru", "lstm"], width: int, depth: int, causal: bool):
        super().__init__()
        cell = {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
        shares = [width] if causal else [width - width // 2, width // 2]
        self.layers = nn.ModuleList(nn.ModuleList(cell(width, share, batch_first=True) for share in shares) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))

    def outputs(self, frames: Float[Tensor, "batch frames width"], real: Bool[Tensor, "batch frames"]) -> list[Float[Tensor, "batch frames width"]]:
        """The output of every layer, from the first to the last."""
        outputs = []
        for cells, norm in zip(self.layers, self.norms, strict=True):
            read = norm(frames)
            directions = [cells[0](read)[0]]  # type: ignore[index]
            if len(cells) > 1:  # type: ignore[arg-type]
                directions.append(reversed_in_time(cells[1](reversed_in_time(read, real))[0], real))  # type: ignore[index]
            outputs.append(frames := frames + torch.cat(directions, 2))
        return outputs


class Attentive(nn.Module):
    """Transformer layers with fixed positions; frames only see real ones and, if `causal`, none after themselves."""

    def __init__(self, width: int, depth: int, heads: int, causal: bool):
        super().__init__()
        self.causal = causal
        self.transformer = Transformer(width, depth, heads)

    def outputs(
        self, frames: Float[Tensor, "batch frames width"], real: Bool[Tensor, "batch frames"], keep: Tensor | None = None
    ) -> list[Float[Tensor, "batch frames width"]]:
        """The output of every layer, from the first to the last. keep: (batch, kept) the only places that are read."""
        places = torch.arange(frames.shape[1], device=frames.device).expand(frames.shape[0], -1)
        frames = frames + sinusoids(frames.shape[1], frames.shape[2], frames.device).to(frames.dtype)
        if keep is not None:
            frames, real, places = frames.gather(1, keep[..., None].expand(-1, -1, frames.shape[2])), real.gather(1, keep), keep
        seen = real[:, None, None]
        if self.causal:
            seen = seen & (places[:, None, None] <= places[:, None, :, None])
        return self.transformer.outputs(frames, seen)


def context_network(kind: Context, width: int, depth: int, heads: int, causal: bool) -> Recurrent | Attentive:
    if kind in ("gru", "lstm"):
        return Recurrent(kind, width, depth, causal)  # type: ignore[arg-type]
    return Attentive(width, 0 if kind == "none" else depth, heads, causal)
