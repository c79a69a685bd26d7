"""What methods that model the data can do beside giving features: new samples, likelihoods, ways from one sample to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leaven.api.console import Progress, quiet
from leaven.api.use import load_encoder_of
from leaven.api.vectors import counted, opened
from leaven.data import open_data
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.features import check_input
from leaven.evaluation.generation import new_samples
from leaven.evaluation.likelihood import Likelihoods, log_probs
from leaven.evaluation.search import read_query
from leaven.methods.method import Method
from leaven.methods.registry import registry
from leaven.modalities import Value, modality_of
from leaven.modalities.modality import fitted
from leaven.report.contact_sheet import picture_grid
from leaven.run import Run, write_whole
from leaven.training.devices import choose_device
from leaven.training.pretraining import trained_method

ABILITIES = {"sample": "makes no new samples", "log_prob": "gives no likelihood", "decode": "makes nothing from its features"}


def sample(
    run: str | Path | Run,
    count: int = 64,
    *,
    label: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    method: str | type[Method] | None = None,
    device: str = "auto",
) -> np.ndarray | list[str]:
    """New samples from a run: (count, channels, height, width) float32 in 0-1, (count, numbers), or a list of texts.

    label: the class of them, where the method makes one that is asked for. out: a .png of all of them, a .npy, or a .txt with a text a line. The same
    seed gives the same.
    method: as in `leaven.load`. Raises UserError where the run's method makes no samples, or knows no such class.
    """
    place = checked_out(out)
    if count < 1:
        raise UserError(f"count must be at least 1, not {count}")
    given = run if isinstance(run, Run) else Run.open(run)
    made, kind = able(given, "sample", method), choose_device(device)
    if label is not None and not made.learns_labels:
        raise UserError(f"{made.name} makes no samples of a class that is asked for", where=given.path, hint="leave --label out")
    labels = None if label is None else torch.full((count,), class_number(given, label))
    return kept(place, list(new_samples(made, count, labels, seed=seed, device=kind)), made)


def score(
    run: str | Path | Run,
    data: Any,
    *,
    out: str | Path | None = None,
    sheet: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    method: str | type[Method] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    progress: Progress = quiet,
) -> Likelihoods:
    """How likely every sample of the data is under a run's model, in nats: `what` says whether that is the log-likelihood, a bound or an estimate.

    out: a .csv with a line a sample. sheet: a .png of the least likely pictures, and the likeliest below them. seed: of what is random in it (grey
    pictures are binarised by a draw, where the model is of binary ones). Raises UserError where the run's method gives no likelihood.
    """
    checked(out, ".csv", "likelihoods are written as .csv")
    checked(sheet, ".png", "a sheet of pictures is a .png")
    given = run if isinstance(run, Run) else Run.open(run)
    made, kind = able(given, "log_prob", method), choose_device(device)
    encoder, samples, value, _ = opened(given, data, None, None, columns, data_root, progress)
    blocks = log_probs(made, value, encoder.input.shape, seed=seed, device=kind)
    nats = torch.cat(list(counted(blocks, len(samples), partial(progress, "scored")))).numpy()
    files = tuple(file or str(row) for row, file in enumerate(samples.files))
    parts = {name: rows.numpy() for name, rows in samples.splits.items()}
    found = Likelihoods(made.log_prob_is, files, nats, values_of(value, encoder), parts)
    if out is not None:
        found.write(Path(out))
    if sheet is not None:
        order, shown = found.ranked(), min(20, len(found))
        ends = [order[:shown], order[len(order) - shown :][::-1]]
        picture_grid(Path(sheet), [fitted(value[torch.from_numpy(rows.copy())], encoder.input.shape) for rows in ends], columns=10)
    return found


def interpolate(
    run: str | Path | Run,
    a: Any,
    b: Any,
    *,
    data: Any = None,
    steps: int = 9,
    out: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    method: str | type[Method] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
) -> np.ndarray | list[str]:
    """(steps, ...) what is decoded on the straight line from the features of one sample to those of another, both ends included; of texts a list.

    a, b: picture files, texts, arrays of one sample, or samples of `data` by file name or row (17 or "#17"). out: a .png in one row, a .npy, or a
    .txt. Raises UserError where the run's method decodes nothing, or what is given is no sample.
    """
    place = checked_out(out)
    if steps < 2:
        raise UserError(f"steps must be at least 2, both ends, not {steps}")
    given = run if isinstance(run, Run) else Run.open(run)
    made, kind = able(given, "decode", method), choose_device(device)
    encoder = load_encoder_of(given)
    ends = [end_of(each, data, columns, data_root, encoder) for each in (a, b)]
    made.to(kind)
    with torch.no_grad():
        first, last = (made.encoder(fitted(each.to(kind), encoder.input.shape)).float() for each in ends)
        share = torch.linspace(0, 1, steps, device=kind)[:, None]
        found = made.decode(first + share * (last - first)).to("cpu")
    return kept(place, [found], made, columns=steps)


def able(run: Run, ability: str, method: str | type[Method] | None) -> Method:
    """The trained method of a run. UserError where it cannot do this, naming those that can."""
    made = trained_method(run, method)
    if ability not in made.abilities():
        others = [name for name, other in registry().items() if ability in other.abilities()]
        raise UserError(f"{made.name} {ABILITIES[ability]}", where=run.path, hint=f"train one that does: {', '.join(others)}")
    return made


def class_number(run: Run, label: str) -> int:
    names = [str(name) for name in run.config["asked"]["data"]["spec"]["class_names"]]
    if str(label) in names:
        return names.index(str(label))
    raise UserError(f"this run knows no class {label!r}", where=run.path, hint=f"it knows {', '.join(names)}" if names else "it saw no labels")


def end_of(asked: Any, data: Any, columns: Mapping[str, str] | None, data_root: str | Path | None, encoder: Any) -> Value:
    """One sample to begin or end at."""
    if data is not None:
        samples = open_data(data, root=data_root, columns=columns, **encoder.modality.open_options(encoder.input))
        check_input(encoder, samples.spec.roles["x"], samples.name)
        return read_query(asked, samples, samples.rows["x"], encoder).value
    name, sample = encoder.modality.query(asked, encoder.input.shape)
    check_input(encoder, encoder.modality.spec(sample, torch.arange(1)), name)
    return sample


def kept(place: Path | None, parts: list[Value], made: Method, columns: int | None = None) -> np.ndarray | list[str]:
    """What was made, written where it is asked for: numbers, or texts."""
    modality = modality_of(parts[0])
    if not modality.tokenized:
        samples = parts[0].cat(parts)
        written(place, samples, columns)
        return modality.numbers(samples).float().numpy()
    tokenizer: Any = next(iter(made.encoders().values())).tokenizer
    if tokenizer is None:
        raise UserError("this run was trained on tokens, and cannot say what they stand for", hint="use trained_method(run).sample in Python")
    texts = [text for part in parts for text in tokenizer.decode(part)]
    write_texts(place, texts)
    return texts


def write_texts(place: Path | None, texts: Sequence[str]) -> None:
    """One a line."""
    checked(place, ".txt", "texts are written as .txt")
    if place is not None:
        write_whole(place, lambda partial: partial.write_text("".join(f"{' '.join(text.split())}\n" for text in texts)))


def values_of(value: Value, encoder: Encoder) -> int | np.ndarray:
    """How many numbers a sample has; of texts, how many tokens each one's probability is made of."""
    if encoder.modality.tokenized and encoder.tokenizer is not None:
        return (encoder.tokenizer(value).mask.lengths - 1).numpy()  # type: ignore[attr-defined, arg-type]
    return int(np.prod(encoder.input.shape))


def checked(path: str | Path | None, suffix: str, what: str) -> None:
    if path is not None and Path(path).suffix.lower() != suffix:
        raise UserError(what, where=path, hint=f"end it with {suffix}")


def checked_out(out: str | Path | None) -> Path | None:
    if out is not None and Path(out).suffix.lower() not in (".png", ".npy", ".txt"):
        raise UserError("samples are written as .png (pictures), .npy or .txt (texts)", where=out, hint="end --out with one of them")
    return None if out is None else Path(out)


def written(place: Path | None, samples: Value, columns: int | None = None) -> None:
    """Samples as a sheet of pictures or as numbers. UserError for a sheet of what are no pictures."""
    if place is None:
        return
    if place.suffix.lower() == ".txt":
        raise UserError(f"a .txt holds texts, and these are {samples.modality}", where=place, hint="end --out with .npy")
    if place.suffix.lower() == ".npy":
        write_npy(place, modality_of(samples).numbers(samples))
        return
    if not modality_of(samples).visible:
        raise UserError(f"a .png shows pictures, and these are {samples.modality}", where=place, hint="end --out with .npy")
    picture_grid(place, [samples], columns=columns or max(1, min(10, round(len(samples) ** 0.5))))


def write_npy(place: Path, numbers: Tensor) -> None:
    def save(partial: Path) -> None:
        with open(partial, "wb") as stream:
            np.save(stream, numbers.float().numpy())

    write_whole(place, save)
