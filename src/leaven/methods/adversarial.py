"""What adversarial methods share: two players in turn, labels where the players know classes, and what shows that the game goes wrong."""

import torch
from torch.nn import functional as F

from leaven.methods import Count, Method, Outputs, ShareBelowOne, Stage
from leaven.modules import Teacher
from leaven.modules.adversaries import deviation, energy_distance
from leaven.views import default_views

JUDGED_FROM = 200  # turns of the generator: before that, its samples are still noise, and far from their own moving average
COLLAPSED, TOO_STRONG, FAR, DRIFTING = 0.3, 0.99, 0.1, 0.5


class Adversarial(Method):
    """A generator makes samples from noise, a discriminator tells them from the data, and each learns against the other, one turn per step.

    Where the players know classes, `label` says of which class a sample is.

    discriminator_steps: turns of the discriminator before each turn of the generator. momentum: of the generator's moving average, which makes new
    samples.
    """

    purpose = "plain"
    needs = ("continuous",)
    shapes_features = False
    loss_over_batch = False
    judged_by = "sample_distance"

    def __init__(self, players, *, discriminator_steps: Count = 1, momentum: ShareBelowOne = 0.999):
        generator, discriminator = players
        super().__init__(views=default_views(self.purpose, discriminator.encoder.input.modality))
        self.generator, self.discriminator = generator, discriminator
        self.average = Teacher(self.generator, momentum=momentum, rising=False, warming=True)
        self.players = ("discriminator",) * discriminator_steps + ("generator",)
        self.learns_labels = generator.classes > 0
        if self.learns_labels:
            self.register_buffer("shares", torch.full((generator.classes,), 1 / generator.classes))

    @property
    def encoder(self):
        return self.discriminator.encoder

    def stages(self):
        return (Stage(prepare=self.count if self.learns_labels else None),)

    def count(self, encode):
        """Measure how often each class occurs."""
        label = encode(lambda batch: batch.label).long()
        self.shares.copy_(torch.bincount(label, minlength=len(self.shares)) / len(label))

    def labels(self, count, draw):
        """Random classes, each as often as in the data."""
        labels = torch.searchsorted(self.shares.cumsum(0), draw.uniform(count).to(self.shares), right=True)
        return labels.clamp(max=len(self.shares) - 1)

    def views(self, batch, draw):
        (real,) = self.augment(batch["x"], draw.child("views"))
        return {"real": [real], "noise": [draw.normal(len(batch), self.generator.noise)]}

    def forward(self, views, player):
        noise, *label = views["noise"]
        fake = self.generator(noise, *label)
        if player == "generator":
            return Outputs(fake=self.discriminator(fake, *label))
        return Outputs(real=self.discriminator(*views["real"]), fake=self.discriminator(fake.detach(), *label))

    def loss(self, outputs, player):
        """The discriminator maximises log D(real) + log(1 - D(fake)), the generator log D(fake)."""
        if player == "generator":
            return {"generator": F.softplus(-outputs.fake).mean()}
        return {"discriminator": F.softplus(-outputs.real).mean() + F.softplus(outputs.fake).mean()}

    def after_step(self, outputs, progress):
        if "real" not in outputs:  # the average moves with the generator
            super().after_step(outputs, progress)

    def sample(self, count, draw, label=None):
        if self.learns_labels and label is None:
            label = self.labels(count, draw.child("labels"))
        noise = draw.normal(count, self.generator.noise).to(self.generator.center)
        numbers = self.average(noise) if label is None else self.average(noise, label)
        return self.encoder.modality.of_numbers(numbers, self.encoder.input)

    def examine(self, views):
        """How generated samples compare with the data: the share that the discriminator judges rightly, their spread and their distance relative to
        the data, and how far the generator's mean is from that of its moving average."""
        noise, *label = views["noise"]
        fake, steady = self.generator(noise, *label), self.average(noise, *label)
        real_score, fake_score = self.discriminator(*views["real"]), self.discriminator(fake, *label)
        x, y, z = (self.encoder.normalize(samples).float().flatten(1) for samples in (views["real"][0], fake, steady))
        return {
            "told_apart": ((real_score > 0).float().mean() + (fake_score <= 0).float().mean()).item() / 2,
            "sample_spread": deviation(y) / deviation(x),
            "sample_distance": energy_distance(x, y),
            "sample_drift": (y.mean(0) - z.mean(0)).norm().item() / deviation(x),
        }

    def diagnose(self, measures):
        if self.average.updates < JUDGED_FROM:
            return {}
        verdicts = {}
        if measures["sample_spread"] < COLLAPSED:
            verdicts["mode collapse"] = (
                f"generated samples spread {measures['sample_spread']:.2f} times as far as the data; usual causes: too high a learning rate, too few "
                "turns of the discriminator, or a generator much stronger than it; wgan_gp seldom does this"
            )
        if measures.get("told_apart", 0) > TOO_STRONG and measures["sample_distance"] > FAR:  # it may be sure of near samples and still teach
            verdicts["discriminator too strong"] = (
                f"it judges {measures['told_apart']:.1%} of the samples rightly, while generated ones stay at a distance of "
                f"{measures['sample_distance']:.2f} from the data (0: alike, 1: far): the generator learns little from it; usual causes: too many "
                "turns or too high a learning rate of the discriminator, a saturating loss, or a generator too small for the data"
            )
        if measures["sample_drift"] > DRIFTING:
            verdicts["oscillating"] = (
                f"the mean of the generated samples is {measures['sample_drift']:.2f} of the data's deviation away from its own moving average: the "
                "players chase each other in circles; usual causes: too high a learning rate or momentum (recipe.lr, recipe.betas), or too small a "
                "batch"
            )
        return verdicts
