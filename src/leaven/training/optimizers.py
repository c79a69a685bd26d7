"""Optimisers by name, and which parameters get which settings."""

import fnmatch
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from leaven.errors import UserError
from leaven.methods.method import Method, Recipe, Rule
from leaven.training.plan import rate_factor, scaled_rate


class LARS(torch.optim.Optimizer):
    """SGD with momentum whose rate is adapted for each layer (You et al. 2017): lr * trust * |w| / |g + decay * w|.

    Groups with `adapt=False` (biases and norms) are not adapted, whatever their weight decay.
    """

    def __init__(self, params: Any, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 1e-3, adapt: bool = True):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": adapt})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad.add(parameter, alpha=group["weight_decay"])
                if group["adapt"]:
                    weight, length = parameter.norm(), update.norm()
                    adapted = group["trust"] * weight / length
                    update.mul_(torch.where((weight > 0) & (length > 0), adapted, torch.ones_like(adapted)))
                state = self.state[parameter]
                momentum = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
                momentum.mul_(group["momentum"]).add_(update)
                parameter.add_(momentum, alpha=-group["lr"])


def undecayed(method: nn.Module) -> set[str]:
    """Names of parameters without weight decay beyond biases and norms: what modules declare with `no_weight_decay()`, as timm's do."""
    declaring: dict[str, Any] = {prefix: module for prefix, module in method.named_modules() if hasattr(module, "no_weight_decay")}
    return {f"{prefix}.{name}".lstrip(".") for prefix, module in declaring.items() for name in module.no_weight_decay()}


def parameter_groups(method: Method, recipe: Recipe, modules: Iterable[nn.Module] | None = None) -> list[dict[str, Any]]:
    """Trainable parameters by what they share: decayed or not, multiplied or looked up, and the method's rule for their name or its prefix.

    Each group has lr_scale and constant (no schedule), which the loop turns into a rate, and tells whether it is of matrices that multiply, as those
    of embeddings do not. `modules` narrows to what a stage or player trains.
    """
    chosen = None if modules is None else {id(parameter) for module in modules for parameter in module.parameters()}
    exempt = undecayed(method)
    embeddings = [module for module in method.modules() if isinstance(module, nn.Embedding)] if recipe.optimizer == "muon" else []
    looked_up = {id(module.weight) for module in embeddings}  # only Muon moves them otherwise than what multiplies
    groups: dict[tuple[Rule, bool, bool], dict[str, Any]] = {}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad or (chosen is not None and id(parameter) not in chosen):
            continue
        prefix = next((prefix for prefix in method.rules if name.startswith(prefix) or fnmatch.fnmatch(name, prefix)), "")
        rule = method.rules.get(name) or method.rules.get(prefix, Rule())
        decays = parameter.ndim > 1 and name not in exempt
        decay = (recipe.weight_decay if rule.weight_decay is None else rule.weight_decay) if decays else 0.0
        multiplies = decays and id(parameter) not in looked_up
        empty = {
            "params": [], "weight_decay": decay, "lr_scale": rule.lr_scale, "constant": rule.constant, "adapt": decays, "multiplies": multiplies
        }  # fmt: skip
        groups.setdefault((rule, decays, multiplies), empty)["params"].append(parameter)
    return list(groups.values())


def build_optimizer(recipe: Recipe, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """adamw; muon (orthogonalised momentum for matrices and convolutions, Jordan et al. 2024, AdamW at a tenth of the rate for embeddings, biases and
    norms); sgd; lars.
    """
    if not groups:
        raise ValueError("nothing to train")
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=recipe.betas, fused=True)
    if recipe.optimizer == "sgd":
        sgd = torch.optim.SGD(groups, lr=lr, momentum=recipe.momentum, fused=True)
        for group in groups:  # its kernel wants a buffer of all or of none, and gradients may begin later
            for parameter in group["params"]:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    if recipe.optimizer == "lars":
        return LARS(groups, lr=lr, momentum=recipe.momentum)
    from timm.optim import Muon

    for group in groups:
        group["use_fallback"] = not group["multiplies"]
    return Muon(groups, lr=lr, momentum=recipe.momentum, nesterov=True, fallback_lr_scale=0.1, betas=recipe.betas)


def restore(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state, each slot in the memory layout of its parameter: fused kernels want one layout for both.

    Raises UserError for that of other parameters.
    """
    try:
        optimizer.load_state_dict(state)
    except ValueError as error:
        raise UserError(
            f"this checkpoint's optimiser has other parameters ({error})", hint="it was begun by another version: begin anew with another --out"
        ) from error
    for parameter, slots in optimizer.state.items():
        for name, slot in slots.items():
            if isinstance(slot, Tensor) and slot.shape == parameter.shape:
                slots[name] = torch.empty_like(parameter, dtype=slot.dtype).copy_(slot)


class Optimizers:
    """What moves the parameters of one stage: one optimiser, or one for each player.

    batch: the global one, which the learning rate follows. trains: the modules that move (None: all); parameters of others take no gradient.
    """

    def __init__(self, method: Method, recipe: Recipe, batch: int, trains: Iterable[nn.Module] | None = None):
        self.recipe, self.base_rate = recipe, scaled_rate(recipe.lr, batch, recipe.batch, recipe.lr_rule)
        self.trainable = [parameter for parameter in method.parameters() if parameter.requires_grad]
        self.moving: dict[str, list[nn.Parameter]] = {}
        self.by_player: dict[str, torch.optim.Optimizer] = {}
        for player in dict.fromkeys(method.players or ("",)):
            groups = parameter_groups(method, recipe, (getattr(method, player),) if player else trains)
            self.moving[player] = [parameter for group in groups for parameter in group["params"]]
            self.by_player[player] = build_optimizer(recipe, groups, self.base_rate)
        if trains is not None:
            self._let_move(*self.moving)

    def _let_move(self, *players: str) -> None:
        moving = {id(parameter) for player in players for parameter in self.moving[player]}
        for parameter in self.trainable:
            parameter.requires_grad_(id(parameter) in moving)

    def begin(self, player: str) -> None:
        """No gradients yet, and in a player's turn none for the others' parameters."""
        if player:
            self._let_move(player)
        self.by_player[player].zero_grad()

    def gradient_norm(self, player: str) -> Tensor:
        """Length of all gradients together."""
        return torch.nn.utils.get_total_norm([parameter.grad for parameter in self.moving[player] if parameter.grad is not None])

    def step(self, player: str, norm: Tensor, progress: float) -> None:
        """Move by the gradients, clipped where the recipe says so. norm: their length; progress: the share (0-1) of the stage that is done."""
        factor = rate_factor(progress, self.recipe.warmup, self.recipe.schedule)
        for group in self.by_player[player].param_groups:
            group["lr"] = self.base_rate * group["lr_scale"] * (1.0 if group["constant"] else factor)
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.moving[player], self.recipe.clip, norm)
        self.by_player[player].step()

    @property
    def rate(self) -> float:
        """The highest learning rate of the last step."""
        return max(group["lr"] for optimizer in self.by_player.values() for group in optimizer.param_groups)

    def release(self) -> None:
        """Let all parameters take gradients again."""
        for parameter in self.trainable:
            parameter.requires_grad_(True)

    def state_dict(self) -> dict[str, Any]:
        return {player: optimizer.state_dict() for player, optimizer in self.by_player.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for player, stored in state.items():
            restore(self.by_player[player], stored)
