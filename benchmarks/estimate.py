"""How well does `leaven inspect` estimate the time of a training? It inspects each method and data set, then trains, in turn.

    uv run python benchmarks/estimate.py [--data cifar10,fashion_mnist] [--methods simclr,mae] [--set mae:encoder.patch=4] [--seconds 30] [--rounds 2]

Every training is a process of its own, as a user starts it, with as many steps as should take `--seconds` by the estimate. The error compares the
training's own `seconds` with the estimate; the table also shows the wall clock of the whole command, with its start and its report. The rounds
alternate, so that a machine which changes its pace is fair to all.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time


def leaven(*words: object) -> tuple[dict, float]:
    """The JSON that a command prints, and the seconds of the whole command."""
    begin = time.perf_counter()
    found = subprocess.run([sys.executable, "-m", "leaven.cli", *map(str, words), "--json"], capture_output=True, text=True, check=True)
    return json.loads(found.stdout), time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10,fashion_mnist")
    parser.add_argument("--methods", default="simclr,mae")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="name=value, or method:name=value for one of them")
    parser.add_argument("--data-root")
    arguments = parser.parse_args()
    root = ["--data-root", arguments.data_root] if arguments.data_root else []
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print("| data | method | steps | seconds: estimated | training | error | whole command | memory: estimated, used (GB) |\n" + "|---" * 8 + "|")
    errors = []
    for _ in range(arguments.rounds):
        for data in arguments.data.split(","):
            for method in arguments.methods.split(","):
                mine = [each.removeprefix(f"{method}:") for each in arguments.set if ":" not in each or each.startswith(f"{method}:")]
                options = ["--method", method, *root, *(word for each in mine for word in ("--set", each))]
                looked, _ = leaven("inspect", data, *options, "--budget", f"{arguments.seconds:g}s")
                estimate = looked["estimate"]
                with tempfile.TemporaryDirectory() as folder:
                    result, wall = leaven("pretrain", data, *options, "--steps", estimate["steps"], "--out", f"{folder}/run")
                errors.append(result["seconds"] / estimate["seconds"] - 1)
                memory = [f"{value / 1e9:.2f}" if value else "?" for value in (estimate["memory_bytes"], result.get("peak_memory"))]
                cells = [data, method, estimate["steps"], f"{estimate['seconds']:.1f}", f"{result['seconds']:.1f}", f"{100 * errors[-1]:+.0f} %"]
                print(f"| {' | '.join(map(str, [*cells, f'{wall:.1f}', ', '.join(memory)]))} |", flush=True)
    within = sum(abs(error) <= 0.25 for error in errors)
    print(f"\n{within} of {len(errors)} within 25 %; median absolute error {100 * statistics.median(map(abs, errors)):.0f} %")


if __name__ == "__main__":
    main()
