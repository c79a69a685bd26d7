"""Labels that are probably wrong: how many of those that are listed are wrong, and how many of the wrong ones are listed?

    uv run --with cleanlab python benchmarks/wrong_labels.py RUN --data-root DATA [--labels aggregate,random1,worst]

RUN learned from the pictures of `cifar10` without labels. `cifar10n` has labels that people gave to its training pictures, with 9 to 40 % errors, and
the true ones. Confident learning looks at the features of RUN, at those of the same encoder untrained, and at the raw pixels; cleanlab's filter (its
default, by the same held-out probabilities) stands beside it where it is installed.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as parquet
import torch

from leaven.data import open_data
from leaven.evaluation.features import encode
from leaven.evaluation.floors import untrained
from leaven.evaluation.suspects import confident, out_of_fold
from leaven.modalities import modality_of
from leaven.run import Run
from leaven.training.trained import load_encoder_of


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--labels", default="aggregate,random1,worst")
    asked = parser.parse_args()
    data = open_data("cifar10", root=asked.data_root)
    rows = data.splits["train"]
    paths = [
        picture["path"]
        for file in sorted((asked.data_root / "cifar10").glob("train-*.parquet"))
        for picture in parquet.read_table(file)["img"].to_pylist()
    ]
    table = parquet.read_table(next((asked.data_root / "cifar10n").glob("*.parquet"))).to_pydict()
    place = {path: number for number, path in enumerate(table["path"])}
    order = torch.tensor([place[path] for path in paths])
    truth = torch.tensor(table["clean"])[order].long()
    if not torch.equal(truth, data.rows.label[rows]):
        raise SystemExit("the pictures of cifar10 and the labels of cifar10n do not belong together")
    encoder, value = load_encoder_of(Run.open(asked.run)), data.rows["x"]
    features = {
        "this run": encode(encoder, value, rows),
        "untrained encoder": encode(untrained(encoder, 0), value, rows),
        "raw input": modality_of(value).raw_features(value, rows)(replace(value).take(rows)),
    }
    print(
        "| labels | wrong | features | listed | precision | recall | cleanlab: listed | precision | recall |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name in asked.labels.split(","):
        labels = torch.tensor(table[name])[order].long()
        wrong = labels != truth
        for arm, some in features.items():
            probabilities = out_of_fold(some, labels, torch.full_like(labels, -1))
            listed, _ = confident(probabilities, labels)
            cells = [row(listed, wrong)]
            try:
                from cleanlab.filter import find_label_issues
            except ImportError:
                cells.append(" | | ")
            else:
                cells.append(row(torch.from_numpy(find_label_issues(labels.numpy(), probabilities.double().numpy(), n_jobs=1)), wrong))
            print(f"| {name} | {100 * wrong.double().mean():.1f} % | {arm} | {' | '.join(cells)} |", flush=True)


def row(listed: torch.Tensor, wrong: torch.Tensor) -> str:
    right = (listed & wrong).sum().item()
    return f"{int(listed.sum()):,} | {100 * right / max(1, int(listed.sum())):.1f} | {100 * right / int(wrong.sum()):.1f}"


if __name__ == "__main__":
    main()
