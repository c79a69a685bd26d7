from leaven.hyperparameters import Depth
from leaven.methods import Count, NonNegative, PartialShare, ShareBelowOne, Width
from leaven.methods.inverse import InverseTasks
from leaven.modules.text import chance_of


class DualSupervised(InverseTasks):
    """Two inverse tasks must agree on how likely a pair is: log P(x) + log P(y|x) = log P(y) + log P(x|y) (Su et al. 2019, eq. 5 and 6; Xia et al.
    2017).

    Beside the nats of each text given the other stands the square of the gap between the two sides, summed over all tokens of the pair as it is in
    the data. Models of each text by itself are trained before, and do not move while the tasks are learned.

    weight: of the squared gap; with 0 the two models are trained apart. shared: one network reads both texts, by embeddings of their own (multi-task
    learning). depth: layers of each decoder. heads: of its attention. dropout: of its embeddings and layers. marginals: share of the steps that train
    the models of each text by itself. slots: how many slots with their values such a model knows, where a text is a set of them.
    """

    paper = "Dual Supervised Learning for Natural Language Understanding and Generation (Su et al.)"
    year = 2019
    loss_over_batch = False

    def __init__(
        self,
        encoders,
        data,
        *,
        weight: NonNegative = 0.001,
        shared: bool = False,
        depth: Depth = 1,
        heads: Width = 4,
        dropout: ShareBelowOne = 0.1,
        marginals: PartialShare = 0.2,
        slots: Count = 256,
    ):
        self.weight, self.needs_marginals = weight, weight > 0
        super().__init__(encoders, data, depth=depth, heads=heads, dropout=dropout, shared=shared, marginals=marginals, slots=slots)

    def beyond_examples(self, views, read):
        if not self.needs_marginals:
            return {}
        return {"marginal": {role: self.marginal(role, views).detach() for role in views["texts"]}}

    def gap(self, outputs):
        """(B,) log P(x) + log P(y|x) - log P(y) - log P(x|y)."""
        first, second = self.senses
        nats, marginal = outputs.nats, outputs.marginal
        return marginal[first] - nats[second] - marginal[second] + nats[first]

    def loss(self, outputs):
        terms = super().loss(outputs)
        if not self.weight or self.learns_marginals:
            return terms
        return {**terms, "duality": self.weight * self.gap(outputs).square().mean()}

    def chance(self, outputs):
        """Where the two models are trained apart: all tokens are equally likely."""
        if self.weight:
            return None
        return sum(count.mean().item() * chance_of(self.senses[role]) for role, count in outputs.count.items())

    def measures(self, outputs):
        measures = super().measures(outputs)
        if not self.weight or self.learns_marginals:
            return measures
        return measures | {"gap": self.gap(outputs).square().mean().sqrt().item()}
