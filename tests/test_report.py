"""The page: all of its sections, in one file, loading nothing."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from leaven.evaluation.scorecard import Scorecard
from leaven.report import write_report
from leaven.report.figures import embedding_map, metric_figures
from leaven.report.sheets import CELL, GAP, OTHER, SAME, data_uri, neighbour_strips, strip, view_strips

SECTIONS = ("few-label", "scores", "health", "views", "map", "neighbours", "curves", "time", "config")


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
        "health": [],
        "scorecard": card.to_dict(),
        "metrics": [{"step": step, "loss": 1 / (1 + step), "knn": 0.5, "seconds": step, "finite": float("nan")} for step in range(2000)],
        "views": {"originals": pictures, "views": [pictures.float() / 255, pictures[:, :, :4, :4]]},
        "embedding": {"features": torch.randn(40, 6, generator=generator), "labels": torch.arange(40) % 3, "classes": ["ant", "bee", "cat"]},
        "neighbours": {
            "queries": pictures[:2],
            "neighbours": pictures[2:].view(2, 2, 1, 8, 8),
            "query_labels": torch.tensor([0, 1]),
            "neighbour_labels": torch.tensor([[0, 1], [-1, 1]]),
            "classes": ["ant", "bee"],
        },
        "time_split": {"views": 30.0, "forward_backward": 90.0},
    }


def without_plotly(page):
    """The page less plotly's own source, which names addresses in its comments and map layers that are never loaded."""
    longest = max(re.findall(r"<script[^>]*>.*?</script>", page, re.DOTALL), key=len)
    return page.replace(longest, "") if len(longest) > 1e6 else page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = write_report(tmp_path_factory.mktemp("report") / "report.html", payload())
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_the_page_has_all_its_sections_with_plotly_once(page):
    found = re.findall(r'<section id="([^"]+)">', page)
    assert tuple(found) == SECTIONS
    assert len(re.findall(r"<script[^>]*>[^<]{0,400}plotly\.js v", page)) == 1
    assert payload()["scorecard"]["sentence"] in page
    assert "No warnings." in page


def test_the_page_loads_nothing(page):
    ours = without_plotly(page)
    assert len(ours) < 2e6
    loads = re.findall(r"""(?:src|href|action|data)\s*=\s*["']([^"']*)""", ours) + re.findall(r"url\(([^)]*)\)", ours)
    assert loads
    assert all(address.startswith("data:") for address in loads)
    assert "@import" not in ours
    assert "<link" not in ours
    assert not re.search(r"https?://", re.sub(r'"plotlyServerURL":\s*"[^"]*"', "", ours))
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


def decoded(uri):
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def test_small_pictures_are_enlarged_without_blur():
    picture = torch.tensor([[[0, 255], [128, 64]]], dtype=torch.uint8)
    cell = strip([picture], [])[4 : 4 + CELL, 4 : 4 + CELL]
    half = CELL // 2
    assert [
        np.unique(cell[rows, columns, 0]).tolist() for rows in (slice(half), slice(half, None)) for columns in (slice(half), slice(half, None))
    ] == [
        [0],
        [255],
        [128],
        [64],
    ]
    assert np.array_equal(decoded(data_uri(strip([picture], []))), strip([picture], []))


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
    strips = neighbour_strips(payload()["neighbours"])
    assert [(item["query"], item["found"]) for item in strips] == [("ant", "ant, bee"), ("bee", "?, bee")]
    first, side = decoded(strips[0]["image"]), CELL + 8
    left = side + 3 * GAP
    assert tuple(first[0, left, :3]) == SAME
    assert tuple(first[0, left + side + GAP, :3]) == OTHER
    unlabeled = {name: value for name, value in payload()["neighbours"].items() if "labels" not in name}
    assert neighbour_strips(unlabeled)[0]["query"] == ""


def test_curves_are_drawn_for_what_was_logged_thinned_and_clock_fields_apart():
    curves = metric_figures(payload()["metrics"], [{"verdict": "x", "since_step": 5, "why": ""}])
    assert [curve["title"] for curve in curves] == ["Loss", "kNN accuracy"]
    assert metric_figures([{"step": 1, "loss": 2.0}]) == []


def test_the_map_copes_with_what_a_collapsed_or_tiny_run_gives():
    assert embedding_map(torch.randn(4, 3)) == ""
    assert "no label" in embedding_map(torch.ones(12, 3))
    assert "plotly" in embedding_map(torch.randn(12, 1), torch.arange(12))
