"""What trained methods do beside giving features."""

from pathlib import Path

from leaven.errors import UserError
from leaven.methods.method import Method
from leaven.methods.registry import registry
from leaven.run import Run
from leaven.training.trained import trained_method

ABILITIES = {"sample": "makes no new samples", "log_prob": "gives no likelihood", "decode": "makes nothing from its features"}


def open_method(run: str | Path | Run, ability: str, method: str | type[Method] | None = None) -> Method:
    """The trained method of a run. Raises UserError where it lacks an ability, and names the methods that have it."""
    run = Run.open(run)
    trained = trained_method(run, method)
    if ability not in trained.abilities():
        others = [name for name, other in registry().items() if ability in other.abilities()]
        raise UserError(f"{trained.name} {ABILITIES[ability]}", where=run.path, hint=f"train one of {', '.join(others)}")
    return trained
