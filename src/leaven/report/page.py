"""Self-contained pages, no network, no other file, light and dark; the one about a run, and what all of them show."""

import base64
import functools
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from leaven.evaluation.protocol import Chart, Matrix
from leaven.evaluation.scorecard import Scorecard
from leaven.report.figures import FIGURE, embedding_map, lines_figure, matrix_figure, metric_figures
from leaven.report.sheets import neighbour_strips, picture_sheet, view_strips
from leaven.run import when, write_whole

PARTS = {"data": "#e07b26", "views": "#3f8fd2", "forward and backward": "#35a36b", "optimiser": "#9a6fd0", "health and checkpoints": "#8b949e"}


def write_report(path: str | Path, payload: Mapping[str, Any]) -> Path:
    """Write report.html and return its path. Every key but `title` may be missing; its section is then left out.

    title, summary (one sentence; else the scorecard's), command, config (nested dict); facts: what was asked, as list of {name, value, why}; health:
    list of {verdict, since_step, why}, empty = no warnings; scorecard: Scorecard.to_dict(); metrics: rows of metrics.jsonl; views: {originals (n, C,
    H, W), views: list of (n, C, h, w)}, uint8 or float 0-1; made: new samples, pictures (n, C, H, W) or list of texts; rebuilt: pictures and what is
    decoded from their features, as views; rebuilt_texts: list of (text, text); features: a list with role (empty: the only one), embedding:
    {features (n, D), labels (n,) or none, classes}, neighbours: {queries, neighbours, query_labels, neighbour_labels, classes} (`neighbour_strips`),
    and texts: list of {text, label or none, nearest: list of {text, label}}; scalp: heads (`scalp_maps`); placed: `truth_beside`;
    time_split: {part: seconds}.
    """
    from markupsafe import Markup

    def some(key: str) -> Any:
        return payload.get(key) or []

    views, made, rebuilt = (payload.get(key) for key in ("views", "made", "rebuilt"))
    page = {
        "title": payload["title"],
        "subtitle": [],
        "config": flat(payload.get("config") or {}),
        "facts": some("facts"),
        "learned": _learned(some("metrics")),
        "charts": [],
        "matrices": [],
        "scores": None,
        "notes": [],
        "views": view_strips(views["originals"], views["views"]) if views else [],
        "made": picture_sheet(made) if isinstance(made, Tensor) else "",
        "made_texts": made if isinstance(made, list) else [],
        "rebuilt": view_strips(rebuilt["originals"], rebuilt["views"]) if rebuilt else [],
        "placed": payload.get("placed"),
        "rebuilt_texts": some("rebuilt_texts"),
        "features": [
            {
                "role": shown.get("role", ""),
                "map": Markup(embedding_map(**shown["embedding"]) if shown.get("embedding") else ""),
                "neighbours": neighbour_strips(shown["neighbours"]) if shown.get("neighbours") else [],
                "texts": shown.get("texts") or [],
            }
            for shown in some("features")
        ],
        "curves": [{**curve, "figure": Markup(curve["figure"])} for curve in metric_figures(some("metrics"), some("health"))],
        "time": time_parts(payload.get("time_split") or {}),
        **{key: payload.get(key) for key in ("summary", "command", "health", "scalp")},
    }
    if payload.get("scorecard"):
        card = Scorecard.from_dict(payload["scorecard"])
        figures = card.figures()
        head, *rows = card.table()
        page |= {
            "subtitle": [part for part in (card.method, card.encoder, card.data) if part],
            "summary": page["summary"] or card.sentence(),
            "charts": [{"about": chart, "figure": Markup(lines_figure(chart))} for chart in figures if isinstance(chart, Chart)],
            "matrices": [{"about": matrix, "figure": Markup(matrix_figure(matrix))} for matrix in figures if isinstance(matrix, Matrix)],
            "scores": {"head": head, "rows": [[title, *map(score_cell, values)] for title, *values in rows]},
            "notes": card.notes,
        }
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


def score_cell(text: str) -> dict[str, str]:
    """{value, interval} from 84.2 % (83.0-85.4), so that a phone can break the line between them."""
    value, _, interval = text.rstrip(")").partition(" (")
    return {"value": value, "interval": interval}


def time_parts(time_split: Mapping[str, float]) -> list[dict[str, Any]]:
    total = sum(time_split.values())
    return [
        {"name": name, "share": seconds / total, "duration": duration(seconds), "colour": PARTS.get(name, "#c9506a")}
        for name, seconds in time_split.items()
        if seconds > 0
    ]


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def render(template: str, path: Path, content: Mapping[str, Any]) -> Path:
    """Write a page from its template, with plotly inside it when there is a figure to draw. Strings are escaped, figures are `Markup`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("leaven.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["when"] = when
    page = environment.get_template(template).render(content)
    if FIGURE in page:
        page = environment.get_template(template).render({**content, "plotly": packed_plotly()})
    write_whole(path, lambda partial: partial.write_text(page, encoding="utf-8"))
    return path


@functools.cache
def packed_plotly() -> str:
    """plotly.js, which is most of a page's weight: gzip in base64 is 2 MB of the 4.8, and every browser since 2023 unpacks it."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
