"""How often near neighbours agree, in features and in the raw input: what can be said of a search without asking for a score."""

from __future__ import annotations

import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.draw import Draw
from leaven.encoders import Encoder
from leaven.evaluation.features import encode
from leaven.evaluation.intervals import paired_difference
from leaven.evaluation.knn import nearest_neighbours
from leaven.evaluation.sentences import percent
from leaven.modalities import Value
from leaven.views.views import default_views, views_for

SAMPLES, FEWEST = 500, 20


def agreement(encoder: Encoder, data: DataSet, value: Value, *, seed: int = 0, device: str = "cpu") -> str | None:
    """How often the nearest other sample has the same class or shares a tag, or, without labels, how often the nearest of all samples' second views
    is of the same sample; by features and by the raw input, in a sentence. None where there are too few samples, and no views.

    It is measured on at most 500 samples. Raw features are compared without their mean.
    """
    known = data.rows.labeled.nonzero().flatten()
    labeled = len(known) >= FEWEST
    rows = known if labeled else torch.arange(len(data))
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:SAMPLES]].sort().values
    purpose = "contrast"
    if len(rows) < FEWEST or (not labeled and (encoder.modality.tokenized or views_for(purpose, value.modality) is None)):
        return None  # views of texts leave out tokens, which raw features do not see
    some = value[rows]
    if labeled:
        sides, what = (some, some), "have the same label" if data.spec.classes else "share a tag"
        named, naming = data.rows.named.main[rows], data.rows.naming
    else:
        views = default_views(purpose, value.modality).fitted(encoder.input.shape, getattr(encoder, "patch", 1))
        first, second, *_ = views.scaled(encoder.input.mean, encoder.input.std)(some, Draw("agreement", seed))
        sides, what = (first, second), "are views of the same sample"
    all_of_them = torch.arange(len(rows))

    def agreeing(first: Tensor, second: Tensor) -> Tensor:
        nearest = nearest_neighbours(second, first, k=2)[1]
        if not labeled:
            return nearest[:, 0] == all_of_them
        other = torch.where(nearest[:, 0] == all_of_them, nearest[:, 1], nearest[:, 0])
        return naming.agree(named, named[other])

    raw = encoder.modality.raw_features(value, rows)
    numbers = [raw(side).flatten(1) for side in sides]
    own = agreeing(*(encode(encoder, side, all_of_them, device=device) for side in sides))
    theirs = agreeing(*(number - numbers[0].mean(0) for number in numbers))
    low, high = paired_difference(own, theirs)["interval"]
    shares = [percent(correct.double().mean().item()) for correct in (own, theirs)]
    shown = f"{shares[0]} of nearest neighbours {what}, and {shares[1]} by the raw input ({len(rows):,} samples)"
    if low > 0:
        return shown
    return f"{shown}: {'the raw input finds better ones' if high < 0 else 'the two cannot be told apart here'}"
