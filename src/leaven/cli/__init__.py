"""The command line: one command per public function; parses, calls, prints."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from typer.exceptions import TyperException

from leaven.cli.app import PANELS, answer, app, first_process, say
from leaven.console import command_begins
from leaven.errors import Interrupted, TrainingStopped, UserError, not_installed, out_of_memory

for _command in (name for names in PANELS.values() for name in names):
    importlib.import_module(f"leaven.cli.{_command}")  # each registers its command


def main() -> None:
    """The `leaven` command. Exit status: 0 done, 2 wrong input, 3 training stopped itself, 130 interrupted."""
    command_begins()
    try:
        with sigterm_as_ctrl_c():
            status = app(args=sys.argv[1:] or ["--help"], prog_name="leaven", standalone_mode=False)
        if status == 130:
            raise KeyboardInterrupt
    except UserError as error:
        fail(error)
    except TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "leaven")
        fail(UserError(error.format_message().rstrip("."), hint=f"see `{command} --help`"))
    except TrainingStopped as stopped:
        error_of_training = UserError(stopped.verdict, where=f"step {stopped.step}", hint=stopped.why)
        finite = stopped.verdict != "non-finite loss"
        advice = "--keep-going trains on" if finite else "try a lower rate (--set recipe.lr=VALUE) in another --out"
        why = f"{stopped}{'' if str(stopped).endswith(('.', '?')) else '.'}"
        end(3, f"training stopped itself: {why} The last good checkpoint is kept; {advice}.", error_of_training)
    except Interrupted as interrupted:
        goes_on = "the same command goes on"
        end(130, f"interrupted: {interrupted}; {goes_on}", UserError("interrupted", where=str(interrupted), hint=goes_on))
    except KeyboardInterrupt:
        again = "nothing is half-written; you can give the same command again"
        end(130, f"interrupted; {again}", UserError("interrupted", hint=again))
    except ModuleNotFoundError as error:
        if (missing := not_installed(error.name or "")) is None:
            raise
        fail(missing)
    except OSError as error:
        fail(UserError(error.strerror or str(error), where=error.filename, hint="the system refused this"))
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            fail(UserError("out of memory", hint="close other programs, or choose smaller pictures with --size, or less data"))
        if "Connection closed by peer" in str(error) or "Connection reset by peer" in str(error):
            end(1, "another process of this training has ended; its own message says why")
        raise
    if status:
        sys.exit(status)


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does, so that nothing is left half-written. A training listens by itself while it runs."""

    def interrupt(number: int, frame: Any) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def fail(error: UserError) -> NoReturn:
    end(2, str(error), error)


def end(status: int, line: str, error: UserError | None = None) -> NoReturn:
    """One line for people, the error for programs, and the exit status."""
    if error is not None and "--json" in sys.argv:
        answer(True, {"error": error.to_dict()})
    say("leaven: " + " ".join(line.split()))  # errors of libraries may have several lines
    if not first_process() and "TORCHELASTIC_RUN_ID" not in os.environ:
        end_after_the_first()
    sys.exit(status)


def end_after_the_first() -> None:
    """The process that started this one for `--devices` is killed by its launcher if this one ends before it with an error."""
    parent, until = os.getppid(), time.monotonic() + 10
    while os.getppid() == parent and time.monotonic() < until:
        time.sleep(0.1)
