import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.draw import Draw
from leaven.encoders import build_encoder
from leaven.encoders.dense import MaskedDense, follows
from leaven.methods import Count, DataSpec, Method, Outputs, Recipe
from leaven.modules.likelihood import choose_likelihood


class MADE(Method):
    """An auto-encoder masked so that each value is predicted from those before it: p(x) = prod p(x_i | x_<i) (Germain et al. 2015, eq. 5, 12, 13).

    widths: of the hidden layers, the last of which gives the features. orderings: in how many orders the values are read; each step trains one of
    them, and the likelihood is the mean over all. order: of the first ordering, "natural" (rows from the top) or "random", as the others are.
    activation: of the hidden layers, "relu", "tanh" or "sigmoid". direct: values also see those before them directly, without a hidden layer between.
    likelihood: "bernoulli", "gaussian" or "categorical"; "auto" takes Bernoulli for nearly binary data, else Gaussian. levels: of a categorical one.
    """

    paper = "MADE: Masked Autoencoder for Distribution Estimation (Germain et al.)"
    year = 2015
    recipe = Recipe(optimizer="adamw", lr=1e-3, batch=100, weight_decay=0.0, betas=(0.9, 0.99))
    purpose = "plain"
    needs = ("continuous",)
    loss_over_batch = False
    log_prob_is = "log-likelihood"
    encoder: MaskedDense

    def __init__(
        self,
        data: DataSpec,
        *,
        widths: tuple[int, ...] = (500,),
        orderings: Count = 1,
        order: str = "natural",
        activation: str = "relu",
        direct: bool = True,
        likelihood: str = "auto",
        levels: int = 256,
    ):
        arguments = {"widths": widths, "activation": activation, "orderings": orderings, "order": order}
        super().__init__(build_encoder("masked_dense", data.roles["x"], arguments))
        self.likelihood = choose_likelihood(likelihood, self.encoder.input, own=True, levels=levels)
        outputs = self.likelihood.values * self.likelihood.per_value
        self.output = nn.Linear(widths[-1], outputs)
        self.direct = nn.Linear(self.likelihood.values, outputs, bias=False) if direct else None

    def views(self, batch, draw):
        (x,) = self.augment(batch["x"], draw)
        ordering = Draw(*draw.key, "ordering").integers(len(self.encoder.places), 1)  # one for the whole batch, whatever its parts
        return {"target": self.likelihood.observe(x, draw.child("observed")), "ordering": ordering.to(batch.index.device).expand(len(batch))}

    def forward(self, views):
        return Outputs(conditionals=self.conditionals(views["target"], views["ordering"][0]), target=views["target"])

    def conditionals(self, target, ordering):
        """(B, values, per_value): the parameters of p(x_i | x_<i) in one ordering."""
        values, places = self.encoder.values(self.likelihood.value(target)), self.encoder.places[ordering]
        after = places.repeat_interleave(self.likelihood.per_value)
        hidden = self.encoder.hidden(values, ordering)
        outputs = F.linear(hidden, self.output.weight * follows(after, self.encoder.degrees(-1)), self.output.bias)
        if self.direct is not None:
            outputs = outputs + F.linear(values, self.direct.weight * follows(after, places))
        return outputs.unflatten(1, (-1, self.likelihood.per_value))

    def loss(self, outputs):
        return {"nats": -self.likelihood.log_prob(outputs.conditionals, outputs.target).mean()}

    def chance(self, outputs):
        return self.likelihood.chance

    def log_prob(self, value, draw):
        target, orderings = self.likelihood.observe(value, draw.child("observed")), len(self.encoder.places)
        nats = [self.likelihood.log_prob(self.conditionals(target, ordering), target) for ordering in range(orderings)]
        return torch.stack(nats).logsumexp(0) - math.log(orderings)

    def sample(self, count, draw, label=None):
        target = self.output.weight.new_zeros(count, self.likelihood.values)
        chosen = draw.child("ordering").integers(len(self.encoder.places), count)
        for ordering in chosen.unique().tolist():
            rows = (chosen == ordering).nonzero()[:, 0].to(target.device)
            values = draw.child("values", ordering)
            for place in self.encoder.places[ordering].argsort().tolist():
                conditional = self.conditionals(target[rows], ordering)[:, place : place + 1]
                target[rows, place] = self.likelihood.sample(conditional, values)[:, 0]
        return self.likelihood.value(target)
