"""What a score has to be compared with: the raw input, the untrained encoder, the commonest class, and the few labels alone."""

import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.draw import seed_of
from leaven.encoders import Encoder, TextEncoder, describe_encoder, rebuild_encoder
from leaven.encoders.transformer import WHITENED_BY
from leaven.evaluation.features import encode
from leaven.modalities import Value
from leaven.modalities.floor import FloorName
from leaven.run import Run
from leaven.training.build import build_training
from leaven.training.devices import choose_device, launch
from leaven.training.loop import Training
from leaven.training.precision import NAMES, choose_precision
from leaven.training.request import Request
from leaven.training.tokenization import tokenized

UNTRAINED = FloorName("untrained", "untrained encoder", "the untrained encoder")
MAJORITY = FloorName("majority", "commonest class", "always naming the commonest class")
PREVALENCE = FloorName("prevalence", "how common tags are", "how common each tag is")
WITHOUT_UNLABELED = FloorName("without-unlabeled", "without unlabeled", "fine-tuning without the unlabeled samples")
LABELS_ONLY = FloorName("labels-only", "labels only", "your labels alone")


def untrained(encoder: Encoder, seed: int, value: Value | None = None, rows: Tensor | None = None) -> Encoder:
    """The same architecture with fresh weights. Where the encoder whitens its features, so does this one, by some of these rows of the texts."""
    torch.manual_seed(seed_of(seed, "untrained"))
    fresh = rebuild_encoder(describe_encoder(encoder)).eval()
    fresh.role = encoder.role
    if encoder.tokenizer is not None:
        fresh.tokenizer = encoder.tokenizer
    if value is not None and rows is not None and isinstance(encoder, TextEncoder) and isinstance(fresh, TextEncoder) and encoder.whitening.fitted:
        fresh.whitening.fit(encode(fresh, value, rows[:: max(1, len(rows) // WHITENED_BY)]))
    return fresh


def trained_on_labels(
    encoder: Encoder,
    data: DataSet,
    labeled: Tensor,
    test: Tensor,
    *,
    seed: int,
    steps: int,
    start: Encoder | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Tensor:
    """(test, names) logits of the same encoder trained from scratch on these labeled rows alone, mildly augmented. start: a trained encoder, which is
    fine-tuned instead, and changed. settings: of that."""
    if encoder.tokenizer is not None:
        data = tokenized(data, encoder.tokenizer)
    device = choose_device("auto")
    fabric = launch(device, 1, NAMES[choose_precision("auto", device)[0]])
    method = "supervised" if start is None else "finetune"
    request = Request(method, steps=steps, settings=dict(settings or {}), seed=seed, keep_going=True, checkpoint_seconds=float("inf"))
    parts = build_training(request, data, device, members=labeled, make_encoder=lambda: start or untrained(encoder, seed))
    with tempfile.TemporaryDirectory(prefix="leaven-") as folder:
        run, device_used = Run(folder), fabric.device
        Training(parts.method, parts.recipe, data.rows, labeled, parts.plan, run, request, fabric.autocast, device=device_used, watch=False).run()
    classifier = parts.method.eval().get_submodule("classifier")
    with torch.no_grad():
        return classifier(encode(parts.method.encoder, data.rows["x"], test, device=device).to(device)).cpu()
