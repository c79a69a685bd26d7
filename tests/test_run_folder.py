"""A run's folder is data: nothing that it names is executed, fetched, or written outside of it, and nothing is built before it was checked."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from small import small

import leaven
from leaven.encoders import OWN, build_encoder, rebuild_encoder
from leaven.encoders.build import describe_encoder
from leaven.errors import UserError
from leaven.methods.registry import registry
from leaven.modalities import InputSpec
from leaven.run import Run

TEXTS = [f"{who} sees it {number}" for number in range(16) for who in ("a cat", "the dog")]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "run"
    return leaven.pretrain("demo:digits", encoder="convnet", settings={"encoder.width": 8}, steps=3, out=out).path


@pytest.fixture
def run(digits_run, tmp_path):
    return Path(shutil.copytree(digits_run, tmp_path / "run"))


def change(path, **values):
    """Set values in a JSON file; the names are paths with __ between their parts."""
    content = json.loads(path.read_text())
    for name, value in values.items():
        *parts, last = name.split("__")
        inner = content
        for part in parts:
            inner = inner[part]
        inner[last] = value
    path.write_text(json.dumps(content))


def test_no_command_executes_a_file_that_a_run_names(run, tmp_path):
    marker = tmp_path / "executed"
    (tmp_path / "notes.py").write_text(f"open({str(marker)!r}, 'w')\nfrom leaven.methods.contrastive.simclr import SimCLR\n\nclass M(SimCLR): ...\n")
    change(run / "config.json", asked__method__name=f"{tmp_path}/notes.py:M")
    leaven.evaluate(run, "demo:digits", protocols=["knn"])
    leaven.embed(run, "demo:digits")
    leaven.load(run)
    with pytest.raises(UserError, match="not Leaven's own"):
        leaven.score(run, "demo:digits")
    assert not marker.exists()


@pytest.mark.parametrize("changes", [{"arguments": {"width": 8, "pretrained": True}}, {"name": "resnet18", "arguments": {"pretrained": True}}])
def test_a_finished_run_is_never_started_from_published_weights(run, changes):
    change(run / "encoder" / "config.json", **changes)
    if changes.get("name"):
        with pytest.raises(UserError, match="does not fit"):
            leaven.load(run)
    else:
        leaven.load(run)


def test_a_text_encoder_without_its_architecture_is_not_looked_up(tmp_path):
    spec = InputSpec("text", (16,), vocabulary=400, special={"pad": 0})
    described = {"library": "transformers", "name": "someone/model", "arguments": {"pretrained": True}, "input": spec.to_dict()}
    with pytest.raises(UserError, match="has no config"):
        rebuild_encoder(described)


def test_the_code_of_a_model_is_not_executed(tmp_path):
    transformers = pytest.importorskip("transformers")
    marker = tmp_path / "executed"
    folder = tmp_path / "model"
    config = transformers.BertConfig(vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "theirs.py").write_text(f"open({str(marker)!r}, 'w')\nfrom transformers import BertConfig as Theirs, BertModel as TheirModel\n")
    change(folder / "config.json", auto_map={"AutoConfig": "theirs.Theirs", "AutoModel": "theirs.TheirModel"}, model_type="theirs")
    spec = InputSpec("text", (16,), vocabulary=400, special={"pad": 0})
    with pytest.raises(UserError, match="cannot be loaded"):
        build_encoder(str(folder), spec)
    arguments = {"config": {"model_type": "bert", **config.to_dict(), "auto_map": {"AutoModel": "theirs.TheirModel"}}}
    rebuild_encoder({"name": str(folder), "arguments": arguments, "input": spec.to_dict()})
    assert not marker.exists() and "theirs" not in sys.modules


def test_nothing_is_written_or_deleted_through_a_link(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (run / "checkpoint").rename(elsewhere)
    (run / "checkpoint").symlink_to(elsewhere)
    before = sorted(path.name for path in elsewhere.iterdir())
    with pytest.raises(UserError, match="checkpoint is a link"):
        leaven.pretrain("demo:digits", encoder="convnet", settings={"encoder.width": 8}, steps=5, out=run)
    assert sorted(path.name for path in elsewhere.iterdir()) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"format": -1}, {"format": "1"}, {"plan__steps": -3}, {"plan__steps": 10**12}, {"plan__changes": [[1]]}, {"asked": []},
        {"result__health": {}}, {"asked__data__spec__samples": "many"}, {"asked__given__x__input__shape": [10**9]},
        {"asked__encoder__encoder__arguments": None},
    ],
)  # fmt: skip
def test_a_configuration_that_leaven_did_not_write_is_refused_before_anything_is_built(run, changes):
    change(run / "config.json", **changes)
    with pytest.raises(UserError, match=r"config\.json is not") as refused:
        Run.open(run)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("changes", [{"input__shape": [1, 10**6, 10**6]}, {"arguments": {"width": 60_000}}, {"input__mean": "x"}, {"name": "vit"}])
def test_an_encoder_that_does_not_fit_its_weights_takes_no_memory(run, changes):
    change(run / "encoder" / "config.json", **changes)
    with pytest.raises(UserError):
        leaven.load(run)


@pytest.mark.parametrize("name", ["encoder/model.safetensors", "encoder/config.json", "config.json"])
def test_a_pipe_in_place_of_a_file_is_named(run, name):
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(UserError):
        leaven.load(run)


def test_a_missing_tokeniser_is_named(tmp_path):
    run = leaven.pretrain(
        TEXTS, method="simcse", settings={"encoder.width": 16, "encoder.depth": 1, "encoder.heads": 2}, steps=1, out=tmp_path / "run"
    )
    (run.path / "encoder" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="no tokeniser"):
        leaven.embed(run, TEXTS)


@pytest.mark.parametrize("name", OWN)
def test_every_encoder_is_described_without_memory_as_with_it(name):
    kind = OWN[name]
    if name in ("projected", "quantized"):
        pytest.skip("wraps another encoder, which its methods test")
    modality = kind.modalities[0]
    shapes = {"pixels": (3, 16, 16), "vector": (12,), "counts": (12,), "text": (16,), "wave": (4000,), "signal": (3, 400)}
    rate = {"wave": 4000.0, "signal": 100.0}.get(modality)
    spec = InputSpec(modality, shapes[modality], (0.5,) * 3, (0.2,) * 3, rate=rate, vocabulary=400 if modality == "text" else None)
    if modality in ("vector", "counts"):
        spec = InputSpec(modality, (12,), (0.5,) * 12, (0.2,) * 12)
    described = json.loads(json.dumps(describe_encoder(build_encoder(name, spec))))
    with torch.device("meta"):
        without = {key: tensor.shape for key, tensor in rebuild_encoder(described).state_dict().items()}
    assert without == {key: tensor.shape for key, tensor in rebuild_encoder(described).state_dict().items()}


@pytest.mark.parametrize("name", registry())
def test_every_method_is_built_without_memory_as_with_it(name):
    built = small(name)[0].state_dict()
    with torch.device("meta"):
        without = small(name)[0].state_dict()
    assert {key: tensor.shape for key, tensor in without.items()} == {key: tensor.shape for key, tensor in built.items()}
    assert all(tensor.device.type == "meta" for tensor in without.values() if tensor.numel() > 2000)


@pytest.mark.parametrize(("name", "value"), [("input__shape", [1, 16]), ("input__mean", [2**70])])
def test_an_encoder_that_cannot_read_what_its_description_says_is_refused_in_one_line(run, name, value):
    change(run / "encoder" / "config.json", **{name: value})
    with pytest.raises(UserError, match="whole copy of the run"):
        leaven.embed(run, "demo:digits")
