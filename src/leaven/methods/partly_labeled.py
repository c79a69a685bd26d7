"""What methods share that learn from labeled samples and from unlabeled ones beside them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from leaven.errors import UserError
from leaven.methods.method import Outputs, Recipe
from leaven.methods.supervised.supervised import Supervised
from leaven.modalities.modality import fitted
from leaven.modules import Teacher
from leaven.views import default_views

FEW = 0.5  # of the classes that the labels have, by their effective number
PURPOSES = {"weak": "labels", "strong": "strong"}


class PartlyLabeled(Supervised):
    """A classifier of labeled samples, and a second term of unlabeled ones. The moving average of its weights is what is kept and evaluated.

    weight: of the second term. ramp: share of the training over which that weight rises to its full size, by exp(-5 (1 - t)^2) (Laine and Aila 2017,
    section 2.1; 0: it is full at once). momentum: of the moving average. probe_first: begin the classifier as a probe on the features as they are,
    where the encoder is a trained one.
    """

    recipe = Recipe(optimizer="muon", lr=1e-2, batch=256, weight_decay=0.05, lr_rule="none")
    pools = {"labeled": 1, "unlabeled": 3}
    loss_over_batch = True
    learns_unlabeled = True
    judged_by = "cross_entropy"
    views_of_unlabeled: ClassVar[tuple[str, ...]] = ("weak", "strong")
    done: Tensor
    augment: Any
    """Views by their strength."""

    def __init__(self, encoder, data, *, weight: float, ramp: float, momentum: float, probe_first: bool = False, **supervised):
        refuse_tags(type(self), data)
        super().__init__(encoder, data, **supervised)
        self.weight, self.ramp, self.probe_first = weight, ramp, probe_first
        self.average = Teacher(self.encoder, self.classifier, momentum=momentum, rising=False, warming=True)
        self.register_buffer("done", torch.zeros((), dtype=torch.float64))
        self.augment = {name: alone(PURPOSES[name], encoder) for name in dict.fromkeys(("weak", *self.views_of_unlabeled))}

    def prepare(self, encode):
        super().prepare(encode)
        if self.probe_first:
            self.fit_probe(encode)
            self.average.network[1].load_state_dict(self.classifier.state_dict())

    def views(self, batches, draw):
        """x, label: of the labeled samples. unlabeled: views of the others, whose places in the data are `index`."""
        labeled, unlabeled = batches["labeled"], batches["unlabeled"]
        views = [self.augment[name](unlabeled["x"], draw.child("unlabeled", number))[0] for number, name in enumerate(self.views_of_unlabeled)]
        x = self.augment["weak"](labeled["x"], draw.child("labeled"))[0]
        return {"x": x, "label": labeled.label, "unlabeled": views, "index": unlabeled.index}

    def forward(self, views):
        """All views go through together, so that batch norm sees both kinds of samples."""
        logits, *unlabeled = map(self.classifier, self.encode([views["x"], *views["unlabeled"]]))
        return Outputs(logits=logits, label=views["label"], unlabeled=unlabeled, index=views["index"])

    def loss(self, outputs):
        return {"cross_entropy": self.of_labeled(outputs), "unlabeled": self.risen() * self.of_unlabeled(outputs)}

    def of_labeled(self, outputs: Outputs) -> Tensor:
        return self.nats(outputs.logits, outputs.label).mean()

    def of_unlabeled(self, outputs: Outputs) -> Tensor:
        """A mean over the whole unlabeled batch."""
        raise NotImplementedError

    def risen(self) -> float:
        """The present weight of the second term."""
        missing = 1 - min(1.0, self.done.item() / self.ramp) if self.ramp else 0.0
        return self.weight * math.exp(-5 * missing**2)

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.done.fill_(progress)

    def measures(self, outputs):
        """Of the predictions for unlabeled samples: how sure they are, and the effective number of classes among them."""
        shares = outputs.unlabeled[0].detach().softmax(1)
        return {"confidence": shares.max(1).values.mean().item(), "classes_guessed": effective_number(shares.mean(0))}

    def diagnose(self, measures):
        if measures["classes_guessed"] > FEW * self.target.names:
            return {}
        seen = f"predictions for unlabeled samples name {measures['classes_guessed']:.1f} of {self.target.names} classes (effective number)"
        usual = "usual causes: predictions that confirm each other, few labels that are not typical, or unlabeled samples of other classes"
        return {"one-sided guesses": f"{seen}; {usual}"}

    def features(self, value):
        averaged: Any = self.average.network[0]
        averaged.tokenizer = self.encoder.tokenizer  # which the encoder got after it was copied
        return averaged(fitted(value, self.encoder.input))

    def classify(self, value):
        return self.average.network[1](self.features(value)) / self.temperature

    @torch.no_grad()
    def finish(self):
        for kept, averaged in zip((self.encoder, self.classifier), self.average.network, strict=True):
            kept.load_state_dict(averaged.state_dict())


def refuse_tags(method, data):
    """UserError where samples have tags: a guess is one class."""
    if data.tag_names:
        what = f"{method.name} guesses the class of unlabeled samples, and these samples have tags"
        raise UserError(what, hint="give classes with --labels")


def alone(purpose, encoder):
    """One usual view for a purpose, as the encoder takes it."""
    return dataclasses.replace(default_views(purpose, encoder.input.modality), count=1).for_encoder(encoder)


def effective_number(shares: Float[Tensor, " classes"]) -> float:
    """The exponential of their entropy: as many as there are where all are equal, 1 where one has everything."""
    return math.exp(-(shares * shares.clamp_min(1e-12).log()).sum().item())


def sharpened(shares: Float[Tensor, "batch classes"], temperature: float) -> Float[Tensor, "batch classes"]:
    """Probabilities to the power of 1 / temperature, normalised (Berthelot et al. 2019, eq. 7)."""
    powers = shares ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)
