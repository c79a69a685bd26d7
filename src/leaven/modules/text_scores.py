"""How well texts that were written match those that were wanted: BLEU, ROUGE-L, and the F1 of slots."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from leaven.errors import UserError
from leaven.modules.slots import slots_of

ORDERS = 4  # words of the longest runs that BLEU compares


def bleu_counts(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Float[np.ndarray, "texts numbers"]:
    """What BLEU sums over a corpus, for each text: of runs of one to four words, how many stand in a reference as well and how many there are; the
    lengths of the text and of the closest reference. By sacrebleu (Post 2018), with its usual cutting into words.

    references: one or more for each text.
    """
    if len(texts) != len(references) or not all(references):
        raise ValueError(f"{len(texts)} texts need as many lists of references, none of them empty; there are {len(references)}")
    scorer = sacrebleu()
    scores = [scorer.sentence_score(text, list(some)) for text, some in zip(texts, references, strict=True)]
    return np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores], np.float64).reshape(-1, 2 * ORDERS + 2)


def bleu_of(counts: Float[np.ndarray, " numbers"], smooth: bool = False) -> float:
    """BLEU (0-1) from the sum of `bleu_counts` (Papineni et al. 2002). smooth: halves stand for runs without a match, for single texts."""
    correct, total, (length, wanted) = counts[:ORDERS], counts[ORDERS : 2 * ORDERS], counts[2 * ORDERS :]
    if not correct[0] or not length:
        return 0.0
    used = total > 0
    if smooth:
        correct = np.where(used & (correct == 0), 0.5, correct)
    elif not correct[used].all() or not used.all():
        return 0.0
    precision = np.exp(np.log(correct[used] / total[used]).mean())
    return float(precision * np.exp(min(0.0, 1 - wanted / length)))


def sacrebleu() -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise UserError("BLEU needs sacrebleu, which is not installed", hint="pip install 'leaven[text]'") from error
    return BLEU(effective_order=True)


def rouge_l(text: str, references: Collection[str]) -> float:
    """The largest F1 of the longest common subsequence of words with one of the references (Lin 2004, section 3.1), without case."""
    words = text.lower().split()
    return max(lcs_f1(words, reference.lower().split()) for reference in references)


def lcs_f1(first: Sequence[str], second: Sequence[str]) -> float:
    if not first or not second:
        return 0.0
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, 1):
            diagonal, row[place] = row[place], diagonal + 1 if word == other else max(row[place], row[place - 1])
    return 2 * row[-1] / (len(first) + len(second))


def slot_counts(text: str, references: Collection[str]) -> tuple[int, int, int]:
    """How many slots with their values are right, how many were written and how many were wanted, by the reference with the best F1."""
    written = slots_of(text)
    return max(((len(written & wanted), len(written), len(wanted)) for wanted in map(slots_of, references)), key=f1)


def f1(counts: Sequence[float]) -> float:
    """From the numbers of right, written and wanted ones, or their sums (micro)."""
    right, written, wanted = counts
    return 2 * right / (written + wanted) if written + wanted else 0.0
