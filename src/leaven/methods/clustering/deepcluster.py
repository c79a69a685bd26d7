import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.methods import Count, DataSpec, Encoder, Method, Outputs, Recipe, Stage
from leaven.methods.targets import balanced

PER_CLUSTER = 256  # samples, at most, that a cluster is fitted on; all are assigned


class DeepCluster(Method):
    """Cluster the features, learn to predict the cluster of a sample, and repeat (Caron et al. 2018, eq. 1 and 2).

    The paper draws equally many samples from each cluster. Here all samples are drawn, and a sample weighs less the larger its cluster is, which is
    the same in expectation. Pictures keep their colours, where the paper uses edges.

    clusters: how many (None: the square root of the number of samples). assignments: how often the samples are clustered anew, each time with a new
    classifier and an equal share of the training. components: principal components, whitened, that are clustered.
    """

    paper = "Deep Clustering for Unsupervised Learning of Visual Features (Caron et al.)"
    year = 2018
    recipe = Recipe(optimizer="muon", lr=2e-2, batch=256, weight_decay=0.05)
    loss_over_batch = False
    targets: torch.Tensor
    weights: torch.Tensor

    def __init__(self, encoder: Encoder, data: DataSpec, *, clusters: int | None = None, assignments: Count = 5, components: Count = 64):
        super().__init__(encoder)
        self.clusters = round(math.sqrt(data.samples)) if clusters is None else clusters
        if not 2 <= self.clusters <= data.samples:
            raise UserError(f"{data.samples} samples do not make {self.clusters} clusters", hint="set clusters from 2 to the number of samples")
        self.assignments, self.components = assignments, components
        self.classifier = nn.Linear(encoder.dim, self.clusters)
        self.register_buffer("targets", torch.zeros(data.samples, dtype=torch.int64))
        self.register_buffer("weights", torch.ones(self.clusters))

    def stages(self):
        return [Stage(f"assignment{number + 1}", 1 / self.assignments, prepare=self.assign) for number in range(self.assignments)]

    def assign(self, encode):
        """Assign each sample to a cluster, and restart the classifier."""
        features = encode(lambda batch: self.encoder(batch["x"]))
        targets = clustered(features.cpu(), self.clusters, self.components)
        self.targets.copy_(targets)
        self.weights.copy_(balanced(targets, self.clusters))
        self.classifier.reset_parameters()

    def views(self, batch, draw):
        return {"x": self.augment(batch["x"], draw), "target": self.targets[batch.index]}

    def forward(self, views):
        features = self.encode(views["x"])
        return Outputs(features=features, logits=[self.classifier(feature) for feature in features], target=views["target"])

    def loss(self, outputs):
        nats = [F.cross_entropy(logits, outputs.target, reduction="none") for logits in outputs.logits]
        return {"clusters": (self.weights[outputs.target] * torch.stack(nats)).mean()}

    def chance(self, outputs):
        return math.log(self.clusters)


def clustered(features, clusters, components):
    """(n,) cluster of each feature: principal components, whitened, normalised, then k-means, in which an empty cluster takes a far sample."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    seed = int(torch.randint(2**31 - 1, ()))  # the loop has seeded this stage
    some = torch.randperm(len(features))[: clusters * PER_CLUSTER].sort().values
    pca = PCA(min(components, features.shape[1], len(some) - 1), whiten=True, svd_solver="full").fit(features[some].numpy())
    whitened = F.normalize(torch.from_numpy(pca.transform(features.numpy())), dim=1, eps=1e-6).numpy()
    fit = KMeans(clusters, n_init=1, max_iter=50, random_state=seed).fit(whitened[some.numpy()])
    return torch.from_numpy(fit.predict(whitened)).long()
