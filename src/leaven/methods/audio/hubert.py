import math

import torch
from torch import nn
from torch.nn import functional as F

from leaven.encoders.encoder import Hidden
from leaven.encoders.log_mel import LogMel
from leaven.errors import UserError
from leaven.methods import Count, DataSpec, Encoder, Method, Outputs, PartialShare, Positive, PositiveShare, Recipe, Stage, TwoOrMore
from leaven.modalities import Wave
from leaven.modules.cepstra import in_step, mfcc
from leaven.modules.codebook import perplexity
from leaven.views.spans import spans

BANDS = 40
PER_CLUSTER = 256  # frames, at most, that a cluster is fitted on; all are assigned


class HuBERT(Method):
    """Predict the cluster of each hidden frame from the frames around it, and cluster the frames anew by what the encoder has learned (Hsu et al.
    2021, eq. 1-3).

    The first clusters are of cepstral coefficients, 10 ms apart, the next ones of a middle layer. The paper starts a new encoder with each iteration;
    here the encoder learns on. Views must leave every moment in its place, since clusters are assigned to the samples as they are.

    clusters: how many in each iteration, of which there are as many as numbers (2 or more). layer: which one is clustered from the second iteration
    on, as a share of the encoder's depth (above 0, up to 1). mask_starts: share of a sample's frames with which a hidden span begins (above 0, below
    1). mask_length: frames of a span, at most half of a sample's. temperature: of the softmax over clusters (above 0). size: numbers of the vectors
    that frames and clusters are compared by.
    """

    paper = "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units (Hsu et al.)"
    year = 2021
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=64, weight_decay=0.05, warmup=0.1)
    modality = "wave"
    wants = "frames"
    purpose = "plain"
    targets: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        clusters: tuple[TwoOrMore, ...] = (100, 200),
        layer: PositiveShare = 0.5,
        mask_starts: PartialShare = 0.08,
        mask_length: Count = 10,
        temperature: Positive = 0.1,
        size: Count = 128,
    ):
        super().__init__(encoder)
        sound = data.roles["x"]
        whole = Wave(torch.zeros(1, *sound.shape), torch.tensor(sound.shape), sound.rate)
        frames = encoder.real_tokens(whole).shape[1]
        if not clusters or max(clusters) > data.samples * frames:
            most = f"{data.samples} samples of at most {frames} frames do not make {max(clusters, default=0)} clusters"
            raise UserError(most, where="clusters", hint="choose fewer, or give more data")
        self.clusters, self.layer, self.mask_starts, self.mask_length, self.temperature = clusters, layer, mask_starts, mask_length, temperature
        self.size, self.samples = size, data.samples
        self.log_mel = LogMel(sound.rate, BANDS)
        self.mask_token = nn.Parameter(torch.randn(encoder.dim) * 0.02)
        self.register_buffer("targets", torch.zeros(data.samples, frames, dtype=torch.int32))
        self.renew()

    def no_weight_decay(self):
        return {"mask_token"}

    def stages(self):
        share = 1 / len(self.clusters)
        for number in range(len(self.clusters)):
            yield Stage(f"iteration{number + 1}", share, prepare=self.assign, grow=self.renew if number else None)

    def renew(self):
        """New vectors for the clusters of this stage."""
        self.predict = nn.Linear(self.encoder.dim, self.size)
        self.units = nn.Embedding(self.clusters[self.stage], self.size)

    def described(self, sound):
        """What is clustered of each frame: (B, frames, dim), and which are real."""
        real = self.encoder.real_tokens(sound)
        if self.stage == 0:
            frames, within = self.log_mel(sound.samples, sound.lengths)
            return in_step(mfcc(frames, within), within, real), real
        features = self.encoder.token_features(sound)
        layers = features.layers or [features.tokens]
        return layers[max(1, round(self.layer * len(layers))) - 1].float(), real

    def assign(self, encode):
        """Cluster the frames of all samples, as they are, and write down the cluster of each."""
        from sklearn.cluster import MiniBatchKMeans

        moving = {"crop_min": self.augment.crop_min < 1, "window": self.augment.window, "shift": self.augment.shift, "speed": self.augment.speed}
        if moved := [name for name, holds in moving.items() if holds]:
            raise UserError("views that move sounds do not fit clusters of their moments", where=f"views.{moved[0]}", hint="leave it out")
        clusters = self.clusters[self.stage]
        each = min(self.targets.shape[1], math.ceil(PER_CLUSTER * clusters / self.samples))

        def some(batch):
            frames, real = self.described(batch["x"])
            place = (torch.rand(len(real), each, device=real.device) * real.sum(1, keepdim=True)).long()
            return frames.gather(1, place[..., None].expand(-1, -1, frames.shape[2]))

        seed = int(torch.randint(2**31 - 1, ()))  # the loop has seeded this stage
        fit = MiniBatchKMeans(clusters, batch_size=10_000, n_init=3, random_state=seed).fit(encode(some).flatten(0, 1).cpu().numpy())
        centers = torch.from_numpy(fit.cluster_centers_)

        def nearest(batch):
            frames, _ = self.described(batch["x"])
            return torch.cdist(frames, centers.to(frames)).argmin(2)

        self.targets.copy_(encode(nearest))

    def views(self, batch, draw):
        (sample,) = self.augment(batch["x"], draw)
        hidden = spans(draw.child("mask"), self.encoder.real_tokens(sample), self.mask_starts, self.mask_length)
        return {"sample": sample, "hidden": hidden, "target": self.targets[batch.index]}

    def forward(self, views):
        hidden, frames = views["hidden"], self.encoder.frames(views["sample"])
        tokens = self.encoder.context(frames, hidden=Hidden(hidden, self.mask_token)).tokens
        target = views["target"].long()
        sample, place = hidden.nonzero(as_tuple=True)
        logits, right = self.logits(tokens[sample, place]), target[sample, place]
        empty = logits.new_zeros(len(hidden))
        return Outputs(
            nats=empty.index_add(0, sample, F.cross_entropy(logits, right, reduction="none")),
            right=empty.index_add(0, sample, (logits.argmax(1) == right).to(logits)),
            hidden=hidden, frames=frames.real.sum(1), target=target,
        )  # fmt: skip

    def logits(self, tokens):
        """Cosine similarity to every cluster, over the temperature; in full precision whatever the autocast."""
        frames, units = self.predict(tokens).to(self.units.weight), self.units.weight
        with torch.autocast(frames.device.type, enabled=False):
            return F.normalize(frames, dim=1, eps=1e-6) @ F.normalize(units, dim=1, eps=1e-6).T / self.temperature

    def loss(self, outputs):
        return {"cross_entropy": outputs.nats.sum() / outputs.hidden.sum()}

    def chance(self, outputs):
        return math.log(self.clusters[self.stage])

    def measures(self, outputs):
        return {
            "perplexity": perplexity(outputs.target[outputs.hidden], self.clusters[self.stage]),
            "frame_accuracy": (outputs.right.sum() / outputs.hidden.sum()).item(),
            "hidden": (outputs.hidden.sum() / outputs.frames.sum()).item(),
        }

    def diagnose(self, measures):
        clusters = self.clusters[self.stage]
        if measures["perplexity"] > max(1.5, clusters / 20):
            return {}
        use = f"about {measures['perplexity']:.1f} of {clusters} clusters are in use"
        return {"few clusters": f"{use}; usual causes: a layer that has collapsed, samples that are nearly silent, or far more clusters than sounds"}
