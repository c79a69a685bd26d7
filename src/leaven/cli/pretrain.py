from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leaven.cli.app import (
    AcceptData,
    Accumulate,
    AsJson,
    Batch,
    Columns,
    Data,
    Device,
    Devices,
    EncoderName,
    Epochs,
    KeepGoing,
    Labels,
    MethodName,
    Precision,
    Root,
    Seed,
    Size,
    Steps,
    Track,
    answer,
    app,
    assignments,
    columns_of,
)
from leaven.cli.watch import Watch
from leaven.run import when


@app.command()
def pretrain(
    data: Data,
    method: MethodName = "simclr",
    encoder: EncoderName = "auto",
    out: Annotated[
        Path | None, typer.Option(help="The run's folder (default leaven-runs/DATA-METHOD). The same command goes on where it stopped.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="How long: 90s, 10m, 2h.")] = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch: Batch = None,
    size: Size = None,
    labels: Labels = None,
    columns: Columns = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A hyper-parameter: name=value; views., recipe. and encoder. reach into parts.")
    ] = None,
    seed: Seed = 0,
    precision: Precision = "auto",
    device: Device = "auto",
    devices: Devices = 1,
    accumulate: Accumulate = 1,
    data_root: Root = None,
    keep_going: KeepGoing = False,
    accept_data: AcceptData = False,
    track: Track = None,
    as_json: AsJson = False,
) -> None:
    """Train an encoder on data without labels."""
    import leaven

    with Watch() as watch:
        run = leaven.pretrain(
            data, method=method, encoder=encoder, out=out, budget=budget, epochs=epochs, steps=steps, batch=batch, size=size, labels=labels,
            columns=columns_of(columns), settings=assignments(settings, "--set"), seed=seed, precision=precision, device=device, devices=devices,
            accumulate=accumulate, data_root=data_root, keep_going=keep_going, accept_data=accept_data, track=track or (),
            say=watch.say, progress=watch,
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
    spec = asked["data"]["spec"]
    then = f"leaven evaluate {run.path} {data}{f' --labels {labels}' if labels else ''}"
    if not labels and spec["classes"] < 2 and set(spec["roles"]) == {"x"}:
        then += f" --labels FILE.csv (file,label of some), or leaven embed {run.path} {data} --out vectors.npy"
    lines = [
        f"{run.path}: {result['steps']} steps, {result['samples']:,} samples, {result['seconds']:.0f} s, "
        f"{result['samples_per_second']:.0f} samples/s ({split})",
        *(f"{verdict['verdict']} {when(verdict)}: {verdict['why']}" for verdict in result["health"]),
        f"Next: {then}" + (f"; the report: {run.path / 'report.html'}" if (run.path / "report.html").exists() else ""),
    ]
    answer(as_json, content, "\n".join(lines))
