import torch

from leaven.data.spec import DataSpec
from leaven.errors import UserError
from leaven.methods.generative.conditional_gan import ConditionalGAN
from leaven.methods.generative.gan import GAN
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modules.adversaries import convolutional_players, dense_players, noise_size
from leaven.views import Views, default_views


class WGANGP(ConditionalGAN):
    """A critic whose slope is held near 1 measures how far samples are from the data (Gulrajani et al. 2017, eq. 3 and algorithm 1).

    The slope is that along standardised values, at points between a sample of the data and a generated one. The critic has no batch norm: its slope
    at one point would depend on the others. The networks are convolutions for pictures, and three dense layers each for plain numbers.

    noise: numbers that a sample is made of (none: as many as it has, at most 64). width: channels of the largest maps, or units of the dense layers
    (none: 64, or 256). critic_steps: turns of the critic before each of the generator. penalty: weight of the squared distance of slopes from 1.
    conditional: samples are of a class that is asked for, and each is compared with the data of its own class. momentum: of the generator's moving
    average, which makes new samples.
    """

    paper = "Improved Training of Wasserstein GANs (Gulrajani et al.)"
    year = 2017
    recipe = Recipe(lr=1e-4, batch=64, weight_decay=0.0, betas=(0.5, 0.9), lr_rule="none", schedule="constant", warmup=0.0)

    def __init__(
        self,
        data: DataSpec,
        *,
        noise: int | None = None,
        width: int | None = None,
        critic_steps: int = 5,
        penalty: float = 10.0,
        conditional: bool = False,
        momentum: float = 0.999,
        views: Views | None = None,
    ):
        input = data.roles["x"]
        Method.__init__(self, views=views or default_views(self.purpose, input.modality))
        if penalty < 0:
            raise UserError(f"penalty must be 0 or more, not {penalty}")
        self.penalty, self.learns_labels = penalty, conditional
        if conditional:
            self.condition(data)
        classes = data.classes if conditional else 0
        noise = noise_size(noise, input)
        if input.modality == "pixels":
            players = convolutional_players(input, noise, width or 64, classes, norm=False)
        else:
            players = dense_players(input, noise, (width or 256,) * 3, (width or 256,) * 3, classes)
        self.begin(noise, players, critic_steps, momentum)

    def views(self, batch, draw):
        views = GAN.views(self, batch, draw)
        label = [batch.label] if self.learns_labels else []
        return {"real": views["real"] + label, "noise": views["noise"] + label, "share": draw.child("between").uniform(len(batch))}

    def forward(self, views, player):
        (real, *label), (noise, *_) = views["real"], views["noise"]
        fake = self.generator(noise, *label)
        if player == "generator":
            return Outputs(fake=self.discriminator(fake, *label))
        fake, real = fake.detach(), self.encoder.unit(real)
        share = views["share"].view(-1, *[1] * (real.ndim - 1))
        between = (share * real + (1 - share) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(self.discriminator(between, *label).sum(), between, create_graph=True)
        slope = (gradient / self.encoder.scale).flatten(1).norm(dim=1)
        return Outputs(real=self.discriminator(real, *label), fake=self.discriminator(fake, *label), slope=slope)

    def loss(self, outputs, player):
        if player == "generator":
            return {"generator": -outputs.fake.mean()}
        return {"critic": outputs.fake.mean() - outputs.real.mean(), "penalty": self.penalty * (outputs.slope - 1).square().mean()}

    def examine(self, views):
        """As of any GAN, but for how many are told apart: a critic's scores have no zero, and it cannot be too strong."""
        measures = super().examine(views)
        del measures["told_apart"]
        return measures
