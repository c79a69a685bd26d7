"""Signal files: EDF and BDF as edfio reads them, tables over time, and what mne reads where it is installed."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from leaven.errors import UserError, not_installed
from leaven.modalities.recording_files import Event, RecordingFile, Unusable

EDF = (".edf", ".bdf")
OF_MNE = (".fif", ".fif.gz", ".vhdr", ".set", ".gdf", ".cnt", ".mff", ".egi", ".nxe", ".lay", ".sqd", ".ds", ".raw.fif")
TABLES = (".csv", ".tsv")
TIMES = (
    "time",
    "times",
    "timestamp",
    "timestamps",
    "t",
    "seconds",
    "time_s",
    "time (s)",
    "time(s)",
    "time [s]",
    "lsl_timestamp",
    "sec",
    "ms",
    "time_ms",
)
MARKERS = re.compile(r"(marker|markers|trigger|trig|stim|sti ?\d+|status|event|events|annotation)\d*", re.IGNORECASE)
STATES = ("label", "labels", "class", "activity", "state", "y", "target")  # columns that say what goes on at each time
HEADER = 256  # bytes of EDF and BDF, at least
GAP = 1.5  # steps between two rows from which something is missing between them
REGULAR = 0.9  # share of the steps that must be nearly the usual one
WITHIN = 0.5  # of a step: how far a step may be from it
LEAST_ROWS = 16
UNKNOWN = ("", "x", "X", "unknown")


@contextmanager
def opened_signal(path: Path) -> Iterator[RecordingFile]:
    """An open recording. Raises Unusable with the reason, also for whatever its reader raises while it is open, and UserError where a package is
    missing."""
    file: RecordingFile | None = None
    try:
        file = reader_of(path)
        yield file
    except (Unusable, UserError):
        raise
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise Unusable(f"not a whole recording: {why}") from None
    finally:
        if file is not None:
            file.close()


def reader_of(path: Path) -> RecordingFile:
    name = path.name.lower()
    return EdfFile(path) if name.endswith(EDF) else TimeTable(path) if name.endswith(TABLES) else MneFile(path)


class EdfFile(RecordingFile):
    """EDF, EDF+ and BDF. The channels are those of the commonest rate; annotations, or a channel of markers, are its events."""

    def __init__(self, path: Path):
        try:
            import edfio
        except ImportError:
            raise not_installed("edfio") or UserError("EDF needs the package edfio", hint="pip install edfio") from None
        self.format = path.suffix[1:].upper()
        if path.stat().st_size < HEADER:
            raise Unusable(f"it has {path.stat().st_size} bytes, fewer than a header")
        self.edf: Any = edfio.read_bdf(path) if path.suffix.lower() == ".bdf" else edfio.read_edf(path)
        with path.open("rb") as stream:
            said = int(stream.read(244)[236:].decode("ascii", "replace"))  # a field of the header that edfio corrects
        if said > self.edf.num_data_records:
            self.notes = (f"its header says {said:,} records, and {self.edf.num_data_records:,} are there",)
        marked = [signal for signal in self.edf.signals if MARKERS.fullmatch(signal.label.strip())]
        signals = [signal for signal in self.edf.signals if signal not in marked]
        if not signals or not self.edf.num_data_records:
            raise Unusable("it holds no signals")
        rates = Counter(float(signal.sampling_frequency) for signal in signals)
        self.rate = max(rates, key=lambda rate: (rates[rate], rate))
        self.signals = [signal for signal in signals if float(signal.sampling_frequency) == self.rate]
        if left := [signal.label.strip() for signal in signals if signal not in self.signals]:
            self.notes += (f"channels of another rate are left out: {', '.join(left)}",)
        self.channels = unique([channel_name(signal.label) for signal in self.signals])
        self.length = int(self.edf.num_data_records) * int(self.signals[0].samples_per_data_record)
        self.events = tuple(Event(float(note.onset), float(note.duration or 0), str(note.text)) for note in self.edf.annotations)
        if not self.events:
            self.events = tuple(event for signal in marked for event in runs(signal.digital & 0xFFFF, float(signal.sampling_frequency)))
        subject, _, session = str(self.edf.local_patient_identification).partition(" ")[0], "", self.edf.local_recording_identification
        self.header = {name: value for name, value in (("subject", subject), ("session", str(session))) if value.strip("X ") not in UNKNOWN}

    def read(self, start: int, stop: int) -> np.ndarray:
        first, last = start / self.rate, min(stop, self.length) / self.rate
        return np.stack([signal.get_data_slice(first, last) for signal in self.signals]).astype(np.float32)

    def close(self) -> None:
        del self.edf, self.signals


class MneFile(RecordingFile):
    """What mne reads: .fif, BrainVision, EEGLAB and others, in volts."""

    def __init__(self, path: Path):
        try:
            import mne
        except ImportError:
            raise UserError(f"{path.suffix} needs the package mne", where=path, hint="pip install mne, or save the recording as EDF") from None
        self.format = path.suffix[1:].upper()
        self.raw: Any = mne.io.read_raw(path, preload=False, verbose="error")
        kinds = self.raw.get_channel_types()
        self.picks = [number for number, kind in enumerate(kinds) if kind not in ("stim", "misc", "syst")]
        self.channels = unique([channel_name(self.raw.ch_names[number]) for number in self.picks])
        self.rate, self.length = float(self.raw.info["sfreq"]), int(self.raw.n_times)
        notes = zip(self.raw.annotations.onset, self.raw.annotations.duration, self.raw.annotations.description, strict=True)
        first = float(self.raw.first_time) if self.raw.annotations.orig_time is not None else 0.0
        self.events = tuple(Event(float(onset) - first, float(duration), str(name)) for onset, duration, name in notes)
        for number in [number for number, kind in enumerate(kinds) if kind == "stim"] if not self.events else []:
            self.events += tuple(runs(self.raw.get_data([number])[0], self.rate))
        subject = (self.raw.info.get("subject_info") or {}).get("his_id")
        self.header = {"subject": str(subject)} if subject else {}

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.raw.get_data(self.picks, start, min(stop, self.length), verbose="error").astype(np.float32)

    def close(self) -> None:
        self.raw.close()


class TimeTable(RecordingFile):
    """A table with a column of times and a column for each channel. Where rows are missing, the recording breaks."""

    format = "CSV"

    def __init__(self, path: Path):
        columns = read_columns(path)
        named = time_column(list(columns))
        if named is None or len(columns[named]) < 2:
            raise Unusable("it has no column of times")
        times = numbers_of(columns, named)
        usual = usual_step(times)
        if usual is None:
            raise Unusable(f"the times in {named!r} are not evenly spaced")
        scale = 0.001 if "ms" in named.lower() else 1.0
        self.rate = float(f"{1 / (usual * scale):.5g}")
        marked = [name for name in columns if MARKERS.fullmatch(name.strip())]
        states = [name for name in columns if name.strip().lower() in STATES]
        others = [name for name in columns if name not in (named, *marked, *states)]
        if not others:
            raise Unusable("it has no channels beside its times")
        self.values, self.length = np.stack([numbers_of(columns, name) for name in others]), len(times)
        self.channels = unique([channel_name(name) for name in others])
        events = [event for name in marked for event in runs(numbers_of(columns, name), self.rate)]
        self.events = tuple(events) or tuple(event for name in states[:1] for event in states_of(columns[name].to_pylist(), self.rate))
        gaps = np.flatnonzero(np.diff(times) > GAP * usual) + 1
        self.breaks = tuple(gaps.tolist())
        if len(gaps):
            lost = float((times[gaps] - times[gaps - 1]).sum() * scale)
            self.notes = (f"{len(gaps)} gap{'s' * (len(gaps) > 1)} of {lost:.3g} s in all in its times: no window lies across one",)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.values[:, start:stop].astype(np.float32)

    def close(self) -> None:
        del self.values


def read_columns(path: Path) -> dict[str, Any]:
    """The columns of a table, of Arrow."""
    import pyarrow as pa
    import pyarrow.csv as arrow

    with open(path, encoding="utf-8-sig", errors="replace", newline="") as stream:
        delimiter = delimiter_of(stream.readline())
    try:
        table = arrow.read_csv(path, parse_options=arrow.ParseOptions(delimiter=delimiter))
    except pa.ArrowException as error:
        raise Unusable(f"not a whole table: {str(error).splitlines()[0]}") from None
    return dict(zip(table.column_names, table.columns, strict=True))


def numbers_of(columns: dict[str, Any], name: str) -> np.ndarray:
    """(rows,) float64, NaN where a cell is empty."""
    import pyarrow.types as types

    column = columns[name]
    if not (types.is_integer(column.type) or types.is_floating(column.type) or types.is_null(column.type)):
        raise Unusable(f"its column {name!r} holds no numbers")
    values: np.ndarray = column.to_numpy().astype(np.float64)
    return values


def delimiter_of(line: str) -> str:
    return max(",;\t", key=line.count)


def time_column(names: Sequence[str]) -> str | None:
    """The column of times, by its name."""
    return next((name for name in names if name.strip().lower() in TIMES), None)


def usual_step(times: np.ndarray) -> float | None:
    """The mean of the steps near the median one; None where times are no regular, increasing steps."""
    steps = np.diff(times)
    if len(steps) < LEAST_ROWS or not np.isfinite(steps).all() or (steps <= 0).any():
        return None
    median = float(np.median(steps))
    near = np.abs(steps - median) <= WITHIN * median
    return float(steps[near].mean()) if near.mean() >= REGULAR else None


def is_time_table(path: Path) -> bool:
    """Whether a table's first rows are regular steps in time and numbers beside it."""
    try:
        with open(path, encoding="utf-8-sig", errors="strict", newline="") as stream:
            first = stream.readline()
            names = next(csv.reader([first], delimiter=delimiter_of(first)), [])
            named = time_column(names)
            if named is None or len(names) < 2:
                return False
            numbers = [number for number, name in enumerate(names) if name.strip().lower() not in STATES]
            rows = [row for row, _ in zip(csv.reader(stream, delimiter=delimiter_of(first)), range(20 * LEAST_ROWS), strict=False) if row]
            values = np.array([[float(row[number] or "nan") for number in numbers] for row in rows])
    except (OSError, ValueError, LookupError):
        return False
    return values.ndim == 2 and values.shape[1] > 1 and usual_step(values[:, numbers.index(names.index(named))]) is not None


def runs(values: np.ndarray, rate: float, zero: bool = False) -> Iterator[Event]:
    """An event for each run of a number other than 0 (or of any that is not negative, where zero counts): a moment where it is one sample long."""
    place = 0
    for value, same in groupby(np.nan_to_num(np.asarray(values, np.float64)).tolist()):
        count = sum(1 for _ in same)
        if value > 0 or (value == 0 and zero) or (value < 0 and not zero):
            yield Event(place / rate, count / rate if count > 1 else 0.0, f"{value:g}")
        place += count


def states_of(values: Sequence[Any], rate: float) -> Iterator[Event]:
    """An event for each run of one state."""
    place = 0
    for value, same in groupby(values):
        count = sum(1 for _ in same)
        if value is not None and str(value).strip():
            yield Event(place / rate, count / rate, str(value).strip())
        place += count


def channel_name(label: str) -> str:
    """Without what recorders put around it: `EEG Fpz-Cz`, `Fc5.`."""
    return re.sub(r"^EEG +", "", label.strip().strip(".").strip()) or label


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """The second of two channels of one name is numbered."""
    counts: Counter[str] = Counter()
    named = []
    for name in names:
        counts[name] += 1
        named.append(name if counts[name] == 1 else f"{name}-{counts[name]}")
    return tuple(named)
