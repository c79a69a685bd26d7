from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leaven.errors import UserError
from leaven.evaluation.class_texts import Project, Senses, class_likeness, class_vectors, read_names
from leaven.evaluation.features import encode
from leaven.evaluation.floors import MAJORITY, UNTRAINED, untrained
from leaven.evaluation.frozen import Features, check_labels
from leaven.evaluation.gains import PerSample
from leaven.evaluation.intervals import mean_with_interval
from leaven.evaluation.protocol import Protocol, Result, Trial
from leaven.evaluation.protocols.few_label import FewLabels
from leaven.evaluation.protocols.linear import linear_accuracy
from leaven.training.trained import load_encoders, shared_space

PROBES = (1, 5)  # labels per class


@dataclass(frozen=True)
class ZeroShot(Protocol):
    """The share of test samples whose class is the nearest by its name alone, among all classes (Radford et al. 2021, section 3.1). No label is
    learned from. Probes of the same features, which do learn from labels, stand beside it.

    classes: a file that says what the classes are called, a name per line or a table with a column `name` (empty: the names that the data has).
    templates: sentences in which {} is the name of a class; of several, the mean counts.
    """

    name = "zero-shot"
    title = "zero-shot"
    needs = "a run with an encoder of texts and another one, and labels of two classes or more"
    floors = (UNTRAINED, MAJORITY)
    headline = "accuracy"
    rank = 3

    classes: str = ""
    templates: tuple[str, ...] = ("{}",)

    def evaluate(self, trial: Trial) -> Result:
        data, run = trial.data, trial.run
        check_labels(data)
        if data.spec.tag_names or run is None:
            raise UserError("classes are found by their names where each sample has one", where=data.name)
        senses = Senses.of(load_encoders(run), run.path, trial.role, lambda encoder: bool(data.spec.roles_like(encoder.input)))
        role = trial.read_by(senses.other, trial.role if trial.role in data.rows.roles else None)
        names = read_names(self.classes, data.spec.class_names) if self.classes else data.spec.class_names
        train, test, part, note = data.held_out()
        test, labels, groups = test[data.rows.label[test] >= 0], data.rows.label, data.groups
        train = train[labels[train] >= 0]
        if not len(test):
            raise UserError("no test sample has a label", where=data.name, hint="label some samples of the test part")

        def measure(pair: Senses, project: Project) -> dict[str, Any]:
            vectors = class_vectors(pair.text, project, names, self.templates, trial.device)
            tested = encode(pair.other, data.rows[role], test, device=trial.device, progress=trial.progress)
            correct = class_likeness(pair.other, project, tested, vectors).argmax(1) == labels[test]
            score = mean_with_interval(correct, groups=groups[test], seed=trial.seed)
            score |= {"classes": len(names), "samples": len(test), "per_sample": PerSample(correct, groups[test])}
            if len(train):
                learned = encode(pair.other, data.rows[role], train, device=trial.device)
                features = Features(learned, labels[train], tested, labels[test], seed=trial.seed)
                linear = linear_accuracy(features, seed=trial.seed)
                score["linear"] = {name: linear[name] for name in ("accuracy", "interval")}
                score["few_label"] = [{name: point[name] for name in ("labels_per_class", "accuracy", "interval")} for point in few_labels(features)]
            return score

        trial.say("scoring the pre-trained encoders")
        scores = {self.name: measure(senses, shared_space(run))}
        trial.say("scoring the untrained encoders")
        fresh = Senses(untrained(senses.text, trial.seed), untrained(senses.other, trial.seed))
        commonest = labels[train].bincount(minlength=len(names)).argmax() if len(train) else labels[test].bincount().argmax()
        right = labels[test] == commonest
        majority = mean_with_interval(right, groups=groups[test]) | {"per_sample": PerSample(right, groups[test])}
        floors = {UNTRAINED.name: {self.name: measure(fresh, shared_space(run, trial.seed))}, MAJORITY.name: {self.name: majority}}
        floors |= {name: dict(floor) for name, floor in trial.known_floors.items()}
        notes = [*([note] if note else []), f"Chance is {100 / len(names):.1f} %: there are {len(names)} classes."]
        return Result(scores, floors, f"{data.name} ({part}: {len(test):,} samples)", notes)

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        rows = super().rows(arms)
        first = arms[0] or {}
        for place, point in enumerate(first.get("few_label", ())):
            cells = [self.cell(arm["few_label"][place]) if arm and "few_label" in arm else "" for arm in arms]
            rows.append([f"probe, {point['labels_per_class']} label{'s' * (point['labels_per_class'] > 1)} per class", *cells])
        if "linear" in first:
            rows.append(["linear probe, all labels", *(self.cell((arm or {}).get("linear")) for arm in arms)])
        return rows


def few_labels(features: Features) -> list[dict[str, Any]]:
    """At the counts of `PROBES` that each class of the training part has."""
    most = int(features.train_labels.bincount(minlength=features.classes).min())
    counts = tuple(count for count in PROBES if count <= most)
    return FewLabels(counts=counts).score(features) if counts else []
