"""Small changes of large weights, which are trained in their place."""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.func import functional_call


class LowRank(nn.Module):
    """Changes of the weights of a network's linear layers by products of two narrow matrices: W + B A (Hu et al. 2022, eq. 3).

    names: of the parameters of the network among which linear layers are looked for. rank: the width of A and B. B begins at 0, so the network begins
    as it is. The network stays an ordinary one: its own weights move only by `merge`. attention keeps the inputs of all heads in one matrix, which is
    changed as a whole.
    """

    def __init__(self, network: nn.Module, names: Collection[str], rank: int):
        super().__init__()
        self.narrow, self.wide = nn.ParameterDict(), nn.ParameterDict()
        for name in sorted(set(names) & matrices(network)):
            weight = network.get_parameter(name)
            key = name.replace(".", "/")  # a name of a parameter has no dots
            self.narrow[key] = nn.Parameter(torch.randn(rank, weight.shape[1]) / weight.shape[1] ** 0.5)
            self.wide[key] = nn.Parameter(torch.zeros(weight.shape[0], rank))

    def changes(self) -> dict[str, Tensor]:
        """By the names of the weights."""
        return {key.replace("/", "."): self.wide[key] @ self.narrow[key] for key in self.narrow}

    def run(self, network: nn.Module, x: object) -> Tensor:
        """The network's output with its weights changed."""
        return functional_call(network, {name: network.get_parameter(name) + change for name, change in self.changes().items()}, (x,))

    @torch.no_grad()
    def merge(self, network: nn.Module) -> None:
        """Add the changes to the network's own weights, and begin again at 0."""
        for name, change in self.changes().items():
            network.get_parameter(name).add_(change)
        for wide in self.wide.values():
            wide.zero_()


def matrices(network: nn.Module) -> set[str]:
    """Names of the weights of linear layers and of attention."""
    named = [(prefix, module) for prefix, module in network.named_modules() if prefix]
    linear = {f"{prefix}.weight" for prefix, module in named if isinstance(module, nn.Linear)}
    attending = {
        f"{prefix}.in_proj_weight" for prefix, module in named if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None
    }
    return linear | attending
