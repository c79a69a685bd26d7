"""Every method learns from the kinds of data that it is listed for and refuses the others; it also goes by the names of the literature."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from small import BEGINNING, ENCODERS, SETTINGS, brings_networks, encoder_for, kind_of, labels_for, pictures, sounds, texts, windows

import leaven
from leaven.data import Signal
from leaven.draw import Draw
from leaven.methods.aliases import ALIASES, BUFFERS
from leaven.methods.masked.data2vec import hidden_in_rows, normalized
from leaven.methods.registry import find_method, registry, resolve
from leaven.methods.support import supported, supported_modalities
from leaven.modalities import MODALITIES, find_modality
from leaven.sampling import POLICIES
from leaven.views.masks import block_order, random_order

CLASSES = torch.arange(32) % 3
NUMBERS = np.random.default_rng(0).random((32, 6), dtype=np.float32)
COUNTS = csr_matrix(np.random.default_rng(1).poisson(1.0, (32, 12)).astype(np.float32))
SOUNDS = sounds()[0]
SIGNALS = Signal(torch.rand(32, 2, 80), torch.ones(32, 80, dtype=torch.bool), 100.0)
SMALL = {"text": ENCODERS["transformer"], "vector": {"width": 16}, "counts": {"width": 16}}


def data_of(modality, name):
    """Tiny labeled data of one modality, in the roles that a method reads."""
    if name == "coca":  # which writes texts about the other input
        others = {"pixels": pictures(), "vector": NUMBERS, "counts": COUNTS, "wave": SOUNDS, "signal": SIGNALS}
        return {"a": others.get(modality, texts("masked_lm")["x"]), "b": texts("masked_lm")["x"]}
    if name == "unclip" and modality in ("pixels", "text"):  # which draws pictures of texts
        return {"a": pictures(), "b": texts("masked_lm")["x"]}
    if kind_of(name) == "pairs" or (name == "cmc" and modality != "pixels"):
        halves = {
            "pixels": {"a": pictures(), "b": pictures().flip(3)},
            "text": texts("spoken_cse"),
            "vector": {"a": NUMBERS[:, :3], "b": NUMBERS[:, 3:]},
            "counts": {"a": COUNTS, "b": COUNTS[:, ::-1]},
        }
        pairs = {**halves, "wave": {"a": SOUNDS, "b": SOUNDS}, "signal": {"a": SIGNALS, "b": SIGNALS}}[modality]
        return {**pairs, "label": labels_for(name)} if find_method(name).classifies else pairs
    if name == "relative_positioning" and modality in ("wave", "signal"):
        return windows({"wave": SOUNDS, "signal": SIGNALS}[modality]), CLASSES
    arrays = {"pixels": pictures(), "vector": NUMBERS, "counts": COUNTS, "wave": SOUNDS, "signal": SIGNALS}
    label = labels_for(name)
    return {**texts(name), "label": label} if modality == "text" else (arrays[modality], label)


def train(name, modality, out):
    own = modality == "pixels" or encoder_for(name) == "word_vectors"
    encoder = {} if brings_networks(name) else ENCODERS[encoder_for(name)] if own else SMALL.get(modality, {})
    parts = {"encoder.a" if name == "coca" and modality != "text" else "encoder": encoder}
    if name == "unclip":
        parts = {"encoder.a": ENCODERS["convnet"], "encoder.b": ENCODERS["transformer"]}
    settings = {**SETTINGS.get(name, {}), **{f"{part}.{key}": value for part, encoder in parts.items() for key, value in encoder.items()}}
    return leaven.pretrain(data_of(modality, name), method=name, steps=1, batch=16, out=out, precision="fp32", settings=settings, report=False)


@pytest.mark.parametrize("name", BEGINNING)
def test_a_method_takes_a_step_on_every_modality_that_it_is_listed_for(name, tmp_path):
    modalities = supported_modalities(find_method(name))
    assert modalities
    for modality in modalities:
        assert train(name, modality, tmp_path / modality).finished, modality


@pytest.mark.parametrize("name", BEGINNING)
def test_a_method_refuses_any_other_modality_in_one_line_before_anything_is_written(name, tmp_path):
    for modality in MODALITIES:
        if supported(find_method(name), modality) or find_modality(modality).target:
            continue
        why = f"{name} (learns|contrasts) .*, and this data (is {modality}|has neither): (methods that learn|no method|name several)"
        with pytest.raises(leaven.UserError, match=why) as refusal:
            train(name, modality, tmp_path / "run")
        assert "\n" not in str(refusal.value)
        assert not (tmp_path / "run").exists(), modality


@pytest.mark.parametrize(
    ("name", "modalities"),
    [
        ("simclr", {"pixels", "text", "vector", "counts", "wave", "signal"}),
        ("data2vec", {"pixels", "text", "wave", "signal"}),
        ("mae", {"pixels", "wave", "signal"}),
        ("vae", {"pixels", "vector", "counts", "signal"}),
        ("gan", {"pixels", "vector", "signal"}),
        ("cpc", {"pixels", "wave", "signal"}),
        ("wav2vec2", {"wave", "signal"}),
        ("hubert", {"wave"}),
        ("masked_lm", {"text"}),
    ],
)
def test_what_a_method_reads_follows_from_its_paper_its_encoder_and_its_likelihood(name, modalities):
    assert set(supported_modalities(find_method(name))) == modalities


# --- data2vec on every kind of data ---


@pytest.mark.parametrize("order", [random_order, block_order])
def test_of_a_text_the_same_share_is_hidden_however_long_it_is(order):
    lengths = torch.tensor([1, 4, 10, 20])
    real = torch.arange(20) < lengths[:, None]
    hidden = hidden_in_rows(order(Draw(0), 4, (1, 32), 19), real, 0.6)
    assert hidden.sum(1).tolist() == [1, 2, 6, 12]
    assert not (hidden & ~real).any()


def test_targets_of_a_text_do_not_depend_on_its_padding():
    tokens = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([tokens, torch.zeros(1, 4, 3)], 1)
    real = torch.arange(9)[None] < 5
    assert torch.allclose(normalized(padded, 1, real)[:, :5], normalized(tokens, 1), atol=1e-6)


EVERY_KIND = {
    "pixels": (lambda: (pictures(), CLASSES), "vit"),
    "text": (lambda: texts("data2vec"), "transformer"),
    "wave": (sounds, "mel_vit"),
    "signal": (lambda: Signal(sounds()[0].samples[:, None, ::4].expand(-1, 3, -1), torch.ones(32, 400, dtype=torch.bool), 100.0), "frames"),
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_one_data2vec_learns_from_pictures_texts_sounds_and_signals_with_the_same_hyper_parameters(kind, tmp_path):
    data, encoder = EVERY_KIND[kind]
    own = {"mask_ratio": 0.5, "mask": "blocks", "top_layers": 1, "momentum": (0.9, 0.99), "beta": 1.0}
    sizes = {f"encoder.{key}": value for key, value in ENCODERS[encoder].items()}
    run = leaven.pretrain(
        data(), method="data2vec", encoder=encoder, steps=40, batch=32, out=tmp_path / "run", precision="fp32", settings=own | sizes, report=False
    )
    losses = [row["loss"] for row in run.metrics]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert run.config["asked"]["method"]["hyperparameters"].items() >= {**own, "momentum": [0.9, 0.99]}.items()
    assert leaven.load(run).dim == ENCODERS[encoder]["width"]


# --- names ---


CALLED = {
    "bert": "masked_lm",
    "gpt": "causal_lm",
    "dae": "denoising_autoencoder",
    "moco": "mocov2",
    "MLM": "masked_lm",
    "barlow-twins": "barlow_twins",
}


@pytest.mark.parametrize(("alias", "name"), CALLED.items())
def test_a_method_goes_by_the_names_of_the_literature(alias, name):
    assert resolve(alias) == name
    assert find_method(alias) is registry()[name]


def test_a_run_keeps_the_name_of_the_method_whatever_it_was_called(tmp_path):
    run = leaven.pretrain((pictures(), CLASSES), method="ae", steps=1, batch=16, out=tmp_path / "run", settings={"encoder.width": 8}, report=False)
    assert run.config["asked"]["method"]["name"] == "autoencoder"


def test_every_alias_is_the_name_of_a_method_and_no_method_hides_behind_one():
    assert set(ALIASES.values()) <= set(registry())
    assert not {*ALIASES, *BUFFERS} & set(registry()) and not set(ALIASES) & set(BUFFERS)


@pytest.mark.parametrize("name", POLICIES)
def test_a_buffer_is_no_method_and_the_line_says_how_to_use_it(name):
    with pytest.raises(leaven.UserError, match=f"{name} is no method but a buffer.*--stream {name}"):
        resolve(name)
