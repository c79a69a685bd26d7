"""What a training is worth: its scores, the floors beside them, and one sentence in plain words."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from leaven.errors import UserError
from leaven.evaluation.beside import standing
from leaven.evaluation.protocol import Chart, Matrix, Protocol, Scores, titled
from leaven.evaluation.registry import protocol_of
from leaven.evaluation.sentences import percent
from leaven.modalities.floor import FLOORS, floor_title


@dataclass
class Scorecard:
    """Scores of one run on one data set, in the JSON shapes that `leaven evaluate --json` promises.

    scores: {protocol: {accuracy, interval: [low, high], ...}}; "few-label" is a list of {labels_per_class, accuracy, interval}. Fractions 0-1.
    floors: {"input" | "untrained" | "frozen" | "labels-only" | ...: the same shape as scores}; of samples, "gaussian", and their ceiling "real";
    "pca N" or "lsa N", a linear code of N numbers. notes: what a reader of the numbers must know. beside: {model: the same shape as scores}.
    random_split: what a random split would have shown, where samples follow each other in time or come in groups; the same shape as scores.
    """

    method: str
    encoder: str
    data: str
    scores: Scores = field(default_factory=dict)
    floors: dict[str, Scores] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None
    beside: dict[str, Scores] = field(default_factory=dict)
    random_split: Scores = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the sentence beside them."""
        return {**dataclasses.asdict(self), "sentence": self.sentence()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; the sentence is computed anew. Unknown keys raise UserError."""
        names = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - names - {"sentence"})
        if unknown:
            raise UserError(f"a scorecard has no {', '.join(unknown)}", hint="it may come from a newer Leaven")
        return cls(**{name: value for name, value in values.items() if name in names})

    def leading(self) -> list[Protocol]:
        """The protocols that have scores, by rank: the sentence of the first that has one sums the card up."""
        protocols = [protocol for name in self.scores if not (protocol := protocol_of(name)).supplements]
        return sorted(protocols, key=lambda protocol: -protocol.rank)

    def sentence(self) -> str:
        """What the training is worth: by the leading protocol; by the others, where these clearly say something else; and what follows."""
        supplements = [protocol for name in self.scores if (protocol := protocol_of(name)).supplements]
        leading = [protocol for protocol in self.leading() if self.sentence_of(protocol)]
        verdicts = [protocol.verdict(self.scores[protocol.name], self.floors_of(protocol)) for protocol in leading]
        said = [protocol for place, protocol in enumerate(leading) if place == 0 or verdicts[place] not in (0, verdicts[0])]
        seconds = [protocol.second_sentence(self.scores[protocol.name], self.floors_of(protocol)) for protocol in leading]
        unknown = "There are no labels, so what this pre-training is worth is unknown; a few labels (--labels) are enough to measure it."
        sentences = [*map(self.sentence_of, said), *seconds, *map(self.sentence_of, supplements), *self.standings()]
        return " ".join(filter(None, [*(sentences if any(sentences) else [unknown]), *self.by_random_split()]))

    def by_random_split(self) -> list[str]:
        """A sentence about what a random split would have shown, by the leading protocol of which that is known."""
        for protocol in self.leading():
            own, other = (protocol.point(scores.get(protocol.name, {})) for scores in (self.scores, self.random_split))
            measure = protocol.measure(own or {})
            if own and other and other.get(measure, 0) > own[measure]:
                shown = f"{percent(other[measure])} instead of {percent(own[measure])} ({titled(protocol.title, [own])})"
                return [f"A random split would show {shown}: it would test on {protocol.flaw_of_random_split}."]
        return []

    def standings(self) -> list[str]:
        """A sentence about each model beside, by the leading protocol that gives a single number, else by the one with most labels per class."""
        protocols = sorted(self.leading(), key=lambda protocol: isinstance(self.scores[protocol.name], list))
        sentences = []
        for name, scores in self.beside.items():
            points = [(protocol, protocol.point(self.scores[protocol.name]), protocol.point(scores.get(protocol.name, {}))) for protocol in protocols]
            sentences += [
                standing(name, own, other, protocol.measure(own), titled(protocol.title, [own])) for protocol, own, other in points if own and other
            ][:1]
        return sentences

    def sentence_of(self, protocol: Protocol) -> str | None:
        return protocol.sentence(self.scores[protocol.name], self.floors_of(protocol))

    def floors_of(self, protocol: Protocol) -> dict[str, Any]:
        return {name: scores[protocol.name] for name, scores in self.floors.items() if protocol.name in scores}

    def arms(self) -> dict[str, Scores]:
        """What a table shows side by side, by title: the scores, then each floor's."""
        order = list(FLOORS)
        floors = sorted(self.floors, key=lambda name: order.index(name) if name in order else len(order))
        leading = self.leading()
        own = leading[0].arm if leading else next((protocol_of(name).arm for name in self.scores), Protocol.arm)
        return {own: self.scores, **{floor_title(name): self.floors[name] for name in floors}, **self.beside}

    def table(self) -> list[list[str]]:
        """Rows of text, the head first: what was measured, then the own score with its interval, and each floor's. Missing cells are empty."""
        arms = self.arms() | ({"by a random split": self.random_split} if self.random_split else {})
        rows = [["", *arms]]
        for name in dict.fromkeys(name for scores in arms.values() for name in scores):
            rows += protocol_of(name).rows([scores.get(name) for scores in arms.values()])
        return rows

    def figures(self) -> list[Chart | Matrix]:
        """What the protocols show on the page beside the table."""
        arms = self.arms()
        scored = {name: {arm: scores[name] for arm, scores in arms.items() if name in scores} for name in self.scores}
        return [figure for name, scores in scored.items() if (figure := protocol_of(name).figure(scores))]

    def text(self) -> str:
        """The table and the sentence for a terminal or a log file, columns aligned."""
        head = f"{self.method}, {self.encoder}, {self.data}"
        return "\n".join([head, "", *aligned(self.table()), "", self.sentence(), *(f"Note: {note}" for note in self.notes)])


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of text as lines with columns of equal width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]
