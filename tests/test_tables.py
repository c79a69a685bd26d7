"""Tables of numbers are vectors, whatever program wrote them; columns of pairs are known by their names."""

import json
import shlex

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

import leaven
from leaven.data import open_data
from leaven.errors import UserError
from leaven.modalities import InputSpec

SMALL = ("--set", "encoder.width=8", "--set", "encoder.depth=1")


def table(seed, rows=60):
    """Columns of all sorts and scales, a tenth of whose numbers are missing."""
    random = np.random.default_rng(seed)
    numbers = {f"n{place}": random.normal(size=rows).round(3) * 10.0**scale for place, scale in enumerate(random.integers(-3, 6, 3))}
    for values in numbers.values():
        values[random.random(rows) < 0.1] = np.nan
    colors = random.choice(["blue", "red", "green"], rows).astype(object)
    colors[random.random(rows) < 0.1] = None
    return pd.DataFrame({
        "row_id": np.arange(rows) + 1000, **numbers, "count": random.integers(0, 9, rows), "smoker": random.random(rows) < 0.5, "color": colors,
        "who": [f"person {row}" for row in range(rows)], "class": random.choice(["no", "yes"], rows),
        "split": random.choice(["train", "train", "test"], rows),
    })  # fmt: skip


def as_array(frame):
    array = np.empty(len(frame), [(name, frame[name].dtype if frame[name].dtype.kind in "fiub" else "U20") for name in frame])
    for name in frame:
        array[name] = frame[name].to_numpy() if frame[name].dtype.kind in "fiub" else frame[name].fillna("").to_numpy(str)
    return array


FORMS = {
    "commas.csv": lambda frame, path: frame.to_csv(path, index=False),
    "index.csv": lambda frame, path: frame.to_csv(path),
    "semicolons.csv": lambda frame, path: frame.to_csv(path, index=False, sep=";", decimal=","),
    "missing.csv": lambda frame, path: frame.to_csv(path, index=False, na_rep="NA"),
    "utf16.csv": lambda frame, path: frame.to_csv(path, index=False, encoding="utf-16"),
    "tabs.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "typed.parquet": lambda frame, path: frame.to_parquet(path),
    "texts.parquet": lambda frame, path: (
        frame.astype(object).where(frame.notna(), None).map(lambda cell: None if cell is None else str(cell)).to_parquet(path)
    ),
    "categories.parquet": lambda frame, path: frame.astype({"color": "category"}).to_parquet(path),
    "lines.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, double_precision=15),
    "array.npy": lambda frame, path: np.save(path, as_array(frame)),
}
IN_MEMORY = {"data frame": lambda frame: frame, "structured array": as_array, "arrow": lambda frame: pa.Table.from_pandas(frame)}


def form(name, frame, folder):
    if name in IN_MEMORY:
        return IN_MEMORY[name](frame)
    FORMS[name](frame, folder / name)
    return folder / name


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [*FORMS, *IN_MEMORY])
def test_a_table_gives_the_same_vectors_and_labels_in_every_form(name, seed, tmp_path):
    frame = table(seed)
    data = open_data(form(name, frame, tmp_path))
    train = frame["split"] == "train"
    numbers = frame[["n0", "n1", "n2", "count", "smoker"]].astype(float)
    wanted = numbers.fillna(numbers[train].median()).assign(**{color: frame["color"] == color for color in ("blue", "green", "red")})
    assert np.allclose(data.rows["x"].numbers, wanted.to_numpy(float), rtol=1e-6) and len(data) == 60 and not data.broken
    assert data.spec.class_names == ("no", "yes") and data.labels.tolist() == (frame["class"] == "yes").astype(int).tolist()
    assert data.splits["train"].tolist() == np.flatnonzero(train).tolist()
    notes = " ".join(data.notes)
    count = int(numbers.isna().sum().sum())
    assert f"{count} missing values are replaced by the medians of the training part" in notes and "color (blue, green, red)" in notes
    assert "name the rows" in notes and "row_id" in notes and data.unused == ("1 column of text (who)",)


@pytest.mark.parametrize("name", ["embeddings.parquet", "fixed.parquet", "brackets.csv", "spaces.csv", "lists.jsonl", "frame", "array"])
def test_vectors_in_a_column_are_read(name, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(20, 4)).round(4)
    rows = vectors.tolist()
    if name == "fixed.parquet":
        pa.parquet.write_table(pa.table({"v": pa.array(rows, pa.list_(pa.float64(), 4)), "label": ["a", "b"] * 10}), tmp_path / name)
    elif name.endswith("parquet"):
        pd.DataFrame({"v": rows, "label": ["a", "b"] * 10}).to_parquet(tmp_path / name)
    elif name.endswith("csv"):
        cells = [str(row) if name == "brackets.csv" else " ".join(map(str, row)) for row in rows]
        pd.DataFrame({"v": cells, "label": ["a", "b"] * 10}).to_csv(tmp_path / name, index=False)
    elif name.endswith("jsonl"):
        (tmp_path / name).write_text("\n".join(json.dumps({"v": row, "label": "ab"[place % 2]}) for place, row in enumerate(rows)))
    frame = pd.DataFrame({"v": rows, "label": ["a", "b"] * 10})
    array = np.array(list(zip(vectors, ["a", "b"] * 10, strict=True)), [("v", float, 4), ("label", "U1")])
    data = open_data({"frame": frame, "array": array}.get(name, tmp_path / name))
    assert np.allclose(data.rows["x"].numbers, vectors) and data.spec.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("head", "cells", "shape"),
    [
        ("Name,Age,Fare,Pclass", "Braund Mr Owen {0},{0}.5,7.{0},1", (3,)),
        ("review,stars,price", "a very long text that says something new {0},{0},{0}", ()),
        ("text,stars,price", "short {0},{0},{0}", ()),
        ("note,stars", "short {0},{0}", ()),
        ("amount,price", '"1,{0}0","2,{0}0.5"', (2,)),
        ("when,price,size", "2020-01-{0},{0},{0}", (2,)),
        ("1.5,2,3", "{0},{0},{0}", (3,)),
    ],
)
def test_sentences_win_over_numbers_and_names_and_dates_do_not(head, cells, shape, tmp_path):
    (tmp_path / "a.csv").write_text("\n".join([head, *(cells.format(row) for row in range(10, 40))]))
    data = open_data(tmp_path / "a.csv")
    assert data.spec.roles["x"].shape == shape
    if not shape and head.count(",") > 1:
        assert "--columns x=numbers" in " ".join(data.notes) and open_data(tmp_path / "a.csv", columns={"x": "numbers"}).spec.roles["x"].shape == (2,)


def test_columns_may_be_named_side_by_side_or_one_after_another(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,c,d\n1,2,x,3\n4,5,y,6\n7,,x,8\n")
    side = open_data(tmp_path / "a.csv", columns={"x": "d:c:a"})
    assert side.rows["x"].numbers.tolist() == [[3, 1, 0, 1], [6, 0, 1, 4], [8, 1, 0, 7]]
    after = open_data(tmp_path / "a.csv", columns={"x": "a+b"})
    assert after.rows["x"].numbers.tolist() == [[1], [4], [7], [2], [5]] and after.broken[0].why == "no number"
    with pytest.raises(UserError, match="no column 'z'"):
        open_data(tmp_path / "a.csv", columns={"x": "a:z"})


def test_rows_without_any_value_are_set_aside_and_odd_cells_are_missing(tmp_path):
    rows = [f"{row},{row / 2}" for row in range(20)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b", *rows, "NaN,", "?,1e999", "n/a,3", "oops,4"]))
    data = open_data(tmp_path / "a.csv")
    assert [(broken.file, broken.why) for broken in data.broken] == [(f"a.csv#{row}", "all its values are missing") for row in (20, 21)]
    assert data.rows["x"].numbers[-1].tolist() == [9.5, 4.0] and "2 in a" in " ".join(data.notes)


def test_labels_by_another_column_leave_it_out_of_the_vectors(tmp_path):
    frame = table(0)
    frame.drop(columns="class").assign(Target=np.random.default_rng(0).normal(size=60)).to_csv(tmp_path / "a.csv", index=False)
    data = open_data(tmp_path / "a.csv", labels="color")
    assert data.spec.roles["x"].shape == (5,) and data.spec.class_names == ("blue", "green", "red")
    assert "Target" in " ".join(data.unused)


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame({"a": [{}, 1]})])
def test_data_frames_without_samples_are_refused_in_one_line(frame):
    with pytest.raises(UserError):
        open_data(frame)


# --- what a run keeps ---


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    frame = table(1).drop(columns="split")
    frame.to_csv(folder / "a.csv", index=False)
    leaven.pretrain(folder / "a.csv", steps=3, batch=16, settings={"encoder.width": 8}, out=folder / "run", report=False)
    return folder, frame


def test_a_run_reads_another_table_as_its_own(trained, command):
    folder, frame = trained
    vectors = leaven.embed(folder / "run", folder / "a.csv")
    assert np.isfinite(vectors).all()
    frame[frame.columns[::-1]].assign(more=1.5).to_csv(folder / "b.csv", index=False)
    assert np.array_equal(leaven.embed(folder / "run", folder / "b.csv"), vectors)
    assert np.allclose(leaven.embed(folder / "run", frame.iloc[3:5]), vectors[3:5], atol=1e-6)
    status, out, err = command("evaluate", folder / "run", folder / "b.csv", "--protocol", "knn", "--json")
    assert status == 0 and json.loads(out)["scores"]["knn"], err
    renamed = frame.rename(columns={"n0": "first", "n1": "second"})
    again = leaven.embed(folder / "run", renamed, columns={"x": "first:second:n2:count:smoker:color"})
    assert np.array_equal(again, vectors)
    said = []
    leaven.embed(folder / "run", frame.assign(color="pink"), say=said.append)
    assert any("'pink' of color is new" in line for line in said)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns=["n1", "color"]), "the table lacks the columns n1, color, which this encoder reads"),
        (lambda frame: frame.assign(n1="some words"), "the column 'n1' holds no numbers"),
        (lambda frame: frame[["who"]], "the table lacks the columns"),
    ],
)
def test_a_table_that_does_not_fit_the_run_is_refused_in_one_line(trained, change, message, command):
    folder, frame = trained
    change(frame).to_csv(folder / "c.csv", index=False)
    status, _, err = command("embed", folder / "run", folder / "c.csv", "--out", folder / "c.npy")
    assert status == 2 and message in err and "Traceback" not in err and len(err.strip().splitlines()) == 1


def test_columns_of_very_different_scale_teach_as_much_as_others(tmp_path):
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 300)
    x = (random.normal(size=(300, 6)) + 2 * np.eye(3)[y][:, [0, 1, 2, 0, 1, 2]]) * [1, 1e4, 1e-2, 10, 1e3, 0.1]
    frame = pd.DataFrame(x, columns=list("abcdef")).assign(label=y)
    run = leaven.pretrain(frame, steps=40, batch=64, out=tmp_path / "run", report=False)
    assert leaven.evaluate(run, frame, protocols=["knn"], report=False).scores["knn"]["accuracy"] > 0.85


def test_training_does_not_go_on_with_other_columns(trained):
    folder, frame = trained
    with pytest.raises(UserError, match="in another order"):
        leaven.pretrain(frame[frame.columns[::-1]], encoder=folder / "run", steps=1, batch=16, out=folder / "more", report=False)


def test_inputs_that_were_stored_without_their_reading_are_read():
    old = {"modality": "vector", "shape": [2], "mean": [0.0, 1.0], "std": [1.0, 1.0]}
    spec = InputSpec.from_dict(old)
    assert spec.reading == {} and "reading" not in spec.to_dict()
    new = open_data(table(0)).spec.roles["x"]
    assert InputSpec.from_dict(json.loads(json.dumps(new.to_dict()))) == new


# --- pairs ---

PAIRS = {
    "sent0,sent1,hard_neg": ("anchor", "positive", "negative"), "query,positive,negative": ("anchor", "positive", "negative"),
    "Anchor,Positive,Negative": ("anchor", "positive", "negative"), "query,passage": ("anchor", "positive"),
    "question,answer": ("anchor", "positive"),
    "source,target": ("anchor", "positive"), "text_a,text_b": ("anchor", "positive"), "Sentence-1,Sentence-2": ("anchor", "positive"),
    "premise,hypothesis,label": ("a", "b"), "question1,question2,is_duplicate": ("a", "b"), "text1,text2,label": ("a", "b"),
    "sentence1,sentence2,score": ("a", "b", "score"), "sentence_A,sentence_B,relatedness_score": ("a", "b", "score"),
    "TEXT_A,TEXT_B,similarity": ("a", "b", "score"),
}  # fmt: skip


def pairs(head, path, rows=24):
    def cell(name, row):
        if name in ("label", "is_duplicate"):
            return row % 2
        return row % 5 / 5 if "score" in name or name == "similarity" else f"{name} says that {row} is a number"

    names = head.split(",")
    path.write_text("\n".join([head, *(",".join(str(cell(name, row)) for name in names) for row in range(rows))]))
    return path


@pytest.mark.parametrize(("head", "roles"), PAIRS.items())
def test_pairs_are_recognised_by_the_names_of_their_columns(head, roles, tmp_path):
    data = open_data(pairs(head, tmp_path / "pairs.csv"))
    assert set(data.rows.roles) == set(roles)
    for role, column in zip(roles, head.split(","), strict=False):
        assert role == "score" or data.rows[role].texts.tolist()[3] == f"{column} says that 3 is a number"
    assert data.spec.classes == (2 if roles == ("a", "b") else 0)


@pytest.mark.parametrize("head", ["sent0,sent1,hard_neg", "premise,hypothesis,label", "sentence1,sentence2,score", "text1,text2"])
def test_inspect_proposes_a_method_that_reads_the_pairs(head, command, tmp_path):
    path = pairs(head, tmp_path / "pairs.csv")
    status, out, err = command("inspect", path, "--json", "--batch", 8, *SMALL)
    found = json.loads(out)
    assert status == 0 and found["estimate"]["seconds"] > 0, err
    words = shlex.split(found["advice"]["command"])
    proposed = words[words.index("--method") + 1]
    assert proposed == ("sentence_bert" if "a" in found["channels"] else "supervised_simcse")
    status, _, err = command(*words[1:-2], "--steps", 1, "--out", tmp_path / "run")
    assert status == 0, err


def test_a_method_that_lacks_a_role_names_roles_and_columns(command, tmp_path):
    path = pairs("premise,hypothesis,label", tmp_path / "pairs.csv")
    status, _, err = command("pretrain", path, "--method", "supervised_simcse", "--steps", 1, "--out", tmp_path / "run")
    assert status == 2 and "--columns anchor=COLUMN,positive=COLUMN; the columns are premise, hypothesis, label" in err
    with pytest.raises(UserError, match="--columns x=what, or, for pairs, --columns anchor=what,positive=why; the columns are what, why"):
        open_data(pairs("what,why", tmp_path / "odd.csv"))


def test_a_pair_of_texts_without_score_or_label_is_inspected():
    texts = [f"text {number} of many" for number in range(20)]
    found = leaven.inspect({"a": texts, "b": texts[::-1]}, batch=8, settings={"encoder.width": 8, "encoder.depth": 1})
    assert found.advice["method"] == "clip" and found.estimate["seconds"] > 0
