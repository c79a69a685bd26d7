"""Tables that hold a recording: spikes, constant stretches and gaps in time are told, and hinder no training."""

import csv
from datetime import datetime, timedelta

import numpy as np
import pytest

import leaven
from leaven.data import open_data
from leaven.modalities import Vector, modality_of
from leaven.modalities.anomalies import spikes_of, still_stretches

SPIKES = {100: 0, 700: 1, 1500: 2, 2100: 0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LEAVEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def write_csv(path, header, *columns):
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))
    return path


@pytest.fixture(scope="module")
def signals(tmp_path_factory):
    """A csv of four channels with four spikes and a stretch of 200 rows in which one of them stands still."""
    random = np.random.default_rng(0)
    x = np.zeros((2400, 4))
    for row in range(1, len(x)):
        x[row] = 0.9 * x[row - 1] + random.normal(size=4)
    x = 20 * x + 30
    for row, column in SPIKES.items():
        x[row, column] = 2e5
    x[1000:1200, 3] = x[1000, 3]
    return write_csv(tmp_path_factory.mktemp("signals") / "rows.csv", ["TP9", "AF7", "AF8", "TP10"], *x.round(3).T)


def test_a_default_training_survives_spikes_and_constant_stretches(signals, tmp_path):
    run = leaven.pretrain(signals, out=tmp_path / "run", steps=40, report=False)
    assert run.finished and not run.health
    spec = open_data(signals).spec.roles["x"]
    assert max(spec.std) < 100, "a few spikes do not make the unit in which all is measured"


def test_spikes_move_no_other_sample(signals, tmp_path):
    """Batch norm sees at most 10 deviations, so that the neighbours of a spike in its batch stay what they are."""
    data = open_data(signals)
    modality, spec = modality_of(data.rows["x"]), data.spec.roles["x"]
    mean, std = modality.statistics(spec)
    standard = modality.standardized(data.rows["x"].numbers, 1 / std, -mean / std)
    assert standard.abs().max() == 10 and (standard.abs() < 6).double().mean() > 0.999
    plain = open_data(np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32))
    numbers = plain.rows["x"].numbers
    assert plain.spec.roles["x"].std == pytest.approx(numbers.std(0, correction=0).tolist(), rel=1e-5), "ordinary numbers keep their deviation"


def test_inspect_tells_spikes_and_constant_stretches_with_their_places(signals):
    inspection = leaven.inspect(signals, steps=1)
    told = inspection.channels["x"]
    assert told["spikes"]["count"] == 4 and told["spikes"]["columns"] == {"TP9": 2, "AF7": 1, "AF8": 1}
    assert told["spikes"]["first"] == {"column": "TP9", "file": "rows.csv#100", "value": 2e5}
    assert told["still"]["columns"] == {"TP10": 1} and told["still"]["longest"]["file"] == "rows.csv#1000"
    assert told["still"]["longest"]["rows"] == 200
    text = inspection.text()
    assert "4 spikes far beyond all other values (2 in TP9, 1 in AF7, 1 in AF8; the first in TP9 at rows.csv#100: 200000)" in text
    assert "1 constant stretch (1 in TP10; the longest in TP10 from rows.csv#1000: 200 rows of" in text


def test_ordinary_columns_have_neither():
    random = np.random.default_rng(0)
    columns = [
        random.normal(size=2000), random.lognormal(size=2000), random.integers(0, 3, 2000), np.sort(random.normal(size=2000).round(1)),
        np.where(random.random(2000) < 0.95, 0, random.exponential(size=2000)), np.where(random.random(2000) < 0.4, 0, random.normal(size=2000)),
        np.zeros(2000),
    ]  # fmt: skip
    for column in map(np.asarray, columns):
        assert not spikes_of(column.astype(float)).any() and still_stretches(column.astype(float)) == []


def test_categories_of_a_table_are_no_stretches(tmp_path):
    random = np.random.default_rng(0)
    states = np.repeat(["rest", "move", "rest"], 100)
    data = open_data(write_csv(tmp_path / "t.csv", ["a", "b", "condition"], random.normal(size=300), random.normal(size=300), states))
    value = data.rows["x"]
    assert isinstance(value, Vector) and modality_of(value).anomalies(value, data.files) == {"spikes": None, "still": None}


def test_gaps_and_disorder_of_time_are_told(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 2))
    seconds = np.arange(300) * 0.004
    seconds[200:] += 1.5
    seconds[[50, 51]] = seconds[[51, 50]]
    notes = open_data(write_csv(tmp_path / "rows.csv", ["t", "a", "b"], seconds, *x.T)).notes
    assert "the time in the column t has a gap of 1.504 before rows.csv#200; steps are 0.004" in notes
    assert "the time in the column t goes back once, first at rows.csv#51" in notes
    assert any("the column t rises evenly as time does, and is an input as well" in note for note in notes)
    even = open_data(write_csv(tmp_path / "even.csv", ["t", "a", "b"], np.arange(300) * 0.004, *x.T)).notes
    assert not any("gap" in note or "goes back" in note for note in even)
    assert not open_data(write_csv(tmp_path / "sorted.csv", ["t", "a", "b"], np.sort(random.normal(size=300)), *x.T)).notes


def test_a_column_of_dates_is_no_text_to_read(tmp_path):
    random, start = np.random.default_rng(0), datetime(2024, 1, 1)
    minutes = [*range(100), *range(160, 300)]
    dates = [str(start + timedelta(minutes=minute)) for minute in minutes]
    data = open_data(write_csv(tmp_path / "rows.csv", ["time", "a", "b"], dates, *random.normal(size=(2, len(dates)))))
    assert data.spec.roles["x"].modality == "vector" and data.spec.roles["x"].shape == (2,)
    assert data.notes == ("the time in the column time has a gap of 1:01:00 before rows.csv#100; steps are 0:01:00",)
    assert data.unused == ("1 column of dates (time)",)
