"""An encoder's folder: config.json (library, name, arguments, input specification) and model.safetensors."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from leaven.encoders import Encoder, describe_encoder, rebuild_encoder
from leaven.errors import UserError
from leaven.modalities import InputSpec
from leaven.modalities.tokenizer import Tokenizer
from leaven.run import write_json, write_whole
from leaven.stored import Described, building, checked, read_json

Module = TypeVar("Module", bound=nn.Module)


def save_encoder(folder: Path, encoder: nn.Module) -> None:
    weights = {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    write_whole(folder / "model.safetensors", lambda partial: save_file(weights, partial))
    if isinstance(encoder, Encoder) and encoder.tokenizer is not None:
        write_whole(folder / "tokenizer.json", encoder.tokenizer.save)
    write_json(folder / "config.json", describe_encoder(encoder))


def stored(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise UserError("no encoder here", where=folder, hint="the training may not have finished: run the same pretrain command again")
    return folder / name


def weights_digest(folder: Path) -> str:
    """The same for the same weights, wherever they lie. UserError where there are none."""
    with open(stored(folder, "model.safetensors"), "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def load_encoder(folder: Path) -> Encoder:
    """Raises UserError where the folder holds no whole encoder."""
    path, weights = stored(folder, "config.json"), stored(folder, "model.safetensors")
    described = checked(read_json(path), Described, path)
    try:
        with safe_open(weights, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        encoder = fitting(lambda: rebuild_encoder(described), shapes, weights)
        encoder.load_state_dict(load_file(weights))
    except (SafetensorError, OSError) as error:
        raise UserError("model.safetensors is not whole", where=folder, hint=str(error).splitlines()[0]) from None
    encoder.tokenizer = load_tokenizer(folder)
    return encoder.eval()


def fitting(build: Callable[[], Module], shapes: Mapping[str, tuple[int, ...]], where: Path) -> Module:
    """What is built, if its parameters and buffers have these shapes, which is seen before memory is taken for them. UserError where they differ."""
    with building(where.parent):
        with torch.device("meta"):
            wanted = {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}
        if odd := next((name for name in [*wanted, *shapes] if wanted.get(name) != shapes.get(name)), None):
            what = f"{where.name} does not fit its config.json: {odd} is {shapes.get(odd, 'missing')}, not {wanted.get(odd, 'missing')}"
            raise UserError(what, where=where.parent, hint="take a whole copy of the run")
        return build()


def load_tokenizer(folder: Path) -> Tokenizer | None:
    """That of the encoder in this folder; None where it reads no text."""
    path, described = folder / "tokenizer.json", read_json(folder / "config.json")
    return Tokenizer.load(path, InputSpec.from_dict(checked(described, Described, folder / "config.json")["input"])) if path.is_file() else None
