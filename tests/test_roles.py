"""Samples with several inputs: an encoder, a tokeniser, settings and a start for each role; and methods that keep more than they were given."""

import json
import shutil

import numpy as np
import pytest
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from small import SENTENCES
from torch import Tensor, nn

import leaven
from leaven.data import open_data
from leaven.encoders import Encoder, Projected, build_encoder, describe_encoder
from leaven.errors import Interrupted
from leaven.losses import nt_xent
from leaven.methods.method import Method, Outputs
from leaven.modalities import Pixels, Strings, Text
from leaven.run import Run
from leaven.training.build import build_training
from leaven.training.pretraining import train
from leaven.training.request import Request
from leaven.training.supervision import supervision
from leaven.training.trained import data_role, load_encoder_of, trained_method

COUNT = 48
SMALL = {
    "encoder.image.width": 8,
    "encoder.image.features": 24,
    "encoder.text.width": 16,
    "encoder.text.depth": 1,
    "encoder.text.heads": 2,
    "tokenizer.vocabulary": 300,
}
TINY = {"encoder.width": 8, "encoder.features": 24}


def pixels(count=COUNT, seed=0):
    return torch.randint(256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def sentences(count=COUNT, of="house"):
    return [f"{SENTENCES[number % len(SENTENCES)]} {of} {number}" for number in range(count)]


def captioned():
    return {"image": Pixels(pixels()), "text": Text(Strings.of(sentences()))}


def two_texts():
    return {"said": sentences(of="house"), "heard": sentences(of="maison")}


def pretrain(data, out, **arguments):
    return leaven.pretrain(data, **{"method": "cmc", "steps": 2, "batch": 16, "precision": "fp32", "report": False, "out": out, **arguments})


def same_weights(a, b):
    """The parameters alone: batch norm counts even where nothing is learned."""
    return all(torch.equal(*pair) for pair in zip(a.parameters(), b.parameters(), strict=True))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A run with an encoder of pictures and one of texts."""
    return pretrain(captioned(), tmp_path_factory.mktemp("roles") / "pair", settings=SMALL)


def test_pictures_and_texts_in_memory_get_an_encoder_each(pair):
    assert pair.roles == ("image", "text")
    pictures, texts = (load_encoder_of(pair, role) for role in pair.roles)
    assert (pictures.name, texts.name) == ("convnet", "transformer")
    assert pictures(pixels()).shape == (COUNT, 24) and texts.tokenizer is not None and texts.role == "text"
    assert texts(open_data(sentences()).rows["x"]).shape == (COUNT, 16)
    kept = {str(path.relative_to(pair.encoder_folder)) for path in pair.encoder_folder.rglob("*.json")}
    assert kept == {"image/config.json", "text/config.json", "text/tokenizer.json"}
    method = trained_method(pair)
    assert torch.equal(method.encoders()["image"](pixels()), pictures(pixels()))


def test_encoders_are_named_by_role_and_the_others_are_chosen():
    def names(encoder):
        parts = build_training(Request("cmc", encoder=encoder, settings={"tokenizer.vocabulary": 300}), open_data(captioned()), "cpu")
        return [described["name"] for described in parts.encoders.values()]

    assert names("image=vit,text=word_vectors") == names({"image": "vit", "text": "word_vectors"}) == ["vit", "word_vectors"]
    assert names("image=strided") == ["strided", "transformer"] and names("auto") == ["convnet", "transformer"]


def test_a_setting_without_a_role_reaches_every_encoder():
    def widths(**settings):
        parts = build_training(Request("cmc", settings={f"encoder.{name}": value for name, value in settings.items()}), open_data(numbers), "cpu")
        return [described["arguments"] for described in parts.encoders.values()]

    numbers = {"a": np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32), "b": np.ones((32, 3), np.float32)}
    assert widths(width="8") == [{"width": 8}, {"width": 8}]
    assert widths(**{"width": 8, "b.width": "4"}) == [{"width": 8}, {"width": 4}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "picture=convnet"}, "no encoder has the role 'picture'.*the roles with an encoder are image, text"),
        ({"encoder": "image=convnet,image=vit"}, "name the encoder of each role once"),
        ({"encoder": "image=transformer"}, "encoder transformer reads text, not pixels"),
        ({"settings": {"encoder.sound.width": 8}}, "no encoder has the role 'sound'"),
        ({"settings": {"tokenizer.caption.vocabulary": 500}}, "no encoder has the role 'caption'"),
        ({"settings": {"tokenizer.image.vocabulary": 500}}, r"only text has a tokeniser \(tokenizer.image.vocabulary\)"),
    ],
)
def test_a_role_that_does_not_exist_is_one_clear_line(arguments, message, tmp_path):
    with pytest.raises(leaven.UserError, match=message):
        pretrain(captioned(), tmp_path / "run", **arguments)


def test_each_role_of_text_has_a_tokeniser_of_its_own_texts(tmp_path):
    settings = {"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2, "tokenizer.vocabulary": 300, "tokenizer.heard.vocabulary": 310}
    run = pretrain(two_texts(), tmp_path / "run", settings=settings)
    said, heard = (load_encoder_of(run, role).tokenizer for role in ("said", "heard"))
    assert (said.vocabulary, heard.vocabulary) == (300, 310)
    assert "maison" in "".join(heard.inner.get_vocab()) and "maison" not in "".join(said.inner.get_vocab())
    assert sorted(path.parent.name for path in run.tokenizer_folder.rglob("tokenizer.json")) == ["heard", "said"]
    method = trained_method(run)
    assert [encoder.tokenizer.vocabulary for encoder in method.encoders().values()] == [300, 310]
    lines = []
    pretrain(two_texts(), tmp_path / "run", settings=settings, say=lines.append)
    assert any("already finished" in line for line in lines)


def test_a_single_role_of_text_keeps_its_tokeniser_where_it_was(pair):
    assert (pair.tokenizer_folder / "tokenizer.json").is_file()


def test_a_killed_training_of_two_encoders_goes_on_to_the_bit(pair, tmp_path):
    def cut(step, total, *rest):
        raise Interrupted("cut")

    with pytest.raises(Interrupted):
        pretrain(captioned(), tmp_path / "run", settings=SMALL, checkpoint_seconds=0, progress=lambda task, *rest: task == "step" and cut(*rest))
    run = pretrain(captioned(), tmp_path / "run", settings=SMALL)
    for role in run.roles:
        whole, resumed = (load_file(each.folder_of(role) / "model.safetensors") for each in (pair, run))
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_each_role_starts_from_a_run_of_its_own(pair, tmp_path):
    pictures = pretrain(pixels(), tmp_path / "pictures", method="simclr", settings=TINY)
    run = pretrain(captioned(), tmp_path / "one", encoder=f"image={pictures.path},text={pair.path}", steps=1, settings={"recipe.lr": 0})
    assert same_weights(load_encoder_of(pictures), load_encoder_of(run, "image"))
    assert same_weights(load_encoder_of(pair, "text"), load_encoder_of(run, "text"))
    assert run.config["start"] == {"image": str(pictures.path), "text": str(pair.path)}
    assert load_encoder_of(run, "text").tokenizer.digest() == load_encoder_of(pair, "text").tokenizer.digest()
    again = pretrain(captioned(), tmp_path / "both", encoder=str(pair.path), steps=1, settings={"recipe.lr": 0})
    assert same_weights(load_encoder_of(again, "image"), load_encoder_of(pair, "image"))


def test_a_training_of_one_input_starts_from_the_encoder_of_its_kind(pair, tmp_path):
    run = pretrain(pixels(seed=1), tmp_path / "run", method="simclr", encoder=str(pair.path), steps=1, settings={"recipe.lr": 0})
    assert same_weights(load_encoder_of(run), load_encoder_of(pair, "image"))
    with pytest.raises(leaven.UserError, match=r"none of this run's encoders read vector.*the run keeps image, text"):
        pretrain(torch.randn(32, 4), tmp_path / "other", method="simclr", encoder=str(pair.path))
    with pytest.raises(leaven.UserError, match="the encoder is that of the run and has no 'width' to set"):
        pretrain(pixels(), tmp_path / "other", method="simclr", encoder=str(pair.path), settings={"encoder.width": 4})
    with pytest.raises(leaven.UserError, match="does not read the data: this encoder reads pictures of 3 channels"):
        pretrain(pixels()[:, :1], tmp_path / "other", method="simclr", encoder=str(pair.path))


@pytest.mark.parametrize("role", ["image", "text"])
def test_a_classifier_starts_from_either_encoder(pair, role, tmp_path):
    data = open_data(({"image": pixels, "text": sentences}[role](), torch.arange(COUNT) % 2))
    request = Request("finetune", pair, start_role=role, steps=2, batch=8, settings={"train": "head"})
    run = train(request, data, Run(tmp_path / "run"), supervision=supervision(data, early_stopping=False))
    assert run.config["start_role"] == role and run.config["asked"]["encoder"]["encoder"]["name"] == load_encoder_of(pair, role).name
    value = data.rows["x"][torch.arange(COUNT)]
    with torch.no_grad():
        assert torch.equal(load_encoder_of(run)(value), load_encoder_of(pair, role)(value))
    with pytest.raises(leaven.UserError, match=r"no encoder is named 'sound'.*the run keeps image, text"):
        build_training(Request("finetune", pair, start_role="sound"), data, "cpu")


def test_texts_that_a_method_does_not_read_are_left_out_in_one_line(tmp_path):
    lines = []
    run = pretrain(
        {"x": Pixels(pixels()), "caption": Text(Strings.of(sentences()))}, tmp_path / "run", method="simclr", settings=TINY, say=lines.append
    )
    assert "roles: x (simclr does not read caption)" in lines and not run.tokenizer_folder.exists()


def test_which_role_of_the_data_an_encoder_reads(pair):
    image, text = (load_encoder_of(pair, role) for role in pair.roles)
    both = open_data(captioned()).spec
    named = open_data({"x": Pixels(pixels()), "note": Text(Strings.of(sentences())), "title": Text(Strings.of(sentences()))}).spec
    assert [data_role(both, encoder, None) for encoder in (image, text)] == ["image", "text"]
    assert data_role(named, image) == "x" and data_role(named, text, "note") == "note"
    for spec, encoder, role, message in (
        (named, text, None, "several roles of the data: note, title"),
        (named, text, "caption", "the data has no role 'caption'.*it has x .pixels., note .text., title .text."),
        (both, image, "text", "this encoder reads pixels"),
        (open_data(torch.randn(8, 2)).spec, image, None, "this encoder reads pixels, and the data has x .vector."),
    ):
        with pytest.raises(leaven.UserError, match=message):
            data_role(spec, encoder, role)


@pytest.mark.parametrize("role", ["image", "text"])
def test_a_classifier_of_one_role_is_not_tested_on_what_it_has_learned_from(pair, role, tmp_path):
    data = {**captioned(), "label": torch.arange(COUNT) % 2}
    run = leaven.finetune(pair, data, role=role, steps=2, batch=16, out=tmp_path / "run")
    learned = len(run.learned_path.read_text().splitlines()) - 1
    card = leaven.evaluate(run, data, protocols=("classifier",))
    assert 0 < learned < COUNT and card.scores["classifier"]["samples"] == COUNT - learned
    assert {"frozen", "input", "labels-only"} <= card.floors.keys()
    assert (run.path / "report.html").is_file()
    alone = leaven.evaluate(run, {role: data[role], "label": data["label"]}, protocols=("classifier",), report=False)
    assert alone.scores["classifier"]["samples"] == COUNT - learned


# --- given and kept encoders ---


class Doubled(Encoder):
    """Two encoders of the same kind side by side."""

    name = "doubled_for_a_test"

    def __init__(self, input, *, encoder: str = "convnet", options: dict | None = None):
        inner = build_encoder(encoder, input, options)
        super().__init__(input, 2 * inner.dim)
        self.parts = nn.ModuleList([inner, build_encoder(encoder, input, options)])

    @classmethod
    def around(cls, encoder):
        described = describe_encoder(encoder)
        arguments = {"encoder": described["name"], "options": described["arguments"]}
        doubled = cls(encoder.input, **arguments)
        doubled.parts[0], doubled.arguments = encoder, arguments
        return doubled

    def forward(self, x) -> Float[Tensor, "batch dim"]:
        return torch.cat([part(x) for part in self.parts], dim=1)


class Wider(Method):
    """Keeps a network that is wider than the one it was given."""

    def __init__(self, encoder: Encoder, *, keeps: str = "doubled", dim: int = 8):
        wider = {"doubled": Doubled.around, "code": lambda inner: Projected.around(inner, 40), "codes": self.two_codes}[keeps](encoder)
        super().__init__(wider)
        self.head = nn.Linear(wider.dim, dim)

    @staticmethod
    def two_codes(encoder):
        return Projected.around(Projected.around(encoder, 40), 12)

    def forward(self, views):
        return Outputs(embeddings=[self.head(features) for features in self.encode(views)])

    def loss(self, outputs):
        return {"nt_xent": nt_xent(*outputs.embeddings, 0.2)}


@pytest.mark.parametrize(("keeps", "dim"), [("doubled", 48), ("code", 40), ("codes", 12)])
def test_a_method_that_keeps_a_wider_network_than_it_was_given_resumes_loads_and_is_exported(keeps, dim, tmp_path):
    def cut(task, *rest):
        if task == "step":
            raise Interrupted("cut")

    arguments = {"method": Wider, "settings": {**TINY, "keeps": keeps}}
    whole = pretrain(pixels(), tmp_path / "whole", **arguments)
    with pytest.raises(Interrupted):
        pretrain(pixels(), tmp_path / "cut", checkpoint_seconds=0, progress=cut, **arguments)
    resumed = pretrain(pixels(), tmp_path / "cut", **arguments)
    features = leaven.load(whole)(pixels())
    assert features.shape == (COUNT, dim) and torch.equal(leaven.load(resumed)(pixels()), features)
    assert torch.equal(trained_method(whole).encoder(pixels()), features)
    asked = whole.config["asked"]
    assert asked["given"]["x"]["name"] == "convnet" and asked["encoder"]["encoder"]["dim"] == dim
    exported = leaven.export(whole, to="safetensors", out=tmp_path / "exported").out
    with open(exported / "config.json") as file:
        assert json.load(file)["dim"] == dim


@pytest.mark.parametrize("method", ["autoencoder", "vqvae"])
def test_runs_of_earlier_versions_which_did_not_keep_what_was_given_load_and_resume(method, tmp_path):
    def cut(task, *rest):
        if task == "step":
            raise Interrupted("cut")

    arguments = {"method": method, "settings": {**TINY, **({"code": 5} if method == "autoencoder" else {"codes": 8, "size": 4})}}
    with pytest.raises(Interrupted):
        pretrain(pixels(), tmp_path / "old", checkpoint_seconds=0, progress=cut, **arguments)
    old = Run(tmp_path / "old")
    config = old.config
    del config["asked"]["given"]
    old.write_config(config)
    shutil.copytree(old.path, tmp_path / "copy")
    assert trained_method(Run(tmp_path / "copy")).encoder(pixels()).shape[0] == COUNT
    run = pretrain(pixels(), old.path, **arguments)
    assert torch.equal(trained_method(run).encoder(pixels()), leaven.load(run)(pixels()))


# --- what does not fit ---


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        (
            torch.randn(32, 4),
            {"method": "data2vec"},
            "data2vec learns from pixels, signal, text or wave, and this data is vector: methods that learn",
        ),
        (torch.randn(32, 4), {"method": "simcse"}, "simcse learns from text, and this data is vector.*methods that learn from vector: .*autoencoder"),
        (
            pixels(),
            {"method": "mae", "encoder": "convnet"},
            "mae needs an encoder with patches, and convnet offers features.*or leave --encoder out",
        ),
        (torch.randn(32, 4), {"method": "rbm", "encoder": "mlp"}, "rbm brings its own networks.*leave --encoder out"),
        (captioned(), {"method": "simclr"}, "simclr needs the role 'x', and the data has image, text.*--columns x=COLUMN"),
        (captioned(), {"method": "vqvae"}, "vqvae needs the role 'x'"),
    ],
)
def test_a_method_that_does_not_suit_the_data_says_what_it_wants_and_names_others(data, arguments, message, tmp_path):
    with pytest.raises(leaven.UserError, match=message) as raised:
        pretrain(data, tmp_path / "run", **arguments)
    assert ("--encoder" in str(raised.value)) == ("encoder" in arguments)
