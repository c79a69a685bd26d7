"""Tags: labels of which a sample may have any number, from how people write them to what is predicted."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

import leaven
from leaven.data import open_data
from leaven.errors import UserError
from leaven.evaluation.classifier import in_terms_of
from leaven.evaluation.frozen import Features
from leaven.evaluation.protocols.retrieval import Retrieval
from leaven.evaluation.protocols.tags import TagProbes
from leaven.evaluation.tagging import tag_scores
from leaven.methods.targets import TagTarget
from leaven.modalities.tags import TagsModality
from leaven.modules.one_vs_rest import best_threshold, fit_tags, probe_tags
from leaven.run import Run

SETS = [("red", "round"), ("red",), ("round",), ("blue", "round"), ("blue",)]


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures."""
    for number in range(20):
        Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def tags_of(data):
    return [None if (names := data.names_of(row)) is None else set(names) for row in range(len(data))]


def from_file(folder, text, **reading):
    (folder / "tags.csv").write_text(text)
    return open_data(folder, labels=folder / "tags.csv", reading=reading)


def wanted(data):
    """The tags of the pictures of `data`, in its order."""
    return [set(SETS[int(file.removesuffix(".png")) % 5]) for file in data.files]


WRITTEN = {
    "marks": "file,label\n" + "".join(f"{number}.png,{';'.join(SETS[number % 5])}\n" for number in range(20)),
    "bars": "file,tags\n" + "".join(f"{number}.png,{'|'.join(SETS[number % 5])}\n" for number in range(20)),
    "commas": "file,label\n" + "".join(f'{number}.png,"{", ".join(SETS[number % 5])}"\n' for number in range(20)),
    "rows": "file,label\n" + "".join(f"{number}.png,{tag}\n" for number in range(20) for tag in SETS[number % 5]),
    "columns": "file,split,blue,red,round\n"
    + "".join(f"{number}.png,a,{','.join(str(int(tag in SETS[number % 5])) for tag in ('blue', 'red', 'round'))}\n" for number in range(20)),
    "signs": "file,blue,red,round\n"
    + "".join(f"{number}.png,{','.join('1' if tag in SETS[number % 5] else '-1' for tag in ('blue', 'red', 'round'))}\n" for number in range(20)),
}


@pytest.mark.parametrize("way", WRITTEN)
def test_tags_are_read_however_a_file_writes_them(folder, way):
    data = from_file(folder, WRITTEN[way])
    assert data.spec.tag_names == ("blue", "red", "round") and data.spec.classes == 0 and data.spec.labeled == 20
    assert tags_of(data) == wanted(data) and any("tag" in note for note in data.notes)


def test_the_user_decides_where_labels_may_be_classes_or_tags(folder):
    data = from_file(folder, WRITTEN["marks"], labels="classes")
    assert data.spec.classes == 5 and not data.spec.tag_names and "--set labels=tags" in " ".join(data.notes)
    names = "file,label\n" + "".join(f'{number}.png,"{("cat, tame", "dog, tame", "fox, wild", "elk, wild")[number % 4]}"\n' for number in range(20))
    data = from_file(folder, names)
    assert data.spec.classes == 4 and "--set labels=tags" in " ".join(data.notes)
    assert from_file(folder, names, labels="tags").spec.tag_names == ("cat", "dog", "elk", "fox", "tame", "wild")
    assert from_file(folder, names.replace(", ", " "), labels="tags").spec.tag_names[0] == "cat tame"
    single = "file,a,b\n" + "".join(f"{number}.png,{number % 2},{1 - number % 2}\n" for number in range(20))
    assert from_file(folder, single).spec.class_names == ("a", "b") and from_file(folder, single, labels="tags").spec.tag_names == ("a", "b")
    with pytest.raises(UserError, match="no classes"):
        from_file(folder, WRITTEN["columns"], labels="classes")


def test_one_contradiction_is_a_mistake_unless_the_user_wants_tags(folder):
    text = "file,label\n" + "".join(f"{number}.png,{'xy'[number % 2]}\n" for number in range(20)) + "0.png,y\n"
    with pytest.raises(UserError, match="labeled twice") as refused:
        from_file(folder, text)
    assert "--set labels=tags" in refused.value.hint
    data = from_file(folder, text, labels="tags")
    assert data.names_of(data.files.index("0.png")) == ("x", "y")


def test_no_label_is_told_apart_from_no_tag():
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    data = open_data((x, [["a"], ["a", "b"], [], None] * 2))
    assert tags_of(data)[:4] == [{"a"}, {"a", "b"}, set(), None] and data.spec.labeled == 6
    table = open_data({"x": x, "label": np.array([[1, 0], [1, 1], [0, 0], [np.nan, np.nan]] * 2)})
    assert tags_of(table)[:4] == [{"0"}, {"0", "1"}, set(), None]
    assert open_data((x, ["a;b", "b", ";", ""] * 2)).rows.labeled.tolist() == [True, True, True, False] * 2
    assert data.fingerprint != open_data((x, [["a"], ["a", "b"], None, []] * 2)).fingerprint
    assert tags_of(data.subset(torch.arange(1, 4))) == [{"a", "b"}, set(), None] and tags_of(open_data(data.rows))[3] is None
    one = open_data(data.subset(torch.tensor([0, 4])).rows)
    assert one.spec.tag_names == ("0", "1") and tags_of(one) == [{"0"}, {"0"}]  # of tags that are given as such no classes are made
    numbers = open_data((x, [3, 5, -1, 3] * 2), reading={"labels": "tags"})
    assert numbers.spec.tag_names == ("3", "5") and open_data((x, [3, 5, -1, 3] * 2)).spec.class_names == ("3", "5")
    with pytest.raises(UserError, match="neither 0 nor 1"):
        open_data((x, np.full((8, 2), 3)))


def test_rare_tags_can_be_left_out_and_tags_replaced(folder):
    data = from_file(folder, WRITTEN["marks"], fewest=10)
    assert data.spec.tag_names == ("round",) and data.spec.labeled == 20 and "2 of 3 tags" in " ".join(data.notes)
    with pytest.raises(UserError, match="no tag has 30"):
        from_file(folder, WRITTEN["marks"], fewest=30)
    with pytest.raises(UserError, match="classes"):
        from_file(folder, WRITTEN["marks"], fewest=2, labels="classes")
    again = data.with_labels([0, 1] * 10)
    assert again.spec.classes == 2 and not again.spec.tag_names and list(again.rows.roles) == ["x"]


@pytest.fixture(scope="module")
def comments(tmp_path_factory):
    """A table of numbers with three columns of 0 and 1, and a column of lists."""
    path = tmp_path_factory.mktemp("comments") / "comments.csv"
    random = np.random.default_rng(0)
    x = random.normal(size=(240, 4))
    present = {"rude": x[:, 0] > 0.3, "loud": x[:, 1] > 0.6, "long": x[:, 2] + x[:, 3] > 0.5}
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["a", "b", "c", "d", *present, "topics", "split"])
        for row, numbers in enumerate(x):
            has = [name for name, column in present.items() if column[row]]
            cells = [*(f"{number:.3f}" for number in numbers), *(int(name in has) for name in present), ";".join(has) or ";"]
            writer.writerow([*cells, "test" if row % 3 == 0 else "train"])
    return path


COLUMNS = {"x": "a:b:c:d"}


def test_columns_of_a_table_are_tags_and_no_inputs(comments):
    data = open_data(comments, labels="rude:loud:long", columns=COLUMNS)
    assert data.spec.tag_names == ("rude", "loud", "long")
    assert open_data(comments, labels="rude:loud:long", columns={"x": "numbers"}).spec.roles["x"].shape == (12,)  # a to d, and categories of topics
    lists = open_data(comments, labels="topics", columns=COLUMNS)
    assert [set(names or ()) for names in map(data.names_of, range(240))] == tags_of(lists)
    with pytest.raises(UserError, match="do not all hold 0 and 1"):
        open_data(comments, labels="rude:a")


def test_a_classes_csv_names_codes_only_where_it_fits(tmp_path):
    for number in range(8):
        place = tmp_path / "pictures" / f"n{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(place / f"{number}.png")
    before = open_data(tmp_path / "pictures")
    for place in (tmp_path, tmp_path / "pictures"):
        (place / "classes.csv").write_text("wnid,name\nn0,a cat\nn1,a dog\nn2,a fox\n")
        data = open_data(tmp_path / "pictures")
        assert data.spec.class_names == ("a cat", "a dog") and "n0 is a cat" in " ".join(data.notes) and not data.unused
        assert data.fingerprint == before.fingerprint and data.codes == before.spec.class_names
        assert in_terms_of(data, ("n1", "n0")).tolist() == (1 - data.labels).tolist()  # of a run that learned the codes, before the file was there
        (place / "classes.csv").write_text("wnid,name\nn0,a cat\nn1,a cat\n")
        assert open_data(tmp_path / "pictures").spec.class_names == ("n0", "n1")
        (place / "classes.csv").write_text("wnid,name\nn0,a cat\n")
        assert open_data(tmp_path / "pictures").spec.class_names == ("n0", "n1")
    (tmp_path / "pictures" / "classes.csv").unlink()
    (tmp_path / "tags.csv").write_text("file,label\n" + "".join(f"n{n % 2}/{n}.png,{('0;1', '1', '2', '0')[n % 4]}\n" for n in range(8)))
    (tmp_path / "classes.csv").write_text("id,name\n0,sky\n1,road\n2,car\n")
    assert open_data(tmp_path / "pictures", labels=tmp_path / "tags.csv").spec.tag_names == ("sky", "road", "car")


def test_average_precision_and_f1_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    present = torch.rand(80, 5, generator=generator) < torch.tensor([0.5, 0.2, 0.1, 0.3, 0.05])
    scores = (present + torch.rand(80, 5, generator=generator)).mul(4).round() / 8  # with ties
    score = tag_scores(scores, present, 0.6)
    assert score["average_precision"] == pytest.approx([average_precision_score(present[:, tag], scores[:, tag]) for tag in range(5)])
    assert score["map"] == pytest.approx(average_precision_score(present, scores, average="macro"))
    given = scores >= 0.6
    assert score["f1_macro"] == pytest.approx(f1_score(present, given, average="macro"))
    assert score["f1_micro"] == pytest.approx(f1_score(present, given, average="micro"))
    assert score["interval"][0] < score["map"] < score["interval"][1] and score["f1_micro_interval"][0] < score["f1_micro"]
    constant = tag_scores(torch.full((80, 5), 0.3), present, None)
    assert constant["average_precision"] == pytest.approx(present.double().mean(0).tolist())
    grouped = tag_scores(scores, present, None, groups=torch.arange(80) // 8)
    assert grouped["map"] == score["map"] and grouped["interval"] != score["interval"]
    best = best_threshold(scores, present)
    assert f1_score(present, scores >= best, average="micro") == pytest.approx(
        max(f1_score(present, scores >= cut, average="micro") for cut in scores.unique())
    )


@pytest.mark.parametrize("balanced", [False, True])
def test_the_probe_of_each_tag_is_logistic_regression(balanced):
    from sklearn.linear_model import LogisticRegression

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 6, generator=generator, dtype=torch.float64)
    present = x[:, :3] + torch.randn(150, 3, generator=generator) > 1
    weights = ((~present).sum(0) / present.sum(0)).double() if balanced else None
    weight, bias = fit_tags(x, present.double(), l2=0.01, weights=weights, tolerance=1e-8)
    for tag in range(3):
        each = None if weights is None else np.where(present[:, tag], weights[tag], 1.0)
        peer = LogisticRegression(C=1 / (150 * 0.01), tol=1e-9, max_iter=2000).fit(x.numpy(), present[:, tag].numpy(), each)
        assert weight[:, tag].numpy() == pytest.approx(peer.coef_[0], abs=2e-3) and bias[tag].item() == pytest.approx(peer.intercept_[0], abs=2e-3)


def test_wide_features_are_fitted_in_the_span_of_the_samples():
    generator = torch.Generator().manual_seed(0)
    x, present = torch.randn(40, 200, generator=generator), torch.rand(40, 2, generator=generator) < 0.4
    wide = probe_tags(x, present, TagsModality().strata(present.char()))
    center, scale = x.mean(0), x.std(0, correction=0)
    weight, bias = fit_tags((x - center) / scale, present.float(), l2=wide.l2, tolerance=1e-6)
    assert torch.allclose(wide.probabilities(x), ((x - center) / scale @ weight + bias).sigmoid(), atol=2e-3)


def test_strata_keep_rare_tags_on_both_sides():
    present = torch.zeros(50, 2, dtype=torch.int8)
    present[:, 0], present[:10, 1] = 1, 1
    assert TagsModality().strata(present).tolist() == [1] * 10 + [0] * 40
    assert TagsModality().strata(torch.zeros(3, 2, dtype=torch.int8)).tolist() == [2, 2, 2]


def test_samples_with_a_tag_in_common_should_find_each_other():
    train, test = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    tags, queries = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]]).char(), torch.tensor([[1, 0], [0, 1], [0, 0]]).char()
    score = Retrieval(at=(1,)).score(Features(train, tags, test, queries))
    # the first query finds rows 0, 1, 3, 2 and wants 0 and 2: (1 + 2/4) / 2; the second finds 2, 3, 1, 0 and wants 2 and 1: (1 + 2/3) / 2
    assert score["map"] == pytest.approx(((1 + 0.5) / 2 + (1 + 2 / 3) / 2) / 2) and score["queries"] == 2
    assert "one of their tags: 1" in score["note"]


def test_only_tags_of_both_parts_are_scored_and_the_majority_is_how_common_they_are():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator)
    tags = torch.stack([x[:, 0] > 0, x[:, 1] > 1, torch.zeros(200).bool(), torch.arange(200) == 150], 1).char()
    tags[190:] = -1
    features = Features(x[:100], tags[:100], x[100:], tags[100:], names=("a", "b", "never", "late"))
    score, majority = TagProbes().score(features), TagProbes().majority(features)
    assert [tag["tag"] for tag in score["tags"]] == ["a", "b"] and score["samples"] == 90 and score["left_out"] == 2
    assert score["map"] > 0.9 > majority["map"] and score["f1_micro"] > 0.8
    assert majority["map"] == pytest.approx((tags[100:190, :2] > 0).double().mean(0).mean().item())
    assert score["positives"] == int((tags[100:190, :2] > 0).sum()) and "2 of 4 tags" in TagProbes().notes(score)[0]
    with pytest.raises(UserError, match="no tag is that of"):
        TagProbes().score(Features(x[:100], tags[:100, 2:], x[100:], tags[100:, 2:], names=("never", "late")))


def test_tags_have_a_cross_entropy_of_their_own():
    class Spec:
        tag_names = ("a", "b")

    target, logits = TagTarget(Spec()), torch.tensor([[0.0, 2.0], [-1.0, 0.0]])
    has = torch.tensor([[1, 0], [0, 1]])
    by_hand = torch.tensor([[np.log(2), np.log1p(np.exp(2.0))], [np.log1p(np.exp(-1.0)), np.log(2)]])
    assert torch.allclose(target.nats(logits, has, torch.ones(2)), by_hand.mean(1).float())
    assert torch.allclose(target.nats(logits, has, torch.tensor([3.0, 1.0]))[0], ((3 * by_hand[0, 0] + by_hand[0, 1]) / 2).float())
    assert target.chance(has, torch.tensor([3.0, 1.0])) == pytest.approx(np.log(2) * (2 + 1) / 2)
    assert target.balanced(torch.tensor([[1, 0], [1, 0], [1, 0], [0, 1]])).tolist() == pytest.approx([1 / 3, 3])
    assert target.alike(torch.tensor([[1, 1], [1, 0], [0, 0]])).tolist() == [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 0]]


@pytest.fixture(scope="module")
def tagger(comments, tmp_path_factory):
    """A short pre-training, and what it became with tags."""
    folder, small = tmp_path_factory.mktemp("tagger"), {"encoder.width": 16}
    run = leaven.pretrain(comments, columns=COLUMNS, steps=20, batch=32, out=folder / "run", settings=small, report=False)
    tags = leaven.finetune(run, comments, labels="topics", columns=COLUMNS, steps=30, out=folder / "tags", settings={"class_weights": "balanced"})
    return run, tags


def test_a_run_is_scored_by_tags_beside_its_floors(tagger, comments):
    card = leaven.evaluate(tagger[0], comments, labels="topics", columns=COLUMNS, report=False, budget="20s")
    score = card.scores["tags"]
    assert list(card.scores) == ["tags"] and {"input", "untrained", "prevalence", "labels-only"} <= set(card.floors)
    assert score["map"] > card.floors["prevalence"]["tags"]["map"] and score["interval"][0] < score["map"] < score["interval"][1]
    assert set(score["gains"]) >= {"input", "untrained", "prevalence"} and json.loads(json.dumps(card.to_dict()))["scores"]
    assert "not one class each: knn, linear, few-label" in card.notes[0] and "F1, macro" in card.text()
    assert "mean average precision over 3 tags" in card.sentence()
    both = leaven.evaluate(tagger[0], comments, labels="topics", columns=COLUMNS, protocols=["retrieval", "knn"], report=False)
    assert list(both.scores) == ["retrieval"] and "knn" in both.notes[0]
    with pytest.raises(UserError, match="one class per sample is needed"):
        leaven.evaluate(tagger[0], comments, labels="topics", columns=COLUMNS, protocols=["knn"], report=False)
    classes = leaven.evaluate(tagger[0], comments, labels="topics", columns=COLUMNS, settings={"labels": "classes"}, protocols=["knn"], report=False)
    assert classes.scores["knn"]["accuracy"] > 0
    with pytest.raises(UserError, match="tags are needed"):
        leaven.evaluate(tagger[0], comments, labels="rude", columns=COLUMNS, protocols=["tags"], report=False)


def test_tags_are_learned_scored_and_predicted(tagger, comments, tmp_path, command):
    run = Run.open(tagger[1].path)
    assert run.config["asked"]["data"]["spec"]["tag_names"] == ["long", "loud", "rude"]
    card = leaven.evaluate(run, comments, labels="topics", columns=COLUMNS)
    assert list(card.scores) == ["tagger"] and {"frozen", "input", "labels-only"} <= set(card.floors) and "mean average precision" in card.sentence()
    status, out, err = command("predict", run.path, comments, "--columns", "x=a:b:c:d", "--out", tmp_path / "predicted.csv", "--json")
    assert status == 0 and json.loads(out)["count"] == 240, err
    with open(tmp_path / "predicted.csv") as stream:
        rows = list(csv.DictReader(stream))
    data = open_data(comments, labels="topics", columns=COLUMNS)
    sure = torch.tensor([[float(row[name]) for name in data.spec.tag_names] for row in rows])
    test = data.splits["test"]
    found = [average_precision_score((data.rows.named.main[test] > 0)[:, tag], sure[test, tag]) for tag in range(3)]
    assert card.scores["tagger"]["map"] == pytest.approx(np.mean(found), abs=1e-3)
    threshold = json.loads(out)["threshold"]
    for row, probabilities in zip(rows, sure, strict=True):
        assert (
            row["tags"].split(";") == [name for name, p in zip(data.spec.tag_names, probabilities, strict=True) if p >= threshold] or not row["tags"]
        )
    assert leaven.load(run)(data.rows["x"].main[:2]).shape == (2, 16)
    answers = leaven.search(run, comments, query=0, k=2, columns=COLUMNS)
    assert answers


def test_tags_end_a_training_by_held_out_labels(comments, tagger, tmp_path):
    run = leaven.finetune(
        tagger[0], comments, labels="rude:loud:long", columns=COLUMNS, steps=20, out=tmp_path / "run", early_stopping=True, settings={"mixup": 0.2}
    )
    stopped = run.config["result"]["early_stopping"]
    assert 0 < stopped["held_out_f1"] <= 1 and stopped["held_out_cross_entropy"] > 0
    predictions = leaven.predict(run, comments, columns=COLUMNS)
    assert predictions.classes == ("rude", "loud", "long") and 0 < predictions.threshold < 1
    with pytest.raises(UserError, match="distillation"):
        leaven.finetune(tagger[0], comments, labels="topics", columns=COLUMNS, out=tmp_path / "other", settings={"distillation": 1})


def test_a_run_of_classes_is_not_scored_by_tags(comments, tagger, tmp_path):
    classes = leaven.finetune(tagger[0], comments, labels="rude", columns=COLUMNS, steps=5, out=tmp_path / "classes")
    with pytest.raises(UserError, match="has learned classes, and these samples have tags"):
        leaven.evaluate(classes, comments, labels="topics", columns=COLUMNS, report=False)
    with pytest.raises(UserError, match="has learned tags"):
        leaven.evaluate(tagger[1], comments, labels="rude", columns=COLUMNS, report=False)


def test_inspect_shows_tags_and_names_rare_ones(comments, command):
    inspection = leaven.inspect(comments, labels="topics", columns=COLUMNS, steps=1, batch=8, settings={"encoder.width": 4})
    labels = inspection.labels
    assert labels["tags"] == 3 and set(labels["counts"]) == {"rude", "loud", "long"} and labels["untagged"] > 0
    assert "3 tags, 240 labeled" in inspection.text() and "per sample" in inspection.text()
    without = leaven.inspect(comments, columns=COLUMNS, steps=1, batch=8, settings={"encoder.width": 4})
    assert without.labels["columns"] == ["rude:loud:long", "topics"] and "--labels rude:loud:long or --labels topics" in without.text()
    tags = [["common"] * (row % 2) + ["rare"] * (row < 3) for row in range(60)]
    rare = leaven.inspect((np.random.default_rng(0).normal(size=(60, 4)), tags), steps=1, batch=8, settings={"encoder.width": 4})
    assert any("1 tag of fewer than 20 samples, such as rare (3)" in caution and "fewest=20" in caution for caution in rare.advice["cautions"])


def test_the_next_command_names_the_columns_of_labels(comments, tmp_path, command):
    status, out, err = command("pretrain", comments, "--columns", "x=a:b:c:d", "--steps", "2", "--batch", "16", "--out", tmp_path / "run")
    assert status == 0 and "--labels rude:loud:long or leaven evaluate" in out and "--labels topics" in out, err
    status, out, err = command("finetune", tmp_path / "run", comments, "--columns", "x=a:b:c:d", "--labels", "rude:loud:long", "--set", "labels=tags",
                           "--steps", "2", "--out", tmp_path / "tags")  # fmt: skip
    assert status == 0 and "3 tags from 160 samples" in out and "--labels rude:loud:long --set labels=tags" in out, err


@pytest.mark.slow
def test_methods_are_compared_by_tags(comments, tmp_path):
    comparison = leaven.compare(
        comments, methods="simclr", labels="topics", columns=COLUMNS, steps=2, seeds=1, out=tmp_path / "compared",
        settings={"encoder.width": 8, "labels": "tags"},
    )  # fmt: skip
    assert comparison.protocols == ("tags",) and comparison.scores("simclr")["tags"]["map"] > 0
