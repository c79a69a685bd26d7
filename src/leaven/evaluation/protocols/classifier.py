from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from leaven.data import DataSet
from leaven.encoders import Encoder
from leaven.encoders.store import load_encoder, weights_digest
from leaven.errors import UserError
from leaven.evaluation.auc import margin, with_auc
from leaven.evaluation.classifier import in_terms_of, load_classifier, probabilities, with_learned_labels
from leaven.evaluation.features import encode
from leaven.evaluation.floors import LABELS_ONLY, WITHOUT_UNLABELED, trained_on_labels
from leaven.evaluation.frozen import Features
from leaven.evaluation.gains import PerSample
from leaven.evaluation.intervals import Groups, mean_with_interval
from leaven.evaluation.per_class import per_class, worst
from leaven.evaluation.protocol import Matrix, Protocol, Result, Scores, Trial, summed_up_floors
from leaven.evaluation.protocols.linear import linear_accuracy
from leaven.evaluation.sentences import gain_over, percent, summed_up
from leaven.methods.registry import registry
from leaven.modalities.floor import INPUT, FloorName, floor_phrase
from leaven.run import Run

FROZEN = FloorName("frozen", "frozen probe", "a probe on the frozen encoder")
BINS = 15
MOST_CLASSES_SHOWN, MISTAKES_KEPT, MISTAKES_SHOWN = 100, 10, 5


@dataclass(frozen=True, eq=False)
class Truths:
    """Labels in terms of what the classifier knows: learned ones, those to test on with their groups, and the names."""

    learned: Tensor
    test: Tensor
    groups: Tensor
    names: Sequence[str]
    seed: int

    def with_features(self, learned: Tensor, test: Tensor) -> Features:
        return Features(learned, self.learned, test, self.test, None, self.seed, self.groups, self.names)


def names_samples(trial: Trial) -> bool:
    """Whether the run has learned to name samples."""
    kind = registry().get(trial.method)
    return trial.run is not None and trial.run.learned_path.is_file() and (kind is None or kind.classifies)


def learned_tags(run: Run | None) -> bool:
    return run is not None and bool(run.config["asked"]["data"]["spec"].get("tag_names"))


class Classifier(Protocol):
    """Accuracy, calibration and confusion of a run's classifier on labels that it has not learned from, beside other uses of the learned labels.

    The floors are linear probes on the raw input and on the frozen encoder that it started from, and the same encoder trained from scratch for as
    many steps, if the budget allows. Where unlabeled samples taught as well, so is fine-tuning without them.
    """

    name = "classifier"
    title = "classifier"
    needs = "a run that classifies, as `leaven finetune` makes, and labels that it has not learned from"
    floors = (WITHOUT_UNLABELED, LABELS_ONLY, FROZEN, INPUT)
    headline = "accuracy"
    arm = "fine-tuned"
    rank = 9

    @classmethod
    def suits(cls, trial: Trial) -> int:
        return 3 if names_samples(trial) and not learned_tags(trial.run) else 0

    def evaluate(self, trial: Trial) -> Result:
        """UserError where no label is left to test on, or the data has a class that the classifier does not know."""
        data, seed, device = trial.data, trial.seed, trial.device
        if trial.run is None:
            raise UserError("this protocol needs a run", where=data.name)
        run = trial.run
        classifier, classes = load_classifier(run)
        if bool(data.spec.tag_names) != learned_tags(run):
            learned_what, has = ("tags", "classes") if learned_tags(run) else ("classes", "tags")
            what = f"this run has learned {learned_what}, and these samples have {has if data.spec.names else 'no labels'}"
            raise UserError(what, where=data.name, hint=f"say where they are with --labels, and read them with --set labels={learned_what}")
        if not data.spec.tag_names:
            data = with_learned_labels(data, run, trial.hashes)
        labels, learned = in_terms_of(data, classes), trial.learned
        labeled = data.rows.labeled
        _, test, part, note = data.held_out()
        known = torch.isin(trial.hashes, learned)
        group = data.groups
        rows = torch.arange(len(data)) if note else test
        rows = rows[labeled[rows] & ~known[rows]]
        apart, notes = rows[~torch.isin(group[rows], group[known & (group >= 0)])], list[str]()
        if not note and len(rows) and not len(apart):
            notes.append("All test samples are of groups that it has learned from, which may flatter it.")
        else:
            rows = apart
        if not len(rows):
            hint = "label some more samples, or fine-tune without --all-labels"
            raise UserError("there is no label to test on that this classifier has not learned from", where=data.name, hint=hint)
        if note:
            part = "labels that it has not learned from"
            notes.append(
                "No labeled test split: all labels that were not learned from are tested. Pre-training may have seen these inputs, unlabeled."
            )
        trial.say("scoring the classifier")
        encoder, value, truth = trial.encoder, trial.value, labels[rows]
        predicted = torch.cat(list(probabilities(classifier, value, rows, device=device)))
        learned_rows = (known & labeled).nonzero().flatten()
        truths = Truths(labels[learned_rows], truth, group[rows], classes, seed)
        taught = {"unlabeled": classifier.name} if classifier.learns_unlabeled else {}
        scores, floors = {self.name: self.measured(predicted, truths, classifier) | taught}, dict[str, Scores]()
        result = Result(scores, floors, f"{data.name} ({part}: {len(rows):,} samples)", notes)
        if missing := len(learned.unique()) - len(trial.hashes[learned_rows].unique()):
            notes.append(f"No floors: {missing:,} of the samples that it has learned from are not in this data, or have no label there.")
            return result

        def probe(features_of: Callable[[Tensor], Tensor]) -> Scores:
            return {self.name: self.probed(truths.with_features(features_of(learned_rows), features_of(rows)))}

        trial.say("scoring the raw input with the same labels")
        raw_features = encoder.modality.raw_features(value, learned_rows)
        floors[INPUT.name] = probe(lambda some: raw_features(value.take(some)))
        if (before := encoder_before(run)) is not None:
            trial.say("scoring the frozen encoder with the same labels")
            floors[FROZEN.name] = probe(lambda some: encode(before, value, some, device=device))
        else:
            notes.append("No frozen floor: the run that it started from is gone, or another one is in its place.")
        trained = run.config["result"]
        samples = data if trial.data_role == "x" else data.with_role(trial.data_role, "x")
        starts: dict[FloorName, tuple[str, Encoder | None]] = {LABELS_ONLY: ("training from scratch on the same labels", None)}
        if taught and before is not None:
            starts[WITHOUT_UNLABELED] = ("fine-tuning without the unlabeled samples", before)
        for floor, (what, start) in starts.items():
            if (budget := trial.left) is not None and trained["seconds"] > budget:
                took = f"it would take about {trained['seconds']:.0f} seconds, and {budget:.0f} are left of the budget"
                notes.append(f"No {floor.name} floor: {took}.")
                return result
            trial.say(what)
            logits = trained_on_labels(encoder, samples, learned_rows, rows, seed=seed, steps=trained["steps"], start=start)
            floors[floor.name] = {self.name: self.judged(logits, truths, samples, rows)}
        return result

    def measured(self, predicted: Tensor, truths: Truths, classifier: Any) -> Scores:
        """The score of the probabilities that the classifier gives."""
        return classifier_score(predicted, truths.test, truths.names, groups=truths.groups, seed=truths.seed)

    def probed(self, features: Features) -> Scores:
        """The score of a probe on features, which learns from the same labels."""
        return linear_accuracy(features, seed=features.seed)

    def judged(self, logits: Tensor, truths: Truths, data: DataSet, rows: Tensor) -> Scores:
        """The score of logits of these rows, in the numbers of the data's own names."""
        labels = data.rows.label[rows]
        correct = logits.argmax(1) == labels
        measured = mean_with_interval(correct, groups=truths.groups, seed=truths.seed)
        point = {**measured, "samples": len(correct), "per_sample": PerSample(correct, truths.groups)}
        return with_auc(point, margin(logits), labels, groups=truths.groups)

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        own, blank = arms[0] or {}, [""] * (len(arms) - 1)
        more = {"accuracy": "accuracy"} if own.get("measure") else {}
        more |= {"balanced accuracy": "balanced_accuracy", "calibration error": "calibration_error"}
        lines = [[title, percent(own[key]), *blank] for title, key in more.items() if key in own]
        return super().rows(arms) + lines + ([["worst class", worst(own), *blank]] if worst(own) else [])

    def sentence(self, score: Any, floors: Mapping[str, Any]) -> str:
        """What fine-tuning gives, against everything else that the same labels give."""
        verdict, measure = self.verdict_of(score), self.measure(score)
        floors = summed_up_floors({floor.name: floors[floor.name] for floor in self.floors if floor.name in floors}, measure)
        if not floors:
            return f"{verdict}; no floor was measured, so what fine-tuning adds is unknown."
        phrases = {name: "training from scratch" if name == LABELS_ONLY.name else floor_phrase(name) for name in floors}
        verdict += "; the same labels give " + ", ".join(f"{percent(floor[measure])} with {phrases[name]}" for name, floor in floors.items()) + "."
        best = max(floors, key=lambda name: floors[name][measure])
        gain = gain_over(best, summed_up(score), floors[best], measure)
        if gain.worse:
            return f"{verdict} It is worse than {phrases[best]}."
        apart = f"It cannot be told apart from {phrases[best]} with these {self.tested_on}{gain.would_tell(self.tested_on)}."
        return verdict if gain.better else f"{verdict} {apart}"

    def second_sentence(self, score: Any, floors: Mapping[str, Any]) -> str | None:
        """What the unlabeled samples added, against the same start and labels without them."""
        without = next((name for name in (WITHOUT_UNLABELED.name, LABELS_ONLY.name) if name in floors), None)
        if "unlabeled" not in score or without is None:
            return None
        measure = self.measure(score)
        gain = gain_over(without, summed_up(score), summed_up_floors({without: floors[without]}, measure)[without], measure)
        if gain.worse:
            usual = "guesses that confirm each other, unlabeled samples of other classes, or too few labels to begin with"
            return f"The unlabeled samples made it worse here; usual causes: {usual}."
        if gain.better:
            return f"The unlabeled samples helped: {percent(score[measure])} with them, {percent(floors[without][measure])} without."
        return f"Whether the unlabeled samples helped cannot be told with these {self.tested_on}{gain.would_tell(self.tested_on)}."

    def verdict_of(self, score: Any) -> str:
        if (measure := self.measure(score)) != self.headline:
            return f"The area under the ROC curve of this classifier is {percent(score[measure])} ({score['samples']:,} test samples; 50 % is chance)"
        return f"This classifier names {percent(score['accuracy'])} of {score['samples']:,} test samples correctly"

    def figure(self, arms: Mapping[str, Any]) -> Matrix | None:
        score = next(iter(arms.values()))
        if not score.get("confusion") and not score.get("confused"):
            return None
        return Matrix(
            "Which classes are confused",
            "Each row is a class, each column what its samples were named; the colour is the share of the row. Below: the commonest mistakes.",
            [str(name) for name in score["classes"]],
            score.get("confusion", ()),
            [f"{mistake['label']} named {mistake['predicted']}: {mistake['count']}" for mistake in score["confused"][:MISTAKES_SHOWN]],
        )


def classifier_score(
    predicted: Float[Tensor, "n classes"], labels: Int64[Tensor, n], classes: Sequence[str], *, groups: Groups = None, seed: int = 0
) -> dict[str, Any]:
    """{accuracy, interval, balanced_accuracy, per_class, calibration_error, samples, classes, confusion, confused, per_sample}.

    predicted: probabilities. balanced_accuracy and per_class: as in `per_class`. confusion: counts, a row per true class,
    a column per predicted one (up to 100 classes). confused: the commonest mistakes, as {label, predicted, count}.
    """
    from sklearn.metrics import confusion_matrix

    named = predicted.argmax(dim=1)
    counts = torch.from_numpy(confusion_matrix(labels, named, labels=range(len(classes))))
    mistakes = counts.clone().fill_diagonal_(0).flatten()
    commonest = mistakes.argsort(descending=True, stable=True)[:MISTAKES_KEPT].tolist()
    score = {
        **mean_with_interval(named == labels, groups=groups, seed=seed),
        "per_sample": PerSample(named == labels, groups),
        **per_class(named, labels, classes),
        "calibration_error": calibration_error(predicted, labels),
        "samples": len(labels),
        "classes": list(classes),
        "confused": [
            {"label": classes[place // len(classes)], "predicted": classes[place % len(classes)], "count": int(mistakes[place])}
            for place in commonest
            if mistakes[place]
        ],
    }
    score = with_auc(score, margin(predicted.double()), labels, groups=groups)
    return score | ({"confusion": counts.tolist()} if len(classes) <= MOST_CLASSES_SHOWN else {})


def calibration_error(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, n], *, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3): mean distance of accuracy from confidence over bins of equal width, weighted by size.

    0 is best. With few samples it comes out too large, since each bin's accuracy is rough.
    """
    confidence, predicted = probabilities.double().max(dim=1)
    correct = (predicted == labels).double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1  # bins are open below and closed above
    difference = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, correct - confidence)
    return (difference.abs().sum() / len(labels)).item()


def encoder_before(run: Run) -> Encoder | None:
    """The encoder that a run started from, if it is still where it was."""
    if not run.config.get("start"):
        return None
    before, weights = Run(run.config["start"]), run.config["asked"]["start"]["weights"]
    for folder in map(before.folder_of, before.roles or (None,)):
        if (folder / "model.safetensors").is_file() and weights_digest(folder) == weights:
            return load_encoder(folder)
    return None
