"""Vectors of words from which words stand near each other and which letters they share; singular directions, so that nothing is trained."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64
from scipy.sparse import coo_matrix, csr_matrix, diags

RUNS = (2, 4)  # characters
MOST_RUNS, MOST_TEXTS = 20_000, 20_000  # of whose directions not more would be learned


def neighbours(row: Int64[np.ndarray, " places"], vocabulary: int, window: int, *, falling: bool = False) -> csr_matrix:
    """(vocabulary, vocabulary) how often two words are at most `window` places apart in a row of words, in which -1 parts texts.

    falling: farther words count less, as often as a width drawn from 1 to `window` would reach them.
    """
    together = csr_matrix((vocabulary, vocabulary))
    for step in range(1, window + 1):
        left, right = row[:-step], row[step:]
        within = (left >= 0) & (right >= 0)
        left, right = left[within], right[within]
        weight = np.full(2 * len(left), (window + 1 - step) / window if falling else 1.0)
        places = np.concatenate([left, right]), np.concatenate([right, left])
        together = together + coo_matrix((weight, places), shape=together.shape).tocsr()
    return together


def information(together: csr_matrix, smoothing: float) -> csr_matrix:
    """Positive pointwise mutual information of words and contexts, contexts smoothed by a power (Levy, Goldberg and Dagan 2015, eq. 3)."""
    entries = together.tocoo()
    frequency, context = np.asarray(entries.sum(1)).ravel(), np.asarray(entries.sum(0)).ravel() ** smoothing
    entries.data = np.log(entries.data * context.sum() / (frequency[entries.row] * context[entries.col])).clip(0)
    return entries.tocsr()


def directions(matrix: csr_matrix, size: int, power: float, seed: int) -> Float[np.ndarray, "rows size"]:
    """The rows in the largest singular directions, times a power of the singular values; fewer than `size` where the matrix is smaller."""
    from sklearn.decomposition import TruncatedSVD

    found = TruncatedSVD(max(1, min(size, min(matrix.shape) - 1)), random_state=seed)
    return found.fit_transform(matrix) * found.singular_values_.clip(1e-12) ** (power - 1)


def spellings(words: Sequence[str], counts: csr_matrix, size: int, seed: int) -> Float[np.ndarray, "words size"]:
    """What runs of two to four characters say of each word: their latent semantic analysis (Deerwester et al. 1990), by tf-idf in texts.

    counts: (texts, words). A text's runs are those of its words.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    if not any(words):
        return np.zeros((len(words), 1))
    runs = CountVectorizer(analyzer="char_wb", ngram_range=RUNS).fit_transform(words).astype(np.float64)
    frequent = np.argsort(-np.asarray(counts.sum(0) @ runs).ravel(), kind="stable")[:MOST_RUNS]
    runs = runs[:, np.sort(frequent)]
    tf_idf = TfidfTransformer()
    texts = tf_idf.fit_transform(counts[:: -(-counts.shape[0] // MOST_TEXTS)] @ runs)
    found = TruncatedSVD(max(1, min(size, min(texts.shape) - 1)), random_state=seed).fit(texts)
    return runs @ diags(tf_idf.idf_) @ found.components_.T
