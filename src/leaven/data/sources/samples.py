"""Samples that are Python objects: torch data sets, and lists of PIL pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities import Pixels, Value
from leaven.modalities.content import evenly_spaced
from leaven.modalities.decoding import SURVEY, Reading, decode, survey
from leaven.modalities.picture_files import Unusable, quiet

INPUTS = ("x", "image", "img", "picture", "input", "inputs", "pixel_values")
LABELS = ("label", "labels", "target", "y")


def read_samples(
    samples: Sequence[Any], size: int | None, channels: int | None, reading: Reading, progress: Callable[[int, int], object] | None
) -> tuple[Tensor | Value, list[Any], list[tuple[int, str]]]:
    """(inputs, labels, broken) of samples that can be indexed: each an input, an (input, label, ...) tuple, or a dict of them.

    PIL pictures are fitted as pictures from files are; arrays and tensors of one shape are stacked. labels: of all samples, None where there are
    none. broken: the rows that the inputs lack, and why.
    """
    total = len(samples)
    if not total:
        raise UserError("no samples: the data set is empty", where=type(samples).__name__)
    first, _ = parts(samples[0])
    pictures = isinstance(first, Image.Image)

    def spread(most: int) -> Iterator[Any]:
        return (parts(samples[row])[0] for row in evenly_spaced(total, most).tolist()) if pictures else iter(())

    form, _ = survey(spread(SURVEY), size, channels, reading, spread)
    inputs, broken = [], []
    labels: list[Any] = [None] * total
    with quiet():
        for row in range(total):
            try:
                value, label = parts(samples[row])
                inputs.append(decode(value, form) if pictures else as_array(value))
                labels[row] = label
            except (Unusable, OSError) as reason:
                broken.append((row, str(reason)))
            if progress is not None:
                progress(row + 1, total)
    if not inputs:
        raise UserError(f"none of the {total} samples can be used, the first because {broken[0][1]}", where=type(samples).__name__)
    if len(shapes := {array.shape for array in inputs}) > 1:
        some = ", ".join(map(str, sorted(shapes)[:3]))
        raise UserError(f"the samples differ in shape: {some}", where=type(samples).__name__, hint="give PIL pictures, or resize in the data set")
    stacked = torch.from_numpy(np.stack(inputs))
    return Pixels(stacked, form.reading.to_dict()) if pictures else stacked, labels, broken


def parts(sample: Any) -> tuple[Any, Any]:
    """The input and the label, if any, of one sample."""
    if isinstance(sample, Mapping):
        value, label = (next((sample[name] for name in names if name in sample), None) for names in (INPUTS, LABELS))
        if value is None:
            raise UserError(f"a sample has no {' or '.join(INPUTS)}", hint=f"its keys are {', '.join(map(str, sample))}")
    elif isinstance(sample, tuple | list):
        value, label = sample[0], sample[1] if len(sample) > 1 else None
    else:
        value, label = sample, None
    if isinstance(label, Tensor | np.ndarray | np.generic) and np.asarray(label).size == 1:
        label = label.item()
    return value, label if isinstance(label, int | str) else None


def unused(sample: Any) -> list[str]:
    """The keys of a sample that is a dict which are neither the input nor the label."""
    if not isinstance(sample, Mapping):
        return []
    used = {next((name for name in names if name in sample), None) for names in (INPUTS, LABELS)}
    return [str(name) for name in sample if name not in used]


def as_array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, Image.Image):
        raise UserError("the samples mix pictures and arrays")
    return np.asarray(value)
