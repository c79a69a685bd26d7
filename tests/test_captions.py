"""CoCa and what it writes: what each prediction sees, what it costs, greedy words and beams against every text, captions of pictures as a table."""

import csv
import itertools
import json
import math

import numpy as np
import pytest
import torch
from small import small, step_views
from test_pairs_of_modalities import SMALL, drawn
from torch.nn import functional as F

import leaven
from leaven.draw import Draw
from leaven.errors import UserError
from leaven.modalities import InputSpec, Pixels, Tokens
from leaven.modules.text import mean_nats
from leaven.modules.writing import Decoding


@pytest.fixture
def coca():
    return small("coca")[0].eval()


@pytest.fixture
def batch(coca):
    return step_views(coca)


def states(method, views):
    """What the upper half makes of each token and its picture."""
    seen = method.senses["image"].with_places(views["image"])
    return method.decoder(method.senses["text"].token_features(views["text"]).tokens, method.pooling(seen.places))


def test_no_prediction_sees_a_later_word_or_the_picture_of_another_sample(coca, batch):
    views = batch["views"]
    before, place = states(coca, views), 3
    ids = views["text"].ids.clone()
    ids[:, place] = (ids[:, place] + 1) % 90 + 10
    after = states(coca, {**views, "text": Tokens(ids, views["text"].mask)})
    assert torch.equal(before[:, :place], after[:, :place]) and not torch.equal(before[:, place], after[:, place])
    pixels = views["image"].pixels.clone()
    pixels[5] = pixels[6]
    moved = (states(coca, {**views, "image": Pixels(pixels)}) != before).flatten(1).any(1)
    assert moved.tolist() == [row == 5 for row in range(len(pixels))]


def test_the_text_vector_sees_the_whole_text_and_no_picture(coca, batch):
    text, encoder = batch["views"]["text"], coca.senses["text"]
    assert encoder.pooling == "last" == encoder.arguments["pooling"]
    end = text.ids[torch.arange(len(text)), text.mask.sum(1) - 1]
    assert (end == encoder.input.special["end"]).all()
    ids = text.ids.clone()
    ids[:, 1] = (ids[:, 1] + 1) % 90 + 10
    assert (encoder(Tokens(ids, text.mask)) != encoder(text)).any(1).all()
    first, second = coca(batch).embeddings
    other = {**batch, "views": {**batch["views"], "image": Pixels(batch["views"]["image"].pixels.flip(0))}}
    assert torch.allclose(coca(other).embeddings[1], second, atol=1e-6) and not torch.allclose(coca(other).embeddings[0], first, atol=1e-3)


def test_the_caption_costs_the_nats_of_each_token_and_of_the_end_but_not_of_padding(coca, batch):
    outputs, text = coca(batch), batch["views"]["text"]
    log = coca.head.logits(states(coca, batch["views"])).log_softmax(2)
    for row in range(4):
        length = int(text.mask[row].sum())
        nats = -sum(log[row, place - 1, text.ids[row, place]] for place in range(1, length))
        assert outputs.nats[row].item() == pytest.approx(nats.item(), rel=1e-4) and outputs.count[row] == length - 1
    assert coca.loss(outputs)["caption"].item() == pytest.approx(2 * mean_nats(outputs).item())
    wider = Tokens(F.pad(text.ids, (0, 3)), F.pad(text.mask, (0, 3)))
    padded = coca({**batch, "views": {**batch["views"], "text": wider}})
    assert torch.allclose(padded.nats, outputs.nats, atol=1e-5) and torch.equal(padded.count, outputs.count)


def test_a_model_that_knows_nothing_costs_the_logarithms_of_the_batch_and_of_the_vocabulary(coca, batch):
    coca.head.embeddings[0].weight.data.zero_()
    outputs = coca(batch)
    count, vocabulary = len(outputs.nats), coca.senses["text"].input.vocabulary
    assert coca.loss(outputs)["caption"].item() == pytest.approx(2 * math.log(vocabulary), rel=1e-5)
    assert coca.chance(outputs) == pytest.approx(math.log(count) + 2 * math.log(vocabulary))


def test_words_that_a_view_drops_are_not_written():
    method = small("coca", **{"views.text.drop": 0.5})[0]
    text = step_views(method, Draw(0, "views"))["views"]["text"]
    lengths = text.mask.sum(1)
    assert torch.equal(text.mask, torch.arange(text.mask.shape[1]) < lengths[:, None]) and len(lengths.unique()) > 1
    assert (text.ids[torch.arange(len(text)), lengths - 1] == method.senses["text"].input.special["end"]).all()


TOY = InputSpec("text", (4,), vocabulary=6, special={"pad": 0, "begin": 1, "end": 2})


def toy(read):
    """Logits that depend on all that was written, different for each text."""
    weight = torch.randn(2, 7, 6, 6, generator=torch.Generator().manual_seed(1)) * 2
    rows = torch.arange(len(read.ids)) // (len(read.ids) // 2)
    return sum(weight[rows, place, read.ids[:, place]] for place in range(read.ids.shape[1]))


def every_text():
    """All texts of the toy language, up to the end or three tokens."""
    for length in (1, 2, 3):
        for words in itertools.product((3, 4, 5), repeat=length - 1):
            yield from ([[*words, last] for last in ((2,) if length < 3 else (2, 3, 4, 5))])


def likelihood(sample, words):
    ids = torch.tensor([[1], [1]])
    total = 0.0
    for word in words:
        scores = toy(Tokens(ids, torch.ones_like(ids, dtype=torch.bool)))
        scores[:, :2] = float("-inf")
        total += scores.log_softmax(1)[sample, word].item()
        ids = torch.cat([ids, torch.full((2, 1), word)], 1)
    return total / len(words)


def tokens(text, row):
    return text.ids[row][text.mask[row]].tolist()[1:]


def test_wide_beams_find_the_likeliest_text_per_token_and_one_beam_the_likeliest_word_each_time():
    wide = Decoding(beams=40).write(toy, 2, TOY, torch.device("cpu"), Draw(0))
    greedy = Decoding().write(toy, 2, TOY, torch.device("cpu"), Draw(0))
    for sample in range(2):
        best = max(every_text(), key=lambda words: likelihood(sample, words))
        assert tokens(wide, sample) == best
        words: list[int] = []
        for word in tokens(greedy, sample):
            choices = {other: likelihood(sample, [*words, other]) for other in (2, 3, 4, 5)}
            assert word == max(choices, key=choices.get)
            words.append(word)


def test_words_that_are_drawn_are_as_frequent_as_they_are_likely():
    drawn_texts = Decoding(temperature=0.5).write(
        lambda read: torch.tensor([[9.0, 9, 1, 0, 0, 0]]).expand(4000, -1) / 2, 4000, TOY, torch.device("cpu"), Draw(0)
    )
    share = (drawn_texts.ids[:, 1] == 2).float().mean().item()
    assert share == pytest.approx(math.e / (math.e + 3), abs=0.03)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pictures, names, _ = drawn()
    settings = {**SMALL, "dim": 32, "views.image.flip": 0, "recipe.lr": 5e-2}
    out = tmp_path_factory.mktemp("coca") / "run"
    return leaven.pretrain({"image": pictures, "text": names}, method="coca", steps=120, batch=56, settings=settings, out=out, report=False)


def test_a_trained_run_writes_the_captions_of_pictures(run, tmp_path, command):
    pictures, names, _ = drawn()
    written = leaven.predict(run, pictures, target="text")
    assert written.role == "text" and sum(a == b for a, b in zip(written.texts, names, strict=True)) > 0.5 * len(names)
    beams = leaven.predict(run, pictures, source="image", target="text", beams=3)
    assert sum(a == b for a, b in zip(beams.texts, names, strict=True)) > 0.5 * len(names)
    chance = {"temperature": 5.0, "source": "image"}
    assert leaven.predict(run, pictures, **chance).texts == leaven.predict(run, pictures, **chance).texts
    assert leaven.predict(run, pictures, **chance).texts != leaven.predict(run, pictures, **chance, seed=1).texts
    out = tmp_path / "captions.csv"
    np.save(tmp_path / "pictures.npy", pictures[:5].numpy())
    status, told, err = command("predict", run.path, tmp_path / "pictures.npy", "--from", "image", "--to", "text", "--out", out, "--json")
    assert status == 0, err
    with open(out, newline="") as stream:
        rows = [*csv.DictReader(stream)]
    assert [row["text"] for row in rows] == json.loads(told)["texts"] == list(written.texts[:5]) and set(rows[0]) == {"file", "text"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": "sound"}, "does not make sound from anything.*--from image --to text"),
        ({"source": "text", "target": "image"}, "does not make image from text"),
        ({"target": "text", "classes": "names.txt"}, "a class or a text"),
        ({"beams": 3}, "say what is written with --to"),
        ({"target": "text", "beams": 3, "temperature": 1.0}, "give one of them"),
    ],
)
def test_what_cannot_be_written_is_one_line(run, options, told):
    with pytest.raises(UserError, match=told) as refusal:
        leaven.predict(run, drawn()[0], **options)
    assert "\n" not in str(refusal.value)


def test_data_without_texts_and_runs_that_do_not_write_are_one_line(tmp_path):
    with pytest.raises(UserError, match="coca writes texts about its other input, and neither a nor b is text"):
        leaven.pretrain({"a": torch.rand(32, 4), "b": torch.rand(32, 5)}, method="coca", steps=1, out=tmp_path / "run")
    run = leaven.pretrain(torch.rand(32, 6), method="autoencoder", steps=1, batch=16, out=tmp_path / "other", report=False)
    with pytest.raises(UserError, match=r"autoencoder makes nothing of one input from another .*: train one of coca"):
        leaven.predict(run, torch.rand(4, 6), target="text")
