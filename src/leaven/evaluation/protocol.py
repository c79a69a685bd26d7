"""The contract between one way of scoring and everything else."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from leaven.data import DataSet
from leaven.data.placed import Placed
from leaven.encoders import Encoder
from leaven.errors import UserError
from leaven.evaluation.beside import Beside
from leaven.evaluation.features import check_input
from leaven.evaluation.floors import UNTRAINED
from leaven.evaluation.sentences import AUC, Point, beside_floors, gain_over, measure_of, percent, summed_up
from leaven.modalities import Value
from leaven.modalities.floor import FloorName
from leaven.run import Run
from leaven.training.supervision import learned_hashes
from leaven.training.trained import data_role

Scores = dict[str, Any]

PROTOCOLS: dict[str, type[Protocol]] = {}
"""Every protocol by its name; each registers itself by being defined. Use `leaven.evaluation.registry`, which imports Leaven's own."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What protocols score: the encoders of a run, on a data set.

    encoders: by the role that each was trained for. method: name of the method, for the scorecard. run: whose encoders these are, where they are a
    run's. budget: seconds for floors that must be trained (None: any). known_floors: measured before, by the same protocols on the same data; they
    are not measured again. linear_floor: whether a linear code of the input, as long as the features, is a floor too. beside: trained models that are
    scored beside the encoder. deadline: time.monotonic() at which all of this ends; no floor is begun that would end later (None: any is).
    placed: the data as whole pictures with what lies in them, for a run that has learned from such.
    """

    data: DataSet
    encoders: Mapping[str, Encoder]
    method: str
    run: Run | None = None
    role: str | None = None
    budget: float | None = 120.0
    seed: int = 0
    device: str = "cpu"
    known_floors: Mapping[str, Scores] = field(default_factory=dict)
    linear_floor: bool = False
    beside: Sequence[Beside] = ()
    say: Callable[[str], None] = lambda line: None
    progress: Callable[[int, int], object] = lambda done, total: None
    deadline: float | None = None
    placed: Placed | None = None

    @property
    def left(self) -> float | None:
        """Seconds for floors that must be trained from now on."""
        limits = [] if self.deadline is None else [max(0.0, self.deadline - time.monotonic())]
        return min([*limits, *([] if self.budget is None else [self.budget])], default=None)

    @property
    def encoder(self) -> Encoder:
        """The only encoder. UserError where there are several."""
        if len(self.encoders) > 1:
            where = self.run.path if self.run else self.data.name
            raise UserError(f"there are several encoders: {', '.join(self.encoders)}", where=where, hint="choose one with --role")
        return next(iter(self.encoders.values()))

    @cached_property
    def data_role(self) -> str:
        """The role of the data that the only encoder reads."""
        return self.read_by(self.encoder, self.role)

    @property
    def value(self) -> Value:
        """The samples that the only encoder reads."""
        return self.data.rows[self.data_role]

    @cached_property
    def hashes(self) -> Tensor:
        """(n,) int64: the content of each sample as the only encoder reads it, without other inputs, to compare with `learned`."""
        return self.data.hashes_of(self.data_role)

    def read_by(self, encoder: Encoder, role: str | None) -> str:
        """The role of the data that an encoder reads. UserError where there is none."""
        name = data_role(self.data.spec, encoder, role)
        check_input(encoder, self.data.spec.roles[name], self.data.name)
        return name

    @cached_property
    def readers(self) -> dict[str, Encoder]:
        """Role of the data -> the encoder that reads it: of several, the one that was trained for it. One for which there is no data is left out."""
        readers = {}
        for trained_for, encoder in self.encoders.items():
            free = {role for role in self.data.spec.roles_like(encoder.input) if role == trained_for or role not in self.encoders}
            if free:
                readers[self.read_by(encoder, trained_for)] = encoder
        return readers

    def encoder_for(self, role: str) -> Encoder:
        """The encoder that reads a role of the data: of several, the one that was trained for it."""
        if len(self.encoders) == 1:
            encoder = self.encoder
        else:
            if role not in self.readers:
                raise UserError(f"no encoder reads {role}", where=self.data.name, hint=f"there are encoders of {', '.join(self.readers)}")
            encoder = self.readers[role]
        check_input(encoder, self.data.spec.roles[role], self.data.name)
        return encoder

    @property
    def encoder_name(self) -> str:
        names = {role: encoder.name or encoder.arguments.get("model", "") for role, encoder in self.encoders.items()}
        return ", ".join(names.values()) if len(names) == 1 else ", ".join(f"{name} of {role}" for role, name in names.items())

    @property
    def learned(self) -> Tensor:
        """Content hashes of the samples whose labels the run has learned from; they are not tested on."""
        return learned_hashes(self.run) if self.run else torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class Result:
    """What protocols measured: scores by protocol; floors, and models beside, by name, in the same shape; scored_on: the samples in words; notes for
    the reader; random_split: what a random split would have shown, where the scores are of contiguous parts or whole groups; left_out:
    what the time did not allow for, in words."""

    scores: Scores
    floors: dict[str, Scores]
    scored_on: str
    notes: list[str] = field(default_factory=list)
    beside: dict[str, Scores] = field(default_factory=dict)
    random_split: Scores = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Chart:
    """A figure of the page, with a line for each arm. lines: arm -> [(x, y, interval or None)]. percent: the axes that show shares."""

    heading: str
    text: str
    x_title: str
    y_title: str
    lines: Mapping[str, Sequence[tuple[float, float, Sequence[float] | None]]]
    log: bool = False
    percent: str = "y"


@dataclass(frozen=True)
class Matrix:
    """A figure of the page: counts (true class, predicted class), and lines of text below it."""

    heading: str
    text: str
    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Protocol(ABC):
    """One way of scoring what a training has learned.

    A subclass with a `name` registers itself. Its dataclass fields are its options, which users set as `--set NAME.OPTION=VALUE`; the docstring says
    what each of them means, as `option: meaning.`
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """In tables and sentences."""
    needs: ClassVar[str]
    """What the data or the run must offer, in words."""
    floors: ClassVar[tuple[FloorName, ...]] = ()
    """What stands beside its scores (those that the modality adds come on top)."""
    headline: ClassVar[str] = ""
    """The key of the number, a share, that sums a score up. "interval" is its interval. Empty: there is no single number. A point may name another of
    its numbers (see `measure_of`)."""
    tested_on: ClassVar[str] = "labels"
    """What more of would tell scores apart."""
    frozen: ClassVar[bool] = False
    """Whether it only needs features and labels, so that `compare` can use it."""
    arm: ClassVar[str] = "pre-trained"
    """What is scored, as the head of the table's first column."""
    rank: ClassVar[int] = 0
    """The sentence of the protocol of the highest rank sums up a scorecard."""
    supplements: ClassVar[bool] = False
    """Whether its sentence stands beside that of the others instead."""
    flaw_of_random_split: ClassVar[str] = "samples whose neighbours, or others of their group, were learned"
    """On what a random split would test, so that its score means nothing."""

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        if "name" in cls.__dict__:
            PROTOCOLS[cls.name] = cls

    @classmethod
    def suits(cls, trial: Trial) -> int:
        """How well it suits a run and data, where the user names no protocol: the best one is used; 0 = only where the user names it."""
        return 0

    @abstractmethod
    def evaluate(self, trial: Trial) -> Result:
        """Scores and floors. UserError where the run or the data does not offer what it needs."""

    # --- what people read ---

    def point(self, score: Any) -> Point | None:
        """The part of a score that holds its headline, by which models beside are compared; None where there is none."""
        return summed_up(score) if self.headline and self.measure(score) in score else None

    def measure(self, point: Point) -> str:
        """The key of the number that sums a point up."""
        return measure_of(point, self.headline)

    def cell(self, point: Point | None) -> str:
        """A number with its interval, as in 84.2 % (83.0-85.4)."""
        return share_cell(point, self.headline)

    def rows(self, arms: Sequence[Any]) -> list[list[str]]:
        """Its rows of the scorecard's table: a title, then a cell for each arm (the score or None), the encoder's first."""
        return [[titled(self.title, arms), *map(self.cell, arms)]]

    def sentence(self, score: Any, floors: Mapping[str, Any]) -> str | None:
        """What the score means beside its floors, in one sentence; None where it says nothing."""
        own, beside, measured_by = self.summary(score, floors)
        return beside_floors(own, beside, self.measure(own), measured_by, self.tested_on) if self.measure(own) in own else None

    def verdict(self, score: Any, floors: Mapping[str, Any]) -> int:
        """1 where pre-training is better than the untrained encoder, -1 where it is worse, 0 where that is open."""
        own, beside, _ = self.summary(score, floors)
        if self.measure(own) not in own or UNTRAINED.name not in beside:
            return 0
        gain = gain_over(UNTRAINED.name, own, beside[UNTRAINED.name], self.measure(own))
        return int(gain.better) - int(gain.worse)

    def summary(self, score: Any, floors: Mapping[str, Any]) -> tuple[Point, Mapping[str, Point], str]:
        """The point that the sentence is about, those of the floors, and by what they were measured."""
        return summed_up(score), summed_up_floors(floors, self.measure(score)), titled(self.title, [score])

    def second_sentence(self, score: Any, floors: Mapping[str, Any]) -> str | None:
        """What follows the sentence that sums a scorecard up, whichever protocol that one is from."""
        return None

    def figure(self, arms: Mapping[str, Any]) -> Chart | Matrix | None:
        """A figure for the page, where a table does not show enough. arms: title -> score, the encoder's first."""
        return None


def summed_up_floors(floors: Mapping[str, Point], measure: str) -> dict[str, Point]:
    """Those that have this number, which sums them up."""
    return {name: summed_up(floor) for name, floor in floors.items() if measure in floor}


def titled(title: str, points: Sequence[Point | None]) -> str:
    """What points are called in tables and sentences, with the number that they show where it is the AUC."""
    return f"{title} (AUC)" if any(point and point.get("measure") == AUC for point in points) else title


def share_cell(point: Point | None, key: str) -> str:
    """84.2 % (83.0-85.4), from the share that sums a point up and its interval."""
    if not point or (key := measure_of(point, key)) not in point:
        return ""
    interval = summed_up(point).get("interval")
    return percent(point[key]) + (f" ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})" if interval else "")
