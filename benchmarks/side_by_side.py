"""Samples per second of trainings one at a time on all cores, and side by side on a share of the cores each, as in `leaven compare --jobs`.

    uv run python benchmarks/side_by_side.py [--data cifar10] [--methods simclr,mae,swav] [--jobs 2] [--rounds 2]

Each training makes some real steps in a process of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys

from leaven.data import open_data
from leaven.inspection.estimate import rehearse
from leaven.training.request import Request


def pace(method: str, data: str, root: str | None) -> None:
    """Print the samples per second. One process is one training."""
    found = rehearse(Request(method, budget=60.0), open_data(data, root=root))
    print(found.batch / found.step)


def together(method: str, jobs: int, arguments: argparse.Namespace) -> float:
    """Samples per second of several trainings at a time, summed."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    root = [] if arguments.data_root is None else ["--data-root", arguments.data_root]
    line = [sys.executable, __file__, "--data", arguments.data, *root, "--pace", method]
    processes = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": threads}) for _ in range(jobs)]
    return sum(float(process.communicate()[0].split()[-1]) for process in processes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root")
    parser.add_argument("--methods", default="simclr,mae,swav")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pace", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pace:
        pace(arguments.pace, arguments.data, arguments.data_root)
        return
    print(f"| method | one at a time, samples per second | {arguments.jobs} side by side | ratio |\n|---|---|---|---|")
    for method in arguments.methods.split(","):
        rounds = [(together(method, 1, arguments), together(method, arguments.jobs, arguments)) for _ in range(arguments.rounds)]
        alone, beside = (statistics.median(each) for each in zip(*rounds, strict=True))
        times = statistics.median(both / one for one, both in rounds)
        print(f"| `{method}` | {alone:,.0f} | {beside:,.0f} | {times:.2f} |", flush=True)


if __name__ == "__main__":
    main()
