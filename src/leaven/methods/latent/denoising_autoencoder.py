from typing import Literal

import torch

from leaven.errors import UserError
from leaven.methods import Encoder, NonNegative
from leaven.methods.latent.autoencoder import Autoencoder

Noise = Literal["mask", "gaussian", "salt_and_pepper"]


class DenoisingAutoencoder(Autoencoder):
    """Rebuild a sample from a corrupted copy (Vincent et al. 2010, section 3.3).

    noise: "mask" hides values (pixels become black, plain numbers their mean, counts 0), "gaussian" adds noise to all values, "salt_and_pepper" sets
    values to one end of their range or the other (plain numbers: two deviations from their mean); counts only take "mask". amount: share of values
    that are hidden or set (0 to 1), or deviation of the added noise (from 0; for plain numbers in units of theirs).
    """

    paper = "Stacked Denoising Autoencoders: Learning Useful Representations in a Deep Network with a Local Denoising Criterion (Vincent et al.)"
    year = 2010

    def __init__(self, encoder: Encoder, *, noise: Noise = "mask", amount: NonNegative = 0.25, **autoencoder):
        if not encoder.modality.continuous and noise != "mask":
            raise UserError(f"{noise} noise does not fit {encoder.modality.name} data", hint="use --set noise=mask, which hides some values")
        super().__init__(encoder, **autoencoder)
        check_amount(noise, amount)
        self.noise, self.amount = noise, amount

    def views(self, batch, draw):
        views = super().views(batch, draw)
        return {**views, "x": self.corrupted(views["x"], draw.child("noise"))}

    def corrupted(self, x, draw):
        modality = self.encoder.modality
        if modality.bounded or not modality.continuous:
            return modality.of_numbers(corrupted(modality.numbers(x), self.noise, self.amount, draw), self.encoder.input)
        standardized = corrupted(self.encoder.normalize(x), self.noise, self.amount, draw, low=-2.0, high=2.0)
        return modality.of_standardized(standardized, self.encoder.input, self.encoder.scale, self.encoder.shift)


def check_amount(noise, amount):
    if noise != "gaussian" and amount > 1:
        raise UserError(f"amount must be from 0 to 1, not {amount}")


def corrupted(numbers, noise, amount, draw, low=0.0, high=1.0):
    """Numbers with noise; hidden numbers are 0."""
    if noise == "gaussian":
        return numbers + amount * draw.normal(*numbers.shape).to(numbers)
    chance = draw.uniform(*numbers.shape).to(numbers)
    if noise == "mask":
        return numbers * (chance >= amount)
    return torch.where(chance < amount, torch.where(chance < amount / 2, low, high), numbers)
