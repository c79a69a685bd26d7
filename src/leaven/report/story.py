"""What a run's page shows, gathered from the run's folder, its encoders and its data."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.data.placed import Placed
from leaven.draw import Draw
from leaven.encoders import Encoder
from leaven.encoders.store import load_encoder
from leaven.errors import UserError
from leaven.evaluation.abilities import new_samples, reconstructed
from leaven.evaluation.features import encode
from leaven.evaluation.knn import nearest_neighbours
from leaven.evaluation.scorecard import Scorecard
from leaven.methods.registry import registry
from leaven.modalities import Value, modality_of
from leaven.modalities.content import spread
from leaven.report.facts import facts
from leaven.report.page import write_report
from leaven.report.placed import truth_beside
from leaven.report.scalp import scalp_maps
from leaven.run import Run
from leaven.stored import read_json
from leaven.training.trained import data_role, trained_method
from leaven.vectors import label_of
from leaven.views import Views

SHOWN, MAPPED, SEARCHED = 8, 1000, 5000
NEAREST_TEXTS = 5
NEW, NEW_TEXTS = 40, 8


def report_run(
    run: Run,
    data: DataSet,
    card: Scorecard | None = None,
    *,
    encoders: Mapping[str, Encoder] | None = None,
    device: str = "cpu",
    placed: Placed | None = None,
) -> Path:
    """Write report.html into the run's folder. encoders: by role (None: those that the run keeps, but for networks of a method's own). placed: the
    data as whole pictures with what lies in them."""
    config = run.config
    result = config["result"] or {}
    payload: dict[str, Any] = {
        "title": f"{config['asked']['method']['name'].rpartition(':')[2]} on {data.name}",
        "command": shlex.join([Path(config["command"][0]).name, *config["command"][1:]]) if config["command"] else "",
        "config": {key: config[key] for key in ("asked", "choices", "plan", "machine", "versions")},
        "facts": facts(config),
        "health": run.health,
        "metrics": run.metrics,
        "time_split": result.get("time_split"),
        "scorecard": card and card.to_dict(),
        "views": seen_views(run, data, SHOWN),
    }
    if result:
        if placed is not None:
            payload["placed"] = truth_beside(trained_method(run), placed, tested(placed), device)
        payload |= generated(run, data, device=device)
        encoders = own_encoders(run) if encoders is None else encoders
        payload["scalp"] = next((maps for role in readers(encoders, data) if (maps := scalp_maps(data, role, data.train()))), None)
        payload["features"] = [features_of(encoder, data, role, device) for role, encoder in readers(encoders, data).items() if held_out(data)]
    return write_report(run.path / "report.html", payload)


def tested(placed: Placed) -> Tensor:
    """The rows of the test split, else of the val split, else all."""
    splits = placed.data.splits
    return next((splits[name] for name in ("test", "val") if name in splits), torch.arange(len(placed.data)))


def own_encoders(run: Run) -> dict[str, Encoder]:
    """The encoders of a run by role, but for networks of a method's own."""
    folders = {role: run.encoder_folder / role for role in run.roles} or {"encoder": run.encoder_folder}
    return {
        role: load_encoder(folder)
        for role, folder in folders.items()
        if (folder / "config.json").is_file() and read_json(folder / "config.json")["library"] != "method"
    }


def readers(encoders: Mapping[str, Encoder], data: DataSet) -> dict[str, Encoder]:
    """Role of the data -> the encoder that reads it: the role that it was trained for, else the first that fits it."""
    readers: dict[str, Encoder] = {}
    for role, encoder in encoders.items():
        if fitting := data.spec.roles_like(encoder.input):
            readers.setdefault(role if role in fitting else fitting[0], encoder)
    return readers


def features_of(encoder: Encoder, data: DataSet, role: str, device: str) -> dict[str, Any]:
    """{role (empty where the data has one alone), embedding, neighbours or texts}: a map of test samples, and some of them with the nearest of the
    training part."""
    train, test = held_out(data) or (torch.empty(0), torch.empty(0))
    test, train = spread(test, MAPPED), spread(train, SEARCHED)
    value, classes = data.rows[role], list(data.spec.class_names)
    features, searched = encode(encoder, value, test, device=device), encode(encoder, value, train, device=device)
    labels = data.rows.label if data.spec.classes else None
    shown: dict[str, Any] = {
        "role": role if len(data.rows.inputs) > 1 else "",
        "embedding": {"features": features, "labels": None if labels is None else labels[test], "classes": classes},
    }
    queries = spread(torch.arange(len(test)), SHOWN)
    if encoder.modality.visible:
        _, nearest = nearest_neighbours(searched, features[queries], k=SHOWN)
        shown["neighbours"] = {
            "queries": as_bytes(value[test[queries]]),
            "neighbours": torch.stack([as_bytes(value[train[rows]]) for rows in nearest]),
            "query_labels": None if labels is None else labels[test[queries]],
            "neighbour_labels": None if labels is None else labels[train[nearest]],
            "classes": classes,
        }
    elif encoder.modality.lines(value[test[:1]]) is not None:
        _, nearest = nearest_neighbours(searched, features[queries], k=NEAREST_TEXTS)
        shown["texts"] = [
            {**line_of(data, role, int(test[query])), "nearest": [line_of(data, role, int(train[row])) for row in rows]}
            for query, rows in zip(queries, nearest, strict=True)
        ]
    return shown


def generated(run: Run, data: DataSet, *, device: str) -> dict[str, Any]:
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
    modality, value = encoder.modality, data.rows[data_role(data.spec, encoder)]
    if not modality.visible and modality.lines(value[torch.arange(1)]) is None:
        return {}

    def shown(samples: Value) -> Any:
        return as_bytes(samples) if modality_of(samples).visible else modality.lines(samples, encoder.tokenizer)

    payload: dict[str, Any] = {}
    if "sample" in kind.abilities():
        blocks = list(new_samples(method, NEW if modality.visible else NEW_TEXTS, device=device))
        payload["made"] = shown(blocks[0].cat(blocks))
    if "decode" in kind.abilities() and (parts := held_out(data)):
        ((before, after),) = reconstructed(method, value[spread(parts[1], SHOWN)], encoder.input, device=device)
        if modality.visible:
            payload["rebuilt"] = {"originals": shown(before), "views": [shown(after)]}
        else:
            before = encoder.in_tokens(before) if modality.tokenized else before
            payload["rebuilt_texts"] = list(zip(shown(before), shown(after), strict=True))
    return payload


def held_out(data: DataSet) -> tuple[Tensor, Tensor] | None:
    """Training and test rows; None where nothing can be held out, as of samples that are all the same."""
    try:
        train, test, *_ = data.held_out()
    except UserError:
        return None
    return train, test


def line_of(data: DataSet, role: str, row: int) -> dict[str, str | None]:
    """A sample as a line of text, and its class or tags."""
    value = data.rows[role][torch.tensor([row])]
    (line,) = modality_of(value).lines(value) or [""]
    return {"text": line, "label": label_of(data, row)}


def seen_views(run: Run, data: DataSet, count: int) -> dict[str, Any] | None:
    """A few samples as pictures, and the views that training made of them; None where the method makes no views of pictures."""
    stored = run.config["asked"]["method"]["hyperparameters"].get("views")
    if not stored:
        return None
    by_role = {role: stored for role in data.rows.roles} if "kind" in stored else stored
    made = {role: Views.from_dict(by_role[role]) for role in data.rows.roles if role in by_role}
    role = next((role for role, views in made.items() if modality_of(data.rows[role]).visible and views.suits(data.rows[role])), None)
    if role is None:
        return None
    value, views = data.rows[role], made[role]
    samples = value[spread(data.train(), count)]
    seen = views(samples, Draw("report"))
    originals = modality_of(value).fitted(samples, tuple(seen[0].shape[0]))
    return {"originals": as_bytes(originals), "views": [as_bytes(view) for view in seen]}


def as_bytes(value: Value) -> Tensor:
    """Samples as pictures of uint8."""
    pictures = modality_of(value).pictures(value)
    return pictures if pictures.dtype == torch.uint8 else (pictures * 255).round().to(torch.uint8)
