"""Power of rhythms over the head."""

import numpy as np
import pytest
import torch

import leaven
from leaven.data import open_data
from leaven.modalities import modality_of
from leaven.modalities.scalp import placed, places
from leaven.report.scalp import head, scalp_maps

NAMES = ["Fp1", "Fp2", "C3", "C4", "O1", "O2"]


def eeg():
    """Two classes: a rhythm of 10 Hz is stronger at C3, or at C4."""
    random = np.random.default_rng(0)
    label = np.arange(40) % 2
    alpha = np.sin(2 * np.pi * (10 * np.arange(256) / 128 + random.random((40, 6, 1))))
    strength = np.ones((40, 6)) + 2 * np.stack([[0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]])[label]
    return strength[..., None] * alpha + 0.3 * random.normal(size=(40, 6, 256)), label


def test_electrodes_lie_where_the_system_has_them():
    where = places()
    assert where["CZ"] == (0, 0) and where["T7"] == pytest.approx((-1, 0)) and where["FZ"] == pytest.approx((0, 0.5))
    assert where["C3"] == pytest.approx((-0.5, 0)) and np.hypot(*where["F8"]) == pytest.approx(1)
    left = [name for name in where if name[-1] in "13579" and name[-2] not in "AM1"]
    for name in left:
        other = where[name[:-1] + str(int(name[-1]) + 1)]
        assert where[name] == pytest.approx((-other[0], other[1])) and where[name][0] < 0
    assert placed(["EOG", "t3", "Fp1-A2", "C3"]) == {1: where["T7"], 2: where["FP1"], 3: where["C3"]}


def test_the_picture_has_the_most_colour_at_the_electrode_that_has_the_most():
    at = np.array([places()[name.upper()] for name in NAMES])
    picture = head(at, np.array([0, 0, 1.0, -1.0, 0, 0]))
    orange = (picture[..., 0].astype(int) > picture[..., 2]) & (picture[..., 3] > 200)
    blue = (picture[..., 0].astype(int) < picture[..., 2]) & (picture[..., 3] > 200)
    assert np.nonzero(orange)[1].mean() < 40 and np.nonzero(blue)[1].mean() > 56 and picture[0, 0, 3] == 0


def test_a_report_of_signals_shows_each_class_over_the_head(tmp_path):
    samples, label = eeg()
    random = {"x": samples.astype(np.float32), "rate": 128, "label": label}
    for name, channels in (("named", NAMES), ("unknown", [f"channel {number}" for number in range(6)])):
        path = tmp_path / name
        path.mkdir()
        for number, some in enumerate(samples):
            np.savez(path / f"{'left' if label[number] else 'right'}_{number}.npz", x=some.astype(np.float32), fs=128.0, channels=channels)
    data = open_data(tmp_path / "named", groups="{label}_{}", reading={"windows": "all", "window": "2s"})
    topography = modality_of(data.rows["x"]).topography(data.rows["x"][torch.arange(len(data))])
    alpha = topography.numbers[:, [name.startswith("alpha") for name in topography.columns].index(True)]
    assert alpha.argmax(1).tolist() == [2 if data.spec.class_names[number] == "right" else 3 for number in data.labels.tolist()]
    maps = scalp_maps(data, "x", torch.arange(len(data)))
    assert [row["name"] for row in maps["rows"]] == ["all", *data.spec.class_names] and {len(row["images"]) for row in maps["rows"]} == {5}
    assert scalp_maps(open_data(tmp_path / "unknown"), "x", torch.arange(10)) is None and scalp_maps(open_data(random), "x", torch.arange(10)) is None
    run = leaven.pretrain(tmp_path / "named", encoder="band_power", steps=1, batch=10, out=tmp_path / "run")
    page = (run.path / "report.html").read_text()
    assert "Over the head" in page and 'alt="all, alpha 8-13 Hz"' in page
