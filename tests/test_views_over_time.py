"""Views of sound and signals: each change by itself, within each sample's own length, and the same however a batch is cut."""

import json
import math

import pytest
import torch

from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import Signal, Wave
from leaven.modalities.timeline import beginnings
from leaven.views import SignalViews, SoundViews, Views, default_views
from leaven.views.signals import mirrored
from leaven.views.time import paced, spans, window_of

RATE, TIME, COUNT = 8000.0, 4000, 16
NOTHING = {"crop_min": 1, "speed": 0, "reverb": 0, "equalize": 0, "band_masks": 0, "time_masks": 0, "noise": 0, "gain": 0}
STILL = {"shift": 0, "stretch": 0, "scale": 0, "noise": 0, "drop": 0, "time_masks": 0, "band_mask": 0}
LENGTHS = torch.linspace(1000, TIME, COUNT).long()


def sounds():
    samples = 0.1 * torch.randn(COUNT, TIME, generator=torch.Generator().manual_seed(0))
    return Wave(samples.masked_fill(~beginnings(LENGTHS, TIME), 0), LENGTHS, RATE)


def signals(names=None):
    mask = beginnings(torch.linspace(100, 256, COUNT).long(), 256)
    samples = 4 * torch.randn(COUNT, 4, 256, generator=torch.Generator().manual_seed(0)) + torch.tensor([30.0, 0.0, -10.0, 5.0])[:, None]
    return Signal(samples.masked_fill(~mask[:, None], 0), mask, 128.0, {"channels": names} if names else {})


def tones(hertz):
    return Wave(0.5 * torch.sin(2 * math.pi * hertz * torch.arange(TIME) / RATE).expand(COUNT, -1).contiguous(), torch.full((COUNT,), TIME), RATE)


def only(value, **changes):
    (view,) = SoundViews(**{**NOTHING, "count": 1, **changes})(value, Draw(0))
    return view


def only_signal(value, **changes):
    views = SignalViews(**{**STILL, "count": 1, **changes}).scaled((30.0, 0.0, -10.0, 5.0), (4.0,) * 4)
    return views(value, Draw(0))[0]


@pytest.mark.parametrize(
    ("make", "value"),
    [(SoundViews(reverb=0.2, shift=0.05, window=0.3), sounds), (SignalViews(negate=0.5, mirror=0.5), lambda: signals(["C3", "C4", "Cz", "P7"]))],
)
def test_views_are_the_same_however_a_batch_is_cut_and_0_where_there_is_nothing(make, value):
    value = value()
    whole = make(value, Draw("seed", 5))
    parts = [make(value[slice(4 * part, 4 * part + 4)], Draw("seed", 5, part=part, parts=4)) for part in range(4)]
    for number, view in enumerate(whole):
        torch.testing.assert_close(torch.cat([part[number].main for part in parts]), view.main, atol=1e-5, rtol=0)
        real = view.mask if view.main.ndim == 2 else view.mask[:, None]
        assert view.main.isfinite().all() and (view.main.masked_fill(real, 0) == 0).all()
    assert not torch.equal(whole[0].main, whole[1].main)
    assert Views.from_dict(json.loads(json.dumps(make.to_dict()))) == make


def test_what_is_switched_off_changes_nothing():
    assert torch.equal(only(sounds()).samples, sounds().samples)
    assert torch.equal(only_signal(signals()).samples, signals().samples)


@pytest.mark.parametrize("pace", [0.8, 1.0, 1.25])
def test_another_pace_is_the_tone_at_other_moments(pace):
    place = torch.arange(3000.0)
    for hertz, bound in ((200, 1e-3), (2000, 1e-2)):
        tone = torch.sin(2 * math.pi * hertz * torch.arange(TIME) / RATE)[None]
        ours = paced(tone, torch.tensor([100.3]), torch.tensor([pace]), 3000)[0]
        expected = torch.sin(2 * math.pi * hertz * (100.3 + pace * place) / RATE)
        inner = slice(200, 2700)
        assert (ours - expected)[inner].abs().max() < bound


def test_what_a_faster_pace_would_fold_back_is_gone():
    tone = torch.sin(2 * math.pi * 3700 * torch.arange(TIME) / RATE)[None]
    assert paced(tone, torch.tensor([500.0]), torch.tensor([1.2]), 2000)[0, 100:-100].abs().max() < 0.02


def test_crops_are_parts_of_their_sound_no_shorter_than_asked():
    value, view = sounds(), only(sounds(), crop_min=0.5)
    share = view.lengths / value.lengths
    assert 0.49 < share.min() < 0.7 and 0.8 < share.max() <= 1
    for row, length in enumerate(view.lengths.tolist()):
        part = view.samples[row, :length]
        assert any(torch.equal(part, window) for window in value.samples[row, : value.lengths[row]].unfold(0, length, 1))


def test_speed_changes_length_and_pitch():
    value = tones(1000)
    view = only(value, speed=0.25)
    assert 0.79 < view.lengths.min() / TIME < 0.9
    for samples, length in zip(view.samples, view.lengths.tolist(), strict=True):
        heard = torch.fft.rfft(samples[: min(length, 2000)], 8000).abs().argmax() * RATE / 8000
        if length < TIME:
            assert heard == pytest.approx(1000 * TIME / length, rel=0.02)
        assert 790 < heard < 1260


def test_windows_and_silence_before_them():
    view = only(sounds(), window=0.25)
    assert view.samples.shape == (COUNT, 2000) and view.lengths.tolist() == LENGTHS.clamp(max=2000).tolist()
    shifted = only(sounds(), shift=0.1)
    start = (shifted.samples != 0).int().argmax(1)
    assert (start <= 800).all() and start.float().std() > 100
    for row, (first, length) in enumerate(zip(start.tolist(), shifted.lengths.tolist(), strict=True)):
        if LENGTHS[row] + 800 <= TIME:
            assert torch.equal(shifted.samples[row, first:length], sounds().samples[row, : LENGTHS[row]])
    moved = window_of(torch.arange(5.0).expand(2, -1), torch.tensor([-2, 3]), 4)
    assert moved.tolist() == [[0, 0, 0, 1], [3, 4, 0, 0]]


def test_a_masked_band_is_silent_and_others_stay_as_they_are():
    noise = sounds()
    view = only(noise, band_masks=1, band_mask=0.5)
    before, after = (torch.fft.rfft(some.samples[-1]).abs() for some in (noise, view))
    ratio = after / before
    silent = ratio.unfold(0, 10, 10).mean(1) < 0.1
    assert silent.any() and (~silent).float().mean() > 0.3 and ratio[:-1].median() > 0.9


def test_gaps_lie_within_the_sound_and_are_no_longer_than_asked():
    gaps = spans(torch.rand(500, 1), 0.3 * torch.rand(500, 1), torch.full((500,), 800.0), 1000)
    assert gaps[:, 800:].sum() == 0 and gaps.sum(1).max() <= 0.3 * 800 + 1 and gaps.sum(1).float().mean() == pytest.approx(120, rel=0.15)
    view = only(sounds(), time_masks=1, time_mask=0.3)
    silent = ((view.samples == 0) & view.mask).sum(1) / LENGTHS
    assert 0.15 < silent.max() <= 0.31


def test_levels_noise_and_rooms_are_as_strong_as_said():
    value = sounds()
    change = 20 * (only(value, gain=6).samples.std(1) / value.samples.std(1)).log10()
    assert change.abs().max() <= 6.01 and change.std() > 1.5
    noise = only(value, noise=0.3).samples - value.samples
    share = torch.stack([(part[:n].std() / whole[:n].std()) for part, whole, n in zip(noise, value.samples, LENGTHS.tolist(), strict=True)])
    assert share.max() < 0.33 and share.min() < 0.1
    levels = only(value, equalize=6)
    ratio = 20 * (torch.fft.rfft(levels.samples[-1]).abs() / torch.fft.rfft(value.samples[-1]).abs()).log10()[100:-100]
    assert ratio.unfold(0, 50, 50).mean(1).abs().max() < 7 and ratio.std() > 0.5
    click = Wave(torch.zeros(COUNT, TIME).index_fill(1, torch.tensor([10]), 0.5), torch.full((COUNT,), TIME), RATE)
    room = only(click, reverb=0.3).samples
    assert (room[:, :10].abs() < 1e-4).all() and (room[:, 11:200].abs().amax(1) > 1e-3).all()
    energy = room[:, 11:].square().cumsum(1) / room[:, 11:].square().sum(1, keepdim=True)
    assert (energy[:, 2400] > 0.99).all()


def test_signals_move_stretch_and_grow_around_their_mean():
    value = signals()
    moved = only_signal(value, shift=0.1)
    assert moved.samples.shape == value.samples.shape and not torch.equal(moved.samples, value.samples)
    row, middle = 15, slice(60, 190)
    lags = [(moved.samples[row, 0, 60:190] - value.samples[row, 0, 60 + lag : 190 + lag]).abs().max() for lag in range(-13, 14)]
    assert min(lags) < 1e-4
    scaled = only_signal(value, scale=0.5)
    factor = (scaled.samples[row] - torch.tensor([30.0, 0.0, -10.0, 5.0])[:, None]) / (
        value.samples[row] - torch.tensor([30.0, 0.0, -10.0, 5.0])[:, None]
    )
    torch.testing.assert_close(factor, factor[:1, :1].expand_as(factor), atol=1e-3, rtol=1e-3)
    assert 1 / 1.5 < factor.mean() < 1.5
    slow = Signal(torch.sin(torch.arange(256) / 128 * 2 * math.pi * 4).expand(COUNT, 4, -1) + 0.0, torch.ones(COUNT, 256, dtype=torch.bool), 128.0)
    stretched = SignalViews(**{**STILL, "count": 1, "stretch": 0.2})(slow, Draw(0))[0].samples[:, 0, middle]
    crossings = ((stretched[:, 1:] > 0) != (stretched[:, :-1] > 0)).sum(1)
    assert crossings.min() < 8 and crossings.max() > 8


def test_channels_drop_to_their_mean_turn_over_and_change_sides():
    value = signals(["C3", "C4", "Cz", "TP9"])
    dropped = only_signal(value, drop=0.5).samples
    constant = (dropped == torch.tensor([30.0, 0.0, -10.0, 5.0])[:, None]) | ~value.mask[:, None]
    gone = constant.all(2)
    assert 0.3 < gone.float().mean() < 0.7 and (constant.any(2) == gone)[value.mask.all(1)].all()
    negated = only_signal(value, negate=1.0).samples
    expected = (2 * torch.tensor([30.0, 0.0, -10.0, 5.0])[:, None] - value.samples).masked_fill(~value.mask[:, None], 0)
    torch.testing.assert_close(negated, expected)
    flipped = SignalViews(**{**STILL, "count": 1, "mirror": 1.0})(value, Draw(0))[0]
    side = flipped.samples[-1] - flipped.samples[-1].mean(1, keepdim=True)
    other = value.samples[-1] - value.samples[-1].mean(1, keepdim=True)
    assert torch.nn.functional.cosine_similarity(side[0], other[1], 0) > 0.99 and torch.nn.functional.cosine_similarity(side[2], other[2], 0) > 0.99


def test_sides_are_told_by_names():
    assert mirrored(["Fc5.", "Fc6.", "Cz..", "TP9", "TP10"]) == [1, 0, 2, 4, 3]
    for names in (None, ["left", "right"], ["C3", "P4"]):
        with pytest.raises(UserError, match="left from right"):
            mirrored(names)


def test_missing_frequencies_are_as_many_as_asked():
    value = Signal(torch.randn(COUNT, 1, 1024), torch.ones(COUNT, 1024, dtype=torch.bool), 128.0)
    before, after = (
        torch.fft.rfft(some.samples[:, 0]).abs() for some in (value, SignalViews(**{**STILL, "count": 1, "band_mask": 10.0})(value, Draw(0))[0])
    )
    missing = ((after / before) < 0.2).sum(1) * 128 / 1024
    assert missing.max() <= 10.2 and missing.float().mean() > 2.5


@pytest.mark.parametrize(
    ("make", "settings", "told"),
    [
        (SoundViews, {"speed": 1.0}, "below 1"),
        (SoundViews, {"crop_min": 0}, "above 0"),
        (SoundViews, {"noise": -1}, "from 0"),
        (SoundViews, {"band_masks": 1.5}, "whole number"),
        (SignalViews, {"drop": 2}, "probability"),
        (SignalViews, {"stretch": 1}, "below 1"),
    ],
)
def test_settings_out_of_range_are_one_clear_line(make, settings, told):
    with pytest.raises(UserError, match=told):
        make(**settings)


def test_sounds_are_changed_some_at_a_time_as_they_are_all_at_once(monkeypatch):
    value = sounds()
    views = default_views("contrast", "wave")
    whole = views(value, Draw(0, "views"))
    monkeypatch.setattr("leaven.views.sound.VALUES", 3 * value.samples.shape[1])
    for part, all_at_once in zip(views(value, Draw(0, "views")), whole, strict=True):
        assert torch.equal(part.lengths, all_at_once.lengths) and torch.allclose(part.samples, all_at_once.samples, atol=1e-6)
