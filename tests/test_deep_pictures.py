"""Pictures of more than 8 bits, of several pages, of any number of channels, and with transparency: what labs and instruments write."""

import io
import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import leaven
from leaven.data import open_data
from leaven.errors import UserError

COUNT, SIDE = 12, 24


def blobs(seed, side=SIDE):
    """A bright spot on a dark ground, in 0-1."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    row, column = generator.uniform(side / 4, 3 * side / 4, 2)
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / side) * generator.uniform(0.6, 1) + generator.uniform(0, 0.05, (side, side))


def counts(seed, top=4095):
    return np.rint(blobs(seed) / 1.05 * top)


def write(folder, name, values):
    folder.mkdir(parents=True, exist_ok=True)
    if name.endswith(".npy"):
        np.save(folder / name, values)
    elif name.endswith(".png"):
        Image.fromarray(values).save(folder / name)
    else:
        colours = {} if values.ndim != 3 or values.dtype != np.uint8 else {"photometric": "minisblack", "planarconfig": "separate"}
        tifffile.imwrite(folder / name, values, **colours)


KINDS = {
    "12 bits in 16-bit PNG": (".png", lambda seed: counts(seed).astype(np.uint16)),
    "12 bits in 16-bit TIFF": (".tif", lambda seed: counts(seed).astype(np.uint16)),
    "signed CT numbers": (".tif", lambda seed: (counts(seed) - 1024).astype(np.int16)),
    "32-bit counts": (".tif", lambda seed: counts(seed, 100_000).astype(np.uint32)),
    "floats above 1": (".tif", lambda seed: (blobs(seed) * 1.3).astype(np.float32)),
    "tiny floats": (".tif", lambda seed: blobs(seed) * 1e-3),
    "arrays": (".npy", lambda seed: counts(seed).astype(np.uint16)),
    "16 bits in five bands": (".tif", lambda seed: np.stack([counts(seed + band) for band in range(5)]).astype(np.uint16)),
    "hyperspectral arrays": (".npy", lambda seed: np.stack([counts(seed + band) for band in range(60)], 2).astype(np.float32)),
}


@pytest.fixture(params=KINDS)
def deep(request, tmp_path):
    ending, make = KINDS[request.param]
    originals = [make(seed) for seed in range(COUNT)]
    for row, values in enumerate(originals):
        write(tmp_path / "deep", f"{row:02}{ending}", values)
    return tmp_path / "deep", originals


def test_deep_pictures_keep_their_levels_on_one_scale(deep):
    folder, originals = deep
    data = open_data(folder)
    pixels, reading = data.rows["x"].pixels, data.spec.roles["x"].reading
    low, high = reading["range"]
    assert pixels.dtype == torch.float32 and "more than 8 bits" in " ".join(data.notes) and not data.broken
    for found, values in zip(pixels.numpy(), originals, strict=True):
        planes = values[None] if values.ndim == 2 else values if len(values) == 5 else values.transpose(2, 0, 1)
        np.testing.assert_allclose(found, ((planes - low) / (high - low)).clip(0, 1), atol=1e-6)
    assert min(len(np.unique(picture)) for picture in pixels.numpy()) > 100


@pytest.mark.parametrize("deep", ["12 bits in 16-bit TIFF", "signed CT numbers", "16 bits in five bands"], indirect=True)
def test_later_pictures_are_read_on_the_scale_of_the_training_data(deep, tmp_path):
    folder, originals = deep
    run = leaven.pretrain(folder, out=tmp_path / "run", method="simclr", steps=2, batch=8, device="cpu", report=False)
    dim = (whole := leaven.embed(run, folder, device="cpu")).shape[1]
    one = tmp_path / "one"
    first = sorted(folder.iterdir())[0]
    write(one, f"dim{first.suffix}", originals[0])
    alone = leaven.embed(run, one / f"dim{first.suffix}", device="cpu")
    np.testing.assert_allclose(alone, whole[:1], atol=1e-4 * np.abs(whole).max())
    assert dim == whole.shape[1] and np.isfinite(whole).all()


def test_an_exported_graph_takes_the_numbers_of_the_files(tmp_path):
    pytest.importorskip("onnxruntime")
    import onnxruntime

    for seed in range(COUNT):
        write(tmp_path / "deep", f"{seed:02}.tif", counts(seed).astype(np.uint16))
    run = leaven.pretrain(tmp_path / "deep", out=tmp_path / "run", steps=2, batch=8, device="cpu", report=False)
    for form in ("onnx", "safetensors"):
        leaven.export(run, to=form, out=tmp_path / ("encoder.onnx" if form == "onnx" else "folder"))
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    raw = np.stack([counts(seed) for seed in range(COUNT)]).astype(np.float32)[:, None]
    features = leaven.embed(run, tmp_path / "deep", device="cpu")
    np.testing.assert_allclose(session.run(None, {"pixels": raw})[0], features, atol=1e-4 * np.abs(features).max())


def test_the_range_comes_from_the_training_split_alone(tmp_path):
    for seed in range(COUNT):
        write(tmp_path / "train", f"{seed}.tif", counts(seed, 1000).astype(np.uint16))
        write(tmp_path / "test", f"{seed}.tif", counts(seed, 20_000).astype(np.uint16))
    low, high = open_data(tmp_path).spec.roles["x"].reading["range"]
    assert 0 <= low < 100 and 900 < high <= 1000


def test_arrays_are_scaled_by_their_own_range_over_the_training_rows():
    pixels = np.stack([counts(seed) for seed in range(COUNT)])
    for array in (pixels.astype(np.uint16), pixels.astype(np.int16), pixels, torch.from_numpy(pixels).float()):
        data = open_data(array)
        low, high = data.spec.roles["x"].reading["range"]
        assert 0 <= low < 100 and 3500 < high <= 4095 and "more than 8 bits" in " ".join(data.notes)
        np.testing.assert_allclose(data.rows["x"].pixels[:, 0], ((pixels - low) / (high - low)).clip(0, 1), atol=1e-6)


def test_pictures_in_memory_are_scaled_alike_and_say_so():
    pictures = [Image.fromarray(counts(seed).astype(np.uint16)) for seed in range(COUNT)]
    data = open_data(pictures)
    low, high = data.spec.roles["x"].reading["range"]
    np.testing.assert_allclose(data.rows["x"].pixels[0, 0], ((counts(0) - low) / (high - low)).clip(0, 1), atol=1e-6)
    assert "more than 8 bits" in " ".join(data.notes)
    assert not open_data(pictures, reading={"range": (0, 4095)}).notes


def test_pictures_of_8_bits_among_which_few_are_deeper_stay_at_8(tmp_path):
    for seed in range(COUNT):
        write(tmp_path, f"{seed}.png", (blobs(seed) / 1.05 * 255).astype(np.uint8))
    write(tmp_path, "deep.tif", (blobs(0) / 1.05 * 65535).astype(np.uint16))
    data = open_data(tmp_path)
    assert data.rows["x"].pixels.dtype == torch.uint8 and "1 of 13 pictures has more than 8 bits" in " ".join(data.notes)
    same = data.rows["x"].pixels[[data.files.index("0.png"), data.files.index("deep.tif")]].int()
    assert (same[0] - same[1]).abs().max() <= 1


def test_a_range_of_the_user_holds(tmp_path):
    for seed in range(COUNT):
        write(tmp_path, f"{seed}.tif", counts(seed).astype(np.uint16))
    data = open_data(tmp_path, reading={"range": "0,4095"})
    np.testing.assert_allclose(data.rows["x"].pixels[0, 0], counts(0) / 4095, atol=1e-6)
    for wrong in ("5", "4,3", "a,b", "0,inf"):
        with pytest.raises(UserError, match="range"):
            open_data(tmp_path, reading={"range": wrong})


# --- pages ---


@pytest.fixture
def stacks(tmp_path):
    for number in range(4):
        pages = [(blobs(10 * number + page) / 1.05 * 255).astype(np.uint8) for page in range(9)]
        tifffile.imwrite(tmp_path / f"{number}.tif", np.stack(pages), photometric="minisblack")
    return tmp_path


@pytest.mark.parametrize(("pages", "count", "channels"), [(None, 4, 1), ("first", 4, 1), ("middle", 4, 1), ("all", 36, 1), ("channels", 4, 9)])
def test_pages_are_read_as_asked(stacks, pages, count, channels):
    data = open_data(stacks, reading={"pages": pages} if pages else None)
    assert len(data) == count and data.spec.roles["x"].shape == (channels, SIDE, SIDE)
    page = {"first": 0, "middle": 4, None: 4}.get(pages)
    if page is not None:
        assert torch.equal(data.rows["x"].pixels[1, 0], torch.from_numpy((blobs(10 + page) / 1.05 * 255).astype(np.uint8)))
        assert "9 pages" in " ".join(data.notes)
    if pages == "all":
        assert data.files[10] == "1.tif#1" and len(data.groups.unique()) == 4


def test_pages_of_one_file_never_stand_on_both_sides(stacks):
    data = open_data(stacks, reading={"pages": "all"})
    train, test, _, _ = data.held_out()
    assert not set(data.groups[train].tolist()) & set(data.groups[test].tolist())


def test_pages_are_set_on_the_command_line_and_kept_with_the_run(stacks, tmp_path, command):
    run = tmp_path / "run"
    status, _, error = command("pretrain", stacks, "--out", run, "--set", "pages=channels", "--steps", 2, "--batch", 4, "--device", "cpu")
    assert status == 0, error
    status, out, _ = command("embed", run, stacks, "--out", tmp_path / "vectors", "--json", "--device", "cpu")
    assert status == 0 and json.loads(out)
    status, _, error = command("inspect", stacks, "--set", "pages=last")
    assert status == 2 and "choose" in error and len(error.strip().splitlines()) == 1


def test_few_grey_pages_are_channels_and_the_largest_page_is_read(tmp_path):
    for number in range(4):
        pages = [(blobs(10 * number + page) / 1.05 * 255).astype(np.uint8) for page in range(3)]
        write(tmp_path / "channels", f"{number}.tif", np.stack(pages)[:, None])
        with tifffile.TiffWriter(tmp_path / f"{number}.tif") as writer:
            writer.write(pages[0][::3, ::3])
            writer.write(pages[1])
    assert open_data(tmp_path / "channels").spec.roles["x"].shape == (3, SIDE, SIDE)
    thumbs = open_data(str(tmp_path / "*.tif"))
    assert thumbs.spec.roles["x"].shape == (1, SIDE, SIDE) and "largest page" in " ".join(thumbs.notes)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_an_animation_that_begins_empty_is_not_constant(tmp_path, ending):
    for number in range(4):
        frames = [
            np.zeros((SIDE, SIDE, 3), np.uint8),
            *(np.dstack([blobs(10 * number + page) / 1.05 * 255] * 3).astype(np.uint8) for page in range(4)),
        ]
        first, *rest = map(Image.fromarray, frames)
        first.save(tmp_path / f"{number}.{ending}", save_all=True, append_images=rest)
    data = open_data(tmp_path)
    assert len(data.hashes.unique()) == 4 and "all 4 pictures have 5 pages: the middle one is read" in " ".join(data.notes)


# --- channels ---


@pytest.mark.parametrize("writer", ["imagej", "ome"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_channels_that_microscopes_write_are_told_from_slices(tmp_path, writer, kind):
    stack = np.stack([np.stack([counts(10 * slice + channel, 255) for channel in range(4)]) for slice in range(5)]).astype(kind)
    options = {"imagej": True} if writer == "imagej" else {"ome": True, "photometric": "minisblack"}
    for number in range(2):
        tifffile.imwrite(tmp_path / f"{number}.tif", stack, metadata={"axes": "ZCYX"}, **options)
    middle, every = (open_data(tmp_path, reading={"range": "0,255", "pages": pages}) for pages in ("middle", "all"))
    assert middle.spec.roles["x"].shape == (4, SIDE, SIDE) and len(every) == 10
    assert torch.equal(middle.rows["x"].pixels[0], every.rows["x"].pixels[2])
    if kind == np.uint8:
        assert np.array_equal(every.rows["x"].pixels[3], stack[3])


def test_more_channels_train_with_views_that_suit_them(tmp_path):
    pixels = np.stack([np.stack([counts(seed + band, 255) for band in range(7)], 2) for seed in range(COUNT)]).astype(np.uint8)
    run = leaven.pretrain(pixels, out=tmp_path / "run", steps=2, batch=8, device="cpu", report=True)
    assert run.config["asked"]["data"]["spec"]["roles"]["x"]["shape"] == [7, SIDE, SIDE]
    assert leaven.embed(run, pixels, device="cpu").shape[0] == COUNT


@pytest.mark.parametrize(
    ("shape", "stored"),
    [
        ((4, 5, 32, 32), (5, 32, 32)), ((4, 32, 32, 5), (5, 32, 32)), ((4, 200, 32, 32), (200, 32, 32)), ((4, 32, 32, 200), (200, 32, 32)),
        ((4, 5, 40, 60), (5, 40, 60)), ((4, 40, 60, 5), (5, 40, 60)), ((4, 3, 32, 3), None), ((4, 20, 30, 40), None),
    ],
)  # fmt: skip
def test_channels_are_found_in_either_layout_or_asked_for(shape, stored):
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    if stored is None:
        with pytest.raises(UserError, match="cannot tell the channels"):
            open_data(pixels)
    else:
        assert open_data(pixels).spec.roles["x"].shape == stored


def test_a_picture_with_other_channels_is_set_aside(tmp_path):
    for seed in range(COUNT):
        bands = 5 if seed else 4
        write(tmp_path, f"{seed:02}.tif", np.stack([counts(seed + band, 255) for band in range(bands)]).astype(np.uint8))
    data = open_data(tmp_path)
    assert data.spec.roles["x"].shape == (5, SIDE, SIDE)
    assert [broken.why for broken in data.broken] == ["it has 4 channels, and the others have 5"]


# --- transparency ---


@pytest.mark.parametrize(("shades", "background"), [((255,), "black"), ((0,), "white"), ((0, 255), "grey")])
def test_transparent_drawings_stay_visible(tmp_path, shades, background):
    for seed in range(COUNT):
        alpha = (blobs(seed) > 0.4).astype(np.uint8) * 255
        drawing = np.full((SIDE, SIDE), shades[seed % len(shades)], np.uint8)
        write(tmp_path, f"{seed}.png", np.dstack([drawing, drawing, drawing, alpha]))
    data = open_data(tmp_path)
    assert data.rows["x"].pixels.float().std(dim=(1, 2, 3)).min() > 8
    assert data.spec.roles["x"].reading["background"] == background and bool(data.notes) == (background != "white")


def test_transparency_everywhere_hides_nothing(tmp_path):
    shown = np.dstack([(blobs(0) / 1.05 * 255).astype(np.uint8)] * 3)
    write(tmp_path, "a.png", np.dstack([shown, np.zeros((SIDE, SIDE), np.uint8)]))
    assert np.array_equal(open_data(tmp_path).rows["x"].pixels[0].permute(1, 2, 0), shown)


# --- files that are odd, and whole ---


def jpeg(side=64, **options):
    stream = io.BytesIO()
    shown = np.dstack([(blobs(row, side) / 1.05 * 255).astype(np.uint8) for row in range(3)])
    Image.fromarray(shown).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_read_and_one_cut_in_half_is_not(tmp_path, progressive):
    content = jpeg(128, progressive=progressive)
    (tmp_path / "no_end.jpg").write_bytes(content[:-2])
    (tmp_path / "whole.jpg").write_bytes(content)
    if not progressive:  # half of a progressive one is a whole picture with less detail
        (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    data = open_data(tmp_path, size=128)
    assert data.files == ("no_end.jpg", "whole.jpg") and len(data.broken) == (not progressive)
    assert (data.rows["x"].pixels[0].int() - data.rows["x"].pixels[1].int()).abs().float().mean() < 3


def test_pictures_are_found_by_what_they_hold_and_what_cannot_be_read_is_named(tmp_path):
    content = jpeg()
    for name in ("noending", "photo.jpeg_large", "wrong.png", "UPPER.JPG"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (tmp_path / "renamed.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (tmp_path / "camera.cr2").write_bytes(b"whatever")
    (tmp_path / "notes.xyz").write_bytes(b"whatever")
    data = open_data(tmp_path)
    assert set(data.files) == {"noending", "photo.jpeg_large", "wrong.png", "UPPER.JPG"}
    assert {broken.file: broken.why for broken in data.broken} == dict.fromkeys(
        ("phone.heic", "renamed.jpg"), "HEIC needs a package: pip install pillow-heif"
    )
    assert "camera.cr2" in " ".join(data.unused) and "notes.xyz" in " ".join(data.unused)


def test_formats_that_are_not_read_are_named(tmp_path):
    (tmp_path / "scan.dcm").write_bytes(b"whatever")
    with pytest.raises(UserError, match="formats that Leaven does not read"):
        open_data(tmp_path)
