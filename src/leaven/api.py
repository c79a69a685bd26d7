"""The public functions: each a short story over the rooms below."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from leaven.data import DataSet, open_data
from leaven.encoders import OWN, Encoder
from leaven.encoders.store import load_encoder
from leaven.errors import UserError
from leaven.evaluation.evaluate import evaluate_encoder
from leaven.evaluation.features import encode
from leaven.evaluation.scorecard import Scorecard
from leaven.methods.method import Method
from leaven.methods.registry import find_method, hyperparameters, registry
from leaven.report.story import report_run
from leaven.run import Run, write_json, write_whole
from leaven.training.devices import choose_device
from leaven.training.distributed import rank
from leaven.training.pretraining import Request, train, trained_method

Say = Callable[[str], None]
Progress = Callable[[int, int, float], None]


def quiet(*_: Any) -> None:
    """Say nothing."""


def seconds(budget: str | float | None) -> float | None:
    """Seconds from "90s", "10m", "2h" or a number."""
    if budget is None or isinstance(budget, int | float):
        number = budget
    else:
        units = {"s": 1, "m": 60, "h": 3600}
        text = budget.strip().lower()
        try:
            number = float(text[:-1]) * units[text[-1]] if text and text[-1] in units else float(text)
        except ValueError:
            raise UserError(f"a budget is a time like 90s, 10m or 2h, not {budget!r}") from None
    if number is not None and not 0 < number < float("inf"):
        raise UserError(f"a budget must be longer than no time, not {budget!r}")
    return number


def pretrain(
    data: Any,
    *,
    method: str | type[Method] = "simclr",
    encoder: str = "auto",
    out: str | Path | None = None,
    budget: str | float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    batch: int | None = None,
    size: int | None = None,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    precision: str = "auto",
    device: str = "auto",
    devices: int = 1,
    accumulate: int = 1,
    data_root: str | Path | None = None,
    keep_going: bool = False,
    accept_data: bool = False,
    checkpoint_seconds: float = 60.0,
    say: Say = quiet,
    progress: Progress = quiet,
) -> Run:
    """Train an encoder on unlabeled data, into the folder `out` (default: leaven-runs/DATA-METHOD).

    data: a folder, file, named data set, array or DataSet (see `leaven.data.open_data`). encoder: auto, one of Leaven's or a timm name.
    budget: a time such as "10m"; or epochs; or steps. settings: hyper-parameters by name; "views.", "recipe." and "encoder." reach into parts.
    labels are only watched (a kNN curve), or used by semi-supervised methods. The same call with the same `out` goes on where it stopped.

    Raises UserError for wrong input, TrainingStopped when going on is useless, Interrupted after SIGTERM or Ctrl-C.
    """
    started = time.monotonic()
    opened = open_data(data, root=data_root, size=size, labels=labels, columns=columns)
    describe_data(opened, say)
    folder = Run(out or Path("leaven-runs") / f"{Path(opened.name).name.replace(':', '-')}-{find_method(method).name.rpartition(':')[2]}")
    request = Request(
        method, encoder, seconds(budget), epochs, steps, batch, size, dict(settings or {}), seed, precision, device, devices, accumulate,
        keep_going, accept_data, checkpoint_seconds,
    )  # fmt: skip
    run = train(request, opened, folder, started=started, say=say, progress=progress)
    if rank() == 0:
        described = list(run.config["asked"]["encoder"].values())
        trained = load_encoder(run.encoder_folder) if len(described) == 1 and described[0]["library"] != "method" else None
        report_run(run, opened, trained, device=choose_device(device))
    return run


def describe_data(data: DataSet, say: Say) -> None:
    splits = ", ".join(f"{len(rows):,} {name}" for name, rows in data.splits.items())
    shapes = ", ".join(f"{spec.modality} {'x'.join(map(str, spec.shape))}" for spec in data.spec.roles.values())
    labels = f"{data.spec.classes} classes, {data.spec.labeled:,} labels" if data.spec.classes else "no labels"
    say(f"{data.name}: {len(data):,} samples ({splits}), {shapes}, {labels}")
    if data.broken:
        first = data.broken[0]
        say(f"{len(data.broken)} broken set aside; the first: {first.file} ({first.why})")


def load(run: str | Path | Run, role: str | None = None) -> nn.Module:
    """The trained encoder, in eval mode: raw input -> features. `role` chooses among several encoders."""
    opened = run if isinstance(run, Run) else Run.open(run)
    folder = opened.encoder_folder if role is None else opened.encoder_folder / role
    if role is None and not (folder / "config.json").is_file() and (roles := sorted(path.parent.name for path in folder.glob("*/config.json"))):
        raise UserError(f"this run has several encoders: {', '.join(roles)}", where=opened.path, hint="say which with role")
    if (folder / "config.json").is_file() and json.loads((folder / "config.json").read_text())["library"] == "method":
        encoders = trained_method(opened).encoders()
        return encoders[role] if role else next(iter(encoders.values()))
    return load_encoder(folder)


def evaluate(
    run: str | Path | Run,
    data: Any,
    *,
    labels: Any = None,
    columns: Mapping[str, str] | None = None,
    protocols: Sequence[str] = ("knn", "linear", "few-label"),
    labels_per_class: Sequence[int] = (1, 2, 5, 10),
    budget: str | float | None = "2m",
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    say: Say = quiet,
) -> Scorecard:
    """What a run's encoder is worth on labeled data, beside its floors; writes scorecard.json and report.html into the run's folder.

    budget: time for the labels-only floor (the same encoder trained on the few labels alone). Raises UserError without labels.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    encoder = load(opened)
    if not isinstance(encoder, Encoder):
        raise UserError("the networks of this method have no input specification to evaluate by", where=opened.path, hint="embed with them in Python")
    samples = open_data(data, root=data_root, labels=labels, columns=columns, **picture_options(encoder))
    card = evaluate_encoder(
        encoder, samples, method=opened.config["asked"]["method"]["name"], protocols=protocols, labels_per_class=labels_per_class,
        budget=seconds(budget), seed=seed, device=choose_device(device), say=say,
    )  # fmt: skip
    write_json(opened.path / "scorecard.json", card.to_dict())
    report_run(opened, samples, encoder, card, device=choose_device(device))
    return card


def embed(
    run: str | Path | Run,
    data: Any,
    *,
    out: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
) -> np.ndarray:
    """(samples, dim) float32 features of all samples, in the data's order; written to `out` (.npy) where given."""
    encoder = load(run)
    if not isinstance(encoder, Encoder):
        raise UserError("the networks of this method have no input specification to embed by", hint="use leaven.load in Python")
    if out is not None and Path(out).suffix != ".npy":
        raise UserError("vectors are written as .npy", where=out, hint="end --out with .npy")
    samples = open_data(data, root=data_root, columns=columns, **picture_options(encoder))
    role = next(iter(samples.rows.roles))
    vectors = encode(encoder, samples.rows[role], torch.arange(len(samples)), device=choose_device(device)).numpy()
    if out is not None:

        def save(partial: Path) -> None:
            with open(partial, "wb") as file:  # np.save would add .npy to the temporary name
                np.save(file, vectors)

        write_whole(Path(out), save)
    return vectors


def picture_options(encoder: Encoder) -> dict[str, Any]:
    """How pictures must be opened for an encoder."""
    spec = encoder.input
    return {"size": spec.shape[1], "channels": spec.shape[0]} if spec.modality == "pixels" else {}


def list_methods() -> list[dict[str, Any]]:
    """Every method: name, family, roles, paper, year, and its hyper-parameters with their defaults."""
    return [
        {
            "name": name,
            "family": method.family,
            "roles": list(method.roles),
            "modality": method.modality or "any",
            "paper": method.paper,
            "year": method.year,
            "summary": (method.__doc__ or "").strip().splitlines()[0],
            "parameters": {key: default(parameter.default) for key, parameter in hyperparameters(method).items() if key != "views"},
        }
        for name, method in registry().items()
    ]


def default(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def list_encoders() -> list[dict[str, Any]]:
    """Leaven's own encoders: name, modalities, what they offer, and their arguments with defaults. Any timm name works beside them."""
    return [
        {
            "name": name,
            "modalities": list(kind.modalities),
            "offers": list(kind.offers),
            "summary": (kind.__doc__ or "").strip().splitlines()[0],
            "parameters": {key: default(parameter.default) for key, parameter in hyperparameters(kind).items()},
        }
        for name, kind in OWN.items()
    ]


def demo(
    *,
    out: str | Path = "leaven-runs/demo",
    budget: str | float = "60s",
    labels_only_budget: str | float = "75s",
    say: Say = quiet,
    progress: Progress = quiet,
) -> Scorecard:
    """Pre-train SimCLR on scikit-learn's handwritten digits without their labels, and evaluate it from 1, 2, 5 and 10 labels a class."""
    run = pretrain("demo:digits", out=out, budget=budget, say=say, progress=progress)
    return evaluate(run, "demo:digits", budget=1.3 * (seconds(budget) or 60), say=say)
