"""The run folder: everything that one training leaves behind, nothing in it pickled."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leaven.errors import UserError

FORMAT = 1


def write_whole(path: Path, save: Callable[[Path], object]) -> None:
    """Call save(temporary path) and put the file in place only when it is complete; the old one stays until then.

    A full disk is a UserError that says so.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except Exception as error:
        partial.unlink(missing_ok=True)
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            hint = "free some space and run the same command: it goes on from the last checkpoint"
            raise UserError("the disk is full", where=path.parent, hint=hint) from None
        if isinstance(error, PermissionError):
            raise UserError("cannot write here", where=path.parent, hint="choose another folder with --out") from None
        raise


def write_json(path: Path, content: Any) -> None:
    write_whole(path, lambda partial: partial.write_text(json.dumps(content, indent=2) + "\n"))


class Run:
    """One training's folder: config.json, metrics.jsonl, checkpoint/, encoder/, scorecard.json, report.html."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """An existing run. Raises UserError where there is none, or one of a newer format."""
        run = cls(path)
        if not run.config_path.is_file():
            raise UserError("no run here", where=path, hint="give the folder that `leaven pretrain --out` made")
        found = run.config.get("format")
        if not isinstance(found, int) or found > FORMAT:
            raise UserError(f"this run has format {found}, and this Leaven reads up to format {FORMAT}", where=path, hint="update leaven")
        return run

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoint"

    @property
    def encoder_folder(self) -> Path:
        return self.path / "encoder"

    @property
    def config(self) -> dict[str, Any]:
        try:
            return json.loads(self.config_path.read_text())
        except json.JSONDecodeError:
            raise UserError("config.json is not whole", where=self.path, hint="start again in another folder with --out") from None

    def write_config(self, config: dict[str, Any]) -> None:
        write_json(self.config_path, {"format": FORMAT, **config})

    @property
    def finished(self) -> bool:
        return self.config_path.is_file() and self.config.get("result") is not None

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, oldest first."""
        if not self.metrics_path.is_file():
            return []
        return [json.loads(line) for line in self.metrics_path.read_text().splitlines() if line.endswith("}")]

    def append_metrics(self, row: dict[str, Any]) -> None:
        with open(self.metrics_path, "a") as file:
            file.write(json.dumps(row) + "\n")

    def cut_metrics(self, step: int) -> None:
        """Drop the rows after a step, and a last line that is not whole: what a resumed run writes again."""
        kept = []
        for line in self.metrics_path.read_text().splitlines() if self.metrics_path.is_file() else []:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if row["step"] > step:
                break
            kept.append(line + "\n")
        write_whole(self.metrics_path, lambda partial: partial.write_text("".join(kept)))

    @property
    def health(self) -> list[dict[str, Any]]:
        config = self.config
        return (config.get("result") or config.get("stopped") or {}).get("health", [])

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"
