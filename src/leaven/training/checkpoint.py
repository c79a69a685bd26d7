"""Checkpoints without pickle: tensors in safetensors, everything else as JSON in its header; written beside and renamed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from leaven.errors import Interrupted, UserError
from leaven.run import write_whole
from leaven.training.distributed import agree, rank


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
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
                return load_state(path)
            except UserError:
                continue
        return None
