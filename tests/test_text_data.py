"""Texts from files, tables and lists; tokenisers; what is set aside, and what is refused."""

import json

import pytest
import torch

import leaven
from leaven.data import open_data
from leaven.encoders import build_encoder
from leaven.modalities import Strings, Text, Tokens, Vector
from leaven.modalities.tokenizer import SPECIAL, Tokenizer, TokenizerChoice
from leaven.training.tokenization import in_pieces, tokenized

SENTENCES = ["a cat sat on the mat", "dogs run in the park", "the cat saw a dog", "it rains today", "a park in the rain", "the mat is wet today"]


def written(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def texts_of(data, role="x"):
    return data.rows[role].texts.tolist()


# --- files ---


def test_every_line_of_a_text_file_that_is_not_blank_is_a_sample(tmp_path):
    data = open_data(written(tmp_path, "a.txt", "one\n\n  \ntwo\r\nthree\u2028still three\n"))
    assert texts_of(data) == ["one", "two", "three\u2028still three"] and data.files[0] == "a.txt#0" and not data.broken


def test_lines_that_are_not_utf_8_are_set_aside_and_named(tmp_path):
    data = open_data(written(tmp_path, "a.txt", b"good\nbad \xff\xfe\nfine\n"))
    assert texts_of(data) == ["good", "fine"]
    assert [(each.file, each.why) for each in data.broken] == [("a.txt#1", "not UTF-8")]


def test_text_files_in_class_folders_are_documents_with_labels(tmp_path):
    for split in ("train", "test"):
        for label in ("sport", "news"):
            for number in range(3):
                written(tmp_path, f"{split}/{label}/{number}.txt", f"{label} {split}\nsecond line {number}")
    data = open_data(tmp_path)
    assert (
        len(data) == 12
        and data.spec.class_names == ("news", "sport")
        and {name: len(rows) for name, rows in data.splits.items()} == {"train": 6, "test": 6}
    )
    assert texts_of(data)[0].count("\n") == 1


def test_text_files_that_are_named_as_splits_are_read_by_line(tmp_path):
    written(tmp_path, "train.txt", "a\nb\n")
    written(tmp_path, "test.txt", "c\n")
    data = open_data(tmp_path)
    assert texts_of(data) == ["c", "a", "b"] and data.splits["train"].tolist() == [1, 2]


def test_tables_give_texts_labels_groups_and_splits(tmp_path):
    lines = ["text,label,split,group", '"a, quoted ""text""",x,train,1', "second,y,train,2", "third,x,test,3"]
    data = open_data(written(tmp_path, "a.csv", "\n".join(lines)))
    assert texts_of(data) == ['a, quoted "text"', "second", "third"]
    assert data.rows.label.tolist() == [0, 1, 0] and data.rows.group.tolist() == [0, 1, 2] and len(data.splits["test"]) == 1


def test_json_lines_give_texts_and_empty_ones_are_set_aside(tmp_path):
    rows = [{"text": "one", "label": 1}, {"text": "", "label": 0}, {"label": 1}, {"text": "two \U0001f600", "label": 0}]
    data = open_data(written(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows)))
    assert texts_of(data) == ["one", "two \U0001f600"] and [each.why for each in data.broken] == ["empty", "no text"]
    assert data.rows.label.tolist() == [1, 0]


def test_parquet_tables_of_text_are_read(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"text": SENTENCES, "label": [0, 1] * 3}), tmp_path / "a.parquet")
    data = open_data(tmp_path / "a.parquet")
    assert texts_of(data) == SENTENCES and data.spec.classes == 2


def test_two_columns_of_sentences_are_pairs_with_their_score(tmp_path):
    path = written(tmp_path, "train.csv", "sentence1,sentence2,score\na b,b c,4.5\nc,d,0\ne,f,\n")
    data = open_data(path)
    assert set(data.rows.roles) == {"a", "b", "score"} and isinstance(data.rows["score"], Vector)
    assert texts_of(data, "a") == ["a b", "c"] and data.rows["score"].numbers.tolist() == [[4.5], [0.0]]
    assert data.broken[0].why == "score: no number"


def test_a_file_without_a_head_has_columns_with_numbers(tmp_path):
    path = written(tmp_path, "a.tsv", '3.5\ta "quoted\tsecond\n1.0\tthird\tfourth\n')
    data = open_data(path, columns={"a": "2", "b": "3", "score": "1"})
    assert texts_of(data, "a") == ['a "quoted', "third"] and data.rows["score"].numbers[0, 0] == 3.5


def test_columns_joined_by_plus_are_samples_of_one_role(tmp_path):
    path = written(tmp_path, "a.csv", "sentence1,sentence2,split\na,b,train\nc,d,test\n")
    data = open_data(path, columns={"x": "sentence1+sentence2"})
    assert texts_of(data) == ["a", "c", "b", "d"] and data.splits["test"].tolist() == [1, 3]
    assert data.files == ("a.csv#0.sentence1", "a.csv#1.sentence1", "a.csv#0.sentence2", "a.csv#1.sentence2")


@pytest.mark.parametrize(
    ("content", "columns", "told"),
    [
        ("first,second\nwords one,words two\n", None, "which column holds the text"),
        ("text,label\na,b\n", {"x": "txet"}, "no column 'txet'"),
        ("label\n1\n2\n", None, "no column of pictures, text or numbers"),
        ("", None, "empty"),
        ("text\n\n", None, "no samples in it"),
        ('text\n""\n""\n', None, "none of the 2 samples"),
    ],
)
def test_tables_without_text_are_refused_in_one_line(content, columns, told, tmp_path):
    with pytest.raises(leaven.UserError, match=told):
        open_data(written(tmp_path, "a.csv", content), columns=columns)


def test_a_line_that_is_not_json_is_named(tmp_path):
    with pytest.raises(leaven.UserError, match="line 2 is not JSON"):
        open_data(written(tmp_path, "a.jsonl", '{"text": "a"}\nnonsense\n'))


def test_lists_of_texts_are_opened_with_labels_and_roles():
    data = open_data((SENTENCES, [0, 1] * 3))
    assert texts_of(data) == SENTENCES and data.rows.label.tolist() == [0, 1] * 3
    pairs = open_data({"anchor": SENTENCES, "positive": SENTENCES[::-1], "group": list(range(6))})
    assert texts_of(pairs, "positive") == SENTENCES[::-1] and pairs.rows.group.tolist() == list(range(6))


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(leaven.UserError, match="lengths differ"):
        open_data({"anchor": SENTENCES, "positive": SENTENCES[1:]})


def test_equal_texts_have_equal_hashes_wherever_they_lie():
    a, b = open_data(SENTENCES), open_data(SENTENCES[::-1])
    assert torch.equal(a.hashes, b.hashes.flip(0)) and len(a.hashes.unique()) == 6
    assert a.fingerprint != b.fingerprint and a.fingerprint == open_data(list(SENTENCES)).fingerprint


def test_strings_are_selected_as_tensors_are():
    strings = Strings.of(SENTENCES)
    assert strings[torch.tensor([2, 0])].tolist() == [SENTENCES[2], SENTENCES[0]]
    assert strings[torch.tensor([True, False] * 3)].tolist() == SENTENCES[::2] and strings[4:].tolist() == SENTENCES[4:]
    both = Text.cat([Text(strings), Text(strings[:1])])
    assert len(both) == 7 and both[torch.tensor([6])].texts.tolist() == SENTENCES[:1]


# --- tokens ---


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "bytes", "words"])
def test_tokens_give_the_text_back(kind):
    tokenizer = Tokenizer.trained(SENTENCES * 10, TokenizerChoice(kind=kind, vocabulary=400, max_length=64))
    tokens = tokenizer(SENTENCES)
    assert tokenizer.decode(tokens[torch.arange(6)]) == SENTENCES
    assert tokenizer.special == {name: number for number, name in enumerate(SPECIAL)}


def test_byte_tokens_hold_every_text_and_words_know_only_their_own():
    odd = ["naïve café \U0001f600 中文 A"]
    data_bytes = Tokenizer.trained(SENTENCES, TokenizerChoice(kind="bytes", max_length=64))
    assert data_bytes.decode(data_bytes(odd)[torch.arange(1)]) == odd and data_bytes.vocabulary == 256 + 5
    words = Tokenizer.trained(SENTENCES, TokenizerChoice(kind="words", max_length=64))
    ids = words(["a zebra sat"])[torch.arange(1)].ids[0].tolist()
    assert ids[2] == words.special["unknown"] and ids[0] == words.special["begin"] and ids[-1] == words.special["end"]


def test_long_texts_are_cut_and_still_end():
    tokenizer = Tokenizer.trained(SENTENCES, TokenizerChoice(kind="words", max_length=8))
    (ids,) = tokenizer(["cat " * 100_000])[torch.arange(1)].ids
    assert len(ids) == 8 and ids[-1] == tokenizer.special["end"]


def test_batches_are_padded_to_their_own_longest():
    tokenizer = Tokenizer.trained(SENTENCES, TokenizerChoice(kind="words"))
    tokens = tokenizer(["a", "a cat sat on the mat", "the dog"])
    short, whole = tokens[torch.tensor([0, 2])], tokens[torch.arange(3)]
    assert short.ids.shape == (2, 4) and whole.ids.shape == (3, 8)
    assert torch.equal(whole.mask.sum(1), torch.tensor([3, 8, 4])) and (whole.ids[~whole.mask] == tokenizer.special["pad"]).all()
    assert torch.equal(tokens.take(torch.tensor([2]))[torch.tensor([0])].ids, tokens[torch.tensor([2])].ids)


def test_a_tokenizer_is_the_same_after_it_was_kept(tmp_path):
    tokenizer = Tokenizer.trained(SENTENCES, TokenizerChoice())
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json", tokenizer.input)
    assert again.digest() == tokenizer.digest() and torch.equal(again(SENTENCES)[torch.arange(6)].ids, tokenizer(SENTENCES)[torch.arange(6)].ids)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(leaven.UserError, match="tokeniser cannot be read"):
        Tokenizer.load(tmp_path / "tokenizer.json", tokenizer.input)


@pytest.mark.parametrize("kind", ["bpe", "bytes", "words"])
def test_the_same_texts_give_the_same_tokenizer(kind):
    made = {Tokenizer.trained(SENTENCES * 3, TokenizerChoice(kind=kind, vocabulary=320)).digest() for _ in range(5)}
    assert len(made) == 1


def test_case_and_accents_are_kept_where_that_is_asked_for():
    odd = ["Ein Café in Köln"]
    for lowercase, back in ((False, odd[0]), (None, "ein cafe in koln")):
        tokenizer = Tokenizer.trained(SENTENCES, TokenizerChoice(lowercase=lowercase, max_length=64))
        assert tokenizer.decode(tokenizer(odd)[torch.arange(1)]) == [back]


def test_the_longest_text_covers_nearly_all_texts():
    choice = TokenizerChoice(kind="words")
    assert Tokenizer.trained(["a " * 10] * 200 + ["a " * 500], choice).max_length == 16  # with those that begin and end it: 12
    assert Tokenizer.trained(["a " * 500] * 20, choice).max_length == 128


@pytest.mark.parametrize("settings", [{"kind": "letters"}, {"vocabulary": 20}, {"max_length": 3}])
def test_wrong_tokenizers_are_refused(settings):
    with pytest.raises(leaven.UserError):
        TokenizerChoice(**settings)


def test_tokens_stand_in_for_texts_and_keep_the_rest():
    data = open_data((SENTENCES, [0, 1] * 3))
    tokenizer = Tokenizer.trained(SENTENCES, TokenizerChoice())
    found = tokenized(data, tokenizer)
    assert isinstance(found.rows["x"], Tokens) and found.spec.roles["x"].vocabulary == tokenizer.vocabulary
    assert torch.equal(found.rows.label, data.rows.label) and found.fingerprint == data.fingerprint


def test_equal_tokens_have_equal_keys_whatever_their_padding():
    tokenizer = Tokenizer.trained(SENTENCES, TokenizerChoice(kind="words"))
    tokens = tokenizer([*SENTENCES, SENTENCES[0], "cat the", "the cat"])
    keys = tokens[torch.arange(9)].keys()
    assert keys[0] == keys[6] and len(keys.unique()) == 8
    assert tokens[torch.tensor([3, 8])].keys()[1] == keys[8]


# ---- longer than what is read


@pytest.fixture(scope="module")
def long_texts():
    words = [f"word{number}" for number in range(40)]
    return [" ".join(words), "word1 word2", " ".join(words[:11])]


def test_pieces_hold_every_token_once_and_in_order(long_texts):
    tokenizer = Tokenizer.trained(long_texts, TokenizerChoice(kind="words", max_length=8))
    pieces, text = tokenizer.pieces(long_texts)
    assert text.tolist() == [0] * 7 + [1] + [2] * 2
    for number, written in enumerate(long_texts):
        rows = (text == number).nonzero().flatten()
        assert " ".join(tokenizer.decode(pieces[rows])) == written
    assert pieces.mask.lengths.max() == 8
    assert torch.equal(tokenizer(long_texts)[torch.tensor([0])].ids, pieces[torch.tensor([0])].ids)


@pytest.mark.parametrize("name", ["transformer", "word_vectors"])
def test_features_of_a_long_text_are_those_of_its_pieces_by_their_tokens(long_texts, name):
    tokenizer = Tokenizer.trained(long_texts, TokenizerChoice(kind="words", max_length=8))
    encoder = build_encoder(name, tokenizer.input, {"width": 8}).eval()
    encoder.tokenizer = tokenizer
    pieces, _ = tokenizer.pieces(long_texts)
    with torch.no_grad():
        each = encoder(pieces[torch.arange(10)])
        found = encoder(Text(Strings.of(long_texts)))
    weights = torch.tensor([6.0] * 6 + [4])
    assert torch.allclose(found[0], (each[:7] * weights[:, None]).sum(0) / 40, atol=1e-6)
    assert torch.allclose(found[1], each[7], atol=1e-6)
    assert torch.allclose(found[2], (each[8] * 6 + each[9] * 5) / 11, atol=1e-6)


def test_long_texts_are_learned_from_in_pieces_that_keep_label_split_and_file(long_texts, tmp_path):
    rows = "".join(f"{text},{label},{split}\n" for text, label, split in zip(long_texts, "aba", ("train", "train", "test"), strict=True))
    (tmp_path / "texts.csv").write_text("text,label,split\n" + rows)
    data = open_data(tmp_path / "texts.csv")
    tokenizer = Tokenizer.trained(long_texts, TokenizerChoice(kind="words", max_length=8))
    found = in_pieces(data, tokenizer)
    assert found.rows.label.tolist() == [0] * 7 + [1] + [0] * 2 and found.spec.labeled == len(found) == found.spec.samples == 10
    assert {name: rows.tolist() for name, rows in found.splits.items()} == {"train": list(range(8)), "test": [8, 9]}
    assert found.files[6] == data.files[0] and found.fingerprint == data.fingerprint
    assert found.rows.index.tolist() == list(range(10))
    said = []
    settings = {"tokenizer.kind": "words", "tokenizer.longest": 8, "encoder.width": 16, "encoder.depth": 1}
    run = leaven.pretrain(tmp_path, method="masked_lm", steps=2, batch=4, settings=settings, out=tmp_path / "run", report=False, say=said.append)
    assert any(line.startswith("samples: 10 (7 more than texts") for line in said)
    assert leaven.embed(run, long_texts).shape == (3, 16)


def test_texts_without_any_token_are_selected_too():
    tokenizer = Tokenizer.trained(SENTENCES, TokenizerChoice(kind="words"))
    nothing = tokenizer([])
    assert nothing[torch.arange(0)].ids.shape[0] == 0
    plain = Tokenizer(tokenizer.inner, tokenizer.special, tokenizer.max_length)
    plain.inner.post_processor = None
    assert plain(["", ""])[torch.arange(2)].mask.shape == (2, 0)


def test_a_list_with_a_text_that_cannot_be_used_gets_no_vectors_in_another_order(tmp_path):
    settings = {"tokenizer.kind": "words", "encoder.width": 8}
    run = leaven.pretrain(SENTENCES, method="word2vec", steps=1, settings=settings, out=tmp_path / "run", report=False)
    assert leaven.embed(run, SENTENCES[:2]).shape == (2, 8)
    with pytest.raises(leaven.UserError, match="2 of these 4 samples cannot be used, the first one since it is empty") as refused:
        leaven.embed(run, ["a cat", "", "  ", "the dog"])
    assert refused.value.where == "#1"


def test_one_repeated_text_is_told_and_no_table_goes_without_its_name(tmp_path):
    said = []
    settings = {"tokenizer.kind": "words", "encoder.width": 16, "encoder.depth": 1}
    with pytest.raises(leaven.errors.TrainingStopped, match="all 20 samples looked at are the same"):
        leaven.pretrain(["the same again"] * 20, method="simcse", steps=2, settings=settings, out=tmp_path / "run", say=said.append)
    assert "all 20 samples are the same: no model can learn to tell them apart" in said and (tmp_path / "run" / "report.html").is_file()
    texts = ["the same again"] * 10 + [f"number {number}" for number in range(20)]
    leaven.pretrain(texts, method="simcse", steps=2, batch=16, settings=settings, out=tmp_path / "copies", say=said.append, report=False)
    assert "9 of 30 samples are copies of others: `leaven inspect` lists them" in said
    with pytest.raises(leaven.UserError) as refused:
        open_data(written(tmp_path, "dates.csv", "id,label\n1,2\n"))
    assert str(refused.value.where).endswith("dates.csv")


def test_a_table_of_one_column_keeps_the_commas_of_its_texts_and_cells_of_any_length(tmp_path):
    texts = ["hello, you", "no comma", '"quoted, too"', "long " * 60_000]
    (tmp_path / "one.csv").write_text("\n".join(["text", *texts]) + "\n")
    data = open_data(tmp_path / "one.csv")
    assert data.rows["x"].texts.tolist() == ["hello, you", "no comma", "quoted, too", texts[3]] and not data.broken and not data.notes
    (tmp_path / "two.csv").write_text(f"text,label\n{texts[3]},a\nshort,b\n")
    assert len(open_data(tmp_path / "two.csv")) == 2
