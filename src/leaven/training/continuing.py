"""What a run's folder already holds: who writes there, and whether this training may go on with it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from leaven.console import Say
from leaven.errors import UserError
from leaven.run import FORMAT, Run, read_json
from leaven.training.checkpoint import Checkpoints
from leaven.training.distributed import made_by_first


@contextmanager
def alone_in(folder: Run) -> Iterator[None]:
    """Hold a run's folder for this training, for all its processes together. Raises UserError where another training holds it."""
    with ExitStack() as held:
        made_by_first(lambda: held.enter_context(folder.lock()))
        yield


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """The paths at which two configurations differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [line for key in dict.fromkeys([*before, *now]) for line in differences(before.get(key), now.get(key), f"{path}.{key}".strip("."))]
    before, now = (list(value) if isinstance(value, tuple) else value for value in (before, now))
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [line for place, pair in enumerate(zip(before, now, strict=True)) for line in differences(*pair, f"{path}.{place}")]
    return [] if before == now else [f"{path} was {before} and is now {now}"]


def kept_plan(folder: Path, asked: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """plan.json of a folder of several runs; None for a new folder.

    kind: what the folder holds, "comparison" or "reproduction". Raises UserError where the folder holds one that was asked for otherwise, or one of
    another format.
    """
    path = folder / "plan.json"
    if not path.is_file():
        return None
    plan = read_json(path)
    if plan.get("format") != FORMAT:
        raise UserError(f"this {kind} has format {plan.get('format')}", where=folder, hint="choose another folder with --out")
    if different := differences(plan["asked"], json.loads(json.dumps(asked))):
        raise UserError(f"this folder holds another {kind}: {different[0]}", where=folder, hint="choose another --out, or repeat the earlier command")
    return plan


def agree_with_earlier(folder: Run, asked: dict[str, Any], accept_data: bool, say: Say) -> dict[str, Any] | None:
    """The configuration of the run that this call continues; None for a new run, or one without a step. Raises UserError where they differ.

    --accumulate may change, since it splits a batch without changing the training.
    """
    newest = Checkpoints(folder.checkpoints).newest()  # looked at first: another process of this training may write the configuration at any time
    if not folder.config_path.is_file():
        if newest is not None:
            raise UserError("checkpoints without their config.json lie here", where=folder.path, hint="choose another --out")
        return None
    config = Run.open(folder.path).config
    before = config["asked"]
    now = {name: value for name, value in asked.items() if name in before or name != "given"}  # earlier versions did not keep what was given
    different = differences(before, json.loads(json.dumps(now)))
    if different and not (newest or folder.metrics or config.get("result")):
        return None
    split = [line for line in different if line.startswith("accumulate ")]
    changed_data = [line for line in different if line.startswith("data.") or ".input." in line]
    if other := [line for line in different if line not in changed_data and line not in split]:
        what = f"this folder holds another training: {other[0]}"
        raise UserError(what, where=folder.path, hint="choose another --out, or repeat the earlier settings")
    if changed_data and not accept_data:
        raise UserError("the data has changed since this run began", where=folder.path, hint="go on with --accept-data, or choose another --out")
    for line in split:
        say(f"{line}: the training stays the same, but no longer to the bit")
    return config
