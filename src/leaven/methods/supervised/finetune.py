import copy

import torch
from torch import nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.losses import weighted_contrast
from leaven.methods import DataSpec, Encoder, NonNegative, Outputs, PositiveShare, Recipe, Rule, Share
from leaven.methods.supervised.supervised import Supervised
from leaven.modalities.tags import TagsModality
from leaven.modules.one_vs_rest import probe_tags

CONTRAST_TEMPERATURE, SOFTNESS = 0.2, 5.0  # as in the code of Chang and Chen 2022
PROBED_ON = 10_000  # labeled samples, at most, that the classifier is first fitted on
PENALTY = 3.0  # of the squared weights, for each class: the best for 1 to 400 labels per class on parts of the training splits of two data sets


class Finetune(Supervised):
    """Continue a trained encoder with labels: first a probe, then all together, and finally half of the way back (Wortsman et al. 2022).

    train: "all", "last:N" (the last N blocks of the encoder), or "head" (the classifier alone). What does not train stays the same to the bit,
    running statistics included. layer_decay: each block's learning rate is that of the next block times this (Clark et al. 2020, section 3.2).
    probe_first: fit the classifier on the frozen features before anything moves (Kumar et al. 2022). interpolation: where the kept weights are on the
    line from that start (0) to the end of the training (1). contrast: weight of the agreement of features of one class (0: none; Khosla et al. 2020).
    distillation: weight of the distance of logits from those that a sample had when it was last seen, which then also say what is similar for the
    contrast (0: none; Chang and Chen 2022).
    """

    paper = "Robust Fine-Tuning of Zero-Shot Models (Wortsman et al.)"
    year = 2022
    recipe = Recipe(optimizer="adamw", lr=3e-3, batch=64, weight_decay=0.05, lr_rule="none", warmup=0.1, steps=200)
    purpose = "labels"
    continues = True
    before: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        train: str = "all",
        layer_decay: PositiveShare = 0.8,
        probe_first: bool = True,
        interpolation: Share = 0.5,
        contrast: NonNegative = 0.0,
        distillation: NonNegative = 0.0,
        **supervised,
    ):
        super().__init__(encoder, data, **supervised)
        self.probe_first, self.interpolation, self.contrast, self.distillation = probe_first, interpolation, contrast, distillation
        self.loss_over_batch = bool(contrast or distillation)  # type: ignore[misc]
        if distillation and data.tag_names:
            raise UserError("distillation compares probabilities of classes, and these samples have tags", hint="leave distillation out")
        if distillation:
            self.register_buffer("before", torch.full((data.samples, data.classes), torch.nan))  # nan: not seen yet
        blocks = encoder.depths()
        still = len(blocks) - trained_blocks(train, len(blocks))
        self.rules = {f"encoder.{name}": Rule(layer_decay ** (len(blocks) - depth)) for depth, names in enumerate(blocks) for name in names}
        self.frozen = [name for names in blocks[:still] for name in names]
        for name in self.frozen:
            encoder.get_parameter(name).requires_grad_(False)
        self.start = copy.deepcopy(nn.ModuleDict({"encoder": self.encoder, "classifier": self.classifier})).requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        if self.frozen:
            for module in self.encoder.modules():
                trainable = [parameter.requires_grad for parameter in module.parameters()]
                if trainable and not any(trainable):
                    module.eval()
        return self

    def prepare(self, encode):
        super().prepare(encode)
        if self.probe_first:
            features, (label, known) = encode(lambda batch: self.features(batch["x"])), self.labels(encode)
            fit = self.fit_tags if label.ndim == 2 else self.fit_classifier
            fit(features[known], label[known])
        self.start["classifier"].load_state_dict(self.classifier.state_dict())

    @torch.no_grad()
    def fit_classifier(self, features, label):
        """Logistic regression on the features, centred and divided by one number, their root mean variance."""
        from sklearn.linear_model import LogisticRegression

        some = torch.linspace(0, len(label) - 1, min(len(label), PROBED_ON)).long()
        x, y = features[some].double().cpu(), label[some].cpu()
        center, scale = x.mean(0), x.var(0, correction=0).mean().sqrt().clamp_min(1e-12)
        counted = None if self.class_weights == "none" else self.class_weights
        probe = LogisticRegression(C=1 / (PENALTY * len(self.weights)), class_weight=counted, max_iter=1000)
        fit = probe.fit(((x - center) / scale).numpy(), y.numpy())
        weight, bias = torch.from_numpy(fit.coef_) / scale, torch.from_numpy(fit.intercept_)
        bias = bias - weight @ center
        if len(weight) == 1:  # two classes: scikit-learn gives the difference of their logits
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        self.classifier.weight.zero_()
        self.classifier.bias.fill_(bias.min())
        self.classifier.weight[fit.classes_] = weight.to(self.classifier.weight)
        self.classifier.bias[fit.classes_] = bias.to(self.classifier.bias)

    @torch.no_grad()
    def fit_tags(self, features, label):
        """Logistic regression of each tag, and the threshold with the best F1 on samples that it was not fitted on."""
        strata = TagsModality().strata(label)
        probe = probe_tags(features.float().cpu(), label.cpu() > 0, strata.cpu(), balanced=self.class_weights == "balanced", one_scale=True)
        self.classifier.weight.copy_(probe.weight.T)
        self.classifier.bias.copy_(probe.bias)
        self.threshold.fill_(probe.threshold)

    def views(self, batches, draw):
        return {**super().views(batches, draw), "index": batches["labeled"].index}

    def forward(self, views):
        return Outputs(**super().forward(views), index=views["index"])

    def loss(self, outputs):
        terms = super().loss(outputs)
        alike = self.target.alike(outputs.label)
        if self.distillation:
            before = self.before[outputs.index]
            seen = ~before.isnan().any(1)
            was = torch.where(seen[:, None], before, 0).to(outputs.logits)
            terms["distillation"] = self.distillation * (seen * softened_divergence(outputs.logits, was)).mean()
            share = was.softmax(1) * seen[:, None]
            alike = alike + self.distillation * share @ share.T
        if self.contrast:
            terms["contrast"] = self.contrast * weighted_contrast(outputs.features, alike, CONTRAST_TEMPERATURE)
        return terms

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        if self.distillation:
            self.before[outputs.index] = outputs.logits.to(self.before)

    def held_out(self, encode):
        """Measured on the weights that would be kept."""
        moved = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        self.finish()
        measures = super().held_out(encode)
        self.load_state_dict({**moved, **self.calibration()})
        return measures

    @torch.no_grad()
    def finish(self):
        for part in ("encoder", "classifier"):
            start = self.start[part].state_dict()
            for name, tensor in self.get_submodule(part).state_dict().items():
                if tensor.is_floating_point():
                    tensor.copy_(torch.lerp(start[name], tensor, self.interpolation))


def softened_divergence(logits, before):
    """(B,) KL from softened earlier probabilities to the present ones, times the squared temperature, which keeps gradients as large (Hinton et al.
    2015)."""
    now, was = logits / SOFTNESS, before / SOFTNESS
    return F.kl_div(now.log_softmax(1), was.log_softmax(1), reduction="none", log_target=True).sum(1) * SOFTNESS**2


def trained_blocks(train: str, blocks: int) -> int:
    """How many of an encoder's last blocks train: all of them, N of "last:N", or none for "head"."""
    if train in ("all", "head"):
        return blocks if train == "all" else 0
    kind, _, number = train.partition(":")
    if kind != "last" or not number.isdigit() or not 1 <= int(number) <= blocks:
        raise UserError(f"train cannot be {train!r}", hint=f"choose all, head, or last:N with N from 1 to {blocks}, the blocks of this encoder")
    return int(number)
