"""Intents of recognised speech, learned from true and recognised text: what do unlabeled pairs of both add (Chang and Chen 2022)?

    uv run python benchmarks/spoken.py --data-root DATA --out runs/spoken [--data atis-asr,trec6-asr,slurp] [--seeds 3] [--part test]

Every arm ends with the same labels, on the true text and the recognised text of the training part. It is scored on recognised text only, beside a
logistic regression on tf-idf that learned from the same data. Choose settings with --part valid. slurp has no training part, and its devel part has
no recognised text. So the devel part trains, its pairs come from replacing words in the way in which atis-asr and trec6-asr were misheard, and
nothing is chosen on it. Finished trainings are kept, and the same command continues.
"""

import argparse
import csv
import json
import random
from collections import defaultdict
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

import numpy as np
from similarity import told
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

import leaven
from leaven.run import read_json, write_json

NAMES = ("atis-asr", "trec6-asr", "slurp")
SMALL = {"encoder.width": 192, "encoder.depth": 3}
START, SECOND, LABELS = {"steps": 600, "settings": SMALL}, {"steps": 200}, {"steps": 300}
SECOND_STAGE = {"contrast": 0.1, "distillation": 1.0}
MISHEARD = 0.2  # share of replaced words among those that were misheard elsewhere


class Spoken(NamedTuple):
    """What was said, what was recognised, and the intent."""

    said: str
    heard: str
    meant: str


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return [*csv.DictReader(stream)]


def recognised(path: Path) -> dict[str, list[Spoken]]:
    parts = defaultdict(list)
    for row in table(path):
        parts[row["split"]].append(Spoken(row["text_gold"], row["text_asr"], row["label"]))
    return parts


def parts_of(root: Path, name: str) -> dict[str, list[Spoken]]:
    """train, valid (not for slurp) and test."""
    if name != "slurp":
        return recognised(root / name / f"{name}.csv")
    heard_as = confusions([line for other in NAMES[:2] for line in parts_of(root, other)["train"]])
    draw = random.Random(0)
    train = []
    for line in (root / name / "devel.jsonl").read_text().splitlines():
        row = json.loads(line)
        train.append(Spoken(row["sentence"], misheard(row["sentence"], heard_as, draw), row["intent"]))
    known = {line.meant for line in train}
    test = [Spoken(row["text_gold"], row["text_asr"], row["intent"]) for row in table(root / name / "test-asr.csv")]
    return {"train": train, "test": [line for line in test if line.meant in known]}


def confusions(lines: list[Spoken]) -> dict[str, list[str]]:
    """How words were misheard, where one word was recognised as one other word."""
    found = defaultdict(list)
    for line in lines:
        said, heard = line.said.lower().split(), line.heard.lower().split()
        for kind, a, b, c, d in SequenceMatcher(None, said, heard, autojunk=False).get_opcodes():
            if kind == "replace" and b - a == d - c:
                for word, other in zip(said[a:b], heard[c:d], strict=True):
                    found[word].append(other)
            if kind == "delete":
                for word in said[a:b]:
                    found[word].append("")
    return found


def misheard(text: str, heard_as: dict[str, list[str]], draw: random.Random) -> str:
    words = [draw.choice(heard_as[word]) if word in heard_as and draw.random() < MISHEARD else word for word in text.lower().split()]
    return " ".join(filter(None, words)) or text


def write(path: Path, head: str, rows: list[tuple[str, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head.split(), *rows])
    return path


def floor(lines: dict[str, list[Spoken]], part: str) -> float:
    """tf-idf of words and of characters with a logistic regression."""
    train = [(text, line.meant) for line in lines["train"] for text in (line.said, line.heard)]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    found = make_pipeline(make_union(words, characters), LogisticRegression(C=30, max_iter=2000)).fit(*zip(*train, strict=True))
    return 100 * found.score([line.heard for line in lines[part]], [line.meant for line in lines[part]])


def accuracy(run, lines: list[Spoken]) -> float:
    """Accuracy on recognised text; an empty text counts as wrong."""
    there = [line for line in lines if line.heard.strip()]
    found = leaven.predict(run, [line.heard for line in there])
    return 100 * float(np.sum(np.array(found.labels) == np.array([line.meant for line in there]))) / len(lines)


def measured(name: str, lines: dict[str, list[Spoken]], part: str, seed: int, out: Path) -> dict[str, float]:
    kept = out / f"{part}-{seed}.json"
    if kept.is_file():
        return read_json(kept)
    train = [line for line in lines["train"] if line.said.strip() and line.heard.strip()]
    both = write(out / "texts.csv", "text", [(text,) for line in train for text in (line.said, line.heard)])
    pairs = write(out / "pairs.csv", "anchor positive", [(line.said, line.heard) for line in train])
    labeled = write(out / "labeled.csv", "text label", [(text, line.meant) for line in train for text in (line.said, line.heard)])

    def learned(way: str, data: Path, length: dict, name: str = "", **options):
        return leaven.pretrain(data, method=way, out=out / f"{name or way}-{seed}", seed=seed, report=False, keep_going=True, **length, **options)

    def taught(way: str, run, **settings):
        settings = {"interpolation": 1.0, **settings}  # with labels of all texts half of the way back costs points on trec6-asr's valid part
        ended = leaven.finetune(
            run, labeled, out=out / f"told-{way}-{seed}", seed=seed, all_labels=True, keep_going=True, settings=settings, **LABELS
        )  # fmt: skip
        return accuracy(ended, lines[part])

    start = learned("masked_lm", both, START)
    untold = learned("masked_lm", both, {"steps": 1, "settings": {**SMALL, "recipe.lr": 0.0, "whiten": False}}, "nothing")
    simcse = learned("simcse", both, SECOND, encoder=str(start.path))
    spoken = learned("spoken_cse", pairs, SECOND, encoder=str(start.path))
    found = {
        "labels alone": taught("nothing", untold, probe_first=False),
        "masked LM": taught("masked_lm", start),
        "masked LM, SimCSE": taught("simcse", simcse),
        "masked LM, SpokenCSE": taught("spoken_cse", spoken),
        "masked LM, second stage": taught("masked_lm-second", start, **SECOND_STAGE),
        "masked LM, SpokenCSE, second stage": taught("spoken_cse-second", spoken, **SECOND_STAGE),
    }
    write_json(kept, found)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--data", default=",".join(NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", default="test", choices=("valid", "test"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    names = arguments.data.split(",")
    if unknown := set(names) - set(NAMES):
        parser.error(f"no data set is named {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    columns = {}
    for name in names:
        lines = parts_of(arguments.data_root, name)
        found = [measured(name, lines, arguments.part, seed, arguments.out / name) for seed in range(arguments.seeds)]
        columns[name] = {way: told([each[way] for each in found]) for way in found[0]}
        columns[name]["tf-idf, logistic regression"] = f"{floor(lines, arguments.part):.1f}"
    print(f"| {arguments.part}, recognised text | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    for way in columns[names[0]]:
        print(f"| {way} | {' | '.join(column[way] for column in columns.values())} |")


if __name__ == "__main__":
    main()
