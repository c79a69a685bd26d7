"""Labels that are probably wrong: confident learning on predictions for samples whose own label was not seen."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data import DataSet
from leaven.errors import UserError
from leaven.evaluation.frozen import Features
from leaven.evaluation.protocols.linear import probe_scores
from leaven.modules.confident import check_counts, confident, out_of_fold
from leaven.run import write_whole

SHOWN = 20


@dataclass(frozen=True)
class Suspects:
    """rows: of the samples whose label is probably wrong, the surest first. likely: the class that each probably has; share, own: the probabilities
    of that class and of the label. tested: how many labels were looked at."""

    rows: Int64[Tensor, " n"]
    likely: Int64[Tensor, " n"]
    share: Float[Tensor, " n"]
    own: Float[Tensor, " n"]
    tested: int

    def lines(self, data: DataSet) -> Iterator[dict[str, Any]]:
        names = data.spec.class_names
        for row, likely, share, own in zip(self.rows.tolist(), self.likely.tolist(), self.share.tolist(), self.own.tolist(), strict=True):
            label = names[int(data.rows.label[row])]
            yield {"file": data.files[row] or str(row), "label": label, "likely": names[likely], "probability": share, "probability_of_label": own}

    def to_dict(self, data: DataSet) -> dict[str, Any]:
        """{tested, suspected, worst: the first of `lines`}."""
        worst = [line for line, _ in zip(self.lines(data), range(SHOWN), strict=False)]
        return {"tested": self.tested, "suspected": len(self.rows), "worst": worst}

    def write(self, path: Path, data: DataSet) -> None:
        """A table of all of them: file, label, likely, probability, probability_of_label."""

        def save(partial: Path) -> None:
            with open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
                writer = csv.DictWriter(stream, ["file", "label", "likely", "probability", "probability_of_label"])
                writer.writeheader()
                writer.writerows(
                    {name: f"{cell:.4f}" if isinstance(cell, float) else cell for name, cell in line.items()} for line in self.lines(data)
                )

        write_whole(path, save)


def suspects(features: Float[Tensor, "n dim"], data: DataSet) -> Suspects:
    """Of all labeled samples, by a linear probe on features (one row for each sample of the data), in which a fold never sees its own labels or those
    of their groups. UserError where a class has too few labels."""
    rows = (data.rows.label >= 0).nonzero().flatten()
    labels = data.rows.label[rows]
    counts = labels.bincount(minlength=data.spec.classes)
    if data.spec.tag_names or len(counts) < 2:
        raise UserError("wrong labels are found among classes, two or more", where=data.name, hint="say where they are with --labels")
    check_counts(counts, data.spec.class_names, where=data.name)
    probabilities = out_of_fold(features[rows], labels, data.groups[rows], by_probe)
    chosen, likely = confident(probabilities, labels)
    share, own = (probabilities[chosen].gather(1, name[chosen][:, None])[:, 0] for name in (likely, labels))
    order = (own - share).argsort(stable=True)
    return Suspects(rows[chosen][order], likely[chosen][order], share[order], own[order], len(rows))


def by_probe(x: Tensor, y: Tensor, out: Tensor, groups: Tensor | None) -> Float[Tensor, "n classes"]:
    """What a linear probe that has seen (x, y) says of the others."""
    return probe_scores(Features(x, y, out, torch.zeros(len(out), dtype=torch.int64), groups)).softmax(1)
