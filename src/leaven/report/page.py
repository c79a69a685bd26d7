"""One self-contained page about a run: no network, no other file, light and dark."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from leaven.evaluation.scorecard import FLOOR_NAMES, Scorecard
from leaven.report.figures import confusion_figure, embedding_map, few_label_figure, metric_figures, retrieval_figure
from leaven.report.render import render
from leaven.report.sheets import neighbour_strips, picture_sheet, view_strips

PARTS = {"data": "#e07b26", "views": "#3f8fd2", "forward and backward": "#35a36b", "optimiser": "#9a6fd0", "health and checkpoints": "#8b949e"}


def write_report(path: str | Path, payload: Mapping[str, Any]) -> Path:
    """Write report.html and return its path. Every key but `title` may be missing; its section is then left out.

    title, summary (one sentence; else the scorecard's), command, config (nested dict); facts: what was asked, as list of {name, value, why}; health:
    list of {verdict, since_step, why}, empty = no warnings; scorecard: Scorecard.to_dict(); metrics: rows of metrics.jsonl; views: {originals (n, C,
    H, W), views: list of (n, C, h, w)}, uint8 or float 0-1; made: new samples, pictures (n, C, H, W) or list of texts; rebuilt: pictures and what is
    decoded from their features, as views; rebuilt_texts: list of (text, text); embedding: {features (n, D), labels (n,) or none, classes};
    neighbours: {queries, neighbours, query_labels, neighbour_labels, classes} (`neighbour_strips`); texts: list of {text, label or none, found: list
    of {text, label}}; time_split: {part: seconds}.
    """
    from markupsafe import Markup

    health = payload.get("health")
    scorecard = payload.get("scorecard")
    views, embedding = payload.get("views"), payload.get("embedding")
    made, rebuilt = payload.get("made"), payload.get("rebuilt")
    page = {
        "title": payload["title"],
        "subtitle": [],
        "summary": payload.get("summary"),
        "command": payload.get("command"),
        "config": flat(payload.get("config") or {}),
        "facts": payload.get("facts") or [],
        "health": health,
        "learned": _learned(payload.get("metrics") or []),
        "few_label": "",
        "retrieval": "",
        "confusion": "",
        "confused": [],
        "scores": None,
        "notes": [],
        "views": view_strips(views["originals"], views["views"]) if views else [],
        "made": picture_sheet(made) if isinstance(made, Tensor) else "",
        "made_texts": made if isinstance(made, list) else [],
        "rebuilt": view_strips(rebuilt["originals"], rebuilt["views"]) if rebuilt else [],
        "rebuilt_texts": payload.get("rebuilt_texts") or [],
        "map": Markup(embedding_map(embedding["features"], embedding.get("labels"), embedding.get("classes")) if embedding else ""),
        "neighbours": neighbour_strips(payload["neighbours"]) if payload.get("neighbours") else [],
        "texts": payload.get("texts") or [],
        "curves": [{**curve, "figure": Markup(curve["figure"])} for curve in metric_figures(payload.get("metrics") or [], health or [])],
        "time": time_parts(payload.get("time_split") or {}),
    }
    if scorecard:
        card = Scorecard.from_dict(scorecard)
        page |= {
            "summary": page["summary"] or card.sentence(),
            "few_label": Markup(few_label_figure(scorecard)),
            "retrieval": Markup(retrieval_figure(scorecard)),
            "confusion": Markup(confusion_figure(card.scores.get("classifier", {}))),
            "confused": card.scores.get("classifier", {}).get("confused", []),
            "scores": _scores(card),
            "notes": card.notes,
        }
        page["subtitle"] = [part for part in (card.method, card.encoder, card.data) if part]
    return render("page.html.jinja", Path(path), page)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as one line each: {"views.crop_min": "0.2"}."""
    lines: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            lines |= flat(value, f"{prefix}{name}.")
        else:
            lines[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return lines


def _learned(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The loss at the end beside that of a model that knows nothing."""
    last = metrics[-1] if metrics else {}
    return f"The loss ended at {last['loss']:.3g}; a model that knows nothing has {last['chance']:.3g}." if {"loss", "chance"} <= last.keys() else ""


def _scores(card: Scorecard) -> dict[str, Any]:
    """The scorecard's table with each cell cut into value and interval, so that a phone can break the line between them."""
    head, *rows = card.table()
    cells = [[rows_name, *map(score_cell, values)] for rows_name, *values in rows]
    return {"head": head, "rows": cells, "floors": [name for name in head[2:] if name in FLOOR_NAMES.values()]}


def score_cell(text: str) -> dict[str, str]:
    """{value, interval} from 84.2 % (83.0-85.4)."""
    value, _, interval = text.rstrip(")").partition(" (")
    return {"value": value, "interval": interval}


def time_parts(time_split: Mapping[str, float]) -> list[dict[str, Any]]:
    total = sum(time_split.values())
    return [
        {"name": name, "share": seconds / total, "told": duration(seconds), "colour": PARTS.get(name, "#c9506a")}
        for name, seconds in time_split.items()
        if seconds > 0
    ]


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
