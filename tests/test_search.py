"""Search: exact neighbours, queries of every kind, stored vectors, and the contact sheet."""

import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from test_embed import make_pictures, make_run

import leaven
from leaven.data import open_data
from leaven.evaluation.knn import nearest_in_blocks, nearest_neighbours
from leaven.modalities import InputSpec
from leaven.report.contact_sheet import CELL, FRAME, GAP, MARGIN, SIDE, shortened
from leaven.report.sheets import OTHER, SAME

COUNT = 30


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("data") / "pictures", COUNT)


def by_hand(vectors, query, k, own=None):
    """Rows and similarities, one pair after another in double precision."""
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    pairs = sorted((-float(unit[row] @ query) / float(np.linalg.norm(query)), row) for row in range(len(unit)) if row != own)
    return [row for _, row in pairs[:k]], [-value for value, _ in pairs[:k]]


# --- what is found ---


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_in_blocks_of_any_size_are_those_of_one_block(seed):
    generator = torch.Generator().manual_seed(seed)
    axes = torch.eye(5)[torch.randint(5, (60,), generator=generator)] * 2.0 ** torch.randint(-3, 4, (60, 1), generator=generator)
    train = torch.where(torch.rand(60, 1, generator=generator) < 0.5, axes, torch.randn(60, 5, generator=generator))
    test = torch.randn(7, 5, generator=generator)
    whole = nearest_neighbours(train, test, k=9)
    cuts = torch.randperm(59, generator=generator)[:5].add(1).sort().values.tolist()
    parts = torch.tensor_split(train, cuts)
    similarity, index = nearest_in_blocks(parts, test, k=9)
    torch.testing.assert_close(similarity, whole[0], rtol=0, atol=1e-6)
    assert index.tolist() == whole[1].tolist()  # many rows point exactly the same way: of these, the lower come first
    assert nearest_in_blocks(parts, test, k=99)[1].shape == (7, 60)


def test_the_neighbours_are_those_of_every_pair_compared(run, pictures):
    vectors = leaven.embed(run, pictures)
    rows, similarities = by_hand(vectors, vectors[4], 6, own=4)
    found = leaven.search(run, pictures, 4, k=6)
    data = open_data(pictures)
    assert [each["rank"] for each in found] == [1, 2, 3, 4, 5, 6]
    assert [each["index"] for each in found] == rows
    assert [each["file"] for each in found] == [data.files[row] for row in rows]
    assert [each["label"] for each in found] == [data.files[row].split("/")[0] for row in rows]
    assert [each["similarity"] for each in found] == pytest.approx(similarities, abs=2e-6)


def odd_pictures(root):
    """What folders hold: photographs lying on their side, transparency, grey, large, long."""
    generator = np.random.default_rng(0)
    root.mkdir()

    def smooth(height, width, channels=3):
        small = generator.integers(0, 256, (4, 4, channels), dtype=np.uint8).squeeze()
        return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)

    for number in range(20):
        smooth(40, 40).save(root / f"plain{number:02}.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    smooth(90, 61).save(root / "turned.jpg", exif=turned, quality=90)
    smooth(300, 420).save(root / "large.jpg", quality=80)
    smooth(20, 130).save(root / "long.png")
    smooth(40, 40, 1).save(root / "grey.png")
    clear = smooth(50, 40)
    clear.putalpha(Image.fromarray(generator.integers(0, 256, (50, 40), dtype=np.uint8)))
    clear.save(root / "clear.png")
    smooth(41, 39).convert("P").save(root / "palette.gif")
    return root


@pytest.mark.parametrize("side", [12, 32, 40])
def test_a_picture_of_the_data_finds_itself_first(tmp_path, side):
    run = make_run(tmp_path / "run", 0, InputSpec("pixels", (3, side, side), (0.5,) * 3, (0.25,) * 3))
    data = odd_pictures(tmp_path / "data")
    for name in ("turned.jpg", "large.jpg", "long.png", "grey.png", "clear.png", "palette.gif", "plain07.png"):
        found = leaven.search(run, data, data / name, k=2)
        assert (found[0]["file"], found[0]["similarity"]) == (name, pytest.approx(1, abs=2e-6))
        assert found[1]["similarity"] < 1 - 1e-5


def test_emoji_find_themselves_first(data_root, tmp_path):
    run = make_run(tmp_path / "run", 0, InputSpec("pixels", (3, 32, 32), (0.8,) * 3, (0.3,) * 3), width=4, features=64)
    data = open_data(data_root / "emoji", size=32, channels=3)
    files = data.files[::160]
    vectors = tmp_path / "v.npy"
    leaven.embed(run, data, out=vectors)
    found = leaven.search(run, data, [data_root / "emoji" / file for file in files], k=1, vectors=vectors)
    assert [answer[0]["file"] for answer in found] == list(files)
    assert [answer[0]["similarity"] for answer in found] == pytest.approx([1.0] * len(files), abs=2e-6)


# --- queries ---


def test_a_sample_of_the_data_is_named_by_row_or_file_and_does_not_find_itself(run, pictures):
    file = open_data(pictures).files[4]
    answers = leaven.search(run, pictures, [4, "#4", "4", file], k=COUNT)
    assert all(answer == answers[0] for answer in answers)
    assert sorted(each["index"] for each in answers[0]) == [row for row in range(COUNT) if row != 4]
    seen = leaven.search(run, pictures, [pictures / file, 4], k=3)  # a file is from outside, though it lies there as well
    assert [each["index"] for each in seen[0]] == [4, *(each["index"] for each in seen[1])][:3]


def test_arrays_and_pictures_in_memory_are_queries_too(run):
    pixels = torch.randint(0, 256, (COUNT, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(pixels[7].permute(1, 2, 0).numpy())
    for query in (pixels[7], pixels[7].numpy(), pixels[7].permute(1, 2, 0).numpy(), pixels[7].float() / 255, picture):
        found = leaven.search(run, pixels, query, k=2)
        assert found[0] == {"rank": 1, "file": "#7", "index": 7, "similarity": pytest.approx(1, abs=2e-6)}


def test_plain_numbers_are_searched_by_arrays_and_rows(tmp_path):
    run = make_run(tmp_path / "run", 0, InputSpec("vector", (4,), (0.0,) * 4, (1.0,) * 4), "mlp", width=8)
    points = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    assert leaven.search(run, points, points[3], k=1)[0]["index"] == 3
    assert 3 not in [each["index"] for each in leaven.search(run, points, 3, k=19)]
    for wrong, match in [(torch.randn(5), "4 numbers per sample"), ("a.png", "the data is vector")]:
        with pytest.raises(leaven.UserError, match=match):
            leaven.search(run, points, wrong)
    with pytest.raises(leaven.UserError, match="shows pictures"):
        leaven.search(run, points, 3, out=tmp_path / "sheet.png")


def test_fewer_are_found_where_there_are_no_more(run, pictures):
    assert len(leaven.search(run, pictures, 4, k=100)) == COUNT - 1
    assert len(leaven.search(run, pictures, pictures / open_data(pictures).files[4], k=100)) == COUNT
    alone = torch.full((1, 3, 16, 16), 7, dtype=torch.uint8)
    assert len(leaven.search(run, alone, alone[0])) == 1
    with pytest.raises(leaven.UserError, match="no other sample"):
        leaven.search(run, alone, 0)


def test_labels_are_told_only_where_there_are_some(run, tmp_path):
    pixels = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert all("label" not in each for each in leaven.search(run, pixels, 0))
    found = leaven.search(run, (pixels, ["a", "b", None, "a", "b", None]), 0)
    assert {each["index"]: each["label"] for each in found} == {1: "b", 2: None, 3: "a", 4: "b", 5: None}


@pytest.mark.parametrize(
    ("query", "match"),
    [
        ("none.png", "no such picture, and no such sample"),
        ("text.txt", "cannot be used: not a picture"),
        ("empty.png", "cannot be used: empty file"),
        (".", "cannot be used: not a file"),
        ("", "cannot be used: not a file"),
        ("a sentence " * 40, "no such picture, and no such sample"),
        (COUNT, f"there is no row {COUNT}.*#0 to #{COUNT - 1}"),
        ("#99", "there is no row 99"),
        (-1, "there is no row -1"),
        ([], "no query"),
        (3.5, "a float is no query"),
    ],
)
def test_what_is_no_query_is_one_clear_line(run, pictures, tmp_path, monkeypatch, query, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("words")
    (tmp_path / "empty.png").touch()
    with pytest.raises(leaven.UserError, match=match):
        leaven.search(run, pictures, query)


@pytest.mark.parametrize(("option", "match"), [({"k": 0}, "k must be at least 1"), ({"out": "sheet.jpg"}, "a contact sheet is written as .png")])
def test_wrong_options_are_refused(run, pictures, option, match):
    with pytest.raises(leaven.UserError, match=match):
        leaven.search(run, pictures, 4, **option)


# --- stored vectors ---


@pytest.mark.parametrize("out", ["v", "v.npy"])
def test_stored_vectors_give_the_same_answer_without_encoding_the_data(run, pictures, tmp_path, monkeypatch, out):
    leaven.embed(run, pictures, out=tmp_path / out, shard_size=7)
    plain = leaven.search(run, pictures, 4)
    encoded = []
    forward = leaven.encoders.convnet.ConvNet.forward
    monkeypatch.setattr(leaven.encoders.convnet.ConvNet, "forward", lambda self, x: encoded.append(len(x)) or forward(self, x))
    stored = leaven.search(run, pictures, 4, vectors=tmp_path / out)
    assert [each["index"] for each in stored] == [each["index"] for each in plain]
    assert [each["similarity"] for each in stored] == pytest.approx([each["similarity"] for each in plain], abs=2e-6)
    assert sum(encoded) == (1 if out == "v" else 9)  # the query; of an array, some rows are compared


def test_vectors_written_in_bf16_or_with_other_labels_serve_as_well(run, pictures, tmp_path):
    for out in ("v", "v.npy"):
        leaven.embed(run, pictures, out=tmp_path / out, precision="bf16")
        assert leaven.search(run, pictures, pictures / open_data(pictures).files[9], vectors=tmp_path / out)[0]["index"] == 9
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file,label\n{open_data(pictures).files[0]},mine\n")
    found = leaven.search(run, pictures, 4, k=COUNT, vectors=tmp_path / "v", labels=labels)
    assert {each["label"] for each in found} == {"mine", None}


def test_vectors_of_something_else_are_refused(run, pictures, tmp_path):
    other_run, other_data = make_run(tmp_path / "other-run", seed=1), make_pictures(tmp_path / "other", COUNT, seed=1)
    for name, made_by, made_of in [("run", other_run, pictures), ("data", run, other_data)]:
        leaven.embed(made_by, made_of, out=tmp_path / f"{name}.npy")
        leaven.embed(made_by, made_of, out=tmp_path / name)
    right = leaven.embed(run, pictures)
    np.save(tmp_path / "short.npy", right[:-1])
    np.save(tmp_path / "narrow.npy", right[:, :-1])
    np.save(tmp_path / "turned.npy", right[::-1])
    np.save(tmp_path / "line.npy", right[0])
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    (tmp_path / "text.npy").write_text("words")
    (tmp_path / "empty").mkdir()
    for name, match in [
        ("run", "of another encoder"),
        ("data", "of other data"),
        ("run.npy", "not the features of this run and data"),
        ("data.npy", "not the features of this run and data"),
        ("turned.npy", "not the features of this run and data"),
        ("short.npy", f"{COUNT - 1} vectors of 12 numbers are not the {COUNT} of 12"),
        ("narrow.npy", f"{COUNT} vectors of 11 numbers are not the {COUNT} of 12"),
        ("line.npy", "not one vector per sample"),
        ("words.npy", "not one vector per sample"),
        ("text.npy", "no vectors here"),
        ("none.npy", "no vectors here"),
        ("empty", "no vectors here"),
        ("none", "no vectors here"),
    ]:
        with pytest.raises(leaven.UserError, match=match):
            leaven.search(run, pictures, 4, vectors=tmp_path / name)


def test_vectors_with_nan_are_refused(run, pictures, tmp_path):
    spoilt = leaven.embed(run, pictures)
    spoilt[1, 3] = np.nan  # not one of the rows that are compared
    np.save(tmp_path / "v.npy", spoilt)
    with pytest.raises(leaven.UserError, match="not finite"):
        leaven.search(run, pictures, 4, vectors=tmp_path / "v.npy")


def test_a_damaged_shard_is_named(run, pictures, tmp_path):
    leaven.embed(run, pictures, out=tmp_path / "v", shard_size=10)
    path = tmp_path / "v" / "part-00001.parquet"
    whole = path.read_bytes()
    middle = whole.index(leaven.embed(run, pictures)[15].tobytes())
    path.write_bytes(whole[:middle] + bytes(4) + whole[middle + 4 :])
    with pytest.raises(leaven.UserError, match=r"damaged.*part-00001"):
        leaven.search(run, pictures, 4, vectors=tmp_path / "v")


# --- the contact sheet ---


def cell(sheet, left, top):
    return np.asarray(sheet)[top : top + CELL, left : left + CELL]


def test_the_sheet_shows_the_query_and_its_neighbours_with_frames_by_class(run, pictures, tmp_path):
    found = leaven.search(run, pictures, 4, k=7, out=tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.mode == "RGB" and sheet.getpixel((0, 0)) == sheet.getpixel((sheet.width - 1, sheet.height - 1)) and min(sheet.getpixel((0, 0))) > 240
    data = open_data(pictures, size=16, channels=3)
    side = data.spec.roles["x"].shape[1]

    def shown(row):
        pixels = data.rows["x"][torch.tensor([row])].pixels[0].permute(1, 2, 0).numpy()
        at = (np.arange(SIDE) + 0.5) * side / SIDE
        return pixels[at.astype(int)][:, at.astype(int)]

    np.testing.assert_array_equal(cell(sheet, MARGIN, MARGIN)[FRAME:-FRAME, FRAME:-FRAME], shown(4))
    labels = [file.split("/")[0] for file in data.files]
    row_height = CELL + 3 * 20 + GAP
    for number, each in enumerate(found):
        tile = cell(sheet, MARGIN + CELL + 3 * GAP + number % 5 * (CELL + GAP), MARGIN + number // 5 * row_height)
        np.testing.assert_array_equal(tile[FRAME:-FRAME, FRAME:-FRAME], shown(each["index"]))
        assert tuple(tile[0, 0]) == tuple(tile[-1, -1]) == (SAME if labels[each["index"]] == labels[4] else OTHER)


def test_a_sheet_of_several_queries_without_labels_has_a_block_each_and_no_frames(run, tmp_path):
    pixels = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    leaven.search(run, pixels, [0], k=3, out=tmp_path / "one.png")
    leaven.search(run, pixels, [0, 1], k=3, out=tmp_path / "two.png")
    one, two = Image.open(tmp_path / "one.png"), Image.open(tmp_path / "two.png")
    assert one.width == two.width == 2 * MARGIN + 4 * CELL + 3 * GAP + 2 * GAP
    assert two.height - one.height == CELL + 2 * 20 + GAP + 2 * GAP
    assert tuple(cell(one, MARGIN + CELL + 3 * GAP, MARGIN)[0, 0]) == one.getpixel((0, 0))


@pytest.mark.parametrize("width", [0, 1, 2, 5, 11, 19, 40])
def test_long_lines_keep_their_beginning_and_more_of_their_end(width):
    line = "some-picture-0017.png"
    short = shortened(line, len, width)
    assert len(short) <= width
    if width >= len(line):
        assert short == line
    elif width > 1:
        beginning, end = short.split("…")
        assert len(short) == width and line.startswith(beginning) and line.endswith(end) and len(end) >= len(beginning) - 1
    else:
        assert short == "…"[:width]


def test_paths_lose_their_folders_before_anything_else():
    assert shortened("a/long/path/to/17.png", len, 21) == "a/long/path/to/17.png"
    assert shortened("a/long/path/to/17.png", len, 20) == shortened("a/long/path/to/17.png", len, 8) == "…/17.png"
    assert shortened("a/long/path/to/17.png", len, 7) == "a/….png"


def test_an_interrupted_or_refused_search_writes_no_sheet(run, pictures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(leaven.UserError, match="a file lies where a folder is needed"):
        leaven.search(run, pictures, 4, out=tmp_path / "file" / "sheet.png")
    with pytest.raises(leaven.UserError):
        leaven.search(run, pictures, "none.png", out=tmp_path / "sheet.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- the command ---


def test_the_command_tells_programs_and_people_what_it_found(run, pictures, tmp_path, command):
    query, sheet = pictures / open_data(pictures).files[4], tmp_path / "sheet.png"
    status, out, _ = command("search", run.path, pictures, "--query", query, "-k", 3, "--out", sheet, "--json")
    told = json.loads(out)
    assert status == 0 and told.keys() == {"query", "neighbours", "sheet"}
    assert (told["query"], told["sheet"], len(told["neighbours"])) == (str(query), str(sheet), 3)
    assert told["neighbours"][0].keys() == {"rank", "file", "index", "similarity", "label"}
    assert Image.open(io.BytesIO(sheet.read_bytes())).format == "PNG"
    status, out, _ = command("search", run.path, pictures, "--query", "4", "--query", "#5", "-k", 2, "--json")
    told = json.loads(out)
    assert told["query"] == ["4", "#5"] and [len(answer) for answer in told["neighbours"]] == [2, 2] and told["sheet"] is None
    leaven.embed(run, pictures, out=tmp_path / "v")
    status, out, _ = command("search", run.path, pictures, "--query", query, "-k", 2, "--vectors", tmp_path / "v")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 3 and lines[0] == str(query)
    assert lines[1].split() == ["1", "1.0000", open_data(pictures).files[4], open_data(pictures).files[4].split("/")[0]]


def test_wrong_input_is_one_line_and_status_2(run, pictures, command):
    status, out, err = command("search", run.path, pictures, "--query", "4", "-k", 0)
    assert status == 2 and not out and err == "leaven: k must be at least 1, not 0\n"
    status, out, _ = command("search", run.path, pictures, "--query", "none.png", "--json")
    assert status == 2 and json.loads(out)["error"].keys() == {"what", "where", "hint"}


def test_search_and_embed_say_how_often_neighbours_agree_beside_the_raw_input(tmp_path):
    run = leaven.pretrain("demo:digits", steps=2, batch=64, out=tmp_path / "run", settings={"encoder.width": 8}, report=False)
    data, lines = open_data("demo:digits"), []
    leaven.search(run, data, "#3", say=lines.append)
    leaven.embed(run, data.rows["x"].main.numpy(), say=lines.append)
    labeled, unlabeled = [line for line in lines if "nearest neighbours" in line]
    assert re.match(r"[\d.]+ % of nearest neighbours have the same label, and [\d.]+ % by the raw input \(500 samples\)", labeled)
    assert "are views of the same sample" in unlabeled
