"""Corrupted samples: what corruption does to them, and what a model still knows of them."""

import pytest
import torch
from small import sounds

import leaven
from leaven.data import open_data
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import Pixels
from leaven.views.corruptions import PICTURES, SEVERITIES, SOUNDS


def smooth(channels=3, side=24):
    """Pictures of clouds."""
    coarse = torch.rand(6, channels, 9, 9, generator=torch.Generator().manual_seed(0))
    return Pixels((torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear") * 200 + 20).to(torch.uint8))


def distance(samples, change, severity):
    corrupted = change(samples, severity, Draw(0, "test"))
    assert corrupted.main.shape == samples.main.shape and corrupted.main.isfinite().all() and type(corrupted) is type(samples)
    before = samples.unit() if isinstance(samples, Pixels) else samples.main
    return (corrupted.main - before).square().mean().item()


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_further_from_themselves_the_more_severe_it_is_and_stay_between_0_and_1(name, channels):
    samples = smooth(channels)
    distances = [distance(samples, PICTURES[name], severity) for severity in range(1, SEVERITIES + 1)]
    assert 0 < distances[0] < distances[4]
    corrupted = PICTURES[name](samples, 5, Draw(0, "test")).main
    assert corrupted.min() >= 0 and corrupted.max() <= 1
    assert torch.equal(corrupted, PICTURES[name](samples, 5, Draw(0, "test")).main)


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_are_further_from_themselves_the_more_severe_it_is_and_end_where_they_ended(name):
    samples = sounds(8)[0]
    distances = [distance(samples, SOUNDS[name], severity) for severity in range(1, SEVERITIES + 1)]
    assert 0 < distances[0] < distances[4]
    assert not SOUNDS[name](samples, 5, Draw(0, "test")).samples.masked_fill(samples.mask, 0).any()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = {"encoder.width": 8, "encoder.features": 32}
    return leaven.pretrain("demo:digits", out=tmp_path_factory.mktemp("robust") / "run", steps=10, batch=64, settings=settings, report=False)


def test_a_probe_of_clean_samples_names_fewer_corrupted_ones(run):
    settings = {"robustness.severities": (1, 5), "robustness.corruptions": ("noise", "contrast"), "robustness.most": 200}
    card = leaven.evaluate(run, "demo:digits", protocols=("robustness",), settings=settings, report=False)
    score = card.scores["robustness"]
    assert score["clean"]["accuracy"] > score["accuracy"] > 0.1 and set(score["by_corruption"]) == {"noise", "contrast"}
    severities = score["by_severity"]["contrast"]
    assert severities["1"] > severities["5"]
    assert [row[0] for row in card.table()[1:]] == ["clean samples", "corrupted samples", "noise", "contrast"] and "untrained" in card.floors


def test_a_classifier_is_tested_as_it_is(run, tmp_path):
    classifier = leaven.finetune(run, "demo:digits", out=tmp_path / "classifier", steps=2)
    settings = {"robustness.severities": (3,), "robustness.corruptions": ("jpeg",), "robustness.most": 60}
    card = leaven.evaluate(classifier, "demo:digits", protocols=("robustness",), settings=settings, report=False)
    assert set(card.scores["robustness"]["by_corruption"]) == {"jpeg"} and not card.floors


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"robustness.corruptions": ("snow",)}, "no corruption is called 'snow'"),
        ({"robustness.severities": (6,)}, "severities are whole numbers from 1 to 5"),
    ],
)
def test_unknown_corruptions_are_one_line(run, settings, told):
    with pytest.raises(UserError, match=told):
        leaven.evaluate(run, "demo:digits", protocols=("robustness",), settings=settings, report=False)


def test_data_that_has_no_corruptions_is_one_line(tmp_path):
    data = open_data((torch.randn(64, 6), torch.arange(64) % 2))
    run = leaven.pretrain(data, out=tmp_path / "run", steps=1, batch=16, report=False)
    with pytest.raises(UserError, match="no corruptions of vector are known"):
        leaven.evaluate(run, data, protocols=("robustness",), report=False)
