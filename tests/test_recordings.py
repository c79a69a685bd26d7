"""Sound and signals: typed values, and what reads them from files."""

import numpy as np
import pytest
import torch

import leaven
from leaven.data import Signal, Wave, open_data
from leaven.modalities import modality_of
from leaven.modalities.modality import fitted


def tone(frequency, seconds, rate, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def waves(rate=8000.0, time=800, count=6):
    """Noise of several lengths."""
    lengths = torch.arange(count) * (time // count) + time // count
    return Wave(torch.randn(count, time, generator=torch.Generator().manual_seed(0)).mul(0.1), lengths, rate)


# --- typed values ---


def test_sound_in_memory_is_cut_to_its_lengths_and_its_statistics_are_those_of_the_sound_alone():
    data = open_data({"x": waves(), "label": [0, 1] * 3})
    value, spec = data.rows["x"], data.spec.roles["x"]
    assert not value.samples.masked_select(~value.mask).any()
    real = value.samples[value.mask].double()
    assert spec.rate == 8000 and spec.shape == (800,)
    assert spec.mean[0] == pytest.approx(real.mean().item(), abs=1e-9) and spec.std[0] == pytest.approx(real.std(correction=0).item())


def test_padding_does_not_change_what_a_sound_or_a_signal_is():
    value = waves()
    longer = Wave(torch.nn.functional.pad(value.samples, (0, 50)), value.lengths, value.rate)
    assert torch.equal(open_data(value).hashes, open_data(longer).hashes)
    signal = Signal(torch.randn(2, 3, 40), torch.arange(40) < torch.tensor([[40], [20]]), 100.0)
    padded = Signal(torch.nn.functional.pad(signal.samples, (0, 9)), torch.nn.functional.pad(signal.mask, (0, 9)), 100.0)
    assert torch.equal(open_data(signal).hashes, open_data(padded).hashes)


def test_whole_numbers_of_any_width_become_the_same_sound():
    numbers = (torch.rand(3, 100, generator=torch.Generator().manual_seed(0)) * 2 - 1) * 0.9
    full = torch.full((3,), 100)
    kinds = [numbers * 2**15, (numbers * 2**15).to(torch.int16), (numbers * 2**31).to(torch.int32), numbers, numbers.double()]
    for kind in kinds:
        samples = open_data(Wave(kind, full, 8000.0)).rows["x"].samples
        assert samples.dtype == torch.float32 and (samples - numbers).abs().max() < 1e-4


def test_sound_that_is_empty_or_not_finite_is_set_aside():
    value = waves()
    value.samples[2, 0] = float("nan")
    value.lengths[4] = 0
    data = open_data(value)
    assert len(data) == 4 and [broken.file for broken in data.broken] == ["#2", "#4"]
    signal = Signal(torch.randn(3, 2, 10).index_fill(0, torch.tensor([1]), float("nan")), torch.ones(3, 10, dtype=torch.bool), 50.0)
    assert len(open_data(signal)) == 2


@pytest.mark.parametrize(("rate", "target"), [(8000, 16000), (44100, 16000), (173.61, 128)])
def test_samples_of_another_rate_are_resampled_for_an_encoder(rate, target):
    frequency, seconds = target / 20, 4000 / rate
    wave = Wave(torch.from_numpy(tone(frequency, seconds, rate))[None], torch.tensor([4000]), float(rate))
    spec = modality_of(wave).spec(Wave(torch.zeros(1, 200), torch.tensor([200]), float(target)), torch.arange(1))
    (samples,) = fitted(wave, spec).samples.numpy()
    place = np.arange(200) + (int(np.ceil(4000 * target / rate)) - 200) // 2
    assert np.abs(samples - 0.5 * np.sin(2 * np.pi * frequency * place / target)).max() < 0.01


def test_longer_samples_give_their_middle_and_shorter_ones_are_followed_by_silence():
    wave = Wave(torch.arange(10.0)[None].repeat(2, 1) / 10, torch.tensor([10, 4]), 100.0)
    short = modality_of(wave).fitted(wave, (4,))
    assert torch.allclose(short.samples, torch.tensor([[0.3, 0.4, 0.5, 0.6], [0.0, 0.1, 0.2, 0.3]])) and short.lengths.tolist() == [4, 4]
    long = modality_of(wave).fitted(wave, (12,))
    assert long.samples.shape == (2, 12) and not long.samples[:, 10:].any() and long.lengths.tolist() == [10, 4]
    signal = Signal(torch.arange(10.0).expand(1, 2, 10), torch.arange(10)[None] < 8, 100.0)
    middle = modality_of(signal).fitted(signal, (2, 4))
    assert middle.samples[0, 1].tolist() == [2, 3, 4, 5] and middle.mask.all()


def test_the_raw_features_of_sound_do_not_see_padding():
    value = waves()
    modality = modality_of(value)
    features = modality.raw_features(value, torch.arange(6))
    longer = Wave(torch.nn.functional.pad(value.samples, (0, 400)), value.lengths, value.rate)
    assert features(value).shape == (6, 80) and torch.allclose(features(open_data(value).rows["x"]), features(open_data(longer).rows["x"]), atol=1e-4)


def test_the_raw_features_of_signals_are_the_power_of_each_rhythm_or_the_course_of_short_windows():
    rate, time = 128, 512
    alpha, beta = (torch.from_numpy(tone(frequency, time / rate, rate)) for frequency in (10, 20))
    signal = Signal(torch.stack([torch.stack([alpha, beta]), torch.stack([beta, alpha])]), torch.ones(2, time, dtype=torch.bool), float(rate))
    powers = modality_of(signal).raw_features(signal, torch.arange(2))(signal).view(2, 2, 5)
    assert powers.argmax(2).tolist() == [[2, 3], [3, 2]]
    short = Signal(signal.samples[..., :100], signal.mask[:, :100], float(rate))
    assert modality_of(short).raw_features(short, torch.arange(2))(short).shape == (2, 2 * 16)


def test_sounds_and_signals_are_shown_as_pictures():
    wave = Wave(torch.from_numpy(tone(1000, 1, 8000))[None], torch.tensor([8000]), 8000.0)
    picture = modality_of(wave).pictures(wave)[0, 0]
    assert picture.dtype == torch.uint8 and picture.shape == (64, 96)
    brightest = picture.float().mean(1).argmax().item()
    assert 64 - 31 < brightest < 64 - 24  # 1 kHz lies at 15 of 35 mel
    for channels in (2, 30):
        signal = Signal(torch.randn(3, channels, 50), torch.ones(3, 50, dtype=torch.bool), 100.0)
        pictures = modality_of(signal).pictures(signal)
        assert pictures.shape == (3, 1, 96, 96) and pictures.float().std() > 10


def test_an_array_is_sound_or_a_signal_when_its_rate_is_given():
    y = [0, 1] * 8
    numbers = np.random.default_rng(0).standard_normal((16, 400)).astype(np.float32) * 0.1
    assert open_data({"x": numbers, "rate": 8000, "label": y}).spec.roles["x"].modality == "wave"
    spec = open_data({"x": numbers, "rate": 200, "label": y}).spec.roles["x"]
    assert (spec.modality, spec.shape, spec.rate) == ("signal", (1, 400), 200)
    spec = open_data((numbers.reshape(16, 4, 100), y), reading={"rate": 100}).spec.roles["x"]
    assert (spec.modality, spec.shape) == ("signal", (4, 100))
    spec = open_data({"x": numbers, "rate": 8000}, reading={"rate": 4000}).spec.roles["x"]
    assert (spec.shape, spec.rate) == ((200,), 4000)
    with pytest.raises(leaven.UserError, match="rate must be above 0"):
        open_data(numbers, reading={"rate": -1})
