"""What a run's folder holds of a training: who writes there, its checkpoints, and whether it may go on from them.

Checkpoints are without pickle: tensors in safetensors, everything else as JSON in its header; written beside and renamed.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from leaven.console import Say
from leaven.errors import Interrupted, UserError
from leaven.hyperparameters import hyperparameters
from leaven.methods.method import Method
from leaven.methods.registry import find_method
from leaven.modalities.tokenizer import typed_settings
from leaven.run import FORMAT, Run, write_whole
from leaven.stored import State, checked, read_json
from leaven.training.distributed import agree, made_by_first, rank
from leaven.training.request import Request

FROM_DATA = re.compile(r"data\.(fingerprint|spec\.(samples|classes|labeled|class_names))\b|labels\.(?!patience)")
MEASURED = re.compile(r"\S*(input|roles\.\w+)\.(mean|std|range)\b")
"""What of a training changes with its data: what the data set holds, and its statistics, whose last digits are each machine's own."""


def flatten(tree: Any, tensors: dict[str, Tensor], seen: dict[tuple, str], path: str) -> Any:
    """The tree with each tensor replaced by {"$tensor": name} and collected under that name; a tensor met twice is stored once."""
    if isinstance(tree, Tensor):
        key = (tree.data_ptr(), tuple(tree.shape), tuple(tree.stride()), tree.dtype)
        if tree.numel() == 0 or key not in seen:
            seen[key] = path
            tensors[path] = tree.detach()
        return {"$tensor": seen[key]}
    if isinstance(tree, dict):
        return {"$dict": [[key, flatten(value, tensors, seen, f"{path}.{key}")] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        items = [flatten(value, tensors, seen, f"{path}.{place}") for place, value in enumerate(tree)]
        return {"$tuple": items} if isinstance(tree, tuple) else items
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"a checkpoint cannot hold {type(tree).__name__} ({path})")


def unflatten(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [unflatten(value, tensors) for value in tree]
    if isinstance(tree, dict):
        if "$tensor" in tree:
            return tensors[tree["$tensor"]]
        if "$tuple" in tree:
            return tuple(unflatten(value, tensors) for value in tree["$tuple"])
        return {key: unflatten(value, tensors) for key, value in tree["$dict"]}
    return tree


def save_state(path: Path, state: dict[str, Any]) -> None:
    tensors: dict[str, Tensor] = {}
    skeleton = flatten(state, tensors, {}, "state")
    packed = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, lambda partial: save_file(packed, partial, metadata={"state": json.dumps(skeleton)}))


def load_state(path: Path) -> dict[str, Any]:
    """Raises UserError where the file is not a whole Leaven checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "state" not in metadata:
                raise UserError("not a checkpoint of Leaven", where=path)
            return unflatten(json.loads(metadata["state"]), {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("not a whole checkpoint", where=path, hint=str(error)) from None


class Checkpoints:
    """The states of one run, newest last; the newest whole one counts."""

    def __init__(self, folder: Path, keep: int = 2):
        self.folder, self.keep = folder, keep

    def files(self) -> list[Path]:
        return sorted(self.folder.glob(f"step-{'[0-9]' * 9}.safetensors"))

    def newest(self) -> int | None:
        """The step of the newest file, whole or not; None if there is none."""
        return max((int(path.stem.removeprefix("step-")) for path in self.files()), default=None)

    def keep_newest(self, count: int) -> None:
        """Remove all others."""
        for path in self.files()[::-1][count:]:
            path.unlink(missing_ok=True)

    def save(self, step: int, state: dict[str, Any]) -> None:
        save_state(self.folder / f"step-{step:09d}.safetensors", state)
        self.keep_newest(self.keep)

    def save_for_all(self, step: int, state: Callable[[], dict[str, Any]]) -> None:
        """Called in all processes, written by the first; where it cannot write, all end."""
        failure: Exception | None = None
        if rank() == 0:
            try:
                self.save(step, state())
            except UserError as error:
                failure = error
        if agree(failure is not None):
            raise failure or Interrupted("the first process could not write its checkpoint")

    def load(self) -> dict[str, Any] | None:
        """The newest whole state; None if there is none."""
        for path in reversed(self.files()):
            try:
                return checked(load_state(path), State, path)
            except UserError:
                continue
        return None


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
    before, now = ("none" if value is None else value for value in (before, now))
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
    before, now = ({**part, "data": {"fingerprint": part["data"]["fingerprint"]}} for part in (plan["asked"], json.loads(json.dumps(asked))))
    if different := differences(before, now):
        raise UserError(f"this folder holds another {kind}: {different[0]}", where=folder, hint="choose another --out, or repeat the earlier command")
    return plan


def begun(folder: Run) -> bool:
    """Whether a training has made a step here."""
    return bool(Checkpoints(folder.checkpoints).newest() or folder.metrics or folder.finished)


def comparable(asked: dict[str, Any]) -> dict[str, Any]:
    """What identifies a training, wherever its data and a user's own method lie, and however its settings were written."""
    compared = {**asked, "data": {name: value for name, value in asked["data"].items() if name != "name"}}
    compared["method"] = {**asked["method"], "name": PurePath(asked["method"]["name"]).name}
    return {**compared, "tokenizer": typed_settings(asked.get("tokenizer", {}))}


def keep_samples(folder: Run, hashes: Tensor) -> None:
    """Beside the checkpoints, for `change_of_data`. hashes: (N,) int64 content hashes of all samples."""
    save_state(folder.checkpoints / "samples.safetensors", {"hashes": hashes})


def change_of_data(folder: Run, hashes: Tensor, different: list[str]) -> str:
    """How data differs from that with which a run began. different: the lines of `differences` that are about it."""
    before = None
    with suppress(UserError, KeyError, TypeError):
        before = load_state(folder.checkpoints / "samples.safetensors")["hashes"]
    if not isinstance(before, Tensor) or (before.dtype, before.dim()) != (hashes.dtype, 1):  # a run of an earlier version
        return min(different, key=lambda line: line.startswith("data.fingerprint"))
    _, place = torch.cat([before, hashes]).unique(return_inverse=True)
    then, now = (part.bincount(minlength=len(before) + len(hashes)) for part in place.split([len(before), len(hashes)]))
    if (then != now).any():
        return f"{len(before):,} samples then, {len(hashes):,} now, {int(torch.minimum(then, now).sum()):,} of them the same"
    if not torch.equal(before, hashes):
        return f"the same {len(hashes):,} samples come in another order"
    named = next((line for line in different if line.startswith("data.spec.")), "labels, groups or splits are others")
    return f"the same {len(hashes):,} samples, but {named}"


def refuse_what_follows_samples(folder: Run, method: Method) -> None:
    """Raises UserError where the checkpoint of a run whose data has changed holds something of each sample or class."""
    state = Checkpoints(folder.checkpoints).load() or {"method": {}}
    shapes = {name: tensor.shape for name, tensor in method.state_dict().items()}
    odd = [name for name, kept in state["method"].items() if name in shapes and getattr(kept, "shape", None) != shapes[name]]
    if odd or state.get("members") is not None:
        what = f"{method.name} remembers each sample or class ({odd[0] if odd else 'those of its stage'}), so its data cannot change"
        raise UserError(what, where=folder.path, hint="choose another --out")


def agree_with_earlier(folder: Run, asked: dict[str, Any], hashes: Tensor, request: Request, say: Say) -> dict[str, Any] | None:
    """The configuration of the run that this call continues; None for a new run, or one without a step. Raises UserError where they differ.

    hashes: (N,) int64 content hashes of all samples. --accumulate may change, since it splits a batch without changing the training.
    """
    newest = Checkpoints(folder.checkpoints).newest()  # looked at first: another process of this training may write the configuration at any time
    if not folder.config_path.is_file():
        if newest is not None:
            raise UserError("checkpoints without their config.json lie here", where=folder.path, hint="choose another --out")
        return None
    if not begun(folder):
        return None
    config = folder.config
    before, now = comparable(config["asked"]), comparable(json.loads(json.dumps(asked)))
    if "given" not in before:  # earlier versions did not keep it
        del now["given"]
    known, current = before["method"]["hyperparameters"], now["method"]["hyperparameters"]
    defaults = {name: parameter.default for name, parameter in hyperparameters(find_method(request.method)).items()}
    for name in [name for name, value in current.items() if name not in known and name in defaults and value == defaults[name]]:
        del current[name]  # of a later version than the run's
    different = [line for line in differences(before, now) if not MEASURED.match(line)]
    split = [line for line in different if line.startswith("accumulate ")]
    changed_data = []
    if before["data"]["fingerprint"] != now["data"]["fingerprint"]:
        chosen_batch = request.batch is None and any(choice["what"] == "batch" for choice in config["choices"])
        changed_data = [line for line in different if FROM_DATA.match(line) or (chosen_batch and line.startswith("length.batch "))]
    if other := [line for line in different if line not in changed_data and line not in split]:
        other.sort(key=lambda line: line.startswith("data."))  # what was asked for says more than what followed from it
        what = f"this folder holds another training: {other[0]}" + (f" (and {len(other) - 1} more)" if len(other) > 1 else "")
        hint = "choose another --out, or repeat the earlier settings"
        if re.match(r"length\.(budget|epochs|steps) ", other[0]) and folder.finished and "labels" not in asked:
            hint = f"choose another --out (with --encoder {folder.path} it starts from what this one has learned), or repeat the earlier length"
        raise UserError(what, where=folder.path, hint=hint)
    if changed_data and (folder.learned_path.is_file() or not request.accept_data):
        hint = "a training that learns from labels cannot change its data" if folder.learned_path.is_file() else "go on with --accept-data"
        what = f"the data has changed since this run began: {change_of_data(folder, hashes, changed_data)}"
        raise UserError(what, where=folder.path, hint=f"{hint}, or choose another --out")
    for line in split:
        say(f"{line}: the training stays the same, but no longer to the bit")
    return config
