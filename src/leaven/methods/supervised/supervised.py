import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.methods import DataSpec, Encoder, Method, NonNegative, Outputs, Recipe, Stage
from leaven.modalities.modality import fitted
from leaven.modules.calibration import best_temperature

CALIBRATES = 100  # held-out labels from which one number, the temperature, can be learned


class Supervised(Method):
    """Predict the label, without pre-training: the floor that pre-training has to beat. Unlabeled samples are not used.

    class_weights: "none", or "balanced", which makes all classes count equally however many samples each has. label_smoothing: share of each target
    that is spread over all classes (Szegedy et al. 2016). mixup: features and targets of two samples are mixed by shares from Beta(mixup, mixup) (0:
    not mixed; Guo et al. 2019, section 2, for text; Verma et al. 2019).
    """

    paper = "The Regression Analysis of Binary Sequences (Cox), and since then every softmax classifier"
    year = 1958
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=64, weight_decay=0.05, lr_rule="none")
    purpose = "reconstruction"
    pools = {"labeled": 1}
    loss_over_batch = False
    classifies = True
    weights: torch.Tensor
    temperature: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        class_weights: Literal["none", "balanced"] = "none",
        label_smoothing: float = 0.0,
        mixup: NonNegative = 0.0,
    ):
        super().__init__(encoder)
        if data.classes < 2:
            raise UserError("supervised learning needs labels of two classes or more", hint="give them with --labels")
        self.class_weights, self.label_smoothing, self.mixup = class_weights, label_smoothing, mixup
        self.classifier = nn.Linear(encoder.dim, data.classes)
        self.register_buffer("weights", torch.ones(data.classes))
        self.register_buffer("temperature", torch.ones(()))

    def stages(self):
        return (Stage(prepare=self.prepare),)

    def prepare(self, encode):
        if self.class_weights == "balanced":
            label = encode(lambda batch: batch.label).long()
            self.weights.copy_(balanced(label[label >= 0], len(self.weights)))

    def views(self, batches, draw):
        batch = batches["labeled"]
        (view,) = self.augment(batch["x"], draw)
        seen = {"x": view, "label": batch.label}
        if self.mixup:
            share = beta(self.mixup, draw.child("mixup").uniform(len(batch), 1))
            seen |= {"partner": swapped(batch.label), "share": share.to(batch.label.device)}
        return seen

    def forward(self, views):
        features = self.encoder(views["x"])
        if not self.mixup:
            return Outputs(features=features, logits=self.classifier(features), label=views["label"])
        share = views["share"]
        mixed = share * features + (1 - share) * swapped(features)
        return Outputs(features=features, logits=self.classifier(mixed), **{name: views[name] for name in ("label", "partner", "share")})

    def loss(self, outputs):
        def weighted(label):
            nats = F.cross_entropy(outputs.logits, label, reduction="none", label_smoothing=self.label_smoothing)
            return self.weights[label] * nats

        if not self.mixup:
            return {"cross_entropy": weighted(outputs.label).mean()}
        share = outputs.share[:, 0]
        return {"cross_entropy": (share * weighted(outputs.label) + (1 - share) * weighted(outputs.partner)).mean()}

    def chance(self, outputs):
        return math.log(self.classifier.out_features)

    @property
    def calibrated(self):
        """Whether labels that it has not learned from have set its temperature."""
        return bool(self.temperature != 1)

    def features(self, value):
        return self.encoder(fitted(value, self.encoder.input.shape))

    def classify(self, value):
        return self.classifier(self.features(value)) / self.temperature

    def held_out(self, encode):
        """Cross-entropy at the best temperature (Guo et al. 2017), which is kept, and accuracy."""
        self.temperature.fill_(1)
        logits, label = encode(lambda batch: self.classify(batch["x"])), encode(lambda batch: batch.label).long()
        if len(label) >= CALIBRATES:
            self.temperature.fill_(best_temperature(logits, label))
        cross_entropy = F.cross_entropy(logits / self.temperature, label)
        return {"held_out_cross_entropy": cross_entropy.item(), "held_out_accuracy": (logits.argmax(1) == label).float().mean().item()}


def swapped(rows):
    """Rows 0 and 1 change places, rows 2 and 3, and so on; the last of an odd number stays. Parts of a batch have the same pairs as the whole."""
    place = torch.arange(len(rows), device=rows.device)
    return rows[(place ^ 1).where((place ^ 1) < len(rows), place)]


def beta(sharpness, uniform):
    """Quantiles of Beta(sharpness, sharpness) at uniform random numbers."""
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(sharpness, sharpness, uniform.double().cpu().numpy())).to(uniform)


def balanced(labels, classes):
    """(classes,) weights inversely proportional to how often each class occurs; their mean over the labels is 1."""
    counts = labels.bincount(minlength=classes)
    return labels.numel() / ((counts > 0).sum() * counts.clamp_min(1))
