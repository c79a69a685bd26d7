"""What a finished training left behind: its method, and its encoders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leaven.data.spec import DataSpec
from leaven.draw import seed_of
from leaven.encoders import Encoder, Projected, Quantized, describe_encoder, rebuild_encoder
from leaven.encoders.store import fitting, load_encoder
from leaven.errors import UserError
from leaven.methods.method import Method
from leaven.methods.registry import build_method, find_method, known_method
from leaven.run import Run
from leaven.stored import building, read_json
from leaven.training.checkpoint import Checkpoints
from leaven.training.tokenization import attach, kept_tokenizers


def trained_method(folder: Run, method: str | type[Method] | None = None) -> Method:
    """The method as it was when its training ended (or was last saved), heads and teachers included.

    method: needed where the run names a file of code (`file.py:Class`), which is never run on the word of the run's folder alone.
    """
    state = Checkpoints(folder.checkpoints).load()
    if state is None:
        raise UserError("no whole checkpoint here", where=folder.path, hint="run the same pretrain command again")

    def build() -> Method:
        grown = rebuilt_method(folder, method)
        grown.grow_until(state["stage"])
        return grown

    with building(folder.checkpoints):
        trained = fitting(build, {name: tuple(tensor.shape) for name, tensor in state["method"].items()}, folder.checkpoints)
        trained.load_state_dict(state["method"])
    attach(kept_tokenizers(folder), trained)
    return trained.eval()


def rebuilt_method(folder: Run, method: str | type[Method] | None = None) -> Method:
    """The same around the encoders that it was built with, with fresh weights."""
    asked = folder.config["asked"]
    kind = find_method(method) if method is not None else known_method(asked["method"]["name"], folder.path)
    if method is None and not kind.kept_whole:
        what = f"{kind.name} does not keep with a run all that it learned from: what is left of it is the encoder"
        raise UserError(what, where=folder.path, hint="use the encoder, as `leaven embed` and `leaven evaluate` do")

    def around(described: dict[str, dict[str, Any]]) -> Method:
        encoders = {role: rebuild_encoder(one) for role, one in described.items()}
        return build_method(kind, DataSpec.from_dict(asked["data"]["spec"]), encoders, asked["method"]["hyperparameters"])[0]

    if "given" in asked:
        return around(asked["given"])
    # a run of an earlier version says only what was kept: a code or codebook that the method put around an encoder is taken off first
    kept = {name: described for name, described in asked["encoder"].items() if described["library"] != "method"}
    built = around({name: without_wrapper(described) for name, described in kept.items()})
    names = [describe_encoder(encoder)["name"] for encoder in built.encoders().values()]
    return built if names == [described["name"] for described in asked["encoder"].values()] else around(kept)


def without_wrapper(described: dict[str, Any]) -> dict[str, Any]:
    """The description of the encoder that a code or a codebook was put around; that of any other encoder as it is."""
    arguments = described["arguments"]
    if described["name"] not in (Projected.name, Quantized.name) or "encoder" not in arguments:
        return described
    return {"name": arguments["encoder"], "arguments": arguments["options"], "input": described["input"]}


def load_network(run: str | Path | Run, role: str | None = None, method: str | type[Method] | None = None) -> nn.Module:
    """The trained encoder, in eval mode: raw input -> features. role: which of several encoders.

    method: the class, or file.py:Class, of a run whose networks are those of a user's own method; code that a run names is never run by itself.
    Raises UserError where the run has several encoders and no role says which, or none of this role.
    """
    opened = Run.open(run)
    if role is None and opened.roles:
        raise UserError(f"this run has several encoders: {', '.join(opened.roles)}", where=opened.path, hint="choose one of them with role (--role)")
    if role is not None and role not in opened.roles:
        hint = f"it has {', '.join(opened.roles)}" if opened.roles else "leave role out: this run has one encoder"
        raise UserError(f"no encoder is named {role!r}", where=opened.path, hint=hint)
    folder = opened.folder_of(role)
    if (folder / "config.json").is_file() and read_json(folder / "config.json").get("library") == "method":
        encoders = trained_method(opened, method).encoders()
        return encoders[role] if role else next(iter(encoders.values()))
    encoder = load_encoder(folder)
    encoder.role = role
    return encoder


def load_encoder_of(run: str | Path | Run, role: str | None = None) -> Encoder:
    """The same, where the encoder's input must be known. UserError for a method's own networks, which do not say what they read."""
    encoder = load_network(run, role)
    if not isinstance(encoder, Encoder):
        what = "the networks of this method do not say what input they take"
        raise UserError(what, where=Run.open(run).path, hint="use them in Python: leaven.load")
    return encoder


def data_role(spec: DataSpec, encoder: Encoder, role: str | None = None) -> str:
    """Which role of the data an encoder reads: `role` (else the encoder's own) if the data has it, else "x", else the only one of its modality.

    Raises UserError where no role fits, or where several fit and none was chosen; it names the roles that there are.
    """
    there = ", ".join(f"{name} ({input.modality})" for name, input in spec.inputs.items())
    if role is not None and role not in spec.roles and role != encoder.role:
        raise UserError(f"the data has no role {role!r}", hint=f"it has {there}")
    fitting = spec.roles_like(encoder.input)
    wanted = [role] if role in spec.roles else [encoder.role, "x"]
    if chosen := next((name for name in wanted if name in fitting), None):
        return chosen
    if role in spec.roles or not fitting:
        raise UserError(f"this encoder reads {encoder.input.modality}, and the data has {there}", hint="give data like that of its run")
    if len(fitting) > 1:
        raise UserError(f"this encoder can read several roles of the data: {', '.join(fitting)}", hint="choose one with role (--role)")
    return fitting[0]


def load_encoders(run: Run, role: str | None = None) -> dict[str, Encoder]:
    """The encoders that a run keeps, by the role that each was trained for; with a role, that one. The key of a run's only encoder is a mere name."""
    if not run.roles:
        return {role or "encoder": load_encoder_of(run)}
    return {name: load_encoder_of(run, name) for name in ([role] if role else run.roles)}


def shared_space(run: Run, seed: int | None = None) -> Callable[[Encoder, Tensor], Tensor]:
    """A function from the features of each of a run's encoders to the space in which its method compares all roles.

    seed: of fresh weights in place of the trained ones, for an untrained floor. Raises UserError where the method learned no such space.
    """
    if seed is None:
        method = trained_method(run)
    else:
        torch.manual_seed(seed_of(seed, "untrained"))
        method = rebuilt_method(run).eval()
    projectors = method.shared_space()
    if not projectors:
        what = f"{method.name} learned no space in which its encoders' features are compared"
        raise UserError(what, where=run.path, hint="use one role alone")

    @torch.no_grad()
    def project(encoder: Encoder, features: Tensor) -> Tensor:
        return projectors[str(encoder.role)](features)

    return project
