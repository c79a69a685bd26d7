import math

from leaven.losses import matched
from leaven.methods import Positive, Recipe, Width
from leaven.methods.towers import Towers, belonging


class CLIP(Towers):
    """Each input of a sample identifies the other one, among those of all samples of the batch (Radford et al. 2021, figure 3).

    Captions of one picture, and pictures of one caption, are equally right. A locked input makes it LiT (Zhai et al. 2022).

    dim: length of the vectors that are compared. scale: the inverse of the softmax's temperature at the start (above 0); it is learned, and stays
    between 1 and 100. locked: the inputs whose encoders do not learn, as in image or image,text; empty where
    both do.
    """

    paper = "Learning Transferable Visual Models From Natural Language Supervision (Radford et al.)"
    year = 2021
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)

    def __init__(self, encoders, *, dim: Width = 128, scale: Positive = 1 / 0.07, locked: str = ""):
        super().__init__(encoders, dim, scale, locked)

    def loss(self, outputs):
        first, second = outputs.embeddings
        return {"matched": matched(self.log_scale.exp() * first @ second.T, belonging(outputs.same))}

    def chance(self, outputs):
        return math.log(len(outputs.embeddings[0]))
