import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.data.batch import Tokens
from leaven.data.tokenizer import TokenizerChoice
from leaven.encoders.word_vectors import WordVectors
from leaven.errors import UserError
from leaven.methods.method import Method, Outputs, Recipe, Stage
from leaven.views import Views

MODELS = ("skip_gram", "cbow")


class Word2Vec(Method):
    """A word's vector tells the words around it from random ones (Mikolov et al. 2013, eq. 4): skip-gram and CBOW with negative sampling.

    Instead of drawing a window's width for each word, its neighbours weigh as much as they are drawn on average. All words of a batch share their
    random ones, which then are many; a neighbour is never taken for a random word.

    model: "skip_gram" (each neighbour is told from the word) or "cbow" (the word is told from the mean of its neighbours). window: words on each
    side. negatives: random words for each neighbour, by weight. shared: how many are drawn for a batch. subsample: frequency above which words are
    left out by chance (0: none are). power: of the frequencies by which random words are drawn.
    """

    paper = "Distributed Representations of Words and Phrases and their Compositionality (Mikolov et al.)"
    year = 2013
    modality = "text"
    wants = "words"
    purpose = "plain"
    tokens = TokenizerChoice(kind="words", vocabulary=30_000)
    recipe = Recipe(lr=3e-3, batch=512, weight_decay=0.0, warmup=0.02)
    chances: torch.Tensor
    kept: torch.Tensor

    def __init__(
        self,
        encoder: WordVectors,
        *,
        model: str = "skip_gram",
        window: int = 5,
        negatives: float = 5.0,
        shared: int = 512,
        subsample: float = 1e-4,
        power: float = 0.75,
        views: Views | None = None,
    ):
        super().__init__(encoder, views)
        if model not in MODELS:
            raise UserError(f"no model is named {model!r}", hint=f"choose {' or '.join(MODELS)}")
        if window < 1 or negatives <= 0 or shared < 1 or subsample < 0:
            raise UserError("window and shared must be 1 or more, negatives above 0, subsample 0 or more")
        self.model, self.window, self.negatives, self.shared, self.subsample, self.power = model, window, negatives, shared, subsample, power
        self.outputs = nn.Embedding(encoder.input.vocabulary, encoder.dim)
        nn.init.zeros_(self.outputs.weight)
        self.register_buffer("chances", torch.ones(encoder.input.vocabulary))
        self.register_buffer("kept", torch.ones(encoder.input.vocabulary))

    def stages(self):
        return [Stage(prepare=self.count)]

    @torch.no_grad()
    def count(self, encode):
        """How often each word comes: by that random words are drawn, and frequent ones left out."""
        size = self.encoder.input.vocabulary
        found = encode(lambda batch: batch["x"].ids[self.encoder.words(batch["x"])].bincount(minlength=size)[None]).sum(0).float()
        share = found / found.sum().clamp(min=1)
        self.chances.copy_(share**self.power)
        if self.subsample:
            ratio = self.subsample / share.clamp(min=1e-12)
            self.kept.copy_((ratio.sqrt() + ratio).clamp(max=1))  # as the authors' program does

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        longest = self.encoder.input.shape[0]
        left = draw.uniform(len(x), longest)[:, : x.ids.shape[1]].to(x.ids.device) < self.kept[x.ids]
        edges = (self.chances / self.chances.sum()).cumsum(0)
        # random words are the batch's: every part draws all of them
        place = torch.rand(self.shared, generator=draw.child("random").generator, device=draw.device).to(edges)
        random = torch.searchsorted(edges, place).clamp(max=len(edges) - 1)
        return {"x": closed_up(Tokens(x.ids, self.encoder.words(x) & left)), "random": random.expand(len(x), -1)}

    def forward(self, views):
        x, random = views["x"], views["random"][0]
        words, others = self.encoder.vectors(x.ids), self.outputs(x.ids)
        near = self.near(x.mask)
        if self.model == "cbow":
            words = near @ words / near.sum(2, keepdim=True).clamp(min=1e-12)
            told = (words * others).sum(2)
            weight = (near.sum(2) > 0).to(told.dtype)
            nats = (weight * softplus(-told)).sum(1)
        else:
            weight = near.sum(2)
            nats = (near * softplus(-(words @ others.transpose(1, 2)))).sum((1, 2))
        odd = softplus(words @ self.outputs(random).T)
        share = self.negatives / (random != x.ids[..., None]).sum(2).clamp(min=1)
        nats = nats + (weight[..., None] * share[..., None] * odd * (random != x.ids[..., None])).sum((1, 2))
        return Outputs(nats=nats, pairs=weight.sum(1))

    def near(self, mask):
        """(batch, longest, longest): how often a word is among the neighbours of another, where the window's width is drawn from 1 to `window`."""
        place = torch.arange(mask.shape[1], device=mask.device)
        distance = (place[:, None] - place).abs()
        weight = ((self.window + 1 - distance) / self.window).clamp(0, 1) * (distance > 0)
        return weight * mask[:, :, None] * mask[:, None, :]

    def loss(self, outputs):
        return {"negative_sampling": outputs.nats.sum() / outputs.pairs.sum().clamp(min=1e-12)}

    def chance(self, outputs):
        return (1 + self.negatives) * math.log(2)


def softplus(logits):
    return F.softplus(logits.to(torch.promote_types(logits.dtype, torch.float32)))


def closed_up(x):
    """Tokens that are left, moved together, so that words stand nearer when those between them are left out."""
    order = (~x.mask).to(torch.int8).argsort(dim=1, stable=True)
    longest = max(1, int(x.mask.sum(1).max()))
    return Tokens(x.ids.gather(1, order)[:, :longest], x.mask.gather(1, order)[:, :longest])
