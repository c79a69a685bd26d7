"""ImageBind: a new input meets those of an earlier run through the one that it shares with it, and locked towers."""

import numpy as np
import pytest
import torch
from small import small
from test_pairs_of_modalities import SHAPES, SMALL, drawn

import leaven
from leaven.errors import UserError
from leaven.training.trained import trained_method

NAMED = ("red", "green", "blue", "grey")


def codes_of(names):
    """Numbers that say the colour and the shape, with noise: a third sense."""
    numbers = torch.tensor([[word in name for word in (*NAMED, *SHAPES)] for name in names]).float()
    return numbers + 0.05 * torch.randn(numbers.shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    pictures, names, _ = drawn()
    out = tmp_path_factory.mktemp("clip") / "run"
    settings = {**SMALL, "dim": 32}
    return leaven.pretrain({"image": pictures, "text": names}, method="clip", steps=120, batch=32, settings=settings, out=out, report=False)


@pytest.fixture(scope="module")
def bound(clip):
    pictures, names, _ = drawn()
    data = {"image": pictures, "code": codes_of(names)}
    out, encoder = clip.path.with_name("bound"), {"image": clip}
    return leaven.pretrain(data, method="imagebind", encoder=encoder, steps=100, batch=32, out=out)


def test_the_run_keeps_every_input_and_moves_only_the_new_one(clip, bound):
    assert bound.roles == ("code", "image", "text")
    before, after = trained_method(clip), trained_method(bound)
    for role in ("image", "text"):
        assert_equal(leaven.load(clip, role), leaven.load(bound, role))
        assert torch.equal(before.projectors[role].weight, after.projectors[role].weight) and not after.projectors[role].bias.any()
    asked = bound.config["asked"]["method"]["hyperparameters"]
    assert (asked["anchor"], asked["dim"]) == ("image", 32) and (bound.path / "encoder" / "text" / "tokenizer.json").is_file()
    trained = after.train()
    assert trained.senses["code"].training and not trained.senses["image"].training
    learning = {name.split(".")[1] for name, parameter in trained.named_parameters() if parameter.requires_grad and "." in name}
    assert learning == {"code"}


def assert_equal(one, other):
    states = one.state_dict(), other.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_inputs_that_were_never_trained_together_find_each_other(bound):
    _, names, _ = drawn()
    fresh = codes_of(names) + 0.02
    card = leaven.evaluate(bound, {"code": fresh, "text": names}, report=False)
    score, floor = card.scores["pairs"], card.floors["untrained"]["pairs"]
    assert score["interval"][0] > floor["interval"][1] + 0.1 and score["median_rank"] <= 3
    assert set(score["directions"]) == {"code to text", "text to code"}
    found = leaven.search(bound, names, codes_of(["a blue ring"])[0].numpy(), role="text", query_role="code", k=3)
    assert sum("blue" in neighbour["text"] for neighbour in found) >= 2
    named = leaven.predict(bound, fresh, classes=file_of(bound, NAMED), templates=["a {} square", "a {} ring"], role="code")
    assert np.mean([name in text for name, text in zip(named.labels, names, strict=True)]) > 0.6


def file_of(run, names):
    path = run.path.with_name("names.txt")
    path.write_text("\n".join(names) + "\n")
    return path


def test_a_bound_run_goes_on_and_is_bound_again(bound, tmp_path):
    _, names, _ = drawn()
    again = {"code": codes_of(names), "more": codes_of(names)[:, :5]}
    more = leaven.pretrain(again, method="imagebind", encoder={"code": bound}, steps=2, batch=32, out=tmp_path / "more", report=False)
    assert more.roles == ("code", "image", "more", "text")
    test = {"text": names, "code": codes_of(names)}
    before, after = (leaven.evaluate(run, test, report=False).scores["pairs"]["map"] for run in (bound, more))
    assert after == pytest.approx(before)


def test_a_run_of_cmc_whose_projectors_have_biases_is_bound_to_as_well(tmp_path):
    pictures, names, _ = drawn()
    start = {"steps": 1, "batch": 16, "report": False}
    pairs = leaven.pretrain({"image": pictures, "text": names}, method="cmc", settings=SMALL, out=tmp_path / "cmc", **start)
    data = {"photo": pictures, "code": codes_of(names)}
    bound = trained_method(leaven.pretrain(data, method="imagebind", encoder={"photo": pairs}, out=tmp_path / "bound", **start))
    image, text = trained_method(pairs).shared_space().values()
    assert set(bound.encoders()) == {"photo", "text", "code"}
    for role, before in (("photo", image), ("text", text)):
        assert torch.equal(bound.projectors[role].bias, before.bias) and torch.equal(bound.projectors[role].weight, before.weight)


@pytest.mark.parametrize(
    ("encoder", "data", "settings", "told"),
    [
        (lambda clip: "auto", ("image", "code"), {}, "binds image and code, of which a run must know one"),
        (lambda clip: {"image": clip}, ("image", "text"), {}, "this run knows text already"),
        (lambda clip: {"image": clip}, ("image", "code"), {"dim": 8}, "dim is 32, as in the run"),
    ],
)
def test_what_cannot_be_bound_is_one_line(clip, tmp_path, encoder, data, settings, told):
    pictures, names, _ = drawn()
    every = {"image": pictures, "text": names, "code": codes_of(names)}
    with pytest.raises(UserError, match=told) as refusal:
        leaven.pretrain(
            {role: every[role] for role in data}, method="imagebind", encoder=encoder(clip), steps=1, settings=settings, out=tmp_path / "run"
        )
    assert "\n" not in str(refusal.value) and not (tmp_path / "run").exists()


def test_a_run_of_one_input_has_no_space_to_be_bound_to(tmp_path):
    pictures, names, _ = drawn()
    alone = leaven.pretrain(pictures, method="simclr", steps=1, batch=16, settings={"encoder.width": 8}, out=tmp_path / "alone", report=False)
    with pytest.raises(UserError, match="learned no space in which several inputs are compared"):
        leaven.pretrain({"image": pictures, "code": codes_of(names)}, method="imagebind", encoder={"image": alone}, steps=1, out=tmp_path / "run")


def test_several_inputs_can_be_locked_and_only_what_compares_them_learns():
    method = small("clip", locked="image, text")[0]
    assert {name.partition(".")[0] for name, parameter in method.named_parameters() if parameter.requires_grad} == {"projectors", "log_scale"}
    with pytest.raises(UserError, match="no input is called 'sound'"):
        small("clip", locked="image,sound")
