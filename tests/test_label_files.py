"""Labels in a file beside the data: how people write them, and what is refused rather than guessed."""

import numpy as np
import pytest
from PIL import Image

from leaven.data import open_data
from leaven.errors import UserError

FILES = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/3.png", "Été/4.png")


@pytest.fixture
def folder(tmp_path):
    """Pictures in a folder called `pictures`."""
    for number, name in enumerate(FILES):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
    return tmp_path / "pictures"


def labeled(folder, text, name="labels.csv"):
    (folder.parent / name).write_text(text)
    data = open_data(folder, labels=folder.parent / name)
    return {file: data.spec.class_names[label] for file, label in zip(data.files, data.labels.tolist(), strict=True) if label >= 0}, data.notes


def table(lines, head="file,label"):
    return "\n".join([head, *lines]) + "\n"


WANTED = dict(zip(FILES, "xxyyx", strict=True))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda file: file, ""),
        (lambda file: f"./{file}", ""),
        (lambda file: f"pictures/{file}", ""),
        (lambda file: f"/home/lab/study/pictures/{file}", ""),
        (lambda file: file.replace("/", "\\"), ""),
        (lambda file: file.upper(), "whatever the case"),
        (lambda file: file.replace("É", "E\u0301").replace("é", "e\u0301"), "whatever the case"),
        (lambda file: file.removesuffix(".png"), "whatever the ending"),
        (lambda file: file.replace(".png", ".tif"), "whatever the ending"),
    ],
)
def test_paths_as_other_programs_write_them_find_their_files(folder, change, rule):
    labels, notes = labeled(folder, table(f"{change(file)},{label}" for file, label in WANTED.items()))
    assert labels == WANTED and (rule in " ".join(notes) if rule else not notes)


@pytest.mark.parametrize("head", ["filename,category", "image_path,class", "ID,Target", "scan,grade", ",file,label"])
def test_columns_have_the_names_that_people_use(folder, head):
    index = head.startswith(",")
    lines = [f"{f'{number},' if index else ''}{file},{label}" for number, (file, label) in enumerate(WANTED.items())]
    assert labeled(folder, table(lines, head))[0] == WANTED


def test_a_file_without_a_line_of_names_and_one_with_semicolons_or_tabs_are_read(folder):
    assert labeled(folder, "".join(f"{file},{label}\n" for file, label in WANTED.items()))[0] == WANTED
    assert labeled(folder, table((f"{file};{label}" for file, label in WANTED.items()), "file;label"))[0] == WANTED
    assert labeled(folder, table((f"{file}\t{label}" for file, label in WANTED.items()), "file\tlabel"), "labels.tsv")[0] == WANTED


def test_the_labels_of_a_larger_set_are_used_and_the_others_counted(folder):
    labels, notes = labeled(
        folder, table([*(f"bird/{number}.png,z" for number in range(20)), *(f"{file},{label}" for file, label in WANTED.items())])
    )
    assert labels == WANTED and "20 of 25 labels match no file" in " ".join(notes)


@pytest.mark.parametrize("line", ["site-b/1.png", "other/cat2/2.png", "cow/3.png", "site-b/cat/1.png"])
def test_a_shared_file_name_in_another_folder_is_no_match(folder, line):
    with pytest.raises(UserError, match="match no file"):
        labeled(folder, table([f"{line},x"]))


def test_the_labels_of_one_site_do_not_go_to_the_pictures_of_another(tmp_path):
    site = tmp_path / "site-b"
    site.mkdir()
    for number in range(4):
        Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(site / f"{number}.png")
    with pytest.raises(UserError, match="4 of 4 labels match no file"):
        labeled(site, table(f"site-a/{number}.png,x" for number in range(4)))
    assert len(labeled(site, table(f"site-b/{number}.png,{number % 2}" for number in range(4)))[0]) == 4


def test_a_name_that_several_files_have_is_refused_with_an_example(folder):
    with pytest.raises(UserError, match=r"the name of 2 files, such as cat/1\.png"):
        labeled(folder, table(["1.png,x"]))
    assert labeled(folder, table(["3.png,y"]))[0] == {"dog/3.png": "y"}


def test_stray_files_beside_folders_of_classes_have_no_label_and_the_others_keep_theirs(tmp_path):
    for name in [*(f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(8)), "thumbnail.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / name)
    data = open_data(tmp_path)
    assert (
        data.spec.class_names == ("cat", "dog")
        and data.spec.labeled == 16
        and "beside the folders of classes, without a label: 1 of" in " ".join(data.notes)
    )


@pytest.mark.parametrize(
    ("train", "test"), [("training_set", "test_set"), ("Train Data", "Test Data"), ("train", "testing"), ("train-images", "val images")]
)
def test_splits_have_the_names_that_people_give_their_folders(tmp_path, train, test):
    for part in (train, test):
        for kind in ("cat", "dog"):
            (tmp_path / part / kind).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(np.full((8, 8), 20 * number + len(part + kind), np.uint8)).save(tmp_path / part / kind / f"{number}.png")
    data = open_data(tmp_path)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 6, "val" if "val" in test else "test": 6}
    assert data.spec.class_names == ("cat", "dog")


def test_a_folder_of_a_class_may_be_called_as_a_missing_value_is_in_tables(tmp_path):
    for kind in ("NA", "K", "null"):
        (tmp_path / kind).mkdir()
        Image.fromarray(np.full((8, 8), 30 * len(kind), np.uint8)).save(tmp_path / kind / "1.png")
    data = open_data(tmp_path)
    assert data.spec.class_names == ("K", "NA", "null") and data.spec.labeled == 3


def test_how_a_labels_file_was_read_is_said_of_arrays_as_well(tmp_path):
    (tmp_path / "labels.csv").write_text("file;label\n0;x\n1;NA\n2;y\n")
    pixels = np.random.default_rng(0).integers(0, 255, (3, 8, 8), dtype=np.uint8)
    for data in (open_data(pixels, labels=tmp_path / "labels.csv"), open_data(open_data(pixels), labels=tmp_path / "labels.csv")):
        assert data.labels.tolist() == [0, -1, 1] and data.notes == ("labels.csv has semicolons between its cells",)


@pytest.mark.parametrize("mark", [";", "|", ", "])
def test_lists_of_tags_are_never_silently_one_class_for_each_combination(tmp_path, mark):
    rows = [
        f'{number}.png,"{mark.join(tags)}"' for number, tags in enumerate([("red", "round"), ("red",), ("round",), ("blue", "round"), ("blue",)] * 4)
    ]
    for number in range(20):
        Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "tags.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    data = open_data(tmp_path, labels=tmp_path / "tags.csv")
    assert "lists of 3 tags" in " ".join(data.notes) and data.spec.tag_names == ("blue", "red", "round")
