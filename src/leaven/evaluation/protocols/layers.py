from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import isin

from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.floors import MAJORITY, UNTRAINED, untrained
from leaven.evaluation.frozen import Features, accuracy_point, check_labels, features_by
from leaven.evaluation.layers import layer_features, standardised, weighted_probe
from leaven.evaluation.protocol import Chart, Protocol, Result, Scores, Trial
from leaven.evaluation.protocols.linear import TUNED_ON, linear_accuracy
from leaven.evaluation.sentences import percent
from leaven.modalities import Value
from leaven.modalities.floor import INPUT


class WeightedLayers(Protocol):
    """A linear probe on a weighted sum of the outputs of all layers, whose weights are learned with it (Yang et al. 2021, SUPERB).

    It shows which layers hold what the labels ask for. At most 20,000 training samples teach it.
    """

    name = "layers"
    title = "probe of all layers"
    needs = "labels of two classes or more, and an encoder with the outputs of its layers (transformers, frames)"
    floors = (INPUT, UNTRAINED, MAJORITY)
    headline = "accuracy"
    rank = 2

    def evaluate(self, trial: Trial) -> Result:
        data, encoder, seed = trial.data, trial.encoder, trial.seed
        check_labels(data)
        if data.spec.tag_names:
            raise UserError("one class per sample is needed (layers), and these samples have tags", where=data.name, hint="use --protocol tags")
        if not has_layers(encoder, trial.value):
            hint = "--protocol linear scores its features; the encoders frames, vit, mel_vit and transformers have layers"
            raise UserError(f"the encoder {trial.encoder_name} does not offer the outputs of its layers", where=data.name, hint=hint)
        train, test, part, note = data.held_out()
        test = test[~isin(trial.hashes[test], trial.learned)]
        train, test = (rows[data.rows.labeled[rows]] for rows in (train, test))
        train = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:TUNED_ON].sort().values]
        arms = features_by(data, train, test, seed)

        def layers_of(network: Encoder, value: Value) -> Features:
            return arms(lambda rows: layer_features(network, value, rows, device=trial.device, progress=trial.progress))

        trial.say("scoring the layers of the pre-trained encoder")
        scores: Scores = {self.name: self.score(layers_of(encoder, trial.value))}
        floors: dict[str, Scores] = {}
        trial.say("scoring the layers of the untrained encoder")
        floors[UNTRAINED.name] = {self.name: self.score(layers_of(untrained(encoder, seed, trial.value, train), trial.value))}
        trial.say(f"scoring {INPUT.phrase}")
        raw = encoder.modality.raw_features(trial.value, train)
        floors[INPUT.name] = {self.name: linear_accuracy(arms(lambda rows: raw(trial.value.take(rows))), seed=seed)}
        known = arms(lambda rows: torch.empty(len(rows), 0)).labeled()
        same = F.one_hot(known.train_labels.bincount().argmax(), known.classes).expand(len(known.test), -1)
        floors[MAJORITY.name] = {self.name: accuracy_point(same, known)}
        notes, beside = [note] if note else [], dict[str, Scores]()
        for other in trial.beside:
            if has_layers(other.model, value := other.data.rows[trial.data_role]):
                trial.say(f"scoring the layers of {other.name}")
                beside[other.name] = {self.name: self.score(layers_of(other.model, value))}
            else:
                notes.append(f"{other.name} does not offer the outputs of its layers.")
        return Result(scores, floors, f"{data.name} ({part}: {len(test):,} samples)", notes, beside)

    def score(self, features: Features) -> dict[str, Any]:
        """{accuracy, interval, weights (of the layers, from the input to the output), l2, samples} of features (n, layers, dim)."""
        known = features.labeled()
        train, test = standardised(known.train, known.test)
        probe = weighted_probe(train, known.train_labels, classes=known.classes, groups=known.groups, seed=known.seed)
        point = accuracy_point(probe.logits(test), known, seed=known.seed)
        return point | {"weights": probe.weights.tolist(), "l2": probe.l2, "samples": len(known.test)}

    def second_sentence(self, score: Any, floors: Mapping[str, Any]) -> str:
        weights = score["weights"]
        return f"Of {len(weights)} layers, layer {1 + max(range(len(weights)), key=weights.__getitem__)} weighs most ({percent(max(weights))})."

    def figure(self, arms: Mapping[str, Any]) -> Chart:
        return Chart(
            "Which layers the labels need",
            "A linear probe reads a weighted sum of all layers. The lines show the weights that it has learned, which sum to 100 %.",
            "layer, from the input to the output",
            "weight",
            {arm: [(number, weight, None) for number, weight in enumerate(score["weights"], 1)] for arm, score in arms.items() if "weights" in score},
        )


def has_layers(encoder: Encoder, value: Value) -> bool:
    """Whether an encoder offers the outputs of its layers."""
    return "tokens" in encoder.offers and layer_features(encoder, value, torch.arange(1)).shape[1] > 0
