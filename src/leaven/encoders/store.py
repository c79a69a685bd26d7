"""An encoder's folder: config.json (library, name, arguments, input specification) and model.safetensors."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from leaven.encoders import Encoder, build_encoder, describe_encoder
from leaven.errors import UserError
from leaven.modalities import InputSpec
from leaven.modalities.tokenizer import Tokenizer
from leaven.run import read_json, write_json, write_whole


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
    config = read_json(stored(folder, "config.json"))
    try:
        arguments = {name: value for name, value in config["arguments"].items() if name != "pretrained"}
        encoder = build_encoder(config["name"], InputSpec.from_dict(config["input"]), arguments)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"config.json does not describe an encoder ({type(error).__name__}: {error})", where=folder, hint="update leaven") from None
    try:
        encoder.load_state_dict(load_file(folder / "model.safetensors"))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError("model.safetensors does not fit its config.json", where=folder, hint=str(error).splitlines()[0]) from None
    encoder.tokenizer = load_tokenizer(folder)
    return encoder.eval()


def load_tokenizer(folder: Path) -> Tokenizer | None:
    """That of the encoder in this folder; None where it reads no text."""
    path = folder / "tokenizer.json"
    return Tokenizer.load(path, InputSpec.from_dict(read_json(folder / "config.json")["input"])) if path.is_file() else None
