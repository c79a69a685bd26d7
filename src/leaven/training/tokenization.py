"""Text into tokens before a training: by a tokeniser of the run's own, of the model it starts from, or of the run that it goes on from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from leaven.data.dataset import DataSet
from leaven.encoders import OWN
from leaven.encoders.store import load_encoder
from leaven.errors import UserError
from leaven.methods.registry import find_method, replace_fields
from leaven.modalities import InputSpec, Text
from leaven.modalities.content import evenly_spaced
from leaven.modalities.tokenizer import Tokenizer
from leaven.run import Run, read_json, write_json, write_whole
from leaven.training.distributed import made_by_first

if TYPE_CHECKING:
    from leaven.training.pretraining import Request

TEXTS_FOR_TOKENS = 1_000_000
OWN_NAMES = (*OWN, "auto")


def split_settings(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of the tokeniser, by what follows "tokenizer.", and the others."""
    of_tokenizer = {name.removeprefix("tokenizer."): value for name, value in settings.items() if name.startswith("tokenizer.")}
    return of_tokenizer, {name: value for name, value in settings.items() if not name.startswith("tokenizer.")}


def in_tokens(request: Request, data: DataSet, folder: Run | None = None) -> tuple[DataSet, Tokenizer | None, list[dict[str, Any]]]:
    """The data with its texts in tokens, by which tokeniser, and the choices made; the data itself where it holds no text.

    folder: of a run, whose training goes on with the tokeniser that it has.
    """
    own, _ = split_settings(request.settings)
    if not holds_text(data):
        if own:
            raise UserError("only text has a tokeniser", where=f"tokenizer.{next(iter(own))}")
        return data, None, []
    tokenizer, why = made_by_first(lambda: chosen(request, data, own, folder))
    made = [{"what": "tokeniser", "value": f"{tokenizer.vocabulary:,} tokens, {tokenizer.max_length} of a text", "why": why}]
    if set(data.rows.roles) != {"x"} or find_method(request.method).classifies:
        return tokenized(data, tokenizer), tokenizer, made
    read = in_pieces(data, tokenizer)
    if more := len(read) - len(data):
        why = f"{more:,} more than texts: longer ones are learned from in pieces"
        made.append({"what": "samples", "value": f"{len(read):,}", "why": why})
    return read, tokenizer, made


def chosen(request: Request, data: DataSet, own: dict[str, Any], folder: Run | None) -> tuple[Tokenizer, str]:
    if request.start is not None:
        encoder = load_encoder(request.start.encoder_folder)
        if encoder.tokenizer is None:
            raise UserError("the encoder of this run does not read text", where=request.start.path)
        return encoder.tokenizer, "that of the run"
    if folder is not None and folder.config_path.is_file() and (kept := kept_tokenizer(folder)) is not None:
        return kept, "as before"
    choice = replace_fields(find_method(request.method).tokens, own, "tokenizer")
    if request.encoder not in OWN_NAMES:
        return Tokenizer.of_model(request.encoder, choice.max_length), f"that of {request.encoder}"
    return Tokenizer.trained(training_texts(data), choice), f"{choice.kind}, trained on these texts"


def training_texts(data: DataSet) -> list[str]:
    """The texts of all roles that may be trained on, at most a million of them."""
    members = data.train()
    rows = members[torch.from_numpy(evenly_spaced(len(members), TEXTS_FOR_TOKENS))]
    return [text for value in data.rows.roles.values() if isinstance(value, Text) for text in value[rows].texts]


def keep_tokenizer(tokenizer: Tokenizer, folder: Run) -> None:
    write_json(folder.tokenizer_folder / "config.json", tokenizer.input.to_dict())
    write_whole(folder.tokenizer_folder / "tokenizer.json", tokenizer.save)


def kept_tokenizer(folder: Run) -> Tokenizer | None:
    path = folder.tokenizer_folder / "tokenizer.json"
    return Tokenizer.load(path, InputSpec.from_dict(read_json(path.with_name("config.json")))) if path.is_file() else None


def tokenized(data: DataSet, tokenizer: Tokenizer) -> DataSet:
    """The same samples with every text in tokens."""
    roles = {role: tokenizer(value) if isinstance(value, Text) else value for role, value in data.rows.roles.items()}
    inputs = {role: tokenizer.input if isinstance(data.rows.roles[role], Text) else spec for role, spec in data.spec.roles.items()}
    return dataclasses.replace(data, rows=dataclasses.replace(data.rows, roles=roles), spec=dataclasses.replace(data.spec, roles=inputs))


def in_pieces(data: DataSet, tokenizer: Tokenizer) -> DataSet:
    """The texts of a data set in tokens, those that are longer than what is read in several samples, each with the label, group, split and file of
    its text."""
    pieces, text = tokenizer.pieces(data.rows["x"])  # type: ignore[arg-type]
    rest = dataclasses.replace(data.rows, roles={}).select(text)
    rows = dataclasses.replace(rest, roles={"x": pieces}, index=torch.arange(len(text)))
    splits = {name: torch.isin(text, part).nonzero().flatten() for name, part in data.splits.items()}
    spec = dataclasses.replace(data.spec, samples=len(text), labeled=int((rows.label >= 0).sum()), roles={"x": tokenizer.input})
    files = data.files.take(text.numpy())
    return dataclasses.replace(data, rows=rows, splits=splits, spec=spec, hashes=data.hashes[text], files=files)


def holds_text(data: DataSet) -> bool:
    return any(isinstance(value, Text) for value in data.rows.roles.values())
