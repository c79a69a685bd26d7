"""Pictures that come in an order, once: what does an encoder learn from them, and what does it forget?

    OMP_NUM_THREADS=1 uv run python benchmarks/streams.py --data-root DATA --out runs/streams [--seeds 3] [--steps 600]

classes  tiny-imagenet-20 in the order of its classes: nearest neighbours after the whole stream, on the published val pictures, and what happened
         to each fifth of the classes since it was learned
journey  nordland, the frames of the summer's journey in order: how often the nearest summer frame of a held-out winter frame is within 3 frames
         of the right place
buffer   milliseconds that minred takes per step for a buffer of 16,000 samples, of which a batch of 256 is trained on and 64 leave, beside
         comparing all with all

Arms: the latest samples alone ("sequence": a buffer as small as a batch), fifo, reservoir, minred, and shuffled samples ("i.i.d."), which are the
upper bound. All arms make the same number of steps of the same batch. Every finished cell is kept, and the same command goes on.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from similarity import told

import leaven
from leaven.draw import Draw
from leaven.run import Run, read_json, write_json
from leaven.sampling import MinRed

BATCH, BUFFER, SIDE, SNAPSHOTS, NEAR = 128, 1024, 32, 5, 3
ARMS: dict[str, dict[str, Any]] = {
    "untrained": {},
    "sequence": {"stream": "fifo", "buffer": BATCH},
    "fifo": {"stream": "fifo", "buffer": BUFFER},
    "reservoir": {"stream": "reservoir", "buffer": BUFFER},
    "minred": {"stream": "minred", "buffer": BUFFER},
    "i.i.d.": {},
}


def trained(data: Path, arm: str, seed: int, steps: int, samples: int, out: Path, **more: Any) -> Run:
    fresh = max(1, round((samples - BATCH) / max(1, steps - 1)))
    options = ARMS[arm] | ({"fresh": fresh} if "stream" in ARMS[arm] else {})
    return leaven.pretrain(
        data, method="simclr", size=SIDE, batch=BATCH, steps=steps, snapshots=SNAPSHOTS, seed=seed, out=out, report=False, keep_going=True,
        **options, **more,
    )  # fmt: skip


def classes(root: Path, arm: str, seed: int, steps: int, out: Path) -> dict[str, float]:
    data = root / "tiny-imagenet-20"
    run = trained(data, "i.i.d." if arm == "untrained" else arm, seed, 1 if arm == "untrained" else steps, 10_000, out)
    if arm == "untrained":
        card = leaven.evaluate(run, data, protocols=("knn",), report=False, seed=seed)
        return {"accuracy": 100 * card.floors["untrained"]["knn"]["accuracy"]}
    score = leaven.evaluate(run, data, protocols=("forgetting",), report=False, seed=seed, known_floors={"untrained": {}}).scores["forgetting"]
    return {key: 100 * score[key] for key in ("accuracy", "backward_transfer", "forgetting")}


def journey(root: Path, arm: str, seed: int, steps: int, out: Path) -> dict[str, float]:
    """The encoder learns from the frames of the train split alone."""
    folder = root.resolve() / "nordland"
    with open(folder / "frames.csv", newline="") as stream:
        frames = [row for row in csv.DictReader(stream)]
    of = {
        (season, split): [row for row in frames if (row["season"], row["split"]) == (season, split)]
        for season in ("summer", "winter")
        for split in ("train", "test")
    }
    learned = out.parent / "journey.csv"
    if not learned.is_file():
        learned.write_text("image\n" + "".join(f"{folder / row['file']}\n" for row in of["summer", "train"]))
    run = trained(learned, "i.i.d." if arm == "untrained" else arm, seed, 1 if arm == "untrained" else steps, len(of["summer", "train"]), out,
                  columns={"x": "image"}, settings={"views.flip": 0.0})  # fmt: skip
    vectors = {}
    for season in ("summer", "winter"):
        listed = out.parent / f"{season}.csv"
        if not listed.is_file():
            listed.write_text("image\n" + "".join(f"{folder / row['file']}\n" for row in of[season, "test"]))
        encoded = leaven.embed(run, listed, columns={"x": "image"}) if arm != "untrained" else untrained_vectors(run, listed, seed)
        vectors[season] = torch.nn.functional.normalize(torch.as_tensor(encoded) - torch.as_tensor(encoded).mean(0), dim=1)
    place = {season: torch.tensor([int(row["frame"]) for row in of[season, "test"]]) for season in vectors}
    nearest = place["summer"][(vectors["winter"] @ vectors["summer"].T).argmax(1)]
    step = int(place["summer"].diff().mode().values)
    return {"right place": 100 * ((nearest - place["winter"]).abs() <= NEAR * step).double().mean().item()}


def untrained_vectors(run: Run, data: Path, seed: int) -> torch.Tensor:
    from leaven.data import open_data
    from leaven.evaluation.features import encode
    from leaven.evaluation.floors import untrained

    encoder, opened = leaven.load(run), open_data(data, columns={"x": "image"}, size=SIDE)
    value, rows = opened.rows["x"], torch.arange(len(opened))
    return encode(untrained(encoder, seed, value, rows), value, rows)


def buffer(held: int = 16_000, batch: int = 256, leaving: int = 64, dim: int = 128) -> dict[str, str]:
    """Features that move a little between two looks at them, as those of a trained encoder do."""
    generator = torch.Generator().manual_seed(0)
    features, policy = torch.randn(held, dim, generator=generator), MinRed()
    policy.places(torch.arange(held), held, Draw(0))
    for places in torch.arange(held).split(batch):
        policy.observe(places, {"features": features[places]})
    ours, theirs = [], []
    for step in range(15):
        begin = time.perf_counter()
        policy.places(held + leaving * step + torch.arange(leaving), held, Draw(0))
        places = torch.randperm(held, generator=generator)[:batch]
        policy.observe(places, {"features": features[places] + 0.3 * torch.randn(batch, dim, generator=generator)})
        ours.append(time.perf_counter() - begin)
        if step < 3:
            begin = time.perf_counter()
            (policy.features @ policy.features.T).fill_diagonal_(-1).max(1)
            theirs.append(time.perf_counter() - begin)
    once, all_pairs = 1000 * statistics.median(ours), 1000 * statistics.median(theirs)
    return {"minred": f"{once:.0f} ms per step", "all with all, once": f"{all_pairs:,.0f} ms"}


MEASURES = {"classes": classes, "journey": journey}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--parts", default="classes,journey,buffer")
    arguments = parser.parse_args()
    for part in arguments.parts.split(","):
        if part == "buffer":
            print("\n".join(f"| {name} | {spent} |" for name, spent in buffer().items()), flush=True)
            continue
        folder = arguments.out / part
        folder.mkdir(parents=True, exist_ok=True)
        columns: list[str] = []
        rows = []
        for arm in ARMS:
            scores = []
            for seed in range(arguments.seeds):
                kept = folder / f"{arm}-{seed}.json"
                if not kept.is_file():
                    write_json(kept, MEASURES[part](arguments.data_root, arm, seed, arguments.steps, folder / f"{arm}-{seed}"))
                    print(part, arm, seed, read_json(kept), flush=True)
                scores.append(read_json(kept))
            columns = columns if len(columns) > len(scores[0]) else [*scores[0]]
            rows.append((arm, {name: told([score[name] for score in scores]) for name in scores[0]}))
        print(f"\n| {part} | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
        for arm, cells in rows:
            print(f"| {arm} | {' | '.join(cells.get(name, '') for name in columns)} |", flush=True)


if __name__ == "__main__":
    main()
