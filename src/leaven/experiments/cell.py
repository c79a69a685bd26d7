"""The process of one cell of a comparison: reads a task, carries it out, answers in lines of JSON. Run as `python -m leaven.experiments.cell`."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leaven.api.console import Progress, Say
from leaven.api.evaluate import evaluate
from leaven.data import DataSet, open_data
from leaven.errors import Interrupted, TrainingStopped, UserError
from leaven.evaluation.comparison import FINISHED, STOPPED
from leaven.inspection.estimate import rehearse
from leaven.report.story import report_run
from leaven.run import Run, write_json
from leaven.training.build import build_training
from leaven.training.flops import flops_a_step
from leaven.training.pretraining import train
from leaven.training.request import Request
from leaven.training.trained import trained_method


def pace(request: Request, opening: dict[str, Any], **_: Any) -> dict[str, Any]:
    """How many steps of a training fit into its budget here."""
    assert request.budget is not None
    found = rehearse(request, opened(opening, request))
    return {"steps": found.steps_in(request.budget), "batch": found.batch, "seconds_a_step": found.step}


def train_and_score(request: Request, opening: dict[str, Any], folder: Path, evaluation: dict[str, Any], *, say: Say, progress: Progress) -> None:
    """A run's folder, trained, scored and marked as ended by cell.json; a training that stops itself is a result as well."""
    data, run = opened(opening, request), Run(folder)
    try:
        train(request, data, run, progress=progress)
    except TrainingStopped as stopped:
        report_run(run, data)
        write_json(folder / "cell.json", {"state": STOPPED, "why": str(stopped)})
        return
    evaluate(run, **opening, **evaluation, say=say)
    parts = build_training(request, data, "cpu", folder=run)
    flops = flops_a_step(trained_method(run, request.method), parts.data.rows, parts.members, run.config["plan"]["batch"])
    write_json(folder / "cell.json", {"state": FINISHED, "flops_a_step": flops})


def opened(opening: dict[str, Any], request: Request) -> DataSet:
    return open_data(opening["data"], root=opening["data_root"], labels=opening["labels"], columns=opening["columns"], size=request.size)


def main() -> None:
    """Nothing but answers may reach standard output, so everything that prints is sent to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(kind: str, content: Any) -> None:
        print(json.dumps({kind: content}), file=answers, flush=True)

    name, arguments, sys.argv = pickle.load(sys.stdin.buffer)  # the command that a run keeps is the one that was given
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        task: Callable[..., Any] = TASKS[name]
        tell("done", task(**arguments, say=lambda line: tell("say", line), progress=lambda *numbers: tell("progress", numbers)))
    except UserError as error:
        tell("error", error.to_dict())
    except (Interrupted, KeyboardInterrupt) as interrupted:
        tell("interrupted", str(interrupted))
    except Exception as error:
        traceback.print_exc()
        tell("died", f"{type(error).__name__}: {error}".splitlines()[0])


def end_with_parent() -> None:
    """Nobody else would end a training whose parent was killed. The pipe from the parent ends with it."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


TASKS: dict[str, Callable[..., Any]] = {"pace": pace, "train_and_score": train_and_score}

if __name__ == "__main__":
    main()
