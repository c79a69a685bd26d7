"""The run folder: everything that one training leaves behind, nothing in it pickled."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from leaven.errors import UserError
from leaven.stored import Config, checked, read_json

FORMAT = 1

FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}


def write_whole(path: Path, save: Callable[[Path], object]) -> None:
    """Call save(temporary path) and put the file in place only when it is complete; the old one stays until then.

    Nothing is left of the temporary file when this ends early. A full disk is a UserError that says so.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            save(partial)
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    except BaseException:  # Ctrl-C as well
        with suppress(OSError):
            partial.unlink()
        raise


@contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """A temporary folder beside `place`, which takes its place when the block ends well, and of which nothing is left when it does not.

    Raises UserError where something lies there already.
    """
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UserError("there is something here already", where=place, hint="give another --out, or remove it")
    partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
    try:
        with writing(place.parent):
            partial.mkdir(parents=True)
            yield partial
            partial.replace(place)
    except BaseException:  # Ctrl-C as well
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A full disk, or a folder in which one may not write, becomes a UserError that says so."""
    try:
        yield
    except Exception as error:
        code = _error_number(error)
        if code in FULL:
            raise UserError("the disk is full", where=folder, hint="free some space and run the same command again") from None
        if code in CLOSED:
            raise UserError(f"cannot write here: {os.strerror(code)}", where=folder, hint="choose another folder with --out") from None
        if code in IN_THE_WAY:
            raise UserError("a file lies where a folder is needed, or a folder where a file is", where=folder, hint="choose another --out") from None
        raise


@contextmanager
def hold(lock: Path, taken: str, where: Path) -> Iterator[None]:
    """Hold a lock file until the end of the block or of the process, however that ends; its folder is made where it is missing.

    Raises UserError where another process holds it, which says what is `taken`, and where. File systems without locks hold nothing.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock, timeout=0, fallback_to_soft=False)
    try:
        with writing(lock.parent):
            lock.parent.mkdir(parents=True, exist_ok=True)
            try:
                held.acquire()
            except Timeout:
                who = lock.read_text(errors="replace") if lock.is_file() else ""
                raise UserError(f"{taken} ({who})" if who else taken, where=where, hint="wait for it, or choose another --out") from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
        with suppress(OSError):
            lock.write_text(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        yield
    finally:
        if held.is_locked:
            lock.unlink(missing_ok=True)
            held.release()


def _error_number(error: Exception) -> int:
    """The system's number of an error, 0 if it has none; safetensors tells it in words."""
    if isinstance(error, OSError):
        return error.errno or 0
    match = re.search(r"\(os error (\d+)\)", str(error))
    return int(match[1]) if match else 0


def write_json(path: Path, content: Any) -> None:
    write_whole(path, lambda partial: partial.write_text(json.dumps(content, indent=2) + "\n"))


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run that an earlier Leaven wrote, in today's names."""
    asked = config["asked"]
    for part in (asked["method"]["hyperparameters"].get("views"), asked.get("tokenizer")):
        if isinstance(part, dict) and "longest" in part:
            part["max_length"] = part.pop("longest")
    return config


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, and not of a model of another library, which has a config.json as well."""
    return (folder / "config.json").is_file() and "asked" in read_json(folder / "config.json")


class Run:
    """One training's folder: config.json, metrics.jsonl, checkpoint/, encoder/, scorecard.json, report.html."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config_path, self.metrics_path, self.scorecard_path = (self.path / name for name in ("config.json", "metrics.jsonl", "scorecard.json"))
        self.checkpoints, self.encoder_folder, self.tokenizer_folder = (self.path / name for name in ("checkpoint", "encoder", "tokenizer"))
        self.learned_path = self.path / "learned-from.csv"

    @classmethod
    def open(cls, path: Path | str | Run) -> Run:
        """An existing run; one that is open already is returned as it is. Raises UserError where there is none, or one of a newer format."""
        if isinstance(path, Run):
            return path
        run = cls(path)
        if not run.config_path.is_file():
            raise UserError("no run here", where=path, hint="give the folder that `leaven pretrain --out` made")
        _ = run.config  # which raises where it is not whole
        return run

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the encoders that it keeps, where they are several; none for a single encoder."""
        return tuple(sorted(path.parent.name for path in self.encoder_folder.glob("*/config.json")))

    def folder_of(self, role: str | None) -> Path:
        """Where the encoder of a role lies, or the only encoder."""
        return self.encoder_folder / role if role else self.encoder_folder

    def snapshot(self, number: int) -> Path:
        """Where the encoders lie as they were at the end of this part of the training, from 1."""
        return self.path / "snapshots" / f"{number:03d}"

    @property
    def snapshots(self) -> list[Path]:
        """Those that were kept, in order."""
        return sorted(path for path in (self.path / "snapshots").glob("[0-9]*") if path.is_dir())

    @property
    def config(self) -> dict[str, Any]:
        """config.json, checked, in today's names. Raises UserError where it is not as Leaven wrote it."""
        content = read_json(self.config_path)
        format = content.get("format")
        if isinstance(format, int) and format > FORMAT:
            what = f"this run has format {format}, and this Leaven reads up to format {FORMAT}"
            raise UserError(what, where=self.path, hint="update leaven")
        if not isinstance(format, int) or not {"asked", "plan"} <= content.keys():
            raise UserError("config.json is not that of a run", where=self.path, hint="give the folder that `leaven pretrain --out` made")
        return upgraded(checked(content, Config, self.config_path))

    def write_config(self, config: dict[str, Any]) -> None:
        write_json(self.config_path, {"format": FORMAT, **config})

    def update_config(self, **changes: Any) -> None:
        self.write_config({**self.config, **changes})

    @property
    def finished(self) -> bool:
        return self.config_path.is_file() and self.config.get("result") is not None

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, oldest first."""
        return [row for _, row in self._metric_lines()]

    def append_metrics(self, row: dict[str, Any]) -> None:
        with writing(self.path), open(self.metrics_path, "a") as file:
            file.write(json.dumps(row) + "\n")

    def cut_metrics(self, step: int) -> None:
        """Drop the rows after a step, and a last line that is not whole: what a resumed run writes again."""
        kept = [line for line, row in self._metric_lines() if row["step"] <= step]
        write_whole(self.metrics_path, lambda partial: partial.write_text("".join(f"{line}\n" for line in kept)))

    def _metric_lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Whole lines with what they hold, up to the first that is not: a power cut leaves one."""
        lines = self.metrics_path.read_text(errors="replace").splitlines() if self.metrics_path.is_file() else []
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                return
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                return
            yield line, row

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this folder for one training, until the end of the block or of the process, however that ends.

        Raises UserError where another training holds it. File systems without locks hold nothing.
        """
        new = not self.path.exists()
        try:
            self._refuse_links()
            with hold(self.path / ".lock", "another training is writing here", self.path):
                self._clear_partial_files()
                yield
        finally:
            if new:
                with suppress(OSError):  # a training that was refused before it wrote anything leaves nothing behind
                    self.path.rmdir()

    def _refuse_links(self) -> None:
        """Nothing is written or deleted through a link, which may lead anywhere. Raises UserError where there is one."""
        kept = self.checkpoints, self.encoder_folder, self.tokenizer_folder
        for path in (*self.path.glob("*"), *(inner for folder in kept for inner in folder.glob("**/*"))):
            if path.is_symlink():
                what = f"{path.relative_to(self.path)} is a link, and nothing is written through links in a run's folder"
                raise UserError(what, where=self.path, hint="put a copy in its place")

    def _clear_partial_files(self) -> None:
        """Remove what `write_whole` left behind in a process that was killed."""
        kept = self.checkpoints, self.encoder_folder, self.tokenizer_folder
        for folder in (self.path, *kept, *(role for part in kept for role in part.glob("*/"))):
            for path in folder.glob("*.partial"):
                if path.suffixes[-2:-1] and path.suffixes[-2][1:].isdigit():
                    path.unlink(missing_ok=True)

    @property
    def health(self) -> list[dict[str, Any]]:
        config = self.config
        return (config.get("result") or config.get("stopped") or {}).get("health", [])

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"


def when(verdict: Mapping[str, Any]) -> str:
    """Of a verdict of `Run.health`: since which step, or from which to which."""
    until = verdict.get("until_step")
    return f"since step {verdict['since_step']}" if until is None else f"from step {verdict['since_step']} to {until}"


def named(verdict: Mapping[str, Any]) -> str:
    """Of a verdict of `Run.health`: what it is called where only that is told."""
    return verdict["verdict"] if verdict.get("until_step") is None else f"{verdict['verdict']} for a while"
