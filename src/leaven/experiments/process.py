"""Functions in processes of their own: memory and processor time are theirs alone, and what kills one kills nothing else.

The parent starts `python -m leaven.experiments.process`, which reads a function and its arguments and answers in lines of JSON.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from leaven.console import Progress, Say
from leaven.errors import Interrupted, UserError


class Died(Exception):
    """A process ended without an answer."""


class Family:
    """Processes that end together: while it holds, SIGTERM and Ctrl-C ask all of them to end; a second Ctrl-C kills them.

    threads: of each process (None: as many as torch takes).
    """

    def __init__(self, threads: int | None = None):
        self.threads, self.ending = threads, False
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
        if self.ending and number == signal.SIGINT:
            for child in self.running.copy():
                child.kill()
            raise KeyboardInterrupt
        self.end()

    def end(self) -> None:
        """Ask every process to end, and those that are yet to start not to."""
        self.ending = True
        for child in self.running.copy():
            child.terminate()


def run_in_process(function: Callable[..., Any], arguments: dict[str, Any], family: Family, *, say: Say, progress: Progress) -> Any:
    """What a function of a module answers to these arguments, `say` and `progress`. Several threads may call this at a time, for one family.

    Raises UserError as the function did, Interrupted when the family was asked to end, Died without an answer.
    """
    # A session of its own: Ctrl-C on the terminal reaches this process alone, which passes it on.
    child = subprocess.Popen(
        [sys.executable, "-m", "leaven.experiments.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | ({} if family.threads is None else {"OMP_NUM_THREADS": str(family.threads)}),
    )
    assert child.stdin is not None and child.stdout is not None
    answers: dict[str, Any] = {}
    family.running.add(child)
    if family.ending:
        child.terminate()
    with child:
        try:
            child.stdin.write(pickle.dumps((function, arguments, sys.argv)))
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
                answers[kind] = content
        status = child.wait()
    family.running.discard(child)
    if family.ending or "interrupted" in answers:
        raise Interrupted(answers.get("interrupted") or "what is finished is kept")
    if "error" in answers:
        raise UserError(**answers["error"])
    if "done" not in answers:
        killed = f"killed by signal {-status}, perhaps for want of memory" if status < 0 else f"ended with status {status}"
        raise Died(answers.get("died") or killed)
    return answers["done"]


def main() -> None:
    """The child. Nothing but answers may reach standard output, so everything that prints is sent to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(kind: str, content: Any) -> None:
        print(json.dumps({kind: content}), file=answers, flush=True)

    function, arguments, sys.argv = pickle.load(sys.stdin.buffer)  # a run keeps the command that the user typed
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        answer("done", function(**arguments, say=lambda line: answer("say", line), progress=lambda *numbers: answer("progress", numbers)))
    except UserError as error:
        answer("error", error.to_dict())
    except (Interrupted, KeyboardInterrupt) as interrupted:
        answer("interrupted", str(interrupted))
    except Exception as error:
        traceback.print_exc()
        answer("died", f"{type(error).__name__}: {error}".splitlines()[0])


def end_with_parent() -> None:
    """Nobody else would end a training whose parent was killed. The pipe from the parent ends with it."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
