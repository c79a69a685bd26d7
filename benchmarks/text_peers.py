"""Speed on text beside peers, with the same models, tokens and batches, in turn on a CPU: SimCSE, embedding, word2vec.

    uv run --with accelerate --with gensim python benchmarks/text_peers.py --data-root DATA [--peers simcse,embed,word2vec] [--sentences 20000]

  simcse    Leaven's default text encoder, batch 128, temperature 0.05, no head; sentence-transformers' trainer (where accelerate is installed) and
            its older `old_fit`, with MultipleNegativesRankingLoss over (text, the same text). The seconds of three steps are subtracted on both
            sides. Leaven tokenises the texts before it starts, the peer batch by batch.
  embed     `leaven.embed(run, texts)`, with loading; `SentenceTransformer.encode` of the exported run, loaded before.
  word2vec  skip-gram with 5 negatives and the same words (those that Leaven's tokeniser knows), width, window, subsampling and epochs; gensim with
            as many workers as torch has threads.

The first two leave out the few long texts, which Leaven reads in pieces and the peers only from the beginning. The sentences are a random part of
those of similarity.py. None of them occurs in STS-B dev, which scores the result. Ratios are medians over rounds.
"""

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from similarity import plain, rows, sentences, spearman, unit

import leaven
from leaven.data import DataSet, open_data
from leaven.evaluation.features import encode
from leaven.modalities import Strings, Text
from leaven.run import Run

BATCH, SCALE, LR, WARM_UP = 128, 20.0, 5e-4, 3
WIDTH, WINDOW, NEGATIVES, SUBSAMPLE, EPOCHS = 200, 5, 5, 1e-4, 5
PRECISIONS = ("fp32", "bf16")
LEAST = 512

Found = tuple[float, float]
"""Sentences or words per second, and the number shown beside it."""
Arms = dict[tuple[str, str], Callable[[int], Found]]
"""Arms by name and precision; each is called with the number of the round."""


class Pairs:
    """STS-B dev."""

    def __init__(self, root: Path):
        found = rows(root / "stsb" / "dev.csv")[1:]
        self.a, self.b, scores = zip(*found, strict=True)
        self.scores = np.array(scores, float)

    def score(self, embed: Callable[[list[str]], np.ndarray]) -> float:
        """Spearman x 100."""
        a, b = (unit(np.asarray(embed(list(side)))) for side in (self.a, self.b))
        return spearman((a * b).sum(1), self.scores)


def trained(data: DataSet, folder: Path, method: str, **options) -> tuple[Run, float]:
    """A run, and the seconds that its training took."""
    run = leaven.pretrain(data, method=method, out=folder, report=False, keep_going=True, checkpoint_seconds=1e9, device="cpu", **options)
    return run, run.config["result"]["seconds"]


def untrained(data: DataSet, folder: Path, method: str, **settings) -> Run:
    return trained(data, folder, method, steps=1, batch=BATCH, settings={**settings, "recipe.lr": 0.0})[0]


def in_one_piece(run: Run, texts: list[str]) -> list[str]:
    """Texts that an encoder reads whole: Leaven reads longer ones in pieces, and the peers only their beginning."""
    _, text = leaven.load(run).tokenizer.pieces(texts)
    return [each for each, pieces in zip(texts, text.bincount().tolist(), strict=True) if pieces == 1]


# --- SimCSE ---


def simcse(data: DataSet, texts: list[str], pairs: Pairs, folder: Path) -> tuple[Arms, str, str]:
    start = untrained(data, folder / "start", "simcse", head=0)
    texts = in_one_piece(start, texts)
    data, steps = open_data(texts), len(texts) // BATCH
    exported = leaven.export(start, to="sentence-transformers", out=folder / "exported").out

    def rate(seconds: Callable[[int], float]) -> float:
        return BATCH * steps / (seconds(WARM_UP + steps) - seconds(WARM_UP))

    def ours(precision: str, number: int) -> Found:
        made: list[Run] = []

        def seconds(length: int) -> float:
            run, spent = trained(
                data, folder / f"{precision}-{number}-{length}", "simcse", encoder=str(start.path), steps=length, batch=BATCH, seed=number,
                precision=precision, settings={"head": 0, "temperature": 1 / SCALE, "recipe.lr": LR},
            )  # fmt: skip
            made.append(run)
            return spent

        return rate(seconds), pairs.score(partial(leaven.embed, made[0]))

    def theirs(train: Callable, precision: str, number: int) -> Found:
        from sentence_transformers import SentenceTransformer

        made: list[SentenceTransformer] = []

        def seconds(length: int) -> float:
            torch.manual_seed(number)
            model = SentenceTransformer(str(exported), device="cpu")
            made.append(model)
            return train(model, texts, length, precision, folder)

        return rate(seconds), pairs.score(made[0].encode)

    arms: Arms = {}
    for precision in PRECISIONS:
        arms["leaven", precision] = partial(ours, precision)
        if importlib.util.find_spec("accelerate"):
            arms["sentence-transformers", precision] = partial(theirs, by_trainer, precision)
        arms["sentence-transformers, old_fit", precision] = partial(theirs, by_old_fit, precision)
    if not importlib.util.find_spec("accelerate"):
        print("without accelerate, sentence-transformers has no trainer: only its older loop is measured\n")
    return arms, "sentences per second", "STS-B dev"


def by_trainer(model, texts: list[str], steps: int, precision: str, folder: Path) -> float:
    """Seconds of `SentenceTransformerTrainer.train`."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "trainer"), max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=LR, weight_decay=0.01, warmup_steps=0.1,
        lr_scheduler_type="cosine", bf16=precision == "bf16", use_cpu=True, dataloader_drop_last=True, save_strategy="no", eval_strategy="no",
        logging_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    data = Dataset.from_dict({"anchor": texts, "positive": texts})
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=MultipleNegativesRankingLoss(model, scale=SCALE))
    begin = time.perf_counter()
    trainer.train()
    return time.perf_counter() - begin


def by_old_fit(model, texts: list[str], steps: int, precision: str, folder: Path) -> float:
    """Seconds of `SentenceTransformer.old_fit`, which has no bf16: its loss runs under autocast, as in the trainer."""
    from sentence_transformers import InputExample
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from torch.utils.data import DataLoader

    loss = MultipleNegativesRankingLoss(model, scale=SCALE)
    loss.forward = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")(loss.forward)
    loader = DataLoader([InputExample(texts=[text, text]) for text in texts], BATCH, shuffle=True, drop_last=True)
    begin = time.perf_counter()
    model.old_fit(
        [(loader, loss)], steps_per_epoch=steps, scheduler="warmupcosine", warmup_steps=round(0.1 * steps), optimizer_params={"lr": LR},
        save_best_model=False, show_progress_bar=False,
    )  # fmt: skip
    return time.perf_counter() - begin


# --- embedding ---


def embedding(data: DataSet, texts: list[str], pairs: Pairs, folder: Path) -> tuple[Arms, str, str]:
    from sentence_transformers import SentenceTransformer

    run = untrained(data, folder / "start", "simcse")
    texts = in_one_piece(run, texts)
    exported = leaven.export(run, to="sentence-transformers", out=folder / "exported").out
    models = {precision: SentenceTransformer(str(exported), device="cpu") for precision in PRECISIONS}
    models["bf16"].to(torch.bfloat16)
    ours = partial(leaven.embed, run, texts, device="cpu")
    reference = ours()

    def timed(embed: Callable[[], np.ndarray], precision: str) -> Found:
        begin = time.perf_counter()
        vectors = embed()
        spent = time.perf_counter() - begin
        difference = float(np.abs(vectors - reference).max())
        if precision == "fp32" and difference >= 1e-4:
            raise SystemExit(f"the vectors differ by {difference:.1g}")
        return len(texts) / spent, difference

    arms: Arms = {}
    for precision in PRECISIONS:
        arms["leaven", precision] = lambda _, precision=precision: timed(partial(ours, precision=precision), precision)
        for batch in (32, 250):  # its default, and Leaven's
            encoded = partial(models[precision].encode, texts, batch_size=batch, show_progress_bar=False)
            arms[f"sentence-transformers, batch {batch}", precision] = lambda _, encoded=encoded, precision=precision: timed(encoded, precision)
    return arms, "sentences per second", "largest difference from fp32"


# --- word2vec ---


def word_vectors(data: DataSet, texts: list[str], pairs: Pairs, folder: Path) -> tuple[Arms, str, str]:
    from gensim.models.word2vec import FAST_VERSION, Word2Vec

    if FAST_VERSION < 0:
        raise SystemExit("gensim has no compiled loop here, and is not worth measuring")
    settings = {"encoder.width": WIDTH, "window": WINDOW, "negatives": float(NEGATIVES), "subsample": SUBSAMPLE}
    start = untrained(data, folder / "words", "word2vec", **settings)
    encoder = leaven.load(start)
    tokens = encoder.tokenizer.pieces(texts)[0]  # the samples that Leaven learns from
    tokens = tokens[torch.arange(len(tokens))]
    corpus = [[str(word) for word in ids[there].tolist()] for ids, there in zip(tokens.ids, encoder.words(tokens), strict=True)]
    words = EPOCHS * sum(map(len, corpus))

    def ours(precision: str, number: int) -> Found:
        options = {"epochs": EPOCHS, "seed": number, "precision": precision, "settings": settings}
        run, spent = trained(data, folder / f"words-{precision}-{number}", "word2vec", **options)
        return words / spent, pairs.score(partial(leaven.embed, run))

    def theirs(number: int) -> Found:
        model = Word2Vec(
            vector_size=WIDTH, window=WINDOW, negative=NEGATIVES, sample=SUBSAMPLE, sg=1, min_count=1, workers=torch.get_num_threads(), seed=number
        )
        model.build_vocab(corpus)
        begin = time.perf_counter()
        model.train(corpus, total_examples=len(corpus), epochs=EPOCHS)
        spent = time.perf_counter() - begin
        with torch.no_grad():
            encoder.vectors.weight.zero_()
            encoder.vectors.weight[[int(word) for word in model.wv.index_to_key]] = torch.from_numpy(model.wv.vectors)
        return words / spent, pairs.score(lambda each: encode(encoder, Text(Strings.of(each)), torch.arange(len(each))).numpy())

    arms: Arms = {("leaven", precision): partial(ours, precision) for precision in PRECISIONS}
    return {**arms, ("gensim", "fp32"): theirs}, "words per second", "STS-B dev"


PEERS = {"simcse": simcse, "embed": embedding, "word2vec": word_vectors}


def measured(arms: Arms, rounds: int, pace: str) -> dict[tuple[str, str], list[Found]]:
    """The results of every arm in each round; every other round runs the arms in reverse order."""
    found: dict[tuple[str, str], list[Found]] = {arm: [] for arm in arms}
    for number in range(rounds):
        for arm in list(arms)[:: 1 if number % 2 == 0 else -1]:
            found[arm].append(arms[arm](number))
            print(f"round {number + 1}  {' '.join(arm):40} {found[arm][-1][0]:8.0f} {pace}", flush=True)
    return found


def table(found: dict[tuple[str, str], list[Found]], peer: str, pace: str, beside: str) -> None:
    print(f"\n| {peer} | precision | {pace} (median) | Leaven is faster by, in the same precision | {beside} |\n|---|---|---|---|---|")
    for (name, precision), own in found.items():
        ratio = statistics.median(ours / theirs for (ours, _), (theirs, _) in zip(found["leaven", precision], own, strict=True))
        rate, told = (statistics.median(each) for each in zip(*own, strict=True))
        print(f"| {name} | {precision} | {rate:,.0f} | {ratio:.2f}x | {format(told, '.1e' if 'difference' in beside else '.1f')} |")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=os.environ.get("LEAVEN_DATA"))
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--sentences", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.data_root is None:
        parser.error("say with --data-root, or LEAVEN_DATA, where the data lies")
    if unknown := [peer for peer in arguments.peers.split(",") if peer not in PEERS]:
        parser.error(f"no peer is named {unknown[0]!r}: choose of {', '.join(PEERS)}")
    if arguments.sentences < LEAST or arguments.rounds < 1:
        parser.error(f"--sentences takes {LEAST} or more, --rounds 1 or more")
    pairs = Pairs(arguments.data_root)
    every = sentences(arguments.data_root, {plain(text) for text in (*pairs.a, *pairs.b)})
    chosen = np.random.default_rng(0).permutation(len(every))[: arguments.sentences]
    texts = [every[row] for row in chosen]
    lengths = sorted(len(text.split()) for text in texts)
    print(f"{len(texts):,} sentences of {lengths[0]} to {lengths[-1]} words, half of them up to {lengths[len(lengths) // 2]}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    data = open_data(texts)
    for peer in arguments.peers.split(","):
        with tempfile.TemporaryDirectory() as folder:
            arms, pace, beside = PEERS[peer](data, texts, pairs, Path(folder))
            table(measured(arms, arguments.rounds, pace), peer, pace, beside)


if __name__ == "__main__":
    main()
