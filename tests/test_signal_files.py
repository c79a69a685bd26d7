"""Signals from files: arrays, tables over time, EDF; their events, groups, channels, and what is wrong with them."""

import os
from pathlib import Path

import edfio
import numpy as np
import pytest
import torch

import leaven
from leaven.data import open_data
from leaven.modalities import modality_of

DATA = Path(os.environ.get("LEAVEN_TEST_DATA", ""))
needs_data = pytest.mark.skipif(not (DATA / "eegmmidb").is_dir(), reason="LEAVEN_TEST_DATA does not hold bonn-eeg, eegmmidb and muse-p300")
RATE = 100


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAVEN_CACHE", str(tmp_path / "cache"))


def noise(channels, seconds, seed=0, rate=RATE):
    return np.random.default_rng(seed).standard_normal((channels, round(seconds * rate))).astype(np.float32)


def write_edf(path, samples, names, events=(), subject="S1", rate=RATE, **change):
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = [
        edfio.EdfSignal(channel.astype(np.float64), rate, label=name, physical_range=(-10, 10)) for channel, name in zip(samples, names, strict=True)
    ]
    notes = [edfio.EdfAnnotation(*event) for event in events]
    edfio.Edf(signals, annotations=notes or None, patient=edfio.Patient(code=subject), **change).write(path)
    return path


# --- arrays ---


def test_arrays_of_samples_with_a_rate_are_signals_with_their_labels(tmp_path):
    x, y = noise(30, 3).reshape(30, 2, 150), np.arange(30) % 3
    np.savez(tmp_path / "signals.npz", x=x, y=y, fs=50.0, channels=["C3", "C4"], extra=np.zeros(3))
    data = open_data(tmp_path / "signals.npz")
    spec = data.spec.roles["x"]
    assert (spec.modality, spec.shape, spec.rate, spec.reading["channels"]) == ("signal", (2, 150), 50, ["C3", "C4"]) and data.spec.classes == 3
    assert np.allclose(data.rows["x"].samples[:].numpy(), x) and data.files[3] == "signals.npz#3"
    assert np.allclose(spec.mean, x.mean((0, 2)), atol=1e-5) and np.allclose(spec.std, x.std((0, 2)), atol=1e-5)
    assert any("arrays that are not used: extra" in note for note in data.notes)
    np.save(tmp_path / "plain.npy", x)
    assert open_data(tmp_path / "plain.npy", reading={"rate": "50"}).spec.roles["x"].shape == (2, 150)


def test_a_long_recording_in_an_array_is_cut_at_its_markers(tmp_path):
    place, marker = tmp_path / "data", np.zeros(6000, np.int8)
    place.mkdir()
    marker[100:5900:500], marker[350:5900:500] = 1, 2
    for session in range(2):
        np.savez(place / f"sub-1_ses-{session}.npz", x=noise(3, 60, session).T, marker=marker, fs=100.0, channels=["a", "b", "c"])
    data = open_data(place, reading={"window": "0.8s"})
    assert data.spec.class_names == ("1", "2") and data.spec.roles["x"].shape == (3, 80) and len(data) == 2 * 24
    assert torch.equal(data.rows["x"].samples[:1][0], torch.from_numpy(noise(3, 60, 0)[:, 100:180]))
    assert data.groups.bincount().tolist() == [24, 24]
    before = open_data(place, reading={"window": "0.8s", "start": "-0.2s", "events": "2"})
    assert torch.equal(before.rows["x"].samples[:1][0], torch.from_numpy(noise(3, 60, 0)[:, 330:410])) and before.spec.class_names == ("2",)
    beside = open_data(place, reading={"windows": "all", "window": "1s"}, labels="marker")
    assert len(beside) == 120 and 0 < (beside.labels < 0).sum() < 120


@pytest.mark.parametrize(
    ("shape", "more", "expected"),
    [
        ((2, 5000), {}, (1, 2, 5000)),
        ((5000, 2), {}, (1, 2, 5000)),
        ((300, 4000), {}, (300, 1, 4000)),
        ((40, 4000), {"y": np.arange(40) % 2}, (40, 1, 4000)),
        ((4000, 4), {"channels": list("abcd")}, (1, 4, 4000)),
    ],
)
def test_the_layout_of_an_array_follows_from_what_lies_beside_it(tmp_path, shape, more, expected):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal(shape), fs=200, **more)
    data = open_data(tmp_path / "x.npz", reading={"window": "20s"} if expected[0] == 1 else {})
    assert (len(data), data.spec.roles["x"].shape[0]) == expected[:2]


# --- EDF ---


def test_annotations_become_the_labels_of_windows_and_groups_come_from_the_header(tmp_path):
    events = [(1 + 4 * number, 3.0, "left" if number % 2 else "right") for number in range(4)] + [(0, 0, "BAD start")]
    for subject in range(2):
        for run in range(2):
            write_edf(tmp_path / "data" / f"s{subject}r{run}.edf", noise(2, 18, 2 * subject + run), ["EEG C3", "C4.."], events, f"S{subject}")
    data = open_data(tmp_path / "data")
    spec = data.spec.roles["x"]
    assert (spec.shape, spec.reading["channels"], data.spec.class_names) == ((2, 300), ["C3", "C4"], ("left", "right")) and len(data) == 16
    assert len(data.groups.unique()) == 4
    by_subject = open_data(tmp_path / "data", groups="subject")
    assert by_subject.groups.bincount().tolist() == [8, 8]
    first = by_subject.rows["x"].samples[:1][0]
    assert (first - torch.from_numpy(noise(2, 18, 0)[:, 100:400])).abs().max() < 0.001
    everything = open_data(tmp_path / "data", reading={"windows": "all", "window": "2s"}, labels="annotations")
    assert len(everything) == 36 and everything.labels[:9].tolist() == [1, 1, 0, 0, 1, 1, 0, 0, -1]
    with pytest.raises(leaven.UserError, match="no events called up"):
        open_data(tmp_path / "data", reading={"events": "up", "windows": "events"})


def test_an_encoder_reads_other_recordings_by_its_own_channels_and_rate(tmp_path):
    write_edf(tmp_path / "a" / "a.edf", noise(2, 8), ["C3", "C4"])
    spec = open_data(tmp_path / "a", reading={"window": "2s"}).spec.roles["x"]
    write_edf(tmp_path / "b" / "b.edf", noise(3, 8, rate=200), ["Cz", "C4", "C3"], rate=200)
    other = open_data(tmp_path / "b", **modality_of(spec).open_options(spec))
    assert (other.spec.roles["x"].shape, other.spec.roles["x"].rate) == ((2, 200), 100) and modality_of(spec).difference(
        other.spec.roles["x"], spec
    ) == ""
    write_edf(tmp_path / "c" / "c.edf", noise(2, 8), ["O1", "O2"])
    with pytest.raises(leaven.UserError, match="no recording has the channel C3"):
        open_data(tmp_path / "c", **modality_of(spec).open_options(spec))


def test_damaged_recordings_are_read_as_far_as_they_go_or_set_aside(tmp_path):
    place = tmp_path / "data"
    for number in range(3):
        write_edf(place / f"{number}.edf", noise(2, 8, number), ["C3", "C4"])
    whole = write_edf(place / "cut.edf", noise(2, 8, 5), ["C3", "C4"]).read_bytes()
    (place / "cut.edf").write_bytes(whole[: len(whole) - 2 * 200 * 3 - 100])
    write_edf(place / "one.edf", noise(1, 8, 6), ["C3"])
    (place / "no.edf").write_bytes(b"0" * 500)
    (place / "empty.edf").write_bytes(b"")
    data = open_data(place, reading={"window": "2s"})
    assert {broken.file for broken in data.broken} == {"one.edf", "no.edf", "empty.edf"}
    assert next(broken.why for broken in data.broken if broken.file == "one.edf") == "it lacks the channel C4"
    assert any("cut.edf (its header says 8 records, and 4 are there)" in note for note in data.notes) and len(data) == 3 * 4 + 2


def test_what_mne_reads_is_read_with_its_annotations(tmp_path):
    mne = pytest.importorskip("mne", reason="mne is not installed")
    x = noise(3, 20)
    raw = mne.io.RawArray(x.astype(np.float64), mne.create_info(["C3", "C4", "STI"], RATE, ["eeg", "eeg", "stim"]), verbose="error")
    raw.set_annotations(mne.Annotations([1, 6, 11], [2, 2, 2], ["left", "right", "left"]))
    (tmp_path / "data").mkdir()
    raw.save(tmp_path / "data" / "a_raw.fif", verbose="error")
    data = open_data(tmp_path / "data")
    assert data.spec.roles["x"].reading["channels"] == ["C3", "C4"] and data.spec.class_names == ("left", "right") and len(data) == 3
    assert np.allclose(data.rows["x"].samples[:1][0].numpy(), x[:2, 100:300], atol=1e-4)


def test_recordings_that_need_mne_say_so(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mne", None)
    (tmp_path / "a.fif").write_bytes(b"x")
    with pytest.raises(leaven.UserError, match="needs the package mne"):
        open_data(tmp_path / "a.fif")


# --- tables over time ---


def write_csv(path, samples, times, name="timestamps", extra=None):
    columns = {name: times, **{f"ch{number}": channel for number, channel in enumerate(samples)}, **(extra or {})}
    rows = [",".join(columns)] + [",".join(str(value) for value in row) for row in zip(*columns.values(), strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows))
    return path


def test_a_table_with_a_column_of_times_is_a_recording_and_no_window_lies_across_a_gap(tmp_path):
    times = 1000 + np.arange(4000) / 100
    times[2050:] += 3
    marker = np.where(np.arange(4000) % 400 == 0, 7, 0)
    write_csv(tmp_path / "a.csv", noise(2, 40), times, extra={"Marker": marker})
    data = open_data(tmp_path / "a.csv", reading={"windows": "all", "window": "1s"})
    assert data.spec.roles["x"].rate == 100 and data.spec.roles["x"].shape == (2, 100) and len(data) == 20 + 19
    assert any("1 gap of 3.01 s in all" in note for note in data.notes) and data.files[20] == "a.csv#20.5s"
    at_events = open_data(tmp_path / "a.csv")
    assert len(at_events) == 9 and any("1 event too near to an end or a break is left out" in note for note in at_events.notes)
    assert len(open_data(tmp_path / "a.csv", columns={"x": "ch0:ch1"})) == 4000


def test_states_in_a_table_are_the_labels_of_its_windows(tmp_path):
    states = ["walk"] * 1000 + ["run"] * 1000
    write_csv(tmp_path / "a.csv", noise(3, 20), np.arange(2000) * 10, name="time_ms", extra={"activity": states})
    data = open_data(tmp_path / "a.csv", reading={"windows": "all", "window": "2s", "hop": "1s"})
    assert data.spec.class_names == ("run", "walk") and data.spec.roles["x"].rate == 100 and (data.labels >= 0).all()


def test_a_table_whose_times_are_no_regular_steps_is_a_table_of_numbers(tmp_path):
    write_csv(tmp_path / "a.csv", noise(2, 1), np.sort(np.random.default_rng(0).random(100)), name="time")
    assert open_data(tmp_path / "a.csv").spec.roles["x"].modality == "vector"


# --- what is wrong with channels ---


def test_windows_that_are_not_finite_are_set_aside_and_the_channel_is_named(tmp_path):
    x = noise(2, 40)
    x[1, 250] = np.nan
    np.savez(tmp_path / "a.npz", x=x, fs=100, channels=["C3", "C4"])
    data = open_data(tmp_path / "a.npz", reading={"window": "1s"})
    assert len(data) == 39 and [(broken.file, broken.why) for broken in data.broken] == [("a.npz#2s", "not finite: C4")]
    x[1] = np.nan
    np.savez(tmp_path / "a.npz", x=x, fs=100, channels=["C3", "C4"])
    with pytest.raises(leaven.UserError, match="not finite: C4"):
        open_data(tmp_path / "a.npz", reading={"window": "1s"})
    assert len(open_data(tmp_path / "a.npz", reading={"window": "1s", "channels": "C3"})) == 40


def test_inspect_tells_dead_channels_and_mains_hum(tmp_path):
    x = noise(3, 40, rate=256)
    x[1] = 0
    x[2] += 3 * np.sin(2 * np.pi * 60 * np.arange(x.shape[1]) / 256)
    np.savez(tmp_path / "a.npz", x=x, fs=256, channels=["C3", "dead", "C4"])
    found = leaven.inspect(tmp_path / "a.npz", settings={"window": "2s"}, steps=1)
    spec = found.channels["x"]
    assert spec["dead"] == ["dead"] and spec["hum"]["hz"] == 60 and spec["names"] == ["C3", "dead", "C4"]
    assert "20 signals of 3 channels, 2 s at 256 Hz" in found.text() and "constant in most signals: dead" in found.text()


def test_recordings_without_a_rate_ask_for_it(tmp_path):
    np.savez(tmp_path / "a.npz", x=noise(2, 40), fs=-1)
    with pytest.raises(leaven.UserError, match="its rate is -1 Hz"):
        open_data(tmp_path / "a.npz")


# --- real data ---


@needs_data
def test_real_eeg_is_read_with_its_events_and_groups():
    imagery = open_data(DATA / "eegmmidb", reading={"events": "T1,T2", "window": "4s"})
    assert imagery.spec.roles["x"].shape == (64, 640) and imagery.spec.class_names == ("T1", "T2") and len(imagery.groups.unique()) == 6
    oddball = open_data(DATA / "muse-p300", groups="subject+session", reading={"window": "0.8s", "channels": "TP9,AF7,AF8,TP10"})
    assert oddball.labels.bincount().tolist() == [3424, 627] and len(oddball.groups.unique()) == 4
    bonn = open_data(DATA / "bonn-eeg" / "bonn-eeg.npz")
    assert bonn.spec.roles["x"].shape == (1, 4097) and bonn.labels.bincount().tolist() == [100] * 5
