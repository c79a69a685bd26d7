"""What a score has to be compared with: the raw input, the untrained encoder, and the few labels alone."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.draw import seed_of
from leaven.encoders import Encoder, TextEncoder, build_encoder, describe_encoder
from leaven.encoders.transformer import WHITENED_BY
from leaven.evaluation.features import encode
from leaven.evaluation.few_label import few_label_point, label_draws
from leaven.modalities import Value
from leaven.modalities.floor import FloorName
from leaven.run import Run
from leaven.training.build import build_training
from leaven.training.devices import choose_device, launch
from leaven.training.loop import Training
from leaven.training.precision import NAMES, choose_precision
from leaven.training.request import Request
from leaven.training.tokenization import tokenized

LABELS_ONLY_STEPS = 200
UNTRAINED = FloorName("untrained", "untrained encoder", "the untrained encoder")
LABELS_ONLY = FloorName("labels-only", "labels only", "your labels alone")


def untrained(encoder: Encoder, seed: int, value: Value | None = None, rows: Tensor | None = None) -> Encoder:
    """The same architecture with fresh weights. Where the encoder whitens its features, so does this one, by some of these rows of the texts."""
    torch.manual_seed(seed_of(seed, "untrained"))
    described = describe_encoder(encoder)
    arguments = {name: value for name, value in described["arguments"].items() if name != "pretrained"}
    fresh = build_encoder(described["name"], encoder.input, arguments).eval()
    fresh.role = encoder.role
    if encoder.tokenizer is not None:
        fresh.tokenizer = encoder.tokenizer
    if value is not None and rows is not None and isinstance(encoder, TextEncoder) and isinstance(fresh, TextEncoder) and encoder.whitening.fitted:
        fresh.whitening.fit(encode(fresh, value, rows[:: max(1, len(rows) // WHITENED_BY)]))
    return fresh


def labels_only(encoder: Encoder, data: DataSet, labeled: Tensor, test: Tensor, *, seed: int, steps: int = LABELS_ONLY_STEPS) -> Tensor:
    """(test,) bool: what the same encoder gets right when it is trained from scratch on these labeled rows alone, mildly augmented."""
    if encoder.tokenizer is not None:
        data = tokenized(data, encoder.tokenizer)
    device = choose_device("auto")
    fabric = launch(device, 1, NAMES[choose_precision("auto", device)[0]])
    request = Request("supervised", steps=steps, seed=seed, keep_going=True, checkpoint_seconds=float("inf"))
    parts = build_training(request, data, device, members=labeled, make_encoder=lambda: untrained(encoder, seed))
    with tempfile.TemporaryDirectory(prefix="leaven-") as folder:
        run, device_used = Run(folder), fabric.device
        Training(parts.method, parts.recipe, data.rows, labeled, parts.plan, run, request, fabric.autocast, device=device_used, watch=False).run()
    classifier = parts.method.eval().get_submodule("classifier")
    with torch.no_grad():
        logits = classifier(encode(parts.method.encoder, data.rows["x"], test, device=device).to(device)).cpu()
    return logits.argmax(1) == data.rows.label[test]


def labels_only_curve(
    encoder: Encoder,
    data: DataSet,
    train: Tensor,
    test: Tensor,
    *,
    labels_per_class: Sequence[int],
    target: float,
    budget: float | None,
    seed: int,
    draws: int = 3,
) -> tuple[list[dict[str, Any]], list[str]]:
    """A few-label curve of training on the labels alone, and notes on what the budget left out.

    After these counts it goes on, doubling, until it reaches `target` accuracy: how many labels do the work of pre-training? Each count
    costs about the same; what no longer fits the budget (seconds) is left out and named.
    """
    started, spent = time.monotonic(), 0.0
    curve: list[dict[str, Any]] = []
    labels = data.rows.label[train]
    test = test[data.rows.label[test] >= 0]
    for count in counts(labels_per_class, labels):
        if count > max(labels_per_class) and max(point["accuracy"] for point in curve) >= target:
            break
        begin = time.monotonic()
        if budget is not None and begin - started + spent > budget:
            left = "the counts that were asked for" if count <= max(labels_per_class) else "larger counts"
            return curve, [f"the floor `labels only` stops before {count} labels per class: {left} would exceed the budget of {budget:.0f} seconds"]
        correct = [
            labels_only(encoder, data, train[rows], test, seed=seed + number, steps=LABELS_ONLY_STEPS * max(1, len(rows) // 1000))
            for number, rows in enumerate(label_draws(labels, count, draws, seed))
        ]
        curve.append(few_label_point(torch.stack(correct), count, train_labels=labels))
        spent = time.monotonic() - begin
    return curve, []


def counts(labels_per_class: Sequence[int], labels: Tensor) -> Iterator[int]:
    """These counts, then doubling as far as there are labels."""
    yield from labels_per_class
    most = int(labels[labels >= 0].bincount().max())
    count = max(labels_per_class)
    while (count := 2 * count) <= most:
        yield count


__all__ = ["labels_only", "labels_only_curve", "untrained"]
