"""Trained models stand beside a run: in the scorecard and in a comparison; training goes on from them, and learns from them."""

import json

import numpy as np
import pytest
import timm
import torch
from small import SENTENCES, SPEC, pictures, small, teachers
from timm.models import save_for_hf

import leaven
from leaven.data import open_data
from leaven.encoders import build_encoder
from leaven.encoders.public import load_model
from leaven.encoders.store import save_encoder
from leaven.evaluation import beside as beside_module
from leaven.evaluation.beside import Beside, standing
from leaven.evaluation.scorecard import Scorecard
from leaven.modalities import MODALITIES, InputSpec, Strings, Text
from leaven.training.checkpoint import load_state
from leaven.training.trained import trained_method

COLOURED = torch.arange(64) % 4
SAMPLES = ((pictures(64) // 4) + (COLOURED * 45).to(torch.uint8)[:, None, None, None], COLOURED)
SMALL = {"encoder.width": 8, "encoder.features": 16}
GREY = InputSpec("pixels", (1, 16, 16))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAVEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory):
    """A folder as timm writes it: a small network for pictures of 32 pixels, with its classifier."""
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=5)
    network.pretrained_cfg = {**network.pretrained_cfg, "architecture": "test_efficientnet", "input_size": (3, 32, 32), "mean": (0.3, 0.4, 0.5)}
    folder = tmp_path_factory.mktemp("models") / "timm"
    save_for_hf(network, str(folder), safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    """A folder as Leaven exports it to sentence-transformers, which pools the first token."""
    folder = tmp_path_factory.mktemp("models") / "text"
    settings = {"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2, "encoder.pooling": "first"}
    run = leaven.pretrain(SENTENCES, method="simcse", steps=1, batch=8, out=folder / "run", settings=settings, report=False)
    leaven.export(run, to="sentence-transformers", out=folder / "model")
    return run, folder / "model"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return leaven.pretrain(SAMPLES, steps=2, batch=32, out=tmp_path_factory.mktemp("run") / "run", settings=SMALL, report=False)


# --- models by their names ---


def test_a_timm_folder_is_read_as_timm_reads_it(timm_folder):
    network = timm.create_model(f"local-dir:{timm_folder}", pretrained=True, num_classes=0).eval()
    model = load_model(timm_folder, SPEC)
    assert model.input.shape == (3, 32, 32) and model.input.mean == (0.3, 0.4, 0.5)
    x = torch.rand(3, 3, 32, 32)
    mean, std = (torch.tensor(network.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    assert torch.allclose(model(x), network((x - mean) / std), atol=1e-5)
    assert load_model(f"{timm_folder}@64", SPEC).input.shape == (3, 64, 64)
    assert load_model(timm_folder, GREY).input.shape == (1, 32, 32)


def test_a_transformers_folder_is_pooled_as_it_says(text_folder):
    run, folder = text_folder
    model, texts = load_model(folder, InputSpec("text", ())), Text(Strings.of(SENTENCES))
    assert model.pooling == "first"
    assert torch.allclose(model(texts), leaven.load(run)(texts), atol=1e-5)


def test_of_a_run_with_several_encoders_the_one_that_reads_the_data_is_taken():
    folder = teachers()
    assert load_model(folder, GREY).input.shape == (1, 16, 16) and load_model(folder, SPEC).input.shape == (3, 16, 16)
    with pytest.raises(leaven.UserError, match="several encoders of this run could read pixels"):
        load_model(folder, InputSpec("pixels", (5, 16, 16)))


@pytest.mark.parametrize(
    ("name", "input", "told"),
    [
        ("timm:resnet5O", SPEC, "no timm model is named 'resnet5O': did you mean resnet50"),
        ("timm:resnet50", InputSpec("text", ()), "timm:resnet50 does not read text"),
        ("hf:owner/name", InputSpec("vector", (6,)), "hf:owner/name does not read vector"),
        ("timm:test_efficientnet.r160_in1k", SPEC, "the weights of timm:test_efficientnet.r160_in1k cannot be had"),
        ("hf:owner/name", SPEC, "the weights of hf:owner/name cannot be had"),
        ("hf:owner/name", InputSpec("text", ()), "no tokeniser of owner/name can be had"),
        ("nowhere", SPEC, "no model is here .nowhere.: give timm:NAME"),
    ],
)
def test_what_is_no_model_for_the_data_is_one_line(name, input, told):
    with pytest.raises(leaven.UserError, match=told) as refusal:
        load_model(name, input)
    assert "\n" not in str(refusal.value)


def test_a_model_of_other_channels_or_another_kind_of_data_is_refused(tmp_path, text_folder):
    save_encoder(tmp_path / "grey", build_encoder("convnet", GREY, {"width": 8, "features": 16}))
    with pytest.raises(leaven.UserError, match="does not suit the data: this encoder reads pictures of 1 channels, and the data has 3"):
        load_model(tmp_path / "grey", SPEC)
    with pytest.raises(leaven.UserError, match="it reads text, and the data is pixels"):
        load_model(text_folder[0], SPEC)


# --- beside a run ---


def test_models_beside_are_in_the_table_the_json_the_page_and_the_sentence(run, timm_folder):
    card = leaven.evaluate(run, SAMPLES, protocols=("knn", "linear", "few-label"), labels_only=0.001, beside=(timm_folder, run.path / "encoder"))
    names = [str(timm_folder), str(run.path / "encoder")]
    assert list(card.beside) == names and all(scores.keys() == {"knn", "linear", "few-label"} for scores in card.beside.values())
    assert (
        card.beside[names[1]]["knn"] == {name: value for name, value in card.scores["knn"].items() if name != "gains"}
        and card.beside[names[0]]["linear"] != card.scores["linear"]
    )
    assert card.table()[0][-2:] == names and card.sentence().endswith(
        f"{names[1]}, frozen, gives {100 * card.scores['linear']['accuracy']:.1f} % (linear probe), which cannot be told apart from this run."
    )
    kept = json.loads(run.scorecard_path.read_text())
    assert Scorecard.from_dict(kept).beside == kept["beside"] == card.beside
    assert names[0] in (run.path / "report.html").read_text()


def test_a_second_evaluation_encodes_nothing_again(run, timm_folder, monkeypatch):
    first = leaven.evaluate(run, SAMPLES, protocols=("knn",), beside=(timm_folder,), report=False)
    monkeypatch.setattr(beside_module, "encode", lambda *arguments, **more: pytest.fail("encoded again"))
    again = leaven.evaluate(run, SAMPLES, protocols=("knn", "linear"), beside=(timm_folder,), report=False)
    assert again.beside[str(timm_folder)]["knn"] == first.beside[str(timm_folder)]["knn"]


def test_features_are_kept_by_model_samples_and_side_within_the_limit(timm_folder, monkeypatch, tmp_path):
    data, rows = open_data(SAMPLES), torch.arange(64)
    at = {side: Beside("m", load_model(f"{timm_folder}@{side}", data.spec.roles["x"]), data) for side in (32, 64)}
    keys = {
        at[32].key("x", rows),
        at[64].key("x", rows),
        at[32].key("x", rows[1:]),
        Beside("m", at[32].model, open_data(pictures(64))).key("x", rows),
    }
    assert len(keys) == 4 and Beside("other", at[32].model, data).key("x", rows) in keys
    size = at[32].features("x", rows).nbytes
    monkeypatch.setenv("LEAVEN_CACHE_LIMIT", str(size + 1000))
    at[64].features("x", rows)
    assert [path.stem for path in (tmp_path / "cache" / "features").glob("*.npy")] == [at[64].key("x", rows)]
    monkeypatch.setenv("LEAVEN_CACHE_LIMIT", "0")
    assert torch.equal(at[32].features("x", rows), at[32].features("x", rows))


def test_pairs_of_texts_are_scored_by_models_beside(text_folder, tmp_path):
    run, folder = text_folder
    lines = [f"{a},{b},{number % 5}" for number, (a, b) in enumerate(zip(SENTENCES, SENTENCES[1:] + SENTENCES[:1], strict=True))]
    (tmp_path / "pairs.csv").write_text("\n".join(["a,b,score", *lines]))
    card = leaven.evaluate(run, tmp_path / "pairs.csv", beside=(folder,), report=False)
    assert card.beside[str(folder)]["sts"]["spearman"] == pytest.approx(card.scores["sts"]["spearman"], abs=1e-3)


def test_how_a_model_beside_stands_in_one_sentence():
    ours = {"accuracy": 0.658, "interval": [0.65, 0.666]}
    for accuracy, told in ((0.71, ": 5.2 points more than this run."), (0.627, ": 3.1 points less than this run."), (0.66, ", which cannot be told")):
        other = {"accuracy": accuracy, "interval": [accuracy - 0.008, accuracy + 0.008]}
        sentence = standing("timm:m", ours, other, "accuracy", "linear probe")
        assert sentence.startswith(f"timm:m, frozen, gives {100 * accuracy:.1f} % (linear probe){told}")


def test_a_model_beside_what_no_model_is_scored_by_is_refused(run, timm_folder):
    with pytest.raises(leaven.UserError):
        leaven.evaluate(run, SAMPLES, protocols=("samples",), beside=(timm_folder,), report=False)


# --- going on from a model ---


def test_a_training_goes_on_from_a_timm_folder_and_its_run_needs_no_folder(timm_folder, tmp_path):
    run = leaven.pretrain(SAMPLES, encoder=timm_folder, steps=1, batch=32, size=32, out=tmp_path / "run", settings={"recipe.lr": 0.0}, report=False)
    described = run.config["asked"]["encoder"]["encoder"]
    assert described["name"] == "test_efficientnet" and "timm" not in json.dumps(described["arguments"])
    ours, theirs = leaven.load(run).state_dict(), load_model(timm_folder, SPEC).state_dict()
    assert torch.equal(ours["network.conv_stem.weight"], theirs["network.conv_stem.weight"])


def test_a_training_goes_on_from_a_text_model_with_its_tokeniser(text_folder, tmp_path):
    _, folder = text_folder
    run = leaven.pretrain(SENTENCES, encoder=folder, method="simcse", steps=1, batch=8, out=tmp_path / "run", report=False)
    assert leaven.load(run).pooling == "first" and leaven.load(run)(Text(Strings.of(SENTENCES))).shape == (len(SENTENCES), 16)
    other = leaven.pretrain(
        SENTENCES, encoder=folder, method="simcse", steps=1, batch=8, out=tmp_path / "mean", settings={"encoder.pooling": "mean"}, report=False
    )
    assert leaven.load(other).pooling == "mean"


# --- learning from a model ---


def distilled(folder, teacher, steps=8, checkpoint_seconds=60.0, on_step=lambda step: None, **settings):
    settings = {**SMALL, "teacher": str(teacher), **settings}
    more = {"checkpoint_seconds": checkpoint_seconds, "on_step": on_step}
    return leaven.pretrain(SAMPLES, method="distillation", steps=steps, batch=32, out=folder, settings=settings, report=False, **more)


def test_a_teacher_is_named_in_the_run_and_not_kept_with_it(timm_folder, tmp_path):
    run = distilled(tmp_path / "run", timm_folder)
    asked = run.config["asked"]
    assert asked["method"]["hyperparameters"]["teacher"] == str(timm_folder) and len(asked["teacher"]["weights"]) == 32
    names = load_state(sorted(run.checkpoints.glob("step-*.safetensors"))[-1])["method"]
    assert {name.split(".")[0] for name in names} == {"encoder", "heads", "standardize"}
    assert leaven.load(run).dim == 16


def test_a_resumed_training_must_find_the_same_teacher(tmp_path):
    def teacher(seed):
        torch.manual_seed(seed)
        save_encoder(tmp_path / "teacher", build_encoder("convnet", SPEC, {"width": 8, "features": 24}))

    def stop(step):
        if step == 3:
            raise KeyboardInterrupt

    teacher(0)
    with pytest.raises(leaven.errors.Interrupted):
        distilled(tmp_path / "run", tmp_path / "teacher", checkpoint_seconds=0.0, on_step=stop)
    teacher(1)
    with pytest.raises(leaven.UserError, match=r"another training: teacher.weights was \w+ and is now"):
        distilled(tmp_path / "run", tmp_path / "teacher")
    teacher(0)
    assert distilled(tmp_path / "run", tmp_path / "teacher").config["result"]["steps"] == 8


@pytest.mark.parametrize("teacher", ["convnet", "vit"])
def test_places_are_compared_where_both_encoders_have_them(teacher, tmp_path):
    save_encoder(tmp_path / "teacher", build_encoder(teacher, SPEC, {"convnet": {"width": 8}, "vit": {"width": 24, "depth": 1}}[teacher]))
    method, _ = small("distillation", teacher=str(tmp_path / "teacher"), places=0.5)
    outputs = method([open_data(SAMPLES).rows["x"][torch.arange(8)]])
    terms = method.loss(outputs)
    assert terms.keys() == {"features", "places"} and 1.2 < method.chance(outputs) <= 1.5
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_places_need_pictures(tmp_path):
    settings = {"teacher": str(teachers()), "places": 1}
    with pytest.raises(leaven.UserError, match="places are compared in maps or tokens of pictures"):
        leaven.pretrain(np.random.default_rng(0).random((32, 6)), method="distillation", steps=1, out=tmp_path / "run", settings=settings)


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_the_encoder_comes_to_predict_most_of_what_the_teacher_sees(distance, tmp_path):
    torch.manual_seed(0)
    save_encoder(tmp_path / "teacher", build_encoder("convnet", SPEC, {"width": 8, "features": 24}))
    run = distilled(tmp_path / "run", tmp_path / "teacher", steps=200, places=0.5, distance=distance)
    first, last = run.metrics[0], run.metrics[-1]
    assert last["features"] < 0.6 * first["features"] and last["places"] < 0.9 * first["places"]
    assert trained_method(run, "distillation").heads.keys() == {"features", "places"}


def test_without_a_teacher_one_line_says_how_to_name_one(tmp_path):
    with pytest.raises(leaven.UserError, match="distillation needs a teacher: --set teacher=MODEL: give timm:NAME"):
        leaven.pretrain(SAMPLES, method="distillation", steps=1, out=tmp_path / "run")


# --- beside methods, and what is advised ---


def test_models_take_part_in_a_comparison_without_training(timm_folder, tmp_path):
    found = leaven.compare(
        SAMPLES, methods="simclr", steps=2, seeds=1, settings=SMALL, beside=(timm_folder,), protocols=("knn", "linear"), out=tmp_path / "compare"
    )
    name = str(timm_folder)
    assert found.beside[name].keys() == {"knn", "linear"} and found.to_dict()["beside"] == found.beside
    row = next(row for row in found.table() if row[0] == name)
    assert row[1] == "frozen" and row[2].endswith(")") and f"{name}, frozen, gives" in found.sentence()
    assert name in (tmp_path / "compare" / "report.html").read_text()
    with pytest.raises(leaven.UserError, match="no model is here"):
        leaven.compare(SAMPLES, methods="simclr", steps=2, seeds=1, settings=SMALL, beside=("nowhere",), out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_inspect_and_pretrain_name_public_models_and_how_to_compare(command, tmp_path):
    line = "timm:tf_efficientnet_lite0, timm:mobilenetv3_small_100 (leaven evaluate RUN DATA --beside timm:tf_efficientnet_lite0)"
    status, out, _ = command("pretrain", "demo:digits", "--steps", 1, "--device", "cpu", "--out", tmp_path / "run", "--set", "encoder.width=8")
    assert status == 0 and f"Public models to compare with: {line}" in out
    inspection = leaven.inspect("demo:digits", steps=1, device="cpu", settings={"encoder.width": 8})
    assert inspection.advice["beside"] == ["timm:tf_efficientnet_lite0", "timm:mobilenetv3_small_100"] and f"beside      {line}" in inspection.text()
    texts = leaven.inspect(SENTENCES, method="simcse", steps=1, device="cpu", settings={"encoder.width": 16, "encoder.heads": 2, "encoder.depth": 1})
    assert "hf:sentence-transformers/all-MiniLM-L6-v2" in texts.text()


@pytest.mark.parametrize("modality", MODALITIES.values(), ids=list(MODALITIES))
def test_the_public_models_that_are_named_exist_in_timm(modality):
    for name in (model.name for model in modality.public_models if model.name.startswith("timm:")):
        assert timm.models.is_model_pretrained(name.removeprefix("timm:").partition("@")[0])


def test_the_command_takes_several_models(run, timm_folder, tmp_path, command):
    np.savez(tmp_path / "data.npz", x=SAMPLES[0].numpy(), y=SAMPLES[1].numpy())
    words = ("--beside", timm_folder, "--beside", f"{timm_folder}@64", "--protocol", "knn", "--json")
    status, out, err = command("evaluate", run.path, tmp_path / "data.npz", *words)
    assert status == 0, err
    assert list(json.loads(out)["beside"]) == [str(timm_folder), f"{timm_folder}@64"]
    status, _, err = command("evaluate", run.path, tmp_path / "data.npz", "--beside", "timm:resnet5O")
    assert status == 2 and "did you mean resnet50" in err and "Traceback" not in err


def test_a_run_never_makes_its_teacher_load(tmp_path, monkeypatch):
    run = distilled(tmp_path / "run", teachers(), steps=1)
    monkeypatch.setattr("leaven.methods.distillation.distillation.load_model", lambda *_: pytest.fail("the teacher was loaded"))
    for use in (lambda: leaven.sample(run, out=tmp_path / "made.png"), lambda: trained_method(run)):
        with pytest.raises(leaven.UserError, match="does not keep with a run all"):
            use()
    assert len(leaven.embed(run, pictures().numpy()))
