from torch.nn import functional as F

from leaven.methods import DataSpec, Recipe
from leaven.methods.adversarial import Adversarial
from leaven.modules.adversaries import dense_players


class GAN(Adversarial):
    """One network makes samples from noise, another tells them from the data, each against the other (Goodfellow et al. 2014, eq. 1, algorithm 1).

    Both are fully connected. Each step is a turn of one of them. New samples come from a moving average of the generator.

    noise: numbers from which a sample is made (none: as many as a sample has, at most 64). generator, discriminator: widths of their hidden layers;
    the last one of the discriminator gives the features. discriminator_steps: turns of the discriminator before each turn of the generator, the
    paper's k. saturating: the generator minimises log(1 - D), as in equation 1, whose gradient vanishes while the discriminator is sure; otherwise it
    maximises log D.
    """

    paper = "Generative Adversarial Networks (Goodfellow et al.)"
    year = 2014
    recipe = Recipe(lr=5e-4, batch=128, weight_decay=0.0, betas=(0.5, 0.999), lr_rule="none", schedule="constant", warmup=0.0)

    def __init__(
        self,
        data: DataSpec,
        *,
        noise: int | None = None,
        generator: tuple[int, ...] = (256, 256),
        discriminator: tuple[int, ...] = (256, 256),
        saturating: bool = False,
        **adversarial,
    ):
        super().__init__(dense_players(data.roles["x"], noise, generator, discriminator), **adversarial)
        self.saturating = saturating

    def loss(self, outputs, player):
        if player == "generator" and self.saturating:
            return {"generator": -F.softplus(outputs.fake).mean()}
        return super().loss(outputs, player)
