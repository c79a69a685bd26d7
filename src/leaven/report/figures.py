"""Interactive figures as plotly fragments; ink and grid take their colour from the page's CSS, so that one figure serves both themes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from leaven.evaluation.protocol import Chart, Matrix
from leaven.report.sheets import class_name

# Middle tones that hold on white and on near-black; dashes and markers tell the arms apart without colour.
FEWEST_PLACED, MOST_PLACED = 5, 1000  # on a map
MOST_IN_LEGEND = 20
LOOKS = (
    ("#e07b26", "solid", "circle"),
    ("#8b949e", "dot", "triangle-up"),
    ("#a678c8", "dash", "diamond"),
    ("#3f8fd2", "solid", "square"),
    ("#35a36b", "dashdot", "cross"),
    ("#b59410", "dot", "triangle-down"),
    ("#2aa5a5", "dashdot", "x"),
)
"""Colour, dash and marker of the lines of a chart, in the order of the arms."""
CLASS_COLOURS = ("#e07b26", "#3f8fd2", "#35a36b", "#c9506a", "#9a6fd0", "#b59410", "#2aa5a5", "#d06fb0", "#8a7560", "#7f8c99")
METRIC_NAMES = {
    "loss": ("Loss", "what training makes small"),
    "knn": ("kNN accuracy", "of training samples, by their neighbours"),
    "feature_std": ("Feature deviation", "near 0: every sample looks alike"),
    "rankme": ("Effective rank", "directions that the features use"),
    "lr": ("Learning rate", "the schedule"),
    "alignment": ("Alignment", "distance of two views of one sample"),
    "uniformity": ("Uniformity", "lower: spread more evenly"),
    "embedding_std": ("Embedding deviation", "near 0: the loss sees all samples alike"),
    "choices_used": ("Prototypes used", "1: all samples have the same one"),
    "grad_norm": ("Gradient norm", "of all parameters, on a log scale"),
    "reconstruction": ("Reconstruction", "what a sample costs, given its code"),
    "kl": ("KL divergence", "what the code costs, as the loss weighs it"),
    "kl_nats": ("Nats in the code", "near 0: the decoder does without it"),
    "active_units": ("Active units", "numbers of the code that tell samples apart"),
    "unexplained": ("Unexplained", "1: nothing but the mean sample comes back"),
    "told_apart": ("Told apart", "correctly by the discriminator; half is chance"),
    "sample_spread": ("Spread of samples", "1: as wide as the data"),
    "sample_distance": ("Distance of samples", "0: like the data; 1: like one other point"),
    "sample_drift": ("Drift of samples", "from their own average; 0: steady"),
    "perplexity": ("Perplexity", "choices that are left"),
    "token_accuracy": ("Token accuracy", "of tokens that were hidden"),
}
FROM_ZERO = ("feature_std", "embedding_std", "alignment")  # what is small there must not look large
NOT_CURVES = ("step", "epoch", "time", "seconds", "samples", "samples_per_second", "elapsed", "progress", "chance")
CELLS_NUMBERED = 12  # classes up to which each cell of a confusion matrix has room for its number
POINTS = 600  # of a metric curve: more cannot be told apart on a screen
FIGURE = '<script type="application/json">'
LEGEND_ABOVE = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}


def lines_figure(chart: Chart) -> str:
    """A protocol's chart: one line per arm, the encoder's first; empty where no arm has a point."""
    import plotly.graph_objects as go

    figure = go.Figure()
    arms = [(arm, points) for arm, points in chart.lines.items() if points]
    for number, (arm, points) in enumerate(arms):
        colour, dash, symbol = LOOKS[number % len(LOOKS)]
        xs, ys, intervals = zip(*points, strict=True)
        scores = [{"accuracy": y, "interval": interval} for y, interval in zip(ys, intervals, strict=True)]
        line, marker = {"color": colour, "dash": dash, "width": 3.5 if number == 0 else 2.25}, {"symbol": symbol, "size": 9 if number == 0 else 7}
        add_curve(figure, arm, xs, scores, line, marker)
    if not arms:
        return ""
    figure.update_layout(hovermode="x unified", legend=LEGEND_ABOVE)
    figure.update_xaxes(tickformat=".0%" if "x" in chart.percent else None, title=chart.x_title)
    figure.update_yaxes(tickformat=".0%" if "y" in chart.percent else None, title=chart.y_title)
    if chart.log:
        ticks = sorted({x for _, points in arms for x, _, _ in points})
        span = [math.log10(ticks[0]) - 0.06, math.log10(ticks[-1]) + 0.06]
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks], range=span)
    label = f"{chart.y_title} against {chart.x_title}, one line per arm; the table below has the numbers"
    return fragment(figure, height=400, top=36, label=label)


def add_curve(
    figure: Any, name: str, xs: Sequence[float], scores: Sequence[Mapping[str, Any]], line: Mapping[str, Any], marker: Mapping[str, Any]
) -> None:
    """A line through scores {accuracy or mean, interval}."""
    measure = "accuracy" if "accuracy" in scores[0] else "mean"
    values, bars, hover = [score[measure] for score in scores], error_bars(scores, measure), "%{y:.1%}<extra>" + name + "</extra>"
    figure.add_scatter(x=xs, y=values, name=name, mode="lines+markers", line=line, marker=marker, error_y=bars, hovertemplate=hover)


def error_bars(points: Iterable[Mapping[str, Any]], value: str = "accuracy") -> dict[str, Any]:
    """The intervals of points as plotly draws them around their values; none where there is no interval."""
    bounds = [(point[value], *(point.get("interval") or (point[value],) * 2)) for point in points]
    above, below = [high - value for value, _, high in bounds], [value - low for value, low, _ in bounds]
    return {"type": "data", "symmetric": False, "thickness": 1.25, "width": 4, "array": above, "arrayminus": below}


def metric_figures(
    metrics: Sequence[Mapping[str, Any]], verdicts: Sequence[Mapping[str, Any]] = (), *, only: Sequence[str] | None = None
) -> list[dict[str, str]]:
    """{title, why, figure} for each number logged at two steps or more, well-known ones first; verdicts are vertical lines at their step.

    A loss of one term is drawn once, with the chance level where it is known. only: the names to draw; all of them if not given.
    """
    import plotly.graph_objects as go

    logged = {name for row in metrics for name, value in row.items() if _is_number(value) and name not in NOT_CURVES}
    logged -= {name for name in logged - {"loss"} if all(row.get(name) == row.get("loss") for row in metrics)}
    chance = next((row["chance"] for row in reversed(metrics) if _is_number(row.get("chance"))), None)
    order = [name for name in [*METRIC_NAMES, *sorted(logged - set(METRIC_NAMES))] if name in logged and name in (only or logged)]
    figures = []
    for name in order:
        points = [(row["step"], row[name]) for row in metrics if "step" in row and _is_number(row.get(name))]
        if len(points) < 2:
            continue
        every = math.ceil(len(points) / POINTS)
        points = [*points[:-1:every], points[-1]]
        title, why = METRIC_NAMES.get(name, (name.replace("_", " "), ""))
        figure = go.Figure()
        steps, values = zip(*points, strict=True)
        figure.add_scatter(x=steps, y=values, mode="lines", line={"color": "#e07b26", "width": 2}, hovertemplate="step %{x}: %{y:.4g}<extra></extra>")
        if name == "loss" and chance is not None:
            why = f"dashed: {chance:.3g}, of a model that knows nothing"
            figure.add_hline(y=chance, line={"color": "#8b949e", "width": 1.5, "dash": "dash"})
        for verdict in verdicts:
            figure.add_vline(x=verdict["since_step"], line={"color": "#d6483e", "width": 1.5, "dash": "dot"})
        figure.update_layout(showlegend=False, hovermode="closest")
        figure.update_xaxes(nticks=4)
        figure.update_yaxes(nticks=4, tickformat=".0%" if name == "knn" else None, rangemode="tozero" if name in FROM_ZERO else None)
        if name == "grad_norm" and min(values) > 0:
            figure.update_yaxes(type="log")
        label = f"{title} against steps: {values[0]:.3g} at first, {values[-1]:.3g} at last"
        figures.append({"title": title, "why": why, "figure": fragment(figure, height=170, top=6, label=label)})
    return figures


def embedding_map(
    features: Float[Tensor, "n dim"],
    labels: Int64[Tensor, "n"] | None = None,
    classes: Sequence[Any] | None = None,
) -> str:
    """t-SNE of at most 1000 samples (van der Maaten and Hinton 2008; PCA start), coloured by class where there are labels; empty below 5."""
    import plotly.graph_objects as go

    if len(features) < FEWEST_PLACED:
        return ""
    rows = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:MOST_PLACED]
    place = placed(features[rows])
    named = torch.full((len(rows),), -1) if labels is None else labels.cpu()[rows]
    figure = go.Figure()
    names = {label: "no label" if label < 0 else class_name(label, classes) for label in named.unique().tolist()}
    several = len(names) <= MOST_IN_LEGEND
    for group in [[label] for label in names] if several else [list(names)]:  # hundreds of traces would take seconds
        shown = named[torch.isin(named, torch.tensor(group))].tolist()
        x, y = place[torch.isin(named, torch.tensor(group)).numpy()].round(2).T
        colours = class_colour(group[0]) if several else list(map(class_colour, shown))
        marker = {"size": 6, "opacity": 0.8, "color": colours, "line": {"width": 0}}
        hover = {"text": [names[label] for label in shown], "hovertemplate": "%{text}<extra></extra>"}
        figure.add_scatter(x=x, y=y, name=names[group[0]], mode="markers", marker=marker, **hover)
    legend = {"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top", "itemsizing": "constant"}
    figure.update_layout(showlegend=several and len(names) > 1, legend=legend, hovermode="closest")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return fragment(figure, height=520, top=0, label=f"Map of {len(rows)} samples, near where their features are alike")


def placed(features: Float[Tensor, "n dim"], *, iterations: int = 1000) -> Shaped[np.ndarray, "n 2"]:
    """Where t-SNE lays the samples, five at least; from at most 50 principal directions. Samples that are all but equal lie in one place."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    picked = features.detach().cpu().float().nan_to_num().numpy()
    if picked.shape[1] > 50 and len(picked) > 50:
        picked = PCA(50, random_state=0, svd_solver="randomized").fit_transform(picked)
    distinct, where = np.unique((picked / (picked.std() or 1)).round(4), axis=0, return_inverse=True)  # many copies make scikit-learn's t-SNE crash
    if len(distinct) < FEWEST_PLACED:
        return np.pad(distinct, ((0, 0), (0, 1)))[:, :2][where]
    # The start by PCA needs two directions, and a spread to scale by.
    start = "pca" if distinct.shape[1] > 1 and distinct.std() > 0 else "random"
    tsne = TSNE(perplexity=min(30.0, (len(distinct) - 1) / 3), init=start, random_state=0, max_iter=iterations)
    return tsne.fit_transform(distinct)[where]


def matrix_figure(matrix: Matrix) -> str:
    """One row per true class, one column per predicted one, darker for a larger share of the row's samples; empty without counts."""
    import plotly.graph_objects as go

    counts = np.array(matrix.counts)
    if not counts.size:
        return ""
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    classes, orange = list(matrix.names), "rgba(224, 123, 38, {})"
    cells: dict[str, Any] = {"customdata": np.dstack([counts, np.broadcast_to(totals, counts.shape)])}
    if len(classes) <= CELLS_NUMBERED:
        cells["text"] = [[f"{100 * share:.0f}" if share >= 0.005 else "" for share in row] for row in shares]
        cells["texttemplate"] = "%{text}"
    colours = [[place, orange.format(opacity)] for place, opacity in ((0, 0.04), (0.25, 0.4), (1, 1))]
    hover = "%{y} named %{x}: %{customdata[0]} of %{customdata[1]} (%{z:.0%})<extra></extra>"
    figure = go.Figure()
    figure.add_heatmap(x=classes, y=classes, z=shares.round(4), zmin=0, zmax=1, colorscale=colours, showscale=False, xgap=1, ygap=1, **cells)
    figure.update_traces(hovertemplate=hover)
    figure.update_xaxes(type="category", tickangle=-45)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    correct = ", ".join(f"{name} {share:.0%}" for name, share in zip(classes, shares.diagonal(), strict=True))
    height = 130 + min(560, max(180, 30 * len(classes)))
    return fragment(figure, height=height, top=6, label=f"Confusion of {len(classes)} classes; named correctly: {correct}")


def fragment(figure: Any, *, height: int, top: int, label: str) -> str:
    """The figure's data inside the element that the page's script draws it in. label: what it shows, for those who cannot see it."""
    font, clear = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13}, "rgba(0,0,0,0)"
    figure.update_layout(template="none", height=height, margin={"l": 8, "r": 12, "t": top, "b": 8}, paper_bgcolor=clear, plot_bgcolor=clear)
    figure.update_layout(font=font, dragmode=False, hoverlabel={"font": font})
    figure.update_xaxes(
        title_font_size=13, showgrid=False, zeroline=False, showline=True, automargin=True, fixedrange=True, ticks="outside", ticklen=4
    )
    figure.update_yaxes(title_font_size=13, gridwidth=1, zeroline=False, automargin=True, fixedrange=True)
    drawn = figure.to_json().replace("<", "\\u003c")  # nothing in it may end the script element
    return f'<div class="figure" role="img" aria-label="{escape(label)}" style="height: {height}px">{FIGURE}{drawn}</script></div>'


def class_colour(label: int) -> str:
    if label < 0:
        return "#8b949e"
    if label < len(CLASS_COLOURS):
        return CLASS_COLOURS[label]
    return f"hsl({label * 137.508 % 360:.0f}, 50%, {(48, 58)[label % 2]}%)"  # the golden angle keeps neighbours in number apart in hue


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
