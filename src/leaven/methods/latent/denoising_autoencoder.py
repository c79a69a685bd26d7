import torch

from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.methods.latent.autoencoder import Autoencoder
from leaven.modalities import Counts, Pixels, Vector
from leaven.views import Views

NOISES = ("mask", "gaussian", "salt_and_pepper")


class DenoisingAutoencoder(Autoencoder):
    """Rebuild a sample from a corrupted one (Vincent et al. 2010, section 3.3).

    noise: "mask" hides values (pixels become black, plain numbers their mean, counts 0), "gaussian" adds to all of them, "salt_and_pepper" sets
    values to one end of their range or the other (plain numbers: two deviations from their mean); counts take "mask" alone. amount: share of values
    that are hidden or set (0 to 1), or deviation of what is added (from 0; for plain numbers in units of theirs). code: numbers in the code.
    likelihood: of a sample given what is rebuilt, "bernoulli", "gaussian", "categorical" or "multinomial"; "auto" chooses by the data.
    """

    paper = "Stacked Denoising Autoencoders: Learning Useful Representations in a Deep Network with a Local Denoising Criterion (Vincent et al.)"
    year = 2010

    def __init__(
        self, encoder: Encoder, *, noise: str = "mask", amount: float = 0.25, code: int = 32, likelihood: str = "auto", views: Views | None = None
    ):
        if encoder.input.modality == "counts" and noise != "mask":
            raise UserError(f"counts are corrupted by hiding some, not by {noise} noise", hint="use --set noise=mask")
        super().__init__(encoder, code=code, likelihood=likelihood, views=views)
        self.noise, self.amount = check_noise(noise, amount)

    def views(self, batch, draw):
        views = super().views(batch, draw)
        return {**views, "x": self.corrupted(views["x"], draw.child("noise"))}

    def corrupted(self, x, draw):
        if isinstance(x, Pixels):
            return Pixels(corrupted(x.unit(), self.noise, self.amount, draw).clamp_(0, 1))
        if isinstance(x, Counts):
            return Counts(corrupted(x.counts, self.noise, self.amount, draw))
        plain = corrupted(self.encoder.normalize(x), self.noise, self.amount, draw, low=-2.0, high=2.0)
        return Vector((plain - self.encoder.shift) / self.encoder.scale)


def check_noise(noise, amount):
    if noise not in NOISES:
        raise UserError(f"no noise is named {noise!r}", hint=f"choose {', '.join(NOISES)}")
    if amount < 0 or (noise != "gaussian" and amount > 1):
        raise UserError(f"amount must be {'0 or more' if noise == 'gaussian' else 'from 0 to 1'}, not {amount}")
    return noise, amount


def corrupted(numbers, noise, amount, draw, low=0.0, high=1.0):
    """Numbers with noise; what is hidden is 0."""
    if noise == "gaussian":
        return numbers + amount * draw.normal(*numbers.shape).to(numbers)
    chance = draw.uniform(*numbers.shape).to(numbers)
    if noise == "mask":
        return numbers * (chance >= amount)
    return torch.where(chance < amount, torch.where(chance < amount / 2, low, high), numbers)
