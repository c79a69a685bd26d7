"""Text: as it was written, and in tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from leaven.errors import UserError
from leaven.modalities.cooccurrence import directions, information, neighbours
from leaven.modalities.floor import INPUT, FloorName
from leaven.modalities.modality import DefaultEncoder, Floor, Modality, PublicModel
from leaven.modalities.picture_formats import extensions, is_picture_file
from leaven.modalities.sound_files import is_sound_file
from leaven.modalities.spec import InputSpec
from leaven.modalities.value import LazyTensor, Value

if TYPE_CHECKING:
    import pyarrow as pa

MOST_WORDS = 5000  # as raw features; all of a large vocabulary would take gigabytes
HASHED = 1024  # words, as features of order
MOST_VECTORS = 30_000  # the most frequent words have a vector
WORD, ANY = r"\w+", r"\S+"  # ANY where no text has a WORD
WINDOW, SMOOTHING = 5, 0.75  # of the contexts of words
LONGEST_SHOWN = 300  # characters of a text on a page
CHARACTERS = FloorName("characters", "tf-idf of characters", "tf-idf of characters")
WORDS = FloorName("words", "mean of word vectors", "the mean of word vectors")


class Strings(LazyTensor):
    """(N,) texts in one piece of memory."""

    dtype = torch.uint8

    def __init__(self, array: pa.LargeStringArray):
        self.array, self.shape = array, torch.Size([len(array)])

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        import pyarrow as pa

        return cls(pa.array(texts, pa.large_string()))

    def __getitem__(self, index: Tensor | slice) -> Strings:  # type: ignore[override]
        index = torch.arange(len(self))[index] if isinstance(index, slice) else index
        return self.take(index.cpu().numpy())

    def take(self, index: np.ndarray) -> Strings:
        return Strings(self.array.take(np.flatnonzero(index) if index.dtype == bool else index))

    def cat(self, parts: Sequence[Strings]) -> Strings:
        import pyarrow as pa

        return Strings(pa.concat_arrays([part.array for part in parts]))

    def tolist(self) -> list[str]:
        return self.array.to_pylist()

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    @property
    def nbytes(self) -> int:
        return self.array.nbytes


@dataclass(frozen=True, eq=False)
class Text(Value):
    """Text as it was written: (B,) `Strings`."""

    modality = "text"
    texts: Any

    @classmethod
    def cat(cls, values: Sequence[Any]) -> Text:
        return cls(values[0].texts.cat([value.texts for value in values]))


@dataclass(frozen=True, eq=False)
class Tokens(Value):
    """Text in tokens: ids (B, T) int64; mask (B, T) bool, true where there is a token."""

    modality = "text"
    ids: Tensor  # or a LazyTensor, until samples are selected
    mask: Tensor

    def keys(self) -> Tensor:
        """(B,) int64: the same for the same tokens, and hardly ever for others."""
        powers = torch.full((self.ids.shape[1],), 0x5851F42D4C957F2D, device=self.ids.device).cumprod(0)  # modulo 2^64
        return ((self.ids + 1) * self.mask * powers).sum(1)


class TextModality(Modality):
    """Texts of any length."""

    name, noun, plural, values = "text", "text", "texts", (Text, Tokens)
    role_names = ("text", "caption", "sentence")
    encoders = (
        DefaultEncoder("word_vectors", "the method learns vectors of words", "words"),
        DefaultEncoder("causal_transformer", "the method predicts what comes next", "causal_tokens"),
        DefaultEncoder("transformer", "a small transformer for text"),
    )
    library, tokenized = "transformers", True
    public_models = (PublicModel("hf:sentence-transformers/all-MiniLM-L6-v2"),)
    method = ("ppmi_svd", "vectors of words take seconds, and a transformer from fresh weights gave no more in our measurements")
    encoder_method = ("simcse", "made for finding texts that say the same")
    pair_method = ("supervised_simcse", "made for pairs of texts that say the same")
    views = {"contrast": {"kind": "text"}, "plain": {"kind": "text", "count": 1, "drop": 0}}
    export_name, export_format = "ids", "int64, (batch, length), of tokens; padding as the tokeniser has it"

    def spec(self, value: Any, train: Tensor) -> InputSpec:
        if isinstance(value, Text):
            return InputSpec(self.name, ())
        return InputSpec(self.name, tuple(value.ids.shape[1:]), vocabulary=int(value.ids[:].max()) + 1)

    def sample_bytes(self, value: Any) -> Iterable[tuple[bytes, ...]]:
        return ((text.encode(),) for text in value.texts) if isinstance(value, Text) else super().sample_bytes(value)

    def summary(self, value: Any) -> dict[str, Any]:
        """{min, median, max} of the characters and the words of a sample."""
        texts = value.texts.tolist()
        return {"characters": extent(map(len, texts)), "words": extent(len(text.split()) for text in texts)}

    def title(self, count: int, described: dict[str, Any]) -> str:
        words, texts = described["words"], self.noun if count == 1 else self.plural
        return f"{count:,} {texts}, {words['min']:,} to {words['max']:,} words, median {words['median']:,}"

    def difference(self, spec: InputSpec, wanted: InputSpec) -> str:
        """Texts of any length are read."""
        return ""

    def untokenized(self, value: Value, tokenizer: Any) -> Value:
        return Text(Strings.of(tokenizer.decode(value))) if isinstance(value, Tokens) else value

    def statistics(self, spec: InputSpec) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, 1), torch.ones(1, 1)

    def raw_features(self, value: Any, train: Tensor, analyzer: str = "word") -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """tf-idf of the words (or of runs of characters) that occur in most training texts, at most 5,000."""
        transform = sparse_tf_idf(value[train].texts, analyzer, MOST_WORDS)
        return lambda some: torch.from_numpy(transform(some.texts).toarray()).float()  # type: ignore[attr-defined]

    def order_features(self, value: Any) -> Callable[[Value], Float[Tensor, "samples dim"]]:
        """Hashed words, of which a vocabulary need not exist; of tokens, how often each number occurs."""
        from sklearn.feature_extraction.text import HashingVectorizer

        words = HashingVectorizer(n_features=HASHED, token_pattern=WORD)

        def features(some: Any) -> Tensor:
            if isinstance(some, Tokens):
                return torch.zeros(len(some), HASHED).scatter_add_(1, some.ids % HASHED, some.mask.float())
            return torch.from_numpy(words.transform(some.texts).toarray()).float()

        return features

    def floors(self, value: Any, train: Tensor, dim: int, seed: int) -> dict[str, Floor]:
        return {
            **super().floors(value, train, dim, seed),
            CHARACTERS.name: Floor(CHARACTERS.phrase, lambda: self.raw_features(value, train, "char_wb")),
            WORDS.name: Floor(WORDS.phrase, lambda: word_vectors(value[train].texts, dim, seed)),
        }

    def pair_floors(self, values: tuple[Any, Any], train: Tensor, dim: int, seed: int) -> dict[str, Floor]:
        known = [text for value in values for text in value[train].texts]

        def tf_idf(analyzer: str) -> Callable[[Any], Any]:
            transform = sparse_tf_idf(known, analyzer)
            return lambda some: transform(some.texts)

        return {
            INPUT.name: Floor("tf-idf of words", lambda: tf_idf("word")),
            CHARACTERS.name: Floor(CHARACTERS.phrase, lambda: tf_idf("char_wb")),
            WORDS.name: Floor(WORDS.phrase, lambda: word_vectors(known, dim, seed)),
        }

    def lines(self, value: Any, tokenizer: Any = None) -> list[str] | None:
        if isinstance(value, Text):
            return [shortened(text) for text in value.texts]
        return None if tokenizer is None else [shortened(text) for text in tokenizer.decode(value)]

    def written(self, sample: Any) -> str | None:
        return sample.texts.tolist()[0] if isinstance(sample, Text) else None

    def in_memory(self, source: Any) -> Any:
        """A list of texts is read as texts, even where they look like names of picture files."""
        texts = isinstance(source, list | tuple) and len(source) > 0 and all(isinstance(item, str) for item in source)
        return Text(Strings.of(source)) if texts and all(Path(text).suffix.lower() in extensions() for text in source) else source

    def recognizes(self, query: Any) -> bool:
        return isinstance(query, str) and not is_picture_file(query) and not is_sound_file(query)

    def query(self, query: Any, spec: InputSpec) -> tuple[str, Value]:
        if not isinstance(query, str):
            raise UserError(f"a {type(query).__name__} is no query for texts", hint="give a text, or a row such as #17")
        if not query.strip():
            raise UserError("the query is empty", hint="give a text, or a row such as #17")
        return query, Text(Strings.of([query]))

    def example(self, spec: InputSpec, count: int, generator: torch.Generator) -> Tensor:
        """Ids of texts of different lengths."""
        length, special = spec.shape[0], spec.special
        ids = torch.randint(spec.vocabulary or 1, (count, length), generator=generator)
        for name, place in (("begin", 0), ("end", -1)):
            ids[:, place] = special.get(name, ids[0, place].item())
        ids[ids == special.get("pad", -1)] = special.get("unknown", 1)
        shorter = torch.randint(3, length + 1, (count, 1), generator=generator)
        return torch.where(torch.arange(length) < shorter, ids, special.get("pad", 0))

    def dynamic_length(self, spec: InputSpec) -> int | None:
        return spec.shape[0]


def as_written(value: Any) -> TypeGuard[Text]:
    """Whether texts are still as they were written, and not in tokens."""
    return isinstance(value, Text)


def word_vectors(known: Iterable[str], dim: int, seed: int) -> Callable[[Any], Tensor]:
    """What gives texts the mean of their words' vectors, learned from known texts."""
    mean = mean_of_words(known, dim, seed)
    return lambda some: torch.from_numpy(mean(some.texts)).float()


def extent(lengths: Iterable[int]) -> dict[str, int]:
    ordered = sorted(lengths)
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1]}


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def sparse_tf_idf(texts: Iterable[str], analyzer: str, most: int | None = None) -> Callable[[Iterable[str]], Any]:
    """What gives texts their sparse (texts, words) tf-idf at unit length, with the inverse document frequencies of these texts.

    analyzer: "word", or "char_wb" for runs of two to four characters within words. most: only so many, which are in the most texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    listed = list(texts)
    runs = {"ngram_range": (2, 4)} if analyzer == "char_wb" else {"token_pattern": pattern_of(listed)}
    vectorizer = TfidfVectorizer(analyzer=analyzer, max_features=most, sublinear_tf=True, **runs)
    return vectorizer.fit(listed).transform


def pattern_of(texts: Iterable[str]) -> str:
    """By which these texts are cut into words."""
    return WORD if any(re.search(WORD, text) for text in texts) else ANY


def mean_of_words(texts: Iterable[str], size: int, seed: int) -> Callable[[Iterable[str]], Float[np.ndarray, "texts size"]]:
    """What gives texts the mean of their words' vectors; zeros where no word is known.

    Vectors are the largest `size` singular directions of positive pointwise mutual information between a word and those at most five places away in
    these texts, contexts smoothed by the power 0.75 (Levy, Goldberg and Dagan 2015, of which word2vec is a cousin: Levy and Goldberg 2014).
    """
    from sklearn.feature_extraction.text import CountVectorizer

    listed = list(texts)
    words = CountVectorizer(max_features=MOST_VECTORS, token_pattern=pattern_of(listed)).fit(listed)
    number, split = words.vocabulary_, words.build_analyzer()
    gap = np.full(WINDOW, -1)
    row = np.concatenate([part for text in listed for part in (np.array([number[word] for word in split(text) if word in number], np.int64), gap)])
    vectors = directions(information(neighbours(row, len(number), WINDOW), SMOOTHING), size, 0.5, seed)

    def averaged(some: Iterable[str]) -> Float[np.ndarray, "texts size"]:
        counts = words.transform(some)
        return counts @ vectors / np.asarray(counts.sum(axis=1)).clip(1)

    return averaged
