"""Texts beside other wordings of them, as pairs to learn from."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leaven.api.console import Progress, quiet
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


def rewrite(
    data: Any,
    by: str | Path | Rewriter,
    *,
    out: str | Path,
    times: int = 1,
    batch: int = 32,
    share: float = 0.3,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    data_root: str | Path | None = None,
    progress: Progress = quiet,
) -> Rewritten:
    """Write each text of the training part beside another wording of it, as the columns anchor and positive of a .csv that `pretrain` learns from.

    by: what rewrites: a file of synonyms (words that may stand for each other on a line), a function that takes a list of texts and gives as many (a
    translation there and back, a language model; a pipeline of the transformers library is one), or file.py:function. times: wordings of each text.
    batch: texts that it is given at once. share, seed: of the known words that are exchanged for synonyms, and of that draw.

    What is rewritten is kept beside `out` until all is done: the same call goes on where it stopped. Raises UserError for data without texts, or a
    rewriter that gives anything else.
    """
    place = Path(out)
    if place.suffix.lower() != ".csv":
        raise UserError("pairs are written as .csv", where=place, hint="end --out with .csv")
    if times < 1 or batch < 1:
        raise UserError("times and batch must be 1 or more")
    samples = open_data(data, root=data_root, columns=columns)
    texts = texts_of(samples)
    rewriter = by if callable(by) else from_file(str(by), HINT) if ".py:" in str(by) else Synonyms.read(existing(Path(by)), share, seed)
    if not callable(rewriter):
        raise UserError("this is no function", where=by, hint=HINT)
    asked = {"data": samples.fingerprint, "by": named(by), "times": times, "batch": batch, "share": share, "seed": seed}
    kept, found = Path(f"{place}.unfinished.jsonl"), []
    batches = [[texts[row % len(texts)] for row in rows] for rows in np.array_split(np.arange(times * len(texts)), -(-times * len(texts) // batch))]
    done = 0
    for some, again in zip(batches, answers(rewriter, batches, kept, asked), strict=True):
        found += [(text, other) for text, other in zip(some, again, strict=True) if other.strip() and other != text]
        progress("rewritten", done := done + len(some), times * len(texts))
    if not found:
        raise UserError("no text came back in other words", where=by if isinstance(by, str | Path) else None, hint="look at what rewrites them")
    write_whole(place, lambda partial: write_pairs(partial, found))
    kept.unlink(missing_ok=True)
    return Rewritten(str(place), len(found), times * len(texts) - len(found))


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


def answers(rewriter: Rewriter, batches: list[list[str]], kept: Path, asked: Mapping[str, Any]) -> Iterator[list[str]]:
    """Other wordings of each batch. They are kept as they come, and those that were kept are not asked for again; synonyms, which cost nothing, are
    all drawn again."""
    if isinstance(rewriter, Synonyms):
        yield from map(rewriter, batches)
        return
    if not kept.is_file():
        kept.write_text(json.dumps(asked) + "\n")
    before = earlier(kept, asked)
    yield from before
    with open(kept, "a", encoding="utf-8") as stream:
        for some in batches[len(before) :]:
            again = checked_texts(rewriter(some), len(some))
            print(json.dumps(again), file=stream, flush=True)
            yield again


def earlier(kept: Path, asked: Mapping[str, Any]) -> list[list[str]]:
    """What was rewritten before the last call ended. Raises UserError where that was another rewriting."""
    whole = [line for line in kept.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]  # the last one may be cut off
    lines = [json.loads(line) for line in whole]
    if lines[:1] != [asked]:
        raise UserError("another rewriting into this file was not finished", where=kept, hint="give another --out, or remove this file")
    kept.write_text("".join(whole), encoding="utf-8")
    return lines[1:]


def write_pairs(path: Path, pairs: list[tuple[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["anchor", "positive"])
        writer.writerows(pairs)
