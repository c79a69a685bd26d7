"""Labels that are probably wrong: how many of those that are listed are wrong, and how many of the wrong ones are listed?

    uv run --with cleanlab python benchmarks/wrong_labels.py RUN --data-root DATA [--labels aggregate,random1,worst] [--fine-tune 2000 --steps 300]

RUN learned from the pictures of `cifar10` without labels. `cifar10n` has labels that people gave to its training pictures, with 9 to 40 % errors, and
the true ones. Confident learning looks at the features of RUN, at those of the same encoder untrained, and at the raw pixels; cleanlab's filter (its
default, by the same held-out probabilities) stands beside it where it is installed.

With --fine-tune N, N pictures are drawn, RUN is fine-tuned on their labels as they are, without those that are probably wrong
(`noisy_labels=leave_out`), and on the true ones, and the true classes of the test pictures are predicted.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as parquet
import torch

import leaven
from leaven.data import DataSet, open_data
from leaven.evaluation.classifier import load_classifier, probabilities
from leaven.evaluation.features import encode
from leaven.evaluation.floors import untrained
from leaven.evaluation.suspects import by_probe
from leaven.modalities import modality_of
from leaven.modules.confident import confident, out_of_fold
from leaven.run import Run
from leaven.training.trained import load_encoder_of


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--labels", default="aggregate,random1,worst")
    parser.add_argument("--fine-tune", type=int, default=0, metavar="N", help="fine-tune on so many labels instead")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
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
    labels_by_name = {name: torch.tensor(table[name])[order].long() for name in asked.labels.split(",")}
    if asked.fine_tune:
        fine_tune(asked, data, labels_by_name)
    else:
        list_suspects(asked.run, data, labels_by_name)


def list_suspects(run: str, data: DataSet, labels_by_name: dict[str, torch.Tensor]) -> None:
    """How many of the listed labels are wrong, and how many of the wrong ones are listed."""
    rows = data.splits["train"]
    truth = data.rows.label[rows]
    encoder, value = load_encoder_of(Run.open(run)), data.rows["x"]
    features = {
        "this run": encode(encoder, value, rows),
        "untrained encoder": encode(untrained(encoder, 0), value, rows),
        "raw input": modality_of(value).raw_features(value, rows)(replace(value).take(rows)),
    }
    print(
        "| labels | wrong | features | listed | precision | recall | cleanlab: listed | precision | recall |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, labels in labels_by_name.items():
        wrong = labels != truth
        for arm, some in features.items():
            shares = out_of_fold(some, labels, torch.full_like(labels, -1), by_probe)
            listed, _ = confident(shares, labels)
            cells = [row(listed, wrong)]
            try:
                from cleanlab.filter import find_label_issues
            except ImportError:
                cells.append(" | | ")
            else:
                cells.append(row(torch.from_numpy(find_label_issues(labels.numpy(), shares.double().numpy(), n_jobs=1)), wrong))
            print(f"| {name} | {100 * wrong.double().mean():.1f} % | {arm} | {' | '.join(cells)} |", flush=True)


def fine_tune(asked: argparse.Namespace, data: DataSet, labels_by_name: dict[str, torch.Tensor]) -> None:
    """Accuracy on the test pictures, whose labels are right."""
    rows, test = data.splits["train"], data.splits["test"]
    truth = data.rows.label[rows]
    print("| labels | wrong | seed | as they are | left out: share, of the wrong | without these | true labels |\n|---|---|---|---|---|---|---|")
    for name, labels in labels_by_name.items():
        for seed in range(asked.seeds):
            drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[: asked.fine_tune].sort().values
            wrong, cells, left_out = labels[drawn] != truth[drawn], [], ""
            for arm, settings in ((labels, {}), (labels, {"noisy_labels": "leave_out"}), (truth, {})):
                label = torch.full_like(data.rows.label, -1)
                label[rows[drawn]] = arm[drawn]
                samples = data.with_labels(label.tolist(), data.spec.class_names)
                with tempfile.TemporaryDirectory() as folder:
                    tuned = leaven.finetune(asked.run, samples, out=folder, steps=asked.steps, seed=seed, settings={"folds": 2, **settings})
                    classifier, _ = load_classifier(tuned)
                    predicted = torch.cat([part.argmax(1) for part in probabilities(classifier, data.rows["x"], test)])
                cells.append(100 * (predicted == data.rows.label[test]).double().mean().item())
                if settings:
                    dropped = ~classifier.get_buffer("trusted")
                    right = (dropped & wrong).sum().item()
                    left_out = f"{100 * dropped.double().mean():.1f} %, {100 * right / max(1, int(wrong.sum())):.1f} %"
            share = 100 * wrong.double().mean()
            print(f"| {name} | {share:.1f} % | {seed} | {cells[0]:.1f} | {left_out} | {cells[1]:.1f} | {cells[2]:.1f} |", flush=True)


def row(listed: torch.Tensor, wrong: torch.Tensor) -> str:
    right = (listed & wrong).sum().item()
    return f"{int(listed.sum()):,} | {100 * right / max(1, int(listed.sum())):.1f} | {100 * right / int(wrong.sum()):.1f}"


if __name__ == "__main__":
    main()
