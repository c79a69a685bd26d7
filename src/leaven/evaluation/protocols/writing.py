from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.abilities import generated, open_method
from leaven.evaluation.features import check_input
from leaven.evaluation.intervals import percentile_interval, resampled
from leaven.evaluation.protocol import Protocol, Result, Trial, share_cell
from leaven.evaluation.sentences import percent
from leaven.methods.registry import registry
from leaven.modalities.floor import FloorName
from leaven.modalities.text import as_written, sparse_tf_idf
from leaven.modules.slots import are_slots
from leaven.modules.text_scores import bleu_counts, bleu_of, f1, rouge_l, slot_counts
from leaven.modules.writing import Decoding

NEAREST = FloorName("nearest", "nearest training sample", "what belongs to the nearest training sample, by tf-idf")
COPIED = FloorName("copied", "input copied", "a copy of the input")
TITLES = {"bleu": "BLEU", "rouge_l": "ROUGE-L", "f1": "F1 of slots"}
ROWS = 512  # test samples that are compared with all training samples at a time


@dataclass(frozen=True)
class Writing(Protocol):
    """How well a run writes one text of a sample from another input, in each direction that it learned: BLEU and ROUGE-L, and, where the text is a
    set of slots as in `name[The Mill], food[French]`, the F1 of slots with their values.

    All texts that belong to one input in the test part are its references, and the input is written about once. Intervals are over inputs, and those
    with the same references are kept together. The score is the mean over directions of the F1 of slots, or else of BLEU.

    beams: texts that are kept while one is written (1: the likeliest word is taken each time). count: how many inputs are written about at most,
    evenly spaced (none: all).
    """

    name = "writing"
    title = "texts written"
    needs = "a run that writes texts, and test samples with both of its inputs"
    floors = (NEAREST, COPIED)
    headline = "written"
    tested_on = "inputs"
    arm = "written"

    beams: int = 1
    count: int | None = None

    @classmethod
    def suits(cls, trial: Trial) -> int:
        kind = registry().get(trial.method) if trial.run else None
        writes = kind is not None and "generate" in kind.abilities() and not kind.shapes_features
        return 4 if writes and set(trial.encoders) <= set(trial.data.rows.roles) else 0

    def evaluate(self, trial: Trial) -> Result:
        """UserError where the run writes nothing, or the data lacks one of its inputs."""
        if trial.run is None:
            raise UserError("texts are written by a run", where=trial.data.name)
        if self.beams < 1 or (self.count is not None and self.count < 1):
            raise UserError("writing.beams and writing.count must be 1 or more")
        method, data = open_method(trial.run, "generate"), trial.data
        directions = method.directions()
        for role in dict.fromkeys(role for direction in directions for role in direction):
            if role not in data.rows.roles:
                there = ", ".join(data.spec.inputs)
                raise UserError(f"the data has no role {role!r}", where=data.name, hint=f"say which column it is with --columns; it has {there}")
            check_input(cast(Encoder, method.encoders()[role]), data.spec.roles[role], data.name)
        train, test, part, note = data.held_out()
        arms: dict[str, dict[str, Any]] = {"": {}, NEAREST.name: {}, COPIED.name: {}}
        for source, target in directions:
            tokenizer: Any = method.encoders()[target].tokenizer
            inputs = Inputs.of(data.rows[source].take(test), data.rows[target].take(test), self.count)
            written: list[str] = []
            for block in generated(method, inputs.value, source, target, Decoding(self.beams), seed=trial.seed, device=trial.device):
                written += tokenizer.decode(block)
                trial.progress(len(written), len(inputs.value))
            answers = {"": written}
            if as_written(inputs.value):
                answers[COPIED.name] = list(inputs.value.texts)
                answers[NEAREST.name] = nearest(inputs.value, data.rows[source].take(train), data.rows[target].take(train))
            for arm, texts in answers.items():
                arms[arm][f"{source} to {target}"] = inputs.score(texts, trial.seed)
        scores = {arm: summed(directions) for arm, directions in arms.items() if directions}
        notes = [note] if note else []
        return Result(
            {self.name: scores.pop("")}, {arm: {self.name: score} for arm, score in scores.items()}, f"{len(test):,} samples, {part}", notes
        )

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        rows = super().rows(arms) if len((arms[0] or {}).get("directions", ())) > 1 else []
        for name, first in (arms[0] or {}).get("directions", {}).items():
            of_arms = [(arm or {}).get("directions", {}).get(name) for arm in arms]
            rows += [
                [f"{name}, {TITLES[measure]}", *(share_cell((point or {}).get(measure), "value") for point in of_arms)]
                for measure in TITLES
                if measure in first
            ]
        return rows

    def sentence(self, score: Any, floors: Mapping[str, Any]) -> str | None:
        sentences = []
        for name, point in score["directions"].items():
            measure = point["measure"]
            known = {floor: floors[floor.name]["directions"].get(name) for floor in self.floors if floor.name in floors}
            beside = [f"{floor.phrase} has {percent(other[measure]['value'])}" for floor, other in known.items() if other]
            sentences.append(f"{name}: {TITLES[measure]} {percent(point[measure]['value'])}" + (f" ({', '.join(beside)})" if beside else ""))
        return f"{'; '.join(sentences)}."


@dataclass(frozen=True, eq=False)
class Inputs:
    """Different inputs, the references of each, and which inputs are alike: those with the same references."""

    value: Any
    references: list[list[str]]
    groups: Tensor

    @classmethod
    def of(cls, sources: Any, targets: Any, count: int | None) -> "Inputs":
        """sources, targets: of the test samples, one by one."""
        keys = sources.texts.tolist() if as_written(sources) else list(range(len(sources)))
        texts = targets.texts.tolist()
        rows: dict[Any, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, []).append(row)
        chosen = list(rows.values())
        if count is not None and count < len(chosen):
            chosen = [chosen[place] for place in np.linspace(0, len(chosen) - 1, count).round().astype(int)]
        references = [sorted({texts[row] for row in some}) for some in chosen]
        _, groups = np.unique(["\0".join(some) for some in references], return_inverse=True)
        return cls(sources.take(torch.tensor([some[0] for some in chosen])), references, torch.from_numpy(groups))

    def score(self, texts: Sequence[str], seed: int) -> dict[str, Any]:
        """{measure: the one that sums up, bleu, rouge_l, f1: {value, interval}, inputs, references}."""
        assert len(texts) == len(self.references), "one text per input"
        bleu = bleu_counts(texts, self.references)
        rouge = np.array([[rouge_l(text, some)] for text, some in zip(texts, self.references, strict=True)])
        statistics = {"bleu": (bleu, bleu_of), "rouge_l": (np.hstack([rouge, np.ones_like(rouge)]), lambda sums: float(sums[0] / sums[1]))}
        if are_slots(text for some in self.references for text in some):
            right = np.array([slot_counts(text, some) for text, some in zip(texts, self.references, strict=True)], np.float64)
            statistics["f1"] = right, f1
        score: dict[str, Any] = {"measure": "f1" if "f1" in statistics else "bleu"}
        groups = None if len(self.groups.unique()) == len(self.groups) else self.groups
        times = list(resampled(len(texts), groups=groups, seed=seed))
        for name, (numbers, of_sums) in statistics.items():
            interval = percentile_interval([of_sums(some @ numbers) for some in times], groups=groups)
            score[name] = {"value": of_sums(numbers.sum(0)), "interval": list(interval)}
        return score | {"inputs": len(texts), "references": sum(map(len, self.references))}


def summed(directions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The mean over directions, and an interval as if their errors were independent."""
    points = [point[point["measure"]] for point in directions.values()]
    mean = sum(point["value"] for point in points) / len(points)
    low, high = (sum((point["interval"][side] - point["value"]) ** 2 for point in points) ** 0.5 / len(points) for side in (0, 1))
    return {"written": mean, "interval": [mean - low, mean + high], "directions": directions}


def nearest(sources: Any, known: Any, partners: Any) -> list[str]:
    """What belongs to the most similar known input."""
    transform = sparse_tf_idf(known.texts, "word")
    vectors, texts = transform(known.texts).T.tocsc(), partners.texts.tolist()
    best = [(transform(sources.texts[rows]) @ vectors).toarray().argmax(1) for rows in torch.arange(len(sources)).split(ROWS)]
    return [texts[row] for row in np.concatenate(best)]
