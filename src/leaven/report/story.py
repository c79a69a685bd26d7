"""What a run's page tells: gathered from the run's folder, its encoder and its data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.draw import Draw
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.features import encode
from leaven.evaluation.generation import new_samples
from leaven.evaluation.knn import nearest_neighbours
from leaven.evaluation.likelihood import reconstructed
from leaven.evaluation.scorecard import Scorecard
from leaven.methods.registry import registry
from leaven.modalities import Value, modality_of
from leaven.modalities.content import spread
from leaven.report.facts import facts
from leaven.report.page import write_report
from leaven.run import Run
from leaven.training.trained import trained_method
from leaven.vectors import class_of
from leaven.views import Views

SHOWN, MAPPED, SEARCHED = 8, 1000, 5000
NEAREST_TEXTS = 5
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
    if value is not None and modality_of(value).visible and "views" in asked["method"]["hyperparameters"]:
        payload["views"] = seen_views(value[spread(data.train(), SHOWN)], asked["method"]["hyperparameters"]["views"])
    if result:
        payload |= made(run, data, device=device)
    if encoder is not None and value is not None and (parts := apart(data)):
        train, test = parts
        test, train = spread(test, MAPPED), spread(train, SEARCHED)
        features, found = encode(encoder, value, test, device=device), encode(encoder, value, train, device=device)
        labels = data.rows.label[test] if data.spec.classes else None
        payload["embedding"] = {"features": features, "labels": labels, "classes": list(data.spec.class_names)}
        queries = spread(torch.arange(len(test)), SHOWN)
        if encoder.modality.visible:
            _, nearest = nearest_neighbours(found, features[queries], k=SHOWN)
            payload["neighbours"] = {
                "queries": pictures_of(value, test[queries]),
                "neighbours": torch.stack([pictures_of(value, train[row]) for row in nearest]),
                "query_labels": None if labels is None else data.rows.label[test[queries]],
                "neighbour_labels": None if labels is None else data.rows.label[train[nearest]],
                "classes": list(data.spec.class_names),
            }
        elif encoder.modality.lines(value[test[:1]]) is not None:
            _, nearest = nearest_neighbours(found, features[queries], k=NEAREST_TEXTS)
            payload["texts"] = [
                {**shown_line(data, int(test[query])), "found": [shown_line(data, int(train[row])) for row in rows]}
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
    modality, found = encoder.modality, {}

    def shown(value: Value) -> Any:
        return as_bytes(value) if modality.visible else modality.lines(value, encoder.tokenizer)

    if "sample" in kind.abilities() and (modality.visible or modality.tokenized):
        parts = list(new_samples(method, MADE if modality.visible else MADE_TEXTS, device=device))
        found["made"] = shown(parts[0].cat(parts))
    if "decode" in kind.abilities() and (modality.visible or modality.tokenized) and "x" in data.rows.roles and (parts_of := apart(data)):
        value = data.rows["x"][spread(parts_of[1], SHOWN)]
        ((before, after),) = reconstructed(method, value, encoder.input.shape, device=device)
        if modality.visible:
            found["rebuilt"] = {"originals": shown(before), "views": [shown(after)]}
        else:
            found["rebuilt_texts"] = list(zip(shown(encoder.in_tokens(before)), shown(after), strict=True))
    return found


def apart(data: DataSet) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Training and test rows; None where nothing can be held out, as of samples that are all the same."""
    try:
        train, test, *_ = data.held_out()
    except UserError:
        return None
    return train, test


def shown_line(data: DataSet, row: int) -> dict[str, str | None]:
    """A sample as a line of text, and its class."""
    value = data.rows["x"][torch.tensor([row])]
    (line,) = modality_of(value).lines(value) or [""]
    return {"text": line, "label": class_of(data, row)}


def seen_views(value: Value, stored: dict[str, Any]) -> dict[str, Any]:
    """A few samples as pictures, and the views that training made of them."""
    modality = modality_of(value)
    views = Views.from_dict(stored)(value, Draw("report"))
    return {"originals": as_bytes(modality.fitted(value, tuple(views[0].shape[0]))), "views": [as_bytes(view) for view in views]}


def pictures_of(value: Value, rows: Tensor) -> Tensor:
    return as_bytes(value[rows])


def as_bytes(value: Value) -> Tensor:
    """Samples as pictures of uint8."""
    pictures = modality_of(value).pictures(value)
    return pictures if pictures.dtype == torch.uint8 else (pictures * 255).round().to(torch.uint8)
