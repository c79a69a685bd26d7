"""Floors that only one kind of data has."""

import numpy as np

import leaven


def test_signals_stand_beside_a_random_forest_on_their_band_power(tmp_path):
    """One of two rhythms is there, or both or none: trees can tell, and a linear probe cannot."""
    random = np.random.default_rng(0)
    label, first = np.arange(300) % 2, random.integers(2, size=300)
    seconds = np.arange(128) / 64
    tones = [np.sin(2 * np.pi * (rate * seconds + random.random((300, 1)))) for rate in (10, 20)]
    x = (0.2 + first)[:, None] * tones[0] + (0.2 + (first ^ label))[:, None] * tones[1] + 0.1 * random.normal(size=(300, 128))
    data = {"x": x[:, None].astype(np.float32), "rate": 64, "label": label, "group": random.integers(5, size=300)}
    run = leaven.pretrain(data, encoder="band_power", steps=1, batch=20, out=tmp_path / "run")
    settings = {"few-label.counts": (20,), "few-label.draws": 2}
    card = leaven.evaluate(run, data, protocols=("knn", "linear", "few-label", "groups"), settings=settings, labels_only=0.001, report=False)
    forest, raw = card.floors["band-power"], card.floors["input"]
    assert forest.keys() == {"linear", "few-label", "groups"}
    assert min(forest["linear"]["accuracy"], forest["groups"]["accuracy"]) > 0.95 and raw["linear"]["accuracy"] < 0.75
    assert forest["few-label"][0]["accuracy"] > 0.7 and "band-power" in card.scores["linear"]["gains"]
    assert "band power, random forest" in card.table()[0]
