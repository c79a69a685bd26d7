"""Where pictures may come from: every file format, csv lists, Hugging Face, torch and lists of objects; and data sets larger than the cache."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

import leaven
from leaven.data import DataSet, open_data
from leaven.data.names import Names
from leaven.data.undecoded import Undecoded
from leaven.errors import UserError
from leaven.modalities import Boxes, Mask


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LEAVEN_CACHE", str(folder))
    monkeypatch.delenv("LEAVEN_DATA", raising=False)
    monkeypatch.delenv("LEAVEN_CACHE_LIMIT", raising=False)
    return folder


def picture(seed: int, side: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def folder_of(root: Path, count: int, classes: int = 2, side: int = 12) -> Path:
    for number in range(count):
        path = root / f"class{number % classes}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number, side).save(path)
    return root


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def pixels(data: DataSet) -> torch.Tensor:
    return data.rows["x"][torch.arange(len(data))].pixels


# --- formats ---

SAVED = {
    "JPEG": ("jpg", "RGB", {"quality": 100, "subsampling": 0}, 12),
    "PNG": ("png", "RGB", {}, 0),
    "WEBP": ("webp", "RGB", {"lossless": True}, 0),
    "GIF": ("gif", "P", {}, None),
    "BMP": ("bmp", "RGB", {}, 0),
    "TIFF": ("tif", "RGB", {}, 0),
    "TIFF CMYK": ("tiff", "CMYK", {}, None),
    "JPEG CMYK": ("jpeg", "CMYK", {"quality": 100}, None),
    "PNG grey": ("png", "L", {}, None),
    "PNG alpha": ("png", "RGBA", {}, 0),
    "PNG 16 bit": ("png", "I;16", {}, None),
}


@pytest.mark.parametrize("kind", SAVED)
def test_every_format_is_read_as_its_pixels(kind, tmp_path):
    ending, mode, options, tolerance = SAVED[kind]
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    smooth = Image.fromarray(np.linspace(0, 255, 12 * 12 * 3).reshape(12, 12, 3).astype(np.uint8))
    if mode == "I;16":
        grey = np.asarray(smooth.convert("L"))
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"one.{ending}", **options)
        expected = np.stack([grey] * 3)
    else:
        smooth.convert(mode).save(tmp_path / f"one.{ending}", **options)
        expected = np.asarray(smooth.convert(mode).convert("RGB")).transpose(2, 0, 1)
    stored = pixels(open_data(tmp_path, channels=3))[0].numpy()
    found = stored if stored.dtype == np.uint8 else np.rint(stored * 255)
    assert np.abs(found.astype(int) - expected).max() <= (tolerance if tolerance is not None else 4)


# --- a csv file that lists pictures ---


def test_a_csv_file_lists_pictures_with_labels_splits_and_groups(tmp_path):
    folder_of(tmp_path / "pictures", 6)
    lines = ["file,label,split,group,note"]
    for number in range(6):
        name = f"pictures/class{number % 2}/{number:03}.png"
        lines.append(f"{name},{'ab'[number // 3]},{'train' if number < 4 else 'test'},patient{number // 2},x")
    (tmp_path / "list.csv").write_text("\n".join([*lines, "pictures/missing.png,a,train,patient9,x"]))
    data = open_data(tmp_path / "list.csv")
    assert data.spec.class_names == ("a", "b")
    assert data.rows.label.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.rows.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {"train": [0, 1, 2, 3], "test": [4, 5]}
    assert [(broken.file, broken.why) for broken in data.broken] == [("pictures/missing.png", "No such file or directory")]
    assert torch.equal(pixels(data)[0], torch.from_numpy(np.asarray(picture(0))).permute(2, 0, 1))


def test_a_column_of_classes_keeps_no_samples_together_even_where_it_is_named_group(tmp_path):
    folder_of(tmp_path, 2)
    (tmp_path / "list.csv").write_text("file,text,group\nclass0/000.png,a cat,pets\nclass1/001.png,a goat,farm\n")
    columns = {"image": "file", "words": "text"}
    data = open_data(tmp_path / "list.csv", columns=columns, labels="group")
    assert data.spec.class_names == ("farm", "pets") and data.rows.group.tolist() == [-1, -1]
    assert open_data(tmp_path / "list.csv", columns=columns).rows.group.tolist() == [1, 0]
    with pytest.raises(UserError, match=r"no column 'nothing'.*the columns are file, text, group"):
        open_data(tmp_path / "list.csv", columns=columns, labels="nothing")


def test_a_csv_file_may_name_its_columns_otherwise(tmp_path):
    folder_of(tmp_path, 2)
    (tmp_path / "list.csv").write_text("where,what\nclass0/000.png,cat\nclass1/001.png,dog\n")
    data = open_data(tmp_path / "list.csv", columns={"x": "where"}, labels="what")
    assert data.spec.class_names == ("cat", "dog")
    assert open_data(tmp_path / "list.csv").fingerprint == open_data(tmp_path / "list.csv", columns={"x": "where"}).fingerprint
    with pytest.raises(UserError, match="no column 'kind'"):
        open_data(tmp_path / "list.csv", columns={"x": "where"}, labels="kind")


def test_tiny_imagenets_own_layout_has_one_class_a_folder(tmp_path):
    for number in range(4):
        path = tmp_path / "train" / f"n{number % 2}" / "images" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    (tmp_path / "val" / "images").mkdir(parents=True)
    picture(9).save(tmp_path / "val" / "images" / "val_0.png")
    data = open_data(tmp_path)
    assert data.spec.class_names == ("n0", "n1")
    assert data.rows.label[data.splits["val"]].tolist() == [-1]


# --- Hugging Face ---


def hugging_face(count: int = 6):
    import datasets

    kinds = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"]), "group": datasets.Value("string")})
    columns = {"picture": [picture(number) for number in range(count)], "kind": [number % 2 for number in range(count)]}
    return datasets.Dataset.from_dict({**columns, "group": [f"g{number // 2}" for number in range(count)]}, features=kinds)


def test_hugging_face_data_sets_are_read_with_class_names_and_groups():
    found = hugging_face()
    data = open_data(found, labels="kind")
    assert data.spec.class_names == ("cat", "dog")
    assert data.rows.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(pixels(data)[3], torch.from_numpy(np.asarray(picture(3))).permute(2, 0, 1))
    with pytest.raises(UserError, match="no column 'kid'"):
        open_data(found, labels="kid")
    assert open_data(found, columns={"x": "kind"}).spec.roles["x"].modality == "vector"


def test_a_saved_hugging_face_data_set_keeps_its_splits(tmp_path):
    import datasets

    datasets.DatasetDict({"train": hugging_face(4), "test": hugging_face(2)}).save_to_disk(tmp_path / "saved")
    data = open_data(tmp_path / "saved", labels="kind")
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {"train": [0, 1, 2, 3], "test": [4, 5]}


def test_a_broken_picture_of_a_hugging_face_data_set_is_set_aside():
    import datasets

    rows = [{"bytes": png(picture(0)), "path": None}, {"bytes": b"nothing", "path": None}, {"bytes": png(picture(2)), "path": None}]
    data = open_data(datasets.Dataset.from_dict({"image": rows}, features=datasets.Features({"image": datasets.Image()})))
    assert len(data) == 2
    assert [broken.file for broken in data.broken] == ["all#1"]


def test_hf_names_open_what_the_library_loads(tmp_path, monkeypatch):
    folder_of(tmp_path / "mine" / "train", 4)
    data = open_data(f"hf:{tmp_path / 'mine'}")
    assert data.spec.class_names == ("class0", "class1")
    assert len(data) == 4


def test_an_hf_name_that_cannot_be_fetched_is_one_line():
    with pytest.raises(UserError, match="cannot be fetched") as caught:
        open_data("hf:nobody/nothing-of-this-name")
    assert "\n" not in str(caught.value)


def test_a_streamed_data_set_is_refused():
    with pytest.raises(UserError, match="streamed"):
        open_data(hugging_face().to_iterable_dataset())


# --- objects ---


class Labeled(torch.utils.data.Dataset):
    classes = ("cat", "dog")

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


def test_torch_data_sets_of_pictures_arrays_and_dicts():
    data = open_data(Labeled([(picture(number, 12 + number), number % 2) for number in range(4)]))
    assert data.spec.class_names == ("cat", "dog")
    assert pixels(data).shape == (4, 3, 13, 13)
    data = open_data(Labeled([(torch.full((1, 8, 8), number / 4), torch.tensor(number % 2)) for number in range(4)]))
    assert data.rows.label.tolist() == [0, 1, 0, 1]
    assert pixels(data)[2].unique().tolist() == [0.5]
    data = open_data(Labeled([{"image": np.full((8, 8, 3), number, np.uint8), "label": "ab"[number % 2]} for number in range(4)]))
    assert data.spec.class_names == ("a", "b")
    assert open_data(Labeled([np.arange(5.0) + number for number in range(3)])).spec.roles["x"].modality == "vector"


def test_torch_data_sets_that_do_not_fit_are_one_line():
    with pytest.raises(UserError, match="differ in shape"):
        open_data(Labeled([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)]))
    with pytest.raises(UserError, match="empty"):
        open_data(Labeled([]))
    with pytest.raises(UserError, match="only be read in order"):
        open_data(iter([1, 2]))


def test_lists_of_paths_and_of_pictures(tmp_path):
    folder_of(tmp_path, 4)
    paths = sorted(tmp_path.rglob("*.png"), reverse=True)
    data = open_data((paths, ["b", "a", "b", "a"]))
    assert data.files == tuple(map(str, paths))
    assert data.rows.label.tolist() == [1, 0, 1, 0]
    again = open_data([Image.open(path) for path in paths])
    assert torch.equal(pixels(again), pixels(data))


# --- larger than the cache ---


def test_beyond_the_limit_pictures_are_decoded_when_selected(tmp_path, own_cache, monkeypatch):
    folder_of(tmp_path, 10)
    (tmp_path / "class0" / "broken.png").write_bytes(b"no picture")
    kept = open_data(tmp_path)
    monkeypatch.setenv("LEAVEN_CACHE_LIMIT", "1KB")
    large = open_data(tmp_path)
    assert large.undecoded
    assert not kept.undecoded
    assert large.rows["x"].lazy
    rows = torch.tensor([7, 2, 2, 9])
    assert torch.equal(large.rows["x"][rows].pixels, kept.rows["x"][rows].pixels)
    assert torch.equal(large.rows.select(rows).label, kept.rows.label[rows])
    assert large.fingerprint == kept.fingerprint
    assert large.broken == kept.broken
    assert not list(own_cache.rglob("pixels.npy"))  # a lower limit holds for what was kept before
    assert len(open_data(tmp_path)) == 10


def test_a_parquet_table_beyond_the_limit_is_read_by_row(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    cells = [{"bytes": png(picture(number)), "path": "x.png"} for number in range(9)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (tmp_path / "table").mkdir()
    pq.write_table(pa.table({"image": pa.array(cells, kind), "label": [0, 1, 2] * 3}), tmp_path / "table" / "train.parquet", row_group_size=4)
    kept = open_data(tmp_path / "table")
    monkeypatch.setenv("LEAVEN_CACHE_LIMIT", "0")
    large = open_data(tmp_path / "table")
    assert isinstance(large.rows["x"].pixels, Undecoded)
    assert torch.equal(large.rows["x"][torch.tensor([8, 0, 4])].pixels, kept.rows["x"][torch.tensor([8, 0, 4])].pixels)


def test_training_beyond_the_limit_is_the_same_training(tmp_path, monkeypatch):
    data = folder_of(tmp_path / "data", 40)
    weights = []
    for limit in ("1GB", "0"):
        monkeypatch.setenv("LEAVEN_CACHE_LIMIT", limit)
        run = leaven.pretrain(open_data(data), out=tmp_path / limit, steps=4, batch=16, settings={"encoder.width": 8, "encoder.features": 16})
        weights.append(leaven.load(run).state_dict())
    first, second = weights
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_picture_that_vanishes_later_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAVEN_CACHE_LIMIT", "0")
    data = open_data(folder_of(tmp_path, 4))
    (tmp_path / "class0" / "000.png").unlink()
    with pytest.raises(UserError, match="no longer be read"):
        data.rows["x"][torch.tensor([0])]


def test_the_cache_makes_room_by_what_was_not_used_for_longest(tmp_path, own_cache, monkeypatch):
    size = 12 * 12 * 3 * 10
    monkeypatch.setenv("LEAVEN_CACHE_LIMIT", str(int(2.8 * size)))
    sources = [folder_of(tmp_path / name, 10) for name in "abc"]
    for source in (sources[0], sources[1]):
        open_data(source)
    folders = {path.name: path for path in (own_cache / "pictures").iterdir()}
    import os

    for age, path in enumerate(sorted(folders.values(), key=lambda path: path.stat().st_mtime)):
        os.utime(path / "meta.json", (1000 + age, 1000 + age))
    open_data(sources[0])  # used again
    open_data(sources[2])
    left = {path.name for path in (own_cache / "pictures").iterdir()}
    assert len(left) == 2
    assert len(left & set(folders)) == 1
    assert not open_data(sources[0]).undecoded


def test_a_limit_that_is_no_size_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAVEN_CACHE_LIMIT", "much")
    with pytest.raises(UserError, match="LEAVEN_CACHE_LIMIT"):
        open_data(folder_of(tmp_path, 2))


# --- several roles, targets, and what is not used ---


def captions(root: Path, count: int = 6) -> Path:
    """A table beside pictures, which it names and describes."""
    folder_of(root / "png", count)
    lines = [
        f"png/class{number % 2}/{number:03}.png,picture number {number},g{number // 2},{'train' if number < 4 else 'test'},{number}.5"
        for number in range(count)
    ]
    (root / "captions.csv").write_text("\n".join(["image,caption,group,split,size", *lines, "png/missing.png,no picture,g9,train,1.0"]) + "\n")
    return root / "captions.csv"


def test_a_column_that_names_picture_files_stands_beside_texts_of_the_same_rows(tmp_path):
    data = open_data(captions(tmp_path), columns={"text": "caption", "image": "image"})
    assert list(data.spec.roles) == ["text", "image"] and data.rows["text"].texts.tolist() == [f"picture number {number}" for number in range(6)]
    assert torch.equal(data.rows["image"].pixels[3], torch.from_numpy(np.asarray(picture(3))).permute(2, 0, 1))
    assert data.groups.tolist() == [0, 0, 1, 1, 2, 2] and data.splits["test"].tolist() == [4, 5]
    assert data.files[1] == "png/class1/001.png" and [broken.file for broken in data.broken] == ["png/missing.png"]
    assert data.unused == ("1 column of numbers (size)",)
    pictures_alone = open_data(tmp_path / "captions.csv")
    assert list(pictures_alone.spec.roles) == ["x"] and pictures_alone.unused == ("1 column of text (caption)", "1 column of numbers (size)")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_other_tables_name_picture_files_too(kind, tmp_path):
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder_of(tmp_path, 4)
    columns = {"photo": [f"class{number % 2}/{number:03}.png" for number in range(4)], "text": ["a", "b", "c", "d"]}
    if kind == "parquet":
        pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = open_data(tmp_path / f"table.{kind}", columns={"image": "photo", "text": "text"})
    assert torch.equal(data.rows["image"].pixels[2], torch.from_numpy(np.asarray(picture(2))).permute(2, 0, 1))
    assert data.rows["text"].texts.tolist() == columns["text"]


def test_emoji_are_pictures_beside_their_names(data_root):
    data = open_data(data_root / "emoji" / "captions.csv", columns={"image": "file", "text": "name"})
    assert (len(data) == 1598 and data.spec.roles["image"].shape == (3, 96, 96)) or data.spec.roles["image"].shape == (3, 72, 72)
    assert data.rows["text"].texts.tolist()[0] == "keycap: #" and {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 1278,
        "test": 320,
    }
    assert data.spec.classes == 0 and len(data.groups.unique()) > 5 and data.files[0] == "png/emoji_u0023_20e3.png"
    corner = data.rows["image"].pixels[0][:, 0, 0]
    assert corner.tolist() == [255, 255, 255]
    assert any("keywords" in entry for entry in data.unused)


def test_arrays_and_lists_of_texts_are_roles_of_the_same_samples():
    shown = np.stack([np.asarray(picture(number)) for number in range(4)])
    data = open_data({"image": shown, "text": ["one", "", "three", "four"], "label": ["a", "b", "b", None], "group": [0, 0, 1, 1]})
    assert list(data.spec.roles) == ["image", "text"] and data.rows["text"].texts.tolist() == ["one", "three", "four"]
    assert torch.equal(data.rows["image"].pixels, torch.from_numpy(shown[[0, 2, 3]]).permute(0, 3, 1, 2))
    assert data.labels.tolist() == [0, 1, -1] and data.groups.tolist() == [0, 1, 1] and data.broken[0].why == "text: empty"
    with pytest.raises(UserError, match="lengths differ: image 4, text 3"):
        open_data({"image": shown, "text": ["one", "two", "three"]})


def test_boxes_and_masks_are_targets_that_keep_to_their_pictures(tmp_path):
    shown = np.stack([np.asarray(picture(number, 200)) for number in range(4)])
    boxes = Boxes(torch.tensor([[[20.0, 40, 60, 80], [0, 0, 0, 0]]]).repeat(4, 1, 1), torch.tensor([[1, -1]]).repeat(4, 1))
    mask = Mask(torch.zeros(4, 200, 200, dtype=torch.uint8))
    mask.classes[:, 40:80, 20:60] = 3
    data = open_data({"boxes": boxes, "x": shown, "mask": mask}, size=100)
    batch = data.select(torch.tensor([2, 1]))
    assert list(data.spec.roles) == ["x", "boxes", "mask"] and batch["x"].pixels.shape[2:] == (115, 115)
    assert torch.allclose(batch["boxes"].xyxy[0, 0], torch.tensor([11.5, 23, 34.5, 46])) and batch["boxes"].classes.tolist() == [[1, -1]] * 2
    rows, columns = (batch["mask"].classes[0] == 3).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (23, 45, 12, 34)
    plain = open_data({"x": shown}, size=100)
    assert torch.equal(data.hashes, plain.hashes) and data.fingerprint != plain.fingerprint
    mask.classes[0, 0, 0] = 5
    assert open_data({"boxes": boxes, "x": shown, "mask": mask}).fingerprint != open_data({"boxes": boxes, "x": shown}).fingerprint
    assert data.subset(torch.tensor([3])).rows["boxes"].xyxy.shape == (1, 2, 4) and batch["label"].ids.tolist() == [-1, -1]
    with pytest.raises(UserError, match="some boxes are empty"):
        open_data({"x": shown, "boxes": Boxes(torch.zeros(4, 1, 4), torch.zeros(4, 1, dtype=torch.int64))})
    with pytest.raises(UserError, match="whole numbers"):
        open_data({"x": shown, "mask": Mask(torch.zeros(4, 200, 200))})
    folder_of(tmp_path, 4)
    with pytest.raises(UserError, match="boxes cannot stand beside picture files"):
        open_data({"x": sorted(map(str, tmp_path.rglob("*.png"))), "boxes": boxes})


def test_a_folder_of_sounds_is_not_its_readme(tmp_path, command):
    for number in range(3):
        (tmp_path / f"{number}.wav").write_bytes(b"RIFF")
    (tmp_path / "README.md").write_text("These are sounds.\nTen speakers.\n")
    for name in ("list.csv", "1.txt", "LICENSE.txt"):
        (tmp_path / name).write_text("file,word\n0.wav,yes\n")
    status, out, err = command("pretrain", tmp_path, "--steps", 1, "--out", tmp_path / "run")
    last = err.strip().splitlines()[-1]
    assert status == 2 and not out and "none of the 3 recordings can be used" in last and "not a whole sound file" in last
    assert open_data(tmp_path / "README.md").rows["x"].texts.tolist() == ["These are sounds.", "Ten speakers."]


def test_a_readme_among_other_files_is_never_the_data(tmp_path):
    (tmp_path / "README.md").write_text("what this is\n")
    (tmp_path / "signals.xyz").write_bytes(b"0")
    with pytest.raises(UserError, match=r"1 x \.xyz"):
        open_data(tmp_path)
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(f"the text {name}")
    assert open_data(tmp_path).rows["x"].texts.tolist() == ["the text a", "the text b", "the text c"]


def test_what_lies_beside_the_samples_is_said(tmp_path):
    folder_of(tmp_path, 6)
    for number in range(6):
        (tmp_path / f"class{number % 2}" / f"{number:03}.txt").write_text("what it shows")
    for name in ("README.md", "sounds/a.mp3", "captions.csv", "class0/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("file,text\n")
    data = open_data(tmp_path)
    assert data.unused == (
        "6 texts of the same names as samples (.txt)",
        "1 text (class0/notes.txt)",
        "1 sound (sounds/a.mp3)",
        "1 table (captions.csv)",
        "1 other file (README.md)",
    )
    assert data.subset(torch.arange(2)).unused == data.unused and open_data(tmp_path / "class0" / "000.png").unused == ()
    np.savez(tmp_path / "arrays.npz", x=np.zeros((4, 3)), y=np.zeros(4, np.int64), speed=np.ones(1))
    assert open_data(tmp_path / "arrays.npz").unused == ("the arrays speed",)


def test_names_of_samples_are_a_column_that_holds_any_file_name(tmp_path):
    import os

    names = Names.of(["a.png", "b.png", os.fsdecode(b"\xff.png")])
    assert names == ("a.png", "b.png", "\udcff.png") and names[2] == "\udcff.png" and names[-3] == "a.png"
    assert names.index("b.png") == 1 and "c.png" not in names and names.take(np.array([2, 0])) == ["\udcff.png", "a.png"]
    assert names[1:] == names.take(np.array([1, 2])) and Names.of(names) is names
    with pytest.raises(ValueError, match="no name"):
        names.index("c.png")


def test_a_data_set_is_asked_through_its_protocol():
    data = open_data({"x": np.eye(4), "label": [0, 1, 1, 0], "group": [0, 0, 1, 1]})
    assert isinstance(data, DataSet) and len(data) == data.spec.samples == 4
    batch = data.select(torch.tensor([3, 0]))
    assert batch["x"].numbers.argmax(1).tolist() == [3, 0] and batch["label"].ids.tolist() == batch.label.tolist() == [0, 0]
    assert batch.index.tolist() == [3, 0] and data.labels.tolist() == [0, 1, 1, 0] and data.groups.tolist() == [0, 0, 1, 1]


def test_an_array_whose_header_is_damaged_is_refused_in_one_line(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 3)))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"{'descr'", b" 'descr'").replace(b"False", b"Fal\xa2e"))
    with pytest.raises(UserError, match="cannot read the array") as caught:
        open_data(tmp_path / "a.npy")
    assert len(str(caught.value).splitlines()) == 1
