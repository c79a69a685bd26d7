"""Text into tokens before a training: by a tokeniser of the run's own, of the model it starts from, or of the run that it goes on from."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from leaven.data.dataset import DataSet
from leaven.encoders import OWN, Encoder
from leaven.encoders.public import tokenizer_of
from leaven.encoders.store import load_tokenizer
from leaven.errors import UserError
from leaven.hyperparameters import replace_fields
from leaven.methods.method import Method
from leaven.modalities import InputSpec, modality_of
from leaven.modalities.content import evenly_spaced
from leaven.modalities.tokenizer import Tokenizer
from leaven.run import Run, write_json, write_whole
from leaven.stored import Input, checked, read_json
from leaven.training.checkpoint import begun
from leaven.training.distributed import made_by_first
from leaven.training.request import Request, Source, settings_by_role

TEXTS_FOR_TOKENS = 1_000_000  # at most, of each role


def in_tokens(
    request: Request,
    data: DataSet,
    kind: type[Method],
    sources: Mapping[str, Source],
    reads: Mapping[str, Sequence[str]],
    folder: Run | None = None,
) -> tuple[DataSet, dict[str, Tokenizer], list[dict[str, Any]]]:
    """The data with the texts that are read in tokens and without the others, the tokeniser of each encoder that reads text, and the choices made.

    sources: where each encoder comes from, by its role. reads: the roles of the data that it reads. folder: of a run, whose training goes on with the
    tokenisers that it has. Data without text stays as it is.
    """
    texts = {role: [name for name in names if name in text_roles(data)] for role, names in reads.items()}
    readers = {role: names for role, names in texts.items() if names}
    for role, settings in settings_by_role(request.settings, "tokenizer").items():
        if role not in readers and (role or not readers):
            raise UserError("only text has a tokeniser", where=".".join(filter(None, ("tokenizer", role, next(iter(settings))))))
    read = [name for names in readers.values() for name in names]
    unread = [name for name in text_roles(data) if name not in read]
    choices = []
    if unread:
        data = data_of(data, {name: value for name, value in data.rows.roles.items() if name not in unread}, data.spec.roles)
        choices.append({"what": "roles", "value": ", ".join(data.rows.roles), "why": f"{kind.name} does not read {', '.join(unread)}"})
    tokenizers = {}
    for role, names in readers.items():
        tokenizers[role], why = made_by_first(partial(chosen, data, kind, sources[role], role, names, folder))
        what = "tokeniser" if len(readers) == 1 else f"tokeniser of {role}"
        value = f"{tokenizers[role].vocabulary:,} tokens, at most {tokenizers[role].max_length} per text"
        choices.append({"what": what, "value": value, "why": why})
    if read != ["x"] or len(data.rows.inputs) > 1 or kind.classifies:
        for role, names in readers.items():
            written, data = data.rows, tokenized(data, tokenizers[role], names)
            setting = f"tokenizer.{role}.max_length" if len(reads) > 1 else "tokenizer.max_length"
            hint = "" if sources[role].folder else f"; --set {setting}=N reads more"
            for name in names:
                if cut := tokenizers[role].cut_short(written[name], data.rows[name]):  # type: ignore[arg-type]
                    why = f"their {name} is cut after {tokenizers[role].max_length} tokens{hint}"
                    choices.append({"what": "long texts", "value": f"{cut:,} of {len(data):,} samples", "why": why})
        return data, tokenizers, choices
    pieces = in_pieces(data, tokenizers["x"])
    if more := len(pieces) - len(data):
        choices.append({"what": "samples", "value": f"{len(pieces):,}", "why": f"{more:,} more than texts: long texts are read in pieces"})
    return pieces, tokenizers, choices


def chosen(data: DataSet, kind: type[Method], source: Source, role: str, names: Sequence[str], folder: Run | None) -> tuple[Tokenizer, str]:
    """The tokeniser of one encoder, which reads the texts of the roles `names`, and why this one."""
    if source.folder is not None:
        tokenizer = load_tokenizer(source.folder)
        if tokenizer is None:
            raise UserError("the encoder of this run does not read text", where=source.folder)
        return tokenizer, "that of the run"
    if folder is not None and begun(folder) and (kept := kept_tokenizers(folder)):
        return kept.get(role) or kept[""], "as before"
    choice = replace_fields(kind.tokens, source.tokenizer, "tokenizer")
    if source.name != "auto" and source.name not in OWN:
        return tokenizer_of(source.name, choice.max_length), f"that of {source.name}"
    members = data.train()
    rows = members[torch.from_numpy(evenly_spaced(len(members), TEXTS_FOR_TOKENS))]
    texts = [text for name, value in data.rows.roles.items() if name in names for text in value[rows].texts]  # type: ignore[attr-defined]
    return Tokenizer.trained(texts, choice), f"{choice.kind}, trained on these texts"


def keep_tokenizers(tokenizers: Mapping[str, Tokenizer], folder: Run) -> None:
    """Into the run's folder: tokenizer/, or tokenizer/ROLE/ where there are several."""
    for role, tokenizer in tokenizers.items():
        place = folder.tokenizer_folder / role if len(tokenizers) > 1 else folder.tokenizer_folder
        write_json(place / "config.json", tokenizer.input.to_dict())
        write_whole(place / "tokenizer.json", tokenizer.save)


def kept_tokenizers(folder: Run) -> dict[str, Tokenizer]:
    """The tokenisers of a run by role; a single one serves every role and has the role ""."""
    paths = [*folder.tokenizer_folder.glob("tokenizer.json"), *sorted(folder.tokenizer_folder.glob("*/tokenizer.json"))]
    described = {path: path.with_name("config.json") for path in paths}
    specs = {path: InputSpec.from_dict(checked(read_json(config), Input, config)) for path, config in described.items()}
    return {"" if path.parent == folder.tokenizer_folder else path.parent.name: Tokenizer.load(path, spec) for path, spec in specs.items()}


def attach(tokenizers: Mapping[str, Tokenizer], method: Method) -> None:
    """The encoders of text that a method keeps read it by the tokeniser of their role, or by the only one."""
    for name, encoder in method.encoders().items():
        if tokenizers and isinstance(encoder, Encoder) and encoder.modality.tokenized:
            encoder.tokenizer = tokenizers.get(name, next(iter(tokenizers.values())))


def tokenized(data: DataSet, tokenizer: Tokenizer, names: Collection[str] | None = None) -> DataSet:
    """The same samples with the texts of these roles (None: of all) in tokens."""
    texts = {role for role in text_roles(data) if names is None or role in names}
    roles: dict[str, Any] = {role: tokenizer(value) if role in texts else value for role, value in data.rows.roles.items()}  # type: ignore[arg-type]
    return data_of(data, roles, {role: tokenizer.input if role in texts else data.spec.roles[role] for role in roles})


def data_of(data: DataSet, roles: dict[str, Any], inputs: Mapping[str, InputSpec]) -> DataSet:
    """The same samples with these values in their roles."""
    spec = dataclasses.replace(data.spec, roles={role: inputs[role] for role in roles})
    return dataclasses.replace(data, rows=dataclasses.replace(data.rows, roles=roles), spec=spec)


def in_pieces(data: DataSet, tokenizer: Tokenizer) -> DataSet:
    """The texts of a data set in tokens, long ones as several samples, each with the label, group, split and file of its text."""
    pieces, text = tokenizer.pieces(data.rows["x"])  # type: ignore[arg-type]
    targets = {role: value for role, value in data.rows.roles.items() if role not in data.rows.inputs}
    rest = dataclasses.replace(data.rows, roles=targets).select(text)
    rows = dataclasses.replace(rest, roles={"x": pieces, **rest.roles}, index=torch.arange(len(text)))
    splits = {name: torch.isin(text, part).nonzero().flatten() for name, part in data.splits.items()}
    spec = dataclasses.replace(data.spec, samples=len(text), labeled=int(rows.labeled.sum()), roles={**data.spec.roles, "x": tokenizer.input})
    files = data.files.take(text.numpy())
    return dataclasses.replace(data, rows=rows, splits=splits, spec=spec, hashes=data.hashes[text], files=files)


def text_roles(data: DataSet) -> list[str]:
    """The roles that hold text as it was written."""
    return [role for role, spec in data.spec.roles.items() if modality_of(spec).tokenized and not spec.shape]
