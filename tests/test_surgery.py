"""Boxes and masks: how they are read, what is learned from them, what is found, and how that is scored."""

import csv
import json

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image
from small import pictures, placed

import leaven
from leaven.data import open_data
from leaven.data.box_files import read_boxes
from leaven.data.placed import open_placed
from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.encoders.encoder import pyramid_shapes
from leaven.evaluation.average_precision import Pictures, detection_score
from leaven.evaluation.protocols.segmentation import confusion, segmentation_score
from leaven.methods.registry import build_method, find_method
from leaven.modalities import InputSpec

WIDTH, HEIGHT = 56, 40
CLASSES = "square", "bar"
COUNT, TESTED = 24, 8


def drawn(number):
    """A picture on which a red square and a blue bar lie, its mask (0 where nothing lies), and their boxes."""
    random = np.random.default_rng(number)
    pixels = random.integers(0, 70, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    mask, boxes = np.zeros((HEIGHT, WIDTH), np.uint8), []
    for place, (tall, broad) in enumerate([(14, 14), (8, 20)]):
        top, left = int(random.integers(0, HEIGHT - tall)), int(random.integers(28 * place, 28 * place + 28 - broad))
        pixels[top : top + tall, left : left + broad, 2 * place] += 160
        mask[top : top + tall, left : left + broad] = place + 1
        boxes.append((left, top, left + broad, top + tall, CLASSES[place]))
    return pixels, mask, boxes


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures in train/images and test/images, masks in train/labels and test/labels, and boxes as a COCO file of each split."""
    root = tmp_path_factory.mktemp("world")
    for split, numbers in (("train", range(COUNT)), ("test", range(COUNT, COUNT + TESTED))):
        pictures, annotations = [], []
        for folder in ("images", "labels"):
            (root / "data" / split / folder).mkdir(parents=True)
        for number in numbers:
            pixels, mask, boxes = drawn(number)
            Image.fromarray(pixels).save(root / "data" / split / "images" / f"{number}.png")
            Image.fromarray(mask).save(root / "data" / split / "labels" / f"{number}.png")
            pictures.append({"id": number, "file_name": f"{split}/images/{number}.png", "width": WIDTH, "height": HEIGHT})
            for left, top, right, bottom, name in boxes:
                box = [left, top, right - left, bottom - top]
                annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": CLASSES.index(name), "bbox": box})
        (root / "boxes").mkdir(exist_ok=True)
        content = {"images": pictures, "annotations": annotations, "categories": [{"id": id, "name": name} for id, name in enumerate(CLASSES)]}
        (root / "boxes" / f"instances_{split}.json").write_text(json.dumps(content))
    (root / "classes.csv").write_text("id,name\n0,ground\n1,square\n2,bar\n")
    return root


@pytest.fixture(scope="module")
def start(world):
    settings = {"encoder.width": 8, "encoder.features": 32}
    return leaven.pretrain(world / "data" / "train" / "images", steps=3, batch=16, size=32, out=world / "start", settings=settings)


@pytest.fixture(scope="module")
def masks_run(world, start):
    settings = {"width": 16, "recipe.lr": 1e-2}
    return leaven.finetune(start, world / "data", task="segmentation", labels="labels", steps=30, batch=8, out=world / "masks-run", settings=settings)


@pytest.fixture(scope="module")
def boxes_run(world, start):
    settings = {"width": 16, "recipe.lr": 1e-2}
    return leaven.finetune(
        start, world / "data", task="detection", labels=str(world / "boxes"), steps=70, batch=8, out=world / "boxes-run", settings=settings
    )


# --- the whole path ---


def test_masks_are_learned_scored_and_written_as_labels(world, masks_run):
    card = leaven.evaluate(masks_run, world / "data", labels="labels", labels_only=0.001)
    score = card.scores["segmentation"]
    assert score["miou"] > 0.7 and score["interval"][0] <= score["miou"] <= score["interval"][1] and score["samples"] == TESTED
    assert [one["class"] for one in score["classes"]] == ["0", "1", "2"] and "No labels-only floor" in card.notes[0]
    assert 'id="placed"' in (masks_run.path / "report.html").read_text()
    found = leaven.predict(masks_run, world / "data" / "test" / "images", out=world / "found")
    assert Image.open(world / "found" / f"{COUNT}.png").size == (WIDTH, HEIGHT) and sum(found.counts.values()) == TESTED * WIDTH * HEIGHT
    again = leaven.evaluate(masks_run, world / "data" / "test" / "images", labels=world / "found", report=False)
    assert again.scores["segmentation"]["miou"] == 1.0


def test_boxes_are_learned_scored_and_written_as_coco(world, boxes_run):
    card = leaven.evaluate(boxes_run, world / "data", labels=str(world / "boxes"))
    score, scratch = card.scores["detection"], card.floors["labels-only"]["detection"]
    assert score["map50"] > 0.5 and score["boxes"] == 2 * TESTED and 0 <= scratch["map"] <= 1 and "labels-only" in score["gains"]
    found = leaven.predict(boxes_run, world / "data" / "test" / "images", out=world / "found.json")
    content = json.loads((world / "found.json").read_text())
    assert len(content["images"]) == len(found) == TESTED and {one["name"] for one in content["categories"]} == set(CLASSES)
    for one in content["annotations"]:
        left, top, width, height = one["bbox"]
        assert left >= 0 and top >= 0 and left + width <= WIDTH + 0.01 and top + height <= HEIGHT + 0.01 and 0 < one["score"] <= 1
    known = COCO(str(world / "boxes" / "instances_test.json"))
    assert {picture["width"] for picture in known.dataset["images"]} == {content["images"][0]["width"]}


def test_a_head_alone_leaves_the_encoder_as_it_was(world, start):
    run = leaven.finetune(start, world / "data", task="segmentation", labels="labels", train="head", steps=2, batch=8, out=world / "head")
    before, after = (leaven.load(one).state_dict() for one in (start, run))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_command_line_says_what_was_found_and_refuses_in_one_line(world, masks_run, command):
    status, out, _ = command("predict", masks_run.path, world / "data" / "test" / "images", "--out", world / "by-command", "--json")
    content = json.loads(out)
    assert status == 0 and content["count"] == TESTED and content["classes"] == ["0", "1", "2"] and sum(content["counts"].values())
    for words, said in (
        (("finetune", masks_run.path, world / "data", "--task", "pose", "--labels", "labels"), "no task is named 'pose'"),
        (("finetune", masks_run.path, world / "data", "--task", "detection"), "labels are needed"),
        (("finetune", masks_run.path, world / "data", "--task", "detection", "--labels", "x", "--unlabeled", "uda"), "unlabeled is for labels of"),
        (("predict", masks_run.path, world / "data" / "test" / "images", "--out", world / "taken.png"), "written into a folder"),
        (("evaluate", masks_run.path, world / "data"), "labels are needed"),
    ):
        status, _, err = command(*words)
        assert status == 2 and said in err and "Traceback" not in err


# --- reading ---


def test_coco_voc_and_csv_hold_the_same_boxes(world, tmp_path):
    known = read_boxes(world / "boxes" / "instances_test.json").pictures
    with open(tmp_path / "boxes.csv", "w", newline="") as stream:
        rows = [[file, *box] for file, boxes in known.items() for box in boxes]
        csv.writer(stream).writerows([("file", "xmin", "ymin", "xmax", "ymax", "class"), *rows])
    (tmp_path / "voc").mkdir()
    for number, (file, boxes) in enumerate(known.items()):
        corners = [dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False)) for box in boxes]
        objects = "".join(
            f"<object><name>{box.name}</name><bndbox>{''.join(f'<{side}>{value}</{side}>' for side, value in sides.items())}</bndbox></object>"
            for box, sides in zip(boxes, corners, strict=True)
        )
        (tmp_path / "voc" / f"{number}.xml").write_text(f"<annotation><filename>{file}</filename>{objects}</annotation>")
    assert read_boxes(tmp_path / "boxes.csv").pictures == read_boxes(tmp_path / "voc").pictures == known


def test_whole_pictures_of_other_shapes_keep_what_lies_in_them(tmp_path):
    (tmp_path / "data").mkdir()
    lines = ["file,xmin,ymin,xmax,ymax,class"]
    for name, (width, height) in {"a": (40, 20), "b": (40, 20), "tall": (20, 60)}.items():
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[height // 2 :, : width // 2] = 200
        Image.fromarray(pixels).save(tmp_path / "data" / f"{name}.png")
        lines.append(f"{name}.png,0,{height // 2},{width // 2},{height},corner")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    placed = open_placed(tmp_path / "data", tmp_path / "boxes.csv", target="boxes")
    assert placed.sides == (20, 40) and placed.sizes[2] == (60, 20) and placed.scaled(2) == (20, 7)
    for row in range(3):
        left, top, right, bottom = placed.data.rows["boxes"].xyxy[row, 0].round().int().tolist()
        bright = placed.data.rows["x"].pixels[row, 0] > 100
        assert bright[top + 1 : bottom - 1, left + 1 : right - 1].all() and bright.sum() <= (bottom - top + 1) * (right - left + 1)


def test_pixels_without_a_class_are_called_so_by_classes_csv(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(3):
        Image.new("RGB", (12, 10)).save(tmp_path / "data" / f"{number}.jpg")
        mask = np.full((10, 12), 7, np.uint8)
        mask[:, :4], mask[:, 4:6] = 3, 9
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "masks" / "classes.csv").write_text("id,name\n3,sky\n7,road\n9,void\n")
    placed = open_placed(tmp_path / "data", tmp_path / "masks", target="mask")
    assert placed.data.spec.class_names == ("sky", "road") and placed.truth(0).unique().tolist() == [0, 1, 255]
    assert torch.equal(placed.data.rows["mask"].classes[0], placed.truth(0))


def test_masks_of_0_and_255_alone_have_two_classes(tmp_path):
    for folder, picture in (("images", Image.new("RGB", (12, 10))), ("masks", Image.fromarray(255 * np.eye(10, 12, dtype=np.uint8)))):
        (tmp_path / folder).mkdir()
        for number in range(2):
            picture.save(tmp_path / folder / f"{number}.png")
    placed = open_placed(tmp_path / "images", tmp_path / "masks", target="mask")
    assert placed.data.spec.class_names == ("0", "255") and placed.truth(0).unique().tolist() == [0, 1]
    assert "255 is a class" in placed.data.notes[0]
    tested = open_placed(tmp_path / "images", tmp_path / "masks", target="mask", names=("0", "255"))
    assert torch.equal(tested.truth(1), placed.truth(1))


def test_masks_beside_pictures_are_no_pictures_to_learn_from(world):
    data = open_data(world / "data")
    assert len(data) == COUNT + TESTED and all("/images/" in file for file in data.files)
    assert f"{COUNT + TESTED} masks of the same names as samples (.png)" in data.unused


# --- bad input ---


@pytest.fixture
def few(tmp_path):
    """Three pictures of 20 x 10, with masks."""
    for number in range(3):
        for folder, picture in (("data", Image.new("RGB", (20, 10))), ("masks", Image.fromarray(np.eye(10, 20, dtype=np.uint8)))):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture.save(tmp_path / folder / f"{number}.png")
    return tmp_path


BOXES = ["0.png,1,1,9,9,cat", "1.png,1,1,9,9,dog", "2.png,1,1,9,9,cat"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*BOXES, "0.png,30,1,39,9,cat"], "a box of cat lies outside its picture of 20 x 10"),
        ([*BOXES, "0.png,5,5,5,9,dog"], "a box of dog has no size"),
        ([*BOXES, "other.png,1,1,9,9,cat"], ""),
        ([line.replace(".png", ".jpeg/x") for line in BOXES], "3 of 3 pictures with boxes are not here"),
        ([*BOXES, "0.png,one,1,9,9,cat"], "line 5 holds corners that are no numbers"),
    ],
)
def test_boxes_that_cannot_be_used_are_refused_or_left_out_in_words(few, lines, words):
    (few / "boxes.csv").write_text("\n".join(["file,xmin,ymin,xmax,ymax,class", *lines]))
    if words:
        with pytest.raises(leaven.UserError, match=words):
            open_placed(few / "data", few / "boxes.csv", target="boxes")
    else:
        assert "1 of 4 pictures with boxes are not here" in open_placed(few / "data", few / "boxes.csv", target="boxes").data.notes[0]


def test_a_few_bad_boxes_are_left_out_and_said(few):
    many = [f"{number % 3}.png,{number % 9},1,{number % 9 + 5},9,cat" for number in range(30)]
    (few / "boxes.csv").write_text("\n".join(["file,xmin,ymin,xmax,ymax,class", *many, "0.png,5,5,5,9,cat", "1.png,-3,2,4,12,cat"]))
    placed = open_placed(few / "data", few / "boxes.csv", target="boxes")
    assert "left out: 1 of 32 boxes; the first: a box of cat has no size" in placed.data.notes
    assert "1 of 32 boxes reach beyond their picture, and are cut at its edge" in placed.data.notes
    assert [0.0, 2.0, 4.0, 10.0] in placed.truth(1)[0].tolist() and len(placed.truth(0)[0]) == 10


def test_classes_that_the_run_has_not_learned_are_refused(few):
    (few / "boxes.csv").write_text("\n".join(["file,xmin,ymin,xmax,ymax,class", *BOXES]))
    with pytest.raises(leaven.UserError, match="has not learned the class 'dog'"):
        open_placed(few / "data", few / "boxes.csv", target="boxes", names=("cat",))
    with pytest.raises(leaven.UserError, match="has not learned the class '1'"):
        open_placed(few / "data", few / "masks", target="mask", names=("0",))


def test_masks_that_cannot_be_used_are_refused_or_set_aside_in_words(few):
    Image.new("L", (20, 10), 255).save(few / "masks" / "1.png")
    placed = open_placed(few / "data", few / "masks", target="mask")
    assert [(one.file, one.why) for one in placed.data.broken] == [("1.png", "its mask says nothing: no pixel has a class")]
    (few / "masks" / "classes.csv").write_text("id,name\n0,ground\n5,cat\n")
    with pytest.raises(leaven.UserError, match=r"value 1 of this mask has no class in classes.csv"):
        open_placed(few / "data", few / "masks", target="mask")
    (few / "masks" / "classes.csv").unlink()
    for picture, words in (
        (Image.new("L", (10, 10)), "this mask has 10 x 10 pixels, and its picture 20 x 10"),
        (Image.new("RGB", (20, 10)), "has 3 channels"),
    ):
        picture.save(few / "masks" / "2.png")
        with pytest.raises(leaven.UserError, match=words):
            open_placed(few / "data", few / "masks", target="mask")
    (few / "masks" / "2.png").write_bytes(b"")
    with pytest.raises(leaven.UserError, match="cannot be read"):
        open_placed(few / "data", few / "masks", target="mask")
    with pytest.raises(leaven.UserError, match="there are no masks here"):
        open_placed(few / "data", "nowhere", target="mask")


# --- maps and scores ---


@pytest.mark.parametrize("name", ["convnet", "vit", "resnet18", "tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def test_a_pyramid_has_a_place_for_every_step_of_pixels(name):
    encoder = build_encoder(name, InputSpec("pixels", (3, 96, 96), (0.5,) * 3, (0.2,) * 3)).eval()
    step, shapes = encoder.pyramid_step, pyramid_shapes(encoder)
    with torch.no_grad():
        maps = encoder.pyramid(torch.rand(2, 3, 2 * step, 3 * step))
    assert [tuple(one.shape) for one in maps] == [(2, channels, 2 * step // stride, 3 * step // stride) for channels, stride in shapes]
    assert len(shapes) > 1 and [stride for _, stride in shapes] == sorted({stride for _, stride in shapes})


def test_intersection_over_union_is_that_of_all_pixels_that_have_a_class():
    truth = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 255]], dtype=torch.uint8)
    mask = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 2]], dtype=torch.uint8)
    counts = confusion(mask, truth, 3)
    assert counts.tolist() == [[2, 1, 0], [1, 3, 0], [0, 0, 0]]
    score = segmentation_score(torch.stack([counts, counts]), ["a", "b", "c"])
    assert score["miou"] == pytest.approx((2 / 4 + 3 / 5) / 2) and score["pixel_accuracy"] == pytest.approx(5 / 7)
    assert score["interval"] == pytest.approx((score["miou"], score["miou"])) and [one["class"] for one in score["classes"]] == ["a", "b"]


def test_average_precision_is_that_of_coco_and_its_interval_that_of_resampled_pictures():
    draw = torch.Generator().manual_seed(0)
    truths, found, coco = [], [], {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    answers = []
    for number in range(6):
        corner, size = 60 * torch.rand(5, 2, generator=draw), 10 + 20 * torch.rand(5, 2, generator=draw)
        boxes, labels = torch.cat([corner, corner + size], 1), torch.randint(2, (5,), generator=draw)
        moved, scores = boxes + 3 * torch.randn(5, 4, generator=draw), torch.rand(5, generator=draw)
        truths.append((boxes, labels))
        found.append({"boxes": moved, "scores": scores, "labels": labels})
        coco["images"].append({"id": number + 1, "width": 100, "height": 100})
        for kept, some, sure in ((coco["annotations"], boxes, None), (answers, moved, scores)):
            for place, (left, top, right, bottom) in enumerate(some.tolist()):
                one = {
                    "id": len(kept) + 1,
                    "image_id": number + 1,
                    "category_id": int(labels[place]) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                }
                kept.append(one | {"area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0} | ({} if sure is None else {"score": float(sure[place])}))
    score = detection_score(Pictures([(100, 100)] * 6, truths, found), ["a", "b"])
    known = COCO(coco)
    theirs = COCOeval_faster(known, known.loadRes(answers), "bbox")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    assert score["map"] == pytest.approx(theirs.stats[0], abs=1e-6) and score["map50"] == pytest.approx(theirs.stats[1], abs=1e-6)
    assert score["interval"][0] < score["map"] < score["interval"][1]
    perfect = [{"boxes": boxes, "scores": torch.ones(5), "labels": labels} for boxes, labels in truths]
    assert detection_score(Pictures([(100, 100)] * 6, truths, perfect), ["a", "b"])["map"] == pytest.approx(1.0)


@pytest.mark.parametrize("task", ["segmentation", "detection"])
@pytest.mark.parametrize("name", ["convnet", "vit", "resnet18", "mobilenetv3_small_100"])
def test_both_heads_lie_over_any_encoder_and_teach_it(name, task):
    kind = find_method(task)
    data = open_data({"x": pictures(4, 48), kind.target: placed(4, 48)[kind.target], "label": torch.arange(4) % 3})
    encoder = build_encoder(name, InputSpec("pixels", (3, 32, 32), (0.5,) * 3, (0.2,) * 3))
    method, _ = build_method(kind, data.spec, {"x": encoder}, {"width": 8})
    batch = data.select(torch.arange(4))
    terms = method.loss(method.train()(method.views(batch, Draw(0, "views"))))
    torch.stack(list(terms.values())).sum().backward()
    first = next(encoder.parameters())
    assert first.grad is not None and first.grad.isfinite().all() and first.grad.abs().max() > 0
    method.eval()
    with torch.no_grad():
        if task == "segmentation":
            assert method.segment(batch["x"]).shape == (4, 3, 48, 48)
        else:
            found = method.detect(batch["x"])
            assert len(found) == 4 and all(one["boxes"].min() >= 0 and one["boxes"].max() <= 48 for one in found if len(one["boxes"]))
