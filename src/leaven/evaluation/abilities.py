"""What trained methods do beside giving features."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.methods.method import Method
from leaven.methods.registry import registry
from leaven.modalities import InputSpec, Strings, Text, Value
from leaven.modalities.modality import fitted
from leaven.modules.writing import Decoding
from leaven.run import Run
from leaven.training.trained import trained_method

ABILITIES = {
    "sample": "makes no new samples",
    "log_prob": "gives no likelihood",
    "decode": "makes nothing from its features",
    "from_text": "makes no samples of what a text says",
    "segment": "names no pixels",
    "detect": "finds no objects",
    "generate": "makes nothing of one input from another",
}
AT_ONCE = 250  # a constant, since what is random in a block is drawn for the block


def open_method(run: str | Path | Run, ability: str, method: str | type[Method] | None = None) -> Method:
    """The trained method of a run. Raises UserError where it lacks an ability, and names the methods that have it."""
    run = Run.open(run)
    trained = trained_method(run, method)
    if ability not in trained.abilities():
        others = [name for name, other in registry().items() if ability in other.abilities()]
        raise UserError(f"{trained.name} {ABILITIES[ability]}", where=run.path, hint=f"train one of {', '.join(others)}")
    return trained


@torch.no_grad()
def new_samples(method: Method, count: int, labels: Int64[Tensor, " count"] | None = None, *, seed: int = 0, device: str = "cpu") -> Iterator[Value]:
    """New samples of these classes, or of any, block by block on the CPU. The same seed gives the same ones, and a larger count begins with them."""
    method = method.to(device).eval()
    for number, rows in enumerate(torch.arange(count).split(AT_ONCE)):
        wanted = None if labels is None else labels[rows].to(device)
        yield method.sample(len(rows), Draw("sample", seed, number, device=device), wanted).to("cpu")


@torch.no_grad()
def samples_from_texts(method: Method, texts: Sequence[str], *, seed: int = 0, device: str = "cpu") -> Iterator[Value]:
    """A new sample for each text, block by block on the CPU. The same seed gives the same ones, and more texts begin with them."""
    method = method.to(device).eval()
    for number, rows in enumerate(torch.arange(len(texts)).split(AT_ONCE)):
        some = Text(Strings.of([texts[row] for row in rows.tolist()]))
        yield method.from_text(some, Draw("sample", seed, number, device=device)).to("cpu")


@torch.no_grad()
def log_probs(method: Method, value: Value, input: InputSpec, *, seed: int = 0, device: str = "cpu") -> Iterator[Float[Tensor, " block"]]:
    """`log_prob` of every sample, block by block, in order, on the CPU. The same seed draws the same."""
    method = method.to(device).eval()
    for number, rows in enumerate(torch.arange(len(value)).split(AT_ONCE)):
        block = fitted(value[rows].to(device), input)
        yield method.log_prob(block, Draw("log_prob", seed, number, device=device)).double().cpu()


def direction_of(method: Method, source: str | None, target: str | None, where: object) -> tuple[str, str]:
    """Which role is read, and which one is made of it. Raises UserError where the method does not do that, or does several such things."""
    known = method.directions()
    wanted = [(first, second) for first, second in known if source in (None, first) and target in (None, second)]
    if len(wanted) != 1:
        flags = " or ".join(f"--from {first} --to {second}" for first, second in known)
        what = "it is not clear what is made" if wanted else f"this run does not make {target or 'anything'} from {source or 'anything'}"
        raise UserError(what, where=where, hint=f"choose {flags}")
    return wanted[0]


@torch.no_grad()
def generated(method: Method, value: Value, source: str, target: str, decoding: Decoding, *, seed: int = 0, device: str = "cpu") -> Iterator[Value]:
    """A sample of the role `target` for each one of the role `source`, block by block, in order, on the CPU. The same seed draws the same."""
    method = method.to(device).eval()
    encoder: Any = method.encoders()[source]
    for number, rows in enumerate(torch.arange(len(value)).split(AT_ONCE)):
        block = fitted(value[rows].to(device), encoder.input)
        yield method.generate(block, source, target, decoding, Draw("generate", seed, number, device=device)).to("cpu")


@torch.no_grad()
def reconstructed(method: Method, value: Value, input: InputSpec, *, device: str = "cpu") -> Iterator[tuple[Value, Value]]:
    """Each block of samples as the encoder reads it, and what is decoded from its features of it; both on the CPU."""
    method = method.to(device).eval()
    for rows in torch.arange(len(value)).split(AT_ONCE):
        block = fitted(value[rows].to(device), input)
        yield block.to("cpu"), method.decode(method.encoder(block).float()).to("cpu")
