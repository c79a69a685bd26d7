"""One self-contained page about a run: no network, no other file, light and dark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaven.evaluation.scorecard import FLOOR_NAMES, Scorecard
from leaven.report.figures import embedding_map, few_label_figure, metric_figures
from leaven.report.sheets import neighbour_strips, view_strips

PARTS = ("#e07b26", "#3f8fd2", "#35a36b", "#9a6fd0", "#8b949e", "#c9506a")


def write_report(path: str | Path, payload: Mapping[str, Any]) -> Path:
    """Write report.html and return its path. Every key but `title` may be missing; its section is then left out.

    title, summary (one sentence; else the scorecard's), command, config (nested dict); health: list of {verdict, since_step, why}, empty = no
    warnings; scorecard: Scorecard.to_dict(); metrics: rows of metrics.jsonl; views: {originals (n, C, H, W), views: list of (n, C, h, w)}, uint8 or
    float 0-1; embedding: {features (n, D), labels (n,) or none, classes}; neighbours: {queries, neighbours, query_labels, neighbour_labels,
    classes} (`neighbour_strips`); time_split: {part: seconds}.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    health = payload.get("health")
    scorecard = payload.get("scorecard")
    views, embedding = payload.get("views"), payload.get("embedding")
    page = {
        "title": payload["title"],
        "summary": payload.get("summary"),
        "command": payload.get("command"),
        "config": flat(payload.get("config") or {}),
        "health": health,
        "few_label": "",
        "scores": None,
        "notes": [],
        "views": view_strips(views["originals"], views["views"]) if views else [],
        "map": Markup(embedding_map(embedding["features"], embedding.get("labels"), embedding.get("classes")) if embedding else ""),
        "neighbours": neighbour_strips(payload["neighbours"]) if payload.get("neighbours") else [],
        "curves": [{**curve, "figure": Markup(curve["figure"])} for curve in metric_figures(payload.get("metrics") or [], health or [])],
        "time": _time_parts(payload.get("time_split") or {}),
    }
    if scorecard:
        card = Scorecard.from_dict(scorecard)
        page |= {
            "summary": page["summary"] or card.sentence(),
            "few_label": Markup(few_label_figure(scorecard)),
            "scores": _scores(card),
            "notes": card.notes,
        }
        page["subtitle"] = [part for part in (card.method, card.encoder, card.data) if part]
    page["plotly"] = Markup(get_plotlyjs()) if page["few_label"] or page["map"] or page["curves"] else ""
    template = Environment(
        loader=PackageLoader("leaven.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    beside.write_text(template.get_template("page.html.jinja").render({"subtitle": [], **page}), encoding="utf-8")
    return beside.replace(path)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as one line each: {"views.crop_min": "0.2"}."""
    lines: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            lines |= flat(value, f"{prefix}{name}.")
        else:
            lines[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return lines


def _scores(card: Scorecard) -> dict[str, Any]:
    """The scorecard's table with each cell cut into value and interval, so that a phone can break the line between them."""
    head, *rows = card.table()
    cells = [
        [rows_name, *[dict(zip(("value", "interval"), [*value.rstrip(")").split(" ("), ""], strict=False)) for value in values]]
        for rows_name, *values in rows
    ]
    return {"head": head, "rows": cells, "floors": [name for name in head[2:] if name in FLOOR_NAMES.values()]}


def _time_parts(time_split: Mapping[str, float]) -> list[dict[str, Any]]:
    total = sum(time_split.values())
    parts = [item for item in time_split.items() if item[1] > 0]
    return [
        {"name": name.replace("_", " "), "share": seconds / total, "told": _duration(seconds), "colour": PARTS[number % len(PARTS)]}
        for number, (name, seconds) in enumerate(parts)
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
