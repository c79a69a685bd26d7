"""Whatever is done to the files of a data set, it opens without them or is refused in one line that names the file."""

import gzip
import io
import json
import random
import shutil
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse
import torch
from mutations import damaged, harmless
from PIL import Image

from leaven.data import open_data

FEW, MANY = 300, 1000
NOISE = np.random.default_rng(0)


def png(side=12):
    stream = io.BytesIO()
    Image.fromarray(NOISE.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def tables(folder):
    rows = [(f"text {row} and so", row % 3) for row in range(40)]
    pictures = [{"bytes": png(), "path": None} for _ in range(12)]
    pq.write_table(pa.table({"image": pictures, "label": [row % 3 for row in range(12)]}), folder / "pictures.parquet", compression="NONE")
    pq.write_table(pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), folder / "texts.parquet")
    (folder / "table.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    (folder / "table.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    (folder / "table.jsonl").write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    (folder / "lines.txt").write_text("".join(f"{text}\n" for text, _ in rows))


def arrays(folder):
    pixels, labels = NOISE.integers(0, 255, (20, 8, 8), dtype=np.uint8), np.arange(20) % 2
    np.save(folder / "array.npy", pixels)
    np.savez(folder / "pixels.npz", x=pixels, y=labels)
    np.savez_compressed(folder / "splits.npz", x_train=NOISE.normal(size=(20, 8)), y_train=labels, x_test=NOISE.normal(size=(20, 8)), y_test=labels)
    scipy.sparse.save_npz(folder / "counts.npz", scipy.sparse.csr_matrix(NOISE.integers(0, 3, (30, 50))))


def idx(folder):
    (folder / "idx").mkdir()
    (folder / "idx-plain").mkdir()
    for part, count in (("train", 20), ("t10k", 10)):
        images = struct.pack(">IIII", 2051, count, 8, 8) + NOISE.bytes(count * 64)
        labels = struct.pack(">II", 2049, count) + bytes(row % 10 for row in range(count))
        for name, content in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            (folder / "idx" / f"{name}.gz").write_bytes(gzip.compress(content))
            (folder / "idx-plain" / name).write_bytes(content)


def pictures(folder):
    for number in range(12):
        (folder / "folder" / f"class{number % 3}").mkdir(parents=True, exist_ok=True)
        (folder / "folder" / f"class{number % 3}" / f"{number}.png").write_bytes(png())


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    for write in (tables, arrays, idx, pictures):
        write(folder)
    return folder


def damage_and_open(sources, folder, seed):
    draw = random.Random(seed)
    source = draw.choice(sorted(sources.iterdir()))
    copy = folder / f"{seed}" / source.name
    copy.parent.mkdir()
    (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
    file = draw.choice(sorted(path for path in copy.rglob("*") if path.is_file())) if copy.is_dir() else copy
    file.write_bytes(damaged(file.read_bytes(), draw))
    print(seed, file.relative_to(copy.parent))
    with harmless():
        data = open_data(copy, cache_dir=folder / "cache")
        data.rows.select(torch.arange(min(4, len(data))))
    shutil.rmtree(copy.parent)


@pytest.mark.parametrize("start", range(0, FEW, 100))
def test_a_damaged_source_opens_or_is_refused_in_one_line(sources, tmp_path, start):
    for seed in range(start, start + 100):
        damage_and_open(sources, tmp_path, seed)


@pytest.mark.slow
def test_many_damaged_sources_open_or_are_refused_in_one_line(sources, tmp_path):
    for seed in range(FEW, FEW + MANY):
        damage_and_open(sources, tmp_path, seed)
