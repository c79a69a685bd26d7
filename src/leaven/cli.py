"""The command line: one command per public function; parses, calls, prints."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaven.errors import Interrupted, TrainingStopped, UserError

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help="Raise useful models from data that nobody has labeled."
)

Data = Annotated[str, typer.Argument(help="A folder, file, glob, named data set (cifar10, mnist, ...) or demo:digits.")]
RunFolder = Annotated[Path, typer.Argument(help="The folder that `leaven pretrain` made.")]
Columns = Annotated[str | None, typer.Option(help="Which column plays which role: role=column,...")]
Labels = Annotated[str | None, typer.Option(help="Where labels are: a column, a FILE.csv (file,label) or `folder`.")]
Root = Annotated[Path | None, typer.Option("--data-root", envvar="LEAVEN_DATA", help="Where named data sets lie.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; everything else goes to standard error.")]


def say(line: str) -> None:
    """A line for people."""
    print(line, file=sys.stderr, flush=True)


def answer(as_json: bool, content: Any, text: str = "") -> None:
    """The result: JSON for programs, or text for people."""
    print(json.dumps(content) if as_json else text, flush=True)


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


def assignments(pairs: list[str] | None, option: str) -> dict[str, str]:
    """name=value texts as a dict."""
    found = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(f"{option} takes name=value, not {pair!r}")
        found[name.strip()] = value.strip()
    return found


def columns_of(text: str | None) -> dict[str, str] | None:
    return assignments(text.split(","), "--columns") if text else None


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the run is kept.")] = Path("leaven-runs/demo"),
    budget: Annotated[str, typer.Option(help="Time for pre-training.")] = "60s",
    as_json: AsJson = False,
) -> None:
    """Pre-train on handwritten digits without labels, then see what that is worth: no network, about 3 minutes on 2 cores."""
    import leaven

    with Watch() as watch:
        card = leaven.demo(out=out, budget=budget, say=watch.say, progress=watch)
    answer(as_json, {**card.to_dict(), "report": str(out / "report.html")}, f"{card.text()}\nThe whole story: {out / 'report.html'}")


@app.command()
def pretrain(
    data: Data,
    method: Annotated[str, typer.Option(help="A name from `leaven methods`, or file.py:Class.")] = "simclr",
    encoder: Annotated[str, typer.Option(help="auto, a name from `leaven encoders`, or any timm model.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="The run's folder (default leaven-runs/DATA-METHOD). The same command goes on where it stopped.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="How long: 90s, 10m, 2h.")] = None,
    epochs: Annotated[float | None, typer.Option(help="How long: passes over the data.", min=0)] = None,
    steps: Annotated[int | None, typer.Option(help="How long: optimiser steps.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step, over all devices and micro-batches.", min=1)] = None,
    size: Annotated[int | None, typer.Option(help="Side of training pictures in pixels.", min=1)] = None,
    labels: Labels = None,
    columns: Columns = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A hyper-parameter: name=value; views., recipe. and encoder. reach into parts.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp64.")] = "auto",
    device: Device = "auto",
    devices: Annotated[int, typer.Option(help="Processes (GPUs) to share each batch.", min=1)] = 1,
    accumulate: Annotated[int, typer.Option(help="Micro-batches a step, to save memory.", min=1)] = 1,
    data_root: Root = None,
    keep_going: Annotated[bool, typer.Option(help="Do not stop when a verdict says that going on is useless.")] = False,
    accept_data: Annotated[bool, typer.Option(help="Go on although the data has changed since the run began.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train an encoder on data without labels."""
    import leaven

    with Watch() as watch:
        run = leaven.pretrain(
            data, method=method, encoder=encoder, out=out, budget=budget, epochs=epochs, steps=steps, batch=batch, size=size, labels=labels,
            columns=columns_of(columns), settings=assignments(settings, "--set"), seed=seed, precision=precision, device=device, devices=devices,
            accumulate=accumulate, data_root=data_root, keep_going=keep_going, accept_data=accept_data, say=watch.say, progress=watch,
        )  # fmt: skip
    config = run.config
    result, asked = config["result"], config["asked"]
    encoders = [described["name"] for described in asked["encoder"].values()]
    content = {
        "run": str(run.path),
        "method": asked["method"]["name"],
        "encoder": encoders[0] if len(encoders) == 1 else encoders,
        "data": asked["data"]["name"],
        **result,
    }
    spent = sum(result["time_split"].values())
    split = ", ".join(f"{part} {100 * seconds / spent:.0f} %" for part, seconds in result["time_split"].items())
    lines = [
        f"{run.path}: {result['steps']} steps, {result['samples']:,} samples, {result['seconds']:.0f} s, "
        f"{result['samples_per_second']:.0f} samples/s ({split})",
        *(f"{verdict['verdict']} since step {verdict['since_step']}: {verdict['why']}" for verdict in result["health"]),
        f"Next: leaven evaluate {run.path} {data}" + (f"; the report: {run.path / 'report.html'}" if (run.path / "report.html").exists() else ""),
    ]
    answer(as_json, content, "\n".join(lines))


@app.command()
def evaluate(
    run: RunFolder,
    data: Data,
    labels: Labels = None,
    columns: Columns = None,
    protocol: Annotated[str, typer.Option(help="Any of knn,linear,few-label.")] = "knn,linear,few-label",
    labels_per_class: Annotated[str, typer.Option(help="Counts of the few-label curve.")] = "1,2,5,10",
    budget: Annotated[str, typer.Option(help="Time for training on the labels alone, the floor that costs most.")] = "2m",
    seed: int = 0,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run's encoder is worth: kNN, linear probe and few-label curve, beside their floors."""
    import leaven

    try:
        counts = tuple(int(count) for count in labels_per_class.split(","))
    except ValueError:
        raise UserError(f"--labels-per-class takes whole numbers like 1,2,5,10, not {labels_per_class!r}") from None
    card = leaven.evaluate(
        run, data, labels=labels, columns=columns_of(columns), protocols=tuple(protocol.split(",")), labels_per_class=counts,
        budget=budget, seed=seed, device=device, data_root=data_root, say=say,
    )  # fmt: skip
    answer(as_json, {**card.to_dict(), "report": str(run / "report.html")}, f"{card.text()}\nThe whole story: {run / 'report.html'}")


@app.command()
def embed(
    run: RunFolder,
    data: Data,
    out: Annotated[Path, typer.Option(help="Where the vectors go: a .npy file.")],
    columns: Columns = None,
    device: Device = "auto",
    data_root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Write the features of every sample."""
    import leaven

    vectors = leaven.embed(run, data, out=out, columns=columns_of(columns), device=device, data_root=data_root)
    count, dim = vectors.shape
    answer(as_json, {"out": str(out), "count": count, "dim": dim}, f"{out}: {count:,} vectors of {dim} numbers")


def settings_of(listed: dict[str, Any]) -> str:
    """The parameters of a method or an encoder with their defaults, in the form that --set takes."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in listed["parameters"].items())


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the methods: what they are, their papers and parameters."""
    import leaven

    listed = leaven.list_methods()
    if as_json:
        answer(True, listed)
        return
    for method in listed:
        print(f"{method['name']}  ({method['family']}, {method['modality']})\n  {method['summary']}")
        print(f"  {method['paper']}, {method['year']}\n  {settings_of(method)}\n")


@app.command()
def encoders(as_json: AsJson = False) -> None:
    """List Leaven's own encoders; any timm model works by its name as well."""
    import leaven

    listed = leaven.list_encoders()
    if as_json:
        answer(True, listed)
        return
    for encoder in listed:
        print(f"{encoder['name']}  ({', '.join(encoder['modalities'])}: {', '.join(encoder['offers'])})\n  {encoder['summary']}")
        print(f"  {settings_of(encoder)}\n")
    print("Any timm model of pictures works by its name as well, for example resnet18.")


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


if __name__ == "__main__":
    main()
