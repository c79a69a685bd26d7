"""Whether samples follow each other in time, which is measured and never guessed, and which of them then stay together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leaven.modalities import Value, modality_of

LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)
WINDOW = re.compile(r"(.*#)(\d+(?:\.\d+)?(?:e\+\d+)?)(s)", re.DOTALL)  # of a recording, by the second at which it begins
LOOKED_AT, STRETCH, AT_ONCE, FEWEST = 2000, 100, 200, 60  # samples: in all, side by side, decoded at once, and needed to say anything
PROJECTED, DIRECTIONS, FOLDS, RIDGE = 64, 16, 4, 0.01
LARGE_ENOUGH = 20  # samples of a class in a series; of fewer, the mean itself ties each to the others
ALIKE = 1 / 3  # of the variance, which neighbours must explain; writers of digits, who wrote them one after another, explain a quarter
CLOSER = 0.6  # share of samples that are nearer to the next one than to one some way off, where all may come from sorting
SOME_WAY = 5, 15
FEW_STRETCHES, PARTS, LEAST_PART = 5, 10, 50  # stretches of a class that are cut no further; parts that others are cut into; parts of all, at most
HELD_OUT_PARTS = 5


@dataclass(frozen=True, eq=False)
class Order:
    """Samples that follow each other in time.

    rows: (n,) int64, in order. part: (n,) int64, the stretch of the order to which each belongs; a stretch has one class where classes change rarely.
    explained: share of the variance within classes that the neighbours of a sample explain. by: how the order is known, in words. single: whether
    every class is one stretch of the order. series: (n,) int64, the file or folder of each. together: whether they are all of one group, which
    says by itself that they belong together. overlap: how many of the samples behind one begin before it ends.
    """

    rows: Tensor
    part: Tensor
    explained: float
    by: str
    single: bool
    series: np.ndarray
    label: np.ndarray
    together: bool = False
    overlap: int = 0

    @property
    def gap(self) -> int:
        """How many samples beside a held-out part are left out on both of its sides: a tenth of a part, and all that overlap with it."""
        return max(1, self.overlap, len(self.rows) // (10 * (int(self.part.max()) + 1)))

    def hold_out(self, hashes: Tensor) -> tuple[Tensor, Tensor]:
        """(train rows, test rows): every fifth part of each class is held out; what lies beside it, or is equal to a sample of it, is left out.

        hashes: of all samples of the data set.
        """
        part = self.part.numpy()
        held = np.isin(part, held_out_parts(part, self.label))
        near = held | beside(held, self.series, self.gap) | beside(held[::-1], self.series[::-1], self.gap)[::-1]
        test = self.rows[torch.from_numpy(held)]
        train = self.rows[torch.from_numpy(~near)]
        return train[~torch.isin(hashes[train], hashes[test])].sort().values, test.sort().values

    def line(self) -> str:
        """What was noticed, for people."""
        of_class = " of a class" if (self.label >= 0).any() else ""
        if self.together:
            return f"the samples are all of one recording or group (neighbours explain {100 * self.explained:.0f} % of how samples{of_class} differ)"
        return f"the samples follow each other (by {self.by}; neighbours explain {100 * self.explained:.0f} % of how samples{of_class} differ)"

    def note(self) -> str:
        """How they were parted, and why, for a reader of the scores."""
        single = "; each class is one stretch of the order, so that time alone may tell the classes apart" if self.single else ""
        held = f"whole parts of the order were held out, and {self.gap:,} samples beside each of them left out"
        return f"{self.line()}: {held} (--set split=random overrides it){single}"


def order_of(value: Value, rows: Tensor, files: Sequence[str], labels: Tensor, *, asked: bool = False, together: bool = False) -> Order | None:
    """The order of samples that follow each other in time; None where their neighbours are no more alike than others of their class.

    The order is that of the last number in the files' names, file by file, or that of a table's rows, or that of windows in
    their recording. asked: whether the user says that they follow each other. together: whether they are all of one group, so that they are taken to
    follow each other. rows: those to look at.

    How alike neighbours are is the share of the variance that a ridge regression on the two of them explains in stretches of the order that it has
    not seen. Each class in each series counts from its own mean, so that data sorted by class, or by folder, shows
    nothing. Where every class is one stretch, or none is known,
    the data may be sorted by something else; then samples must be closer to the next one than to one a few places further as well.
    """
    asked = asked or together
    if len(rows) < 2 or (len(rows) < FEWEST and not asked):
        return None
    sequence, series = in_order(files)
    begins = begins_of(files)
    rows, label = rows[torch.from_numpy(sequence)], labels[rows].numpy()[sequence]
    stretches = 1 + int((label[1:] != label[:-1]).sum())
    single = stretches == len(np.unique(label))
    explained, closer = neighbours_alike(value, rows, series, label)
    if not asked and (explained < ALIKE or (single and closer < CLOSER)):
        return None
    by = "the numbers in their names" if any(name and "#" not in name for name in files[:1]) else "the order of the rows"
    part = torch.from_numpy(parts_of(series, label))
    rate = getattr(value, "rate", None)
    overlap = overlapping(series, begins[sequence], value.main.shape[-1] / rate) if begins is not None and rate else 0
    return Order(rows, part, explained, by, single and stretches > 1, series, label, together, overlap)


def in_order(files: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The places of the files in their order, and by that order a number for each series of them: names that differ in their last number alone, or
    windows of one recording."""
    if not any(files):
        return np.arange(len(files)), np.zeros(len(files), np.int64)
    matches = [WINDOW.fullmatch(name) or LAST_NUMBER.fullmatch(name) for name in files]
    keys = [((match[1], match[3]), float(match[2])) if match else ((name, ""), 0) for name, match in zip(files, matches, strict=True)]
    sequence = sorted(range(len(keys)), key=keys.__getitem__)
    numbers: dict[tuple[str, str], int] = {}
    return np.array(sequence), np.array([numbers.setdefault(keys[place][0], len(numbers)) for place in sequence])


def begins_of(files: Sequence[str]) -> np.ndarray | None:
    """The second at which each window of a recording begins; None where these are no windows."""
    windows = [WINDOW.fullmatch(name) for name in files]
    return np.array([float(match[2]) for match in windows if match]) if all(windows) else None


def overlapping(series: np.ndarray, begins: np.ndarray, seconds: float) -> int:
    """The most samples of a series that begin before one that lasts so many seconds has ended, behind it."""
    most = 0
    for number in range(int(series.max()) + 1):
        own = begins[series == number]
        most = max(most, int((np.searchsorted(own, own + seconds * (1 - 1e-6)) - np.arange(len(own))).max()) - 1)
    return most


def neighbours_alike(value: Value, rows: Tensor, series: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """The share of the variance within classes that neighbours explain, and the share of samples that are closer to the next one than to one some way
    off; 0 where too few have neighbours. All by their order."""
    place = looked_at(len(rows))
    series = series[place]
    alike, sizes = np.unique(np.stack([series, label[place]]), axis=1, return_inverse=True, return_counts=True)[1:]
    alike = alike.ravel()
    features = directions(value, rows[torch.from_numpy(place)], alike)
    follows = (np.diff(place) == 1) & (series[1:] == series[:-1])
    middle = 1 + np.flatnonzero(follows[1:] & follows[:-1] & (sizes[alike][1:-1] >= LARGE_ENOUGH))
    if len(middle) < FEWEST:
        return 0.0, 0.0
    explained = explained_variance(np.concatenate([features[middle - 1], features[middle + 1]], 1), features[middle])
    first = np.flatnonzero(follows)
    random = np.random.default_rng(0)
    other = first + random.integers(SOME_WAY[0], SOME_WAY[1] + 1, len(first)) * random.choice([-1, 1], len(first))
    inside = (other >= 0) & (other < len(place))
    first, other = first[inside], other[inside]
    kept = (series[first] == series[other]) & (np.abs(place[first] - place[other]) == np.abs(first - other))
    first, other = first[kept], other[kept]
    if len(first) < FEWEST:
        return explained, 0.0
    next_one, further = (np.square(features[first] - features[to]).sum(1) for to in (first + 1, other))
    return explained, float((next_one < further).mean() + (next_one == further).mean() / 2)


def looked_at(count: int) -> np.ndarray:
    """All of so many places, or evenly spaced stretches of them."""
    if count <= LOOKED_AT:
        return np.arange(count)
    starts = np.linspace(0, count - STRETCH, LOOKED_AT // STRETCH).astype(np.int64)
    return np.unique(starts[:, None] + np.arange(STRETCH))


def directions(value: Value, rows: Tensor, alike: np.ndarray) -> np.ndarray:
    """(rows, up to 16) the main directions of raw features without their extremes, about the means of samples that are alike in class and series."""
    raw = modality_of(value).order_features(value.take(rows))
    width = raw(value[rows[:1]]).flatten(1).shape[1]
    mixing = torch.randn(width, PROJECTED, generator=torch.Generator().manual_seed(0)) / width**0.5 if width > PROJECTED else torch.eye(width)
    features = torch.cat([raw(value[part]).float().flatten(1) @ mixing for part in rows.split(AT_ONCE)]).double().numpy()
    features = features.clip(*np.percentile(features, [1, 99], axis=0))
    sums = np.zeros((alike.max() + 1, features.shape[1]))
    np.add.at(sums, alike, features)
    features -= (sums / np.bincount(alike)[:, None])[alike]
    deviation = features.std(0)
    features /= np.where(deviation > 1e-9 * np.abs(features).max(initial=1e-9), deviation, np.inf)
    left, scale, _ = np.linalg.svd(features, full_matrices=False)
    return (left * scale)[:, :DIRECTIONS]


def explained_variance(inputs: np.ndarray, targets: np.ndarray) -> float:
    """Of a ridge regression, on quarters of the samples that it has not seen; 0 at least."""
    fold, residual, total = np.arange(len(inputs)) * FOLDS // len(inputs), 0.0, 0.0
    for test in (fold == number for number in range(FOLDS)):
        center, mean = inputs[~test].mean(0), targets[~test].mean(0)
        x = inputs[~test] - center
        penalty = RIDGE * len(x) * x.var(0).mean() * np.eye(x.shape[1])
        weight = np.linalg.lstsq(x.T @ x + penalty, x.T @ (targets[~test] - mean), rcond=None)[0]
        residual += np.square(targets[test] - mean - (inputs[test] - center) @ weight).sum()
        total += np.square(targets[test] - mean).sum()
    return max(0.0, float(1 - residual / total)) if total > 0 else 0.0


def parts_of(series: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(n,) the part of the order to which each sample belongs: a stretch of one class within a series. Stretches that are shorter than a fiftieth of
    all are joined, and those of a class that has fewer than five are cut so that it has ten or more."""
    count = len(label)
    starts = np.flatnonzero(np.r_[True, (series[1:] != series[:-1]) | (label[1:] != label[:-1])])
    lengths = np.diff(np.r_[starts, count])
    least, begins = max(1, count // LEAST_PART), [0]
    for place, start in enumerate(starts[1:], 1):
        joined = lengths[place] < least and start - begins[-1] < least and series[start] == series[start - 1]
        begins += [] if joined else [start]
    ends = np.array([*begins[1:], count])
    classes = np.array([commonest(label[begin:end]) for begin, end in zip(begins, ends, strict=True)])
    cuts = []
    for begin, end, own in zip(begins, ends, classes, strict=True):
        pieces = 1
        if (classes == own).sum() < FEW_STRETCHES:
            pieces = min(end - begin, -(-PARTS * (end - begin) // int((ends - begins)[classes == own].sum())))
        cuts += [begin + (end - begin) * piece // pieces for piece in range(pieces)]
    return np.searchsorted(np.array(cuts), np.arange(count), side="right") - 1


def held_out_parts(part: np.ndarray, label: np.ndarray) -> list[int]:
    """Of each class every fifth of its parts, from the third on."""
    classes: dict[int, list[int]] = {}
    for number in range(int(part.max()) + 1):
        classes.setdefault(commonest(label[part == number]), []).append(number)
    return [number for parts in classes.values() for number in parts[min(2, len(parts) - 1) :: HELD_OUT_PARTS] if len(parts) > 1]


def commonest(label: np.ndarray) -> int:
    values, counts = np.unique(label, return_counts=True)
    return int(values[counts.argmax()])


def beside(held: np.ndarray, series: np.ndarray, gap: int) -> np.ndarray:
    """Which samples come within so many places behind one that is held out, in the same series."""
    place = np.arange(len(held))
    last = np.maximum.accumulate(np.where(held, place, -1))
    return (last >= 0) & (place - last <= gap) & (series == series[last])
