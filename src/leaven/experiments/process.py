"""Tasks in processes of their own: memory and processor time are theirs alone, and what kills one kills nothing else."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from leaven.api.console import Progress, Say
from leaven.errors import Interrupted, UserError


class Died(Exception):
    """A cell's process ended without an answer."""


class Family:
    """Processes that end together: while it holds, SIGTERM and Ctrl-C ask all of them to end; a second Ctrl-C kills them.

    threads: of each process, where not as many as torch would take.
    """

    def __init__(self, threads: int | None = None):
        self.threads, self.asked_to_end = threads, False
        self.running: set[subprocess.Popen] = set()
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Family:
        with suppress(ValueError):  # not the main thread
            self.before = {number: signal.signal(number, self.pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def pass_on(self, number: int, frame: Any) -> None:
        if self.asked_to_end and number == signal.SIGINT:
            for child in self.running.copy():
                child.kill()
            raise KeyboardInterrupt
        self.end()

    def end(self) -> None:
        """Ask every process to end, and those that are yet to start not to."""
        self.asked_to_end = True
        for child in self.running.copy():
            child.terminate()

    @contextmanager
    def member(self, child: subprocess.Popen) -> Iterator[None]:
        self.running.add(child)
        if self.asked_to_end:
            child.terminate()
        try:
            yield
        finally:
            self.running.discard(child)


def apart(task: str, arguments: dict[str, Any], family: Family | None = None, *, say: Say, progress: Progress) -> Any:
    """The answer of one of `leaven.experiments.cell`'s tasks. May be called from several threads at a time, for one family.

    Raises UserError as the task did, Interrupted when the family was asked to end, Died without an answer.
    """
    if family is None:
        with Family() as alone:
            return apart(task, arguments, alone, say=say, progress=progress)
    # A session of its own: Ctrl-C on the terminal reaches this process alone, which passes it on.
    child = subprocess.Popen(
        [sys.executable, "-m", "leaven.experiments.cell"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | ({} if family.threads is None else {"OMP_NUM_THREADS": str(family.threads)}),
    )
    assert child.stdin is not None and child.stdout is not None
    told: dict[str, Any] = {}
    with child, family.member(child):
        try:
            child.stdin.write(pickle.dumps((task, arguments, sys.argv)))
            child.stdin.flush()
        except BrokenPipeError:  # it has ended already, and its exit status says how
            with suppress(BrokenPipeError):
                child.stdin.close()
        for line in child.stdout:
            ((kind, content),) = json.loads(line).items()
            if kind == "say":
                say(content)
            elif kind == "progress":
                progress(*content)
            else:
                told[kind] = content
        status = child.wait()
    if family.asked_to_end or "interrupted" in told:
        raise Interrupted(told.get("interrupted") or "what is finished is kept")
    if "error" in told:
        raise UserError(told["error"]["what"], where=told["error"]["where"], hint=told["error"]["hint"])
    if "done" not in told:
        raise Died(told.get("died") or (f"killed by signal {-status}, perhaps for want of memory" if status < 0 else f"ended with status {status}"))
    return told["done"]
