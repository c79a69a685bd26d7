"""What a user may say of a training, and what that means for each encoder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from leaven.errors import UserError
from leaven.hyperparameters import Count, Positive, Seed, Side, convert
from leaven.methods.method import Method
from leaven.run import Run, is_run

BY_ROLE = re.compile(r"\w+=")


@dataclass
class Request:
    """What a user may say of a training. Lengths: at most one of budget (seconds), epochs and steps.

    encoder: "auto", a name, or a run (or its folder) whose encoder the training goes on from; or one of these for each role, as a mapping or as
    "image=convnet,text=runs/words"; roles that are not named have theirs chosen. start_role: which of a run's encoders (None: the one that fits).
    settings: hyper-parameters by name; "encoder.depth" and "tokenizer.vocabulary" reach every encoder and tokeniser, "encoder.text.depth" those of
    one role. patience: looks at held-out samples without gain after which the training ends.
    stream: samples come in their order, and this says which of them the replay buffer keeps (None: no stream); buffer: how much it holds, in samples
    or bytes ("500MB"); fresh: samples that arrive before each step. snapshots: how many times the encoders are kept on the way.
    """

    method: str | type[Method] = "simclr"
    encoder: str | Path | Run | Mapping[str, str | Path | Run] = "auto"
    budget: float | None = None
    epochs: Positive | None = None
    steps: Count | None = None
    batch: Count | None = None
    size: Side | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    seed: Seed = 0
    precision: str = "auto"
    device: str = "auto"
    devices: Count = 1
    accumulate: Count = 1
    keep_going: bool = False
    accept_data: bool = False
    checkpoint_seconds: float = 60.0
    track: tuple[str, ...] = ()
    start_role: str | None = None
    patience: Count = 10
    stream: str | None = None
    buffer: str | int | None = None
    fresh: Count | None = None
    snapshots: Count | None = None

    def __post_init__(self) -> None:
        numbers = "epochs", "steps", "batch", "size", "seed", "devices", "accumulate", "patience", "fresh", "snapshots"
        for option in fields(self):
            if option.name in numbers:
                setattr(self, option.name, convert(getattr(self, option.name), option.type, option.name))


@dataclass(frozen=True)
class Source:
    """Where the encoder of one role comes from.

    name: of a fresh one; "auto" has one chosen. run: whose encoder the training goes on from. role: which of that run's encoders. arguments: of a
    fresh encoder, by name. tokenizer: what is set of its tokeniser.
    """

    name: str = "auto"
    run: Run | None = None
    role: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """Where the encoder that the training goes on from lies."""
        return self.run.folder_of(self.role) if self.run else None


def sources(request: Request, inputs: Mapping[str, str]) -> dict[str, Source]:
    """The source of each role's encoder. inputs: the roles that have one, and the modality of each.

    Raises UserError for a role that has no encoder, and for settings of an encoder that comes from a run.
    """
    roles, named = list(inputs), by_role(request.encoder)
    arguments, tokenizers = (settings_by_role(request.settings, part) for part in ("encoder", "tokenizer"))
    for where, by_its_role in (("--encoder", named), ("--set encoder", arguments), ("--set tokenizer", tokenizers)):
        if unknown := [role for role in by_its_role if role and role not in roles]:
            raise UserError(f"no encoder has the role {unknown[0]!r}", where=where, hint=f"the roles with an encoder are {', '.join(roles)}")
    result: dict[str, Source] = {}
    for role in roles:
        choice = named.get(role, named.get("", "auto"))
        own, of_tokenizer = ({**by_its_role.get("", {}), **by_its_role.get(role, {})} for by_its_role in (arguments, tokenizers))
        if isinstance(choice, Run) or is_run(Path(choice)):
            run = Run.open(choice)
            result[role] = Source("", run, role_in(run, request.start_role, role, inputs[role]), own, of_tokenizer)
        else:
            result[role] = Source(str(choice), arguments=own, tokenizer=of_tokenizer)
    runs = {role: source.run for role, source in result.items() if source.run}
    for role, run in runs.items():
        unused = list(arguments.get(role, {})) or (list(arguments.get("", {})) if len(runs) == len(roles) else [])
        if unused:
            raise UserError(f"the encoder is that of the run and has no {sorted(unused)[0]!r} to set", where=run.path)
    return result


def by_role(encoder: str | Path | Run | Mapping[str, str | Path | Run]) -> dict[str, str | Path | Run]:
    """What was asked for, by role; "" stands for every role."""
    if isinstance(encoder, Mapping):
        return dict(encoder)
    if not isinstance(encoder, str) or not BY_ROLE.match(encoder) or is_run(Path(encoder)):
        return {"": encoder}
    pairs = [pair.strip().partition("=") for pair in encoder.split(",")]
    if any(not role or not name for role, _, name in pairs) or len({role for role, _, _ in pairs}) < len(pairs):
        raise UserError(f"cannot read {encoder!r}", where="--encoder", hint="name the encoder of each role once: image=convnet,text=transformer")
    return {role: name for role, _, name in pairs}


def settings_by_role(settings: Mapping[str, Any], part: str) -> dict[str, dict[str, Any]]:
    """Settings `part.name` and `part.ROLE.name`, by role and name; the role is "" where none is named."""
    by_its_role: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        if name.startswith(f"{part}."):
            role, dot, own = name.removeprefix(f"{part}.").partition(".")
            by_its_role.setdefault(role if dot else "", {})[own if dot else role] = value
    return by_its_role


def role_in(run: Run, chosen: str | None, role: str, modality: str) -> str | None:
    """Which of a run's encoders serves this role: the chosen one, the one of the same role, or the only one of the same modality."""
    if not run.roles:
        return None
    wanted = chosen or role
    if wanted in run.roles:
        return wanted
    kept = run.config["asked"]["encoder"]
    reads = {name: kept.get(name, {}).get("input", {}).get("modality") for name in run.roles}
    fitting = [name for name, read in reads.items() if read == modality]
    if chosen is not None or len(fitting) != 1:
        what = f"no encoder is named {chosen!r}" if chosen else f"{len(fitting) or 'none'} of this run's encoders read {modality}"
        raise UserError(what, where=run.path, hint=f"the run keeps {', '.join(run.roles)}: choose one of them")
    return fitting[0]
