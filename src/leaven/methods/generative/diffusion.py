from typing import Literal

import torch
from torch.nn import functional as F

from leaven.encoders import UNet, build_encoder
from leaven.methods import Count, DataSpec, Method, NonNegative, Outputs, Recipe, Share
from leaven.modalities import Pixels
from leaven.modules import Teacher
from leaven.modules.noising import Noising, guided


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
        self.label_drop, self.guidance = label_drop, guidance
        self.noising = Noising(levels, schedule, sample_steps, eta=eta)
        self.average = Teacher(self.encoder, momentum=momentum, rising=False, warming=True)
        self.learns_labels = data.classes > 0 and label_drop < 1

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw.child("views"))
        count, none = len(batch), self.encoder.classes
        dropped = draw.child("labels").chance(self.label_drop, count) | (batch.label < 0)
        level, noise = draw.integers(self.noising.levels, count), draw.normal(count, *self.encoder.input.shape)
        return {"x": x, "level": level, "noise": noise, "label": batch.label.masked_fill(dropped, none)}

    def forward(self, views):
        noisy = self.noising.noisy(2 * self.encoder.unit(views["x"]) - 1, views["noise"], views["level"])
        return Outputs(predicted=self.encoder.noise(noisy, views["level"], views["label"]), noise=views["noise"])

    def loss(self, outputs):
        return {"noise": F.mse_loss(outputs.predicted, outputs.noise)}

    def chance(self, outputs):
        return 1.0

    def guided(self, noisy, level, label):
        """The noise predicted for a class, moved away from the one predicted without a class."""
        network, none = self.average.network[0], self.encoder.no_condition(len(label))
        strength = 0 if torch.equal(label, none) else self.guidance
        return guided(lambda condition: network.noise(noisy, level, condition), label, none, strength)

    def sample(self, count, draw, label=None):
        noise = draw.normal(count, *self.encoder.input.shape).to(self.encoder.scale)
        label = self.encoder.no_condition(count) if label is None else label
        pictures = self.noising.denoised(noise, lambda noisy, level: self.guided(noisy, level, label), draw)
        return Pixels(((pictures + 1) / 2).clamp(0, 1))

    def examine(self, views):
        """The loss at an eighth, three, five and seven eighths of the levels."""
        levels = self.noising.levels * torch.arange(1, 8, 2) // 8
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
