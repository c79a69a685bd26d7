import numpy as np
import torch
from scipy.sparse import csr_matrix, diags, vstack

from leaven.encoders.word_vectors import WordVectors
from leaven.errors import UserError
from leaven.methods import Count, Method, NonNegative, Recipe, Share, Stage
from leaven.modalities.cooccurrence import directions, information, neighbours, spellings
from leaven.modalities.tokenizer import TokenizerChoice


class PpmiSvd(Method):
    """A word is known by the words around it: the largest directions of their positive mutual information (Levy et al. 2015, section 3).

    Nothing is trained: all is computed at once, in seconds. The paper's vectors know a word by its company alone. A part of each vector here is made
    of its runs of characters instead, by latent semantic analysis of the texts, so that words of one stem are alike, however rare. Both parts are
    centred, and weigh the same in a text. Vectors of company are divided by the square root of their length: whole lengths suit labels better, and
    unit lengths cosines.

    window: words on each side that are company, the farther the less. smoothing: power of the frequencies of contexts. power: of the singular values
    that scale the directions. spelling: share of the vector that is made of runs of characters (0: none).
    """

    paper = "Improving Distributional Similarity with Lessons Learned from Word Embeddings (Levy et al.)"
    year = 2015
    modality = "text"
    wants = "words"
    purpose = ""
    tokens = TokenizerChoice(kind="words", vocabulary=30_000)
    recipe = Recipe(steps=0)
    encoder: WordVectors

    def __init__(self, encoder: WordVectors, *, window: Count = 5, smoothing: Share = 0.75, power: NonNegative = 0.5, spelling: Share = 0.5):
        super().__init__(encoder)
        self.window, self.smoothing, self.power, self.spelling = window, smoothing, power, spelling

    def stages(self):
        return [Stage("computed", prepare=self.compute)]

    @torch.no_grad()
    def compute(self, encode):
        """Lay down the vectors of all words and their weights in a text."""
        together, counts = self.count(encode)
        total, seed = np.asarray(counts.sum(0)).ravel(), int(torch.randint(2**31, ()))
        share = torch.from_numpy(total / max(1.0, total.sum()))
        self.encoder.weigh(share.to(self.encoder.weights))
        words = np.flatnonzero(total)
        if len(words) < 2:
            raise UserError("there are fewer than two words to learn from", hint="give more text, or texts of words between blanks")
        together, counts = together[words][:, words], counts[:, words]
        weights = counts @ diags(self.encoder.weights[words].double().cpu().numpy())
        width = self.encoder.dim
        spelled = round(self.spelling * width)
        vectors = np.zeros((len(words), width))
        if spelled < width:
            company = directions(information(together, self.smoothing), width - spelled, self.power, seed)
            company /= np.linalg.norm(company, axis=1, keepdims=True).clip(1e-12) ** 0.5
            vectors[:, : company.shape[1]] = evened(company, weights)
        if spelled:
            written = [self.encoder.tokenizer.inner.id_to_token(word) for word in words.tolist()]
            spelling = spellings(written, counts, spelled, seed)
            vectors[:, width - spelled :][:, : spelling.shape[1]] = evened(spelling, weights)
        self.encoder.vectors.weight.zero_()
        self.encoder.vectors.weight[words] = torch.from_numpy(vectors).to(self.encoder.vectors.weight)

    def count(self, encode):
        """Two sparse matrices: (words, words) how near each word stands to each other one, (texts, words) how often a text has a word."""
        size = self.encoder.input.vocabulary
        together, parts = csr_matrix((size, size)), []

        def count_batch(batch):
            nonlocal together
            read = batch["x"]
            text, place = (part.cpu().numpy() for part in self.encoder.words(read).nonzero(as_tuple=True))
            ids = read.ids.cpu().numpy()[text, place]
            row = np.full(len(ids) + self.window * len(read), -1)
            row[np.arange(len(ids)) + self.window * text] = ids
            together = together + neighbours(row, size, self.window, falling=True)
            parts.append(csr_matrix((np.ones(len(ids)), (text, ids)), shape=(len(read), size)))
            return torch.zeros(1)

        encode(count_batch)
        return together, vstack(parts).tocsr()


def evened(vectors, weights):
    """(words, dim) vectors shifted and scaled so that texts lie around 0, at a distance of 1 in the mean square. weights: (texts, words)."""
    texts = weights @ vectors / np.asarray(weights.sum(1)).clip(1e-12)
    center = texts.mean(0)
    distance = np.sqrt(np.square(texts - center).sum(1).mean())
    return (vectors - center) / max(distance, 1e-12)
