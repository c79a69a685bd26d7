"""What a method takes over from a run, beside the encoder it goes on from: the other encoders, and the space in which all are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.methods.method import Method
from leaven.training.request import Source
from leaven.training.trained import load_encoder_of, trained_method


@dataclass(frozen=True)
class Inheritance:
    """others: the run's encoders that read no role of the data, by role. space: what takes the features of each to the common space. settings:
    hyper-parameters that follow from the run."""

    others: dict[str, Encoder]
    space: dict[str, nn.Linear]
    settings: dict[str, Any]

    @classmethod
    def of(cls, kind: type[Method], sources: Mapping[str, Source]) -> Inheritance:
        """Raises UserError unless one of the encoders comes from a run that compares several inputs, none of which is the new one."""
        runs = {role: source for role, source in sources.items() if source.run}
        if len(runs) != 1:
            hint = f"name the run that knows one of them, as in --encoder {next(iter(sources))}=RUN"
            raise UserError(f"{kind.name} binds {' and '.join(sources)}, of which a run must know one", hint=hint)
        ((anchor, source),) = runs.items()
        run = source.run
        assert run is not None
        projectors = trained_method(run).shared_space()
        space = {anchor if name == source.role else name: part for name, part in projectors.items() if isinstance(part, nn.Linear)}
        if anchor not in space:
            hint = "give a run of several inputs, such as those that --method clip makes"
            raise UserError("this run learned no space in which several inputs are compared", where=run.path, hint=hint)
        if known := [role for role in sources if role != anchor and role in space]:
            hint = f"give the new input another name, as in --columns {anchor}=COLUMN,NAME=COLUMN"
            raise UserError(f"this run knows {known[0]} already", where=run.path, hint=hint)
        others = {role: load_encoder_of(run, role) for role in space if role != anchor}
        return cls(others, space, {"anchor": anchor, "dim": space[anchor].out_features})

    def settled(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The user's settings with those that follow from the run. UserError where they differ."""
        for name, value in self.settings.items():
            if name in settings and str(settings[name]) != str(value):
                raise UserError(f"{name} is {value}, as in the run", where=f"--set {name}", hint="leave it out")
        return {**settings, **self.settings}
