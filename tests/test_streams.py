"""Samples that come in an order, once: which of them a buffer keeps, trainings that are killed on the way, and what was forgotten."""

import math

import pytest
import torch
from test_resume import Killed, assert_identical, final_state, without_clocks

import leaven
from leaven.draw import Draw
from leaven.evaluation.protocols.forgetting import Forgetting, parts_of_classes
from leaven.run import Run
from leaven.sampling import POLICIES, MinRed

STEPS = 12


def by_class(count=160, side=16):
    """Pictures of four classes that come one after another."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(count) * 4 // count
    shade = (60 * label[:, None, None, None] + torch.randint(0, 60, (count, 1, side, side), generator=generator)).to(torch.uint8)
    return shade, label


def train(folder, stream, **more):
    options = {"method": "simclr", "size": 16, "batch": 16, "fresh": 8, "buffer": 48, "precision": "fp32", "report": False, "keep_going": True}
    options["settings"] = {"encoder.width": 8, "encoder.features": 24, "projector": "16,8"}
    return leaven.pretrain(by_class(), out=folder, stream=stream, **{**options, **more})


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """One pass over the stream with each policy, and encoders on the way."""
    folder = tmp_path_factory.mktemp("streams")
    return {policy: train(folder / policy, policy, snapshots=4) for policy in POLICIES}


def test_a_stream_is_read_once_where_no_length_is_given(streamed):
    for run in streamed.values():
        assert run.config["result"]["steps"] == 1 + (160 - 16) // 8
        assert final_state(run)["sampler"]["seen"] == 160
        assert len(run.snapshots) == 4
        assert next(choice for choice in run.config["choices"] if choice["what"] == "stream")["why"].startswith("the buffer holds 48 samples")


def test_a_first_in_first_out_buffer_ends_with_the_last_samples(streamed):
    assert final_state(streamed["fifo"])["sampler"]["buffer"]["index"].sort().values.tolist() == list(range(112, 160))
    assert final_state(streamed["reservoir"])["sampler"]["buffer"]["index"].min() < 100


@pytest.mark.parametrize("policy", POLICIES)
def test_a_stream_that_is_killed_twice_repeats_and_leaves_out_nothing(policy, streamed, tmp_path):
    def kill_at(step):
        def kill(done):
            if done == step:
                raise Killed

        return kill

    for step in (5, 11):
        with pytest.raises(Killed):
            train(tmp_path / "killed", policy, snapshots=4, checkpoint_seconds=0.0, on_step=kill_at(step))
    again = train(tmp_path / "killed", policy, snapshots=4, checkpoint_seconds=0.0)
    assert_identical(final_state(streamed[policy]), final_state(again))
    assert without_clocks(streamed[policy]) == without_clocks(again)


def test_the_order_is_that_of_the_numbers_in_file_names(tmp_path):
    from PIL import Image

    for number in (1, 2, 10, 11, 3):
        Image.new("L", (16, 16), 20 * number).save(tmp_path / f"frame{number}.png")
    run = leaven.pretrain(
        tmp_path, method="simclr", stream="fifo", buffer=2, fresh=1, batch=2, steps=4, out=tmp_path / "run", report=False, keep_going=True
    )
    shades = final_state(run)["sampler"]["buffer"]["x.pixels"].flatten(1).float().mean(1)
    assert sorted(shades.round().tolist()) == [200, 220]


def test_samples_that_are_least_alike_stay():
    """Nine of ten samples are nearly the same; a buffer of 20 then keeps most of the 12 others, of which the latest 20 would hold 2."""
    torch.manual_seed(0)
    features = torch.where(torch.arange(120)[:, None] % 10 == 0, torch.randn(120, 32), torch.ones(32) + 0.01 * torch.randn(120, 32))
    policy, held = MinRed(momentum=0.0), torch.empty(0, dtype=torch.int64)
    for start in range(0, 120, 4):
        numbers = torch.arange(start, start + 4)
        places = policy.places(numbers, 20, Draw(0))
        held = torch.cat([held, torch.full((20 - len(held),), -1)]) if len(held) < 20 else held
        held[places] = numbers
        policy.observe(known := (held >= 0).nonzero().flatten(), {"features": [features[held[known]]]})
    assert (held % 10 == 0).sum() >= 11


def test_nearest_neighbours_that_are_kept_are_those_of_a_full_search():
    torch.manual_seed(0)
    policy, seen = MinRed(), 0
    for step in range(40):
        count = 16 if step == 0 else 5
        policy.places(torch.arange(seen, seen + count), 32, Draw(0))
        seen += count
        policy.observe(torch.randperm(min(32, seen))[:16], {"features": torch.randn(16, 8)})
        known = policy.known.nonzero().flatten()
        cosines = (policy.features[known] @ policy.features[known].T).fill_diagonal_(-math.inf)
        assert torch.allclose(policy.likeness[known], cosines.max(1).values, atol=1e-6)
        assert policy.known[policy.nearest[known]].all()


def test_forgetting_is_counted_from_the_end_of_each_part():
    """Two parts of two samples each, three encoders: the first knows part 1 wholly, the last half of it."""
    correct = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]], dtype=torch.bool)
    score = Forgetting().measured(correct, torch.tensor([0, 0, 1, 1]), torch.full((4,), -1), 0)
    assert score["matrix"] == [[1.0, 0.0], [1.0, 0.5], [0.5, 1.0]]
    assert (score["accuracy"], score["backward_transfer"], score["forgetting"]) == (0.75, -0.5, 0.5)


def test_classes_are_parted_by_when_they_come():
    labels = torch.tensor([2, 2, 0, 0, 1, 1, 3])
    assert parts_of_classes(labels, torch.arange(6), [""] * 6, 3).tolist() == [1, 2, 0, -1]
    assert parts_of_classes(labels, torch.arange(6), [""] * 6, 2).tolist() == [0, 1, 0, -1]


def test_what_is_left_of_earlier_parts_is_scored_and_drawn(streamed, tmp_path):
    card = leaven.evaluate(streamed["reservoir"], by_class(), protocols=("forgetting",))
    score = card.scores["forgetting"]
    assert len(score["matrix"]) == len(score["matrix"][0]) == 4
    assert score["interval"][0] <= score["accuracy"] <= score["interval"][1]
    assert {"backward_transfer", "forgetting"} <= score.keys() and "forgetting" in card.floors["untrained"]
    assert "Accuracy on each part of the stream" in (streamed["reservoir"].path / "report.html").read_text()


def test_wrong_requests_of_a_stream_are_one_line_and_leave_nothing(tmp_path):
    cases = {
        "there is no buffer 'lifo'": {"stream": "lifo"},
        "'much' is neither a number of samples nor of bytes": {"stream": "fifo", "buffer": "much"},
        "holds 10 samples, fewer than a batch of 16": {"stream": "fifo", "buffer": 10},
        "holds 3 samples, fewer than a batch of 16": {"stream": "fifo", "buffer": "1KB"},
    }
    for what, options in cases.items():
        with pytest.raises(leaven.UserError, match=what):
            train(tmp_path / "run", **options)
        assert not (tmp_path / "run" / "config.json").exists()
    with pytest.raises(leaven.UserError, match="says no features of a sample"):
        train(tmp_path / "none", "minred", method="vae", settings={})
    with pytest.raises(leaven.UserError, match="chooses among all samples"):
        train(tmp_path / "stages", "fifo", method="fixmatch", settings={})


def test_a_run_without_snapshots_says_how_to_keep_some(streamed, tmp_path):
    run = train(tmp_path / "run", "fifo", steps=2)
    with pytest.raises(leaven.UserError, match="kept no encoders on the way") as error:
        leaven.evaluate(run, by_class(), protocols=("forgetting",), report=False)
    assert "--snapshots" in str(error.value.hint)
    assert Run(run.path).snapshots == []
