import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.methods import Positive, Recipe, Width
from leaven.methods.towers import Towers, belonging


class SigLIP(Towers):
    """Of each two inputs in the batch, tell whether they belong to one sample (Zhai et al. 2023, section 3.2): no sample is compared with all others
    at once, so that small batches suit it.

    Captions of one picture, and pictures of one caption, belong together.

    dim: length of the vectors that are compared. scale: what their products are multiplied by at the start (above 0); it is learned, and stays
    between 1 and 100. bias: what is added to that at the start; it is learned as well. locked: the inputs whose encoders do not
    learn, as in image or image,text; empty where both do.
    """

    paper = "Sigmoid Loss for Language Image Pre-Training (Zhai et al.)"
    year = 2023
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)

    def __init__(self, encoders, *, dim: Width = 128, scale: Positive = 10.0, bias: float = -10.0, locked: str = ""):
        super().__init__(encoders, dim, scale, locked)
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def loss(self, outputs):
        first, second = outputs.embeddings
        logits = self.log_scale.exp() * first @ second.T + self.bias
        sign = 2.0 * belonging(outputs.same) - 1
        return {"sigmoid": -F.logsigmoid(sign * logits).sum() / len(first)}

    def chance(self, outputs):
        """Of the best constant answer."""
        pairs, right = len(outputs.embeddings[0]) ** 2, belonging(outputs.same).sum().item()
        share = right / pairs
        return len(outputs.embeddings[0]) * -(share * math.log(share) + ((1 - share) * math.log1p(-share) if share < 1 else 0))
