"""What methods of two senses share: an encoder for each, and a space in which both are compared."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.methods.method import Method, Outputs
from leaven.views import default_views

LARGEST_SCALE = 100.0
ALIKE = 0.5  # share of the other samples of a batch that belong to one just as well, from which little is left to tell apart


class Towers(Method):
    """Two inputs of a sample, each through its encoder and a linear layer, as unit vectors of one space. Samples of which either input has the same
    content belong together.

    dim: length of the vectors. scale: what their products are multiplied by at the start; it is learned. locked: the inputs whose encoders do not
    learn, with commas between them.
    """

    purpose = "labels"
    augment: Any
    """Views by input."""

    def __init__(self, encoders, dim, scale, locked):
        super().__init__()
        self.senses, self.locked = nn.ModuleDict(encoders), [role.strip() for role in locked.split(",") if role.strip()]
        if unknown := [role for role in self.locked if role not in encoders]:
            raise UserError(f"no input is called {unknown[0]!r}", where="locked", hint=f"choose from {', '.join(encoders)}")
        self.augment = {role: views_for_input(encoder) for role, encoder in encoders.items()}
        self.projectors = nn.ModuleDict({role: nn.Linear(encoder.dim, dim, bias=False) for role, encoder in encoders.items()})
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        for role in self.locked:
            self.senses[role].requires_grad_(False)

    @classmethod
    def inputs(cls, data):
        if len(data.inputs) != 2:
            there = f"{len(data.inputs)}: {', '.join(data.inputs)}"
            hint = "name two columns, as in --columns image=COLUMN,text=COLUMN"
            raise UserError(f"{cls.name} learns from two inputs of a sample, and this data has {there}", hint=hint)
        return dict.fromkeys(data.inputs, cls.wants)

    def no_weight_decay(self):
        return {"log_scale"}

    def train(self, mode=True):
        super().train(mode)
        for role in self.locked:
            self.senses[role].eval()
        return self

    def views(self, batch, draw):
        """views: of each input. same: numbers that are equal where the content is."""
        views = {role: augment(batch[role], draw.child(role))[0] for role, augment in self.augment.items()}
        return {"views": views, "same": [batch[role].keys() for role in views]}

    def forward(self, views):
        features = {role: self.senses[role](view) for role, view in views["views"].items()}
        return Outputs(embeddings=self.embedded(features), same=views["same"])

    def embedded(self, features):
        return [F.normalize(self.projectors[role](feature).float(), dim=1, eps=1e-6) for role, feature in features.items()]

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.bound_scale()

    @torch.no_grad()
    def bound_scale(self):
        self.log_scale.clamp_(0, math.log(LARGEST_SCALE))

    @torch.no_grad()
    def adopt_space(self, space, scale=None):
        if any(projector.weight.shape != self.projectors[role].weight.shape for role, projector in space.items()):
            return False
        for role, projector in space.items():
            self.projectors[role].load_state_dict(projector.state_dict())
        if scale is not None:
            self.log_scale.fill_(math.log(scale))
        return True

    def measures(self, outputs):
        """The learned scale; for how many of the other samples of its batch a sample is right as well; and how often a sample's own partner, or one
        of the same content, is the nearest."""
        first, second = outputs.embeddings
        together = belonging(outputs.same)
        nearest = (first @ second.T).argmax(1, keepdim=True)
        return {
            "scale": self.log_scale.exp().item(),
            "alike": ((together.sum() - len(first)) / max(1, len(first) * (len(first) - 1))).item(),
            "identified": together.gather(1, nearest).float().mean().item(),
        }

    def diagnose(self, measures):
        verdicts = {}
        if measures["alike"] >= ALIKE:
            share = f"{100 * measures['alike']:.0f} % of the other samples of a batch have the same content in one of the inputs"
            verdicts["repeated content"] = f"{share}; usual causes: one caption for many pictures, or a column of classes"
        if measures["scale"] >= 0.999 * LARGEST_SCALE:
            usual = "usual causes: a learning rate that is too high, or pairs that can be told apart without what they have in common"
            verdicts["scale at its bound"] = f"it has grown to {LARGEST_SCALE:g}; {usual}"
        return verdicts

    def encoders(self):
        return dict(self.senses)

    @property
    def shared_scale(self):
        return self.log_scale.exp().item()

    def shared_space(self):
        return dict(self.projectors)


def views_for_input(encoder):
    """The usual views of one input, as its encoder takes them."""
    side = {"size": encoder.input.shape[1]} if encoder.input.planar else {}
    views = dataclasses.replace(default_views(Towers.purpose, encoder.input.modality), count=1, **side)
    return views.for_encoder(encoder)


def belonging(same: list[Tensor]) -> Bool[Tensor, "batch batch"]:
    """Which samples belong together: each with itself, and those that share the content of either input."""
    return torch.stack([keys[:, None] == keys for keys in same]).any(0)
