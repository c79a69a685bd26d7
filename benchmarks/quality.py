"""What is pre-training worth on real pictures, beside raw pixels and the untrained encoder?

Every finished training stays on disk; the same command continues.

    uv run python benchmarks/quality.py --out runs/quality --data cifar10 --methods simclr --budget 10m --seeds 1
    uv run python benchmarks/quality.py --out runs/quality --data cifar10 --methods byol,mae,rotation --budget 5m --seeds 3

All settings are the defaults. The first seed turns the budget into steps (the machine should be quiet then), and the others make as many. Probes
learn on the train split and read the test split once; the last checkpoint counts. Differences over seeds have a Student-t interval. `--tune` does
not read the test split: it pre-trains on 45,000 training pictures and scores on the other 5,000.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch

import leaven
from leaven.data import DataSet, open_data
from leaven.evaluation.intervals import seeds_interval


def tuning_split(data: DataSet) -> DataSet:
    """Only the training pictures: a tenth of them, by content hash, becomes the test split."""
    train = data.train()
    held = data.hashes[train] % 10 == 0
    rows = torch.cat([train[~held], train[held]])
    kept = data.subset(rows)
    count = int((~held).sum())
    return DataSet.of(
        f"{data.name}-tuning",
        kept.rows,
        splits={"train": torch.arange(count), "test": torch.arange(count, len(rows))},
        class_names=data.spec.class_names,
        hashes=kept.hashes,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root")
    parser.add_argument("--methods", default="simclr")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--size", type=int)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    settings = dict(pair.split("=", 1) for pair in arguments.set)
    data = open_data(arguments.data, root=arguments.data_root, size=arguments.size)
    data = tuning_split(data) if arguments.tune else data
    head = "| method | seed | steps | samples/s | kNN | linear | kNN, linear of pixels | kNN, linear untrained | verdicts |"
    print(f"{head}\n{'|---' * 9}|")
    gains: dict[str, list[float]] = {}
    for method in arguments.methods.split(","):
        length: dict[str, str | int] = {"budget": arguments.budget}
        for seed in range(arguments.seeds):
            folder = arguments.out / f"{arguments.data}-{method}-{arguments.budget}-{seed}{'-tuning' if arguments.tune else ''}"
            run = leaven.pretrain(data, method=method, seed=seed, size=arguments.size, settings=settings, out=folder, **length)
            length = {"steps": run.config["result"]["steps"]}
            if not (folder / "scorecard.json").exists():
                leaven.evaluate(run, data, protocols=("knn", "linear"), seed=seed)
            card, result = json.loads((folder / "scorecard.json").read_text()), run.config["result"]
            arms = {"own": card["scores"], **card["floors"]}
            shown = {name: [100 * scores[protocol]["accuracy"] for protocol in ("knn", "linear")] for name, scores in arms.items()}
            pairs = {name: f"{knn:.1f}, {linear:.1f}" for name, (knn, linear) in shown.items()}
            low, high = (100 * bound for bound in card["scores"]["linear"]["interval"])
            cells = [method, seed, result["steps"], f"{result['samples_per_second']:.0f}", f"{shown['own'][0]:.1f}"]
            cells += [f"{shown['own'][1]:.1f} ({low:.1f}-{high:.1f})", pairs["input"], pairs["untrained"]]
            cells += [", ".join(verdict["verdict"] for verdict in result["health"]) or "none"]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            gains.setdefault(method, []).append(shown["own"][1] - shown["untrained"][1])
    for method, found in gains.items():
        if len(found) > 1:
            low, high = seeds_interval(found)
            gain = f"{statistics.mean(found):+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}"
            print(f"\n{method}: linear probe over the untrained encoder {gain} ({len(found)} seeds)")


if __name__ == "__main__":
    main()
