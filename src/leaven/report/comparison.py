"""The page of a comparison: every method's scores beside the floors, what they cost, what they saw, and a map of their features."""

import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leaven.data import DataSet
from leaven.evaluation.comparison import Comparison, cost_cells, over_untrained, seeds_in_words
from leaven.evaluation.features import encode
from leaven.evaluation.registry import headline, measure_of, protocol_title
from leaven.evaluation.results import DIED, FINISHED
from leaven.evaluation.sentences import labels_per_class, summed_up
from leaven.modalities.content import spread
from leaven.modalities.floor import floor_title
from leaven.report.facts import described, idea
from leaven.report.figures import CLASS_COLOURS, LEGEND_ABOVE, class_colour, error_bars, fragment, metric_figures, placed
from leaven.report.page import duration, render, score_cell, time_parts
from leaven.report.sheets import class_name, data_uri, dots, view_strips
from leaven.report.story import seen_views
from leaven.training.trained import load_encoders

SHOWN, MAPPED, ITERATIONS = 3, 500, 500
DASHES = ("solid", "dash", "dot", "dashdot")
MARKERS = (("#3f8fd2", "diamond-open"), ("#e07b26", "circle"), ("#35a36b", "square-open"), ("#9a6fd0", "triangle-up-open"), ("#b59410", "x"))


def report_comparison(comparison: Comparison, data: DataSet, *, device: str = "cpu") -> Path:
    """Write report.html into the comparison's folder."""
    from markupsafe import Markup

    folder = Path(comparison.folder)
    head, *rows = comparison.table()
    cards = [card_of(comparison, method, data, device) for method in comparison.methods()]
    classes = sorted({int(label) for label in data.rows.label.unique() if label >= 0})
    return render(
        "comparison.html.jinja",
        folder / "report.html",
        {
            "title": f"Methods on {comparison.data}",
            "subtitle": [f"{comparison.length_in_words()} per training", seeds_in_words(comparison.seeds), *described(comparison.machine)],
            "sentence": comparison.sentence(),
            "scores": Markup(scores_figure(comparison)),
            "head": head,
            "rows": [table_row(comparison, head, row) for row in rows],
            "left_out": comparison.left_out,
            "notes": comparison.notes,
            "over_time": Markup(over_time_figure(comparison)),
            "costs": costs(comparison),
            "slower": comparison.slower(),
            "parts": time_parts({part: 1.0 for method in comparison.methods() for part in comparison.costs(method)["time_split"]}),
            "cards": [{**card, "loss": Markup(card["loss"])} for card in cards],
            "legend": [{"name": class_name(label, data.spec.class_names), "colour": class_colour(label)} for label in classes if len(classes) <= 20],
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        },
    )


def scores_figure(comparison: Comparison) -> str:
    """A row for each arm, best on top, models beside and floors below: a dot for each protocol, with its interval."""
    import plotly.graph_objects as go

    arms = {method: comparison.scores(method) for method in comparison.methods()}
    arms |= comparison.beside
    arms |= {floor_title(name): scores for name, scores in comparison.floors().items()}
    figure = go.Figure()
    for number, protocol in enumerate(comparison.protocols):
        points = {
            name: scores[protocol][-1] if protocol == "few-label" else scores[protocol] for name, scores in arms.items() if scores.get(protocol)
        }
        if not points:
            continue
        first = next(iter(points.values()))
        shown = labels_per_class(first["labels_per_class"]) if protocol == "few-label" else protocol_title(protocol)
        colour, symbol = MARKERS[number % len(MARKERS)]
        figure.add_scatter(
            x=[headline(score) for score in points.values()], y=[in_two_lines(name) for name in points], name=shown, mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 10, "line": {"width": 2, "color": colour}},
            error_x={**error_bars(map(summed_up, points.values()), str(measure_of(first))), "color": colour},
            hovertemplate="%{y}: %{x:.1%}<extra>" + shown + "</extra>",
        )  # fmt: skip
    ranked = [in_two_lines(name) for name in arms][::-1]
    figure.update_layout(hovermode="closest", legend=LEGEND_ABOVE | {"y": 1.0})
    figure.update_xaxes(tickformat=".0%", title="test score", nticks=7)
    figure.update_yaxes(categoryorder="array", categoryarray=ranked, range=[-0.6, len(ranked) - 0.4], showgrid=True)
    return fragment(figure, height=110 + 32 * len(arms), top=36, label="Test score of each method and floor; the table below has the numbers")


def in_two_lines(name: str) -> str:
    """A long name in two lines leaves room for the dots on a phone."""
    return "<br>".join(name.rsplit(" ", 1)) if len(name) > 12 else name


def over_time_figure(comparison: Comparison) -> str:
    """kNN accuracy of training samples as training goes on, a line for each method; empty where none was logged twice."""
    import plotly.graph_objects as go

    figure, drawn = go.Figure(), []
    for number, method in enumerate(comparison.methods()):
        by_step: dict[int, list[tuple[float, float]]] = {}
        for trained in comparison.finished(method) or comparison.cells_of(method):
            for row in trained.run.metrics:
                if "knn" in row and "clock" in row:
                    by_step.setdefault(row["step"], []).append((row["clock"]["seconds"], row["knn"]))
        if len(by_step) < 2:
            continue
        seconds, accuracy = zip(*(map(statistics.fmean, zip(*rows, strict=True)) for _, rows in sorted(by_step.items())), strict=True)
        line = {"color": CLASS_COLOURS[number % len(CLASS_COLOURS)], "dash": DASHES[number // len(CLASS_COLOURS) % len(DASHES)], "width": 2}
        figure.add_scatter(x=seconds, y=accuracy, name=method, mode="lines", line=line, hovertemplate="%{y:.1%}<extra>" + method + "</extra>")
        drawn.append(method)
    if not drawn:
        return ""
    figure.update_layout(hovermode="x unified", showlegend=True, legend=LEGEND_ABOVE)
    figure.update_xaxes(title="seconds of training", nticks=6)
    figure.update_yaxes(tickformat=".0%", nticks=6)
    return fragment(figure, height=360, top=36, label=f"kNN accuracy against seconds of training of {', '.join(drawn)}")


def table_row(comparison: Comparison, head: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    """A row of the table with scores cut into value and interval, and a link to the method's card."""
    name, encoder, *values = row
    scored = head.index("over untrained") - 1
    scores = [score_cell(value) for value in values[:scored]]
    linked = name in comparison.arms
    return {"name": name, "method": linked, "encoder": encoder, "scores": scores, "costs": values[scored:-1], "health": values[-1]}


def costs(comparison: Comparison) -> list[dict[str, Any]]:
    """Time and its parts, memory, processor time and FLOP/s of each method that finished; the lengths of bars as shares of the most."""
    measured = {method: cost for method in comparison.methods() if (cost := comparison.costs(method))["seconds"]}
    slowest = max((cost["seconds"] for cost in measured.values()), default=1.0)
    largest = max((cost["peak_memory"] or 0 for cost in measured.values()), default=1) or 1
    rows = []
    for method, cost in measured.items():
        _, _, processor, memory, flops = cost_cells(cost)
        time = {"seconds": duration(cost["seconds"]), "time": cost["seconds"] / slowest, "parts": time_parts(cost["time_split"])}
        share = (cost["peak_memory"] or 0) / largest
        rows.append({"method": method, **time, "memory": memory, "memory_share": share, "processor": processor, "flops": flops})
    return rows


def card_of(comparison: Comparison, method: str, data: DataSet, device: str) -> dict[str, Any]:
    """One method: its idea, warnings, loss, views, map and links to its runs; pictures are of the first seed that finished."""
    cells = comparison.cells_of(method)
    reported = [trained for trained in cells if (trained.run.path / "report.html").is_file()]
    gain = comparison.gains(method).get(comparison.protocol)
    content: dict[str, Any] = {"name": method, "idea": "", "loss": "", "views": [], "map": ""}
    content["gain"] = f"{over_untrained(gain).capitalize()}." if gain else ""
    content["health"] = [{**verdict, "seed": trained.seed} for trained in cells for verdict in trained.health]
    content["died"] = [{"seed": trained.seed, "why": trained.why} for trained in cells if trained.state == DIED]
    content["runs"] = [{"seed": trained.seed, "state": trained.state, "link": f"{trained.folder}/report.html"} for trained in reported]
    shown = next(iter([*comparison.finished(method), *reported]), None)
    if shown is None:
        return content
    content["idea"] = idea(shown.run.config["asked"]["method"]["name"])
    if curves := metric_figures(shown.run.metrics, shown.health, only=("loss",)):
        content |= {"loss": curves[0]["figure"], "loss_why": curves[0]["why"]}
    if seen := seen_views(shown.run, data, SHOWN):
        content["views"] = view_strips(**seen)
    value = data.rows.roles[next(role for role in (comparison.role, "x", *data.rows.roles) if role in data.rows.roles)]
    rows = spread(data.held_out()[1], MAPPED)
    if shown.state == FINISHED and len(rows) >= 5:
        (encoder,) = load_encoders(shown.run, comparison.role).values()
        features = encode(encoder, value, rows, device=device)
        content["map"] = data_uri(dots(placed(features, iterations=ITERATIONS), [class_colour(int(label)) for label in data.rows.label[rows]]))
    return content
