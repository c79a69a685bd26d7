"""Pictures with texts, each read by an encoder of its own: trained together, embedded, searched across, exported and fine-tuned."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import leaven
from leaven.errors import UserError

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "grey": (128, 128, 128)}
SHAPES = ("square", "bar", "ring", "dot")
SMALL = {
    "encoder.image.width": 8,
    "encoder.image.features": 32,
    "encoder.text.width": 32,
    "encoder.text.depth": 1,
    "tokenizer.vocabulary": 300,
}


def shape(name, color, shift):
    """(3, 24, 24) uint8 on white."""
    y, x = np.mgrid[:24, :24] - 12 - shift
    inside = {
        "square": (abs(x) < 6) & (abs(y) < 6),
        "bar": (abs(x) < 9) & (abs(y) < 2),
        "ring": (x**2 + y**2 < 80) & (x**2 + y**2 > 30),
        "dot": x**2 + y**2 < 12,
    }[name]
    return np.where(inside, np.array(color)[:, None, None], 255).astype(np.uint8)


def drawn():
    """Pictures of shapes in colours, what each is called, and the colours as labels."""
    every = [(color, name, shift) for shift in range(-3, 4) for color in COLORS for name in SHAPES]
    pictures = torch.from_numpy(np.stack([shape(name, COLORS[color], shift) for color, name, shift in every]))
    return pictures, [f"a {color} {name}" for color, name, _ in every], [color for color, _, _ in every]


@pytest.fixture(scope="module")
def pairs():
    pictures, texts, colors = drawn()
    return {"image": pictures, "text": texts, "label": colors}


@pytest.fixture(scope="module")
def run(pairs, tmp_path_factory):
    data = {role: pairs[role] for role in ("image", "text")}
    encoder = {"image": "convnet", "text": "transformer"}
    out = tmp_path_factory.mktemp("pairs") / "run"
    return leaven.pretrain(data, method="cmc", encoder=encoder, steps=120, batch=32, settings=SMALL, out=out, report=False)


def test_both_encoders_are_kept_and_loaded_by_their_roles(run, pairs):
    assert run.roles == ("image", "text")
    image, text = (leaven.load(run, role) for role in run.roles)
    assert (image.input.modality, text.input.modality) == ("pixels", "text")
    with pytest.raises(UserError, match="several encoders: image, text"):
        leaven.embed(run, pairs)


def test_either_role_is_embedded_from_pairs_or_alone(run, pairs, tmp_path):
    images, texts = (leaven.embed(run, pairs, role=role) for role in ("image", "text"))
    assert len(images) == len(texts) == len(pairs["text"]) and images.shape[1] == 32
    np.testing.assert_allclose(leaven.embed(run, pairs["image"], role="image"), images, atol=1e-5)
    np.testing.assert_allclose(leaven.embed(run, pairs["text"], role="text"), texts, atol=1e-5)
    with pytest.raises(UserError, match="this encoder reads pixels, and the data has x"):
        leaven.embed(run, pairs["text"], role="image")


def test_texts_that_look_like_picture_files_are_texts_for_an_encoder_of_text(run, pairs):
    assert leaven.embed(run, ["red.png", "blue.jpg"], role="text").shape == (2, 32)
    (neighbour,) = leaven.search(run, pairs["text"], "red.png", k=1, role="text")
    assert neighbour["rank"] == 1


def color_of(pairs, found):
    return [pairs["label"][neighbour["index"]] for neighbour in found]


def test_a_text_finds_pictures_and_a_picture_finds_texts(run, pairs, tmp_path):
    found = leaven.search(run, pairs, ["a red square", "a blue ring"], k=10, role="image", out=tmp_path / "sheet.png")
    assert [color_of(pairs, answer).count(color) >= 7 for answer, color in zip(found, ("red", "blue"), strict=True)] == [True, True]
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[2] == 3 and len(np.unique(sheet.reshape(-1, 3), axis=0)) > 50
    Image.fromarray(shape("dot", COLORS["green"], 1).transpose(1, 2, 0)).save(tmp_path / "green.png")
    (answer,) = leaven.search(run, pairs, [str(tmp_path / "green.png")], k=10, role="text")
    assert color_of(pairs, answer).count("green") >= 7 and "green" in answer[0]["text"]


def test_a_row_asks_within_its_own_role_unless_another_one_is_chosen(run, pairs):
    within = leaven.search(run, pairs, 5, k=3, role="image")
    assert 5 not in [neighbour["index"] for neighbour in within]
    across = leaven.search(run, pairs, 5, k=28, role="image", query_role="text")
    assert color_of(pairs, across).count(pairs["label"][5]) >= 14  # its own picture may be among them


def test_stored_vectors_of_one_role_are_searched_with_a_query_of_the_other(run, pairs, tmp_path):
    leaven.embed(run, pairs, role="image", out=tmp_path / "images")
    stored = leaven.search(run, pairs, "a grey bar", k=5, role="image", vectors=tmp_path / "images")
    assert stored == leaven.search(run, pairs, "a grey bar", k=5, role="image")
    with pytest.raises(UserError, match="these vectors are of another encoder"):
        leaven.search(run, pairs, "a grey bar", role="text", vectors=tmp_path / "images")


def test_a_query_that_no_encoder_of_the_run_reads_is_one_line(run, pairs):
    with pytest.raises(UserError, match="no encoder is named 'sound'"):
        leaven.search(run, pairs, "a grey bar", role="image", query_role="sound")
    with pytest.raises(UserError, match="no such picture"):
        leaven.search(run, pairs, "a grey bar", role="image", query_role="image")


def test_both_encoders_are_exported_under_their_roles(run):
    pytest.importorskip("onnxruntime")
    for role in run.roles:
        exported = leaven.export(run, to="onnx", role=role)
        assert exported.out == run.path / "export" / f"{role}.onnx" and exported.difference.relative < 1e-4
        assert leaven.export(run, to="safetensors", role=role).out.name == f"safetensors-{role}"


@pytest.mark.parametrize("role", ["image", "text"])
def test_a_classifier_goes_on_from_either_encoder(run, pairs, role, tmp_path):
    classifier = leaven.finetune(run, pairs, role=role, steps=60, batch=32, all_labels=True, early_stopping=False, out=tmp_path / "classifier")
    predictions = leaven.predict(classifier, pairs, role=role)
    assert np.mean([label == color for label, color in zip(predictions.labels, pairs["label"], strict=True)]) > 0.8
    alone = leaven.predict(classifier, pairs[role])
    np.testing.assert_allclose(alone.probabilities, predictions.probabilities, atol=1e-4)


def test_the_command_line_goes_the_same_way(command, tmp_path):
    pictures, texts, colors = drawn()
    rows = ["file,name,color"]
    for number, (picture, text, color) in enumerate(zip(pictures, texts, colors, strict=True)):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{text},{color}")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    data, out = tmp_path / "captions.csv", tmp_path / "run"
    settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    columns = ["--columns", "image=file,text=name"]
    words = ["--method", "cmc", "--encoder", "image=convnet,text=transformer", "--steps", 20, "--batch", 32, *settings, "--out", out]
    status, told, err = command("pretrain", data, *columns, *words)
    assert status == 0, err
    assert "not used: " in err and "color" in err
    assert f"Next: leaven evaluate {out} {data} --columns image=file,text=name" in told
    for role in ("image", "text"):
        status, told, err = command("embed", out, data, *columns, "--role", role, "--out", tmp_path / role, "--json")
        assert status == 0 and json.loads(told)["count"] == len(texts), err
    status, told, err = command("search", out, data, *columns, "--role", "image", "--query", "a red dot", "--out", tmp_path / "red.png", "-k", 3)
    assert status == 0 and told.splitlines()[0] == "a red dot" and len(told.splitlines()) == 5, err
    status, _, err = command("finetune", out, data, *columns, "--role", "text", "--labels", "color", "--steps", 3, "--out", tmp_path / "classes")
    assert status == 0, err


def test_emoji_are_found_by_what_they_are_called(data_root, command, tmp_path):
    data, out = data_root / "emoji" / "captions.csv", tmp_path / "run"
    columns = ["--columns", "image=file,text=name"]
    small = {**SMALL, "encoder.image.width": 16, "tokenizer.vocabulary": 2000}
    settings = [word for name, value in small.items() for word in ("--set", f"{name}={value}")]
    words = ["--method", "cmc", "--encoder", "image=convnet,text=transformer", "--steps", 10, "--size", 32, *settings, "--out", out]
    status, _, err = command("pretrain", data, *columns, *words)
    assert status == 0, err
    assert "not used: 2 columns of text (codepoints, keywords)" in err
    status, told, err = command("search", out, data, *columns, "--role", "image", "--query", "red heart", "--out", tmp_path / "hearts.png", "--json")
    assert status == 0 and len(json.loads(told)["neighbours"]) == 10, err
    assert Image.open(tmp_path / "hearts.png").mode == "RGB"
