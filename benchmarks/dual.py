"""Two tasks that are each other's inverse: what does each way of teaching them together add to two models trained apart?

    OMP_NUM_THREADS=1 uv run --extra text python benchmarks/dual.py --data-root DATA --out runs/dual [--arms apart,dual,...] [--steps 250] [--seeds 3]
    [--data DATA --text COLUMN --meaning COLUMN]

  apart, multi-task              two models; one network that reads both texts
  dual, joint                    dual_supervised; joint_dual, straight through
  few apart, few unsupervised    a tenth of the pairs; and texts without a partner in the other rows

The data is e2e-nlg (restaurants: 42,061 pairs to learn from) or any table or folder with two columns of text. Steps are those of the two tasks;
models of each text by itself are trained in a fifth of all steps. Scores are those of the protocol `writing` on evenly spaced test inputs. Every
finished cell is kept under --out; the same command goes on. Intervals are over seeds (Student's t), those of differences over pairs of seeds.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch

import leaven
from leaven.data import open_data
from leaven.draw import Draw
from leaven.evaluation.intervals import seeds_interval
from leaven.run import read_json, write_json

SMALL = {"encoder.width": 128, "encoder.depth": 1, "tokenizer.vocabulary": 2000, "recipe.lr": 2e-3}
MARGINALS, PAIRED, INPUTS = 0.2, 0.1, 300
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "apart": ("dual_supervised", {"weight": 0.0}),
    "multi-task": ("dual_supervised", {"weight": 0.0, "shared": True}),
    "dual": ("dual_supervised", {"marginals": MARGINALS}),
    "joint": ("joint_dual", {}),
    "few apart": ("dual_supervised", {"weight": 0.0}),
    "few unsupervised": ("dual_unsupervised", {}),
}


def rows_of(data: Any, roles: tuple[str, str], few: bool, unpaired: bool, seed: int) -> dict[str, list[str]]:
    """The texts to learn from. few: a tenth of them keep their partner; of the others, each keeps one text, where unpaired, or none."""
    texts = {role: data.rows[role].texts.tolist() for role in roles}
    train = data.train()[Draw(seed, "rows").permutations(len(data.train()), 1)[0]].tolist()
    pairs = train[: round(PAIRED * len(train))] if few else train
    rows = {role: [texts[role][row] for row in pairs] for role in roles}
    for number, row in enumerate(train[len(pairs) :] if unpaired else []):
        for place, role in enumerate(roles):
            rows[role].append(texts[role][row] if number % 2 == place else "")
    return rows


def measured(arm: str, seed: int, steps: int, source: str, columns: dict[str, str], root: str | None, out: Path) -> dict[str, float]:
    kept = out / f"{arm.replace(' ', '-')}-{seed}.json"
    if kept.is_file():
        return read_json(kept)
    method, settings = ARMS[arm]
    data = open_data(source, root=root, columns=columns)
    rows = rows_of(data, ("text", "meaning"), arm.startswith("few"), method == "dual_unsupervised", seed)
    steps = round(steps / (1 - MARGINALS)) if "marginals" in settings else steps
    place = out / kept.stem
    run = leaven.pretrain(rows, method=method, steps=steps, seed=seed, settings={**SMALL, **settings}, out=place, report=False, keep_going=True)
    card = leaven.evaluate(run, source, columns=columns, data_root=root, settings={"writing.count": INPUTS}, seed=seed).to_dict()
    scores = {"": card["scores"], **card["floors"]}
    values = {
        f"{direction}, {measure}{f', {name}' if name else ''}": 100 * point[measure]["value"]
        for name, one in scores.items()
        for direction, point in one["writing"]["directions"].items()
        for measure in ("f1", "bleu", "rouge_l")
        if measure in point
    }
    write_json(kept, values | {"seconds": run.config["result"]["seconds"]})
    return read_json(kept)


def with_interval(values: list[float]) -> str:
    low, high = seeds_interval(values) if len(values) > 1 else (values[0], values[0])
    return f"{statistics.fmean(values):.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="e2e-nlg")
    parser.add_argument("--text", default="ref")
    parser.add_argument("--meaning", default="mr")
    parser.add_argument("--data-root")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    columns, arms = {"text": asked.text, "meaning": asked.meaning}, asked.arms.split(",")
    results: dict[str, list[dict[str, float]]] = {}
    for seed in range(asked.seeds):
        for arm in arms:
            cell = measured(arm, seed, asked.steps, asked.data, columns, asked.data_root, asked.out)
            results.setdefault(arm, []).append(cell)
            print(f"{arm}, seed {seed}: {', '.join(f'{name} {value:.1f}' for name, value in cell.items())}", flush=True)
    for arm, cells in results.items():
        base = results.get("few apart" if arm.startswith("few") else "apart", [])
        for name in (name for name in cells[0] if name.count(",") == 1):
            values = [cell[name] for cell in cells]
            gain = f", {with_interval([value - other[name] for value, other in zip(values, base, strict=True)])} over apart" if base else ""
            print(f"| {arm} | {name} | {with_interval(values)}{gain} |")


if __name__ == "__main__":
    main()
