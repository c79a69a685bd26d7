"""Trained models from elsewhere: of timm, of the Hugging Face hub, and in folders. Only their weights are used, never code that comes with them."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from leaven.encoders.build import build_encoder
from leaven.encoders.encoder import Encoder
from leaven.encoders.store import load_encoder, load_tokenizer
from leaven.encoders.timm import Timm
from leaven.encoders.transformer import TextEncoder
from leaven.errors import UserError, unknown_name
from leaven.modalities import InputSpec, modality_of
from leaven.modalities.tokenizer import Tokenizer
from leaven.run import Run, is_run
from leaven.stored import read_json

TIMM, HUB = "timm:", "hf:"
SIDE = re.compile(r"(.+)@(\d{1,5})")
NAMES = "give timm:NAME, hf:NAME, or the folder of a run, of an exported encoder, or of a timm or transformers model"
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first", "pooling_mode_lasttoken": "last"}
"""How sentence-transformers calls what Leaven calls by these names."""


def is_model(name: object) -> bool:
    """Whether this is the name of a trained model other than a run: timm:NAME, hf:NAME, or a folder with a model's config.json."""
    text, _ = without_side(str(name))
    return text.startswith((TIMM, HUB)) or (Path(text, "config.json").is_file() and not is_run(Path(text)))


def load_model(name: str | Path | Run, input: InputSpec, side: int | None = None, arguments: Mapping[str, Any] | None = None) -> Encoder:
    """A trained model that reads such samples, in eval mode.

    name: timm:NAME, hf:NAME, a run, or the folder of a run (of several encoders, the one that reads such samples), of an encoder, or of a timm or
    transformers model. side: of the pictures that a timm model reads; `NAME@64` says it as well (None: the side that it was trained with).
    arguments: of the encoder around a transformers model.
    Raises UserError where there is no such model, its weights cannot be had, or it does not read such samples.
    """
    text, own_side = without_side(str(name.path if isinstance(name, Run) else name))
    folder, library = Path(text).expanduser(), modality_of(input).library
    described = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    kind, _, there = text.partition(":")
    published = f"{kind}:" in (TIMM, HUB)
    if published and library not in ("timm", *(["transformers"] if f"{kind}:" == HUB else [])):
        raise UserError(f"{text} does not read {input.modality}", hint="leave it out, or give a model that does")
    if not published and not described:
        raise UserError("no model is here", where=text, hint=NAMES)
    if library == "transformers" and (published or "model_type" in described):
        source = there if published else str(folder)
        if modality_of(input).tokenized:
            return text_model(source, text, input, arguments or {}).eval()
        return build_encoder(source, input, dict(arguments or {})).eval()
    if arguments:
        raise UserError(f"the encoder is a trained model and has no {sorted(arguments)[0]!r} to set", where=text)
    if library == "timm" and (published or "architecture" in described):
        source = there if f"{kind}:" == TIMM else f"hf-hub:{there}" if published else f"local-dir:{folder}"
        model = timm_model(source, text, input, own_side or side)
    elif own_side is not None:
        raise UserError(f"{text} is read at the side that it was trained with", hint=f"leave @{own_side} out")
    elif "asked" in described:
        model = encoder_of(Run.open(folder), input)
    elif "library" in described:
        model = stored_encoder(folder)
    else:
        raise UserError(f"this model does not read {input.modality}", where=text, hint=NAMES)
    if why := unlike(model, input):
        raise UserError(f"{text} does not suit the data: {why}")
    return model.eval()


def without_side(name: str) -> tuple[str, int | None]:
    """A model's name, and the side of pictures that stands behind it."""
    match = None if Path(name).exists() else SIDE.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, None)


def unlike(model: Encoder, input: InputSpec) -> str:
    """Why a model does not read such samples; empty where it does."""
    if model.input.modality != input.modality:
        return f"it reads {model.input.modality}, and the data is {input.modality}"
    return model.modality.difference(input, model.input)


def timm_model(source: str, name: str, input: InputSpec, side: int | None) -> Encoder:
    """A picture model with its weights and the normalisation that they want. source: as timm calls it."""
    import timm

    plain = source.partition(".")[0]
    if not source.startswith(("hf-hub:", "local-dir:")) and not timm.is_model(plain):
        raise unknown_name("timm model", plain, timm.list_models(pretrained=True), "timm.list_models(pretrained=True)")
    try:
        with torch.device("meta"):  # what it is, without memory for it
            published: Any = timm.create_model(source, num_classes=0).pretrained_cfg
        side = side or published["input_size"][-1]
        model = Timm(dataclasses.replace(input, shape=(input.shape[0], side, side)), model=source, pretrained=True)
    except UserError:
        raise
    except Exception as error:  # whatever the libraries under timm raise where nothing can be fetched, or a file is damaged
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"the weights of {name} cannot be had: {why}", hint="they are fetched once; without a network, give a folder") from error
    model.arguments = {"model": published["architecture"], "pretrained": True}
    return model.to(memory_format=model.memory_format)


def text_model(source: str, name: str, input: InputSpec, arguments: Mapping[str, Any]) -> Encoder:
    """A text model with its weights and its tokeniser; its tokens are pooled as sentence-transformers does, where it comes from there."""
    from transformers.utils import cached_file

    tokenizer = Tokenizer.of_model(source)
    quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors", "gated_repo")}
    pooled = cached_file(source, "1_Pooling/config.json", **quiet)  # type: ignore[arg-type]
    said = [mode for mode, on in (read_json(Path(pooled)) if pooled else {}).items() if on is True and mode.startswith("pooling_mode_")]
    if unknown := [mode for mode in said if mode not in POOLINGS] or said[1:]:
        raise UserError(f"{name} pools its tokens by {unknown[0]}, which Leaven does not", hint="give another model")
    read = dataclasses.replace(input, shape=tokenizer.input.shape) == tokenizer.input  # these very tokens, perhaps fewer of them
    model = build_encoder(source, input if read else tokenizer.input, {**({"pooling": POOLINGS[said[0]]} if said else {}), **arguments})
    assert isinstance(model, TextEncoder)
    if (whitening := Path(source) / "whitening.safetensors").is_file():  # beside a model that Leaven exported
        model.whitening.load_state_dict(load_file(whitening))
    model.tokenizer = tokenizer
    return model


def encoder_of(run: Run, input: InputSpec) -> Encoder:
    """The only encoder of a run that reads such samples."""
    encoders = {role: stored_encoder(run.folder_of(role)) for role in run.roles or (None,)}
    fitting = [role for role, encoder in encoders.items() if not unlike(encoder, input)] or list(encoders)
    if len(fitting) > 1:
        several = f"several encoders of this run could read {input.modality}: {', '.join(map(str, fitting))}"
        raise UserError(several, where=run.path, hint="give the folder of one of them, RUN/encoder/ROLE")
    return encoders[fitting[0]]


def stored_encoder(folder: Path) -> Encoder:
    if (folder / "config.json").is_file() and read_json(folder / "config.json").get("library") == "method":
        raise UserError("the networks of this method do not say what input they take", where=folder, hint="give another run")
    return load_encoder(folder)


def tokenizer_of(name: str, max_length: int | None = None) -> Tokenizer:
    """That of a model which reads text. Raises UserError where it has none."""
    if "library" in (read_json(Path(name, "config.json")) if Path(name, "config.json").is_file() else {}):
        tokenizer = load_tokenizer(Path(name))
        if tokenizer is None:
            raise UserError("this encoder does not read text", where=name)
        return tokenizer
    return Tokenizer.of_model(name.removeprefix(HUB), max_length)
