"""See what a data set holds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch

from leaven.api import options
from leaven.api.open import open_for, reading_of
from leaven.api.write import check_suffix
from leaven.console import Progress, Say, quiet, seconds
from leaven.data import open_data
from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.evaluation.suspects import suspects as find_suspects
from leaven.inspection.estimate import load
from leaven.inspection.inspect import inspect_data
from leaven.inspection.inspection import Inspection
from leaven.methods.registry import find_method
from leaven.modalities import modality_of
from leaven.report.contact_sheet import copies_sheet
from leaven.training.devices import choose_device
from leaven.training.request import Request


@options.documented
def inspect(
    data: options.Data,
    *,
    against: Annotated[Any, options.Option("A second data set, to see which of its samples stand in this one.", names="data")] = None,
    sheet: Annotated[options.OptionalPath, "A contact sheet of the copies in the data: a .png file."] = None,
    run: Annotated[
        options.OptionalPath,
        options.Option("A run that reads this data, by whose features wrong labels are found.", flags=("--run",)),
    ] = None,
    suspects: Annotated[options.OptionalPath, "Where the labels that are probably wrong go: a .csv file (needs --run)."] = None,
    method: options.MethodName = "auto",
    encoder: options.EncoderName = "auto",
    budget: Annotated[options.Budget, "The length to estimate: 90s, 10m, 2h."] = None,
    epochs: Annotated[options.Epochs, "The length to estimate: passes over the data."] = None,
    steps: Annotated[options.Steps, "The length to estimate: optimiser steps."] = None,
    batch: Annotated[options.Batch, "Samples per step."] = None,
    size: options.Size = None,
    labels: options.Labels = None,
    columns: options.Columns = None,
    groups: options.Groups = None,
    settings: Annotated[options.Settings, "A hyper-parameter of the training to estimate: name=value."] = None,
    device: options.Device = "auto",
    data_root: options.Root = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Inspection:
    """Say what is in a data set, what stands in it twice, what to do with it, and how long that takes here.

    With `run`, it lists the labels that are probably wrong (confident learning, Northcutt et al. 2021). It measures the time with a few steps of the
    training, and advises what you leave open. Raises UserError where the data cannot be opened, the second data set is of another kind, or the
    training does not fit the data.
    """
    check_suffix(sheet, ".png", "a contact sheet is", "--sheet")
    place = check_suffix(suspects, ".csv", "wrong labels are", "--suspects")
    if place is not None and run is None:
        raise UserError("wrong labels are found by the features of a run", where="suspects", hint="name one with --run")
    before, decoded = load(), partial(progress, "decoded")
    reading, rest = reading_of(settings, *([] if method == "auto" else [find_method(method)]))
    opened = open_data(data, root=data_root, size=size, labels=labels, columns=columns, groups=groups, reading=reading, progress=decoded)
    spec = next(iter(opened.spec.roles.values()))
    other = None
    if against is not None:
        other = open_data(against, root=data_root, progress=decoded, **{**modality_of(spec).open_options(spec), "size": size})
    suspected = None
    if run is not None:
        of_labels, _ = reading_of(settings, samples=False)
        read = open_for(run, data, labels=labels, columns=columns, groups=groups, data_root=data_root, reading=of_labels, progress=progress)
        say("looking for labels that are probably wrong")
        wrong = find_suspects(encode(read.encoder, read.samples, torch.arange(len(read.data)), device=choose_device(device)), read.data)
        suspected = wrong.to_dict(read.data)
        if place is not None:
            wrong.write(place, read.data)
    given = {
        "data": data, "method": None if method == "auto" else method, "encoder": None if encoder == "auto" else encoder, "batch": batch, "size": size,
        "labels": labels, "columns": columns, "groups": groups, "settings": settings or None,
        "device": None if device == "auto" else device, "data_root": data_root,
    }  # fmt: skip
    request = Request(method, encoder, seconds(budget), epochs, steps, batch, size, rest, device=device)
    inspection = replace(inspect_data(opened, request, given=given, against=other, before=before, say=say), suspects=suspected)
    if sheet is not None and not copies_sheet(Path(sheet), inspection, opened, other):
        say(f"no copies to show: {sheet} is not written")
    return inspection
