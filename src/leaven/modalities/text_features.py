"""Features of texts that need no training of a network: tf-idf, and the mean of word vectors; floors for encoders of text."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

WORDS = r"\S+"  # any run without a blank
WINDOW, SMOOTHING = 5, 0.75
MOST = 30_000


def sparse_tf_idf(texts: Iterable[str], analyzer: str, most: int | None = None) -> Callable[[Iterable[str]], Any]:
    """What gives texts their sparse (texts, words) tf-idf at unit length, with the inverse document frequencies of these texts.

    analyzer: "word", or "char_wb" for runs of two to four characters within words. most: only so many, which are in the most texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    runs = {"ngram_range": (2, 4)} if analyzer == "char_wb" else {"token_pattern": WORDS}
    vectorizer = TfidfVectorizer(analyzer=analyzer, max_features=most, sublinear_tf=True, **runs)
    return vectorizer.fit(texts).transform


def mean_of_words(texts: Iterable[str], size: int, seed: int) -> Callable[[Iterable[str]], Float[np.ndarray, "texts size"]]:
    """What gives texts the mean of their words' vectors; zeros where no word is known.

    Vectors are the largest `size` singular directions of positive pointwise mutual information between a word and those at most five places away in
    these texts, contexts smoothed by the power 0.75 (Levy, Goldberg and Dagan 2015, of which word2vec is a cousin: Levy and Goldberg 2014). The most
    frequent 30,000 words have one.
    """
    from scipy.sparse import coo_matrix
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import CountVectorizer

    words = CountVectorizer(max_features=MOST, token_pattern=WORDS)
    listed = list(texts)
    words.fit(listed)
    number, split = words.vocabulary_, words.build_analyzer()
    rows = [np.array([number[word] for word in split(text) if word in number], np.int64) for text in listed]
    gap = np.full(WINDOW, -1)
    row = np.concatenate([part for words_of_text in rows for part in (words_of_text, gap)])
    near = [(row[:-step], row[step:]) for step in range(1, WINDOW + 1)]
    left, right = (np.concatenate(side) for side in zip(*near, strict=True))
    within = (left >= 0) & (right >= 0)
    left, right = left[within], right[within]
    ones = np.ones(2 * len(left))
    together = coo_matrix((ones, (np.concatenate([left, right]), np.concatenate([right, left]))), shape=(len(number),) * 2).tocsr().tocoo()
    frequency, context = np.asarray(together.sum(1)).ravel(), np.asarray(together.sum(0)).ravel() ** SMOOTHING
    information = np.log(together.data * context.sum() / (frequency[together.row] * context[together.col]))
    together.data = information.clip(0)
    directions = TruncatedSVD(max(1, min(size, len(number) - 1)), random_state=seed)
    vectors = directions.fit_transform(together.tocsr()) / np.sqrt(directions.singular_values_.clip(1e-12))

    def averaged(some: Iterable[str]) -> Float[np.ndarray, "texts size"]:
        counts = words.transform(some)
        return counts @ vectors / np.asarray(counts.sum(axis=1)).clip(1)

    return averaged
