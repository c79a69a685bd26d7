"""What mirroring destroys: whether mirrored pictures can be told from originals."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from leaven.data import DataSet
from leaven.draw import seed_of
from leaven.encoders.build import build_encoder
from leaven.modalities import modality_of
from leaven.modalities.content import evenly_spaced
from leaven.modalities.modality import fitted
from leaven.threads import one_thread

LOOKED_AT, FEWEST = 600, 60  # pictures; half of them teach the probe
SIDE, COARSE, AT_ONCE = 32, 12, 100


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
