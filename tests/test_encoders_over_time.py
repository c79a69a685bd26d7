"""Encoders of sound and signals: nothing beyond a sample's end counts, frames are where they are said to be, and the mathematics is exact."""

import itertools
from dataclasses import replace

import pytest
import torch
from small import ENCODERS
from torch.nn import functional as F

import leaven
from leaven.draw import Draw
from leaven.encoders import OWN, build_encoder, describe_encoder, rebuild_encoder
from leaven.encoders.eeg import filtered, pieces
from leaven.encoders.encoder import Hidden
from leaven.encoders.log_mel import RANGE, UNIT, LogMel
from leaven.exporters import find_target
from leaven.methods.registry import build_method, registry
from leaven.methods.support import supported
from leaven.modalities import InputSpec, Signal, Wave
from leaven.modalities.mel import log_mel
from leaven.modalities.timeline import beginnings
from leaven.modules.frames import StridedConv, reversed_in_time
from leaven.views.masks import random_order, real_first

RATE, TIME = 8000.0, 2400
SOUND = InputSpec("wave", (TIME,), (0.0,), (0.1,), rate=RATE)
SIGNALS = InputSpec("signal", (3, 200), (5.0, 0.0, -1.0), (2.0, 1.0, 3.0), rate=100.0)
READERS = [
    (name, SOUND if modality == "wave" else SIGNALS, {})
    for name, kind in OWN.items()
    for modality in kind.modalities
    if modality in ("wave", "signal")
]
READERS = [reader for reader in READERS if reader[0] in ENCODERS]
READERS += [
    ("frames", SOUND, {"front": "wave"}),
    ("frames", SOUND, {"context": "lstm"}),
    ("frames", SIGNALS, {"context": "none"}),
    ("causal_frames", SOUND, {"front": "wave", "context": "transformer"}),
]
NAMES = [" ".join([name, spec.modality, *map(str, arguments.values())]) for name, spec, arguments in READERS]
LENGTHS = torch.tensor([TIME, 1700, 900, 60])


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sounds(lengths=LENGTHS, seed=0):
    samples = 0.1 * torch.randn(len(lengths), TIME, generator=torch.Generator().manual_seed(seed))
    return Wave(samples.masked_fill(~beginnings(lengths, TIME), 0), lengths, RATE)


def signals(lengths=LENGTHS // 12, seed=0):
    mask = beginnings(lengths, 200)
    samples = 3 * torch.randn(len(lengths), 3, 200, generator=torch.Generator().manual_seed(seed)) + 2
    return Signal(samples.masked_fill(~mask[:, None], 0), mask, 100.0)


def samples_for(spec):
    return sounds() if spec is SOUND else signals()


def first_of(value, row, length):
    """One sample without what lies beyond its end."""
    tensors = {name: tensor[row : row + 1] for name, tensor in value.tensors().items()}
    return replace(value, **{name: tensor[..., :length] if tensor.ndim > 1 else tensor for name, tensor in tensors.items()})


def reader(name, spec, arguments):
    torch.manual_seed(0)
    return build_encoder(name, spec, {**ENCODERS[name], **arguments}).eval()


@pytest.mark.parametrize(("name", "spec", "arguments"), READERS, ids=NAMES)
def test_nothing_beyond_the_end_of_a_sample_has_a_part_in_its_features(name, spec, arguments):
    encoder, value = reader(name, spec, arguments), samples_for(spec)
    features = encoder(value)
    assert features.shape == (4, encoder.dim) and features.isfinite().all()
    for row, length in enumerate((LENGTHS if spec is SOUND else LENGTHS // 12).tolist()):
        if row == 3 and name in ("band_power", "eegnet"):
            continue  # shorter than a window, or than the pieces
        alone = first_of(value, row, length)
        assert torch.allclose(encoder(alone), features[row : row + 1], atol=2e-5), row
        assert torch.allclose(encoder(alone.main), features[row : row + 1], atol=2e-5), row


@pytest.mark.parametrize(("name", "spec", "arguments"), READERS, ids=NAMES)
def test_it_is_built_again_from_its_description_and_its_blocks_hold_every_parameter_once(name, spec, arguments):
    encoder, value = reader(name, spec, arguments), samples_for(spec)
    again = rebuild_encoder(describe_encoder(encoder)).eval()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(value), encoder(value))
    with torch.device("meta"):
        rebuild_encoder(describe_encoder(encoder))
    assert sorted(itertools.chain(*encoder.depths())) == sorted(name for name, _ in encoder.named_parameters())


@pytest.mark.parametrize(("name", "spec", "arguments"), READERS, ids=NAMES)
def test_it_learns_in_bf16_and_in_float64(name, spec, arguments):
    encoder, value = reader(name, spec, arguments).train(), samples_for(spec)
    with torch.autocast("cpu", torch.bfloat16):
        encoder(value).float().square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters() if parameter.requires_grad)
    assert encoder.double()(value).dtype == torch.float64


TOKENS = [reader for reader in READERS if "tokens" in OWN[reader[0]].offers]


@pytest.mark.parametrize(("name", "spec", "arguments"), TOKENS)
def test_tokens_lie_on_their_grid_and_are_hidden_and_kept_by_their_places(name, spec, arguments):
    encoder, value = reader(name, spec, arguments), samples_for(spec)
    features, tokens, layers = encoder.token_features(value)
    real, count = encoder.real_tokens(value), encoder.token_grid[0] * encoder.token_grid[1]
    assert tokens.shape == (4, count, encoder.dim) and real.shape == (4, count) and real.any(1).all() and not real.all()
    assert encoder.patches(value).shape == (4, count, encoder.patch_size)
    assert all(layer.shape == tokens.shape for layer in layers)
    torch.testing.assert_close(features[1], tokens[1][real[1]].mean(0))
    places = torch.zeros_like(real)
    places[:, 0] = True
    token = torch.randn(encoder.dim)
    hidden, other = (encoder.token_features(some, hidden=Hidden(places, token)) for some in (value, perturbed(value, spec)))
    assert not torch.allclose(hidden.tokens[0], tokens[0]) and torch.allclose(hidden.tokens[0, 0], other.tokens[0, 0], atol=0.5)
    keep = torch.arange(3).expand(4, -1)
    assert encoder.tokens(value, keep=keep).shape == (4, 3, encoder.dim)


def perturbed(value, spec):
    """The same but for the very beginning, which only the first token sees."""
    main = value.main.clone()
    main[..., :4] += 0.01
    return replace(value, samples=main)


@pytest.mark.parametrize("front", ["mel", "wave"])
@pytest.mark.parametrize("context", ["gru", "lstm", "transformer"])
def test_a_causal_context_does_not_see_what_follows(front, context):
    encoder = reader("causal_frames", SOUND, {"front": front, "context": context}).double()
    frames = encoder.frames(sounds())
    assert "causal_frames" in encoder.offers
    latents = frames.latents.detach().requires_grad_()
    tokens = encoder.context(frames._replace(latents=latents)).tokens
    (gradient,) = torch.autograd.grad(tokens[0, 3, 0], latents)
    assert (gradient[0, 4:] == 0).all() and gradient[0, :4].abs().sum(1).gt(0).all()


def test_the_other_contexts_see_both_sides():
    encoder = reader("frames", SOUND, {"context": "gru"}).double()
    frames = encoder.frames(sounds())
    latents = frames.latents.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(encoder.context(frames._replace(latents=latents)).tokens[1, 3, 0], latents)
    assert (
        gradient[1][frames.real[1]].abs().sum(1).gt(0).all() and (gradient[1][~frames.real[1]] == 0).all() and "causal_frames" not in encoder.offers
    )


@pytest.mark.parametrize(("kernel", "stride"), [(10, 5), (8, 4), (3, 2), (2, 2), (7, 5)])
def test_a_strided_convolution_is_torchs_for_every_length(kernel, stride):
    conv = StridedConv(3, 5, kernel, stride).double()
    weight = conv.weight.unflatten(1, (kernel, 3)).transpose(1, 2)
    for time in range(kernel, kernel + 3 * stride):
        x = torch.randn(2, time, 3, dtype=torch.float64)
        expected = F.conv1d(x.transpose(1, 2), weight, stride=stride).transpose(1, 2)
        assert conv.steps(time) == expected.shape[1]
        torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize(("name", "spec", "arguments"), TOKENS)
def test_as_many_frames_are_counted_as_there_are(name, spec, arguments):
    encoder = reader(name, spec, arguments)
    for length in (*range(30, 150, 17), 1111):
        sample = torch.randn(1, length) if spec is SOUND else torch.randn(1, 3, length)
        assert encoder.real_tokens(sample).shape[1] == encoder.tokens(sample).shape[1]
        assert encoder.real_tokens(sample).any()


def test_log_mel_frames_are_the_librosa_ones_of_mean_0_within_61_db_whatever_the_level():
    front, value = LogMel(RATE, 24), sounds()
    frames, real = front(value.samples, value.lengths)
    whole = log_mel(value.samples[:1], RATE, bands=24)
    clipped = whole.clamp(min=whole.max() - RANGE)
    torch.testing.assert_close(frames[:1], (clipped - clipped.mean()) / UNIT, atol=1e-4, rtol=0)
    assert (frames.masked_fill(~real[:, None], 0) == frames).all() and real.sum(1).tolist() == [31, 22, 12, 1]
    softer, _ = front(0.05 * value.samples, value.lengths)
    torch.testing.assert_close(softer, frames, atol=1e-3, rtol=0)


def test_long_filters_by_fft_are_convolutions():
    x, kernels = torch.randn(3, 4, 50, dtype=torch.float64), torch.randn(4, 21, dtype=torch.float64)
    torch.testing.assert_close(filtered(x, kernels), F.conv1d(x, kernels[:, None], padding=10, groups=4))


def test_pieces_are_means_as_adaptive_pooling_has_them_over_what_is_real():
    maps, lengths = torch.randn(3, 2, 17), torch.tensor([17, 11, 5])
    means = pieces(maps, beginnings(lengths, 17), 5)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(means[row], F.adaptive_avg_pool1d(maps[row : row + 1, :, :length], 5)[0])


def test_band_power_is_largest_in_the_band_of_a_tone():
    encoder = reader("band_power", replace(SIGNALS, mean=(0.0,) * 3, std=(1.0,) * 3), {})
    time = torch.arange(200) / 100
    tones = torch.stack([torch.sin(2 * torch.pi * hertz * time) for hertz in (2.5, 10, 20)])
    assert encoder.power(tones[None])[0].argmax(1).tolist() == [0, 2, 3]  # delta, alpha, beta


def test_reversing_turns_round_the_real_frames_alone():
    frames, real = torch.arange(10.0).view(2, 5, 1), beginnings(torch.tensor([5, 3]), 5)
    assert reversed_in_time(frames, real)[..., 0].tolist() == [[4, 3, 2, 1, 0], [7, 6, 5, 8, 9]]


def test_masks_never_hide_what_is_not_real():
    real = beginnings(torch.tensor([12, 7, 1]), 12)
    order = random_order(Draw(0), 3, (1, 12), 9)
    sorted_order = real_first(order, real, 0.75)
    assert torch.equal(sorted_order[0], order[0])
    for row, hidden in enumerate((9, 5, 1)):
        last = real[row][sorted_order[row, 3:]]
        assert int(last.sum()) == hidden and last[-hidden:].all()
        assert sorted_order[row].sort().values.tolist() == list(range(12))


@pytest.mark.parametrize(("name", "spec", "arguments"), [("mel_vit", SOUND, {}), ("frames", SIGNALS, {})])
def test_a_masked_autoencoder_reconstructs_what_is_real(name, spec, arguments):
    data = leaven.data.open_data({"x": samples_for(spec)})
    method, _ = build_method(registry()["mae"], data.spec, {"x": reader(name, spec, arguments)}, {"decoder_width": 12, "decoder_heads": 3})
    views = method.eval().views(data.rows.select(torch.arange(4)), Draw(0))
    outputs = method(views)
    hidden = (0.75 * views["real"].sum(1)).round().clamp(min=1)
    assert torch.equal(outputs.real.sum(1), hidden.long())
    errors = [(outputs.prediction[row] - outputs.target[row])[outputs.real[row]].square().mean() for row in range(4)]
    torch.testing.assert_close(method.loss(outputs)["reconstruction"], torch.stack(errors).mean())
    other = {**views, "order": views["order"].clone()}
    other["order"][1, method.visible :] = other["order"][1, method.visible :].flip(0)
    assert torch.allclose(method.loss(method(other))["reconstruction"], method.loss(outputs)["reconstruction"], atol=1e-5)


def test_what_does_not_fit_is_one_clear_line():
    for arguments, told in (
        ({"front": "steps"}, "wave is not read by the front end 'steps'"),
        ({"width": 16, "heads": 3}, "does not divide into 3 heads"),
        ({"front": "wave", "kernels": (9,), "strides": (2,)}, "one to two strides"),
    ):
        with pytest.raises(leaven.UserError, match=told):
            build_encoder("frames", SOUND, arguments)
    with pytest.raises(leaven.UserError, match="rate of this wave is not known"):
        build_encoder("mel_convnet", replace(SOUND, rate=None))
    with pytest.raises(leaven.UserError, match="reads signal, not wave"):
        build_encoder("eegnet", SOUND)


# --- models of the transformers library ---


@pytest.fixture(scope="module")
def wav2vec(tmp_path_factory):
    """A tiny wav2vec 2.0 with its feature extractor, in a folder."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("wav2vec")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(5, 4),
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, num_feat_extract_layers=2, feat_extract_norm="layer",
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=16000, do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return folder


def test_a_wav2vec_of_a_folder_gives_the_librarys_own_tokens_of_normalised_sound(wav2vec):
    from transformers import AutoFeatureExtractor, AutoModel

    encoder = build_encoder(str(wav2vec), replace(SOUND, rate=16000.0)).eval()
    value = replace(sounds(), rate=16000.0)
    model, extractor = AutoModel.from_pretrained(wav2vec).eval(), AutoFeatureExtractor.from_pretrained(wav2vec)
    raw = [samples[:length].numpy() for samples, length in zip(value.samples, value.lengths.tolist(), strict=True)]
    inputs = extractor(raw, sampling_rate=16000, return_tensors="pt", padding=True)
    with torch.no_grad():
        theirs, (features, tokens, layers) = model(**inputs).last_hidden_state, encoder.token_features(value)
    real = encoder.real_tokens(value)
    assert len(layers) == 2 and tokens.shape == theirs.shape == (4, *real.shape[1:], 16)
    torch.testing.assert_close(tokens[real], theirs[real], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features[1], tokens[1][real[1]].mean(0))
    torch.testing.assert_close(encoder(sounds()[:1]), encoder(encoder.modality.fitted(sounds()[:1], (2 * TIME,), 16000.0)))
    again = rebuild_encoder({**describe_encoder(encoder), "name": "of no place"}).eval()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(value), encoder(value))


def test_it_stands_beside_a_run_and_is_where_a_training_starts(wav2vec, tmp_path):
    data = {"x": sounds(torch.full((48,), TIME)), "label": torch.arange(48) % 3}
    run = leaven.pretrain(data, encoder=str(wav2vec), steps=1, batch=8, out=tmp_path / "run", precision="fp32")
    assert run.config["asked"]["encoder"]["encoder"]["library"] == "transformers"
    scores = leaven.evaluate(run, data, protocols=["knn"], beside=[str(wav2vec)])
    assert list(scores.beside) == [str(wav2vec)]
    with pytest.raises(leaven.UserError, match=r"does not read a waveform|cannot be loaded"):
        build_encoder(str(tmp_path), SOUND)


# --- the commands ---

KINDS = {"wave": (SOUND, sounds), "signal": (SIGNALS, signals)}


def told_apart(modality, count=60):
    """Samples of three classes: tones of three heights, of different lengths."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(count) % 3
    spec, _ = KINDS[modality]
    time = spec.shape[-1]
    lengths = torch.randint(time // 2, time + 1, (count,), generator=generator)
    hertz = (spec.rate or 0) * torch.tensor([0.04, 0.08, 0.16])[label]
    phase = 2 * torch.pi * (hertz[:, None] * torch.arange(time) / (spec.rate or 1) + torch.rand(count, 1, generator=generator))
    samples = 0.2 * (phase.sin() + 0.3 * torch.randn(count, time, generator=generator)).masked_fill(~beginnings(lengths, time), 0)
    if modality == "wave":
        return {"x": Wave(samples, lengths, RATE), "label": label}
    return {"x": Signal(samples[:, None].expand(-1, 3, -1).contiguous(), beginnings(lengths, time), 100.0), "label": label}


@pytest.mark.parametrize(("modality", "name"), [("wave", "mel_convnet"), ("signal", "eegnet")])
def test_every_command_takes_them(modality, name, tmp_path):
    data = told_apart(modality)
    settings = {f"encoder.{key}": value for key, value in ENCODERS[name].items()}
    run = leaven.pretrain(data, steps=6, batch=30, out=tmp_path / "run", precision="fp32", settings=settings)
    assert run.config["asked"]["encoder"]["encoder"]["name"] == name
    scores = leaven.evaluate(run, data, protocols=["knn", "linear"])
    assert scores.scores["linear"]["accuracy"] > 0.6
    assert leaven.embed(run, data).shape == (60, leaven.load(run).dim)
    assert len(leaven.search(run, data, query="#3", k=2)) == 2
    tuned = leaven.finetune(run, data, steps=4, batch=30, out=tmp_path / "tuned", precision="fp32")
    assert len(leaven.predict(tuned, data)) == 60
    assert leaven.export(run, to="safetensors", out=tmp_path / "weights.safetensors").difference.relative < 1e-5
    assert (run.path / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "spec", "arguments"), READERS, ids=NAMES)
def test_it_is_written_as_a_graph_that_takes_the_raw_samples(name, spec, arguments, tmp_path):
    pytest.importorskip("onnxscript")
    assert find_target("onnx").export(reader(name, spec, arguments), tmp_path / "encoder.onnx").relative < 1e-4


SHARED = [
    pytest.param(modality, name, marks=() if (modality, name) in {("wave", "mae"), ("signal", "data2vec")} else pytest.mark.slow)
    for modality in KINDS
    for name, method in registry().items()
    if supported(method, modality) and not method.continues and name not in ("cmc", "distillation", "rbm", "dbn")
]


@pytest.mark.parametrize(("modality", "name"), SHARED)
def test_methods_of_any_data_learn_from_them(modality, name, tmp_path):
    run = leaven.pretrain(told_apart(modality, 32), method=name, steps=2, batch=16, out=tmp_path / "run", precision="fp32")
    assert torch.isfinite(torch.tensor(run.metrics[-1]["loss"]))
