from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.methods import DataSpec, Encoder, Method, NonNegative, Outputs, Recipe, Stage
from leaven.methods.targets import balanced, target_of
from leaven.modalities.modality import fitted
from leaven.modalities.tags import TagsModality
from leaven.modules.calibration import best_temperature
from leaven.modules.one_vs_rest import probe_tags
from leaven.modules.probes import LINEAR, choose_probe, logistic, ranks

PROBED_ON = 10_000  # labeled samples, at most, that a classifier is first fitted on
PENALTY = 3.0  # of the squared weights, for each class: the best for 1 to 400 labels per class on parts of the training splits of two data sets
LARGE = 2**25  # numbers times classes, from which the choice of a probe takes seconds
CALIBRATES = 100  # held-out labels from which one number, the temperature, can be learned


class Supervised(Method):
    """Predict the label, a class or tags, without pre-training: the floor that pre-training has to beat. Unlabeled samples are not used.

    rare_classes: how all classes count equally however many samples each has. "weights": by weights of the loss (of tags: the samples that have a tag
    as much as those that have not), "sampling": samples of rare classes are in a pass as often as it takes, "logit_adjustment": while it learns, the
    logarithm of each class's share is added to its logit (Menon et al. 2021, eq. 10). class_weights: "balanced" is another name of
    rare_classes="weights". label_smoothing: share of each target
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
    log_shares: torch.Tensor
    times: torch.Tensor
    temperature: torch.Tensor
    threshold: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        rare_classes: Literal["none", "weights", "sampling", "logit_adjustment"] = "none",
        class_weights: Literal["none", "balanced"] = "none",
        label_smoothing: float = 0.0,
        mixup: NonNegative = 0.0,
    ):
        super().__init__(encoder)
        self.target = target_of(data)
        if class_weights == "balanced" and rare_classes not in ("none", "weights"):
            raise UserError(f"classes are balanced once, by class_weights or by rare_classes={rare_classes}", hint="leave class_weights out")
        if data.tag_names and rare_classes in ("sampling", "logit_adjustment"):
            raise UserError(f"rare_classes={rare_classes} needs one class per sample, and these samples have tags", hint="use rare_classes=weights")
        self.rare_classes = "weights" if class_weights == "balanced" else rare_classes
        self.label_smoothing, self.mixup = label_smoothing, mixup
        self.classifier = nn.Linear(encoder.dim, self.target.names)
        self.register_buffer("weights", torch.ones(self.target.names))
        if rare_classes == "logit_adjustment":
            self.register_buffer("log_shares", torch.zeros(self.target.names))
        if rare_classes == "sampling":
            self.register_buffer("times", torch.ones(data.samples, dtype=torch.int64))  # how often each sample is in a pass
        self.register_buffer("temperature", torch.ones(()))
        if data.tag_names:
            self.register_buffer("threshold", torch.full((), 0.5))

    def stages(self):
        return (Stage(prepare=self.prepare, members=self.members if hasattr(self, "times") else None),)

    def members(self):
        return torch.arange(len(self.times)).repeat_interleave(self.times.cpu())

    def prepare(self, encode):
        """Whatever makes classes count equally, by the labels."""
        if self.rare_classes == "none":
            return
        label, known = self.learned(encode)
        if self.rare_classes == "weights":
            self.weights.copy_(self.target.balanced(label[known]))
        elif self.rare_classes == "logit_adjustment":
            self.log_shares.copy_((label[known].bincount(minlength=self.target.names).clamp_min(1) / known.sum()).log())
        else:
            self.times.copy_(evened(label.where(known, -1)))

    def fit_probe(self, encode):
        """Begin the classifier as a probe of the labels on the features as they are."""
        features, (label, known) = encode(lambda batch: self.features(batch["x"])), self.learned(encode)
        (self.fit_tags if label.ndim == 2 else self.fit_classifier)(features[known], label[known])

    @torch.no_grad()
    def fit_classifier(self, features, label):
        """The best linear probe for these labels by cross-validation, its scores divided by their best temperature, on features that are centred and
        divided by one number, their root mean variance. Logistic regression where nothing can be left out, or that would take long."""
        some = torch.linspace(0, len(label) - 1, min(len(label), PROBED_ON)).long().to(label.device)
        x = features[some].double().cpu()
        there, y = label[some].cpu().unique(return_inverse=True)
        center, scale = x.mean(0), x.var(0, correction=0).mean().sqrt().clamp_min(1e-12)
        x = ((x - center) / scale)[None]
        probes = {**LINEAR, "logistic": partial(logistic, penalty=PENALTY * len(self.weights))}
        counts = torch.ones(len(y)) if self.rare_classes == "none" else balanced(y, len(there))[y]
        choice = choose_probe(x.float(), y, classes=len(there), probes=probes, weights=counts) if x.numel() * len(there) <= LARGE else None
        name, sharpness = "logistic", 1.0
        if choice is not None:
            place, known = int(choice.probe), choice.known[0]
            name, sharpness = list(probes)[place], 1 / best_temperature(choice.scores[place, 0][known], y[known])
        fit = probes[name](x, F.one_hot(y, len(there)).double(), counts[None].double())
        weight, bias = sharpness * fit.weight[0].T / scale, sharpness * fit.bias[0, 0]
        bias = bias - weight @ center
        self.classifier.weight.zero_()
        self.classifier.bias.fill_((sharpness * fit.scores(x)).min())
        self.classifier.weight[there] = weight.to(self.classifier.weight)
        self.classifier.bias[there] = bias.to(self.classifier.bias)

    @torch.no_grad()
    def fit_tags(self, features, label):
        """Logistic regression of each tag, and the threshold with the best F1 on samples that it was not fitted on."""
        strata = TagsModality().strata(label)
        probe = probe_tags(features.float().cpu(), label.cpu() > 0, strata.cpu(), balanced=self.rare_classes == "weights", one_scale=True)
        self.classifier.weight.copy_(probe.weight.T)
        self.classifier.bias.copy_(probe.bias)
        self.threshold.fill_(probe.threshold)

    def labels(self, encode):
        """The label of each sample, and which samples have one."""
        return encode(lambda batch: batch[self.target.role].main).long(), encode(lambda batch: batch.labeled).bool()

    def learned(self, encode):
        """The same of the samples that train, but only those labels that are learned from."""
        return self.labels(encode)

    def views(self, batches, draw):
        batch = batches["labeled"]
        (view,) = self.augment(batch["x"], draw)
        label = batch[self.target.role].main
        seen = {"x": view, "label": label}
        if self.mixup:
            share = beta(self.mixup, draw.child("mixup").uniform(len(batch), 1))
            seen |= {"partner": swapped(label), "share": share.to(label.device)}
        return seen

    def forward(self, views):
        features = self.read(views["x"])
        if not self.mixup:
            return Outputs(features=features, logits=self.classifier(features), label=views["label"])
        share = views["share"]
        mixed = share * features + (1 - share) * swapped(features)
        return Outputs(features=features, logits=self.classifier(mixed), **{name: views[name] for name in ("label", "partner", "share")})

    def loss(self, outputs):
        def weighted(label):
            return self.nats(outputs.logits, label)

        if not self.mixup:
            return {"cross_entropy": weighted(outputs.label).mean()}
        share = outputs.share[:, 0]
        return {"cross_entropy": (share * weighted(outputs.label) + (1 - share) * weighted(outputs.partner)).mean()}

    def nats(self, logits, label):
        """(B,) cross-entropy, in which classes count as `rare_classes` says."""
        logits = logits + self.log_shares if self.rare_classes == "logit_adjustment" else logits
        return self.target.nats(logits, label, self.weights, self.label_smoothing)

    def chance(self, outputs):
        return self.target.chance(outputs.label, self.weights)

    @property
    def calibrated(self):
        """Whether labels that it has not learned from have set its temperature."""
        return bool(self.temperature != 1)

    def read(self, value):
        """Features of samples that fit the encoder."""
        return self.encoder(value)

    def features(self, value):
        return self.read(fitted(value, self.encoder.input))

    def classify(self, value):
        return self.classifier(self.features(value)) / self.temperature

    def probabilities(self, logits):
        return self.target.probabilities(logits)

    def held_out(self, encode):
        """Cross-entropy at the best temperature (Guo et al. 2017), which is kept, and accuracy (of tags F1; their threshold is kept too)."""
        self.temperature.fill_(1)
        logits, (label, _) = encode(lambda batch: self.classify(batch["x"])), self.labels(encode)
        if len(label) >= CALIBRATES:
            self.temperature.fill_(self.target.temperature(logits, label))
            if (threshold := self.target.threshold(logits / self.temperature, label)) is not None:
                self.threshold.fill_(threshold)
        weights = None if self.rare_classes == "none" else self.target.balanced(label).to(logits)
        return self.target.measures(logits / self.temperature, label, weights)

    def calibration(self):
        """What held-out samples, or folds of the others, have set."""
        return {name: buffer for name, buffer in self.named_buffers() if name in ("temperature", "threshold")}


def evened(labels):
    """(n,) int64, how often each sample is taken so that every class is taken as often as the largest; those without a label (-1) are taken once.

    The first samples of a class are taken once more than the others, where its size does not divide."""
    times = torch.ones_like(labels)
    known = labels >= 0
    counts = labels[known].bincount()
    most, rank = counts.max(), ranks(labels[known])
    whole, rest = most // counts.clamp_min(1), most % counts.clamp_min(1)
    times[known] = whole[labels[known]] + (rank < rest[labels[known]])
    return times


def swapped(rows):
    """Rows 0 and 1 change places, rows 2 and 3, and so on; the last of an odd number stays. Parts of a batch have the same pairs as the whole."""
    place = torch.arange(len(rows), device=rows.device)
    return rows[(place ^ 1).where((place ^ 1) < len(rows), place)]


def beta(sharpness, uniform):
    """Quantiles of Beta(sharpness, sharpness) at uniform random numbers."""
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(sharpness, sharpness, uniform.double().cpu().numpy())).to(uniform)
