"""Interactive figures as plotly fragments; ink and grid take their colour from the page's CSS, so that one figure serves both themes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.report.sheets import class_name

# Middle tones that hold on white and on near-black; dashes and markers tell the arms apart without colour.
ARMS = {
    "pre-trained": {"color": "#e07b26", "dash": "solid", "symbol": "circle", "width": 3.5},
    "labels only": {"color": "#3f8fd2", "dash": "solid", "symbol": "square", "width": 2.25},
    "untrained encoder": {"color": "#a678c8", "dash": "dash", "symbol": "diamond", "width": 2},
    "raw input": {"color": "#8b949e", "dash": "dot", "symbol": "triangle-up", "width": 2},
}
CLASS_COLOURS = ("#e07b26", "#3f8fd2", "#35a36b", "#c9506a", "#9a6fd0", "#b59410", "#2aa5a5", "#d06fb0", "#8a7560", "#7f8c99")
METRIC_NAMES = {
    "loss": ("Loss", "what training makes small"),
    "knn": ("kNN accuracy", "on clean views, as training goes on"),
    "feature_std": ("Feature deviation", "near 0: every sample looks alike"),
    "rankme": ("Effective rank", "directions that the features use"),
    "alignment": ("Alignment", "distance of two views of one sample"),
    "uniformity": ("Uniformity", "lower: spread more evenly"),
    "grad_norm": ("Gradient norm", "size of a step before the learning rate"),
    "lr": ("Learning rate", "the schedule"),
}
CLOCK = ("step", "epoch", "time", "seconds", "samples", "samples_per_second", "elapsed")
POINTS = 600  # of a metric curve: more cannot be told apart on a screen


def few_label_figure(scorecard: Mapping[str, Any]) -> str:
    """Accuracy against labels a class on a log axis with intervals, one line an arm; empty when no arm has a curve."""
    import plotly.graph_objects as go

    from leaven.evaluation.scorecard import FLOOR_NAMES

    curves = {"pre-trained": scorecard.get("scores", {}).get("few-label")}
    curves |= {FLOOR_NAMES.get(name, name): scores.get("few-label") for name, scores in scorecard.get("floors", {}).items()}
    figure, counts = go.Figure(), set()
    for name in sorted((name for name in curves if curves[name]), key=lambda name: list(ARMS).index(name) if name in ARMS else len(ARMS)):
        points = sorted(curves[name], key=lambda point: point["labels_per_class"])
        look = ARMS.get(name, ARMS["raw input"])
        labels, accuracy = [point["labels_per_class"] for point in points], [point["accuracy"] for point in points]
        bounds = [point.get("interval", (point["accuracy"], point["accuracy"])) for point in points]
        counts.update(labels)
        error = {
            "array": [high - value for (_, high), value in zip(bounds, accuracy, strict=True)],
            "arrayminus": [value - low for (low, _), value in zip(bounds, accuracy, strict=True)],
        }
        figure.add_scatter(
            x=labels,
            y=accuracy,
            name=name,
            mode="lines+markers",
            line={"color": look["color"], "dash": look["dash"], "width": look["width"]},
            marker={"symbol": look["symbol"], "size": 9 if name == "pre-trained" else 7},
            error_y={"type": "data", "symmetric": False, "thickness": 1.25, "width": 3, **error},
            hovertemplate="%{y:.1%}<extra>" + name + "</extra>",
        )
    if not counts:
        return ""
    ticks = sorted(counts)
    figure.update_layout(hovermode="x unified", legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})
    figure.update_xaxes(type="log", title="labels a class", tickvals=ticks, ticktext=[str(count) for count in ticks], range=_log_range(ticks))
    figure.update_yaxes(tickformat=".0%", title="test accuracy")
    return _fragment(figure, height=400, top=36)


def metric_figures(metrics: Sequence[Mapping[str, Any]], verdicts: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, str]]:
    """{title, why, figure} for each number logged at two steps or more, well-known ones first; verdicts are vertical lines at their step."""
    import plotly.graph_objects as go

    logged = {name for row in metrics for name, value in row.items() if _is_number(value) and name not in CLOCK}
    order = [name for name in METRIC_NAMES if name in logged] + sorted(logged - set(METRIC_NAMES))
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
        for verdict in verdicts:
            figure.add_vline(x=verdict["since_step"], line={"color": "#d6483e", "width": 1.5, "dash": "dot"})
        figure.update_layout(showlegend=False, hovermode="closest")
        figure.update_xaxes(nticks=4)
        figure.update_yaxes(nticks=4, tickformat=".0%" if name == "knn" else None)
        figures.append({"title": title, "why": why, "figure": _fragment(figure, height=170, top=6)})
    return figures


def embedding_map(
    features: Float[Tensor, "n dim"],
    labels: Int64[Tensor, "n"] | None = None,
    classes: Sequence[Any] | None = None,
    *,
    most: int = 1000,
    seed: int = 0,
) -> str:
    """t-SNE of at most `most` samples (van der Maaten and Hinton 2008; PCA start), coloured by class where there are labels; empty below 5."""
    import plotly.graph_objects as go
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(features) < 5:
        return ""
    rows = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:most]
    picked = features.detach().cpu()[rows].float().nan_to_num().numpy()
    if picked.shape[1] > 50 and len(picked) > 50:
        picked = PCA(50, random_state=seed, svd_solver="randomized").fit_transform(picked)
    # The start by PCA needs two directions, and a spread to scale by.
    start = "pca" if picked.shape[1] > 1 and picked.std() > 0 else "random"
    place = TSNE(perplexity=min(30.0, (len(picked) - 1) / 3), init=start, random_state=seed).fit_transform(picked)
    named = torch.full((len(rows),), -1) if labels is None else labels.cpu()[rows]
    figure = go.Figure()
    groups = named.unique().tolist()
    for label in groups:
        chosen = (named == label).numpy()
        name = "no label" if label < 0 else class_name(label, classes)
        figure.add_scatter(
            x=place[chosen, 0].round(2),
            y=place[chosen, 1].round(2),
            name=name,
            mode="markers",
            marker={"size": 6, "opacity": 0.8, "color": _class_colour(label), "line": {"width": 0}},
            hovertemplate=name + "<extra></extra>",
        )
    legend = {"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top", "itemsizing": "constant"}
    figure.update_layout(showlegend=1 < len(groups) <= 20, legend=legend, hovermode="closest")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return _fragment(figure, height=520, top=0)


def _fragment(figure: Any, *, height: int, top: int) -> str:
    font = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 12, "t": top, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font=font,
    )
    figure.update_layout(dragmode=False, hoverlabel={"font": font})
    figure.update_xaxes(showgrid=False, zeroline=False, showline=True, automargin=True, fixedrange=True, ticks="outside", ticklen=4)
    figure.update_yaxes(gridwidth=1, zeroline=False, automargin=True, fixedrange=True)
    return str(figure.to_html(full_html=False, include_plotlyjs=False, default_width="100%", config={"displayModeBar": False, "responsive": True}))


def _log_range(counts: Sequence[int]) -> list[float]:
    return [math.log10(counts[0]) - 0.06, math.log10(counts[-1]) + 0.06]


def _class_colour(label: int) -> str:
    if label < 0:
        return "#8b949e"
    if label < len(CLASS_COLOURS):
        return CLASS_COLOURS[label]
    return f"hsl({label * 137.508 % 360:.0f}, 50%, {(48, 58)[label % 2]}%)"  # the golden angle keeps neighbours in number apart in hue


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
