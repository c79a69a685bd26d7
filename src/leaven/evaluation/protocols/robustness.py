from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.evaluation.classifier import in_terms_of, load_classifier, probabilities
from leaven.evaluation.features import encode
from leaven.evaluation.floors import UNTRAINED, untrained
from leaven.evaluation.frozen import Features, check_labels
from leaven.evaluation.gains import PerSample
from leaven.evaluation.intervals import mean_with_interval
from leaven.evaluation.protocol import Protocol, Result, Trial
from leaven.evaluation.protocols.classifier import names_samples
from leaven.evaluation.protocols.linear import linear_probe
from leaven.modalities import Value
from leaven.modalities.content import evenly_spaced
from leaven.views.corruptions import SEVERITIES, Corruption, corruptions_of

Named = Callable[[list[Value]], list[Tensor]]
"""From several versions of the test samples to the classes that each of them is given."""


@dataclass(frozen=True)
class Robustness(Protocol):
    """The share of corrupted test samples that are named correctly: by the run's classifier, or by a linear probe that has learned from clean
    samples (Hendrycks and Dietterich 2019). The mean over corruptions and severities; the clean samples stand beside it.

    corruptions: which ones (empty: all of this kind of data). severities: from 1 (slight) to 5. most: test samples, evenly spaced.
    """

    name = "robustness"
    title = "corrupted samples"
    needs = "pictures or sounds with labels of two classes or more"
    floors = (UNTRAINED,)
    headline = "accuracy"
    rank = 2

    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = (1, 3, 5)
    most: int = 1000

    def evaluate(self, trial: Trial) -> Result:
        data, encoder = trial.data, trial.encoder
        check_labels(data)
        if data.spec.tag_names:
            raise UserError("one class per sample is needed, and these samples have tags", where=data.name)
        known = corruptions_of(trial.value.modality)
        chosen = self.chosen(known, trial)
        train, test, part, note = data.held_out()
        labels = data.rows.label
        classifies = names_samples(trial)
        if classifies:
            assert trial.run is not None
            classifier, classes = load_classifier(trial.run)
            labels = in_terms_of(data, classes)
        test = test[(labels[test] >= 0) & ~torch.isin(trial.hashes[test], trial.learned)]
        train = train[labels[train] >= 0]
        if not len(test) or not (len(train) or classifies):
            raise UserError("labels are needed on the training side and on the test side", where=data.name, hint="label some samples of both")
        test = test[torch.from_numpy(evenly_spaced(len(test), self.most))]
        groups, truth = data.groups[test], labels[test]
        clean = trial.value[test]
        trial.say(f"corrupting {len(test):,} test samples in {len(chosen)} ways")
        ways = [(name, severity) for name in chosen for severity in self.severities]
        versions = [clean, *(chosen[name](clean, severity, Draw(trial.seed, name, severity)) for name, severity in ways)]

        def probed(network: Any) -> Named:
            def name(several: list[Value]) -> list[Tensor]:
                learned = encode(network, trial.value, train, device=trial.device, progress=trial.progress)
                tested = [encode(network, some, torch.arange(len(some)), device=trial.device) for some in several]
                features = Features(learned, labels[train], torch.cat(tested), truth.repeat(len(several)), seed=trial.seed)
                return list(linear_probe(features, seed=trial.seed).predictions.chunk(len(several)))

            return name

        def classified(several: list[Value]) -> list[Tensor]:
            rows = torch.arange(len(test))
            return [torch.cat(list(probabilities(classifier, some, rows, device=trial.device))).argmax(1) for some in several]

        def measure(name: Named) -> dict[str, Any]:
            right = torch.stack([predictions == truth for predictions in name(versions)])
            return self.measured(right, list(chosen), groups, trial.seed)

        trial.say("scoring the classifier" if classifies else "scoring the pre-trained encoder")
        scores = {self.name: measure(classified if classifies else probed(encoder))}
        floors = {name: dict(floor) for name, floor in trial.known_floors.items()}
        if UNTRAINED.name not in floors and len(train) and not classifies:
            trial.say("scoring the untrained encoder")
            floors[UNTRAINED.name] = {self.name: measure(probed(untrained(encoder, trial.seed, trial.value, train)))}
        return Result(scores, floors, f"{data.name} ({part}: {len(test):,} samples)", [note] if note else [])

    def chosen(self, known: dict[str, Corruption] | Any, trial: Trial) -> dict[str, Corruption]:
        """UserError for other names and severities than there are."""
        if not known:
            raise UserError(f"no corruptions of {trial.value.modality} are known", where=trial.data.name, hint="pictures and sounds have some")
        if wrong := [name for name in self.corruptions if name not in known]:
            raise UserError(f"no corruption is called {wrong[0]!r}", where="robustness.corruptions", hint=f"choose from {', '.join(known)}")
        if not self.severities or not all(1 <= severity <= SEVERITIES for severity in self.severities):
            raise UserError(f"severities are whole numbers from 1 to {SEVERITIES}", where="robustness.severities")
        return {name: known[name] for name in self.corruptions or known}

    def measured(self, right: Bool[Tensor, "versions samples"], names: Sequence[str], groups: Tensor, seed: int) -> dict[str, Any]:
        """right: of the clean samples first, then of each corruption at each severity."""
        corrupted: Float[Tensor, "names severities samples"] = right[1:].double().unflatten(0, (len(names), len(self.severities)))
        mean = corrupted.mean((0, 1))
        shares = {name: dict(zip(map(str, self.severities), part.mean(1).tolist(), strict=True)) for name, part in zip(names, corrupted, strict=True)}
        clean = mean_with_interval(right[0], groups=groups, seed=seed)
        by_name = {name: mean_with_interval(part.mean(0), groups=groups, seed=seed) for name, part in zip(names, corrupted, strict=True)}
        score = mean_with_interval(mean, groups=groups, seed=seed)
        return score | {"clean": clean, "by_corruption": by_name, "by_severity": shares, "per_sample": PerSample(mean, groups)}

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        first = arms[0] or {}
        clean = ["clean samples", *(self.cell((arm or {}).get("clean")) for arm in arms)]
        by_name = [[name, *(self.cell((arm or {}).get("by_corruption", {}).get(name)) for arm in arms)] for name in first.get("by_corruption", ())]
        return [clean, *super().rows(arms), *by_name]
