from leaven.methods import DataSpec, Recipe
from leaven.methods.adversarial import Adversarial
from leaven.modules.adversaries import convolutional_players


class DCGAN(Adversarial):
    """A GAN of convolutions with stride, batch norm, ReLU in the generator and leaky ReLU in the discriminator (Radford et al. 2016, section 3).

    Features are those of section 5.1: the largest values of every layer of the discriminator in each cell of a coarse grid. The discriminator reads
    real and generated pictures in separate batches, each with its own batch statistics.

    noise: numbers from which a picture is made. width: channels of the largest maps, which double as the side halves.
    """

    paper = "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks (Radford et al.)"
    year = 2016
    recipe = Recipe(lr=2e-4, batch=128, weight_decay=0.0, betas=(0.5, 0.999), lr_rule="none", schedule="constant", warmup=0.0)
    modality = "pixels"

    def __init__(self, data: DataSpec, *, noise: int = 100, width: int = 64, **adversarial):
        super().__init__(convolutional_players(data.roles["x"], noise, width), **adversarial)
