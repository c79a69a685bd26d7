"""Boxes and masks from few labeled pictures: does pre-training on the unlabeled ones help?

    OMP_NUM_THREADS=1 uv run --all-extras python benchmarks/surgery.py --data-root DATA --out runs/surgery
        [--sets camvid-240,bccd] [--labels 10,50,all] [--seeds 3]

camvid-240  street scenes with a class for each pixel: mean intersection over union on the 233 test pictures
bccd        blood cells with boxes: mean average precision on the 35 test pictures

For each seed SimCLR learns from the training pictures without labels; then a head and the encoder learn from 10, 50 and all labeled pictures, and so
does the same network from scratch, for as many steps. Every finished training and score is kept, and the same command goes on.
"""

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import leaven
from leaven.evaluation.intervals import seeds_interval
from leaven.run import Run, read_json, write_json

ARMS = "pre-trained", "from scratch"


def linked(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(target.resolve())


def chosen(names: Sequence[str], count: str, seed: int) -> list[str]:
    return sorted(names) if count == "all" else random.Random(seed).sample(sorted(names), int(count))


class Camvid:
    """Street scenes and their masks."""

    name, task, score, size, steps = "camvid-240", "segmentation", "miou", 120, 150
    settings: dict[str, Any] = {}

    def unlabeled(self, root: Path, out: Path) -> Path:
        return root / self.name / "train" / "images"

    def labeled(self, root: Path, out: Path, count: str, seed: int) -> tuple[Path, str]:
        """A folder whose train part has so many masks."""
        place = out / "data"
        for part in ("train", "test"):
            linked(place / part / "images", root / self.name / part / "images")
        linked(place / "test" / "labels", root / self.name / "test" / "labels")
        masks = root / self.name / "train" / "labels"
        for name in chosen([file.name for file in masks.glob("*.png")], count, seed):
            linked(place / "train" / "labels" / name, masks / name)
        linked(place / "classes.csv", root / self.name / "classes.csv")
        return place, "labels"


class Cells:
    """Blood cells and their boxes."""

    name, task, score, size, steps = "bccd", "detection", "map", 120, 150
    settings: dict[str, Any] = {"recipe.lr": 2e-3}

    def unlabeled(self, root: Path, out: Path) -> Path:
        """A folder of the training pictures alone."""
        for picture in read_json(root / self.name / "train.json")["images"]:
            linked(out / "pictures" / picture["file_name"], root / self.name / "images" / picture["file_name"])
        return out / "pictures"

    def labeled(self, root: Path, out: Path, count: str, seed: int) -> tuple[Path, str]:
        """The boxes of so many training pictures, and those of the test pictures."""
        place = out / "boxes"
        place.mkdir(parents=True, exist_ok=True)
        linked(place / "test.json", root / self.name / "test.json")
        content = read_json(root / self.name / "train.json")
        names = chosen([picture["file_name"] for picture in content["images"]], count, seed)
        content["images"] = [picture for picture in content["images"] if picture["file_name"] in names]
        kept = {picture["id"] for picture in content["images"]}
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
        (place / "train.json").write_text(json.dumps(content))
        return root / self.name / "images", str(place)


SETS: dict[str, Any] = {kind.name: kind() for kind in (Camvid, Cells)}


def measured(kind: Any, count: str, seed: int, asked: argparse.Namespace) -> dict[str, float]:
    """The score of both arms."""
    kept = asked.out / kind.name / str(seed) / f"{count}.json"
    if not kept.is_file():
        folder = kept.parent
        start = leaven.pretrain(
            kind.unlabeled(asked.data_root, folder), size=96, batch=64, steps=asked.pretrain_steps, seed=seed, out=folder / "start", keep_going=True
        )
        data, labels = kind.labeled(asked.data_root, folder / count, count, seed)
        run: Run = leaven.finetune(
            start, data, task=kind.task, labels=labels, size=kind.size, steps=kind.steps, batch=8, seed=seed, all_labels=True,
            out=folder / count / "run", settings=kind.settings,
        )  # fmt: skip
        card = leaven.evaluate(run, data, labels=labels, labels_only="1h", seed=seed, report=False)
        scores = card.scores[kind.task], card.floors["labels-only"][kind.task]
        write_json(kept, {arm: score[kind.score] for arm, score in zip(ARMS, scores, strict=True)})
        print(kind.name, count, seed, read_json(kept), flush=True)
    return read_json(kept)


def cell(values: list[float]) -> str:
    values = [100 * value for value in values]
    if len(values) < 2:
        return f"{values[0]:.1f}"
    low, high = seeds_interval(values)
    return f"{statistics.fmean(values):.1f} ({low:.1f}-{high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--labels", default="10,50,all")
    parser.add_argument("--pretrain-steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    counts = asked.labels.split(",")
    for name in asked.sets.split(","):
        kind = SETS[name]
        scores = {count: [measured(kind, count, seed, asked) for seed in range(asked.seeds)] for count in counts}
        print(f"\n| {name} ({kind.score}) | {' | '.join(f'{count} labeled' for count in counts)} |\n|{'---|' * (len(counts) + 1)}")
        for arm in ARMS:
            print(f"| {arm} | {' | '.join(cell([score[arm] for score in scores[count]]) for count in counts)} |")
        gains = {count: [score[ARMS[0]] - score[ARMS[1]] for score in scores[count]] for count in counts}
        print(f"| difference | {' | '.join(cell(gains[count]) for count in counts)} |")


if __name__ == "__main__":
    main()
