"""Fine-tuning on a few labels, beside training the same encoder from scratch on these labels and a probe on the frozen encoder.

Every finished training stays on disk; the same command continues.

    uv run python benchmarks/finetune.py runs/quality/tiny-imagenet-20-simclr-15m-0 --data tiny-imagenet-20 --out runs/finetune

All settings are the defaults. Each draw takes the same number of labels per class from the train split, and the three arms learn from the same
labels. "From scratch" is `supervised` for as many steps as fine-tuning took, and for five times as many. All are scored once on the test split
(else val). Intervals cover other draws and other test samples; differences are paired. `--tune` does not read the test split: it draws labels from
nine tenths of the training pictures and scores on the rest.
"""

import argparse
import json
from pathlib import Path

import torch
from quality import tuning_split

import leaven
from leaven.data import DataSet, open_data
from leaven.encoders import Encoder
from leaven.evaluation.classifier import load_classifier, probabilities
from leaven.evaluation.features import encode
from leaven.evaluation.floors import labels_only
from leaven.evaluation.frozen import Features
from leaven.evaluation.intervals import crossed_interval
from leaven.evaluation.protocols.classifier import calibration_error
from leaven.evaluation.protocols.few_label import label_draws
from leaven.evaluation.protocols.linear import linear_probe
from leaven.run import write_json

MORE = 5


def only(data: DataSet, rows: torch.Tensor) -> DataSet:
    """The data with the labels of only these samples."""
    kept = torch.full_like(data.rows.label, -1)
    kept[rows] = data.rows.label[rows]
    return data.with_labels(kept.tolist(), data.spec.class_names)


def cell(run: leaven.Run, data: DataSet, count: int, number: int, out: Path, *, scratch: bool, uneven: bool) -> dict[str, object]:
    """Which test samples each arm gets right with one draw of labels, kept in `out`."""
    place = out / f"{count}-{number}.json"
    if place.is_file():
        return json.loads(place.read_text())
    encoder = leaven.load(run)
    assert isinstance(encoder, Encoder)
    train, test, _, _ = data.held_out()
    labels, value = data.rows.label, data.rows["x"]
    test = test[labels[test] >= 0]
    rows = train[label_draws(labels[train], count, number + 1)[number]]
    if uneven:
        rows = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(number))[: len(rows)]]
    tuned = leaven.finetune(run, only(data, rows), out=out / f"{count}-{number}", seed=number)
    classifier, _ = load_classifier(tuned)
    given = torch.cat(list(probabilities(classifier, value, test)))
    features, asked = encode(encoder, value, rows), encode(encoder, value, test)
    steps = tuned.config["result"]["steps"]
    found = {
        "fine-tuned": given.argmax(1) == labels[test],
        "frozen probe": linear_probe(Features(features, labels[rows], asked, labels[test])).predictions == labels[test],
    }
    if scratch:
        found["from scratch"] = labels_only(encoder, data, rows, test, seed=number, steps=steps)
        found[f"from scratch, {MORE} times as long"] = labels_only(encoder, data, rows, test, seed=number, steps=MORE * steps)
    result = {
        "steps": steps,
        "seconds": tuned.config["result"]["seconds"],
        "calibration_error": calibration_error(given, labels[test]),
        "mean_probability": given.max(1).values.mean().item(),
        "kept": next((choice["value"] for choice in tuned.config["choices"] if choice["what"] == "kept"), "not compared"),
        "correct": {name: "".join(map(str, right.int().tolist())) for name, right in found.items()},
    }
    write_json(place, result)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", default="tiny-imagenet-20")
    parser.add_argument("--data-root")
    parser.add_argument("--labels-per-class", default="10")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--no-scratch", action="store_true", help="leave the trainings from scratch out")
    parser.add_argument("--uneven", action="store_true", help="as many labels, but at random, so that classes are as common as in the data")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    run = leaven.Run.open(arguments.run)
    data = open_data(arguments.data, root=arguments.data_root, **(encoder := leaven.load(run)).modality.open_options(encoder.input))
    data = tuning_split(data) if arguments.tune else data
    for count in map(int, arguments.labels_per_class.split(",")):
        how = {"scratch": not arguments.no_scratch, "uneven": arguments.uneven}
        cells = [cell(run, data, count, number, arguments.out, **how) for number in range(arguments.draws)]
        arms = {name: torch.tensor([list(map(int, found["correct"][name])) for found in cells]) for name in cells[0]["correct"]}
        print(f"\n{count} labels per class, {arguments.draws} draws, {cells[0]['steps']} steps\n")
        print("| arm | accuracy | fine-tuned is better by |\n|---|---|---|")
        for name, right in arms.items():
            low, high = (100 * bound for bound in crossed_interval(right))
            gain = arms["fine-tuned"] - right
            a, b = (100 * bound for bound in crossed_interval(gain)) if gain.any() else (0, 0)
            more = "" if name == "fine-tuned" else f"{100 * gain.double().mean():+.1f} ({a:+.1f} to {b:+.1f})"
            print(f"| {name} | {100 * right.double().mean():.1f} ({low:.1f}-{high:.1f}) | {more} |")
        errors = ", ".join(f"{100 * found['calibration_error']:.1f}" for found in cells)
        seconds = ", ".join(f"{found['seconds']:.0f}" for found in cells)
        sure = ", ".join(f"{100 * found['mean_probability']:.1f}" for found in cells)
        print(
            f"\nexpected calibration error of the fine-tuned classifiers: {errors} %; mean probability: {sure} %; seconds of fine-tuning: {seconds}"
        )
        print("kept: " + ", ".join(found["kept"] for found in cells))


if __name__ == "__main__":
    main()
