from leaven.data.spec import DataSpec
from leaven.methods.adversarial import Adversarial
from leaven.methods.method import Recipe
from leaven.modules.adversaries import convolutional_players
from leaven.views import Views


class DCGAN(Adversarial):
    """A GAN of convolutions with stride, batch norm, ReLU in the generator and leaky ReLU in the discriminator (Radford et al. 2016, section 3).

    Features are those of section 5.1: the largest values of every layer of the discriminator in each cell of a coarse grid. The discriminator reads
    real and generated pictures in separate batches, each with its own batch statistics.

    noise: numbers from which a picture is made. width: channels of the largest maps, which double as the side halves. discriminator_steps: turns of
    the discriminator before each turn of the generator. momentum: of the generator's moving average, which makes new pictures.
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
        super().__init__(convolutional_players(data.roles["x"], noise, width), discriminator_steps, momentum, views)
