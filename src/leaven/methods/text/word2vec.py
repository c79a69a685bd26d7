import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders.word_vectors import WordVectors
from leaven.methods import Count, Method, NonNegative, Outputs, Positive, Recipe, Stage
from leaven.modalities.tokenizer import TokenizerChoice

BLOCK = 32  # words whose neighbours are found by one product of matrices


class Word2Vec(Method):
    """A word's vector distinguishes the words around it from random ones (Mikolov et al. 2013, eq. 4): skip-gram and CBOW with negative sampling.

    The score of a pair is v.u - log(negatives), so that v.u is at best the mutual information of the two words (Levy and Goldberg 2014, eq. 11).
    Otherwise all vectors would share a direction that says that most random pairs are not neighbours. Instead of drawing a window's width for each
    word, neighbours are weighted by how often they would be drawn. All words of a batch share their random words, so that there can be many; a
    neighbour never counts as a random word.

    model: "skip_gram" (predict each neighbour from the word) or "cbow" (predict the word from the mean of its neighbours). window: words on each
    side. negatives: random words per neighbour, by weight. shared: how many random words a batch has. subsample: frequency above which words are left
    out at random (0: none are). power: of the frequencies by which random words are drawn.
    """

    paper = "Distributed Representations of Words and Phrases and their Compositionality (Mikolov et al.)"
    year = 2013
    modality = "text"
    wants = "words"
    purpose = "plain"
    tokens = TokenizerChoice(kind="words", vocabulary=30_000)
    recipe = Recipe(lr=3e-2, batch=2048, weight_decay=0.0, warmup=0.02)
    chances: torch.Tensor
    kept: torch.Tensor

    def __init__(
        self,
        encoder: WordVectors,
        *,
        model: Literal["skip_gram", "cbow"] = "skip_gram",
        window: Count = 5,
        negatives: Positive = 5.0,
        shared: Count = 128,
        subsample: NonNegative = 1e-4,
        power: float = 0.75,
    ):
        super().__init__(encoder)
        self.model, self.window, self.negatives, self.shared, self.subsample, self.power = model, window, negatives, shared, subsample, power
        self.shift = math.log(negatives)
        self.outputs = nn.Embedding(encoder.input.vocabulary, encoder.dim)
        nn.init.zeros_(self.outputs.weight)
        self.register_buffer("chances", torch.ones(encoder.input.vocabulary))
        self.register_buffer("kept", torch.ones(encoder.input.vocabulary))

    def stages(self):
        return [Stage(prepare=self.count)]

    @torch.no_grad()
    def count(self, encode):
        """Measure how often each word occurs, which decides on random words, on words that are left out, and on the weight of a word in a text."""
        size = self.encoder.input.vocabulary
        counts = encode(lambda batch: batch["x"].ids[self.encoder.words(batch["x"])].bincount(minlength=size)[None]).sum(0).float()
        share = counts / counts.sum().clamp(min=1)
        self.chances.copy_(share**self.power)
        self.encoder.weigh(share)
        if self.subsample:
            ratio = self.subsample / share.clamp(min=1e-12)
            self.kept.copy_((ratio.sqrt() + ratio).clamp(max=1))  # as the authors' program does

    def views(self, batch, draw):
        """The words of all texts in one row, except those that are left out: their ids and their texts, both (W,)."""
        (x,) = self.augment(batch["x"], draw)
        max_length = self.encoder.input.shape[0]
        left = draw.uniform(len(x), max_length)[:, : x.ids.shape[1]].to(x.ids.device) < self.kept[x.ids]
        text, place = (self.encoder.words(x) & left).nonzero(as_tuple=True)
        edges = (self.chances / self.chances.sum()).cumsum(0)
        # the whole batch shares its random words: every part draws all of them
        random = torch.rand(self.shared, generator=draw.child("random").generator, device=draw.device).to(edges)
        random = torch.searchsorted(edges, random).clamp(max=len(edges) - 1)
        return {"ids": x.ids[text, place], "text": text, "random": random, "none": torch.zeros(len(x), device=x.ids.device)}

    def forward(self, views):
        ids, text, random = views["ids"], views["text"], views["random"]
        words, others = self.encoder.vectors(ids), self.outputs(ids)
        near = self.near(text).to(views["none"])
        weight = near.sum(2)
        if self.model == "cbow":
            words = in_row(near @ self.around(words) / weight[..., None].clamp(min=1e-12), len(ids))
            weight = (in_row(weight, len(ids)) > 0).to(weight)
            nats = weight * softplus(self.shift - (words * others).sum(1))
        else:
            nats = in_row((near * softplus(self.shift - in_blocks(words) @ self.around(others).mT)).sum(2), len(ids))
            weight = in_row(weight, len(ids))
        random_nats = softplus((words @ self.outputs(random).T - self.shift).masked_fill(random == ids[:, None], -torch.inf)).sum(1)
        nats = nats + weight * self.negatives / (random != ids[:, None]).sum(1).clamp(min=1) * random_nats
        return Outputs(nats=views["none"].index_add(0, text, nats), pairs=views["none"].index_add(0, text, weight))

    def near(self, text):
        """(blocks, 32, 32 + 2 window): how often each word of a block has a word of the block, or of those before and after it, as a neighbour, where
        the window's width is drawn from 1 to `window`."""
        place = torch.arange(BLOCK + 2 * self.window, device=text.device)
        distance = (place[self.window : self.window + BLOCK, None] - place).abs()
        weight = ((self.window + 1 - distance) / self.window).clamp(0, 1) * (distance > 0)
        return weight * (in_blocks(text, -1)[..., None] == self.around(text, -2)[:, None])

    def around(self, row, filling=0):
        """(blocks, 32 + 2 window, ...): the words of each block with those before and after it."""
        edge = row.new_full((self.window, *row.shape[1:]), filling)
        return torch.cat([edge, in_blocks(row, filling).flatten(0, 1), edge]).unfold(0, BLOCK + 2 * self.window, BLOCK).movedim(-1, 1)

    def loss(self, outputs):
        return {"negative_sampling": outputs.nats.sum() / outputs.pairs.sum().clamp(min=1e-12)}

    def chance(self, outputs):
        return math.log1p(self.negatives) + self.negatives * math.log1p(1 / self.negatives)


def softplus(logits):
    return F.softplus(logits.to(torch.promote_types(logits.dtype, torch.float32)))


def in_blocks(row, filling=0):
    """(W, ...) words in a row as (blocks, 32, ...), filled up."""
    missing = max(BLOCK, -(-len(row) // BLOCK) * BLOCK) - len(row)
    return torch.cat([row, row.new_full((missing, *row.shape[1:]), filling)]).unflatten(0, (-1, BLOCK))


def in_row(blocks, count):
    """The inverse of `in_blocks`."""
    return blocks.flatten(0, 1)[:count]
