"""Classes that are rare: what makes a classifier name them as well as the common ones?

    uv run python benchmarks/rare_classes.py RUN --data cifar10 --data-root DATA --out runs/rare [--arms none,weights,sampling,logit_adjustment,...]

RUN learned from the data without labels. The training part is thinned out so that class sizes fall exponentially, the largest being 100 times the
smallest (Cui et al. 2019, section 5.1). From it RUN is fine-tuned by each value of `rare_classes`; `fixmatch` and `abc` also learn from as many other
samples without their labels, whose classes are as unequal. All samples of the test part are named, where classes are equally common. Every finished
training stays on disk; the same command continues.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

import leaven
from leaven.data import DataSet, open_data
from leaven.evaluation.classifier import load_classifier, probabilities
from leaven.evaluation.per_class import per_class
from leaven.evaluation.results import mean_of_numbers

WITH_UNLABELED = ("fixmatch", "abc")


def long_tailed(data: DataSet, largest: int, ratio: float, seed: int) -> DataSet:
    """A copy with class sizes from `largest` down to that divided by the ratio, and as many samples without labels beside them."""
    train, labels = data.splits["train"], data.rows.label
    label, kept = torch.full_like(labels, -1), []
    for number in range(data.spec.classes):
        rows = train[labels[train] == number]
        size = max(1, round(largest * ratio ** (-number / (data.spec.classes - 1))))
        drawn = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1000 * seed + number))[: 2 * size]]
        label[drawn[:size]] = number
        kept.append(drawn)
    thinned = data.with_labels(label.tolist(), data.spec.class_names)
    return replace(thinned, splits={"train": torch.cat(kept).sort().values, "test": data.splits["test"]})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--data-root")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", default="none,weights,sampling,logit_adjustment,fixmatch,abc")
    parser.add_argument("--largest", type=int, default=500)
    parser.add_argument("--ratio", type=float, default=100.0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    data = open_data(asked.data, root=asked.data_root)
    rare = range(data.spec.classes * 2 // 3, data.spec.classes)
    print(f"| arm | balanced accuracy | of the {len(rare)} rarest classes |\n|---|---|---|")
    for arm in asked.arms.split(","):
        scores = []
        for seed in range(asked.seeds):
            samples = long_tailed(data, asked.largest, asked.ratio, seed)
            how = {"unlabeled": arm} if arm in WITH_UNLABELED else {"settings": {"rare_classes": arm, "folds": 0}}
            out = asked.out / f"{asked.largest}-{asked.ratio:g}-{asked.steps}-{arm}-{seed}"
            classifier, names = load_classifier(leaven.finetune(asked.run, samples, out=out, steps=asked.steps, seed=seed, **how))
            test, order = data.splits["test"], [names.index(name) for name in data.spec.class_names]
            named = torch.cat([part[:, order].argmax(1) for part in probabilities(classifier, data.rows["x"], test)])
            score = per_class(named, data.rows.label[test], data.spec.class_names)
            scores.append((score["balanced_accuracy"], sum(score["per_class"][number]["accuracy"] for number in rare) / len(rare)))
        print(f"| {arm} | {' | '.join(cell([numbers[place] for numbers in scores]) for place in range(2))} |", flush=True)


def cell(shares: list[float]) -> str:
    mean = mean_of_numbers(shares)
    return f"{100 * mean['mean']:.1f}" + (" ({:.1f}-{:.1f})".format(*(100 * bound for bound in mean["interval"])) if mean["interval"] else "")


if __name__ == "__main__":
    main()
