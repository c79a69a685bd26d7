"""A task in a process of its own: memory and processor time are its alone, and what kills it kills nothing else."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from leaven.api.sayings import Progress, Say
from leaven.errors import Interrupted, UserError


class Died(Exception):
    """A cell's process ended without an answer."""


def apart(task: str, arguments: dict[str, Any], *, say: Say, progress: Progress) -> Any:
    """The answer of one of `leaven.api.cell`'s tasks.

    Raises UserError as the task did, Interrupted after SIGTERM or Ctrl-C (the process is asked to end first), Died without an answer.
    """
    # A session of its own: Ctrl-C on the terminal reaches this process alone, which passes it on.
    child = subprocess.Popen([sys.executable, "-m", "leaven.api.cell"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdin is not None and child.stdout is not None
    told: dict[str, Any] = {}
    with child, passing_on(child) as asked_to_end:
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
    if asked_to_end or "interrupted" in told:
        raise Interrupted(told.get("interrupted") or "what is finished is kept")
    if "error" in told:
        raise UserError(told["error"]["what"], where=told["error"]["where"], hint=told["error"]["hint"])
    if "done" not in told:
        raise Died(told.get("died") or (f"killed by signal {-status}, perhaps for want of memory" if status < 0 else f"ended with status {status}"))
    return told["done"]


@contextmanager
def passing_on(child: subprocess.Popen) -> Iterator[list[int]]:
    """While this holds, SIGTERM and Ctrl-C ask the child to end; a second Ctrl-C kills it. Gives the signals that came."""
    came: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if came and number == signal.SIGINT:
            child.kill()
            raise KeyboardInterrupt
        came.append(number)
        child.terminate()

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
