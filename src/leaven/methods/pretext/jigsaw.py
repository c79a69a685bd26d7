import functools
import itertools
import math
from typing import Annotated

import torch
from torch import nn
from torch.nn import functional as F

from leaven.methods import Encoder, Method, Outputs, Range, Recipe, Share
from leaven.modalities import Pixels
from leaven.modules import mlp
from leaven.views.patches import cut_patches, enlarge_patches, enlarged_side, normalize_patch, patch_side

CELLS = 3


class Jigsaw(Method):
    """Predict the order in which the nine tiles of a picture were shuffled, out of a set of orders (Noroozi and Favaro 2016).

    permutations: how many orders there are, chosen to differ in as many places as possible. gap: between neighbouring tiles, as a share of a third of
    the picture (0 to 1). jitter: share of the gap by which tiles move at random (0 to 1). enlarge: side to which tiles are enlarged, as a share of
    the picture's side (0 to 1). normalize_tiles: give each tile the same mean and deviation in every channel; otherwise colours and brightness at the
    borders give the order away. tile_features: numbers per tile that the classifier reads. classifier: widths of the layers on the numbers of all
    tiles.
    """

    paper = "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles (Noroozi and Favaro)"
    year = 2016
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=128, weight_decay=0.05)
    modality = "pixels"
    purpose = "reconstruction"  # without random crops cifar10 is solved in 300 steps, by features worse than an untrained encoder's
    loss_over_batch = False
    orders: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        permutations: Annotated[int, Range("from 2 to 10000", lambda orders: 2 <= orders <= 10_000)] = 64,
        gap: float = 0.15,
        jitter: Share = 1.0,
        enlarge: float = 0.5,
        normalize_tiles: bool = True,
        tile_features: int = 64,
        classifier: tuple[int, ...] = (512,),
    ):
        super().__init__(encoder)
        side = min(encoder.input.shape[1:])
        self.tile, self.shown = patch_side(side, CELLS, gap), enlarged_side(side, enlarge, getattr(encoder, "patch", 1))
        self.jitter, self.normalize_tiles = jitter, normalize_tiles
        self.register_buffer("orders", distant_permutations(CELLS**2, permutations), persistent=False)
        self.reduce = nn.Linear(encoder.dim, tile_features)
        self.classifier = mlp(CELLS**2 * tile_features, *classifier, permutations)

    def views(self, batch, draw):
        (picture,) = self.augment(batch["x"], draw)
        tiles = cut_patches(picture.unit(), draw.child("tiles"), cells=CELLS, patch=self.tile, jitter=self.jitter)
        tiles = enlarge_patches(tiles, self.shown)
        if self.normalize_tiles:
            mean, std = -self.encoder.shift / self.encoder.scale, 1 / self.encoder.scale
            tiles = normalize_patch(tiles, mean, std)
        answer = draw.child("order").integers(len(self.orders), len(batch)).to(self.orders.device)
        sample = torch.arange(len(batch), device=answer.device)
        return {"tiles": [Pixels(tiles[place, sample]) for place in self.orders[answer].T], "answer": answer}

    def forward(self, views):
        tiles = [self.reduce(feature) for feature in self.encode(views["tiles"])]
        return Outputs(logits=self.classifier(torch.cat(tiles, dim=1)), answer=views["answer"])

    def loss(self, outputs):
        return {"order": F.cross_entropy(outputs.logits, outputs.answer)}

    def chance(self, outputs):
        return math.log(len(self.orders))


@functools.cache
def distant_permutations(length, count):
    """(count, length): permutations, each next one as far as possible from the nearest that is there (algorithm 1, with the smallest distance).

    The distance is in how many places two differ; of equal ones the first in lexical order is taken.
    """
    listed = bytearray(itertools.chain.from_iterable(itertools.permutations(range(length))))
    all_orders = torch.frombuffer(listed, dtype=torch.uint8).view(-1, length).T.contiguous()
    nearest = torch.full_like(all_orders[0], length + 1)
    chosen = [0]
    while len(chosen) < min(count, len(nearest)):
        torch.minimum(nearest, (all_orders != all_orders[:, chosen[-1:]]).sum(dim=0, dtype=torch.uint8), out=nearest)
        chosen.append(int(nearest.argmax()))
    return all_orders[:, chosen].T.long().contiguous()
