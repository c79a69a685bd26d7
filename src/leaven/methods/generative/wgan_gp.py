import torch

from leaven.methods import Count, DataSpec, NonNegative, Outputs, Recipe
from leaven.methods.adversarial import Adversarial
from leaven.methods.generative.conditional_gan import check_labels
from leaven.modules.adversaries import usual_players


class WGANGP(Adversarial):
    """A critic whose slope is held near 1 measures how far samples are from the data (Gulrajani et al. 2017, eq. 3 and algorithm 1).

    The slope is the gradient's length over standardised values, at points between a sample of the data and a generated one. The critic has no batch
    norm, with which its slope at one point would depend on the others. The networks are convolutions for pictures, and three dense layers each for
    plain numbers.

    noise: numbers from which a sample is made (none: as many as a sample has, at most 64). width: channels of the largest maps, or units of the dense
    layers (none: 64, or 256). critic_steps: turns of the critic before each turn of the generator. penalty: weight of the squared distance of slopes
    from 1. conditional: make samples of a requested class, and compare each with the data of its own class.
    """

    paper = "Improved Training of Wasserstein GANs (Gulrajani et al.)"
    year = 2017
    recipe = Recipe(lr=1e-4, batch=64, weight_decay=0.0, betas=(0.5, 0.9), lr_rule="none", schedule="constant", warmup=0.0)
    learns_labels = True
    without = ("discriminator_steps",)

    def __init__(
        self,
        data: DataSpec,
        *,
        noise: int | None = None,
        width: int | None = None,
        critic_steps: Count = 5,
        penalty: NonNegative = 10.0,
        conditional: bool = False,
        **adversarial,
    ):
        if conditional:
            check_labels(data, self.name)
        players = usual_players(data.roles["x"], noise, width, data.classes if conditional else 0, norm=False)
        super().__init__(players, discriminator_steps=critic_steps, **adversarial)
        self.penalty = penalty

    def views(self, batch, draw):
        views = super().views(batch, draw)
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
        """Those of any GAN, without the share that is judged rightly: a critic's scores have no zero, and a critic cannot be too strong."""
        measures = super().examine(views)
        del measures["told_apart"]
        return measures
