"""A kind of data is one file: a toy one, defined in a temporary file, goes through everything that Leaven does."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch

import leaven
from leaven.modalities import MODALITIES, find_modality

TOY = '''
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leaven.encoders import Encoder
from leaven.modalities import DefaultEncoder, InputSpec, Modality, Value
from leaven.views import Views


@dataclass(frozen=True, eq=False)
class Melody(Value):
    """Notes: (B, T) int64, 0-127."""

    modality = "melody"
    notes: Tensor


class MelodyModality(Modality):
    name, noun, plural, values = "melody", "melody", "melodies", (Melody,)
    encoders = (DefaultEncoder("melody_mean", "notes are embedded and averaged"),)
    method = ("byol", "as good as any")
    views = {"contrast": {"kind": "melody"}, "plain": {"kind": "melody", "count": 1, "drop": 0.0}}
    export_name, export_format = "notes", "int64, (batch, notes)"

    def spec(self, value, train):
        return InputSpec(self.name, tuple(value.notes.shape[1:]), vocabulary=128)

    def raw_features(self, value, train):
        return lambda some: torch.stack([row.bincount(minlength=128) for row in some.notes]).float()

    def lines(self, value, tokenizer=None):
        return [" ".join(map(str, row.tolist())) for row in value.notes]

    def example(self, spec, count, generator):
        return torch.randint(128, (count, *spec.shape), generator=generator)


@dataclass(frozen=True)
class MelodyViews(Views):
    """Notes left out by chance (they become 0)."""

    kind = "melody"
    modality = "melody"

    count: int = 2
    drop: float = 0.2

    def __call__(self, value, draw):
        return [Melody(value.notes * ~draw.child(view).chance(self.drop, *value.notes.shape)) for view in range(self.count)]


class MelodyMean(Encoder):
    """The mean of embedded notes."""

    name = "melody_mean"
    modalities = ("melody",)

    def __init__(self, input: InputSpec, *, width: int = 16):
        super().__init__(input, width)
        self.notes = nn.Embedding(128, width)

    def forward(self, x):
        return self.notes(self.numbers(x)).mean(1)
'''


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "melody.py"
    path.write_text(TOY)
    spec = importlib.util.spec_from_file_location("melody", path)
    module = sys.modules["melody"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["melody"], MODALITIES["melody"]


@pytest.fixture(scope="module")
def melodies(toy):
    """Melodies of two keys, which their labels name."""
    draw = torch.Generator().manual_seed(0)
    label = torch.arange(160) % 2
    notes = 40 + 30 * label[:, None] + torch.randint(25, (160, 12), generator=draw)
    return {"x": toy.Melody(notes), "label": label}


@pytest.fixture(scope="module")
def run(melodies, tmp_path_factory):
    return leaven.pretrain(melodies, method="simclr", steps=20, batch=32, out=tmp_path_factory.mktemp("runs") / "melody")


def test_it_is_trained_by_methods_that_know_nothing_of_it(run, melodies, tmp_path):
    other = leaven.pretrain(melodies, method="byol", steps=5, batch=32, out=tmp_path / "byol")
    for each in (run, other):
        assert each.config["asked"]["encoder"]["encoder"]["name"] == "melody_mean" and each.metrics[-1]["loss"] == each.metrics[-1]["loss"]


def test_it_is_scored_beside_its_floors(run, melodies):
    card = leaven.evaluate(run, melodies, protocols=("knn", "linear", "few-label"), labels_only="20s")
    assert card.scores["linear"]["accuracy"] > 0.7 and card.floors["input"]["linear"]["accuracy"] > 0.7
    assert {"input", "untrained", "labels-only"} <= card.floors.keys()
    page = (run.path / "report.html").read_text()
    assert "melody" in page and any(" ".join(map(str, notes.tolist())) in page for notes in melodies["x"].notes)


def test_it_is_embedded_and_searched(run, melodies, tmp_path):
    vectors = leaven.embed(run, melodies, out=tmp_path / "vectors.npy")
    assert vectors.shape == (160, 16) and np.isfinite(vectors).all()
    assert leaven.search(run, melodies, melodies["x"].notes[7], k=1)[0]["index"] == 7
    assert leaven.search(run, melodies, "#7", k=3, vectors=tmp_path / "vectors.npy")[0]["index"] != 7
    with pytest.raises(leaven.UserError, match="a row such as #17"):
        leaven.search(run, melodies, "la la la")


def test_it_is_inspected(melodies):
    found = leaven.inspect(melodies, steps=2, batch=32)
    assert found.advice["encoder"] == "melody_mean" and found.advice["method"] == "byol"
    assert "160 melodies" in found.text()


def test_it_is_exported(run, tmp_path):
    onnx = leaven.export(run, to="onnx", out=tmp_path / "melody.onnx")
    weights = leaven.export(run, to="safetensors", out=tmp_path / "melody.safetensors")
    assert onnx.difference.relative < 1e-4 and weights.count == 128 * 16


def test_an_encoder_of_another_kind_refuses_it(run, melodies):
    with pytest.raises(leaven.UserError, match=r"reads melody, and the data has x \(vector\)"):
        leaven.embed(run, torch.randn(8, 12))
    with pytest.raises(leaven.UserError, match="not melody"):
        leaven.pretrain(melodies, encoder="convnet", steps=1)


@pytest.mark.parametrize("name", [name for name in MODALITIES if find_modality(name).encoders])
def test_every_modality_names_what_there_is(name):
    from leaven.encoders import OWN
    from leaven.methods.registry import registry
    from leaven.views import Views

    modality = find_modality(name)
    assert modality.method[0] in registry()
    for views in modality.views.values():
        assert Views.from_dict(json.loads(json.dumps(views))).modality == name
    assert any(default.name in OWN for default in modality.encoders)
