"""Log-mel spectrograms are librosa's."""

import librosa
import numpy as np
import pytest
import torch

from leaven.modalities.mel import frame_counts, log_mel, mel_filters, mel_spectrogram, sizes

SETTINGS = [(16000, 512, 400, 160, 40), (8000, 256, 200, 80, 40), (22050, 2048, 2048, 512, 128)]


@pytest.mark.parametrize(("rate", "size", "window", "hop", "bands"), SETTINGS)
def test_filters_and_spectrograms_are_those_of_librosa(rate, size, window, hop, bands):
    draw = np.random.default_rng(0)
    time = np.arange(rate) / rate
    sound = (0.3 * np.sin(2 * np.pi * 440 * time) + 0.05 * draw.standard_normal(rate)).astype(np.float32)
    assert np.abs(librosa.filters.mel(sr=rate, n_fft=size, n_mels=bands) - mel_filters(rate, size, bands).numpy()).max() < 1e-7
    theirs = librosa.feature.melspectrogram(y=sound, sr=rate, n_fft=size, win_length=window, hop_length=hop, n_mels=bands)
    ours = mel_spectrogram(torch.from_numpy(sound)[None], rate, size=size, window=window, hop=hop, bands=bands)[0].numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-4 * theirs.max()
    assert np.abs(np.log(ours.clip(1e-10)) - np.log(theirs.clip(1e-10))).max() < 1e-4


def test_the_usual_frames_are_25_ms_long_and_10_ms_apart():
    assert sizes(16000) == (512, 400, 160) and sizes(8000) == (256, 200, 80)
    features = log_mel(torch.zeros(2, 16000), 16000)
    assert features.shape == (2, 40, 101) and torch.allclose(features, torch.full_like(features, np.log(1e-10)))
    assert frame_counts(torch.tensor([0, 159, 160, 16000]), 160).tolist() == [1, 1, 2, 101]


def test_a_gradient_flows_through_it():
    sound = torch.randn(1, 800, dtype=torch.float64, requires_grad=True)
    log_mel(sound, 8000).sum().backward()
    assert sound.grad.isfinite().all() and sound.grad.abs().sum() > 0
