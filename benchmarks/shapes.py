"""Pictures of drawn shapes with sentences about them: what is recognised by a sentence alone, and what is drawn from one.

    uv run python benchmarks/shapes.py --out runs/shapes [--seeds 3] [--methods clip,siglip,unclip] [--part test]

Per cent, on the test split (combinations of shape and colour that were learned) and on `unseen` (combinations that no training picture shows). Choose
settings with --part valid, which holds 600 samples of the training split out. Finished cells are kept, and the same command continues.
"""

import argparse
import random
import tempfile
from pathlib import Path

import numpy as np
import torch
from similarity import told

import leaven
from leaven.data.sources.shapes import COLOURS, COUNTS, GROUNDS, PLACES, SHAPES, SIZES, Drawn, caption, drawn
from leaven.draw import Draw
from leaven.modalities import Pixels, Strings, Text
from leaven.run import read_json, write_json
from leaven.training.trained import trained_method

KEEP_SIDES = {"views.image.flip": 0}  # the sentences speak of left and right
TOWERS, TOWERS_LENGTH = {"encoder.text.width": 128, "encoder.text.depth": 2}, {"steps": 400, "batch": 256}
UNCLIP, UNCLIP_LENGTH = {"clip_share": 0, "prior_share": 0.2, "width": 16, "dim": 128}, {"steps": 1200, "batch": 128}
JUDGE_STEPS = 300
VALID, DRAWN = 600, 200  # samples that are held out of the training split, and sentences from which a picture is drawn
TEMPLATES, CONTEXTS = 60, 21  # sentences that state a class by one word, and times that one is stated otherwise
CLASSES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "ground": GROUNDS, "arrangement": (*PLACES, *COUNTS)}


def rows_of(world: Drawn, part: str) -> dict[str, torch.Tensor]:
    """The samples that train, and those that are scored, by name."""
    split = {name: torch.tensor([row for row, own in enumerate(world.splits) if own == name]) for name in ("train", "test", "unseen")}
    if part == "valid":
        return {"train": split["train"][:-VALID], "valid": split["train"][-VALID:]}
    return split


def data_of(world: Drawn, rows: torch.Tensor) -> dict:
    return {"image": world.pictures[rows], "text": [world.captions[row] for row in rows]}


def questions(attribute: str, seed: int = 0) -> list[tuple[list[str], list[str]]]:
    """The classes of an attribute in words, and sentences to put them in, several times. What else these say is drawn at random."""
    draw, arrangements = random.Random(seed), [*PLACES, *COUNTS]

    def some(**fixed: str) -> str:
        drawn = {"arrangement": draw.choice(arrangements), "size": draw.choice([*SIZES]), "colour": draw.choice([*COLOURS])}
        return caption(**{**drawn, "shape": draw.choice(SHAPES), "ground": draw.choice([*GROUNDS]), **fixed})

    if attribute in ("shape", "arrangement"):  # which is said by more than one word
        asked = []
        for number in range(CONTEXTS):
            noun = {"size": draw.choice([*SIZES]), "colour": draw.choice([*COLOURS]), "shape": draw.choice(SHAPES), "ground": ""}
            noun["arrangement"] = arrangements[number % len(arrangements)]
            names = [caption(**{**noun, attribute: name}).removesuffix(" on ") for name in CLASSES[attribute]]
            asked.append((names, [f"{{}} on {ground}" for ground in GROUNDS]))
        return asked
    return [([*CLASSES[attribute]], [some(**{attribute: "{}"}) for _ in range(TEMPLATES)])]


def likeness(run, pictures: torch.Tensor, attribute: str) -> np.ndarray:
    """(pictures, classes): by the sentences that state each class, on average."""
    scores = []
    with tempfile.TemporaryDirectory() as folder:
        for names, templates in questions(attribute):
            (Path(folder) / "names.txt").write_text("\n".join(names))
            predictions = leaven.predict(run, pictures, classes=Path(folder) / "names.txt", templates=templates)
            scores.append(np.log(predictions.probabilities + 1e-30))
    return np.mean(scores, axis=0)


def recognised(run, world: Drawn, rows: torch.Tensor) -> dict[str, float]:
    """The share of pictures whose attribute is the one that their nearest sentences state; the place is that of a single shape."""
    shares = {}
    for attribute, classes in CLASSES.items():
        likely = likeness(run, world.pictures[rows], attribute)
        truth = np.array([[*classes].index(getattr(world, f"{attribute}s")[row]) for row in rows])
        if attribute != "arrangement":
            shares[attribute] = 100 * float((likely.argmax(1) == truth).mean())
            continue
        places, single = len(PLACES), truth < len(PLACES)
        shares["place"] = 100 * float((likely[single, :places].argmax(1) == truth[single]).mean())
        counted = np.maximum(likely.argmax(1) - places + 1, 0)
        shares["count"] = 100 * float((counted == np.maximum(truth - places + 1, 0)).mean())
    return shares


def judges(world: Drawn, train: torch.Tensor, seed: int, out: Path) -> dict:
    """Classifiers of shape and of colour that learn from the training split."""
    return {
        attribute: leaven.pretrain(
            (world.pictures[train], [getattr(world, f"{attribute}s")[row] for row in train]), method="supervised", steps=JUDGE_STEPS,
            settings={"views.flip": 0}, seed=seed, out=out / f"judge-{attribute}-{seed}", report=False,
        )
        for attribute in ("shape", "colour")
    }  # fmt: skip


def judged(judges: dict, pictures, world: Drawn, rows: torch.Tensor) -> dict[str, float]:
    """The share of pictures in which the judges see the shape and the colour of these rows."""
    right = {
        attribute: np.array(leaven.predict(judge, pictures).labels) == np.array([getattr(world, f"{attribute}s")[row] for row in rows])
        for attribute, judge in judges.items()
    }
    right["both"] = right["shape"] & right["colour"]
    return {name: 100 * float(correct.mean()) for name, correct in right.items()}


def retrieval(run, world: Drawn, rows: torch.Tensor) -> dict[str, dict[str, float]]:
    """How the vectors of sentences, and those that the prior makes of them, find pictures that the sentences are true of."""
    method = trained_method(run)
    texts = [world.captions[row] for row in rows]
    same = torch.tensor([[one == other for other in texts] for one in texts])
    with torch.no_grad():
        pictures = method.unit(method.image, method.senses[method.image](Pixels(world.pictures[rows])))
        read = method.read(Text(Strings.of(texts)))
        found = {"text": read.text, "prior": method.imagined(read, Draw("retrieval", 0))}
    scores = {}
    for name, vectors in found.items():
        likeness = vectors @ pictures.T
        best = likeness.masked_fill(~same, -torch.inf).amax(1, keepdim=True)
        rank = 1 + (likeness.masked_fill(same, -torch.inf) > best).sum(1).float()
        shares = {f"R@{at}": 100 * (rank <= at).float().mean().item() for at in (1, 10)}
        scores[name] = shares | {"mean rank": rank.mean().item()}
    return scores


def measured(method: str, world: Drawn, rows: dict[str, torch.Tensor], seed: int, out: Path) -> dict[str, dict]:
    """Part -> what is measured of one training."""
    kept = out / f"{method}-{seed}.json"
    if kept.is_file():
        return read_json(kept)
    train, parts = rows["train"], {name: own for name, own in rows.items() if name != "train"}
    options = {"seed": seed, "report": False, "out": out / f"{method}-{seed}", "say": print}
    if method != "unclip":
        run = leaven.pretrain(data_of(world, train), method=method, settings=TOWERS | KEEP_SIDES, **TOWERS_LENGTH, **options)
        scores = {part: {"recognised": recognised(run, world, own)} for part, own in parts.items()}
    else:
        measured("clip", world, rows, seed, out)
        clip = out / f"clip-{seed}"
        encoder = {"image": clip, "text": clip}
        run = leaven.pretrain(data_of(world, train), method=method, encoder=encoder, settings=UNCLIP | KEEP_SIDES, **UNCLIP_LENGTH, **options)
        judge, scores = judges(world, train, seed, out), {}
        for part, own in parts.items():
            some = own[:DRAWN]
            pictures = leaven.sample(run, 1, text=[world.captions[row] for row in some], seed=seed, out=out / f"{part}-{seed}.png")
            scores[part] = {"drawn": judged(judge, torch.from_numpy(pictures), world, some), "judges": judged(judge, world.pictures[own], world, own)}
            scores[part] |= retrieval(run, world, own)
    write_json(kept, scores)
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default="clip,siglip,unclip")
    parser.add_argument("--part", default="test", choices=("valid", "test"))
    arguments = parser.parse_args()
    world = drawn()
    rows = rows_of(world, arguments.part)
    out = arguments.out / arguments.part
    out.mkdir(parents=True, exist_ok=True)
    lines: dict[str, dict[str, str]] = {}
    for method in arguments.methods.split(","):
        cells = [measured(method, world, rows, seed, out) for seed in range(arguments.seeds)]
        for part, measures in cells[0].items():
            for what, numbers in measures.items():
                for name in numbers:
                    lines.setdefault(f"{method}, {what}: {name}", {})[part] = told([cell[part][what][name] for cell in cells])
    parts = [part for part in rows if part != "train"]
    print(f"| | {' | '.join(parts)} |\n|{'---|' * (1 + len(parts))}")
    for name, columns in lines.items():
        print(f"| {name} | {' | '.join(columns[part] for part in parts)} |")


if __name__ == "__main__":
    main()
