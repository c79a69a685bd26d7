"""Batch normalisation whose statistics come from all processes, on any device."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is the all-reduce of the gradients; an in-place reduce would lose the other processes' share."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return SumOverProcesses.apply(gradient)


class CrossProcessBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes, each of the same size (torch's own SyncBatchNorm does not run on CPUs)."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.ndim}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        processes = dist.get_world_size()
        values = input if input.dtype == torch.float64 else input.float()
        dims = [dim for dim in range(input.ndim) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(input.ndim)]
        variance, mean = torch.var_mean(values, dims, correction=0)
        global_mean = SumOverProcesses.apply(mean) / processes
        global_variance = SumOverProcesses.apply(variance + (mean - global_mean) ** 2) / processes
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                count = values.numel() // values.shape[1] * processes
                self.num_batches_tracked += 1
                rate = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
                self.running_mean.lerp_(global_mean.to(self.running_mean.dtype), rate)
                self.running_var.lerp_((global_variance * count / max(count - 1, 1)).to(self.running_var.dtype), rate)
        output = (values - global_mean.view(shape)) * torch.rsqrt(global_variance + self.eps).view(shape)
        if self.affine:
            output = output * self.weight.view(shape) + self.bias.view(shape)
        return output.to(input.dtype)


def across_processes(module: nn.Module) -> nn.Module:
    """Replace every batch norm inside by its cross-process form, sharing parameters and buffers; returns the module."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm) and not isinstance(child, CrossProcessBatchNorm):
            replacement = CrossProcessBatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats, device="meta")
            replacement._parameters.update(child._parameters)
            replacement._buffers.update(child._buffers)
            replacement.train(child.training)
            setattr(module, name, replacement)
        else:
            across_processes(child)
    return module


def has_batch_norm(module: nn.Module) -> bool:
    return any(isinstance(child, _BatchNorm) for child in module.modules())
