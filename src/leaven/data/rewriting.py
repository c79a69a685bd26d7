"""Other wordings of texts: by synonyms, or by whatever rewrites them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leaven.data.sources.text_files import encodes, lines_of
from leaven.errors import UserError

WORD = re.compile(r"\w+(?:['’]\w+)*")  # noqa: RUF001
KEYS = ("translation_text", "generated_text", "summary_text", "text")  # of what pipelines of the transformers library give

Rewriter = Callable[[list[str]], Sequence[Any]]


class Synonyms:
    """Words exchanged for synonyms by chance (Wei and Zou 2019, "synonym replacement"): at least one, where a text has any that are known.

    synonyms: word -> others, without case. share: which of the known words are exchanged, above 0 and at most 1.
    """

    def __init__(self, synonyms: Mapping[str, Sequence[str]], share: float = 0.3, seed: int = 0):
        if not 0 < share <= 1:
            raise UserError(f"share must be above 0 and at most 1, not {share}")
        self.synonyms = {word.lower(): tuple(others) for word, others in synonyms.items() if others}
        self.share, self.draw = share, np.random.default_rng(seed)

    @classmethod
    def read(cls, path: Path, share: float = 0.3, seed: int = 0) -> Synonyms:
        """From a file: each line holds words that may stand for each other, with tabs or commas between them. A line that begins with # is a comment.
        Only single words are exchanged; a synonym may be several words."""
        synonyms: dict[str, list[str]] = {}
        for line in lines_of(path)[0]:
            words = [word.strip() for word in re.split(r"[\t,]", line) if word.strip()]
            if not line.startswith("#"):
                for word in words:
                    synonyms.setdefault(word.lower(), []).extend(other for other in words if other != word)
        if not any(synonyms.values()):
            raise UserError(
                "no line of this file holds two words", where=path, hint="give words of the same meaning on one line, as in: car, automobile"
            )
        return cls(synonyms, share, seed)

    def __call__(self, texts: list[str]) -> list[str]:
        return [self.rewritten(text) for text in texts]

    def rewritten(self, text: str) -> str:
        known = [word for word in WORD.finditer(text) if word[0].lower() in self.synonyms]
        if not known:
            return text
        chosen = {word.start() for word, chance in zip(known, self.draw.random(len(known)), strict=True) if chance < self.share}
        chosen = chosen or {known[self.draw.integers(len(known))].start()}

        def exchanged(word: re.Match) -> str:
            if word.start() not in chosen:
                return word[0]
            others = self.synonyms[word[0].lower()]
            replacement = others[self.draw.integers(len(others))]
            return replacement.capitalize() if word[0][0].isupper() else replacement

        return WORD.sub(exchanged, text)


def checked_texts(answers: Sequence[Any], expected: int) -> list[str]:
    """The texts that a rewriter gave back, plain or as pipelines give them. Raises UserError for anything but the expected number of texts."""
    if isinstance(answers, str) or not isinstance(answers, Sequence) or len(answers) != expected:
        count = f"{len(answers)}" if isinstance(answers, Sequence) and not isinstance(answers, str) else type(answers).__name__
        raise UserError(f"the rewriter was given a list of {expected} texts and gave {count} back", hint="it takes a list of texts and gives as many")
    texts = [text_of(answer) for answer in answers]
    if any(text is None for text in texts):
        wrong = next(answer for answer, text in zip(answers, texts, strict=True) if text is None)
        raise UserError(f"the rewriter gave {type(wrong).__name__} for a text", hint="it takes a list of texts and gives as many")
    return [text for text in texts if text is not None]


def text_of(answer: Any) -> str | None:
    while isinstance(answer, list) and answer:
        answer = answer[0]
    if isinstance(answer, Mapping):
        answer = next((answer[key] for key in KEYS if key in answer), None)
    return answer if isinstance(answer, str) and encodes(answer) else None
