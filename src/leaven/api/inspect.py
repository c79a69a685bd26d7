"""See what a data set holds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from leaven.console import Progress, Say, quiet, seconds
from leaven.data import open_data
from leaven.errors import UserError
from leaven.inspection.estimate import load
from leaven.inspection.inspect import inspect_data
from leaven.inspection.inspection import Inspection
from leaven.inspection.originals import originals
from leaven.methods.method import Method
from leaven.modalities import modality_of
from leaven.report.copies_sheet import copies_sheet
from leaven.training.pretraining import Request


def inspect(
    data: Any,
    *,
    against: Any = None,
    method: str | type[Method] = "auto",
    encoder: str = "auto",
    budget: str | float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    batch: int | None = None,
    size: int | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    sheet: str | Path | None = None,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Inspection:
    """What a data set is like before anything is trained on it: contents, copies, advice, and how long the training would take here.

    against: a second data set, to see which of its samples stand in the first. method to settings: those of `pretrain` that are to be estimated, by
    really doing a few steps; what is left out is advised. sheet: a .png that shows the copies found.

    Raises UserError where the data cannot be opened, the second data set is of another kind, or the training that was asked for does not fit.
    """
    if sheet is not None and Path(sheet).suffix.lower() != ".png":
        raise UserError("a contact sheet is written as .png", where=sheet, hint="end --sheet with .png")
    before, decoded = load(), partial(progress, "decoded")
    opened = open_data(data, root=data_root, size=size, labels=labels, columns=columns, progress=decoded)
    spec = next(iter(opened.spec.roles.values()))
    other = None
    if against is not None:
        other = open_data(against, root=data_root, size=size, channels=modality_of(spec).open_options(spec).get("channels"), progress=decoded)
    given = {
        "data": data, "method": None if method == "auto" else method, "encoder": None if encoder == "auto" else encoder, "batch": batch, "size": size,
        "labels": labels, "columns": columns, "settings": settings or None, "device": None if device == "auto" else device, "data_root": data_root,
    }  # fmt: skip
    chosen = method if method != "auto" else modality_of(spec).method[0]
    request = Request(chosen, encoder, seconds(budget), epochs, steps, batch, size, dict(settings or {}), device=device)
    found = inspect_data(opened, request, given=given, originals=originals(opened), against=other, before=before, say=say)
    if sheet is not None and not copies_sheet(Path(sheet), found, opened, other):
        say(f"no copies to show: {sheet} is not written")
    return found
