"""Progress of a long work."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from leaven.cli.app import say

if TYPE_CHECKING:
    from rich.progress import Progress


class Watch:
    """Progress of a long work: a bar on a terminal, else one plain line every few seconds."""

    def __init__(self, every: float = 5.0):
        self.every, self.started, self.spoke, self.first = every, time.monotonic(), time.monotonic(), -1
        self.bar: Progress | None = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.1f} steps/s"),
                TimeRemainingColumn(),
            )
            self.bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task("", total=None, loss=float("nan"), rate=0.0)

    def __enter__(self) -> Watch:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            say(line)

    def __call__(self, step: int, total: int, loss: float) -> None:
        now = time.monotonic()
        if self.first < 0:
            self.first, self.started = step, now
        rate = (step - self.first) / max(now - self.started, 1e-9)
        if self.bar is not None:
            self.bar.update(self.task, completed=step, total=total, loss=loss, rate=rate)
        elif now - self.spoke > self.every and rate > 0:
            self.spoke = now
            say(f"step {step}/{total}  loss {loss:.4f}  {rate:.1f} steps/s  {(total - step) / rate:.0f} s left")
