import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.encoders import build_encoder
from leaven.methods import Count, DataSpec, Encoder, Outputs, Recipe, Share, ShareBelowOne, Stage
from leaven.methods.partly_labeled import alone, refuse_tags
from leaven.methods.supervised.supervised import Supervised
from leaven.modalities.modality import fitted


class NoisyStudent(Supervised):
    """A teacher learns from the labels and labels the rest; a noised student, as large or larger, learns from both and is the next teacher
    (Xie et al. 2020, algorithm 1).

    Every student starts where the first teacher did. Its noise is dropout and strong views; the teacher labels clean samples, with probabilities.

    iterations: students, one after another. student: the encoder of all students, such as "resnet18", with fresh weights (empty: the teacher's own).
    It may be a smaller one, which is distillation. first_teacher: "trained" here from the labels, or the classifier of the "run" that it starts from.
    confidence: an unlabeled sample is used if the probability of its likeliest class is at least this. balanced: use as many samples of each
    class, the surest ones, and those of rare classes several times (section 3.1). dropout: of the student's features. noise: share of the views
    of students that are strong.
    """

    paper = "Self-Training With Noisy Student Improves ImageNet Classification (Xie et al.)"
    year = 2020
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=128, weight_decay=0.05, lr_rule="none")
    pools = {}
    without = ("rare_classes",)  # `balanced` evens out what the teacher has labeled
    learns_unlabeled = True
    augment: Any
    targets: Tensor
    times: Tensor

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        iterations: Count = 2,
        student: str = "",
        first_teacher: Literal["trained", "run"] = "trained",
        confidence: ShareBelowOne = 0.3,
        balanced: bool = True,
        dropout: ShareBelowOne = 0.5,
        noise: Share = 1.0,
        **supervised,
    ):
        refuse_tags(type(self), data)
        super().__init__(encoder, data, **supervised)
        self.iterations, self.student, self.confidence, self.balanced, self.noise = iterations, student, confidence, balanced, noise
        self.adopts_classifier = first_teacher == "run"
        self.dropout = nn.Dropout(dropout)
        self.augment = {"weak": alone("labels", encoder), "strong": alone("strong", encoder)}
        self.start = copy.deepcopy(encoder).requires_grad_(False)
        self.register_buffer("targets", torch.full((data.samples, self.target.names), 1 / self.target.names))
        self.register_buffer("times", torch.zeros(data.samples, dtype=torch.int64))  # how often each sample is in a pass

    def stages(self):
        share = 1 / (self.iterations + (not self.adopts_classifier))
        students = [
            Stage(f"student {1 + number}", share, self.label_the_rest, grow=self.replace, members=self.members) for number in range(self.iterations)
        ]
        return students if self.adopts_classifier else [Stage("teacher", share, self.prepare, members=self.members), *students]

    @property
    def noised(self):
        """Whether a student is trained, and no teacher."""
        return self.adopts_classifier or self.stage > 0

    @torch.no_grad()
    def adopt_classifier(self, weight, bias):
        self.classifier.weight.copy_(weight)
        self.classifier.bias.copy_(bias)

    def members(self):
        return torch.arange(len(self.times)).repeat_interleave(self.times.cpu())

    def prepare(self, encode):
        super().prepare(encode)
        label, known = self.labels(encode)
        self.times.copy_(known)
        self.targets[known] = F.one_hot(label[known], self.target.names).to(self.targets)

    def replace(self):
        """The last student becomes the teacher, and a new one stands in its place."""
        self.teacher = nn.ModuleList([self.encoder, self.classifier]).requires_grad_(False)
        self.encoder = build_encoder(self.student, self.start.input) if self.student else copy.deepcopy(self.start).requires_grad_(True)
        self.classifier = nn.Linear(self.encoder.dim, self.target.names)

    def label_the_rest(self, encode):
        """Lay down the probabilities of the teacher, and choose what the student learns from."""
        if self.adopts_classifier and not self.stage:
            self.prepare(encode)
        network, classifier = self.teacher
        shares = encode(lambda batch: classifier(network(fitted(batch["x"], network.input))).softmax(1)).to(self.targets)
        known = self.labels(encode)[1]
        self.targets.copy_(torch.where(known[:, None], self.targets, shares))
        self.times.copy_(chosen(self.targets, known, self.confidence, self.balanced))

    def views(self, batch, draw):
        weak, strong = (self.augment[name](batch["x"], draw.child(name))[0] for name in ("weak", "strong"))
        noised = draw.child("noise").chance(self.noise, len(batch)) if self.noised else torch.zeros(len(batch), dtype=torch.bool)
        return {"weak": weak, "strong": strong, "noised": noised.to(batch.label.device), "target": self.targets[batch.index], "label": batch.label}

    def forward(self, views):
        weak, strong = self.encode([views["weak"], views["strong"]]) if self.noised else (self.encoder(views["weak"]), None)
        features = weak if strong is None else self.dropout(torch.where(views["noised"][:, None], strong, weak))
        return Outputs(features=features, logits=self.classifier(features), target=views["target"], label=views["label"])

    def loss(self, outputs):
        nats = F.cross_entropy(outputs.logits, outputs.target.to(outputs.logits), reduction="none", label_smoothing=self.label_smoothing)
        return {"cross_entropy": nats.mean()}


def chosen(shares: Tensor, labeled: Tensor, confidence: float, balanced: bool) -> Tensor:
    """(n,) how many times each sample is learned from. shares: (n, classes) probabilities. Labeled samples count once, and so does each unlabeled one
    that is confident enough; where classes are balanced, each has as many unlabeled samples as the mean of them, the surest first and repeated where
    they are too few."""
    share, guess = shares.max(1)
    sure = ~labeled & (share >= confidence)
    times = (labeled | sure).long()
    if balanced and sure.any():
        counts = guess[sure].bincount(minlength=shares.shape[1])
        wanted = round(counts[counts > 0].double().mean().item())
        for name in counts.nonzero().flatten().tolist():
            rows = (sure & (guess == name)).nonzero().flatten()
            surest = rows[share[rows].argsort(descending=True, stable=True)]
            times[rows] = 0
            times.index_add_(0, surest.repeat(-(-wanted // len(surest)))[:wanted], torch.ones(wanted, dtype=torch.int64, device=times.device))
    return times
