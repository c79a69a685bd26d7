"""Progress of long work."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from leaven.cli.app import first_process, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


RECENT = 20.0  # seconds: rate and time left are those of the last ones, so that a slow beginning is soon forgotten


class Watch:
    """Progress of long work: a bar on a terminal, else one plain line every few seconds.

    It is called with what is counted, how many are done, and of how many; a training adds its loss. A new name begins a new task.
    """

    def __init__(self, every: float = 5.0):
        self.every, self.task, self.spoke = every, "", 0.0
        self.marks: deque[tuple[float, int]] = deque()  # of the last seconds: when, and how many were done
        self.bar: Progress | None = None
        self.row: TaskID | None = None
        if first_process() and sys.stderr.isatty():
            self.bar = bar()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def say(self, line: str) -> None:
        """A line for people, above the bar where there is one."""
        if self.bar is not None and self.row is not None:
            self.bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            say(line)

    def __call__(self, task: str, done: int, total: int, loss: float | None = None) -> None:
        now = time.monotonic()
        if task != self.task or (self.marks and done < self.marks[-1][1]):
            self.task, self.spoke = task, now
            self.marks.clear()
            self._clear()
        self.marks.append((now, done))
        while now - self.marks[0][0] > RECENT and len(self.marks) > 2:
            self.marks.popleft()
        rate = (done - self.marks[0][1]) / max(now - self.marks[0][0], 1e-9)
        status = ("" if loss is None else f"loss {loss:.4f}  ") + f"{rate:,.{1 if rate < 100 else 0}f}/s"
        if self.bar is not None:
            if self.row is None:
                self.row = self.bar.add_task(task, total=total, status="")
                self.bar.start()
            self.bar.update(self.row, completed=done, total=total, status=status if rate else "")
            if done >= total:
                self._clear()
        elif now - self.spoke > self.every and rate > 0:
            self.spoke = now
            say(f"{task} {done:,}/{total:,}  {status}  {(total - done) / rate:.0f} s left")

    def _clear(self) -> None:
        """Take the bar from the screen; the next task draws it again."""
        if self.bar is not None and self.row is not None:
            self.bar.stop()
            self.bar.remove_task(self.row)
            self.row = None


def bar() -> Progress | None:
    """A bar on standard error, which leaves nothing behind; None on a terminal that cannot move its cursor.

    It is short, because a terminal that is made narrower than a line breaks that line in two, and the upper half would stay.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_interactive:
        return None
    status = TextColumn("{task.fields[status]}")
    return Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=14), MofNCompleteColumn(), status, TimeRemainingColumn(compact=True),
        console=console, transient=True,
    )  # fmt: skip
