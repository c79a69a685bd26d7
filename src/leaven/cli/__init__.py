"""The command line: one command per public function; parses, calls, prints."""

from __future__ import annotations

import sys

from leaven.cli import judge, look, train, use  # noqa: F401  each registers its commands
from leaven.cli.app import answer, app, say
from leaven.errors import Interrupted, TrainingStopped, UserError


def main() -> None:
    """The `leaven` command. Exit status: 0 done, 2 wrong input, 3 training stopped itself, 130 interrupted."""
    as_json = "--json" in sys.argv
    try:
        app()
    except UserError as error:
        if as_json:
            answer(True, {"error": error.to_dict()})
        say(f"leaven: {error}")
        sys.exit(2)
    except TrainingStopped as stopped:
        if as_json:
            answer(True, {"error": {"what": stopped.verdict, "where": f"step {stopped.step}", "hint": stopped.why}})
        say(f"leaven: training stopped itself: {stopped}. The last good checkpoint is kept; --keep-going trains on.")
        sys.exit(3)
    except (Interrupted, KeyboardInterrupt) as interrupted:
        say(f"leaven: interrupted{': ' + str(interrupted) if str(interrupted) else ''}; the same command goes on from the last checkpoint")
        sys.exit(130)
