"""The few-label probe, chosen by cross-validation, beside logistic regression alone on the same draws of labels.

    uv run python benchmarks/few_labels.py runs/digits=demo:digits runs/tiny=tiny-imagenet-20 runs/trec6=trec6 --data-root ...

Each argument is a run and its data. The arms are those of `leaven evaluate`: the encoder, its untrained copy and the floors of the modality.
"""

import argparse
from collections import Counter

import torch

import leaven
from leaven.data import DataSet, open_data
from leaven.encoders import Encoder
from leaven.evaluation.features import encode
from leaven.evaluation.floors import untrained
from leaven.evaluation.intervals import crossed_interval
from leaven.evaluation.protocols.few_label import few_label_predictions, label_draws
from leaven.evaluation.protocols.linear import standardisation
from leaven.modules.probes import PROBES


def arms(encoder: Encoder, data: DataSet, train: torch.Tensor, test: torch.Tensor):
    """(name, training features, test features) of each arm."""
    value = data.rows["x"]
    for name, network in (("trained", encoder), ("untrained", untrained(encoder, 0, value, train))):
        yield name, encode(network, value, train), encode(network, value, test)
    for name, (_, fit) in encoder.modality.floors(value, train, encoder.dim, 0).items():
        floor = fit()
        yield name, floor(value.take(train)), floor(value.take(test))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN=DATA")
    parser.add_argument("--data-root")
    parser.add_argument("--labels-per-class", default="1,2,5,10")
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    print("| data | features | labels per class | logistic | chosen | gain | probes |\n|---|---|---|---|---|---|---|")
    for run, _, name in (word.rpartition("=") for word in arguments.runs):
        encoder = leaven.load(run)
        assert isinstance(encoder, Encoder)
        data = open_data(name, root=arguments.data_root, **encoder.modality.open_options(encoder.input))
        train, test, *_ = data.held_out()
        labels = data.rows.label
        for arm, features, asked in arms(encoder, data, train, test):
            center, deviation = standardisation(features)
            scale = deviation.square().mean().sqrt()
            features, asked = (features - center) / scale, (asked - center) / scale
            for count in map(int, arguments.labels_per_class.split(",")):
                rows = torch.stack(label_draws(labels[train], count, arguments.draws))
                shared = features[rows], labels[train][rows[0]], asked
                before, _ = few_label_predictions(*shared, classes=data.spec.classes, probes={"logistic": PROBES["logistic"]})
                now, chosen = few_label_predictions(*shared, classes=data.spec.classes)
                right, was_right = now == labels[test], before == labels[test]
                gain = right.int() - was_right.int()
                low, high = (100 * bound for bound in crossed_interval(gain)) if gain.any() else (0, 0)
                probes = ", ".join(f"{times} {probe}" for probe, times in Counter(chosen).most_common())
                accuracies = f"{100 * was_right.double().mean():.1f} | {100 * right.double().mean():.1f}"
                gained = f"{100 * gain.double().mean():+.1f} ({low:+.1f} to {high:+.1f})"
                print(f"| {name} | {arm} | {count} | {accuracies} | {gained} | {probes} |", flush=True)


if __name__ == "__main__":
    main()
