"""Test nats of models of binary digits, each trained for the same time: Boltzmann machines, MADE, variational auto-encoders.

    uv run python benchmarks/likelihoods.py --out runs/likelihoods [--data MNIST] [--budget 10m] [--arms all]

Grey values are probabilities of a 1. They are drawn again at every step; for the test samples they are drawn once, the same for every model.
Intervals are over test samples; an estimate by annealed importance sampling also shows three errors of its log Z. Finished trainings are kept, and
the same command continues.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import leaven
from leaven.console import seconds
from leaven.data import open_data
from leaven.draw import Draw
from leaven.evaluation.intervals import bootstrap_interval
from leaven.run import read_json, write_json
from leaven.training.trained import trained_method

DENSE = {"encoder.widths": (500, 500), "bound_samples": 500}
ARMS = {
    "RBM, 500 hidden units, CD-1": ("rbm", {"settings": {"persistent": False, "gibbs_steps": 1}}),
    "RBM, 500 hidden units, CD-3": ("rbm", {"settings": {"persistent": False, "gibbs_steps": 3}}),
    "RBM, 500 hidden units, CD-25": ("rbm", {"settings": {"persistent": False, "gibbs_steps": 25}}),
    "RBM, 500 hidden units, persistent chains": ("rbm", {"settings": {}}),
    "MADE, 500 units, one ordering": ("made", {"settings": {}}),
    "MADE, 500 units, 2 orderings": ("made", {"settings": {"orderings": 2}}),
    "MADE, 500 units, 8 orderings": ("made", {"settings": {"orderings": 8}}),
    "VAE, two layers of 500 units": ("vae", {"encoder": "dense", "settings": DENSE}),
    "IWAE of 5 samples, two layers of 500 units": ("vae", {"encoder": "dense", "settings": {**DENSE, "samples": 5}}),
}
"""The arms: a method and its settings."""
PAIRS = {
    "MADE, 500 units, 2 orderings": "MADE, 500 units, one ordering",
    "MADE, 500 units, 8 orderings": "MADE, 500 units, one ordering",
    "IWAE of 5 samples, two layers of 500 units": "VAE, two layers of 500 units",
}
"""The arms whose nats are compared on each test sample."""


def measured(name: str, data, folder: Path, budget: float | None, steps: int | None) -> dict:
    kept, each = folder / "nats.json", folder / "nats.npy"
    if not kept.is_file() or not each.is_file():
        method, asked = ARMS[name]
        run = leaven.pretrain(data, method=method, budget=budget, steps=steps, out=folder, keep_going=True, **asked)
        test = data.subset(data.held_out()[1])
        scored = leaven.score(run, test)
        np.save(each, scored.nats)
        result = run.config["result"]
        more = {"steps": result["steps"], "seconds": result["seconds"], "what": trained_method(run).log_prob_is, "health": run.health}
        if method == "rbm":
            more["log_partition"] = trained_method(run).log_partition._asdict()
        if asked["settings"].get("orderings"):
            more["alone"] = orderings_alone(trained_method(run), test.rows["x"])
        write_json(kept, {**scored.mean(), **more})
    return {**read_json(kept), "each": np.load(each)}


@torch.no_grad()
def orderings_alone(made, value) -> float:
    """The log-likelihood with a single ordering, as the mean over all orderings."""
    target = made.likelihood.observe(value, Draw(0, "alone"))
    each = [made.likelihood.log_prob(made.conditionals(target, ordering), target).mean() for ordering in range(len(made.encoder.places))]
    return torch.stack(each).mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="MNIST")
    parser.add_argument("--data-root")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--steps", type=int, help="instead of a time")
    parser.add_argument("--arms", default="all", help="parts of their names, separated by semicolons")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = open_data(arguments.data, root=arguments.data_root)
    chosen = [name for name in ARMS if arguments.arms == "all" or any(part.strip() in name for part in arguments.arms.split(";"))]
    rows, nats = [], {}
    for name in chosen:
        folder = arguments.out / name.lower().replace(",", "").replace(" ", "-")
        found = measured(name, data, folder, None if arguments.steps else seconds(arguments.budget), arguments.steps)
        nats[name] = found["each"]
        low, high = found["interval"]
        partition = found.get("log_partition")
        told = f"{found['what']}" + (f", log Z within {3 * partition['error']:.1f}" if partition and np.isfinite(partition["error"]) else "")
        told += f"; by one ordering of them {-found['alone']:.1f}" if "alone" in found else ""
        rows.append(f"| {name} | {-found['nats']:.1f} ({-high:.1f} to {-low:.1f}) | {told} | {found['steps']:,} | {found['seconds']:.0f} s |")
        print(rows[-1], flush=True)
    print("\n".join(["", "| model | test nats | what the number is | steps | time |", "|---" * 5 + "|", *rows]))
    for name, other in PAIRS.items():
        if name in nats and other in nats:
            gain = nats[name] - nats[other]
            low, high = bootstrap_interval(torch.from_numpy(gain))
            print(f"\n{name}, beside {other}: {gain.mean():+.2f} nats ({low:+.2f} to {high:+.2f})")


if __name__ == "__main__":
    main()
