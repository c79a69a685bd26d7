"""Noise of many levels in samples, and how it is removed again: what diffusion models share. The schedules are those of the diffusers library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError

Condition = TypeVar("Condition")
Predicted = Literal["noise", "sample", "velocity"]
PREDICTED = {"noise": "epsilon", "sample": "sample", "velocity": "v_prediction"}
SCHEDULES = {"cosine": "squaredcos_cap_v2", "linear": "linear"}


class Noising:
    """Levels of noise, from hardly any to nothing else (Ho et al. 2020, eq. 4), and the way back (Song et al. 2021, eq. 12).

    levels: how many. schedule: how noise grows over them, "cosine" (Nichol and Dhariwal 2021) or "linear". steps: levels at which it is removed, a
    divisor of all. eta: new noise at each of them, 0 for none (DDIM) to 1 (DDPM). predicts: what a network says of noisy samples: the "noise", the
    "sample" without it, or the "velocity" between both, which says as much of either at every level (Salimans and Ho 2022, section 4). bounded:
    whether samples lie in -1 to 1.
    """

    def __init__(self, levels: int, schedule: str, steps: int, *, eta: float = 0.0, predicts: Predicted = "noise", bounded: bool = True):
        if levels % steps:
            raise UserError(f"sample_steps must divide levels, and {steps} does not divide {levels}")
        from diffusers import DDIMScheduler

        self.levels, self.steps, self.eta, self.predicts = levels, steps, eta, predicts
        most = 0.999 * levels  # the ends are those of Ho et al. for 1000 levels, and lead to equally much noise for other numbers
        ends = {"beta_start": min(0.1, most) / levels, "beta_end": min(20, most) / levels}
        shape = {"beta_schedule": SCHEDULES[schedule], "timestep_spacing": "trailing"}
        samples = {"prediction_type": PREDICTED[predicts], "clip_sample": bounded}
        self.forth = cast(Any, DDIMScheduler(num_train_timesteps=levels, **ends, **shape, **samples))
        self.back = cast(Any, DDIMScheduler.from_config(self.forth.config))
        self.back.alphas_cumprod = self.forth.alphas_cumprod.double()  # fp32 rounds to roots of numbers below 0, where nearly all is noise

    @property
    def kept(self) -> Float[Tensor, " levels"]:
        """How much of a sample's variance is left at each level."""
        return self.forth.alphas_cumprod

    def noisy(self, sample: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."], level: Int64[Tensor, " batch"]) -> Tensor:
        return self.forth.add_noise(sample, noise, level)

    def target(self, sample: Float[Tensor, "batch ..."], noise: Float[Tensor, "batch ..."], level: Int64[Tensor, " batch"]) -> Tensor:
        """What the network should say of a noisy sample."""
        return self.forth.get_velocity(sample, noise, level) if self.predicts == "velocity" else noise if self.predicts == "noise" else sample

    @torch.no_grad()
    def denoised(self, noise: Float[Tensor, "batch ..."], predict: Callable[[Tensor, Tensor], Tensor], draw: Draw) -> Tensor:
        """Samples from pure noise. predict: what the network says of noisy samples at their levels. draw: of new noise, where there is some."""
        self.back.set_timesteps(self.steps)
        sample = noise
        for level in self.back.timesteps.tolist():
            predicted = predict(sample, torch.full((len(sample),), level, device=sample.device))
            fresh = draw.normal(*sample.shape).to(sample) if self.eta else None
            sample = self.back.step(predicted, level, sample, eta=self.eta, variance_noise=fresh).prev_sample
        return sample


def guided(predict: Callable[[Condition], Tensor], condition: Condition, none: Condition, strength: float) -> Tensor:
    """What a network predicts under a condition, moved away from what it predicts under none (Ho and Salimans 2022, eq. 6).

    strength: 1 for the prediction under the condition, more to exaggerate it, 0 for that under none.
    """
    if strength in (0, 1):
        return predict(condition if strength else none)
    without = predict(none)
    return without + strength * (predict(condition) - without)
