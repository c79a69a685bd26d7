"""Look at a data set from all sides: what is in it, what stands in it twice, what to do with it and how long that takes."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from leaven.console import Say, quiet
from leaven.data import DataSet
from leaven.data.open import label_columns
from leaven.inspection.advice import LEAST, advise, choose_method
from leaven.inspection.cautions import cautions, order_line, several
from leaven.inspection.copies import exact_copies, near_copies, shared_with, split_overlap, visible_role
from leaven.inspection.estimate import BUSY, rehearse
from leaven.inspection.inspection import Inspection
from leaven.inspection.originals import decoding_seconds, headers, originals
from leaven.inspection.taken_away import TakenAway
from leaven.methods.registry import find_method
from leaven.modalities import modality_of
from leaven.modalities.decoding import stored_form
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
    method, why = (request.method, "asked for") if request.method != "auto" else choose_method(data.spec, request.encoder)
    request = dataclasses.replace(request, method=method or request.method)
    pace, left_out = None, "" if method else why
    if len(data.train()) < LEAST:
        left_out = f"{several(len(data.train()), 'sample')} to train on, and {LEAST} are the least"
    elif method:
        say("a few steps of training, to see how long they take")
        pace = rehearse(request, data)
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
        "notes": list(data.notes),
        "splits": {name: len(rows) for name, rows in data.splits.items()},
        "formats": formats,
        "sizes": sizes,
        "channels": channels_of(data),
        "labels": labels_of(data) | {"columns": columns_of_labels(data, given)},
        "groups": groups_of(data),
        "order": order_of(data),
        "duplicates": [copies.to_dict(data) for copies in exact_copies(data)],
        "near_duplicates": None if near is None else [copies.to_dict(data) for copies in near.sets],
        "thumbnails": None if near is None else {"compared": near.compared, "flat": near.flat, "alike": round(near.alike, 4)},
        "overlap": {
            "splits": split_overlap(data, near),
            "against": None if against is None else shared_with(data, against, device=device),
        },
    }
    taken = TakenAway() if shown is None else TakenAway.of(data, shown, None, None, request.size)
    contents |= taken.to_dict()
    if pace is None:
        advice, estimate = {"why": {"none": left_out}, "command": None}, None
    else:
        spec = data.spec.roles[shown or next(iter(data.spec.inputs))]
        given = {**given, "settings": taken.advised(find_method(pace.method), spec.modality, given.get("settings"))}
        advice, steps = advise(request, pace, spec, given, why)
        decoding = decoding_seconds(files, len(data), stored_form(spec)) if files else 0.0
        estimate = pace.to_dict(steps, decoding, not data.undecoded)
    chosen, settings = (find_method(method), request.settings) if method else (None, None)
    pictures = [] if shown is None else taken.lines(chosen, data.spec.roles[shown].modality, settings)
    warnings = [*cautions(contents), *filter(None, [order_line(data.order)]), *pictures]
    if pace is not None and before > BUSY:
        warnings.append(f"the machine was busy with {before:.1f} programs per core: without them training is faster than estimated")
    return Inspection(**contents, advice={**advice, "cautions": warnings}, estimate=estimate)


def labels_of(data: DataSet) -> dict[str, Any]:
    """classes, tags (how many there are), labeled, counts by class or tag, imbalance (largest class over smallest that occurs), not_trained (classes
    or tags of val or test alone); of tags also untagged: labeled samples without any."""
    spec, naming, target = data.spec, data.rows.naming, data.rows.named.main
    counts, trained = (naming.counts(target[rows], len(spec.names)) for rows in (data.rows.index, data.train()))
    occurring = counts[counts > 0]
    tagged = {"untagged": int((data.rows.labeled & ~(target > 0).any(1)).sum())} if spec.tag_names else {}
    return {
        "classes": spec.classes,
        "tags": len(spec.tag_names),
        "labeled": spec.labeled,
        "counts": dict(zip(spec.names, counts.tolist(), strict=True)),
        "imbalance": round((occurring.max() / occurring.min()).item(), 2) if len(occurring) else None,
        "not_trained": [name for name, own, all_ in zip(spec.names, trained, counts, strict=True) if all_ and not own] if trained.any() else [],
        **tagged,
    }


def columns_of_labels(data: DataSet, given: Mapping[str, Any]) -> list[str]:
    """The columns of a table without labels that may hold some."""
    if data.spec.names or not data.columns or not isinstance(given["data"], str | os.PathLike):
        return []
    return label_columns(Path(given["data"]).expanduser(), (given.get("columns") or {}).values())


def groups_of(data: DataSet) -> dict[str, int]:
    """groups, grouped (samples that have one), largest, and across_splits: groups that lie in more than one split."""
    group = data.rows.group
    grouped = group >= 0
    sizes = torch.unique(group[grouped], return_counts=True)[1]
    inside = [torch.unique(group[rows][grouped[rows]]) for rows in data.splits.values()]
    splits = torch.unique(torch.cat(inside), return_counts=True)[1] if inside else sizes[:0]
    return {
        "groups": len(sizes),
        "grouped": int(grouped.sum()),
        "largest": int(sizes.max()) if len(sizes) else 0,
        "across_splits": int((splits > 1).sum()),
    }


def order_of(data: DataSet) -> dict[str, Any] | None:
    """Whether samples follow each other, where no split or group of the source keeps them apart: {by, explained, parts}; None where they do not."""
    order = data.order
    return None if order is None else {"by": order.by, "explained": round(order.explained, 4), "parts": int(order.part.max()) + 1}


def channels_of(data: DataSet) -> dict[str, Any]:
    """By role: modality, shape of one sample as it is stored, mean and std of each channel (pixels, in 0-1) or dimension over the training split, and
    how many columns of numbers or counts are constant there; of text {min, median, max} of the characters and the words of a sample; of
    numbers spikes and still (see `anomalies`)."""
    return {
        role: {
            "modality": spec.modality,
            "shape": list(spec.shape),
            "mean": list(spec.mean),
            "std": list(spec.std),
            "constant": modality_of(spec).constant(data.rows[role], data.train()),
            **modality_of(spec).summary(data.rows[role]),
            **modality_of(spec).anomalies(data.rows[role], data.files),
        }
        for role, spec in data.spec.inputs.items()
    }
