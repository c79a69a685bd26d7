from leaven.errors import UserError
from leaven.methods import DataSpec, Recipe
from leaven.methods.adversarial import Adversarial
from leaven.modules.adversaries import usual_players


class ConditionalGAN(Adversarial):
    """A GAN that makes samples of a requested class: both players know the class (Mirza and Osindero 2014, eq. 2).

    The generator reads the class beside the noise, as in the paper. The discriminator compares the class with its features (the projection of Miyato
    and Koyama 2018) instead of reading it, so that its encoder also works on samples without a class. The networks are those of dcgan for pictures,
    and three dense layers each for plain numbers. The classes of generated samples are drawn anew in every turn, as often as they occur in the data.

    noise: numbers from which a sample is made (none: as many as a sample has, at most 64). width: channels of the largest maps, or units of the dense
    layers (none: 64, or 256).
    """

    paper = "Conditional Generative Adversarial Nets (Mirza and Osindero)"
    year = 2014
    recipe = Recipe(lr=2e-4, batch=128, weight_decay=0.0, betas=(0.5, 0.999), lr_rule="none", schedule="constant", warmup=0.0)
    learns_labels = True

    def __init__(self, data: DataSpec, *, noise: int | None = None, width: int | None = None, **adversarial):
        check_labels(data, self.name)
        super().__init__(usual_players(data.roles["x"], noise, width, data.classes), **adversarial)

    def views(self, batch, draw):
        views = super().views(batch, draw)
        return {"real": [*views["real"], batch.label], "noise": [*views["noise"], self.labels(len(batch), draw.child("labels"))]}


def check_labels(data, name):
    """UserError unless every sample of this data has a label, of two classes or more."""
    if data.classes < 2 or data.labeled < data.samples:
        labeled = f"{data.labeled:,} of these {data.samples:,} have one" if data.labeled else "no sample has one"
        raise UserError(
            f"{name} needs labels of two classes or more for all samples, and {labeled}",
            hint="give labels with --labels, leave out the samples without a label, or choose a method that learns without labels",
        )
