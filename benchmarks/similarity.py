"""How well do cosines agree with the similarity that people see in sentence pairs? SimCSE, its masked-LM start, word vectors, tf-idf.

    uv run python benchmarks/similarity.py --data-root DATA --out runs/similarity [--seeds 3] [--minutes 20]

The models learn from unlabeled sentences of sts, stsb, trec6, agnews, sst2, wikitext-2 and 20newsgroups below DATA, without those that occur in a
test pair (STS-B dev and test, STS12-16, SICK test). Nothing is fitted to scores. The features of SimCSE, of the masked LM and of the untrained
encoder are whitened; "as trained" means before that. "Plus" adds the cosines of both. Finished trainings are kept, and the same command continues.
"""

import argparse
import csv
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from pyarrow import parquet

import leaven
from leaven.data import open_data
from leaven.evaluation.features import encode
from leaven.evaluation.intervals import seeds_interval
from leaven.modalities import Strings, Text
from leaven.modalities.text import sparse_tf_idf
from leaven.run import read_json, write_json

SHARES = {"masked_lm": 0.6, "simcse": 0.4}  # of the budget
IN_TOKENS = {"tokenizer.kind": "bpe", "tokenizer.vocabulary": 8000}  # for word2vec on the tokens that the transformers read
STS = ("sts12", "sts13", "sts14", "sts15", "sts16")
QUOTED = re.compile(r"^\s*(\S{0,6}>|[|:}\]]|In article)|.*(writes|wrote):?\s*$")


def rows(path: Path, **options) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return [*csv.reader(stream, **options)]


def pairs(root: Path) -> dict[str, list[tuple[str, str, float]]]:
    """The scored pairs of each test: STS-B dev and test, each part of STS12-16 by itself, SICK test."""
    found = {f"stsb {part}": [(a, b, float(score)) for a, b, score in rows(root / "stsb" / f"{part}.csv")[1:]] for part in ("dev", "test")}
    for path in sorted(path for year in STS for path in (root / "sts" / year).rglob("*.tsv")):
        if path.parent.name == "sts12" and not path.name.endswith(".test.tsv"):
            continue
        lines = rows(path, delimiter="\t", quoting=csv.QUOTE_NONE)
        found[f"{path.parent.name} {path.name.split('.')[0]}"] = [(a, b, float(score)) for score, a, b, *_ in lines if score.strip()]
    lines = rows(root / "sts" / "sick" / "test.tsv", delimiter="\t", quoting=csv.QUOTE_NONE)[1:]
    return found | {"sick test": [(a, b, float(score)) for _, a, b, score, *_ in lines]}


def sentences(root: Path, tested: set[str]) -> list[str]:
    """Unlabeled sentences of 3 to 60 words, each once, none of which is tested."""
    found: dict[str, None] = {}
    for path in sorted(path for year in STS for path in (root / "sts" / year).rglob("*.tsv")):
        found |= dict.fromkeys(text for line in rows(path, delimiter="\t", quoting=csv.QUOTE_NONE) for text in line[1:3])
    for name, columns in {"stsb/train.csv": (0, 1), "trec6/train.csv": (0,), "agnews/train.csv": (0,)}.items():
        found |= dict.fromkeys(line[column] for line in rows(root / name)[1:] for column in columns)
    found |= dict.fromkeys(whole([line[0] for line in rows(root / "sst2" / "train.csv")[1:]]))
    found |= dict.fromkeys(line.strip() for line in (root / "wikitext-2" / "valid.txt").read_text().split(" . ") if "=" not in line)
    posts = parquet.read_table(next((root / "20newsgroups").glob("*.parquet")), columns=["text", "split"]).to_pylist()
    found |= dict.fromkeys(sentence for post in posts if post["split"] == "train" for sentence in of_post(post["text"]))
    kept = [text.strip() for text in found if 3 <= len(text.split()) <= 60]
    return [text for text in dict.fromkeys(kept) if plain(text) not in tested]


def whole(phrases: list[str]) -> list[str]:
    """Phrases that are not part of another: sst2 holds the phrases of a review, each within a longer one, down to single words."""
    kept, parts = [], set()
    for words in sorted((phrase.split() for phrase in phrases), key=len, reverse=True):
        if " ".join(words) not in parts:
            kept.append(" ".join(words))
            parts |= {" ".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1)}
    return kept


def of_post(text: str) -> Iterator[str]:
    """The sentences that the author of a post wrote, of five words or more and mostly letters."""
    written = "\n".join(line for line in text.splitlines() if not QUOTED.match(line))
    for paragraph in re.split(r"\n\s*\n", written):
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z\"(])", " ".join(paragraph.split())):
            letters = sum(letter.isalpha() or letter == " " for letter in sentence)
            if sentence.count(" ") >= 4 and letters >= 0.85 * len(sentence):
                yield sentence


def plain(text: str) -> str:
    return " ".join(text.lower().split())


def spearman(cosine: np.ndarray, scores: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return 100 * float(spearmanr(cosine, scores).statistic)


def cosines(embed, tests) -> dict[str, np.ndarray]:
    """Cosines of the pairs of each test. embed: texts -> vectors of unit length (dense or sparse)."""
    found = {}
    for name, each in tests.items():
        a, b = (embed([pair[side] for pair in each]) for side in (0, 1))
        found[name] = np.asarray((a.multiply(b) if hasattr(a, "multiply") else a * b).sum(axis=1)).ravel()
    return found


def scored(found: dict[str, np.ndarray], tests) -> dict[str, float]:
    """Spearman x 100 of the cosines of each test."""
    return summed({name: spearman(found[name], np.array([score for *_, score in each])) for name, each in tests.items()})


def summed(found: dict[str, float]) -> dict[str, float]:
    """STS-B dev and test, the mean of the parts of STS12-16 (each year's mean first), SICK."""
    years = [statistics.fmean(value for name, value in found.items() if name.startswith(year)) for year in STS]
    return {"STS-B dev": found["stsb dev"], "STS-B test": found["stsb test"], "STS12-16 (mean)": statistics.fmean(years), "SICK": found["sick test"]}


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)


def embedded(run, tests) -> Callable[[list[str]], np.ndarray]:
    """A function that looks up the vectors of test texts, which are all computed at once."""
    texts = list(dict.fromkeys(text for each in tests.values() for pair in each for text in pair[:2]))
    place, vectors = {text: row for row, text in enumerate(texts)}, leaven.embed(run, texts)
    return lambda some: vectors[[place[text] for text in some]]


def as_trained(run, vectors: np.ndarray) -> np.ndarray:
    """Features before the whitening at the end of the encoder."""
    whitening = leaven.load(run).whitening
    return vectors @ np.linalg.inv(whitening.axes.numpy()) + whitening.center.numpy()


def plain_mean(run) -> Callable[[list[str]], np.ndarray]:
    """Word vectors with equal weights."""
    encoder = leaven.load(run)
    encoder.weights.fill_(1)
    return lambda texts: unit(encode(encoder, Text(Strings.of(texts)), torch.arange(len(texts))).numpy())


def whitened(vectors: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Vectors without their mean and with equal variance in all directions, both taken from a sample (Su et al. 2021)."""
    center, (_, scale, axes) = sample.mean(0), np.linalg.svd(sample - sample.mean(0), full_matrices=False)
    return (vectors - center) @ axes.T / scale.clip(1e-6)


def trained(method: str, data, folder: Path, budget: float, seed: int, **options):
    return leaven.pretrain(data, method=method, budget=budget, seed=seed, out=folder, report=False, keep_going=True, **options)


def measured(seed: int, data, texts: list[str], tests, characters: dict[str, np.ndarray], out: Path, minutes: float) -> dict[str, dict[str, float]]:
    kept = out / f"scores-{seed}.json"
    if not kept.is_file():
        start = trained("masked_lm", data, out / f"masked_lm-{seed}", 60 * minutes * SHARES["masked_lm"], seed)
        simcse = trained("simcse", data, out / f"simcse-{seed}", 60 * minutes * SHARES["simcse"], seed, encoder=str(start.path))
        alone = trained("simcse", data, out / f"alone-{seed}", 60 * minutes, seed)
        words = trained("word2vec", data, out / f"word2vec-{seed}", 60 * minutes * SHARES["simcse"], seed)
        tokens = trained("word2vec", data, out / f"tokens-{seed}", 60 * minutes * SHARES["simcse"], seed, settings=IN_TOKENS)
        sample = texts[:: max(1, len(texts) // 5000)]
        untrained = leaven.pretrain(
            data, method="simcse", steps=1, seed=seed, out=out / f"untrained-{seed}", report=False, settings={"recipe.lr": 0.0}
        )
        runs = {
            "SimCSE after a masked LM": simcse, "SimCSE alone": alone, "the masked LM": start, "untrained": untrained, "word vectors, SIF": words,
            "vectors of tokens, SIF": tokens,
        }  # fmt: skip
        found = {}
        for name, run in runs.items():
            look = embedded(run, tests)
            found[name] = cosines(lambda texts, look=look: unit(look(texts)), tests)
            if run in (words, tokens):
                by = leaven.embed(run, sample)
                found[f"{name}, whitened"] = cosines(lambda texts, look=look, by=by: unit(whitened(look(texts), by)), tests)
            else:
                found[f"{name}, as trained"] = cosines(lambda texts, look=look, run=run: unit(as_trained(run, look(texts))), tests)
        found["word vectors, plain mean"] = cosines(plain_mean(words), tests)
        for name in ("SimCSE after a masked LM", "SimCSE alone", "untrained", "word vectors, SIF", "vectors of tokens, SIF"):
            found[f"{name}, plus tf-idf of characters"] = {test: cosine + characters[test] for test, cosine in found[name].items()}
        write_json(kept, {name: scored(each, tests) for name, each in found.items()})
    return read_json(kept)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=20.0, help="for each model")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tests = pairs(arguments.data_root)
    texts = sentences(arguments.data_root, {plain(text) for each in tests.values() for pair in each for text in pair[:2]})
    print(f"{len(texts):,} sentences to learn from; pairs: {', '.join(f'{name} {len(each):,}' for name, each in tests.items())}\n")
    data = open_data(texts)
    words, characters = (cosines(sparse_tf_idf(texts, analyzer), tests) for analyzer in ("word", "char_wb"))
    floors = {"tf-idf of words": scored(words, tests), "tf-idf of characters": scored(characters, tests)}
    found = [measured(seed, data, texts, tests, characters, arguments.out, arguments.minutes) for seed in range(arguments.seeds)]
    heads = list(floors["tf-idf of words"])
    print(f"| features | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}")
    for name in found[0]:
        print(f"| {name} | {' | '.join(told([seed[name][head] for seed in found]) for head in heads)} |")
    for name, scores in floors.items():
        print(f"| {name} | {' | '.join(f'{scores[head]:.1f}' for head in heads)} |")


def told(values: list[float]) -> str:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    low, high = seeds_interval(values)
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
