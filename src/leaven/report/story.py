"""What a run's page tells: gathered from the run's folder, its encoder and its data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.data import DataSet, Draw, Pixels, Text, Value
from leaven.encoders import Encoder
from leaven.encoders.encoder import fitted
from leaven.errors import UserError
from leaven.evaluation.features import encode, spread
from leaven.evaluation.generation import new_samples
from leaven.evaluation.knn import nearest_neighbours
from leaven.evaluation.likelihood import reconstructed
from leaven.evaluation.scorecard import Scorecard
from leaven.methods.registry import registry
from leaven.report.facts import facts
from leaven.report.page import write_report
from leaven.run import Run
from leaven.training.pretraining import trained_method
from leaven.vectors import class_of
from leaven.views import Views

SHOWN, MAPPED, SEARCHED = 8, 1000, 5000
NEAREST_TEXTS, LONGEST_SHOWN = 5, 300
MADE, MADE_TEXTS = 40, 8


def report_run(run: Run, data: DataSet, encoder: Encoder | None, card: Scorecard | None = None, *, device: str = "cpu") -> Path:
    """Write report.html into the run's folder; `encoder` None (a method with networks of its own) leaves the feature pictures out."""
    config = run.config
    asked, result = config["asked"], config["result"] or {}
    payload: dict[str, Any] = {
        "title": f"{asked['method']['name'].rpartition(':')[2]} on {data.name}",
        "command": shlex.join([Path(config["command"][0]).name, *config["command"][1:]]) if config["command"] else "",
        "config": {key: config[key] for key in ("asked", "choices", "plan", "machine", "versions")},
        "facts": facts(config),
        "health": run.health,
        "metrics": run.metrics,
        "time_split": result.get("time_split", {}),
    }
    if card is not None:
        payload |= {"scorecard": card.to_dict(), "summary": card.sentence()}
    value = data.rows.roles.get("x")
    if isinstance(value, Pixels) and "views" in asked["method"]["hyperparameters"]:
        payload["views"] = seen_views(value[spread(data.train(), SHOWN)], asked["method"]["hyperparameters"]["views"])
    if result:
        payload |= made(run, data, device=device)
    if encoder is not None and value is not None and (parts := apart(data)):
        train, test = parts
        test, train = spread(test, MAPPED), spread(train, SEARCHED)
        features, found = encode(encoder, value, test, device=device), encode(encoder, value, train, device=device)
        labels = data.rows.label[test] if data.spec.classes else None
        payload["embedding"] = {"features": features, "labels": labels, "classes": list(data.spec.class_names)}
        if isinstance(value, Pixels):
            queries = spread(torch.arange(len(test)), SHOWN)
            _, nearest = nearest_neighbours(found, features[queries], k=SHOWN)
            payload["neighbours"] = {
                "queries": bytes_of(value, test[queries]),
                "neighbours": torch.stack([bytes_of(value, train[row]) for row in nearest]),
                "query_labels": None if labels is None else data.rows.label[test[queries]],
                "neighbour_labels": None if labels is None else data.rows.label[train[nearest]],
                "classes": list(data.spec.class_names),
            }
        if isinstance(value, Text):
            queries = spread(torch.arange(len(test)), SHOWN)
            _, nearest = nearest_neighbours(found, features[queries], k=NEAREST_TEXTS)
            payload["texts"] = [
                {**shown_text(data, int(test[query])), "found": [shown_text(data, int(train[row])) for row in rows]}
                for query, rows in zip(queries, nearest, strict=True)
            ]
    return write_report(run.path / "report.html", payload)


def made(run: Run, data: DataSet, *, device: str) -> dict[str, Any]:
    """New samples, and test samples beside what is decoded from their features: where Leaven's own method makes them, its checkpoint is still there,
    and they can be shown."""
    kind = registry().get(run.config["asked"]["method"]["name"])
    if kind is None or not {"sample", "decode"} & set(kind.abilities()):
        return {}
    try:
        method = trained_method(run)
    except UserError:
        return {}
    encoder: Any = next(iter(method.encoders().values()))
    found: dict[str, Any] = {}

    def texts_of(value: Value) -> list[str]:
        return [shortened(text) for text in encoder.tokenizer.decode(encoder.in_tokens(value))]

    if "sample" in kind.abilities() and encoder.input.modality in ("pixels", "text"):
        count = MADE if encoder.input.modality == "pixels" else MADE_TEXTS
        parts = list(new_samples(method, count, device=device))
        value = parts[0].cat(parts)
        found["made"] = as_bytes(value) if isinstance(value, Pixels) else texts_of(value)
    if "decode" in kind.abilities() and isinstance(data.rows.roles.get("x"), Pixels | Text) and (parts_of := apart(data)):
        value = data.rows["x"][spread(parts_of[1], SHOWN)]
        ((before, after),) = reconstructed(method, value, encoder.input.shape, device=device)
        if isinstance(before, Pixels) and isinstance(after, Pixels):
            found["rebuilt"] = {"originals": as_bytes(before), "views": [as_bytes(after)]}
        else:
            found["rebuilt_texts"] = list(zip(texts_of(before), texts_of(after), strict=True))
    return found


def apart(data: DataSet) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Training and test rows; None where nothing can be held out, as of samples that are all the same."""
    try:
        train, test, *_ = data.held_out()
    except UserError:
        return None
    return train, test


def shown_text(data: DataSet, row: int) -> dict[str, str | None]:
    """The beginning of a text, and its class."""
    value = data.rows["x"]
    assert isinstance(value, Text)
    (text,) = value[torch.tensor([row])].texts
    return {"text": shortened(text), "label": class_of(data, row)}


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def seen_views(value: Pixels, stored: dict[str, Any]) -> dict[str, Any]:
    """A few pictures and the views that training made of them."""
    made = [view for view in Views.from_dict(stored)(value, Draw("report")) if isinstance(view, Pixels)]
    original = fitted(value, made[0].pixels.shape[1:])
    assert isinstance(original, Pixels)
    return {"originals": as_bytes(original), "views": [as_bytes(view) for view in made]}


def as_bytes(value: Pixels) -> Tensor:
    return (value.unit() * 255).round().to(torch.uint8)


def bytes_of(value: Pixels, rows: Tensor) -> Tensor:
    return as_bytes(value[rows])
