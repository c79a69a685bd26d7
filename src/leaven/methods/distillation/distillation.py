from contextlib import suppress
from math import isqrt
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders.public import NAMES, load_model
from leaven.errors import UserError
from leaven.methods import Encoder, Method, NonNegative, Outputs, Recipe
from leaven.modalities.modality import fitted
from leaven.vectors import weights_hash

SMALL_VARIANCE = 1e-10  # of a feature; those of a network that ends in ReLU and a mean often vary by less than 0.01


class Distillation(Method):
    """Predict the features that a trained model, the teacher, gives for the same view (Beyer et al. 2022; features instead of logits as in Romero et
    al. 2015, eq. 3, so that no labels are needed).

    The teacher stays as it is and is not kept with the run. Its features are compared at mean 0 and variance 1 over the batch, with what a linear
    layer makes of the encoder's.

    teacher: timm:NAME, hf:NAME, a run, or the folder of an encoder or of a timm or transformers model; NAME@64 lets a timm model read pictures at
    this side. distance: "mse" is the share of the variance of the teacher's features that is not predicted, "cosine" 1 minus their cosine.
    places: weight of the same distance at every place of the maps or tokens of both, on the coarser of the two grids (0: none).
    """

    paper = "Knowledge Distillation: A Good Teacher is Patient and Consistent (Beyer et al.)"
    year = 2022
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    purpose = "reconstruction"
    loss_over_batch = False
    kept_whole = False

    def __init__(self, encoder: Encoder, *, teacher: str = "", distance: Literal["mse", "cosine"] = "mse", places: NonNegative = 0.0):
        super().__init__(encoder)
        if not teacher:
            raise UserError("distillation needs a teacher", hint=f"--set teacher=MODEL: {NAMES}")
        with torch.device("cpu"):  # wherever the method is built
            trained = load_model(teacher, encoder.input).requires_grad_(False)
        self._teacher = (trained,)  # in a tuple, so that it is no part of the method
        self.distance = mse if distance == "mse" else cosine
        self.heads, self.standardize = nn.ModuleDict(), nn.ModuleDict()
        for part, (own, theirs) in self.dims(places).items():
            self.heads[part], self.standardize[part] = nn.Linear(own, theirs), nn.BatchNorm1d(theirs, eps=SMALL_VARIANCE, affine=False)
        self.weights = {"features": 1.0, "places": places}

    @torch.no_grad()
    def dims(self, places):
        """{part: (of the encoder, of the teacher)} of what is compared."""
        dims = {"features": (self.encoder.dim, self._teacher[0].dim)}
        if places:
            networks = self.encoder.eval(), *self._teacher
            if not all(network.input.planar and {"maps", "tokens"} & set(network.offers) for network in networks):
                raise UserError("places are compared in maps or tokens of pictures, which both encoders must have", hint="leave places out")
            empty = [torch.zeros(1, *network.input.shape, device=network.scale.device) for network in networks]
            dims["places"] = tuple(map_of(network, x).shape[1] for network, x in zip(networks, empty, strict=True))
            self.encoder.train()
        return dims

    def teacher_weights(self):
        return weights_hash(self._teacher[0])

    def forward(self, views):
        (view,) = views
        features = self.encoder(view)
        predictions = {"features": self.heads["features"](features)}
        targets = {"features": self.taught(lambda teacher, seen: teacher(seen), view)}
        if "places" in self.heads:
            maps = map_of(self.encoder, view), self.taught(map_of, view)
            coarser = tuple(map(min, *(map_.shape[2:] for map_ in maps)))
            own, theirs = (F.adaptive_avg_pool2d(map_, coarser).flatten(2) for map_ in maps)
            predictions["places"], targets["places"] = self.heads["places"](own.mT).mT, theirs
        targets = {part: self.standardize[part](target) for part, target in targets.items()}
        return Outputs(features=features, predictions=predictions, targets=targets)

    @torch.no_grad()
    def taught(self, read, view):
        teacher = self._teacher[0].to(self.heads["features"].weight)
        if teacher.tokenizer is not None and (own := self.encoder.tokenizer) is not None and own.digest() != teacher.tokenizer.digest():
            view = teacher.modality.untokenized(view, own)
        return read(teacher, fitted(view, teacher.input))

    def loss(self, outputs):
        return {part: self.weights[part] * self.distance(prediction, outputs.targets[part]) for part, prediction in outputs.predictions.items()}

    def chance(self, outputs):
        return sum(self.weights[part] * self.distance(torch.zeros_like(target), target).item() for part, target in outputs.targets.items())


def mse(prediction, target):
    return (prediction - target).square().mean()


def cosine(prediction, target):
    return 1 - F.cosine_similarity(prediction, target, dim=1, eps=1e-6).mean()


def map_of(network, x):
    """(B, dim, height, width): the maps of an encoder, or its tokens in rows."""
    with suppress(TypeError, NotImplementedError):
        return network.maps(x)
    tokens = network.tokens(x)
    side = isqrt(tokens.shape[1])
    return tokens.transpose(1, 2).unflatten(2, (side, side))
