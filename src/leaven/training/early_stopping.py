"""When to end: held-out samples are scored every so often, and the best state is kept."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from leaven.data.batch import Batch
from leaven.training.distributed import agree


class EarlyStopping:
    """Keeps the state with the smallest number on held-out samples; ends after `patience` looks without improvement (Prechelt 1998).

    Checkpoints hold all of it, so that a resumed training keeps the same state and ends at the same step.
    """

    def __init__(self, held_out: Batch, patience: int):
        self.held_out, self.patience = held_out, patience
        self.step, self.without_gain = 0, 0
        self.measures: dict[str, float] = {}
        self.kept: dict[str, Tensor] = {}

    @property
    def ended(self) -> bool:
        return self.without_gain >= self.patience

    def batches(self, device: torch.device) -> Iterator[Batch]:
        for rows in torch.arange(len(self.held_out)).split(256):
            yield self.held_out.select(rows).to(device)

    def look(self, step: int, module: nn.Module, measures: dict[str, float]) -> dict[str, float]:
        """Records the measures of a look, of which the first decides, and returns them."""
        measures = {name: agree(number) for name, number in measures.items()}
        if not self.measures or next(iter(measures.values())) < next(iter(self.measures.values())):
            self.step, self.without_gain, self.measures = step, 0, measures
            self.kept = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        else:
            self.without_gain += 1
        return measures

    def restore(self, module: nn.Module) -> None:
        """The module as it was at the best look."""
        module.load_state_dict(self.kept)

    def summary(self) -> dict[str, Any]:
        return {"best_step": self.step, "held_out": len(self.held_out), **self.measures}

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "without_gain": self.without_gain, "measures": self.measures, "kept": self.kept}

    def load(self, state: dict[str, Any]) -> None:
        self.step, self.without_gain, self.measures, self.kept = (state[name] for name in ("step", "without_gain", "measures", "kept"))
