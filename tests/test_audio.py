"""Methods of sound and signals: their equations against plain loops, their masks, and what is wrong when it is said to be."""

import math

import pytest
import torch
from small import ENCODERS, SETTINGS, SOUND, labeled, small, sounds
from torch.nn import functional as F

import leaven
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.encoders.encoder import Hidden
from leaven.losses import mean_within
from leaven.methods.audio.wav2vec import other_places
from leaven.methods.registry import build_method, find_method, resolve
from leaven.methods.support import supported_modalities
from leaven.modalities.timeline import beginnings
from leaven.modules.cepstra import in_step, mfcc, slopes
from leaven.modules.quantizer import GumbelQuantizer, group_perplexity
from leaven.views.spans import parted, spans

REAL = beginnings(torch.tensor([21, 13]), 21)  # what is sound of the first and the last of four sounds
ROWS = torch.tensor([0, 3])


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def built(name, **settings):
    """The small method, in float64 and eval mode, and its views of two sounds of different length."""
    method, _ = small(name, **settings)
    batch = labeled(name).rows.select(ROWS)
    views = method.views(batch, Draw(0))
    sample = views[0] if isinstance(views, list) else views["sample"]
    assert torch.equal(method.encoder.real_tokens(sample), REAL)
    return method, views


# --- spans ---


def test_spans_hide_about_half_of_the_frames_as_in_the_paper():
    real = torch.ones(400, 750, dtype=torch.bool)  # 15 s, in frames of 20 ms
    hidden = spans(Draw(0), real, 0.065, 10)
    assert hidden.float().mean().item() == pytest.approx(0.49, abs=0.01)  # section 4.1
    begun = hidden & ~F.pad(hidden, (1, 0))[:, :-1]
    assert (hidden.sum() / begun.sum()).item() == pytest.approx(14.7, abs=0.3)
    assert hidden.float().mean(0)[20:].std() < 0.05  # as likely at any place


def test_a_span_lasts_at_most_half_of_a_sample_and_hides_nothing_beyond_its_end():
    lengths = torch.tensor([1, 2, 3, 7, 40])
    real = beginnings(lengths, 40)
    for seed in range(20):
        hidden = spans(Draw(seed), real, 0.01, 10)
        assert not (hidden & ~real).any() and hidden.any(1).all()
        assert (hidden.sum(1) <= torch.tensor([1, 1, 1, 3, 10])).all()


def test_spans_begin_where_plain_loops_let_them_begin():
    real = beginnings(torch.tensor([30, 12]), 30)
    hidden = spans(Draw(3), real, 0.2, 4)
    number, extra = Draw(3).uniform(2, 30), Draw(3).child("count").uniform(2)
    for row, length in enumerate((30, 12)):
        begins = sorted(range(length), key=lambda place: number[row, place])[: int(0.2 * length + extra[row])]
        expected = {place + step for place in begins for step in range(4) if place + step < length}
        assert set(hidden[row].nonzero()[:, 0].tolist()) == expected


def test_a_sample_is_parted_into_what_comes_before_a_moment_and_what_comes_after():
    real = beginnings(torch.tensor([20, 9, 2, 1]), 20)
    for seed in range(10):
        earlier, later = parted(Draw(seed), real, (0.3, 0.7))
        assert torch.equal(earlier | later, real) and not (earlier & later).any()
        assert (earlier.int().diff(dim=1) <= 0).all() and later.any(1).all() and earlier[:3].any(1).all()
        assert 6 <= earlier[0].sum() <= 14


# --- APC ---


def test_apc_is_the_mean_distance_to_the_frame_some_steps_later():
    method, views = built("apc", ahead=2)
    outputs, frames = method(views), method.encoder.patches(views[0])
    tokens = method.encoder.tokens(views[0])
    sums = []
    for row, length in enumerate((21, 13)):
        errors = [(method.predict(tokens[row, t]) - frames[row, t + 2]).abs().mean() for t in range(length - 2)]
        sums.append(sum(errors) / len(errors))
    torch.testing.assert_close(method.loss(outputs)["distance"], sum(sums) / 2)
    nothing = [frames[row, 2:length].abs().mean().item() for row, length in enumerate((21, 13))]
    assert method.chance(outputs) == pytest.approx(sum(nothing) / 2, rel=1e-5)
    repeated = [(frames[row, 2:length] - frames[row, : length - 2]).abs().mean().item() for row, length in enumerate((21, 13))]
    assert method.measures(outputs)["against_repetition"] == pytest.approx((sum(sums) / sum(repeated)).item(), rel=1e-4)


def test_apc_does_not_see_what_it_predicts():
    method, views = built("apc", ahead=2)
    frames = method.encoder.frames(views[0])
    latents = frames.latents.detach().requires_grad_()
    prediction = method.predict(method.encoder.context(frames._replace(latents=latents)).tokens[:, :-2])
    (gradient,) = torch.autograd.grad(prediction[0, 5].sum(), latents)
    assert (gradient[0, 6:] == 0).all() and (gradient[0, :6] != 0).any(1).all()


def test_the_mean_over_places_counts_every_sample_alike():
    values, counted = torch.tensor([[1.0, 3.0, 9.0], [5.0, 9.0, 9.0], [9.0, 9.0, 9.0]]), beginnings(torch.tensor([2, 1, 0]), 3)
    assert mean_within(values, counted).item() == pytest.approx((2 + 5 + 0) / 3)


@pytest.mark.parametrize("name", ["apc", "wav2vec"])
def test_more_steps_than_a_sample_has_are_one_clear_line(name):
    with pytest.raises(leaven.UserError, match=r"samples of 21 frames have none that is 21 steps later .*: choose from 1 to 20"):
        small(name, ahead=21)


# --- wav2vec ---


def test_wav2vec_is_its_equation_in_plain_loops():
    method, views = built("wav2vec", ahead=2, negatives=3)
    outputs = method(views)
    frames = method.encoder.frames(views["sample"])
    z, c = method.target(frames.latents), method.encoder.context(frames).tokens
    for k, step in enumerate(method.steps, 1):
        means = []
        for row, length in enumerate((21, 13)):
            nats = []
            for i in range(length - k):
                h = step(c[row, i])
                wrong = [F.logsigmoid(-z[row, place] @ h) for place in views["others"][row, i + k]]
                nats.append(-F.logsigmoid(z[row, i + k] @ h) - sum(wrong))
            means.append(sum(nats) / len(nats))
        torch.testing.assert_close(method.loss(outputs)[f"{k}_ahead"], sum(means) / 2)
    assert method.chance(outputs) == pytest.approx(2 * 4 * math.log(2))
    assert all(0 <= share <= 1 for share in method.measures(outputs).values())


def test_negatives_are_other_frames_of_the_sample_and_each_of_them_as_often():
    real = beginnings(torch.tensor([5, 2, 1]), 6)
    places = other_places(Draw(0).uniform(3, 6, 4000), real)
    for row, length in enumerate((5, 2)):
        for frame in range(length):
            counts = places[row, frame].bincount(minlength=6)
            assert counts[frame] == 0 and (counts[length:] == 0).all()
            others = [counts[place].item() / 4000 for place in range(length) if place != frame]
            assert others == pytest.approx([1 / (length - 1)] * (length - 1), abs=0.03)
    assert (places[2, 0] == 0).all()  # alone


# --- CPC ---


def test_cpc_tells_a_frame_from_frames_of_its_own_and_of_other_samples():
    spec = labeled("apc").spec
    torch.manual_seed(0)
    encoder = build_encoder("causal_frames", spec.roles["x"], ENCODERS["causal_frames"])
    method, _ = build_method(find_method("cpc"), spec, {"x": encoder}, {"ahead": (1, 3), "negatives": 20, "dim": 12})
    views = method.views(labeled("apc").rows.select(ROWS), Draw(0))
    outputs = method(views)
    real = [(row, t) for row, length in enumerate((21, 13)) for t in range(length)]
    pool = sorted(real, key=lambda place: views["order"][place])[:20]
    assert {row for row, _ in pool} == {0, 1}
    for k, prediction in zip((1, 3), outputs.predictions, strict=True):
        nats = []
        for row, t in real:
            if (row, t + k) in real:
                p = prediction[row, t]
                scores = {place: F.cosine_similarity(p, outputs.frames[place], dim=0) / 0.1 for place in {*pool, (row, t + k)}}
                nats.append(torch.stack(list(scores.values())).logsumexp(0) - scores[row, t + k])
        torch.testing.assert_close(method.loss(outputs)[f"{k}_ahead"], torch.stack(nats).mean(), rtol=1e-4, atol=1e-4)
    assert method.chance(outputs) == pytest.approx(2 * math.log(21))
    assert supported_modalities(find_method("cpc")) == ["pixels", "signal", "wave"]


# --- wav2vec 2.0 ---


def test_wav2vec2_is_its_equations_in_plain_loops():
    method, views = built("wav2vec2", distractors=4)
    outputs = method.eval()(views)
    hidden, order = views["hidden"], views["order"]
    frames = method.encoder.frames(views["sample"])
    quantized = method.quantizer(frames.latents, views["noise"], 2.0)
    tokens = method.encoder.token_features(views["sample"], hidden=hiding(hidden, method)).tokens
    predictions, targets = method.predict(tokens), method.target(quantized.vectors)
    nats, evenly = [], []
    for row in range(2):
        places = sorted(hidden[row].nonzero()[:, 0].tolist(), key=lambda place: order[row, place])
        for t in places:
            others = [place for place in places[:5] if place != t]
            different = [place for place in others if not torch.equal(quantized.chosen[row, place], quantized.chosen[row, t])]
            scores = torch.stack([F.cosine_similarity(predictions[row, t], targets[row, place], dim=0) / 0.1 for place in [t, *different]])
            nats.append(scores.logsumexp(0) - scores[0])
            evenly.append(math.log(1 + len(others)))
            assert all(hidden[row, place] and place != t for place in others)
    torch.testing.assert_close(method.loss(outputs)["contrast"], torch.stack(nats).mean(), rtol=1e-4, atol=1e-5)
    assert method.chance(outputs) == pytest.approx(sum(evenly) / len(evenly), rel=1e-5)
    p = torch.stack([method.quantizer(frames.latents).shares[row, t] for row, t in hidden.nonzero().tolist()]).mean(0)
    spread = sum(math.exp(-sum(x * math.log(x) for x in group if x > 0)) for group in p.tolist())
    assert method.loss(outputs)["diversity"].item() == pytest.approx(0.1 * (16 - spread) / 16, rel=1e-4)
    assert method.measures(outputs)["hidden"] == pytest.approx(hidden.sum().item() / 34)


def hiding(places, method):
    return Hidden(places, method.mask_token)


def test_the_context_does_not_see_hidden_frames_but_the_quantiser_does():
    method, views = built("wav2vec2")
    place = views["hidden"][0].nonzero()[0, 0]
    frames = method.encoder.frames(views["sample"])
    changed = frames.latents.clone()
    changed[0, place] += 1
    tokens = [
        method.encoder.context(frames._replace(latents=latents), hidden=hiding(views["hidden"], method)).tokens
        for latents in (frames.latents, changed)
    ]
    assert torch.equal(*tokens)
    shares = [method.quantizer(latents).shares[0, place] for latents in (frames.latents, changed)]
    assert not torch.allclose(*shares)


def test_the_gradient_of_the_first_layers_is_scaled():
    gradients = []
    for share in (1.0, 0.25):
        method, views = small_wave("wav2vec2", front_gradient=share)
        sum(method.loss(method(views)).values()).backward()
        gradients.append(method.encoder.front.convs[0].weight.grad)
    torch.testing.assert_close(gradients[1], 0.25 * gradients[0], rtol=1e-4, atol=1e-7)


def small_wave(name, **settings):
    """The method around strided convolutions over the waveform."""
    torch.manual_seed(0)
    encoder = build_encoder("frames", SOUND, {**ENCODERS["frames"], "front": "wave"})
    method, _ = build_method(find_method(name), labeled(name).spec, {"x": encoder}, {**SETTINGS[name], **settings})
    return method, method.views(labeled(name).rows.select(torch.arange(8)), Draw(0))


def test_the_quantiser_chooses_hard_with_the_gradient_of_its_softmax():
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(5, 6, 2, 4).double()
    vectors, noise = torch.randn(2, 3, 5, dtype=torch.float64), Draw(0).gumbel(2, 3, 2, 4).double()
    quantized = quantizer(vectors, noise, 0.7)
    logits = quantizer.logits(vectors).unflatten(2, (2, 4))
    entries = quantizer.entries.weight.unflatten(0, (2, 4))
    assert torch.equal(quantized.chosen, (logits + noise).argmax(3)) and torch.equal(quantized.likeliest, logits.argmax(3))
    expected = torch.cat([entries[group][quantized.chosen[..., group]] for group in range(2)], 2)
    torch.testing.assert_close(quantized.vectors, expected)
    (gradient,) = torch.autograd.grad(quantized.vectors.sum(), quantizer.logits.bias)
    soft = torch.einsum("btgv,gvd->btgd", ((logits + noise) / 0.7).softmax(3), entries)
    assert torch.allclose(gradient, torch.autograd.grad(soft.sum(), quantizer.logits.bias)[0])
    draws = Draw(1).gumbel(20000, 3) + torch.tensor([0.5, 0.3, 0.2]).log()
    assert (draws.argmax(1).bincount() / 20000).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.02)


def test_perplexity_lies_between_the_groups_and_all_their_codes():
    assert group_perplexity(torch.eye(5)[:2]).item() == pytest.approx(2)
    assert group_perplexity(torch.full((2, 5), 0.2)).item() == pytest.approx(10)


def test_codes_that_are_never_taken_leave_the_gradient_of_the_perplexity_finite():
    logits = torch.tensor([[300.0, 0.0, -300.0]], requires_grad=True)  # all but the first have a share of 0
    group_perplexity(logits.softmax(1)).backward()
    assert logits.grad.isfinite().all()


def test_the_temperature_of_the_choices_falls_along_a_geometric_line():
    method, views = built("wav2vec2", gumbel=(2.0, 0.5))
    outputs = method(views)
    for progress, expected in ((0.0, 2.0), (0.5, 1.0), (1.0, 0.5)):
        method.after_step(outputs, progress)
        assert method.softness.item() == pytest.approx(expected)
    assert "softness" in method.state_dict()


def test_one_code_for_everything_leaves_nothing_to_tell_apart_and_is_diagnosed():
    method, views = built("wav2vec2")
    with torch.no_grad():
        method.quantizer.logits.bias[[0, 8]] = 1e4
    outputs = method(views)
    measures = method.measures(outputs)
    assert method.loss(outputs)["contrast"].item() == pytest.approx(0, abs=1e-6) and measures["perplexity"] == pytest.approx(2)
    assert method.loss(outputs)["diversity"].item() == pytest.approx(0.1 * 14 / 16, rel=1e-3)
    assert method.diagnose(measures).keys() == {"codebook collapse"} and not method.diagnose({**measures, "perplexity": 9.0})


def test_without_the_diversity_term_few_codes_remain_and_the_run_says_so(tmp_path):
    rates = {"recipe.lr": 0.05, "front_gradient": 1.0}
    settings = {**SETTINGS["wav2vec2"], **rates, **{f"encoder.{name}": value for name, value in ENCODERS["frames"].items()}, "encoder.front": "wave"}
    verdicts, least = {}, {}
    for diversity in (0.0, 1.0):
        run = leaven.pretrain(
            sounds(64), method="wav2vec2", steps=60, batch=32, out=tmp_path / str(diversity), precision="fp32", report=False, keep_going=True,
            settings={**settings, "diversity": diversity},
        )  # fmt: skip
        verdicts[diversity] = {verdict["verdict"]: verdict["why"] for verdict in run.health}
        least[diversity] = min(row["perplexity"] for row in run.metrics if "perplexity" in row)
    assert least[0.0] < 3 and least[1.0] > 6
    assert "usual causes: diversity=0" in verdicts[0.0]["codebook collapse"] and "codebook collapse" not in verdicts[1.0]
    assert "diversity=0.0: that takes away what keeps wav2vec2 from it" in verdicts[0.0]["collapsed"]


# --- HuBERT ---


def test_cepstra_are_the_cosine_transform_with_slopes():
    from scipy.fft import dct

    frames, real = torch.randn(2, 40, 9), beginnings(torch.tensor([9, 5]), 9)
    features = mfcc(frames, real)
    cepstra = torch.from_numpy(dct(frames.numpy(), axis=1, norm="ortho")[:, :13]).transpose(1, 2)
    torch.testing.assert_close(features[..., :13], cepstra, atol=1e-5, rtol=1e-4)
    for row, last in ((0, 8), (1, 4)):
        for t in range(last + 1):
            expected = sum(n * (cepstra[row, min(t + n, last)] - cepstra[row, max(t - n, 0)]) for n in (1, 2)) / 10
            torch.testing.assert_close(features[row, t, 13:26], expected, atol=1e-5, rtol=1e-4)
    line = torch.arange(9.0)[None, :, None] * 3
    assert slopes(line, torch.ones(1, 9, dtype=torch.bool))[0, 2:7, 0].tolist() == pytest.approx([3] * 5)


def test_frames_of_another_length_are_taken_at_the_same_moments():
    frames = torch.arange(11.0).expand(2, 11)[..., None]
    step = in_step(frames, beginnings(torch.tensor([11, 7]), 11), beginnings(torch.tensor([6, 4]), 6))
    assert step[0, :, 0].tolist() == [0, 2, 4, 6, 8, 10] and step[1, :4, 0].tolist() == [0, 2, 4, 6]
    same = in_step(frames, beginnings(torch.tensor([11, 7]), 11), beginnings(torch.tensor([11, 7]), 11))
    assert same[0, :, 0].tolist() == list(range(11)) and same[1, :7, 0].tolist() == list(range(7))


def encode_with(method, name):
    def encode(function):
        method.eval()
        rows = labeled(name).rows
        with torch.no_grad():
            return torch.cat([function(rows.select(part)).float() for part in torch.arange(len(rows)).split(8)])

    return encode


def test_hubert_learns_clusters_of_cepstra_and_then_of_a_middle_layer():
    method, _ = small("hubert", layer=0.5)
    first, second = method.stages()
    assert second.grow is not None and first.grow is None
    torch.manual_seed(0)
    first.prepare(encode_with(method, "hubert"))
    rows = labeled("hubert").rows
    frames, real = method.described(rows["x"])
    assert frames.shape == (32, 21, 39)
    clusters = method.targets.long()
    means = torch.stack([frames[real & (clusters == each)].mean(0) for each in range(8)])
    nearest = torch.cdist(frames[real], means).argmin(1)
    assert (nearest == clusters[real]).float().mean() > 0.9  # k-means moved its centres by parts of the data
    method.stage = 1
    second.grow()
    assert method.units.weight.shape == (6, 16)
    second.prepare(encode_with(method, "hubert"))
    layer, _ = method.described(rows["x"])
    torch.testing.assert_close(layer, method.encoder.token_features(rows["x"]).layers[0])
    assert int(method.targets.max()) < 6 and len(method.targets.unique()) > 2


def test_hubert_is_the_cross_entropy_of_hidden_frames_by_cosine():
    method, views = built("hubert")
    views["target"] = torch.arange(42).view(2, 21).remainder(8).to(torch.int32)
    outputs = method(views)
    tokens = method.encoder.token_features(views["sample"], hidden=hiding(views["hidden"], method)).tokens
    nats = []
    for row, t in views["hidden"].nonzero().tolist():
        scores = torch.stack([F.cosine_similarity(method.predict(tokens[row, t]), unit, dim=0) / 0.1 for unit in method.units.weight])
        nats.append(-scores.log_softmax(0)[views["target"][row, t].long()])
    torch.testing.assert_close(method.loss(outputs)["cross_entropy"], torch.stack(nats).mean(), rtol=1e-4, atol=1e-5)
    assert not (views["hidden"] & ~REAL).any() and method.chance(outputs) == pytest.approx(math.log(8))
    assert method.diagnose({**method.measures(outputs), "perplexity": 1.2}).keys() == {"few clusters"}
    assert method.diagnose(method.measures(outputs)) == {}


def test_the_targets_of_a_sample_are_found_by_its_number():
    method, _ = small("hubert")
    method.targets.copy_(torch.arange(32)[:, None].expand(-1, 21))
    views = method.views(labeled("hubert").rows.select(torch.tensor([5, 2])), Draw(0))
    assert views["target"][:, 0].tolist() == [5, 2]


@pytest.mark.parametrize("settings", [{"views.crop_min": 0.5}, {"views.speed": 0.1}, {"views.shift": 0.1}, {"views.window": 0.1}])
def test_views_that_move_sounds_are_refused(settings):
    method, _ = small("hubert", **settings)
    with pytest.raises(leaven.UserError, match="views that move sounds do not fit clusters"):
        method.assign(encode_with(method, "hubert"))


def test_more_clusters_than_frames_are_one_clear_line():
    with pytest.raises(leaven.UserError, match="32 samples of at most 21 frames do not make 1000 clusters"):
        small("hubert", clusters=(8, 1000))


# --- one mask or another ---


def test_what_is_hidden_and_what_is_predicted_follow_from_the_mask():
    for mask in ("spans", "future", "recent", "past"):
        method, views = built("masked_prediction", mask=mask, recent=0.2)
        hidden, predicted, real = (views[name] for name in ("hidden", "predicted", "real"))
        assert not (predicted & ~hidden).any() and not (hidden & ~real).any() and predicted.any(1).all()
        seen = real & ~hidden
        for row, length in enumerate((21, 13)):
            first, last = seen[row].nonzero()[0, 0].item(), seen[row].nonzero()[-1, 0].item()
            places = predicted[row].nonzero()[:, 0].tolist()
            if mask == "future":
                assert first == 0 and places == list(range(last + 1, length))
            elif mask == "recent":
                assert last - first + 1 == round(0.2 * length) and places == list(range(last + 1, length))
            elif mask == "past":
                assert last == length - 1 and places == list(range(first))
        errors = (method(views).prediction - method.encoder.patches(views["sample"])).abs().mean(2)
        expected = sum(errors[row][predicted[row]].mean() for row in range(2)) / 2
        torch.testing.assert_close(method.loss(method(views))["distance"], expected)
        assert method.measures(method(views))["predicted"] == pytest.approx(predicted.sum().item() / 34)


def test_hidden_frames_do_not_reach_the_prediction():
    method, views = built("masked_prediction", mask="recent")
    frames, hidden = method.encoder.frames(views["sample"]), views["hidden"]
    latents = frames.latents.detach().requires_grad_()
    tokens = method.encoder.context(frames._replace(latents=latents), hidden=hiding(hidden, method)).tokens
    (gradient,) = torch.autograd.grad(method.predict(tokens)[views["predicted"]].sum(), latents)
    assert (gradient[hidden] == 0).all() and (gradient[REAL & ~hidden] != 0).any()


# --- names ---


def test_the_names_of_the_literature():
    assert (resolve("audio-mae"), resolve("wav2vec-2"), resolve("mockingjay")) == ("mae", "wav2vec2", "masked_prediction")
    assert supported_modalities(find_method("apc")) == ["signal", "wave"] and supported_modalities(find_method("hubert")) == ["wave"]


def test_frames_that_are_no_numbers_cannot_be_predicted():
    encoder = build_encoder("frames", SOUND, ENCODERS["frames"])
    encoder.offers = ("features", "tokens", "frames")  # as the models of the transformers library
    with pytest.raises(leaven.UserError, match="frames of this encoder cannot be predicted"):
        build_method(find_method("masked_prediction"), labeled("masked_prediction").spec, {"x": encoder}, {})
