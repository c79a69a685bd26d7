"""The page of a reproduced claim, and the figures that claims are drawn with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leaven.evaluation.comparison import seeds_in_words
from leaven.evaluation.registry import cell
from leaven.evaluation.results import Results, by_title
from leaven.modalities.floor import floor_title
from leaven.report.facts import described
from leaven.report.figures import CLASS_COLOURS, LEGEND_ABOVE, add_curve, error_bars, fragment
from leaven.report.page import render, score_cell

Curve = Sequence[tuple[float, Mapping[str, Any]]]
"""(place on the axis, {accuracy or mean, interval}) of each point."""
SYMBOLS = ("circle", "diamond", "square", "triangle-up")


def line_figure(curves: Mapping[str, Curve], axis: str, *, log: bool = False) -> Any:
    """Accuracy with intervals against a number, a line for each name; `log`: the number on a log axis."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (name, points) in enumerate(curves.items()):
        xs, scores = zip(*points, strict=True)
        line, marker = {"color": CLASS_COLOURS[number % len(CLASS_COLOURS)], "width": 2.5}, {"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 9}
        add_curve(figure, name, xs, scores, line, marker)
    places = sorted({place for points in curves.values() for place, _ in points})
    figure.update_layout(hovermode="x unified", showlegend=len(curves) > 1, legend=LEGEND_ABOVE)
    figure.update_xaxes(title=axis, tickvals=places, ticktext=[f"{place:g}" for place in places], type="log" if log else "linear")
    figure.update_yaxes(tickformat=".0%", title="test accuracy")
    return figure


def bar_figure(points: Mapping[str, Mapping[str, Any]], axis: str = "test accuracy") -> Any:
    """Scores {accuracy, interval} or numbers {mean, interval} with their intervals, a bar for each name."""
    import plotly.graph_objects as go

    figure = go.Figure()
    names = [name.replace(" (", "<br>(") for name in points]
    shares = all("accuracy" in point for point in points.values())
    measure, shown = ("accuracy", ".1%") if shares else ("mean", ".4g")
    bars, hover = error_bars(points.values(), measure), f"%{{x}}: %{{y:{shown}}}<extra></extra>"
    values = [point[measure] for point in points.values()]
    figure.add_bar(x=names, y=values, marker={"color": CLASS_COLOURS[0]}, width=0.5, error_y=bars, hovertemplate=hover)
    figure.update_yaxes(tickformat=".0%" if shares else None, title=axis)
    return figure


def curves_figure(results: Results, panels: Mapping[str, str]) -> Any:
    """Metrics of all trainings against steps, one panel below another, each arm in a colour. panels: title -> name of the metric."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, subplot_titles=list(panels), vertical_spacing=0.14)
    for row, metric in enumerate(panels.values(), 1):
        for number, arm in enumerate(results.arms):
            for again, training in enumerate(results.cells_of(arm)):
                steps, values = zip(*training.curve(metric), strict=True)
                figure.add_scatter(
                    x=steps, y=values, name=arm, legendgroup=arm, showlegend=row == 1 and again == 0, mode="lines", row=row, col=1,
                    line={"color": CLASS_COLOURS[number], "width": 2}, hovertemplate="step %{x}: %{y:.3f}<extra>" + arm + "</extra>",
                )  # fmt: skip
    figure.update_layout(legend=LEGEND_ABOVE | {"y": 1.08}, hovermode="closest")
    figure.update_xaxes(title="step", row=len(panels), col=1)
    return figure


def matrix_figure(names: Sequence[str], values: Sequence[Sequence[float]]) -> Any:
    """A heat map of accuracies with their numbers; rows and columns bear the same names."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_heatmap(
        x=names, y=names, z=values, text=[[f"{100 * value:.1f}" for value in row] for row in values], texttemplate="%{text}",
        colorscale=[[0, "#f6efe6"], [0.5, "#f0a868"], [1, "#b9590f"]], colorbar={"tickformat": ".0%", "thickness": 12},
        hovertemplate="%{y} + %{x}: %{z:.1%}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    return figure


def report_reproduction(content: Mapping[str, Any], figure: Any, path: Path, *, command: str) -> Path:
    """Write the page. content: as in reproduction.json."""
    from markupsafe import Markup

    columns, measures = list(by_title(next(iter(content["scores"].values())))), content["measures"]
    numbers = list(next(iter(measures.values()), {}))

    def row(name: str, scores: Mapping[str, Any]) -> dict[str, Any]:
        points = by_title(scores)
        own = [number_cell(measures.get(name, {}).get(measure)) for measure in numbers]
        return {"name": name, "scores": [*(score_cell(cell(points.get(title))) for title in columns), *own]}

    heatmap = figure.data and figure.data[0].type == "heatmap"
    return render(
        "reproduction.html.jinja",
        path,
        {
            "title": content["claim"],
            "subtitle": [content["data"], seeds_in_words(content["seeds"]), *described(content["machine"])],
            **{name: content[name] for name in ("says", "source", "rule", "verdict", "because", "notes", "health")},
            "figure": Markup(fragment(figure, height=460 if heatmap else 400, top=36, label=f"{content['says']} {content['because']}")),
            "accuracies": bool(columns),
            "head": [*columns, *numbers],
            "rows": [row(name, content["scores"].get(name, {})) for name in {**content["scores"], **measures}],
            "floors": [row(floor_title(name), scores) for name, scores in content["floors"].items()],
            "command": command,
        },
    )


def number_cell(number: Mapping[str, Any] | None) -> dict[str, str]:
    """A measured number with its interval, for a cell of the table."""
    if number is None:
        return {"value": "", "interval": ""}
    return {"value": f"{number['mean']:.4g}", "interval": "{:.4g} to {:.4g}".format(*number["interval"]) if number["interval"] else ""}
