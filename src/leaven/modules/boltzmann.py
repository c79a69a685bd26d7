"""Restricted Boltzmann machines: two layers of units, with weights only between the layers."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.modules.units import Binary, Units

ENUMERABLE = 20  # binary units whose states can all be gone through
CHUNK = 2**12
ALMOST = 0.01  # from always off, or always on
LEGS = ((0.0, 0.5, 1 / 29), (0.5, 0.9, 8 / 29), (0.9, 1.0, 20 / 29))  # inverse temperatures: from, to, share (Salakhutdinov and Murray 2008)


class LogPartition(NamedTuple):
    """log Z in nats; its standard error (0 where log Z is exact); the effective number of independent runs."""

    value: float
    error: float = 0.0
    effective: float = math.inf


class Boltzmann(nn.Module):
    """p(v) = sum over h of exp(-E(v, h)) / Z with E(v, h) = e(v) + e(h) - b v - c h - h W v, where e = 0 for binary and s^2 / 2 for Gaussian units.

    (Welling et al. 2005.) layer: the weights W (hidden x visible) and hidden biases c, which an encoder may share; set anew, to small weights.
    """

    rest: Tensor

    def __init__(self, layer: nn.Linear, visible: Units | None = None, hidden: Units | None = None):
        super().__init__()
        self.layer, self.visible, self.hidden = layer, visible or Binary(), hidden or Binary()
        self.visible_bias = nn.Parameter(torch.zeros(layer.in_features))
        self.register_buffer("rest", torch.zeros(layer.in_features))  # visible fields that give each unit its mean over the data
        nn.init.normal_(layer.weight, std=0.01)  # Hinton 2012, section 8
        nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def settle(self, total: Float[Tensor, " visible"], samples: int) -> None:
        """Set visible biases so that each unit has its mean over the data. total: sum over the samples (Hinton 2012, section 8)."""
        self.rest.copy_(self.visible.resting(total, samples))
        self.visible_bias.copy_(self.rest)

    @torch.no_grad()
    def at_rest(self, count: int, draw: Draw) -> Float[Tensor, "count hidden"]:
        """Hidden states for independent visible units."""
        return self.up(self.visible.states(self.rest.expand(count, -1), draw.child("visible")), draw.child("hidden"))

    def hidden_field(self, visible: Float[Tensor, "batch visible"]) -> Float[Tensor, "batch hidden"]:
        return self.layer(visible).to(self.visible_bias.dtype)

    def visible_field(self, hidden: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch visible"]:
        return F.linear(hidden, self.layer.weight.T, self.visible_bias).to(self.visible_bias.dtype)

    def free_energy(self, visible: Float[Tensor, "batch visible"], field: Tensor | None = None) -> Float[Tensor, " batch"]:
        """-log of the sum over h of exp(-E(v, h)). field: of the hidden units, if it is already known."""
        field = self.hidden_field(visible) if field is None else field
        return self.visible.energy(visible) - visible.mv(self.visible_bias) - self.hidden.log_normalizer(field).sum(1)

    def hidden_free_energy(self, hidden: Float[Tensor, "batch hidden"]) -> Float[Tensor, " batch"]:
        """-log of the sum over v of exp(-E(v, h))."""
        normalizer = self.visible.log_normalizer(self.visible_field(hidden)).sum(1)
        return self.hidden.energy(hidden) - hidden.mv(self.layer.bias) - normalizer

    def up(self, visible: Float[Tensor, "batch visible"], draw: Draw | None = None) -> Float[Tensor, "batch hidden"]:
        """Hidden states: random ones, or without a draw the expected ones."""
        return self.hidden.states(self.hidden_field(visible), draw)

    def down(self, hidden: Float[Tensor, "batch hidden"], draw: Draw | None = None) -> Float[Tensor, "batch visible"]:
        """Visible states, likewise."""
        return self.visible.states(self.visible_field(hidden), draw)

    def noise(self, draw: Draw, rows: int, steps: int) -> dict[str, Tensor]:
        return {
            "hidden": self.hidden.noise(draw.child("hidden"), rows, steps, self.layer.out_features),
            "visible": self.visible.noise(draw.child("visible"), rows, steps, self.layer.in_features),
        }

    def contrast(
        self, data: Float[Tensor, "batch visible"], noise: dict[str, Tensor], chains: Float[Tensor, "batch hidden"] | None = None
    ) -> dict[str, Tensor]:
        """Free energies of samples and of the states that Gibbs sampling reaches from there, or from the hidden states of chains.

        The gradient of the difference of their means is contrastive divergence (Hinton 2002), or that of persistent chains (Tieleman 2008). Beside
        the energies: the data, those states of the model, the expected hidden states of the data, and the next states of the chains.
        """
        with torch.no_grad():
            start = self.hidden.sample(self.hidden_field(data), noise["hidden"][:, 0]) if chains is None else chains
            model = self.visible.sample(self.visible_field(start), noise["visible"][:, 0])
            for step in range(1, noise["visible"].shape[1]):
                hidden = self.hidden.sample(self.hidden_field(model), noise["hidden"][:, step])
                model = self.visible.sample(self.visible_field(hidden), noise["visible"][:, step])
        both = torch.cat([data, model])  # in one pass, whose gradient is one product as well
        field = self.hidden_field(both)
        data_energy, model_energy = self.free_energy(both, field).split(len(data))
        data_field, model_field = field.split(len(data))
        return {
            "data_energy": data_energy,
            "model_energy": model_energy,
            "data": data,
            "model": model,
            "hidden": self.hidden.mean(data_field),
            "chains": start if chains is None else self.hidden.sample(model_field.detach(), noise["hidden"][:, 0]),
        }

    @torch.no_grad()
    def measures(self, data: Float[Tensor, "batch visible"], model: Float[Tensor, "batch visible"]) -> dict[str, float]:
        """rebuilt: mean squared error of a reconstructed value. activation: mean state of the hidden units. idle_units: share of units nearly
        always in one state. energy_gap: free energy of samples minus that of the model's states, in nats per value."""
        hidden = self.up(data)
        idle = (hidden.mean(0) - hidden.mean(0).round()).abs() < ALMOST if isinstance(self.hidden, Binary) else hidden.std(0) < ALMOST
        return {
            "rebuilt": (data - self.down(self.up(data))).square().mean().item(),
            "activation": hidden.mean().item(),
            "idle_units": idle.float().mean().item(),
            "energy_gap": (self.free_energy(data).mean() - self.free_energy(model).mean()).item() / data.shape[1],
        }

    @torch.no_grad()
    def log_partition(self, draw: Draw, runs: int, temperatures: int) -> LogPartition:
        """log Z: exact where a layer of binary units can be enumerated, else estimated by annealing."""
        sides: list[tuple[int, Units, Callable]] = [
            (self.layer.in_features, self.visible, self.free_energy),
            (self.layer.out_features, self.hidden, self.hidden_free_energy),
        ]
        few = [side for side in sides if isinstance(side[1], Binary) and side[0] <= ENUMERABLE]
        if not few:
            return self.anneal(draw, runs, temperatures)
        units, _, energy = min(few, key=lambda side: side[0])
        bits = torch.arange(units, device=self.rest.device)
        numbers = torch.arange(2 ** len(bits), device=self.rest.device).split(CHUNK)
        parts = [torch.logsumexp(-energy((number[:, None] >> bits & 1).to(self.rest.dtype)).double(), 0) for number in numbers]
        return LogPartition(torch.stack(parts).logsumexp(0).item())

    @torch.no_grad()
    def anneal(self, draw: Draw, runs: int, temperatures: int) -> LogPartition:
        """Annealed importance sampling (Salakhutdinov and Murray 2008, section 4.1), from the machine at rest, whose Z is known, to this one.

        p_t(v) ~ exp(((1 - t) rest + t b) v - e(v)) times the product over hidden units of the sum over h of exp(t field h - e(h)).
        """
        base = self.rest
        betas = torch.cat([torch.linspace(low, high, max(2, round(share * temperatures))) for low, high, share in LEGS]).unique().tolist()
        shift = self.visible_bias - base
        visible = self.visible.states(base.expand(runs, -1), draw)
        weights = torch.zeros(runs, dtype=torch.float64, device=base.device)
        for before, beta in itertools.pairwise(betas):
            field = self.hidden_field(visible)
            weights += (beta - before) * (visible @ shift)
            weights += (self.hidden.log_normalizer(beta * field) - self.hidden.log_normalizer(before * field)).sum(1)
            if beta < 1:
                hidden = self.hidden.states(beta * field, draw)
                visible = self.visible.states(base + beta * (self.visible_field(hidden) - base), draw)
        start = self.visible.log_normalizer(base).sum() + self.hidden.log_normalizer(torch.zeros_like(self.layer.bias)).sum()
        relative = (weights - weights.max()).exp()
        effective = relative.sum().square() / relative.square().sum()
        error = relative.std() / relative.mean() / math.sqrt(runs)
        return LogPartition((start + weights.logsumexp(0) - math.log(runs)).item(), error.item(), effective.item())


def diagnose(measures: dict[str, float]) -> dict[str, str]:
    """Verdicts on the numbers of `Boltzmann.measures`."""
    verdicts = {}
    if measures["idle_units"] > 0.5:
        verdicts["idle hidden units"] = (
            f"{measures['idle_units']:.0%} of the hidden units are almost always off, or always on; usual causes: a learning rate that is too high, "
            "a sparsity target that is too low, or more hidden units than the data has use for"
        )
    if measures["energy_gap"] > 0.3:
        verdicts["diverging"] = (
            f"the model's own states have {measures['energy_gap']:.2f} nats per value less free energy than samples; usual causes: too high a "
            "learning rate, or chains that are stuck (more gibbs_steps help)"
        )
    return verdicts


class Chains(nn.Module):
    """Markov chains that go on from step to step (Tieleman 2008), all moved equally often; kept in checkpoints."""

    states: Tensor
    turn: Tensor

    def __init__(self, count: int, units: int):
        super().__init__()
        self.register_buffer("states", torch.zeros(count, units))
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))

    def places(self, start: int, rows: int) -> Tensor:
        return (self.turn + torch.arange(start, start + rows, device=self.turn.device)) % len(self.states)

    def rows(self, count: int, part: int = 0) -> Float[Tensor, "count units"]:
        """The chains whose turn it is, for this part of a global batch of parts of `count`."""
        return self.states[self.places(part * count, count)]

    def advance(self, states: Float[Tensor, "batch units"]) -> None:
        """The chains whose turn it is get the states of the global batch; if there are more states than chains, the first ones."""
        kept = states[: len(self.states)].to(self.states.dtype)
        self.states[self.places(0, len(kept))] = kept
        self.turn += len(states)


class Stack(nn.Module):
    """Machines on top of each other, each a model of the hidden units of the one below, trained one after another (Hinton et al. 2006).

    layers: those of an encoder, from the lowest; its features are the expected states of the uppermost units. visible, top: units at both ends (None:
    binary). gibbs_steps: rounds of Gibbs sampling in a step. chains: how many go on from step to step in each machine (0: sampling starts at the
    data). Machines are numbered from 0.
    """

    def __init__(self, layers: Iterable[nn.Linear], visible: Units | None = None, top: Units | None = None, *, gibbs_steps: int = 1, chains: int = 0):
        super().__init__()
        layers = list(layers)
        units = [visible, *[None for _ in layers[1:]], top][: len(layers) + 1]
        self.machines: Any = nn.ModuleList(Boltzmann(layer, *pair) for layer, pair in zip(layers, itertools.pairwise(units), strict=True))
        self.chains: Any = nn.ModuleList(Chains(chains, layer.out_features) for layer in layers) if chains else None
        self.gibbs_steps = gibbs_steps

    def begin(self, number: int, total: Float[Tensor, " visible"], samples: int) -> None:
        """Set the visible biases and the chains of a machine (see `Boltzmann.settle`)."""
        machine = self.machines[number]
        machine.settle(total, samples)
        if self.chains:
            states = self.chains[number].states
            states.copy_(machine.at_rest(len(states), Draw("chains", number)))

    def up(self, states: Float[Tensor, "batch visible"], number: int, draw: Draw | None = None) -> Float[Tensor, "batch units"]:
        """Visible states -> the states that this machine models: random ones, from layer to layer, or without a draw the expected ones."""
        for below, machine in enumerate(self.machines[:number]):
            states = machine.up(states, draw and draw.child("up", below))
        return states

    def down(self, states: Float[Tensor, "batch units"], number: int, draw: Draw | None = None) -> Float[Tensor, "batch visible"]:
        """Hidden states of the machine below this one -> visible states, likewise."""
        for below, machine in reversed(list(enumerate(self.machines[:number]))):
            states = machine.down(states, draw and draw.child("down", below))
        return states

    def views(self, numbers: Float[Tensor, "batch visible"], number: int, draw: Draw) -> dict[str, Any]:
        machine = self.machines[number]
        data = self.up(self.machines[0].visible.observe(numbers, draw.child("data")), number, draw)
        chains = {"chains": self.chains[number].rows(len(data), draw.part)} if self.chains else {}
        return {"data": data, "noise": machine.noise(draw, len(data), self.gibbs_steps), **chains}

    def forward(self, views: dict[str, Any], number: int) -> dict[str, Tensor]:
        return self.machines[number].contrast(**views)

    def advance(self, hidden: Float[Tensor, "batch hidden"], number: int) -> None:
        """Move the chains, once per optimiser step. hidden: states that the global batch reached."""
        if self.chains:
            self.chains[number].advance(hidden)

    def log_prob(self, states: Float[Tensor, "batch visible"], draw: Draw) -> Float[Tensor, " batch"]:
        """log p of visible states, without the uppermost machine's log Z: exact for one machine.

        For several it is log p(v, h) - log q(h | v) with one draw from q, of all hidden states but the uppermost; its mean is a lower bound
        (Salakhutdinov and Murray 2008).
        """
        nats = torch.zeros_like(states[:, 0])
        for below, machine in enumerate(self.machines[:-1]):
            field = machine.hidden_field(states)
            hidden = machine.hidden.states(field, draw.child("up", below))
            nats = nats + machine.visible.log_prob(states, machine.visible_field(hidden)) - machine.hidden.log_prob(hidden, field)
            states = hidden
        return nats - self.machines[-1].free_energy(states)

    def sample(self, count: int, draw: Draw, steps: int) -> Float[Tensor, "count visible"]:
        """New visible states: `steps` rounds of Gibbs sampling in the uppermost machine, then down."""
        top = len(self.machines) - 1
        machine = self.machines[top]
        hidden = self.chains[top].rows(count) if self.chains else machine.at_rest(count, draw.child("rest"))
        for step in range(steps):
            visible = machine.down(hidden, draw.child(step, "visible"))
            hidden = machine.up(visible, draw.child(step, "hidden"))
        return self.down(visible, top, draw)
