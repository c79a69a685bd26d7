"""Look at a data set from all sides: what is in it, what stands in it twice, what to do with it and how long that takes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from leaven.console import Say, quiet
from leaven.data import DataSet
from leaven.data.dataset import singly
from leaven.inspection.advice import LEAST, advise, choose_method
from leaven.inspection.cautions import cautions, several
from leaven.inspection.contents import channels_of, groups_of, labels_of
from leaven.inspection.copies import exact_copies, near_copies, shared_with, split_overlap, visible_role
from leaven.inspection.estimate import BUSY, rehearse
from leaven.inspection.inspection import Inspection
from leaven.inspection.originals import decoding_seconds, headers, originals
from leaven.methods.registry import find_method
from leaven.training.devices import choose_device
from leaven.training.request import Request


def inspect_data(
    data: DataSet, request: Request, *, given: Mapping[str, Any], against: DataSet | None = None, before: float = 0.0, say: Say = quiet
) -> Inspection:
    """Contents, copies, advice and an estimate of the training that is asked for, which is really begun.

    request: its method may be "auto". given: the options of `pretrain` that the user gave, `data` among them, for the command. before: the load of
    the machine before all this.
    Raises UserError where the training that was asked for, or the second data set, does not fit the data.
    """
    device = choose_device(request.device)
    method, why = (request.method, "asked for") if request.method != "auto" else choose_method(data.spec)
    request = dataclasses.replace(request, method=method or request.method)
    pace, left_out = None, "" if method else why
    if len(data.train()) < LEAST:
        left_out = f"{several(len(data.train()), 'sample')} to train on, and {LEAST} are the least"
    elif method:
        say("a few steps of training, to see how long they take")
        pace = rehearse(request, singly(data, find_method(request.method).inputs(data.spec)))
    files = originals(data)
    formats, sizes = headers(files)
    shown = visible_role(data)
    if shown is not None:
        say(f"comparing {len(data):,} pictures with each other")
    near = near_copies(data, device=device)
    contents: dict[str, Any] = {
        "data": data.name,
        "samples": len(data) + len(data.broken),
        "usable": len(data),
        "broken": [dataclasses.asdict(broken) for broken in data.broken],
        "unused": list(data.unused),
        "splits": {name: len(rows) for name, rows in data.splits.items()},
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
            "against": None if against is None else shared_with(data, against, device=device).to_dict(data, against),
        },
    }
    if pace is None:
        advice, estimate = {"why": {"none": left_out}, "command": None}, None
    else:
        spec = data.spec.roles[shown or next(iter(data.spec.roles))]
        advice, steps = advise(request, pace, spec, given, why)
        decoding = decoding_seconds(files, len(data), spec.shape[1], spec.shape[0]) if files else 0.0
        estimate = pace.to_dict(steps, decoding, not data.undecoded)
    warnings = list(cautions(contents))
    if pace is not None and before > BUSY:
        warnings.append(f"the machine was busy with {before:.1f} programs per core: without them training is faster than estimated")
    return Inspection(**contents, advice={**advice, "cautions": warnings}, estimate=estimate)
