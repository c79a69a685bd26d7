"""unCLIP: noise and guidance by hand, what stays as it is in each stage, and pictures of what a text says."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from small import labeled, samples_for, small, small_settings, step_views
from torch.nn import functional as F

import leaven
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modules.noising import Noising, guided
from leaven.modules.prior import Reading
from leaven.training.trained import trained_method

STAGES = ("clip", "prior", "decoder")


def in_stage(name, **settings):
    method = small("unclip", **settings)[0]
    method.stage = STAGES.index(name)
    return method.train()


def test_hardly_any_noise_at_the_first_level_and_nothing_else_at_the_last():
    noising, draw = Noising(1000, "cosine", 10), Draw(0)
    sample, noise = draw.normal(50, 40), draw.normal(50, 40)
    first, last = (noising.noisy(sample, noise, torch.full((50,), level)) for level in (0, 999))
    assert torch.allclose(first, sample, atol=0.05) and torch.allclose(last, noise, atol=1e-3)
    kept = noising.kept[400]
    assert torch.allclose(noising.noisy(sample, noise, torch.full((50,), 400)), kept.sqrt() * sample + (1 - kept).sqrt() * noise, atol=1e-6)


@pytest.mark.parametrize("predicts", ["noise", "sample", "velocity"])
def test_whatever_the_network_predicts_the_same_sample_is_found(predicts):
    noising, sample = Noising(1000, "cosine", 10, predicts=predicts), Draw(0).uniform(4, 8, low=-1, high=1)

    def exact(noisy, level):
        kept = noising.kept[level][:, None]
        return noising.target(sample, (noisy - kept.sqrt() * sample) / (1 - kept).sqrt(), level)

    assert torch.allclose(noising.denoised(Draw(1).normal(4, 8), exact, Draw(2)), sample, atol=1e-3)


def test_a_sample_that_is_known_is_found_whatever_its_length():
    target = 30 * Draw(0).normal(4, 8)
    found = Noising(1000, "cosine", 10, predicts="sample", bounded=False).denoised(Draw(1).normal(4, 8), lambda noisy, level: target, Draw(2))
    assert torch.allclose(found, target, atol=1e-3)


def test_guidance_of_one_is_the_prediction_under_the_condition_and_of_none_that_without():
    def predict(condition):
        asked.append(condition)
        return torch.tensor([condition])

    for strength, expected, number in ((0, 2.0, 1), (1, 5.0, 1), (0.5, 3.5, 2), (3, 11.0, 2)):
        asked = []
        assert guided(predict, 5.0, 2.0, strength).item() == expected and len(asked) == number


def test_a_network_that_knows_nothing_is_at_chance():
    """The vectors of all pictures are standardised before the prior learns them."""
    method, batch = in_stage("prior"), labeled("unclip").rows
    method.eval().measure_vectors(lambda function: function(batch).detach())
    vectors = method.standardised(method.unit("image", method.senses["image"](batch["image"])))
    assert vectors.mean(0).abs().max() < 1e-3 and F.mse_loss(torch.zeros_like(vectors), vectors).item() == pytest.approx(1, abs=1e-3)
    for name in ("prior", "decoder"):
        method = in_stage(name)
        outputs = method(step_views(method))
        outputs["predicted"] = torch.zeros_like(outputs.target)
        (loss,) = method.loss(outputs).values()
        assert loss.item() == pytest.approx(method.chance(outputs), rel=1e-5)


def test_the_target_of_the_prior_is_a_picture_of_unit_length_in_the_space_of_clip():
    method = in_stage("prior")
    views = step_views(method)
    target = method(views).target * method.deviation + method.mean
    (expected, _) = method.embedded({role: method.senses[role](views["views"][role]) for role in ("image", "text")})
    assert torch.allclose(target.norm(dim=1), torch.ones(32), atol=1e-5) and torch.allclose(target, expected, atol=1e-5)


def test_what_is_dropped_says_nothing_and_padding_is_not_read():
    for name in ("prior", "decoder"):
        method = in_stage(name, drop=1.0).eval()
        views = step_views(method)
        assert views["dropped"].all()
        first = method(views).predicted
        role = "text" if name == "prior" else "image"
        value = views["views"][role]
        views["views"][role] = value[torch.arange(31, -1, -1)]
        if name == "prior":
            assert torch.allclose(method(views).predicted, first, atol=1e-5)
            views["dropped"] = ~views["dropped"]
            assert not torch.allclose(method(views).predicted, first, atol=1e-3)
    prior, draw = in_stage("prior").prior.eval(), Draw(0)
    told = Reading(draw.normal(2, 16), draw.normal(2, 4, 16), torch.tensor([[True, True, False, False]] * 2))
    changed = told._replace(tokens=torch.where(told.mask[..., None], told.tokens, 7.0))
    noisy, level = draw.normal(2, 16), torch.tensor([3, 900])
    assert torch.equal(prior(noisy, level, told), prior(noisy, level, changed))


def test_of_several_vectors_the_one_most_like_the_text_is_taken():
    method = small("unclip", candidates=3)[0].eval()
    with torch.no_grad():
        read = method.read(labeled("unclip").rows["text"][torch.arange(2)])
    draws = [F.normalize(Draw(number).normal(2, 16), dim=1) for number in range(3)]
    given = iter(draws)
    method.vector_noise.denoised = lambda noise, predict, draw: next(given)
    expected = torch.stack(draws)[torch.stack([(draw * read.text).sum(1) for draw in draws]).argmax(0), torch.arange(2)]
    assert torch.allclose(method.imagined(read, Draw(0)), expected, atol=1e-5)


# --- runs ---


@pytest.fixture(scope="module")
def clip_run(tmp_path_factory):
    options = {"steps": 4, "batch": 16, "settings": small_settings("clip"), "report": False}
    return leaven.pretrain(samples_for("clip"), method="clip", out=tmp_path_factory.mktemp("clip") / "run", **options)


@pytest.fixture(scope="module")
def run(clip_run, tmp_path_factory):
    encoder = {"image": clip_run, "text": clip_run}
    settings = {"dim": 16, "width": 4, "prior_width": 64, "prior_depth": 1, "sample_steps": 2, "clip_share": 0.0}
    options = {"steps": 6, "batch": 16, "encoder": encoder, "settings": settings, "report": False}
    return leaven.pretrain(samples_for("unclip"), method="unclip", out=tmp_path_factory.mktemp("unclip") / "run", **options)


def test_a_run_of_clip_is_where_it_begins_and_stays_as_it_is(clip_run, run):
    before, after = trained_method(clip_run), trained_method(run)
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name]), name
    fresh = small("unclip", clip_share=0.0)[0].state_dict()
    for part in ("prior.network.proj_in.weight", "decoder.network.conv_in.weight", "averages.decoder.network.0.network.conv_in.weight"):
        assert not torch.equal(fresh[part], after.state_dict()[part])
    assert [after.averages[name].updates.item() for name in ("prior", "decoder")] == [2, 4]
    with open(run.path / "metrics.jsonl") as stream:
        assert {json.loads(line)["stage"] for line in stream} == {"prior", "decoder"}


def test_clip_goes_on_in_the_space_of_a_run_of_clip(clip_run, tmp_path):
    encoder, settings = {"image": clip_run, "text": clip_run}, {"dim": 16, "recipe.lr": 0.0}
    again = leaven.pretrain(samples_for("clip"), method="clip", steps=1, batch=16, encoder=encoder, settings=settings, out=tmp_path / "again")
    assert all(
        torch.equal(a, b)
        for a, b in zip(trained_method(clip_run).projectors.parameters(), trained_method(again).projectors.parameters(), strict=True)
    )


def test_the_same_seed_draws_the_same_and_more_begin_with_them(run, tmp_path):
    texts = ["a cat sees it", "the dog likes a tree"]
    pictures = leaven.sample(run, 2, text=texts)
    assert pictures.shape == (4, 3, 16, 16) and pictures.min() >= 0 and pictures.max() <= 1
    assert np.array_equal(pictures, leaven.sample(run, 2, text=texts)) and not np.array_equal(pictures, leaven.sample(run, 2, text=texts, seed=1))
    assert leaven.sample(run, 3).shape == (3, 3, 16, 16)
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    leaven.sample(run, 2, text=str(tmp_path / "texts.txt"), out=tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == pytest.approx(sheet.height, rel=0.1)  # a line for each text


def test_a_text_on_the_command_line_is_drawn(run, tmp_path, command):
    status, printed, _ = command("sample", run.path, "--text", "a cat sees it", "--count", 3, "--out", tmp_path / "cat.png", "--json")
    assert status == 0 and json.loads(printed)["count"] == 3 and (tmp_path / "cat.png").is_file()
    for words, told in (
        (("--text", " "), "there is no text to make samples of"),
        (("--text", tmp_path / "none.txt"), "no such file"),
        (("--text", "a cat", "--label", "0"), "of a class or of a text"),
    ):
        status, _, err = command("sample", run.path, *words, "--out", tmp_path / "cat.png")
        assert status == 2 and told in err and err.count("\n") == 1


def test_a_method_that_draws_nothing_from_texts_says_so(clip_run, tmp_path):
    with pytest.raises(UserError, match="clip makes no samples of what a text says"):
        leaven.sample(clip_run, text="a cat", out=tmp_path / "cat.png")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"clip_share": 0.6, "prior_share": 0.4}, "leave no steps to the decoder"),
        ({"prior_width": 100}, "whole heads of 64"),
        ({"sample_steps": 30}, "must divide levels"),
        ({"clip_share": 0.0}, "needs encoders that were trained together"),
    ],
)
def test_settings_that_cannot_be_are_one_line(settings, told, tmp_path):
    with pytest.raises(UserError, match=told):
        leaven.pretrain(
            samples_for("unclip"), method="unclip", steps=3, batch=16, settings={**small_settings("unclip"), **settings}, out=tmp_path / "run"
        )


def test_two_inputs_of_one_kind_are_one_line(tmp_path):
    data = {"a": samples_for("unclip")["image"], "b": samples_for("unclip")["image"]}
    with pytest.raises(UserError, match="unclip learns from pictures and texts"):
        leaven.pretrain(data, method="unclip", steps=3, batch=16, settings={"width": 4}, out=tmp_path / "run")


def test_it_draws_the_colour_that_a_text_names(tmp_path):
    colours = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200), "white": (230, 230, 230)}
    names = [*colours] * 24
    noise = torch.randint(-20, 20, (len(names), 3, 1, 1), generator=torch.Generator().manual_seed(0))
    pictures = (
        (torch.tensor([colours[name] for name in names])[:, :, None, None] + noise).clamp(0, 255).to(torch.uint8).expand(-1, -1, 8, 8).contiguous()
    )
    settings = {
        "width": 16, "prior_width": 64, "prior_depth": 1, "dim": 16, "sample_steps": 10, "momentum": 0.95, "encoder.image.width": 8,
        "encoder.image.features": 32, "encoder.text.width": 32, "encoder.text.depth": 1, "clip_share": 0.2, "prior_share": 0.3,
        "denoising_lr": 3e-3,
    }  # fmt: skip
    data = {"image": pictures, "text": [f"a {name} picture" for name in names]}
    run = leaven.pretrain(data, method="unclip", steps=150, batch=32, settings=settings, out=tmp_path / "run", precision="fp32", report=False)
    shown = leaven.sample(run, 8, text=[f"a {name} picture" for name in colours]).mean((2, 3))
    nearest = torch.cdist(torch.from_numpy(shown), torch.tensor([*colours.values()]) / 255).argmin(1)
    assert (nearest == torch.arange(4).repeat_interleave(8)).float().mean() > 0.8
