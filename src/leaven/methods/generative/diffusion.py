from typing import Any, Literal

import torch
from torch.nn import functional as F

from leaven.encoders import UNet, build_encoder
from leaven.errors import UserError
from leaven.methods import Count, DataSpec, Method, NonNegative, Outputs, Recipe, Share
from leaven.modalities import Pixels
from leaven.modules import Teacher

SCHEDULES = {"cosine": "squaredcos_cap_v2", "linear": "linear"}


class Diffusion(Method):
    """Predict the noise in noisy pictures; removing it step by step makes new ones (Ho et al. 2020, eq. 14; Song et al. 2021, eq. 12).

    Where samples have labels, the network is given the label of most of them, so that it can also make samples of a class (Ho and Salimans 2022, eq.
    6). Networks and noise schedules are those of the diffusers library.

    width: channels of the largest maps, a multiple of 4. blocks: residual blocks at each size of maps. levels: of noise, from hardly any to nothing
    else. schedule: how noise grows over the levels, "cosine" (Nichol and Dhariwal 2021) or "linear". label_drop: share of samples whose label the
    network is not given (1: it gets none). guidance: how strongly the class shapes samples of a class (1: as learned; more: exaggerated; 0: not at
    all). sample_steps: levels at which noise is removed, a divisor of all. eta: new noise at each of them, 0 for none (DDIM) to 1 (DDPM). momentum:
    of the network's moving average, which makes new samples.
    """

    paper = "Denoising Diffusion Probabilistic Models (Ho et al.)"
    year = 2020
    recipe = Recipe(lr=1e-3, batch=128, weight_decay=0.0, betas=(0.9, 0.999), warmup=0.02, clip=1.0)
    modality = "pixels"
    purpose = "plain"
    loss_over_batch = False
    learns_labels = True
    encoder: UNet

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        blocks: int = 1,
        levels: Count = 1000,
        schedule: Literal["cosine", "linear"] = "cosine",
        label_drop: Share = 0.1,
        guidance: NonNegative = 2.0,
        sample_steps: Count = 50,
        eta: Share = 0.0,
        momentum: float = 0.999,
    ):
        arguments = {"width": width, "blocks": blocks, "classes": data.classes, "level": levels // 50}
        super().__init__(build_encoder("unet", data.roles["x"], arguments))
        if levels % sample_steps:
            raise UserError(f"sample_steps must divide levels, and {sample_steps} does not divide {levels}")
        from diffusers import DDIMScheduler

        self.label_drop, self.guidance, self.sample_steps, self.eta = label_drop, guidance, sample_steps, eta
        most = 0.999 * levels  # the ends are those of Ho et al. for 1000 levels, and lead to equally much noise for other numbers
        ends = {"beta_start": min(0.1, most) / levels, "beta_end": min(20, most) / levels}
        shape = {"beta_schedule": SCHEDULES[schedule], "timestep_spacing": "trailing"}
        self.noising: Any = DDIMScheduler(num_train_timesteps=levels, **ends, **shape)
        self.denoising: Any = DDIMScheduler.from_config(self.noising.config)
        self.denoising.alphas_cumprod = self.noising.alphas_cumprod.double()  # fp32 rounds to roots of numbers below 0, where nearly all is noise
        self.average = Teacher(self.encoder, momentum=momentum, rising=False, warming=True)
        self.learns_labels = data.classes > 0 and label_drop < 1

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw.child("views"))
        count, none = len(batch), self.encoder.classes
        dropped = draw.child("labels").chance(self.label_drop, count) | (batch.label < 0)
        level = draw.integers(self.noising.config.num_train_timesteps, count)
        return {"x": x, "level": level, "noise": draw.normal(count, *self.encoder.input.shape), "label": batch.label.masked_fill(dropped, none)}

    def forward(self, views):
        noisy = self.noising.add_noise(2 * self.encoder.unit(views["x"]) - 1, views["noise"], views["level"])
        return Outputs(predicted=self.encoder.noise(noisy, views["level"], views["label"]), noise=views["noise"])

    def loss(self, outputs):
        return {"noise": F.mse_loss(outputs.predicted, outputs.noise)}

    def chance(self, outputs):
        return 1.0

    def guided(self, noisy, level, label):
        """The noise predicted for a class, moved away from the one predicted without a class."""
        network, none = self.average.network[0], torch.full_like(label, self.encoder.classes)
        if self.guidance == 1 or torch.equal(label, none):
            return network.noise(noisy, level, label)
        with_class, without_class = network.noise(noisy.repeat(2, 1, 1, 1), level.repeat(2), torch.cat([label, none])).chunk(2)
        return without_class + self.guidance * (with_class - without_class)

    def sample(self, count, draw, label=None):
        shape = (count, *self.encoder.input.shape)
        pictures = draw.normal(*shape).to(self.encoder.scale)
        label = torch.full((count,), self.encoder.classes, device=pictures.device) if label is None else label
        self.denoising.set_timesteps(self.sample_steps)
        with torch.no_grad():
            for level in self.denoising.timesteps.tolist():
                noise = self.guided(pictures, torch.full_like(label, level), label)
                fresh = draw.normal(*shape).to(pictures) if self.eta else None
                pictures = self.denoising.step(noise, level, pictures, eta=self.eta, variance_noise=fresh).prev_sample
        return Pixels(((pictures + 1) / 2).clamp(0, 1))

    def examine(self, views):
        """The loss at an eighth, three, five and seven eighths of the levels."""
        levels = self.noising.config.num_train_timesteps * torch.arange(1, 8, 2) // 8
        which = torch.arange(len(views["level"])) % len(levels)
        outputs = self({**views, "level": levels[which].to(views["level"])})
        error = (outputs.predicted - outputs.noise).square().mean((1, 2, 3)).cpu()
        return {f"loss_at_{level}": error[which == number].mean().item() for number, level in enumerate(levels.tolist())}

    def diagnose(self, measures):
        worst = max((name for name in measures if name.startswith("loss_at_")), key=lambda name: measures[name])
        if measures[worst] <= 1:
            return {}
        why = f"at level {worst.rpartition('_')[2]} the squared error is {measures[worst]:.2f} times that of predicting no noise at all"
        return {"noise not found": f"{why}; usual causes: too high a learning rate, or pictures that are noise themselves"}
