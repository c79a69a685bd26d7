"""What mirroring destroys: whether mirrored pictures can be told from originals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from leaven.data import DataSet
from leaven.draw import seed_of
from leaven.encoders.build import build_encoder
from leaven.methods.method import Method
from leaven.modalities import modality_of
from leaven.modalities.content import evenly_spaced
from leaven.modalities.modality import fitted
from leaven.threads import one_thread
from leaven.views.views import default_views, views_for

LOOKED_AT, FEWEST = 600, 60  # pictures; half of them teach the probe
SIDE, COARSE, AT_ONCE = 32, 12, 100
TOLD = 0.55  # accuracy that the lower end of the interval must pass before anything is said
SURE = 0.9  # accuracy from which the setting is chosen in what `inspect` advises


def mirrored_accuracy(data: DataSet, role: str) -> tuple[float, float] | None:
    """How often a probe tells mirrored pictures of a role from originals that it has not seen, and the lower end of that at 95 %; 0.5 is chance (Lin
    et al. 2020, visual chirality). None for fewer than 60 pictures to train on.

    The better of two ridge classifiers counts: one of random convolutions, which see strokes and textures, one of coarse grey pixels, which see
    layout.
    """
    value, train = data.rows[role], data.train()
    if len(train) < FEWEST:
        return None
    chosen = value[train[torch.from_numpy(evenly_spaced(len(train), LOOKED_AT))]]
    spec = modality_of(value).training_input(data.spec.roles[role], min(SIDE, *data.spec.roles[role].shape[1:]))
    pixels = modality_of(value).numbers(fitted(chosen, spec))
    with one_thread(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(0, "chirality"))
        network = build_encoder("convnet", spec).eval()

        def looks(some: Tensor) -> list[np.ndarray]:
            features = torch.cat([network(part) for part in some.split(AT_ONCE)])
            return [features.numpy(), F.adaptive_avg_pool2d(some.mean(1, keepdim=True), COARSE).flatten(1).numpy()]

        told = [accuracy(*pair) for pair in zip(looks(pixels), looks(pixels.flip(3)), strict=True)]
    best = max(told)
    return best, best - 2 * (best * (1 - best) / (len(pixels) // 2)) ** 0.5


def accuracy(originals: np.ndarray, mirrored: np.ndarray) -> float:
    """Of a ridge classifier that learns from one half of the pictures, on the other half. Both: (pictures, features), in the same order."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    order = np.random.default_rng(0).permutation(len(originals))
    learn, test = order[: len(order) // 2], order[len(order) // 2 :]
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 13)))
    probe.fit(np.concatenate([originals[learn], mirrored[learn]]), np.repeat([0, 1], len(learn)))
    return float(((probe.predict(originals[test]) == 0).mean() + (probe.predict(mirrored[test]) == 1).mean()) / 2)


def mirrored_line(told: tuple[float, float] | None) -> str:
    """What a user should know before views mirror the pictures; empty where nothing speaks against it."""
    if told is None or told[1] < TOLD:
        return ""
    return f"mirrored pictures can be told from originals ({100 * told[0]:.0f} %): where left and right matter, set views.flip=0"


def mirrors(method: type[Method], modality: str, settings: Mapping[str, Any] | None) -> bool:
    """Whether a method's usual views of a modality mirror pictures, and the user has not said whether they should."""
    if "views.flip" in (settings or {}) or not method.purpose or views_for(method.purpose, modality) is None:
        return False
    return bool(getattr(default_views(method.purpose, modality), "flip", 0))


def with_flip_off(
    method: type[Method], modality: str, settings: Mapping[str, Any] | None, told: tuple[float, float] | None
) -> Mapping[str, Any] | None:
    """The settings to advise: without mirroring, where mirrored pictures are plainly others."""
    sure = told is not None and told[0] >= SURE and mirrors(method, modality, settings)
    return {**(settings or {}), "views.flip": 0} if sure else settings
