"""Train each method with and without the part that keeps it from collapsing: what does the health monitor say, and when?

    uv run python benchmarks/collapse.py --out runs/collapse [--data cifar10] [--steps 300]

Both trainings of a method have the same seed, steps and settings, except for the guard. If the monitor stops a training, it ends there. Finished
trainings stay on disk, and the same command continues. Accuracies are the monitor's own: leave-one-out nearest neighbours among 1,024 training
pictures.
"""

import argparse
import contextlib
from pathlib import Path

import leaven
from leaven.data import open_data
from leaven.errors import TrainingStopped
from leaven.methods.registry import find_method
from leaven.run import Run

GUARDS = {
    "byol": {"stop_gradient": False, "predictor": ()},
    "simsiam": {"stop_gradient": False},
    "dino": {"centering": False},
    "swav": {"sinkhorn": False},
    "vicreg": {"variance": 0.0},
    "barlow_twins": {"off_diagonal": 0.0},
    "ijepa": {"stop_gradient": False},
}


def trained(data, folder: Path, **request) -> Run:
    run = Run(folder)
    if not run.finished and not (run.config_path.is_file() and "stopped" in run.config):
        with contextlib.suppress(TrainingStopped):
            leaven.pretrain(data, out=folder, report=False, **request)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root")
    parser.add_argument("--methods", default=",".join(GUARDS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = open_data(arguments.data, root=arguments.data_root)
    print("| method | part taken away | verdict, since step | verdict with the part | kNN at the end without, with the part |\n|---|---|---|---|---|")
    for method in arguments.methods.split(","):
        off = GUARDS[method]
        broken = trained(data, arguments.out / f"{method}-without", method=method, steps=arguments.steps, settings=off)
        sound = trained(data, arguments.out / method, method=method, steps=arguments.steps)
        told = [", ".join(f"{verdict['verdict']}, {verdict['since_step']}" for verdict in run.health) or "none" for run in (broken, sound)]
        ends = [[row["knn"] for row in run.metrics if "knn" in row][-1] for run in (broken, sound)]
        guards = " and ".join(find_method(method).guards[name] for name in off)
        print(f"| {method} | {guards} | {told[0]} | {told[1]} | {', '.join(f'{100 * knn:.1f}' for knn in ends)} |", flush=True)
        for verdict in broken.health:
            print(f"    {method}: {verdict['why']}", flush=True)


if __name__ == "__main__":
    main()
