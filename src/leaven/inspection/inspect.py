"""Look at a data set from all sides: what is in it, what stands in it twice, what to do with it and how long that takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from leaven.data import DataSet
from leaven.inspection.advice import advise
from leaven.inspection.cautions import cautions, several
from leaven.inspection.contents import channels_of, groups_of, labels_of, splits_of
from leaven.inspection.copies import exact_copies, near_copies, shared_with, split_overlap
from leaven.inspection.estimate import BUSY, rehearse
from leaven.inspection.inspection import Inspection
from leaven.inspection.originals import decoding_seconds, headers
from leaven.modalities import modality_of
from leaven.modalities.picture_files import Source
from leaven.training.devices import choose_device
from leaven.training.request import Request

LEAST = 8  # samples: with fewer there is nothing to train on


def inspect_data(
    data: DataSet,
    request: Request,
    *,
    given: Mapping[str, Any],
    originals: list[Source],
    against: DataSet | None = None,
    before: float = 0.0,
    say: Callable[[str], None] = lambda line: None,
) -> Inspection:
    """Contents, copies, advice and an estimate of the training that is asked for, which is really begun.

    given: the options of `pretrain` that the user gave, `data` among them, for the command. originals: picture files of the data set.
    before: the load of the machine before all this.
    Raises UserError where the training that was asked for, or the second data set, does not fit the data.
    """
    spec = next(iter(data.spec.roles.values()))
    device = choose_device(request.device)
    pace, left_out = None, ""
    if len(data.train()) < LEAST:
        left_out = f"{several(len(data.train()), 'sample')} to train on, and {LEAST} are the least"
    else:
        say("a few steps of training, to see how long they take")
        pace = rehearse(request, data)
    formats, sizes = headers(originals)
    if modality_of(spec).visible:
        say(f"comparing {len(data):,} pictures with each other")
    near = near_copies(data, device=device)
    shared = None if against is None else shared_with(data, against, device=device)
    found: dict[str, Any] = {
        "data": data.name,
        "samples": len(data) + len(data.broken),
        "usable": len(data),
        "broken": [dataclasses.asdict(broken) for broken in data.broken],
        "splits": splits_of(data),
        "formats": formats,
        "sizes": sizes,
        "channels": channels_of(data),
        "labels": labels_of(data),
        "groups": groups_of(data),
        "duplicates": [copies.to_dict(data) for copies in exact_copies(data)],
        "near_duplicates": None if near is None else [copies.to_dict(data) for copies in near.sets],
        "thumbnails": None if near is None else {"compared": near.compared, "flat": near.flat, "alike": round(near.alike, 4)},
        "overlap": {
            "splits": split_overlap(data, near),
            "against": None if shared is None or against is None else shared.to_dict(data, against),
        },
    }
    if pace is None:
        advice, estimate = {"why": {"none": left_out}, "command": None}, None
    else:
        advice, steps = advise(request, pace, spec, given)
        decoding = decoding_seconds(originals, len(data), spec.shape[1], spec.shape[0]) if originals else 0.0
        estimate = pace.to_dict(steps, decoding, not data.undecoded)
    warned = cautions(found)
    if pace is not None and before > BUSY:
        warned.append(f"the machine was busy with {before:.1f} programs a core: without them training is faster than estimated")
    return Inspection(**found, advice={**advice, "cautions": warned}, estimate=estimate)
