"""One global batch over several processes: gather with gradients, and averaging that changes no algorithm."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from leaven.errors import UserError
from leaven.methods.method import map_tensors

Made = TypeVar("Made")


def processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if processes() > 1 else 0


class _Gather(torch.autograd.Function):
    """The rows of all processes. Every process computes the same loss of them, so the gradient of its own rows is already whole. It is multiplied
    by the number of processes, because parameter gradients are averaged afterwards."""

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        everyone = [torch.empty_like(rows) for _ in range(processes())]
        dist.all_gather(everyone, rows.contiguous())
        return torch.cat(everyone)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        start = rank() * ctx.rows
        return gradient[start : start + ctx.rows] * processes()


def gather(tree: Any) -> Any:
    """Outputs of the local rows -> outputs of the global batch, in the order of the global batch, with gradients to the local rows."""
    return map_tensors(_Gather.apply, tree) if processes() > 1 else tree


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Mean of the gradients over the processes, in one message per dtype."""
    if processes() == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
    for gradients in by_type.values():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= processes()
        for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def agree(number: float) -> float:
    """The first process's number (or truth value), on all of them."""
    if processes() == 1:
        return number
    box = torch.tensor([number], dtype=torch.float64)
    dist.broadcast(box.cuda() if dist.get_backend() == "nccl" else box, 0)
    return box.item()


def anywhere(*truths: bool) -> tuple[bool, ...]:
    """For each of these: whether it is true in any process."""
    if processes() == 1:
        return truths
    box = torch.tensor([float(truth) for truth in truths])
    box = box.cuda() if dist.get_backend() == "nccl" else box
    dist.all_reduce(box, dist.ReduceOp.MAX)
    return tuple(truth > 0 for truth in box.tolist())


def wait_for_all() -> None:
    """Return when every process has come this far."""
    if processes() > 1:
        dist.barrier()


def made_by_first(make: Callable[[], Made]) -> Made:
    """What the first process makes, in all processes. Raises in all of them the UserError that it raises."""
    if processes() == 1:
        return make()
    box: list[Any] = [None, None]
    if rank() == 0:
        try:
            box[0] = make()
        except UserError as error:
            box[1] = error
    dist.broadcast_object_list(box)
    if box[1] is not None:
        raise box[1]
    return box[0]


def share_state(module: nn.Module) -> None:
    """The first process's parameters and buffers, on all of them."""
    if processes() > 1:
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), 0)


def mean_over_processes(number: Tensor) -> Tensor:
    if processes() == 1:
        return number
    total = number.clone()
    dist.all_reduce(total)
    return total / processes()
