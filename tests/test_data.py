import errno
import gzip
import io
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from leaven.data import Batch, DataSet, open_data, picture_cache
from leaven.data import cache as caching
from leaven.data.labels import number
from leaven.data.splits import hold_out, split_rows
from leaven.errors import UserError
from leaven.modalities import Pixels, Signal, Vector, Wave
from leaven.modalities.decoding import Stored, decode, stored_side
from leaven.modalities.picture_files import Unusable


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LEAVEN_CACHE", str(folder))
    monkeypatch.delenv("LEAVEN_DATA", raising=False)
    return folder


@pytest.fixture(scope="session")
def cifar10(data_root) -> DataSet:
    return open_data("cifar10", root=data_root, cache_dir=Path.home() / ".cache" / "leaven")


def asymmetric(height: int = 20, width: int = 20) -> np.ndarray:
    """(H, W, 3) uint8 in which every corner differs: red grows downwards, green to the right, blue in the upper left quarter."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(0, 250, height)[:, None]
    picture[..., 1] = np.linspace(0, 250, width)[None]
    picture[: height // 2, : width // 2, 2] = 255
    return picture


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def some(names: str, side: int = 12) -> dict[str, bytes]:
    return {name: encoded(noise(seed, side, side, 3)) for seed, name in enumerate(names.split())}


def table(path: Path, pictures: list[bytes | None], **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = pa.array(
        [None if p is None else {"bytes": p, "path": "x.png"} for p in pictures], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    pq.write_table(pa.table({"image": images, **columns}), path, row_group_size=3)
    return path


# --- decoding ---


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    upright = asymmetric()
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    image = Image.fromarray(upright)
    if orientation > 1:
        image = image.transpose(Image.Transpose[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = decode(encoded(np.asarray(image), "PNG", exif=exif), Stored(20, 3))
    np.testing.assert_array_equal(stored, upright.transpose(2, 0, 1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_spoil_the_picture():
    assert decode(encoded(asymmetric(), "PNG", exif=b"Exif\x00\x00MM\x00*garbage"), Stored(20, 3)).shape == (3, 20, 20)


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 400).round().astype(np.uint16).reshape(20, 20)
    np.testing.assert_array_equal(decode(encoded(ramp), Stored(20, 1))[0], np.rint(ramp / 257))
    np.testing.assert_array_equal(decode(encoded(ramp, "TIFF"), Stored(20, 1))[0], np.rint(ramp / 257))


def test_floating_tiff_in_the_unit_range_fills_eight_bits():
    ramp = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    np.testing.assert_array_equal(decode(encoded(ramp, "TIFF"), Stored(20, 1))[0], np.rint(ramp * 255))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(mode):
    stream = io.BytesIO()
    picture = Image.new(mode, (8, 8), (0,) * len(mode))
    picture.paste((100,) * (len(mode) - 1) + (255,), (0, 0, 4, 8))
    picture.save(stream, "PNG")
    stored = decode(stream.getvalue(), Stored(8, 3))
    assert (stored[:, :, :4] == 100).all()
    assert (stored[:, :, 4:] == 255).all()


def test_a_transparent_palette_colour_lies_on_white():
    picture = Image.fromarray(np.array([[0, 1]] * 2, np.uint8)).convert("P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    stream = io.BytesIO()
    picture.save(stream, "PNG", transparency=0)
    stored = decode(stream.getvalue(), Stored(2, 3))
    assert stored[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 50]]


def test_cmyk_and_animated_gif_are_read():
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 30)).convert("CMYK").save(stream, "JPEG", quality=95)
    assert np.abs(decode(stream.getvalue(), Stored(16, 3)).reshape(3, -1).mean(1) - [200, 30, 30]).max() < 4
    frames = [Image.new("L", (8, 8), value) for value in (255, 0)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    assert (decode(stream.getvalue(), Stored(8, 1)) == 255).all()


def test_the_short_side_is_resized_and_the_centre_kept():
    wide = asymmetric(40, 80)
    stored = decode(encoded(wide), Stored(20, 3)).astype(int)
    assert stored.shape == (3, 20, 20)
    assert stored[1].min() == pytest.approx(wide[0, 20, 1], abs=6)
    assert stored[1].max() == pytest.approx(wide[0, 59, 1], abs=6)
    assert stored[0].min() < 6
    assert stored[0].max() > 244


def test_large_jpegs_come_out_alike_through_the_draft_decoder():
    large = asymmetric(800, 800)
    by_jpeg, by_png = (decode(encoded(large, kind), Stored(40, 3)).astype(int) for kind in ("JPEG", "PNG"))
    assert np.abs(by_jpeg - by_png).mean() < 3


def test_a_pixel_bomb_is_refused_by_its_header():
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "PNG")
    with pytest.raises(Unusable, match="9000 x 9000"):
        decode(stream.getvalue(), Stored(32, 3))


@pytest.mark.parametrize(
    ("native", "size", "side"), [(28, None, 28), (64, None, 64), (72, None, 72), (500, None, 110), (32, 96, 32), (110, 96, 110), (111, 96, 110)]
)
def test_the_stored_side(native, size, side):
    assert stored_side(native, size) == side


# --- folders ---


def test_a_nested_folder_is_read_in_the_order_of_paths(tmp_path):
    files = some("b/2.png a/deep/er/1.png 3.png")
    data = open_data(write(tmp_path, files))
    assert data.files == ("3.png", "a/deep/er/1.png", "b/2.png")
    for row, name in enumerate(data.files):
        expected = np.asarray(Image.open(io.BytesIO(files[name]))).transpose(2, 0, 1)
        np.testing.assert_array_equal(data.rows["x"].pixels[row].numpy(), expected)
    assert data.spec.labeled == 0
    assert data.rows.label.tolist() == [-1] * 3
    assert list(data.splits) == ["all"]


def test_the_source_is_left_untouched_and_may_be_read_only(tmp_path):
    write(tmp_path, some("cat/1.png dog/2.png"))
    for path in [*tmp_path.rglob("*.png"), *tmp_path.glob("*"), tmp_path]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    open_data(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_broken_files_are_set_aside_with_a_reason(tmp_path):
    files = some("a.png b.png")
    write(
        tmp_path,
        {
            **files,
            "cut.png": files["a.png"][:200],
            "empty.jpg": b"",
            "text.jpg": b"hello, no picture",
            "notes.txt": b"not counted",
            ".hidden.png": b"",
        },
    )
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    data = open_data(tmp_path)
    assert data.files == ("a.png", "b.png")
    why = {broken.file: broken.why for broken in data.broken}
    assert set(why) == {"cut.png", "empty.jpg", "text.jpg", "gone.png", "pipe.png"}
    assert why["empty.jpg"] == "empty file"
    assert why["text.jpg"] == "not a picture that can be read"
    assert why["gone.png"] == "No such file or directory"
    assert "truncated" in why["cut.png"]
    again = open_data(tmp_path)
    assert again.broken == data.broken
    assert again.fingerprint == data.fingerprint


def test_labels_stay_with_their_pictures_when_others_are_broken(tmp_path):
    write(tmp_path, {**some("a/2.png b/3.png c/4.png"), "a/1.png": b"", "b/1.png": b""})
    data = open_data(tmp_path)
    assert [data.spec.class_names[i] for i in data.rows.label] == ["a", "b", "c"]
    assert data.files == ("a/2.png", "b/3.png", "c/4.png")


def test_all_broken_is_an_error_that_leaves_nothing_behind(tmp_path, own_cache):
    with pytest.raises(UserError, match="none of the 2 pictures"):
        open_data(write(tmp_path, {"a.png": b"", "b.png": b"x"}))
    assert list((own_cache / "pictures").iterdir()) == []


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    with pytest.raises(UserError, match=r"2 x \.pdf"):
        open_data(write(tmp_path, {"a.pdf": b"", "b.pdf": b""}))


def test_links_that_loop_do_not_hang(tmp_path):
    write(tmp_path, some("a/1.png"))
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert open_data(tmp_path).files == ("a/1.png",)


def test_one_subfolder_a_class(tmp_path):
    data = open_data(write(tmp_path, some("10/a.png 9/a.png 9/b.png")))
    assert data.spec.class_names == ("9", "10")
    assert [data.spec.class_names[i] for i in data.rows.label] == ["10", "9", "9"]
    assert (data.spec.classes, data.spec.labeled) == (2, 3)


@pytest.mark.parametrize("files", ["a/1.png b/c/2.png", "a/1.png b/2.png 3.png", "a/1.png a/2.png"])
def test_no_labels_where_folders_are_not_plainly_classes(tmp_path, files):
    assert open_data(write(tmp_path, some(files))).spec.labeled == 0


def test_folder_labels_can_be_forced(tmp_path):
    data = open_data(write(tmp_path, some("x/a/1.png y/b/2.png 3.png")), labels="folder")
    assert data.rows.label.tolist() == [-1, 0, 1]
    assert data.spec.class_names == ("a", "b")


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders_with_classes_numbered_over_all_splits(tmp_path, val):
    data = open_data(write(tmp_path, some(f"train/b/1.png train/c/2.png {val}/a/3.png {val}/c/4.png test/c/5.png")))
    assert data.spec.class_names == ("a", "b", "c")
    found = {name: [data.files[row] for row in rows] for name, rows in data.splits.items()}
    assert found == {"train": ["train/b/1.png", "train/c/2.png"], "val": [f"{val}/a/3.png", f"{val}/c/4.png"], "test": ["test/c/5.png"]}
    assert [data.spec.class_names[i] for i in data.rows.label] == [Path(file).parent.name for file in data.files]
    assert data.train().tolist() == data.splits["train"].tolist()


def test_an_unlabeled_test_folder_is_not_what_probes_are_scored_on(tmp_path):
    data = open_data(write(tmp_path, some("train/a/1.png train/b/2.png val/a/3.png val/b/4.png test/5.png test/6.png")))
    assert data.rows.label[data.splits["test"]].tolist() == [-1, -1]
    assert data.held_out()[2] == "val"


def test_statistics_are_those_of_the_train_split(tmp_path):
    files = {"train/1.png": encoded(np.full((8, 8, 3), [51, 102, 153], np.uint8)), "test/2.png": encoded(np.zeros((8, 8, 3), np.uint8))}
    spec = open_data(write(tmp_path, files)).spec.roles["x"]
    assert spec.mean == pytest.approx((0.2, 0.4, 0.6))
    assert spec.std == (1.0,) * 3  # one plain picture


def test_a_csv_of_labels_by_path_or_by_name(tmp_path):
    write(tmp_path / "data", some("a/1.png a/2.png b/1.png b/3.png"))
    (tmp_path / "l.csv").write_text("file,label\n./a/1.png,x\nb/1.png,y\n3.png,x\n")
    data = open_data(tmp_path / "data", labels=str(tmp_path / "l.csv"))
    assert data.rows.label.tolist() == [0, -1, 1, 0]
    assert (data.spec.labeled, data.spec.class_names) == (3, ("x", "y"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,label\n1.png,x\n", "1 of 1 labels match no file.*2 files"),
        ("file,label\nc/9.png,x\na/1.png,y\n", "1 of 2 labels match no file.*c/9.png"),
        ("file,label\na/1.png,x\na/1.png,y\n", "labeled twice"),
        ("scan,grade,note\na/1.png,x,\n", "no column 'file' or 'label'.*scan, grade, note"),
    ],
)
def test_a_wrong_csv_is_refused(tmp_path, text, match):
    write(tmp_path / "data", some("a/1.png b/1.png"))
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(UserError, match=match):
        open_data(tmp_path / "data", labels=tmp_path / "l.csv")


def test_grey_pictures_have_one_channel_and_one_colour_picture_makes_three(tmp_path):
    write(tmp_path, {f"{i}.png": encoded(noise(i, 8, 8)) for i in range(3)})
    assert open_data(tmp_path).spec.roles["x"].shape == (1, 8, 8)
    assert open_data(tmp_path, channels=3).spec.roles["x"].shape == (3, 8, 8)
    write(tmp_path, {"colour.png": encoded(asymmetric(8, 8))})
    assert open_data(tmp_path).spec.roles["x"].shape == (3, 8, 8)


@pytest.mark.parametrize(("size", "side"), [(None, 110), (40, 46), (180, 200), (300, 200)])
def test_large_pictures_are_stored_a_little_above_the_training_size(tmp_path, size, side):
    write(tmp_path, {f"{i}.jpg": encoded(noise(i, 200, 260), "JPEG") for i in range(3)} | {"odd.png": encoded(noise(9, 30, 400))})
    assert open_data(tmp_path, size=size).rows["x"].pixels.shape == (4, 1, side, side)


def test_a_glob_and_a_single_picture(tmp_path):
    write(tmp_path, some("a/1.png a/2.png b/3.png"))
    assert open_data(str(tmp_path / "*" / "[12].png")).files == ("a/1.png", "a/2.png")
    assert open_data(tmp_path / "b" / "3.png").files == ("3.png",)
    with pytest.raises(UserError, match="no pictures"):
        open_data(str(tmp_path / "*.webp"))


# --- the cache ---


def test_the_second_time_nothing_is_decoded(tmp_path, monkeypatch):
    write(tmp_path, some("a/1.png b/2.png"))
    steps: list[tuple[int, int]] = []
    first = open_data(tmp_path, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(2, 2)]
    monkeypatch.setattr(picture_cache, "decode", lambda *_: pytest.fail("decoded again"))
    second = open_data(tmp_path)
    assert second.fingerprint == first.fingerprint
    assert torch.equal(second.rows["x"].pixels, first.rows["x"].pixels)


def test_a_changed_file_is_decoded_anew(tmp_path):
    write(tmp_path, some("1.png 2.png"))
    first = open_data(tmp_path)
    write(tmp_path, {"2.png": encoded(noise(9, 12, 12, 3))})
    second = open_data(tmp_path)
    assert second.fingerprint != first.fingerprint
    assert (second.hashes == first.hashes).tolist() == [True, False]


@pytest.mark.parametrize("damage", ["truncate", "overwrite", "no meta", "garbage meta", "a file"])
def test_a_damaged_cache_is_rebuilt(tmp_path, own_cache, damage):
    write(tmp_path, some("1.png 2.png 3.png"))
    first = open_data(tmp_path)
    expected = first.rows["x"].pixels.clone()
    (folder,) = (own_cache / "pictures").iterdir()
    del first
    pixels = folder / "pixels.npy"
    match damage:
        case "truncate":
            pixels.write_bytes(pixels.read_bytes()[:-50])
        case "overwrite":
            pixels.write_bytes(pixels.read_bytes()[:-50] + bytes(50))
        case "no meta":
            (folder / "meta.json").unlink()
        case "garbage meta":
            (folder / "meta.json").write_text("[1")
        case "a file":
            shutil.rmtree(folder)
            folder.write_text("?")
    assert torch.equal(open_data(tmp_path).rows["x"].pixels, expected)
    assert [path.name for path in (own_cache / "pictures").iterdir()] == [folder.name]


def test_two_at_once_agree_and_leave_one_cache(tmp_path, own_cache, monkeypatch):
    write(tmp_path, some(" ".join(f"{i}.png" for i in range(40))))
    together = threading.Barrier(2)
    publish = caching.Entry.publish

    def at_the_same_time(*arguments):
        together.wait(timeout=20)
        publish(*arguments)

    monkeypatch.setattr(caching.Entry, "publish", at_the_same_time)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(open_data, [tmp_path, tmp_path])
    assert one.fingerprint == two.fingerprint
    assert len(list((own_cache / "pictures").iterdir())) == 1


@pytest.mark.parametrize("when", ["before", "while writing"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, own_cache, monkeypatch, when):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "before":
        monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    else:
        monkeypatch.setattr(picture_cache, "write_header", full)
    with pytest.raises(UserError, match="disk is full") as caught:
        open_data(write(tmp_path, some("1.png")))
    assert "LEAVEN_CACHE" in caught.value.hint
    assert list((own_cache / "pictures").iterdir()) == []


def test_an_interrupted_build_leaves_nothing(tmp_path, own_cache):
    def interrupt(done, total):
        raise KeyboardInterrupt

    write(tmp_path, some("1.png"))
    with pytest.raises(KeyboardInterrupt):
        open_data(tmp_path, progress=interrupt)
    assert list((own_cache / "pictures").iterdir()) == []


def test_the_cache_holds_nothing_pickled(tmp_path, own_cache):
    open_data(write(tmp_path, some("1.png")))
    (folder,) = (own_cache / "pictures").iterdir()
    assert json.loads((folder / "meta.json").read_text())["format"] == 1
    for name in ("pixels", "hashes", "kept"):
        np.load(folder / f"{name}.npy", allow_pickle=False)


# --- tables ---


def test_a_table_of_pictures_with_labels_and_a_split_column(tmp_path):
    pictures = [encoded(noise(seed, 8, 8, 3)) for seed in range(5)]
    names = ["train", "train", "validation", "test", "train"]
    data = open_data(table(tmp_path / "t.parquet", [*pictures, None, b"broken"], label=[1, 0, 3, None, 0, 1, 1], split=[*names, "train", "test"]))
    assert data.rows.label.tolist() == [1, 0, 2, -1, 0]
    assert data.spec.class_names == ("0", "1", "3")
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {"train": [0, 1, 4], "val": [2], "test": [3]}
    assert data.files[4] == "t.parquet#4"
    assert {broken.file: broken.why for broken in data.broken} == {"t.parquet#5": "no picture bytes", "t.parquet#6": "not a picture that can be read"}
    np.testing.assert_array_equal(data.rows["x"].pixels[3], np.asarray(Image.open(io.BytesIO(pictures[3]))).transpose(2, 0, 1))


def test_shards_of_a_table_are_split_by_the_beginning_of_their_names(tmp_path):
    for seed, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001")):
        table(
            tmp_path / "data" / f"{name}.parquet", [encoded(noise(seed * 10 + i, 8, 8)) for i in range(4)], label=["b", "a", "b", "a"], fine=[1.5] * 4
        )
    data = open_data(tmp_path / "data")
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {"train": list(range(8)), "val": list(range(8, 12))}
    assert data.spec.class_names == ("a", "b")
    only = open_data(str(tmp_path / "data" / "train-*.parquet"))
    assert len(only) == 8
    with pytest.raises(UserError, match=r"no column 'clas'.*image, label, fine"):
        open_data(tmp_path / "data", labels="clas")
    with pytest.raises(UserError, match="'fine' holds double"):
        open_data(tmp_path / "data", labels="fine")


def test_two_picture_columns_are_two_roles_and_keep_in_step(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    one, two = ([encoded(noise(seed + i, 8, 8)) for i in range(4)] for seed in (0, 50))
    one[1], two[2] = b"", b""
    columns = {name: pa.array([{"bytes": b, "path": None} for b in column], kind) for name, column in (("left", one), ("right", two))}
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
    data = open_data(tmp_path / "pairs.parquet", columns={"a": "left", "b": "right"})
    assert data.files == ("pairs.parquet#0", "pairs.parquet#3")
    for role, column in (("a", one), ("b", two)):
        np.testing.assert_array_equal(data.rows[role].pixels[1, 0], np.asarray(Image.open(io.BytesIO(column[3]))))
    with pytest.raises(UserError, match=r"no column 'middle'.*left, right"):
        open_data(tmp_path / "pairs.parquet", columns={"a": "middle"})


def test_a_table_without_pictures_and_a_damaged_one(tmp_path):
    pq.write_table(pa.table({"when": pa.array([0], pa.timestamp("s"))}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"no column of pictures, text or numbers.*when"):
        open_data(tmp_path / "t.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="not a whole parquet file"):
        open_data(tmp_path / "bad.parquet")


# --- arrays ---


def test_pictures_in_every_layout_are_the_same_data():
    first = noise(0, 6, 3, 10, 9)
    last = np.ascontiguousarray(first.transpose(0, 2, 3, 1))
    kinds = [
        first,
        last,
        torch.from_numpy(first),
        first[:, :, ::-1][:, :, ::-1],
        first.astype(np.int64),
        first.astype(">i4"),
    ]
    opened = [open_data(kind) for kind in kinds]
    assert {data.fingerprint for data in opened} == {opened[0].fingerprint}
    assert all(torch.equal(data.rows["x"].pixels, torch.from_numpy(first)) for data in opened)
    assert open_data(first[:, 0]).spec.roles["x"].shape == (1, 10, 9)


def test_floats_in_the_unit_range_stay_as_they_are():
    unit = torch.rand(5, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    data = open_data(unit)
    assert torch.equal(data.rows["x"].pixels, unit.float())
    assert data.spec.roles["x"].mean[0] == pytest.approx(unit.mean().item(), abs=1e-5)
    with pytest.raises(UserError, match="not finite"):
        open_data(unit / 0)


@pytest.mark.parametrize("shape", [(4,), (4, 5, 6, 7), (4, 2, 2, 2, 2), (0, 3, 8, 8)])
def test_other_shapes_are_refused_with_the_layouts_that_fit(shape):
    with pytest.raises(UserError, match=r"\(N,H,W\)"):
        open_data(np.zeros(shape, np.uint8))


def test_vectors_with_their_statistics():
    numbers = np.random.default_rng(0).normal(1e4, [1, 5], (700, 2))
    spec = open_data(numbers).spec.roles["x"]
    assert (spec.modality, spec.shape) == ("vector", (2,))
    assert spec.mean == pytest.approx(numbers.mean(0), rel=1e-6)
    assert spec.std == pytest.approx(numbers.std(0), rel=1e-3)


def test_pairs_dicts_values_and_data_sets():
    x, y = noise(0, 4, 8, 8), ["b", "a", None, "b"]
    data = open_data((x, y))
    assert data.rows.label.tolist() == [1, 0, -1, 1]
    assert torch.equal(open_data(x, labels=y).rows.label, data.rows.label)
    both = open_data({"a": x, "b": Wave(torch.zeros(4, 5), torch.full((4,), 5), 8000.0), "label": y, "group": [7, 7, 8, 8]})
    assert both.spec.roles["b"].rate == 8000
    assert both.rows.group.tolist() == [0, 0, 1, 1]
    assert open_data(Signal(torch.zeros(4, 2, 5), torch.ones(4, 5, dtype=torch.bool), 100.0)).spec.roles["x"].shape == (2, 5)
    assert open_data(data) is data
    assert open_data(data.rows).fingerprint == open_data((x, data.rows.label)).fingerprint
    with pytest.raises(UserError, match="x 4, label 3"):
        open_data((x, [1, 2, 3]))
    with pytest.raises(UserError, match="neither pictures nor vectors"):
        open_data([1, 2])
    with pytest.raises(UserError, match="a float cannot be opened"):
        open_data(1.5)


def test_arrays_follow_the_size_and_channels_asked_for():
    data = open_data(noise(0, 4, 28, 28), size=20, channels=3)
    assert data.spec.roles["x"].shape == (3, 23, 23)
    assert open_data(noise(0, 4, 28, 28), size=25).spec.roles["x"].shape == (1, 28, 28)


def test_npy_and_npz_files(tmp_path):
    x, y = noise(0, 6, 8, 8, 3), np.array([3, 3, 5, -1, 5, 3])
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "xy.npz", x=x, y=y, other=np.zeros(3))
    np.savez(tmp_path / "split.npz", x_train=x[:4], y_train=y[:4], x_test=x[4:], y_test=y[4:])
    np.savez(tmp_path / "what.npz", first=x, second=y)
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert torch.equal(open_data(tmp_path / "x.npy").rows["x"].pixels, torch.from_numpy(x).permute(0, 3, 1, 2))
    data = open_data(tmp_path / "xy.npz")
    assert data.rows.label.tolist() == [0, 0, 1, -1, 1, 0]
    assert data.spec.class_names == ("3", "5")
    assert open_data(tmp_path / "split.npz").splits["test"].tolist() == [4, 5]
    with pytest.raises(UserError, match="first, second"):
        open_data(tmp_path / "what.npz")
    with pytest.raises(UserError, match="cannot read the array"):
        open_data(tmp_path / "pickled.npy")


@pytest.mark.parametrize("raw", ["", "raw/"])
def test_idx_files_are_unpacked_in_memory(tmp_path, raw):
    def idx(array):
        return gzip.compress(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes())

    pictures, labels = noise(0, 7, 5, 6), np.array([2, 0, 1, 2, 2, 0, 1], np.uint8)
    files = {}
    for part, rows in (("train", slice(0, 5)), ("t10k", slice(5, 7))):
        files |= {f"{raw}{part}-images-idx3-ubyte.gz": idx(pictures[rows]), f"{raw}{part}-labels-idx1-ubyte.gz": idx(labels[rows])}
    data = open_data(write(tmp_path, files))
    assert torch.equal(data.rows["x"].pixels[:, 0], torch.from_numpy(pictures))
    assert data.rows.label.tolist() == labels.tolist()
    assert data.splits["test"].tolist() == [5, 6]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4
    cut = tmp_path / f"{raw}train-images-idx3-ubyte.gz"
    cut.write_bytes(cut.read_bytes()[:40])
    with pytest.raises(UserError, match="not a whole idx file"):
        open_data(tmp_path)


# --- names ---


def test_a_name_is_a_folder_under_the_root(tmp_path, monkeypatch):
    write(tmp_path, {f"My_Pictures/{name}": content for name, content in some("1.png 2.png").items()})
    assert open_data("my-pictures", root=tmp_path).name == "My_Pictures"
    monkeypatch.setenv("LEAVEN_DATA", str(tmp_path))
    assert len(open_data("MYPICTURES")) == 2
    with pytest.raises(UserError, match=r"no data set 'cifar10'.*My_Pictures"):
        open_data("cifar10")


def test_an_unknown_name_without_a_root_says_where_to_put_it():
    with pytest.raises(UserError, match="LEAVEN_DATA"):
        open_data("cifar10")
    with pytest.raises(UserError, match="no such file or folder"):
        open_data("nowhere/pictures")
    with pytest.raises(UserError, match="demo:digits"):
        open_data("demo:cats")


def test_a_torchvision_data_set_of_that_name_is_read_but_not_fetched(tmp_path, monkeypatch):
    import torchvision.datasets as catalogue

    class Sketches:
        classes = ("x", "y")

        def __init__(self, root, train=True, download=True):
            assert not download
            if not train:
                raise RuntimeError("Dataset not found")
            self.data, self.targets = noise(0, 4, 6, 6, 3), [0, 1, 1, 0]

    monkeypatch.setattr(catalogue, "Sketches", Sketches, raising=False)  # real ones check the md5 of files that are not here
    data = open_data("sketches", root=tmp_path)
    assert data.spec.class_names == ("x", "y")
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 4}


def test_the_demo_digits():
    data = open_data("demo:digits")
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 1197, "test": 600}
    assert data.spec.roles["x"].shape == (1, 16, 16)
    assert data.rows["x"].pixels.max() == 255
    assert data.overlap(data.splits["train"], data.splits["test"]) == 0
    assert torch.bincount(data.rows.label[data.splits["test"]]).min() > 40


# --- labels, splits, holding out ---


def test_numbering_of_labels_of_several_kinds():
    assert number([10, 2, None, 2]).names == ("2", "10")
    assert number(["10", "2", "", "2"]).ids.tolist() == [1, 0, -1, 0]
    assert number(["b", 1, "a"]).names == ("1", "a", "b")
    assert number(np.array([1.0, np.nan, 0.0])).ids.tolist() == [1, -1, 0]
    assert number(torch.tensor([[3], [-1]])).ids.tolist() == [0, -1]
    assert number([1, 0], ("no", "yes", "never")).names == ("no", "yes", "never")
    with pytest.raises(UserError, match="fractions"):
        number([0.5, 1.0])


def test_rows_beside_known_splits_are_neither_trained_nor_tested_on():
    assert {name: rows.tolist() for name, rows in split_rows(["Train", None, "t10k", "extra"]).items()} == {
        "train": [0],
        "test": [2],
        "other": [1, 3],
    }
    assert {name: rows.tolist() for name, rows in split_rows(["unsupervised", None]).items()} == {"all": [0, 1]}


def test_holding_out_depends_on_content_alone_and_takes_about_a_fifth():
    x = noise(0, 2000, 4, 4)
    data = open_data(x)
    train, test, name, note = data.held_out()
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(2000))
    assert len(test) == pytest.approx(400, abs=60)
    assert name == "held-out fifth"
    assert "without labels" in note
    order = torch.randperm(2000, generator=torch.Generator().manual_seed(0))
    shuffled = open_data(x[order.numpy()])
    assert set(order[shuffled.held_out()[1]].tolist()) == set(test.tolist())


def test_groups_and_identical_samples_stay_on_one_side():
    random = np.random.default_rng(0)
    x = noise(0, 150, 4, 4)[random.integers(0, 150, 300)]
    group = torch.from_numpy(random.integers(-1, 200, 300))
    data = open_data({"x": x, "group": group})
    train, test, _, _ = data.held_out()
    assert len(train) > 0
    assert len(test) > 0
    assert data.overlap(train, test) == 0
    assert not {int(g) for g in group[train] if g >= 0} & {int(g) for g in group[test] if g >= 0}


def test_something_is_held_out_of_few_samples_and_nothing_of_one_group():
    for count in range(2, 12):
        held = hold_out(torch.arange(count) * 5 + 1, torch.full((count,), -1))
        assert 0 < int(held.sum()) <= max(1, round(count / 4))
    with pytest.raises(UserError, match="one group"):
        hold_out(torch.arange(9), torch.zeros(9, dtype=torch.int64))


def test_overlap_counts_samples_of_the_second_part():
    x = noise(0, 6, 4, 4)
    data = open_data(np.concatenate([x, x[:2], x[:1]]))
    first, second = torch.arange(6), torch.arange(6, 9)
    assert data.overlap(first, second) == 3
    assert data.overlap(second, first) == 2


def test_a_subset_keeps_classes_origins_and_splits(tmp_path):
    data = open_data(write(tmp_path, some("train/a/1.png train/b/2.png train/b/3.png val/a/4.png")))
    part = data.subset(torch.tensor([3, 1]))
    assert part.files == ("val/a/4.png", "train/b/2.png")
    assert {name: rows.tolist() for name, rows in part.splits.items()} == {"train": [1], "val": [0]}
    assert part.rows.index.tolist() == [0, 1]
    assert (part.spec.samples, part.spec.classes, part.rows.label.tolist()) == (2, 2, [0, 1])
    assert torch.equal(part.rows["x"].pixels, data.rows["x"].pixels[[3, 1]])


def test_the_fingerprint_follows_contents_labels_and_splits_but_not_places(tmp_path):
    files = some("train/a/1.png train/b/2.png test/a/3.png")
    one, two = (open_data(write(tmp_path / name, files)) for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint
    assert one.with_labels([0, 1, 1]).fingerprint != one.fingerprint
    moved = {name.replace("test/", "val/"): content for name, content in files.items()}
    assert open_data(write(tmp_path / "three", moved)).fingerprint != one.fingerprint
    with pytest.raises(UserError, match="2 labels for 3 samples"):
        one.with_labels([0, 1])


def test_a_data_set_can_be_made_of_values():
    data = DataSet.of("made", Batch.of(a=Vector(torch.eye(3)), b=Pixels(torch.zeros(3, 1, 2, 2))))
    assert set(data.spec.roles) == {"a", "b"}
    assert data.files == ("",) * 3


# --- real data ---


def test_cifar10(cifar10):
    assert {name: len(rows) for name, rows in cifar10.splits.items()} == {"train": 50_000, "test": 10_000}
    assert cifar10.spec.class_names[0] == "airplane"
    assert cifar10.spec.class_names[-1] == "truck"
    assert torch.bincount(cifar10.rows.label[cifar10.train()]).tolist() == [5000] * 10
    assert cifar10.broken == ()
    assert cifar10.spec.roles["x"].shape == (3, 32, 32)
    assert cifar10.spec.roles["x"].mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.005)
    assert cifar10.held_out()[2:] == ("test", "")


def test_cifar10_rows_are_the_pictures_of_the_table(cifar10, data_root):
    row = int(cifar10.splits["train"][777])
    file, number_in_file = cifar10.files[row].split("#")
    group = pq.ParquetFile(data_root / "cifar10" / file).read_row_group(0).slice(int(number_in_file), 1).to_pylist()[0]
    picture = np.asarray(Image.open(io.BytesIO(group["img"]["bytes"])).convert("RGB"))
    np.testing.assert_array_equal(cifar10.rows["x"].pixels[row].numpy(), picture.transpose(2, 0, 1))
    assert cifar10.rows.label[row] == group["label"]


def test_mnist(data_root):
    data = open_data("mnist", root=data_root)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 60_000, "test": 10_000}
    assert data.rows.label[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.spec.roles["x"].mean[0] == pytest.approx(0.1307, abs=0.003)
    assert data.spec.roles["x"].std[0] == pytest.approx(0.3081, abs=0.003)


def test_tiny_imagenet_with_its_grey_pictures(data_root):
    data = open_data("tiny_imagenet_20", root=data_root, cache_dir=Path.home() / ".cache" / "leaven")
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 10_000, "val": 1000}
    assert torch.bincount(data.rows.label[data.splits["val"]]).tolist() == [50] * 20
    pixels = data.rows["x"].pixels
    assert pixels.shape == (11_000, 3, 64, 64)
    grey = sum(int(((part[:, 0] == part[:, 1]) & (part[:, 1] == part[:, 2])).flatten(1).all(1).sum()) for part in pixels.split(500))
    assert 131 <= grey < 300
