"""What a run's page tells: gathered from the run's folder, its encoder and its data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.data import DataSet, Draw, Pixels, Text
from leaven.encoders import Encoder
from leaven.encoders.encoder import fitted
from leaven.errors import UserError
from leaven.evaluation.features import encode, spread
from leaven.evaluation.knn import nearest_neighbours
from leaven.evaluation.scorecard import Scorecard
from leaven.report.facts import facts
from leaven.report.page import write_report
from leaven.run import Run
from leaven.vectors import class_of
from leaven.views import Views

SHOWN, MAPPED, SEARCHED = 8, 1000, 5000
NEAREST_TEXTS, LONGEST_SHOWN = 5, 300


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
    return {"text": text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…", "label": class_of(data, row)}


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
