"""Heads over the maps of a run's encoder, from boxes or masks: how the commands open such data and such runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from leaven.api.open import describe_data
from leaven.api.write import check_suffix
from leaven.console import Progress, Say
from leaven.data.placed import Placed, open_placed
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.placed_predictions import Masks, Objects
from leaven.evaluation.placing import masks_of, objects_of
from leaven.methods.method import Method
from leaven.methods.registry import registry
from leaven.modalities.decoding import Reading
from leaven.report.story import report_run
from leaven.run import Run
from leaven.training.devices import choose_device
from leaven.training.distributed import rank
from leaven.training.pretraining import train as train_run
from leaven.training.request import Request
from leaven.training.supervision import Supervision
from leaven.training.trained import load_encoder_of, trained_method

FEWEST_TO_TEST = 50  # pictures with labels, from which a part is kept for `evaluate`


def task_method(task: str | None) -> str:
    """The method behind a task. UserError for a task that there is not."""
    known = [name for name, kind in registry().items() if kind.whole_pictures]
    if task not in known:
        what = f"no task is named {task!r}" if task else "--size is for whole pictures, with what lies in them"
        raise UserError(what, where="task", hint=f"choose --task {' or '.join(known)}")
    return task


def placed_target(run: Run) -> str | None:
    """What a run has learned to place in pictures, "boxes" or "mask"; None where it has not."""
    kind = registry().get(run.config["asked"]["method"]["name"])
    return getattr(kind, "target", None) if kind is not None and kind.whole_pictures else None


def needed_labels(labels: Any) -> Any:
    """UserError where there are none."""
    if labels is None:
        raise UserError("labels are needed: boxes or masks", where="labels", hint="say where they lie, with --labels")
    return labels


def opener(encoder: Encoder, data: Any, target: str, data_root: str | Path | None) -> Callable[..., Placed]:
    """Opens data for an encoder's network: whole pictures with its channels."""
    reading = Reading.of(encoder.input.reading)
    return partial(open_placed, data, target=target, root=data_root, channels=encoder.input.shape[0], reading=reading)


def open_as_learned(run: Run, data: Any, labels: Any, data_root: str | Path | None) -> Placed:
    """Data at the size and with the classes of a run that has learned to place something. labels: None where only pictures are wanted."""
    target, spec = placed_target(run), run.config["asked"]["data"]["spec"]
    assert target is not None
    _, height, width = spec["roles"]["x"]["shape"]
    return opener(load_encoder_of(run), data, target, data_root)(labels, sides=(height, width), names=tuple(spec["class_names"]))


def surgery(
    run: str | Path | Run,
    data: Any,
    labels: Any,
    out: Path | None,
    request: Request,
    *,
    size: int | None,
    all_labels: bool | None,
    data_root: str | Path | None,
    started: float,
    say: Say,
    progress: Progress,
) -> Run:
    """Train a head on boxes or masks, and the encoder of a run with it. Returns the folder of the result, which is a run as well."""
    opened = Run.open(run)
    kind: type[Method] = registry()[str(request.method)]
    target = kind.target  # type: ignore[attr-defined]
    encoder = load_encoder_of(opened, request.start_role)
    if not encoder.input.planar:
        raise UserError(f"{kind.name} needs an encoder of pictures, and this run's reads {encoder.input.modality}", where=opened.path)
    placed = opener(encoder, data, target, data_root)(needed_labels(labels), size=size)
    describe_data(placed.data, say)
    height, width = placed.sides
    used = supervised_by(placed, all_labels)
    choices = [*used.choices, {"what": "size", "value": f"{width} x {height}", "why": "whole pictures are scaled to fit; --size sets the short side"}]
    folder = Run(out or Path("leaven-runs") / f"{placed.data.name}-{kind.name}")
    trained = train_run(
        replace(request, encoder=opened), placed.data, folder, supervision=replace(used, choices=choices), started=started, say=say,
        progress=partial(progress, "step"),
    )  # fmt: skip
    if rank() == 0:
        report_run(trained, placed.data, device=choose_device(request.device), placed=placed)
    return trained


def find_in_pictures(
    run: Run, data: Any, out: Any, unfit: list[str], data_root: str | Path | None, device: str, say: Say, progress: Progress
) -> Masks | Objects:
    """The boxes or masks of these pictures, written to `out` where it is given. unfit: options that were given and say nothing here."""
    if unfit:
        where = f"the method {run.config['asked']['method']['name']}"
        raise UserError(f"{unfit[0]} is for classes of whole samples", where=where, hint=f"leave --{unfit[0].replace('_', '-')} out")
    if not run.finished:
        raise UserError("this training has not finished", where=run.path, hint="give the same command again: it goes on")
    method = trained_method(run)
    masks = "segment" in method.abilities()
    place = None if out is None else Path(out) if masks else check_suffix(out, ".json", "boxes are")
    if masks and place is not None and place.suffix:
        raise UserError("masks are written into a folder", where=place, hint="give --out FOLDER")
    placed = open_as_learned(run, data, None, data_root)
    describe_data(placed.data, say)
    rows = range(len(placed.data))
    classes, files = tuple(run.config["asked"]["data"]["spec"]["class_names"]), tuple(placed.data.files)
    found: Masks | Objects
    if masks:
        found = Masks(files, classes, followed(masks_of(method, placed, rows, device), len(rows), progress))
    else:
        found = Objects(files, placed.sizes, classes, followed(objects_of(method, placed, rows, device), len(rows), progress))
    return found if place is None else found.written(place)


def followed(results: Iterator[Any], total: int, progress: Progress) -> Iterator[Any]:
    """The same, counted as they pass."""
    for done, result in enumerate(results, 1):
        yield result
        progress("predicted", done, total)


def supervised_by(placed: Placed, all_labels: bool | None) -> Supervision:
    """The rows of the train split; without a val or test split, those that `evaluate` would not test on, where there are enough."""
    data = placed.data
    rows = data.train()
    if {"val", "test"} & data.splits.keys() or all_labels or (all_labels is None and len(rows) < FEWEST_TO_TEST):
        return Supervision(rows, rows[:0])
    kept = data.held_out()[0]
    why = "the others are kept for `leaven evaluate`; --all-labels learns from them too"
    return Supervision(kept, torch.empty(0, dtype=torch.int64), [{"what": "labels", "value": f"{len(kept):,} of {len(rows):,}", "why": why}])
