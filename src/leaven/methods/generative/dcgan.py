from torch import nn

from leaven.data.spec import DataSpec
from leaven.methods.generative.gan import GAN
from leaven.methods.method import Method, Recipe
from leaven.modules.adversaries import convolutional_players, noise_size
from leaven.views import Views, default_views


class DCGAN(GAN):
    """A GAN of convolutions with stride, batch norm, ReLU in the generator and leaky ReLU in the discriminator (Radford et al. 2016, section 3).

    Features are those of section 5.1: the largest values of every layer of the discriminator in each cell of a coarse grid. Real and generated
    pictures go through the discriminator apart, each with batch statistics of their own.

    noise: numbers that a picture is made of. width: channels of the largest maps, which double as their side halves. discriminator_steps: turns of
    the discriminator before each of the generator. momentum: of the generator's moving average, which makes new pictures.
    """

    paper = "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks (Radford et al.)"
    year = 2016
    recipe = Recipe(lr=2e-4, batch=128, weight_decay=0.0, betas=(0.5, 0.999), lr_rule="none", schedule="constant", warmup=0.0)
    modality = "pixels"

    def __init__(
        self,
        data: DataSpec,
        *,
        noise: int = 100,
        width: int = 64,
        discriminator_steps: int = 1,
        momentum: float = 0.999,
        views: Views | None = None,
    ):
        Method.__init__(self, views=views or default_views(self.purpose, "pixels"))
        players = convolutional_players(data.roles["x"], noise_size(noise, data.roles["x"]), width)
        for player in players:
            player.apply(small_weights)
        self.begin(noise, players, discriminator_steps, momentum)


def small_weights(module):
    """Weights of deviation 0.02 around 0, or around 1 where they scale what batch norm gives (section 4)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
