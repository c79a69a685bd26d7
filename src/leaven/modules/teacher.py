"""A slowly moving copy of a network, which gives targets without gradients."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

DROPPING: list[tuple[Any, str]] = [(nn.modules.dropout._DropoutNd, "p"), (nn.MultiheadAttention, "dropout"), ("DropPath", "drop_prob")]
"""Modules that drop parts at random, and the attribute with their probability. That of timm is named by a string, so that timm is not loaded."""


class Teacher(nn.Module):
    """Exponential moving average of one or more modules applied in sequence (Tarvainen and Valpola 2017).

    It starts as a copy. Parameters move by `teacher = m * teacher + (1 - m) * student`, with m rising from `momentum` to 1 along a cosine
    (Grill et al. 2020, section 3.2); buffers (running statistics, counters) are copied. `update` is called once per optimiser step.
    It drops nothing: dropout and stochastic depth are for students. `network` holds the copies in order, to be called under `torch.no_grad()`.
    warming: m is at most (1 + n) / (10 + n) after n updates, so that a short training does not end with an average of its beginning.
    """

    def __init__(self, *students: nn.Module, momentum: float = 0.99, rising: bool = True, warming: bool = False):
        super().__init__()
        self.network = nn.Sequential(*(copy.deepcopy(student) for student in students)).requires_grad_(False)
        for module in self.network.modules():
            for kind, name in DROPPING:
                if type(module).__name__ == kind if isinstance(kind, str) else isinstance(module, kind):
                    setattr(module, name, 0.0)
        self.momentum, self.rising = momentum, rising
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64) if warming else None)
        self._students = (students,)  # in a tuple, so that they are not registered a second time

    updates: Tensor | None

    def momentum_at(self, progress: float) -> float:
        momentum = self.momentum
        if self.rising:
            momentum = 1 - (1 - momentum) * (math.cos(math.pi * min(progress, 1.0)) + 1) / 2
        if self.updates is None:
            return momentum
        return min(momentum, (1 + self.updates.item()) / (10 + self.updates.item()))

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """Move towards the students; `progress` in 0-1 is the share of the training that is done."""
        students = self._students[0]
        own: list[Tensor] = list(self.network.parameters())
        theirs = [parameter.detach() for student in students for parameter in student.parameters()]
        torch._foreach_lerp_(own, theirs, 1 - self.momentum_at(progress))
        if buffers := list(self.network.buffers()):
            torch._foreach_copy_(buffers, [buffer for student in students for buffer in student.buffers()])
        if self.updates is not None:
            self.updates += 1

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        first, *rest = self.network
        output = first(*inputs)
        for module in rest:
            output = module(output)
        return output
