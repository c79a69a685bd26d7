"""The page: all of its sections, in one file, loading nothing."""

import base64
import gzip
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from small import brings_networks, encoder_for, kind_of, samples_for, small_settings

import leaven
from leaven.errors import TrainingStopped
from leaven.evaluation.scorecard import Scorecard
from leaven.methods.registry import registry
from leaven.report.facts import facts
from leaven.report.figures import embedding_map, metric_figures, placed
from leaven.report.page import write_report
from leaven.report.sheets import CELL, GAP, OTHER, SAME, data_uri, dots, neighbour_strips, picture_sheet, strip, view_strips

SECTIONS = ("health", "asked", "scores", "curves", "views", "made", "rebuilt", "map", "neighbours", "neighbours-2", "time", "config")


def neighbours(pictures):
    return {
        "queries": pictures[:2],
        "neighbours": pictures[2:].view(2, 2, 1, 8, 8),
        "query_labels": torch.tensor([0, 1]),
        "neighbour_labels": torch.tensor([[0, 1], [-1, 1]]),
        "classes": ["ant", "bee"],
    }


def payload():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (6, 1, 8, 8), generator=generator, dtype=torch.uint8)
    points = [{"labels_per_class": count, "accuracy": 0.5 + count / 40, "interval": [0.48 + count / 40, 0.52 + count / 40]} for count in (1, 10)]
    lower = [{"labels_per_class": count, "accuracy": 0.4 + count / 40, "interval": [0.38 + count / 40, 0.42 + count / 40]} for count in (1, 10)]
    card = Scorecard("simclr", "cnn", "digits", {"few-label": points}, {"labels-only": {"few-label": lower}}, ["<b>a note</b>"])
    return {
        "title": "Digits <script>alert(1)</script>",
        "command": "leaven pretrain demo:digits",
        "config": {"views": {"crop_min": 0.2}, "projector": (1024, 128)},
        "facts": [{"name": "Encoder", "value": "convnet", "why": "chosen: <i>small</i>"}],
        "health": [],
        "scorecard": card.to_dict(),
        "metrics": [{"step": step, "loss": 1 / (1 + step), "knn": 0.5, "seconds": step, "finite": float("nan")} for step in range(2000)],
        "views": {"originals": pictures, "views": [pictures.float() / 255, pictures[:, :, :4, :4]]},
        "made": pictures,
        "rebuilt": {"originals": pictures, "views": [pictures.flip(3)]},
        "features": [
            {
                "role": "image",
                "embedding": {"features": torch.randn(40, 6, generator=generator), "labels": torch.arange(40) % 3, "classes": ["ant", "bee", "cat"]},
                "neighbours": neighbours(pictures),
            },
            {"role": "text", "texts": [{"text": "an ant", "label": "ant", "nearest": [{"text": "a bee", "label": "bee"}]}]},
        ],
        "time_split": {"views": 30.0, "forward_backward": 90.0},
    }


def without_plotly(page):
    """The page less plotly's own source, packed."""
    return re.sub(r'<script type="application/gzip" id="plotly">.*?</script>', "", page, flags=re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = write_report(tmp_path_factory.mktemp("report") / "report.html", payload())
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_the_page_has_all_its_sections_with_plotly_once(page):
    found = re.findall(r'<section id="([^"]+)">', page)
    assert tuple(found) == SECTIONS and page.index("Accuracy with few labels") < page.index('id="scores"')
    assert "Map of the features (image)" in page and "Nearest neighbours (text)" in page
    (packed,) = re.findall(r'<script type="application/gzip" id="plotly">([^<]*)</script>', page)
    assert b"plotly.js v" in gzip.decompress(base64.b64decode(packed))[:400]
    assert len(page) < 3e6
    assert payload()["scorecard"]["sentence"].replace(" %", "\u00a0%") in page  # no line ends between a number and its unit
    assert "No warnings." in page


def test_the_page_loads_nothing(page):
    ours = without_plotly(page)
    assert len(ours) < 2e6
    loads = re.findall(r"""(?:src|href|action|data)\s*=\s*["']([^"']*)""", ours) + re.findall(r"url\(([^)]*)\)", ours)
    assert loads
    assert all(address.startswith("data:") for address in loads)
    assert "@import" not in ours
    assert "<link" not in ours
    assert not re.search(r"https?://", ours)
    assert "default-src 'none'" in ours


def test_text_from_the_user_is_escaped(page):
    assert "Digits &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;a note&lt;/b&gt;" in page
    assert "alert(1)</script>" not in page


def test_a_missing_key_leaves_its_section_out(tmp_path):
    page = write_report(tmp_path / "bare.html", {"title": "Bare"}).read_text()
    assert "<section" not in page
    assert len(page) < 20_000
    page = write_report(tmp_path / "ill.html", {"title": "Ill", "health": [{"verdict": "Collapsed", "since_step": 7, "why": "one way"}]}).read_text()
    assert re.findall(r'<section id="([^"]+)">', page) == ["health"]
    assert "Collapsed" in page
    assert "since step 7" in page


def drawn(figure):
    """What a figure's element holds for the page's script to draw."""
    return json.loads(re.search(r'<script type="application/json">(.*)</script></div>$', figure, re.DOTALL)[1])


def test_every_figure_and_picture_says_what_it_shows(page):
    labels = re.findall(r'<div class="figure" role="img" aria-label="([^"]*)"', page)
    assert len(labels) == page.count('<script type="application/json">') == 4
    assert all(re.findall(r"<img[^>]*", page)) and all('alt="' in image and 'alt=""' not in image for image in re.findall(r"<img[^>]*", page))
    assert re.findall(r"<h(\d)", page)[0] == "1"


def test_a_sheet_shows_every_picture_in_its_place():
    pictures = torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 4, 4)
    sheet = decoded(picture_sheet(pictures, columns=2))
    assert sheet.shape == (2 * CELL + GAP, 2 * CELL + GAP, 4)
    step = CELL + GAP
    assert [int(sheet[row * step, column * step, 0]) for row, column in ((0, 0), (0, 1), (1, 0))] == [10, 20, 30]
    assert sheet[step, step, 3] == 0 == sheet[CELL, 0, 3]


MAKERS = [name for name, kind in registry().items() if {"sample", "decode"} & set(kind.abilities())]


@pytest.mark.parametrize("name", MAKERS)
def test_the_page_of_a_method_that_makes_samples_shows_them(name, tmp_path):
    encoder = "auto" if brings_networks(name) or kind_of(name) == "pairs" else encoder_for(name)
    run = leaven.pretrain(samples_for(name), method=name, encoder=encoder, settings=small_settings(name), steps=1, batch=8, out=tmp_path / "run")
    page, abilities = (run.path / "report.html").read_text(), registry()[name].abilities()
    assert ('id="made"' in page) == ("sample" in abilities)
    assert ('id="rebuilt"' in page) == ("decode" in abilities)


def test_a_run_without_its_checkpoints_is_still_scored_and_has_a_page(tmp_path):
    run = leaven.pretrain("demo:digits", method="vae", encoder="dense", settings={"encoder.widths": (16,)}, steps=2, out=tmp_path / "run")
    shutil.rmtree(run.checkpoints)
    leaven.evaluate(run, "demo:digits", protocols=("knn",))
    page = (run.path / "report.html").read_text()
    assert 'id="scores"' in page and 'id="made"' not in page


def test_no_text_can_end_the_element_of_a_figure():
    hostile = "</script><script>alert(1)</script>"
    figure = embedding_map(torch.randn(8, 3), torch.arange(8) % 2, [hostile, "b"])
    assert figure.count("</script>") == 1
    assert drawn(figure)["data"][0]["name"] == hostile


def test_the_loss_is_drawn_beside_that_of_a_model_that_knows_nothing():
    rows = [{"step": step, "loss": 3.0 - step / 10, "nt_xent": 3.0 - step / 10, "chance": 3.2, "progress": step / 10} for step in range(10)]
    (curve,) = metric_figures(rows)
    assert "3.2" in curve["why"]
    assert [shape["y0"] for shape in drawn(curve["figure"])["layout"]["shapes"]] == [3.2]


def test_a_map_of_dots_is_as_wide_as_asked_and_coloured():
    picture = dots(np.array([[0.0, 0.0], [10.0, 5.0]]), ["#ff0000", "#0000ff"], width=100)
    assert picture.shape == (55, 100, 4)
    assert picture[5, 5].tolist() == [255, 0, 0, 255] and picture[49, 94].tolist() == [0, 0, 255, 255]
    assert picture[5, 94, 3] == 0
    assert dots(np.zeros((3, 2)), ["#000000"] * 3).shape[1] == 320


def test_facts_tell_what_was_asked_what_was_chosen_and_why(tmp_path):
    run = leaven.pretrain("demo:digits", steps=2, batch=32, out=tmp_path / "run", settings={"encoder.width": 8})
    found = {fact["name"]: fact for fact in facts(run.config)}
    assert found["Method"]["why"].startswith("Two views of one sample agree")
    assert found["Encoder"]["value"] == "convnet (width 8)" and found["Encoder"]["why"].startswith("chosen: ")
    assert found["Length"]["value"] == "2 steps of 32 samples, 0.0535 passes over the data"
    assert "processor time" in found["Took"]["value"] and "GB" in found["Took"]["value"]


def test_a_training_that_stopped_itself_has_a_page_that_says_so(tmp_path):
    points = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(TrainingStopped):
        leaven.pretrain(points, steps=9, batch=32, out=tmp_path / "run", settings={"encoder.width": 8, "recipe.lr": 1e30})
    page = (tmp_path / "run" / "report.html").read_text()
    assert '<p class="verdict"><b>non-finite loss</b>' in page


def decoded(uri):
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def test_small_pictures_are_enlarged_without_blur():
    picture = torch.tensor([[[0, 255], [128, 64]]], dtype=torch.uint8)
    cell = strip(picture, [])[4 : 4 + CELL, 4 : 4 + CELL]
    half = CELL // 2
    assert [
        np.unique(cell[rows, columns, 0]).tolist() for rows in (slice(half), slice(half, None)) for columns in (slice(half), slice(half, None))
    ] == [
        [0],
        [255],
        [128],
        [64],
    ]
    assert np.array_equal(decoded(data_uri(strip(picture, []))), strip(picture, []))


def test_views_of_other_sizes_channels_and_float_fit_beside_their_original():
    originals = torch.zeros(9, 3, 8, 8, dtype=torch.uint8)
    sheets = view_strips(originals, [torch.ones(9, 3, 5, 10), torch.full((9, 2, 4, 4), 0.5)])
    assert len(sheets) == 8
    picture = decoded(sheets[0])
    side = CELL + 8
    assert picture.shape == (side, 3 * side + GAP + 3 * GAP, 4)
    wide = picture[:, side + 3 * GAP : 2 * side + 3 * GAP]
    assert (wide[..., 3] > 0).sum() == CELL * CELL // 2  # a wide view keeps its shape
    assert wide[side // 2, side // 2].tolist() == [255, 255, 255, 255]


def test_neighbours_are_framed_by_class():
    strips = neighbour_strips(payload()["features"][0]["neighbours"])
    assert [(item["query"], item["nearest"]) for item in strips] == [("ant", "ant, bee"), ("bee", "?, bee")]
    first, side = decoded(strips[0]["image"]), CELL + 8
    left = side + 3 * GAP
    assert tuple(first[0, left, :3]) == SAME
    assert tuple(first[0, left + side + GAP, :3]) == OTHER
    unlabeled = {name: value for name, value in payload()["features"][0]["neighbours"].items() if "labels" not in name}
    assert neighbour_strips(unlabeled)[0]["query"] == ""


def test_curves_are_drawn_for_what_was_logged_thinned_and_clock_fields_apart():
    curves = metric_figures(payload()["metrics"], [{"verdict": "x", "since_step": 5, "why": ""}])
    assert [curve["title"] for curve in curves] == ["Loss", "kNN accuracy"]
    assert metric_figures([{"step": 1, "loss": 2.0}]) == []


def test_copies_lie_in_one_place_of_the_map():
    """Sixteen of each were more than scikit-learn's t-SNE survived."""
    for kinds in (4, 9):
        features = torch.randn(kinds, 6, generator=torch.Generator().manual_seed(0)).repeat(16, 1)
        features += 1e-7 * torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
        place = placed(features)
        assert place.shape == (16 * kinds, 2) and len(np.unique(place, axis=0)) == kinds
        assert (place.reshape(16, kinds, 2) == place[:kinds]).all()


def test_the_map_copes_with_what_a_collapsed_or_tiny_run_gives():
    assert embedding_map(torch.randn(4, 3)) == ""
    assert "no label" in embedding_map(torch.ones(12, 3))
    assert drawn(embedding_map(torch.randn(12, 1), torch.arange(12)))["layout"]["showlegend"]
