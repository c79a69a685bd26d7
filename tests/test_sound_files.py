"""Sound from files: whole or in windows, at one rate, with labels, groups and splits; what cannot be used is listed, and the rest is read."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import leaven
from leaven.data import open_data
from leaven.modalities import modality_of

DATA = Path(os.environ.get("LEAVEN_TEST_DATA", ""))
needs_data = pytest.mark.skipif(not (DATA / "fsdd").is_dir(), reason="LEAVEN_TEST_DATA does not hold fsdd and speech-commands")
RATE = 8000


def tone(frequency, seconds=0.5, rate=RATE, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path, samples, rate=RATE, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **how)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAVEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Two words of two speakers, with a text that says so."""
    for word, frequency in (("high", 1000), ("low", 200)):
        for speaker in ("ann", "bob"):
            for take in range(3):
                write(tmp_path / "data" / word / f"{word}_{speaker}_{take}.wav", tone(frequency + 10 * take + (speaker == "bob"), 0.3 + 0.1 * take))
    (tmp_path / "data" / "README.md").write_text("two words")
    return tmp_path / "data"


# --- folders ---


def test_a_folder_of_sounds_with_a_readme_is_a_folder_of_sounds_by_class(folder):
    data = open_data(folder)
    spec = data.spec.roles["x"]
    assert (spec.modality, spec.shape, spec.rate) == ("wave", (4000,), 8000) and data.spec.class_names == ("high", "low")
    assert data.unused == ("1 other file (README.md)",) and not data.broken
    value = data.rows["x"][torch.arange(12)]
    assert sorted(set(value.lengths.tolist())) == [2400, 3200, 4000]
    assert (value.samples[0, :2400] - torch.from_numpy(tone(1000, 0.3))).abs().max() < 1e-4 and not value.samples[0, 2400:].any()


def test_what_was_decoded_once_is_not_decoded_again(folder, monkeypatch):
    first = open_data(folder)
    monkeypatch.setattr(soundfile, "SoundFile", lambda *_, **__: pytest.fail("decoded again"))
    again = open_data(folder)
    assert again.fingerprint == first.fingerprint and torch.equal(again.rows["x"].samples[:], first.rows["x"].samples[:])


def test_a_pattern_of_file_names_gives_labels_and_groups(folder):
    data = open_data(folder, groups="{label}_{speaker}_{take}.wav")
    assert data.spec.class_names == ("high", "low") and len(data.groups.unique()) == 2
    assert [data.groups[row].item() for row, file in enumerate(data.files) if "ann" in file] == [0] * 6
    train, test, _, _ = data.held_out()
    assert set(data.groups[train].tolist()).isdisjoint(data.groups[test].tolist())
    assert len(open_data(folder, groups="{label}_{}_{take}").groups.unique()) == 3
    with pytest.raises(leaven.UserError, match="does not fit files such as"):
        open_data(folder, groups="{label}-{speaker}.wav")
    with pytest.raises(leaven.UserError, match="nothing says the speaker of a sample"):
        open_data(folder, groups="speaker")


def test_a_table_beside_the_sounds_says_more_of_them(folder):
    rows = [f"{path.relative_to(folder)},{path.stem.split('_')[1]},{path.stem[-1]}" for path in sorted(folder.rglob("*.wav"))]
    (folder / "sounds.csv").write_text("file,speaker,split\n" + "\n".join(row[:-1] + ("test" if row[-1] == "2" else "train") for row in rows))
    data = open_data(folder)
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 8, "test": 4}
    assert data.spec.class_names == ("high", "low") and len(data.groups.unique()) == 2
    assert any("stays together (2 by the column speaker" in note for note in data.notes)
    assert open_data(folder, labels="speaker").spec.class_names == ("ann", "bob")
    table = open_data(folder / "sounds.csv")
    assert len(table) == 12 and table.spec.roles["x"].modality == "wave" and torch.equal(table.groups, data.groups)


def test_bytes_in_a_parquet_column_are_sounds(folder, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(folder.rglob("*.wav"))
    sounds = [{"bytes": path.read_bytes(), "path": path.name} for path in files[:-1]] + [{"bytes": b"RIFF, but no sound", "path": "x.wav"}]
    pq.write_table(pa.table({"audio": sounds, "label": [path.parent.name for path in files]}), tmp_path / "train.parquet")
    data = open_data(tmp_path / "train.parquet")
    assert data.spec.roles["x"].modality == "wave" and len(data) == 11 and data.spec.class_names == ("high", "low")
    assert [broken.file for broken in data.broken] == ["train.parquet#11"]
    assert torch.equal(data.rows["x"].samples[:1], open_data(folder).rows["x"].samples[:1])


def test_a_list_of_paths_and_a_hugging_face_data_set_are_sounds_as_well(folder):
    import datasets

    files = sorted(folder.rglob("*.wav"))
    expected = open_data(folder).rows["x"].samples[:]
    assert torch.equal(open_data({"x": list(map(str, files)), "label": [path.parent.name for path in files]}).rows["x"].samples[:], expected)
    table = datasets.Dataset.from_dict({"audio": list(map(str, files)), "label": [path.parent.name for path in files]})
    data = open_data(table.cast_column("audio", datasets.Audio()))
    assert torch.equal(data.rows["x"].samples[:], expected) and data.spec.class_names == ("high", "low")


# --- rates and channels ---


def test_sounds_of_several_rates_are_read_at_the_commonest_or_at_the_one_asked_for(tmp_path):
    for number in range(3):
        write(tmp_path / "data" / f"{number}.wav", tone(440, 1))
    write(tmp_path / "data" / "other.flac", tone(440, 1, 16000), 16000)
    data = open_data(tmp_path / "data")
    assert data.spec.roles["x"].rate == 8000 and any("rates differ (3 of 8000 Hz, 1 of 16000 Hz)" in note for note in data.notes)
    samples = data.rows["x"].samples[:]
    assert samples.shape == (4, 8000) and (samples[3] - samples[0])[200:-200].abs().max() < 0.01
    half = open_data(tmp_path / "data", reading={"rate": "4000"}).rows["x"].samples[:]
    assert half.shape == (4, 4000) and (half[0] - torch.from_numpy(tone(440, 1, 4000)))[200:-200].abs().max() < 0.01


def test_channels_are_averaged_or_chosen(tmp_path):
    stereo = np.stack([tone(440), tone(880)], 1)
    write(tmp_path / "data" / "a.wav", stereo)
    write(tmp_path / "data" / "b.wav", stereo[:, ::-1])
    mono = open_data(tmp_path / "data")
    assert (mono.rows["x"].samples[:1] - torch.from_numpy(stereo.mean(1))).abs().max() < 1e-4
    assert any("2 of 2 sounds have 2 channels: their mean is read" in note for note in mono.notes)
    first = open_data(tmp_path / "data", reading={"channels": "first"})
    assert (first.rows["x"].samples[:1] - torch.from_numpy(stereo[:, 0])).abs().max() < 1e-4
    both = open_data(tmp_path / "data", reading={"channels": "all"})
    assert (both.spec.roles["x"].modality, both.spec.roles["x"].shape) == ("signal", (2, 4000))
    assert open_data(tmp_path / "data", **modality_of(both.spec.roles["x"]).open_options(both.spec.roles["x"])).fingerprint == both.fingerprint


# --- windows ---


def test_silence_in_several_recordings_does_not_hold_them_together(tmp_path):
    for number in range(3):
        write(tmp_path / "data" / f"{number}.wav", np.concatenate([tone(200 + number, 2), np.zeros(8000, np.float32)]))
    data = open_data(tmp_path / "data", reading={"window": "1s"})
    train, test, _, _ = data.held_out()
    assert sorted(len(part) for part in (train, test)) == [3, 6]


def test_long_recordings_are_cut_into_windows_that_stay_on_one_side_of_a_split(tmp_path):
    for number in range(3):
        write(tmp_path / "data" / f"{number}.wav", tone(200 * (number + 1), 40))
    data = open_data(tmp_path / "data")
    assert len(data) == 60 and data.spec.roles["x"].shape == (16000,) and data.files[1] == "0.wav#2s"
    assert any("longer than 30 s: cut into windows of 2 s" in note for note in data.notes)
    assert data.groups.bincount().tolist() == [20, 20, 20]
    overlapping = open_data(tmp_path / "data", reading={"window": "1s", "hop": "500ms"})
    assert len(overlapping) == 3 * 79 and overlapping.spec.roles["x"].reading == {"rate": 8000.0, "window": 1.0, "hop": 0.5}
    train, test, _, _ = overlapping.held_out()
    assert set(overlapping.groups[train].tolist()).isdisjoint(overlapping.groups[test].tolist())
    value = overlapping.rows["x"]
    assert value.lazy and torch.equal(value.samples[torch.tensor([0])][0, 4000:], value.samples[1:2][0, :4000])


def test_windows_of_a_recording_that_has_no_group_stay_together_as_well(tmp_path):
    for name in ("ann_1.wav", "ann_2.wav", "strange.wav"):
        write(tmp_path / "data" / name, tone(200 + len(name), 4))
    data = open_data(tmp_path / "data", groups="{speaker}_{take}.wav", reading={"window": "1s"})
    assert data.groups.tolist() == [0] * 8 + [data.groups[-1]] * 4 and data.groups[-1] > 0
    assert any("1 file does not fit the pattern, such as strange.wav" in note for note in data.notes)


def test_a_few_long_recordings_among_clips_lose_nothing_but_the_rest_of_their_last_piece(tmp_path):
    for number in range(4):
        write(tmp_path / "data" / f"{number}.wav", tone(300, 1))
    write(tmp_path / "data" / "long.wav", tone(300, 35.5))
    data = open_data(tmp_path / "data")
    assert len(data) == 4 + 35 and data.spec.roles["x"].shape == (8000,)
    assert data.groups[:4].tolist() == [-1] * 4 and len(data.groups[4:].unique()) == 1


def test_samples_that_are_moved_to_a_device_lie_there_as_a_whole(tmp_path):
    for name in "ab":
        write(tmp_path / "data" / f"{name}.wav", np.stack([tone(300, 3)] * 2, 1))
    data = open_data(tmp_path / "data", reading={"window": "1s", "channels": "all"})
    assert data.rows.to("cpu")["x"].lazy
    moved = data.rows.to("meta")["x"]
    assert not moved.lazy and moved.samples.shape == (6, 2, 8000) and moved.mask.shape == (6, 8000) and moved.mask.dtype == torch.bool


def test_what_the_cache_cannot_hold_is_read_part_by_part_and_is_the_same(tmp_path, monkeypatch):
    write(tmp_path / "data" / "a.wav", tone(300, 40, 11025), 11025)
    write(tmp_path / "data" / "b.wav", tone(500, 40, 8000), 8000)
    reading = {"window": "1s", "rate": "8000"}
    kept = open_data(tmp_path / "data", reading=reading)
    monkeypatch.setenv("LEAVEN_CACHE_LIMIT", "0")
    monkeypatch.setenv("LEAVEN_CACHE", str(tmp_path / "other"))
    part_by_part = open_data(tmp_path / "data", reading=reading)
    assert part_by_part.undecoded and not kept.undecoded
    assert (part_by_part.rows["x"].samples[:] - kept.rows["x"].samples[:]).abs().max() < 1e-4
    for data in (kept, part_by_part):  # `compare` and `reproduce` train in other processes
        assert torch.equal(pickle.loads(pickle.dumps(data)).rows["x"].samples[:], data.rows["x"].samples[:])


# --- what is wrong with files ---


@pytest.fixture
def damaged(tmp_path):
    """Good sounds among others that are not."""
    place = tmp_path / "data"
    for number in range(4):
        write(place / f"good{number}.wav", tone(300 + number, 0.5))
    write(place / "24bit.wav", tone(300, 0.5), subtype="PCM_24")
    write(place / "float.wav", tone(300, 0.5), subtype="FLOAT")
    write(place / "int16-as-float.wav", 32767 * tone(300, 0.5), subtype="FLOAT")
    write(place / "empty.wav", np.zeros(0, np.float32))
    write(place / "nan.wav", np.where(np.arange(4000) == 7, np.nan, tone(300, 0.5)).astype(np.float32), subtype="FLOAT")
    write(place / "one.wav", np.array([0.5], np.float32))
    write(place / "constant.wav", np.full(4000, 0.25, np.float32))
    write(place / "many.wav", np.repeat(tone(300, 0.5)[:, None], 100, 1))
    whole = write(place / "cut.wav", tone(300, 0.5)).read_bytes()
    (place / "cut.wav").write_bytes(whole[:3044])
    flac = write(place / "cut.flac", np.random.default_rng(0).standard_normal(40000).astype(np.float32) * 0.1).read_bytes()
    (place / "cut.flac").write_bytes(flac[: len(flac) // 2])
    (place / "no.wav").write_bytes(b"this is no sound")
    (place / "song.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    return place


def test_unreadable_sounds_among_good_ones_are_set_aside_and_explained(damaged):
    data = open_data(damaged)
    why = {broken.file: broken.why for broken in data.broken}
    assert why.keys() == {"empty.wav", "nan.wav", "no.wav"}
    assert why["empty.wav"] == "it holds no samples" and why["nan.wav"] == "some of its numbers are not finite"
    assert why["no.wav"].startswith("not a whole sound file")
    notes = " ".join(data.notes)
    assert "cut.wav (its header says 8,000 bytes of sound, and 3,000 are there)" in notes and "cut.flac (" in notes
    assert "1 of 13 sounds has 100 channels: their mean is read" in notes
    assert data.unused == ("1 sound in a format that Leaven does not read, but ffmpeg converts (song.m4a)",)
    value = data.rows["x"][torch.arange(len(data))]
    place = {file: row for row, file in enumerate(data.files)}
    good = torch.from_numpy(tone(300, 0.5))
    for file in ("24bit.wav", "float.wav", "int16-as-float.wav", "many.wav"):
        row = place[file]
        assert (value.samples[row, : value.lengths[row]] - good).abs().max() < 1e-3, file
    assert value.lengths[place["one.wav"]] == 1 and value.lengths[place["cut.wav"]] == 1500
    assert 0 < value.lengths[place["cut.flac"]] < 40000
    assert modality_of(value).raw_features(value, torch.arange(len(data)))(value).isfinite().all()


def test_inspect_says_what_is_wrong(tmp_path):
    for number in range(8):
        write(tmp_path / "data" / f"silent{number}.wav", np.random.default_rng(number).standard_normal(8000).astype(np.float32) * 1e-4)
        write(tmp_path / "data" / f"clipped{number}.wav", (4 * tone(300 + number, 1)).clip(-1, 1))
        write(tmp_path / "data" / f"hum{number}.wav", tone(50, 1) + np.random.default_rng(number).standard_normal(8000).astype(np.float32) * 0.01)
    found = leaven.inspect(tmp_path / "data", method="auto", steps=1)
    spec = found.channels["x"]
    assert (spec["silent"], spec["clipped"], spec["constant"]) == (8, 8, 0) and spec["hum"]["hz"] == 50 and spec["rate"] == 8000
    text = found.text()
    assert "24 sounds, 1 s at 8000 Hz" in text and "8 of 24 sounds are silent (below -60 dB)" in text
    assert "8 of 24 sounds are clipped" in text and "mains hum:" in text


def test_formats_that_are_not_read_are_named_with_what_converts_them(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    with pytest.raises(leaven.UserError, match=r"formats that Leaven does not read .*ffmpeg"):
        open_data(tmp_path / "data")
    for number in range(2):
        (tmp_path / "data" / f"{number}.wav").write_bytes(b"no sound")
    with pytest.raises(leaven.UserError, match="none of the 2 recordings can be used"):
        open_data(tmp_path / "data")


@pytest.mark.parametrize(
    ("reading", "what"),
    [({"window": "-1"}, "window must be above 0"), ({"window": "soon"}, "window takes a time such as 1s"), ({"rate": "fast"}, "rate")],
)
def test_settings_that_make_no_sense_are_one_clear_line(folder, reading, what):
    with pytest.raises(leaven.UserError, match=what):
        open_data(folder, reading=reading)


def test_a_sound_file_is_a_query(folder):
    data = open_data(folder)
    spec = data.spec.roles["x"]
    name, value = modality_of(spec).query(str(folder / "low" / "low_bob_2.wav"), spec)
    assert name.endswith("low_bob_2.wav") and value.rate == 8000
    assert torch.equal(
        modality_of(value).fitted(value, spec.shape).samples, data.rows["x"][torch.tensor([data.files.index("low/low_bob_2.wav")])].samples
    )
    other = write(folder.parent / "other.wav", tone(220, 3, 16000), 16000)
    assert modality_of(spec).query(other, spec)[1].samples.shape == (1, 4000)
    with pytest.raises(leaven.UserError, match="the query cannot be used"):
        modality_of(spec).query(folder / "README.md", spec)


# --- real data ---


@needs_data
@pytest.mark.slow
def test_real_speech_is_read_with_its_speakers_and_splits():
    digits = open_data(DATA / "fsdd", groups="{label}_{speaker}_{take}.wav")
    assert len(digits) == 3000 and digits.spec.classes == 10 and len(digits.groups.unique()) == 6 and not digits.broken
    words = open_data(DATA / "speech-commands")
    assert {name: len(rows) for name, rows in words.splits.items()} == {"train": 820, "test": 280}
    assert words.spec.classes == 10 and len(words.groups.unique()) == 179 and words.spec.roles["x"].shape == (16000,)
