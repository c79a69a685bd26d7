"""Texts beside other wordings of them, as pairs to learn from."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from leaven.api import options
from leaven.api.write import check_suffix
from leaven.console import Progress, quiet
from leaven.data import DataSet, open_data
from leaven.data.rewriting import Rewriter, Synonyms, checked_texts
from leaven.errors import UserError
from leaven.modalities import modality_of
from leaven.plugin import from_file
from leaven.run import write_whole

HINT = "--by takes a file of synonyms, or file.py:function"


@dataclass(frozen=True)
class Rewritten:
    """out: the file of pairs. pairs: how many. same: texts that came back as they were, or empty, and are left out."""

    out: str
    pairs: int
    same: int

    def to_dict(self) -> dict[str, Any]:
        return {"out": self.out, "pairs": self.pairs, "same": self.same}


@options.documented
def rewrite(
    data: options.Data,
    by: options.RewriterName,
    *,
    out: Annotated[
        Path | str, options.Option("The pairs: a .csv file with the columns anchor and positive. The same command goes on where it stopped.")
    ],
    times: Annotated[int, options.Option("Rewritten versions of each text.", least=1)] = 1,
    batch: Annotated[int, options.Option("Texts that are rewritten at once.", least=1)] = 32,
    share: Annotated[float, options.Option("Share of the words with synonyms that are exchanged.")] = 0.3,
    seed: options.Seed = 0,
    columns: options.Columns = None,
    data_root: options.Root = None,
    progress: Progress = quiet,
) -> Rewritten:
    """Write texts beside other wordings of them, by synonyms or by a model of yours, as pairs to learn from.

    Only texts of the train split are rewritten. In Python `by` may be a function (a translation there and back, a language model; a pipeline of the
    transformers library is one). A file of synonyms has words that may stand for each other on one line. Raises UserError for data without texts, or
    for a rewriter that returns anything else.
    """
    place = Path(out)
    check_suffix(place, ".csv", "pairs are")
    if times < 1 or batch < 1:
        raise UserError("times and batch must be 1 or more")
    samples = open_data(data, root=data_root, columns=columns)
    texts = texts_of(samples)
    rewriter = by if callable(by) else from_file(str(by), HINT) if ".py:" in str(by) else Synonyms.read(existing(Path(by)), share, seed)
    if not callable(rewriter):
        raise UserError("this is not a function", where=by, hint=HINT)
    request = {"data": samples.fingerprint, "by": named(by), "times": times, "batch": batch, "share": share, "seed": seed}
    unfinished, pairs = Path(f"{place}.unfinished.jsonl"), []
    batches = [[texts[row % len(texts)] for row in rows] for rows in np.array_split(np.arange(times * len(texts)), -(-times * len(texts) // batch))]
    done = 0
    for batch_of_texts, others in zip(batches, answers(rewriter, batches, unfinished, request), strict=True):
        pairs += [(text, other) for text, other in zip(batch_of_texts, others, strict=True) if other.strip() and other != text]
        progress("rewritten", done := done + len(batch_of_texts), times * len(texts))
    if not pairs:
        raise UserError("no text came back in other words", where=by if isinstance(by, str | Path) else None, hint="look at what rewrites them")
    write_whole(place, lambda partial: write_pairs(partial, pairs))
    unfinished.unlink(missing_ok=True)
    return Rewritten(str(place), len(pairs), times * len(texts) - len(pairs))


def texts_of(samples: DataSet) -> list[str]:
    value = next(iter(samples.rows.roles.values()))
    if not modality_of(value).tokenized:
        raise UserError(f"only texts can be rewritten, and this data is {value.modality}", where=samples.name)
    return list(dict.fromkeys(value[samples.train()].texts))  # type: ignore[attr-defined]


def existing(path: Path) -> Path:
    if not path.is_file():
        raise UserError("no such file", where=path, hint=HINT)
    return path


def named(by: str | Path | Callable) -> str:
    return str(by) if isinstance(by, str | Path) else getattr(by, "__qualname__", type(by).__qualname__)


def answers(rewriter: Rewriter, batches: list[list[str]], unfinished: Path, request: Mapping[str, Any]) -> Iterator[list[str]]:
    """Other wordings of each batch. They are stored as they come, and stored ones are read back; synonyms, which cost nothing, are drawn again."""
    if isinstance(rewriter, Synonyms):
        yield from map(rewriter, batches)
        return
    if not unfinished.is_file():
        unfinished.write_text(json.dumps(request) + "\n")
    before = earlier(unfinished, request)
    yield from before
    with open(unfinished, "a", encoding="utf-8") as stream:
        for texts in batches[len(before) :]:
            others = checked_texts(rewriter(texts), len(texts))
            print(json.dumps(others), file=stream, flush=True)
            yield others


def earlier(unfinished: Path, request: Mapping[str, Any]) -> list[list[str]]:
    """What the last call rewrote before it ended. Raises UserError where that was another rewriting."""
    whole = [line for line in unfinished.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]  # the last one may be cut off
    lines = [json.loads(line) for line in whole]
    if lines[:1] != [request]:
        raise UserError("another rewriting into this file was not finished", where=unfinished, hint="give another --out, or remove this file")
    unfinished.write_text("".join(whole), encoding="utf-8")
    return lines[1:]


def write_pairs(path: Path, pairs: list[tuple[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["anchor", "positive"])
        writer.writerows(pairs)
