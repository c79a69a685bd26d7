"""Texts beside other wordings: by synonyms, by functions, by pipelines; what is kept when it ends early, and what is refused."""

import csv
import json

import pytest

import leaven
from leaven.data.rewriting import Synonyms, checked_texts

TEXTS = ["the car is quick", "a quick dog", "Car parks are full", "nothing to say"]
SYNONYMS = "car, automobile\nquick\tfast\trapid\n# dog, hound\n"


def pairs_in(path):
    with open(path, newline="") as stream:
        head, *rows = csv.reader(stream)
    assert head == ["anchor", "positive"]
    return [tuple(row) for row in rows]


def test_known_words_are_exchanged_by_chance_and_one_at_least():
    synonyms = {"car": ["automobile"], "quick": ["fast", "rapid"]}
    every = Synonyms(synonyms, share=1.0)
    assert every.rewritten("the car isn't quick, Car!") in ("the automobile isn't fast, Automobile!", "the automobile isn't rapid, Automobile!")
    assert every.rewritten("carpets are quicker") == "carpets are quicker"
    seldom = Synonyms(synonyms, share=1e-9)
    assert all(sum(a != b for a, b in zip(seldom.rewritten("car car car").split(), ["car"] * 3, strict=True)) == 1 for _ in range(20))
    half = Synonyms(synonyms, share=0.5)
    changed = sum(half.rewritten("car " * 10).count("automobile") for _ in range(200)) / 2000
    assert changed == pytest.approx(0.5, abs=0.05)
    with pytest.raises(leaven.UserError, match="share"):
        Synonyms(synonyms, share=0.0)


def test_a_file_of_synonyms_makes_pairs(tmp_path):
    (tmp_path / "synonyms.txt").write_text(SYNONYMS)
    found = leaven.rewrite(TEXTS, tmp_path / "synonyms.txt", out=tmp_path / "pairs.csv", times=2)
    assert (found.pairs, found.same) == (6, 2)
    pairs = pairs_in(tmp_path / "pairs.csv")
    assert {anchor for anchor, _ in pairs} == set(TEXTS[:3])
    assert all("hound" not in positive for _, positive in pairs)
    again = leaven.rewrite(TEXTS, tmp_path / "synonyms.txt", out=tmp_path / "again.csv", times=2)
    assert pairs_in(again.out) == pairs
    run = leaven.pretrain(
        tmp_path / "pairs.csv", method="supervised_simcse", steps=2, batch=4, out=tmp_path / "run", report=False,
        settings={"tokenizer.vocabulary": 300, "encoder.width": 16, "encoder.depth": 1},
    )  # fmt: skip
    assert leaven.embed(run, ["a car"]).shape == (1, 16)


@pytest.mark.parametrize("answer", [str.upper, lambda text: {"translation_text": text.upper()}, lambda text: [{"generated_text": text.upper()}]])
def test_any_function_or_pipeline_rewrites(tmp_path, answer):
    leaven.rewrite(TEXTS, lambda texts: [answer(text) for text in texts], out=tmp_path / "pairs.csv", batch=3)
    assert pairs_in(tmp_path / "pairs.csv") == [(text, text.upper()) for text in TEXTS]


def test_a_rewriting_that_was_cut_off_goes_on_and_asks_for_nothing_twice(tmp_path):
    asked, out = [], tmp_path / "pairs.csv"

    def upper(texts):
        if len(asked) == 2:
            asked.append(None)
            raise KeyboardInterrupt
        asked.append(texts)
        return [text.upper() for text in texts]

    with pytest.raises(KeyboardInterrupt):
        leaven.rewrite(TEXTS, upper, out=out, batch=1)
    assert not out.exists()
    kept = tmp_path / "pairs.csv.unfinished.jsonl"
    kept.write_text(kept.read_text() + '["cut o')
    leaven.rewrite(TEXTS, upper, out=out, batch=1)
    assert [text for texts in asked if texts for text in texts] == TEXTS
    assert pairs_in(out) == [(text, text.upper()) for text in TEXTS] and not kept.exists()


def test_an_unfinished_rewriting_of_other_texts_is_not_mixed_in(tmp_path):
    kept = tmp_path / "pairs.csv.unfinished.jsonl"
    kept.write_text(json.dumps({"data": "other"}) + "\n")
    with pytest.raises(leaven.UserError, match="another rewriting"):
        leaven.rewrite(TEXTS, lambda texts: texts, out=tmp_path / "pairs.csv")


@pytest.mark.parametrize(
    ("answers", "match"),
    [("text", "gave str back"), (["a"], "2 texts and gave 1 back"), ([1, 2], "gave int for a text"), ([{"score": 1}, "b"], "gave dict for a text")],
)
def test_a_rewriter_that_gives_anything_else_is_refused(answers, match):
    with pytest.raises(leaven.UserError, match=match):
        checked_texts(answers, 2)


def test_wrong_input_is_one_line(tmp_path, command):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    (tmp_path / "lonely.txt").write_text("car\n\n")
    (tmp_path / "own.py").write_text("def same(texts):\n    return texts\n\nnumber = 3\n")
    for by, out, told_of in (
        ("nothing.txt", "pairs.csv", "no such file"),
        (tmp_path / "lonely.txt", "pairs.csv", "no line of this file holds two words"),
        (f"{tmp_path}/own.py:other", "pairs.csv", "defines no 'other'"),
        (f"{tmp_path}/own.py:number", "pairs.csv", "not a function"),
        (f"{tmp_path}/own.py:same", "pairs.csv", "no text came back in other words"),
        (f"{tmp_path}/own.py:same", "pairs.txt", "written as .csv"),
    ):
        status, _, err = command("rewrite", tmp_path / "texts.txt", "--by", by, "--out", tmp_path / out)
        assert status == 2 and told_of in err and "Traceback" not in err, err
    status, _, err = command("rewrite", "demo:digits", "--by", tmp_path / "lonely.txt", "--out", tmp_path / "pairs.csv")
    assert status == 2 and "only texts can be rewritten" in err
