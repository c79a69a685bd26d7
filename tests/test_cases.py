"""Small inputs as people have them: shared/cases beside the real data sets, each a kind of fault that others met."""

import json

import pytest

from leaven.data import open_data

NOTES = {
    "cp1252.csv": "CP1252", "latin_labels.csv": "CP1252", "semicolon.csv": "semicolons", "tab.csv": "tabs", "utf16.csv": "UTF-16",
    "english16.csv": "UTF-16", "one.csv": "line 102", "two.csv": "line 102",
}  # fmt: skip


@pytest.fixture(scope="session")
def cases(data_root):
    folder = data_root.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"the small inputs are not at {folder}")
    return folder


@pytest.mark.parametrize(
    "name",
    ["file_name.csv", "filename.csv", "filepath.csv", "image.csv", "image_path.csv", "path.csv", "metadata.csv", "metadata.jsonl", "paths.parquet"],
)
def test_a_table_that_names_pictures_is_one_of_pictures(cases, name):
    data = open_data(cases / "picture-lists" / name)
    assert data.spec.roles["x"].modality == "pixels" and len(data) == 60 and data.spec.class_names == ("cat", "dog") and data.spec.labeled == 60


@pytest.mark.parametrize("name", ["comma_bom_crlf.csv", "cp1252.csv", "semicolon.csv", "tab.csv", "utf16.csv"])
def test_a_table_is_the_same_in_every_encoding_and_with_every_delimiter(cases, name):
    plain, data = (open_data(cases / "text-encodings" / file) for file in ("comma_bom_crlf.csv", name))
    assert data.rows["x"].texts.tolist() == plain.rows["x"].texts.tolist() and len(data) == 120 and not data.broken
    assert data.spec.class_names == ("gut", "schlecht (rügen)") and data.labels.tolist() == plain.labels.tolist()
    assert NOTES.get(name, "") in " ".join(data.notes) and bool(data.notes) == (name in NOTES)


@pytest.mark.parametrize(("name", "count"), [("english16.csv", 300), ("english16.txt", 300), ("utf16_tab.txt", 120), ("latin_labels.csv", 40)])
def test_text_in_another_encoding_is_read_whole(cases, name, count):
    data = open_data(cases / "text-encodings" / name)
    assert len(data) == count and not data.broken and all(text.isprintable() or "\t" in text for text in data.rows["x"].texts)


@pytest.mark.parametrize("name", ["one.csv", "two.csv"])
def test_an_unclosed_quotation_mark_swallows_no_rows(cases, name):
    data = open_data(cases / "quotes" / name)
    assert len(data) == 1000 and data.spec.class_names == ("0", "1") and NOTES[name] in " ".join(data.notes)


def test_rows_with_too_many_cells_are_set_aside_with_their_lines(cases):
    data = open_data(cases / "quotes" / "commas.csv")
    assert len(data) == 60 and data.spec.class_names == ("neg", "pos") and len(data.broken) == 30
    assert data.broken[0].why == "line 2 has 3 cells, and the first has 2"


@pytest.mark.parametrize(("name", "labeled"), [("labels.csv", 60), ("labels_ragged.csv", 48)])
def test_labels_beside_an_unclosed_quotation_mark_or_short_rows_are_read(cases, name, labeled):
    data = open_data(cases / "quotes" / "pics", labels=cases / "quotes" / name)
    assert data.spec.labeled == labeled and data.spec.class_names == ("cat", "dog") and data.notes


@pytest.mark.parametrize("name", ["nan.csv", "nan_na.csv", "nan.jsonl", "nan.npz", "nan.parquet", "Int64.parquet", "category.parquet"])
def test_missing_labels_are_none_and_the_others_two_classes(cases, name):
    data = open_data(cases / "labels-from-pandas" / name)
    assert data.spec.class_names == (("no", "yes") if name.startswith("category") else ("0", "1")) and data.spec.labeled == 40 and len(data) == 80


@pytest.mark.parametrize("name", ["plusminus.csv", "plusminus.npz", "plusminus.parquet"])
def test_minus_one_beside_one_is_a_class(cases, name):
    data = open_data(cases / "labels-from-pandas" / name)
    assert data.spec.class_names == ("-1", "1") and data.spec.labeled == 80


def test_what_is_unusual_about_a_table_is_said(cases, command):
    status, out, _ = command("inspect", cases / "text-encodings" / "semicolon.csv", "--json")
    assert status == 0 and json.loads(out)["notes"] == ["semicolon.csv has semicolons between its cells"]


@pytest.mark.parametrize("name", ["12in16png", "12in16tif", "ct", "floattif", "int32tif"])
def test_pictures_of_more_than_8_bits_keep_their_levels(cases, name):
    data = open_data(cases / "more-than-8-bits" / name)
    assert len(data) == 40 and not data.broken and "range" in data.spec.roles["x"].reading
    assert all(len(picture.unique()) > 120 for picture in data.rows["x"].pixels)


@pytest.mark.parametrize(
    ("name", "pages", "shape", "count"),
    [
        ("anim", "middle", (3, 32, 32), 12),
        ("channels", "channels", (3, 32, 32), 6),
        ("stack", "middle", (3, 32, 32), 6),
        ("thumb", None, (3, 64, 64), 6),
    ],
)
def test_what_is_read_of_files_with_pages_is_said(cases, name, pages, shape, count):
    data = open_data(cases / "pages" / name)
    assert data.spec.roles["x"].shape == shape and len(data.hashes.unique()) == count and "page" in " ".join(data.notes)
    assert data.spec.roles["x"].reading.get("pages") == pages


def test_every_page_of_a_stack_can_be_a_sample(cases):
    assert len(open_data(cases / "pages" / "stack", reading={"pages": "all"})) == 120


@pytest.mark.parametrize("name", ["alpha_zero", "black_icons", "mixed", "white_icons"])
def test_pictures_with_transparency_can_be_seen(cases, name):
    data = open_data(cases / "alpha" / name)
    assert not data.broken and data.rows["x"].pixels.float().std(dim=(1, 2, 3)).min() > 20


def test_odd_pictures_are_read_as_viewers_show_them(cases):
    data = open_data(cases / "odd-but-whole")
    other = {"f64.tif", "i16signed.tif", "la.png", "la16.png", "one.tif", "pal_t.png", "u32.tif"}  # grey, or with transparent parts
    base = data.rows["x"].pixels[data.files.index("bmp.bmp")].float()
    assert len(data) == 41 and not data.broken
    for file, picture in zip(data.files, data.rows["x"].pixels, strict=True):
        if file not in other:
            assert (picture.float() - base).abs().mean() < 16, file
