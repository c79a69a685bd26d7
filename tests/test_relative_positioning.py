"""Relative positioning of windows: which are near and far, what it learns from a recording that drifts, and where it cannot learn."""

import math

import numpy as np
import pytest
import torch

import leaven
from leaven.data import Batch, Signal, open_data
from leaven.errors import UserError
from leaven.sampling import Members, Nearness

NEAR, FAR = 3.0, 8.0
FAST = {"window": "1s", "near": 4, "far": 20}


def windows(lengths=(40, 12, 1, 30), hop=0.5):
    """Windows of 1 s that begin every `hop` seconds, of recordings of so many windows, in random order."""
    origin = torch.tensor([(number, place * hop, place * hop + 1) for number, count in enumerate(lengths) for place in range(count)])
    origin = origin[torch.randperm(len(origin), generator=torch.Generator().manual_seed(0))]
    mask = torch.ones(len(origin), 8, dtype=torch.bool)
    return Signal(torch.randn(len(origin), 2, 8), mask, 8.0, origin=origin)


def drifting(path, minutes=4):
    """A recording at 32 Hz whose two channels slowly change their part in the noise."""
    time = np.arange(minutes * 60 * 32) / 32
    part = np.stack([np.sin(2 * np.pi * time / 160), np.cos(2 * np.pi * time / 160)])
    np.savez(path, x=(np.exp(part) * np.random.default_rng(0).normal(size=part.shape)).astype(np.float32), rate=32.0)
    return path


@pytest.mark.parametrize("elsewhere", [0.0, 0.5, 1.0])
def test_pairs_are_near_or_far_as_they_are_called(elsewhere):
    value = windows()
    sampler = Members(Batch.of(x=value)).sampler(20, 0, pools={}, nearness=Nearness(NEAR, FAR, elsewhere))
    other_recordings, drawn = [], set()
    for step in range(20):
        batch = sampler.batch(step)
        (own, begin, end), (near, near_begin, near_end), (far, far_begin, _) = (value.origin[batch[pool]].T for pool in ("window", "near", "far"))
        assert len(own) == 20
        assert torch.equal(own, near)
        assert ((near_begin - begin).abs() <= NEAR).all()
        assert ((near_begin >= end) | (near_end <= begin)).all()  # no sample is in both
        assert ((far != own) | ((far_begin - begin).abs() >= FAR)).all()
        other_recordings.append((far != own)[own != 1].float().mean())  # the second one is too short to have far windows
        assert (far != own)[own == 1].all()
        assert not (own == 2).any()
        drawn |= set(zip(batch["window"].tolist(), batch["near"].tolist(), strict=True))
    assert torch.stack(other_recordings).mean().item() == pytest.approx(elsewhere, abs=0.1)
    assert len(drawn) > 200
    assert all(torch.equal(part, sampler.batch(3)[pool]) for pool, part in sampler.batch(3).items())  # a function of the step alone


def test_near_windows_are_found_among_all_that_are_near():
    value = windows((12,))
    sampler = Members(Batch.of(x=value)).sampler(1, 0, pools={}, nearness=Nearness(1.5, 2.0, 0.0))
    begins = value.origin[:, 1]
    pairs = {tuple(begins[[int(batch["window"]), int(batch["near"])]].tolist()) for batch in map(sampler.batch, range(600))}
    assert pairs == {(a, b) for a in begins.tolist() for b in begins.tolist() if 1 <= abs(a - b) <= 1.5}


def test_it_learns_from_a_recording_that_changes_slowly(tmp_path):
    data = drifting(tmp_path / "night.npz")
    run = leaven.pretrain(
        data, method="relative_positioning", encoder="band_power", steps=40, batch=32, out=tmp_path / "run", report=False, settings=FAST
    )
    rows = run.metrics
    last = [row for row in rows if "told_apart" in row][-1]
    assert rows[-1]["chance"] == pytest.approx(math.log(2))
    assert rows[-1]["loss"] < 0.6 * math.log(2)
    assert last["told_apart"] > 0.8
    assert leaven.embed(run, data).shape[0] == len(open_data(data, reading={"window": 1}))


def test_samples_that_are_recordings_of_their_own_are_refused(tmp_path):
    signals = {"x": np.random.default_rng(0).normal(size=(24, 2, 64)), "rate": 32}
    with pytest.raises(UserError, match="every sample is a recording of its own"):
        leaven.pretrain(signals, method="relative_positioning", steps=2, out=tmp_path / "a")
    with pytest.raises(UserError, match="no recording has two windows within 10 s"):
        leaven.pretrain({"x": windows((1, 1, 1, 1))}, method="relative_positioning", steps=2, out=tmp_path / "b")
    with pytest.raises(UserError, match="windows 5 s apart cannot be far"):
        leaven.pretrain({"x": windows()}, method="relative_positioning", steps=2, out=tmp_path / "c", settings={"far": 5})
