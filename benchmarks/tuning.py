"""The same number of tuning trials for every method, on training pictures only: this is where the defaults come from.

    uv run python benchmarks/tuning.py --out runs/tuning [--data cifar10] [--methods all] [--budget 1m] [--trials 3]

A trial trains for the budget and is scored by a linear probe on a tenth of the training pictures that it has not seen; no trial reads the test
split. Every method gets the same number of trials: its defaults, a third and three times its learning rate, and with `--trials 5` two values of the
setting that matters most after the learning rate. A default changes if a trial's linear probe is one point better: a smaller difference may be
chance on 5,000 pictures. The budget is turned into steps once for each method, at the start (the machine should be quiet then); all trials of a
method make that many steps. Every finished trial stays on disk; the same command continues.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from quality import tuning_split

import leaven
from leaven.console import seconds
from leaven.data import open_data
from leaven.inspection.estimate import rehearse
from leaven.methods.registry import find_method, registry
from leaven.run import read_json, write_json
from leaven.training.request import Request

BESIDE = {
    "barlow_twins": [{"off_diagonal": 0.003}, {"off_diagonal": 0.03}],
    "byol": [{"momentum": 0.97}, {"momentum": 0.996}],
    "cmc": [{"temperature": 0.07}, {"temperature": 0.2}],
    "colorization": [{"stride": 2}, {"stride": 8}],
    "context_encoder": [{"overlap_weight": 0.0}, {"overlap_weight": 1.0}],
    "cpc": [{"ahead": (1, 2)}, {"ahead": (3,)}],
    "data2vec": [{"top_layers": 2}, {"momentum": (0.95, 0.999)}],
    "deepcluster": [{"clusters": 100}, {"clusters": 1000}],
    "dino": [{"momentum": 0.95}, {"teacher_temperature": (0.04, 0.07)}],
    "dinov2": [{"momentum": 0.95}, {"teacher_temperature": (0.04, 0.07)}],
    "ibot": [{"momentum": 0.95}, {"mask_ratio": 0.5}],
    "ijepa": [{"momentum": 0.9}, {"momentum": 0.97}],
    "jigsaw": [{"enlarge": 0.75}, {"gap": 0.3}],
    "mae": [{"mask_ratio": 0.5}, {"mask_ratio": 0.65}],
    "mocov1": [{"momentum": 0.97}, {"momentum": 0.996}],
    "mocov2": [{"temperature": 0.07}, {"temperature": 0.1}],
    "mocov3": [{"temperature": 0.1}, {"temperature": 0.5}],
    "n_pair": [{"regularization": 0.002}, {"regularization": 0.1}],
    "nnclr": [{"queue": 1024}, {"queue": 16384}],
    "npid": [{"temperature": 0.05}, {"temperature": 0.1}],
    "relative_position": [{"enlarge": 0.75}, {"gap": 0.15}],
    "rotation": [{"views.crop_min": 0.5}, {"views.jitter": 0.8}],
    "simclr": [{"temperature": 0.1}, {"temperature": 0.5}],
    "simsiam": [{"predictor": 64}, {"predictor": 256}],
    "supcon": [{"temperature": 0.07}, {"temperature": 0.2}],
    "swav": [{"prototypes": 128}, {"prototypes": 1024}],
    "triplet": [{"margin": 0.1}, {"margin": 0.5}],
    "vicreg": [{"covariance": 4.0}, {"covariance": 10.0}],
}
"""For each method, the setting that matters most after the learning rate, with two values that are not its default."""


def trials(method: str) -> list[dict]:
    rate = find_method(method).recipe.lr
    return [{}, {"recipe.lr": rate / 3}, {"recipe.lr": 3 * rate}, *BESIDE[method]]


def named(settings: dict) -> str:
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings.items()) or "defaults"


def steps_of(method: str, data, budget: float, folder: Path) -> int:
    path = folder / "steps.json"
    known = read_json(path) if path.is_file() else {}
    if method not in known:
        pace = rehearse(replace(Request(method), budget=budget), data)
        known[method] = {"steps": pace.steps_in(budget), "seconds_a_step": pace.step}
        write_json(path, known)
        print(f"{method}: {known[method]['steps']} steps, {1000 * pace.step:.0f} ms each", flush=True)
    return known[method]["steps"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--budget", default="1m")
    parser.add_argument("--trials", type=int, default=3, choices=range(1, 6), help="per method")
    parser.add_argument("--lengths-only", action="store_true", help="measure the lengths and stop")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = tuning_split(open_data(arguments.data, root=arguments.data_root))
    begin = [name for name, method in registry().items() if not method.continues and name != "supervised"]
    methods = begin if arguments.methods == "all" else arguments.methods.split(",")
    lengths = {method: steps_of(method, data, seconds(arguments.budget), arguments.out) for method in methods}
    if arguments.lengths_only:
        return
    path = arguments.out / "trials.json"
    found = read_json(path) if path.is_file() else {}
    for number in range(arguments.trials):
        for method in methods:
            settings = trials(method)[number]
            if named(settings) in found.setdefault(method, {}):
                continue
            folder = arguments.out / method / str(number)
            run = leaven.pretrain(data, method=method, steps=lengths[method], out=folder, settings=settings, keep_going=True, report=False)
            card = leaven.evaluate(run, data, protocols=("knn", "linear"), report=False, known_floors=FLOORS)
            found[method][named(settings)] = {name: card.scores[name]["accuracy"] for name in ("knn", "linear")} | {"health": run.health}
            write_json(path, found)
            print(f"{method}, {named(settings)}: {json.dumps(found[method][named(settings)])}", flush=True)
    heads = ("defaults", "rate / 3", "rate x 3", "4th trial", "5th trial")[: arguments.trials]
    print(f"| method | steps | {' | '.join(heads)} |\n{'|---' * (2 + len(heads))}|")
    for method in methods:
        made = [named(settings) for settings in trials(method)[: arguments.trials]]
        told = {name: "" if name == "defaults" or "recipe.lr" in name else f" ({name})" for name in made}
        cells = [f"{100 * found[method][name]['linear']:.1f}{told[name]}" for name in made]
        print(f"| {method} | {lengths[method]} | {' | '.join(cells)} |")


FLOORS = {"input": {}, "untrained": {}}
"""No floors are measured: trials are only compared with each other."""


if __name__ == "__main__":
    main()
