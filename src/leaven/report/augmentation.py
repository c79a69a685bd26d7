"""The page about generated samples beside real ones: a map of both, and whether they help."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.evaluation.augmentation import Labeled
from leaven.evaluation.registry import cell
from leaven.report.figures import LEGEND_ABOVE, MOST_PLACED, class_colour, fragment
from leaven.report.page import render, score_cell

SYMBOLS = {"real": "circle", "generated": "cross-thin-open", "left out": "x-thin-open"}
MOST_COLOURS = 20


def write_augmentation(
    path: Path, augmented: Mapping[str, Any], classes: Sequence[str], *, run: str, data: str, kinds: Mapping[str, Labeled]
) -> Path:
    """Write the page. augmented: as `leaven augment --json` prints it. kinds: features of real samples, of generated ones and of those left out.
    run, data: what was asked for, as the command line takes it."""
    from markupsafe import Markup

    helps, out = augmented["helps"], augmented["out"]
    few = len(classes) <= MOST_COLOURS
    rows = [("real samples alone", helps["alone"], helps["learned_from"]["real"])]
    rows += [("real and generated samples", helps["augmented"], sum(helps["learned_from"].values()))]
    return render(
        "augmentation.html.jinja",
        path,
        {
            "title": f"Generated samples of {run}",
            "sentence": augmented["sentence"],
            "counts": {"real": augmented["real"], "generated": augmented["generated"], "left out": augmented["left_out"]},
            "map": Markup(map_of_kinds(kinds, classes)),
            "key": [{"name": name, "colour": class_colour(number)} for number, name in enumerate(classes)] if few else [],
            "rows": [{"name": name, "score": score_cell(cell(score)), "count": count} for name, score, count in rows],
            "commands": [line for name, source in (("without", data), ("with", out)) for line in training_and_score(name, source)],
        },
    )


def training_and_score(name: str, source: str) -> list[str]:
    """The commands that train a classifier on data, and test it."""
    return [f"leaven pretrain {source} --method supervised --out {name}", f"leaven evaluate {name} {source}"]


def map_of_kinds(kinds: Mapping[str, Labeled], classes: Sequence[str]) -> str:
    """The first two principal components of the real samples, and where generated ones lie in them: coloured by class, marked by kind."""
    import plotly.graph_objects as go

    place = principal_plane(next(iter(kinds.values())).x)
    figure = go.Figure()
    for kind, samples in kinds.items():
        if not len(samples.y):
            continue
        rows = torch.randperm(len(samples.y), generator=torch.Generator().manual_seed(0))[:MOST_PLACED]
        x, y = place(samples.x[rows]).round(3).T
        labels = samples.y[rows].tolist()
        marker = {"symbol": SYMBOLS[kind], "size": 7, "opacity": 0.75, "color": list(map(class_colour, labels)), "line": {"width": 1.2}}
        text = [f"{classes[label]}, {kind}" for label in labels]
        figure.add_scatter(x=x, y=y, name=kind, mode="markers", marker=marker, text=text, hovertemplate="%{text}<extra></extra>")
    figure.update_layout(legend=LEGEND_ABOVE, hovermode="closest")
    figure.update_xaxes(title="first principal component of real samples")
    figure.update_yaxes(title="second")
    return fragment(figure, height=520, top=36, label="Map of real samples, of generated ones, and of those left out; coloured by class")


def principal_plane(real: Tensor) -> Any:
    """What gives samples their place in the two main directions of the real ones."""
    from sklearn.decomposition import PCA

    plane = PCA(min(2, *real.shape), random_state=0, svd_solver="randomized").fit(real.numpy())

    def place(samples: Tensor) -> np.ndarray:
        places = plane.transform(samples.numpy())
        return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))

    return place
