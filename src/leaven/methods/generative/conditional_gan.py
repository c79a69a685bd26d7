import torch

from leaven.data.spec import DataSpec
from leaven.errors import UserError
from leaven.methods.generative.dcgan import small_weights
from leaven.methods.generative.gan import GAN
from leaven.methods.method import Method, Recipe, Stage
from leaven.modules.adversaries import convolutional_players, dense_players, noise_size
from leaven.views import Views, default_views


class ConditionalGAN(GAN):
    """A GAN whose samples are of the class that is asked for: both players know it (Mirza and Osindero 2014, eq. 2).

    The generator reads the class beside the noise, as in the paper. The discriminator compares it with its features (the projection of Miyato and
    Koyama 2018) instead of reading it, so that its encoder can be kept for samples without a class. The networks are those of dcgan for pictures, and
    three dense layers each for plain numbers. Classes of generated samples are drawn anew in every turn, as often as they are in the data.

    noise: numbers that a sample is made of (none: as many as it has, at most 64). width: channels of the largest maps, or units of the dense layers
    (none: 64, or 256). discriminator_steps: turns of the discriminator before each of the generator. momentum: of the generator's moving average,
    which makes new samples.
    """

    paper = "Conditional Generative Adversarial Nets (Mirza and Osindero)"
    year = 2014
    recipe = Recipe(lr=2e-4, batch=128, weight_decay=0.0, betas=(0.5, 0.999), lr_rule="none", schedule="constant", warmup=0.0)
    learns_labels = True

    def __init__(
        self,
        data: DataSpec,
        *,
        noise: int | None = None,
        width: int | None = None,
        discriminator_steps: int = 1,
        momentum: float = 0.999,
        views: Views | None = None,
    ):
        input = data.roles["x"]
        Method.__init__(self, views=views or default_views(self.purpose, input.modality))
        self.condition(data)
        noise = noise_size(noise, input)
        if input.modality == "pixels":
            players = convolutional_players(input, noise, width or 64, data.classes)
            for player in players:
                player.apply(small_weights)
        else:
            players = dense_players(input, noise, (width or 256,) * 3, (width or 256,) * 3, data.classes)
        self.begin(noise, players, discriminator_steps, momentum)

    def condition(self, data):
        """Learn from the labels of this data. UserError where it has none, or not of all samples."""
        if data.classes < 2 or data.labeled < data.samples:
            found = f"{data.labeled:,} of these {data.samples:,} have one" if data.labeled else "no sample has one"
            raise UserError(
                f"{self.name} needs labels of two classes or more for all samples, and {found}",
                hint="give labels with --labels, leave out the samples without, or choose a method that learns without labels",
            )
        self.register_buffer("shares", torch.full((data.classes,), 1 / data.classes))

    def stages(self):
        return (Stage(prepare=self.count if self.learns_labels else None),)

    def count(self, encode):
        """How often each class occurs."""
        label = encode(lambda batch: batch.label).long()
        self.shares.copy_(torch.bincount(label, minlength=len(self.shares)) / len(label))

    def labels(self, count, draw):
        """Classes as often as they are in the data."""
        drawn = torch.searchsorted(self.shares.cumsum(0), draw.uniform(count).to(self.shares), right=True)
        return drawn.clamp(max=len(self.shares) - 1)

    def views(self, batch, draw):
        views = super().views(batch, draw)
        return {"real": [*views["real"], batch.label], "noise": [*views["noise"], self.labels(len(batch), draw.child("labels"))]}

    def sample(self, count, draw, label=None):
        if self.learns_labels and label is None:
            label = self.labels(count, draw.child("labels"))
        return super().sample(count, draw, label)
