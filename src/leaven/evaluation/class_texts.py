"""Classes by what they are called: a vector of each, in the space in which a run compares texts with its other sense."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leaven.data.class_names import names_for
from leaven.data.sources.text_files import read_delimited, read_lines
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.features import encode, encoded
from leaven.modalities import Strings, Text, Value
from leaven.run import Run
from leaven.training.trained import shared_space, trained_method

Project: TypeAlias = Callable[[Encoder, Tensor], Tensor]
PLACE = "{}"


@dataclass(frozen=True)
class Senses:
    """The encoder that reads texts, and that of the other sense."""

    text: Encoder
    other: Encoder

    @classmethod
    def of(
        cls, encoders: dict[str, Encoder], where: object, role: str | None = None, suits: Callable[[Encoder], bool] = lambda encoder: True
    ) -> Senses:
        """Of a run with an encoder of texts and others. role: of the other sense (None: the only one that `suits`). UserError for other runs."""
        texts = [encoder for encoder in encoders.values() if encoder.tokenizer is not None]
        others = {name: encoder for name, encoder in encoders.items() if encoder not in texts}
        if len(texts) != 1 or not others:
            hint = "train one with --method clip on pictures and their captions"
            raise UserError("classes are found by their names where a run has an encoder of texts and another one", where=where, hint=hint)
        fitting = {name: encoder for name, encoder in others.items() if len(others) == 1 or (name == role if role in others else suits(encoder))}
        if len(fitting) != 1:
            raise UserError(f"several inputs can get the name of a class: {', '.join(others)}", where=where, hint="choose one with --role")
        return cls(texts[0], *fitting.values())


def class_vectors(encoder: Encoder, project: Project, names: Sequence[str], templates: Sequence[str], device: str) -> Float[Tensor, "classes dim"]:
    """Unit vectors: of each class the mean over templates of those of its sentences (Radford et al. 2021, section 3.1.4)."""
    if wrong := [template for template in templates if PLACE not in template]:
        raise UserError(f"the template {wrong[0]!r} has no {PLACE}", hint=f"say where the name goes, as in 'a picture of a {PLACE}'")
    if not templates:
        raise UserError("there is no template", hint=f"give one, as in 'a picture of a {PLACE}'")
    sentences = [template.replace(PLACE, name) for name in names for template in templates]
    features = encode(encoder, Text(Strings.of(sentences)), torch.arange(len(sentences)), device=device)
    vectors = F.normalize(project(encoder, features), dim=1).unflatten(0, (len(names), len(templates)))
    return F.normalize(vectors.mean(1), dim=1)


def probabilities_by_name(
    run: Run, senses: Senses, names: Sequence[str], templates: Sequence[str], value: Value, device: str
) -> Iterator[Float[Tensor, "batch classes"]]:
    """Of the classes for each sample, a batch at a time, in order: a softmax of its cosines with them, at the temperature of the training."""
    method = trained_method(run)
    project, scale = shared_space(run), method.shared_scale
    vectors = class_vectors(senses.text, project, names, templates, device)
    for features in encoded(senses.other, value, torch.arange(len(value)), device=device):
        yield (scale * class_likeness(senses.other, project, features, vectors)).softmax(1)


def class_likeness(
    encoder: Encoder, project: Project, features: Float[Tensor, "samples dim"], classes: Float[Tensor, "classes space"]
) -> Float[Tensor, "samples classes"]:
    """Cosines of samples with classes."""
    return F.normalize(project(encoder, features), dim=1) @ classes.T


def read_names(path: str | Path, codes: Sequence[str] = ()) -> tuple[str, ...]:
    """What classes are called, from a file: a name a line, or a table whose column `name` says what each of the codes is called. codes: the classes
    that the data has; with them, the names are in their order. Raises UserError for names that do not fit."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(
            "no such file", where=path, hint="give a file with a name per line, or a table with a column for the classes and one for names"
        )
    if path.suffix.lower() in (".csv", ".tsv"):
        columns = read_delimited(path).columns
        names = names_for(codes, columns) if codes else tuple(next(iter(columns.values()))) if len(columns) == 1 else tuple(columns.get("name", ()))
    else:
        lines = tuple(line.strip() for line in read_lines(path).columns["text"])
        names = lines if not codes or set(codes) == set(lines) or len(codes) == len(lines) else None
        names = tuple(codes) if names and set(codes) == set(names) else names
    if not names or len(names) < 2 or not all(names) or len(set(names)) < len(names):
        what = f"it does not name each of the {len(codes)} classes once" if codes else "it does not name two classes or more, each once"
        raise UserError(what, where=path, hint="one name per line in the order of the classes, or a table with a column `class` and a column `name`")
    return tuple(names)
