import copy
from functools import partial
from typing import Annotated, Literal

import torch
from torch import nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.losses import weighted_contrast
from leaven.methods import DataSpec, Encoder, NonNegative, Outputs, PositiveShare, Range, Recipe, Rule, Share, Stage, Whole
from leaven.methods.supervised.supervised import Supervised
from leaven.methods.targets import balanced
from leaven.modules.calibration import best_temperature
from leaven.modules.confident import check_counts, confident, out_of_fold
from leaven.modules.low_rank import LowRank
from leaven.modules.probes import ranks

CONTRAST_TEMPERATURE, SOFTNESS = 0.2, 5.0  # as in the code of Chang and Chen 2022


class Finetune(Supervised):
    """Continue a trained encoder with labels: first a probe, then all together, and finally half of the way back (Wortsman et al. 2022).

    train: "all", "last:N" (the last N blocks of the encoder), "first:N" (the first ones; Lee et al. 2023), or "head"; the classifier always trains.
    What does not train stays the same to the bit, running statistics included. layer_decay: each block's learning rate is that of the next block
    times this (Clark et al. 2020, section 3.2). lora: rank of changes of the linear layers, which train in place of the blocks' own weights and are
    added to them at the end (0: the weights train; Hu et al. 2022).
    probe_first: fit the classifier on the frozen features before anything moves (Kumar et al. 2022). interpolation: where the kept weights are on the
    line from that start (0) to the end of the training (1). contrast: weight of the agreement of features of one class (0: none; Khosla et al. 2020).
    distillation: weight of the distance of logits from those that a sample had when it was last seen, which then also say what is similar for the
    contrast (0: none; Chang and Chen 2022). folds: in how many parts of the labels fine-tuning is first compared with its probe
    by cross-validation; where the probe is plainly better, it is kept. Left-out labels calibrate the probabilities (0: neither).
    noisy_labels: "leave_out" does not learn from labels that are probably wrong, by confident learning (Northcutt et al. 2021) on frozen features.
    Choosing samples by their loss, as co-teaching does (Han et al. 2018), needs a second network, since one that has learned a wrong label finds it
    likely; the probe that looks at a label here has not seen it.
    """

    paper = "Robust Fine-Tuning of Zero-Shot Models (Wortsman et al.)"
    year = 2022
    recipe = Recipe(optimizer="adamw", lr=3e-3, batch=64, weight_decay=0.05, lr_rule="none", warmup=0.1, steps=200)
    purpose = "labels"
    continues = True
    before: torch.Tensor
    fold: torch.Tensor
    left_out: torch.Tensor
    measured: torch.Tensor
    trusted: torch.Tensor

    def __init__(
        self,
        encoder: Encoder,
        data: DataSpec,
        *,
        train: str = "all",
        lora: Whole = 0,
        layer_decay: PositiveShare = 0.8,
        probe_first: bool = True,
        interpolation: Share = 0.5,
        contrast: NonNegative = 0.0,
        distillation: NonNegative = 0.0,
        noisy_labels: Literal["none", "leave_out"] = "none",
        folds: Annotated[int, Range("0, or 2 and more", lambda number: number == 0 or number > 1)] = 0,
        **supervised,
    ):
        super().__init__(encoder, data, **supervised)
        if folds and not probe_first:
            raise UserError("folds compare fine-tuning with its probe, and probe_first is off", hint="give folds=0, or leave probe_first on")
        if folds and data.tag_names:
            raise UserError("folds compare classifiers of classes, and these samples have tags", hint="leave folds out")
        self.folds = folds
        if folds:
            self.register_buffer("fold", torch.zeros(data.samples, dtype=torch.int64))
            self.register_buffer("left_out", torch.zeros(2, data.samples, data.classes))  # logits of the probe and of the fine-tuned classifier
            self.register_buffer("measured", torch.zeros(4, dtype=torch.float64))  # cross-entropies, the error of their difference, and the labels
        self.noisy_labels = noisy_labels
        if noisy_labels != "none":
            if data.tag_names:
                raise UserError("wrong labels are found among classes, and these samples have tags", hint="leave noisy_labels out")
            self.class_names = data.class_names
            self.register_buffer("trusted", torch.ones(data.samples, dtype=torch.bool))
            self.register_buffer("times", torch.ones(data.samples, dtype=torch.int64))
        self.probe_first, self.interpolation, self.contrast, self.distillation = probe_first, interpolation, contrast, distillation
        self.loss_over_batch = bool(contrast or distillation)  # type: ignore[misc]
        if distillation and data.tag_names:
            raise UserError("distillation compares probabilities of classes, and these samples have tags", hint="leave distillation out")
        if distillation:
            self.register_buffer("before", torch.full((data.samples, data.classes), torch.nan))  # nan: not seen yet
        blocks = encoder.depths()
        moving = trained_blocks(train, len(blocks))
        rates = {name: Rule(layer_decay ** (len(blocks) - depth)) for depth, names in enumerate(blocks) for name in names}
        self.rules = {f"encoder.{name}": rule for name, rule in rates.items()}
        self.frozen = [name for depth, names in enumerate(blocks) if lora or depth not in moving for name in names]
        for name in self.frozen:
            encoder.get_parameter(name).requires_grad_(False)
        parts = {"encoder": self.encoder, "classifier": self.classifier}
        self.low_rank = None
        if lora:
            self.low_rank = parts["low_rank"] = LowRank(encoder, [name for depth in moving for name in blocks[depth]], lora)
            if not len(self.low_rank.wide):
                what = f"lora changes linear layers, and the blocks of this encoder that train ({train}) have none"
                raise UserError(what, hint="leave lora out, or train more blocks, as of a transformer")
            self.rules |= {f"low_rank.{part}.{name.replace('.', '/')}": rule for part in ("narrow", "wide") for name, rule in rates.items()}
        self.start = copy.deepcopy(nn.ModuleDict(parts)).requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        if self.frozen:
            for module in self.encoder.modules():
                trainable = [parameter.requires_grad for parameter in module.parameters()]
                if trainable and not any(trainable):
                    module.eval()
        return self

    def stages(self):
        """The folds, then all labels; a fold takes as many steps for each label as the end does."""
        if not self.folds:
            return super().stages()
        share = (self.folds - 1) / self.folds**2
        folds = [
            Stage(f"fold {number + 1}", share, partial(self.begin, number), members=partial(self.others, number)) for number in range(self.folds)
        ]
        return [*folds, Stage("all labels", 1 / self.folds, partial(self.begin, self.folds), members=partial(self.others, self.folds))]

    def learned(self, encode):
        label, known = super().learned(encode)
        return label, known if self.noisy_labels == "none" else known & self.trusted

    def set_out(self, encode):
        """Decide which labels to trust and how often each sample is in a pass."""
        if self.noisy_labels != "none":
            self.trust(encode)
        super().prepare(encode)
        if self.noisy_labels != "none":
            self.times.mul_(self.trusted)

    def trust(self, encode):
        """All labels but those that are probably wrong; of a class in which all are, every one."""
        label, group = (encode(lambda batch, name=name: getattr(batch, name)).long().cpu() for name in ("label", "group"))
        check_counts(label.bincount(minlength=len(self.class_names)), self.class_names)
        features = encode(lambda batch: self.features(batch["x"])).cpu()
        wrong, _ = confident(out_of_fold(features, label, group, self.probed), label)
        wrong &= (label[~wrong].bincount(minlength=len(self.class_names)) > 0)[label]
        self.trusted.copy_(~wrong)
        self.times.fill_(1)

    def probed(self, x, y, out, groups):
        """What the probe that has seen (x, y) says of the others."""
        self.fit_classifier(x, y)
        return self.classifier(out.to(self.classifier.weight)).detach().softmax(1).float().cpu()

    def prepare(self, encode):
        self.set_out(encode)
        if self.probe_first:
            self.fit_probe(encode)
        self.start["classifier"].load_state_dict(self.classifier.state_dict())

    def begin(self, number, encode):
        """Begin a fold, or the training on all labels: from the same encoder, with a probe of these labels."""
        label, group = (encode(lambda batch, name=name: getattr(batch, name)).long() for name in ("label", "group"))
        if number == 0:
            self.fold.copy_(folds_of(label.cpu(), group.cpu(), self.folds))
        else:
            self.finish()
            self.keep_left_out(1, number - 1, encode)
        for part in self.start.keys() - {"classifier"}:
            self.get_submodule(part).load_state_dict(self.start[part].state_dict())
        self.set_out(encode)
        seen = (self.fold != number) & self.learned(encode)[1]
        self.fit_classifier(encode(lambda batch: self.features(batch["x"]))[seen], label[seen])
        self.start["classifier"].load_state_dict(self.classifier.state_dict())
        if self.distillation:
            self.before.fill_(torch.nan)
        if number < self.folds:
            self.keep_left_out(0, number, encode)
        else:
            self.compare(label)

    def concluded(self):
        left_out = []
        if self.noisy_labels != "none":
            why = "a probe that had not seen them is confident of another class; `leaven inspect DATA --run RUN` lists such labels"
            left_out = [{"what": "labels left out", "value": f"{int((~self.trusted).sum()):,} of {len(self.trusted):,}", "why": why}]
        if not self.folds:
            return left_out
        probe, tuned, error, labels = self.measured.tolist()
        value = "the frozen probe" if self.keeps_probe else "the fine-tuned encoder"
        apart = "" if abs(tuned - probe) > 2 * error else "; these cannot be told apart"
        why = f"on {labels:.0f} labels that they had not seen, the probe had a cross-entropy of {probe:.2f} and fine-tuning {tuned:.2f}{apart}"
        return [*left_out, {"what": "kept", "value": value, "why": why}]

    def cautions(self):
        if self.calibrated:
            return {}
        why = "no labels were left out to compare them with, so probabilities can be too sure; their order still says which labels to check first"
        return {"probabilities not calibrated": why}

    def others(self, number):
        """The samples of the other folds; all of them in the end."""
        rows = (self.fold != number).nonzero()[:, 0].cpu()
        return rows.repeat_interleave(self.times.cpu()[rows]) if hasattr(self, "times") else rows

    def keep_left_out(self, which, number, encode):
        self.left_out[which, self.fold == number] = encode(lambda batch: self.classify(batch["x"]))[self.fold == number].to(self.left_out)

    def compare(self, label):
        """By the cross-entropy of left-out labels, each at its best temperature, which is set for what is kept."""
        known = label.bincount(minlength=len(self.weights))[label] > 1  # of other classes, no fold saw a label
        known = known & self.trusted if self.noisy_labels != "none" else known
        temperatures = [best_temperature(logits[known], label[known]) for logits in self.left_out]
        each = [F.cross_entropy(logits[known] / by, label[known], reduction="none") for logits, by in zip(self.left_out, temperatures, strict=True)]
        probe, tuned = torch.stack(each).double()
        if self.rare_classes != "none":
            probe, tuned = balanced(label[known], self.target.names)[label[known]] * torch.stack([probe, tuned])
        error = (tuned - probe).std() / len(probe) ** 0.5
        self.measured.copy_(torch.stack([probe.mean(), tuned.mean(), error, known.sum()]))
        self.temperature.fill_(temperatures[int(not self.keeps_probe)])

    @property
    def keeps_probe(self):
        """Whether fine-tuning was worse than its probe by two standard errors; known when the folds are done.

        A smaller difference decides nothing: with a part of the labels, fine-tuning does a little worse than with all of them.
        """
        if not self.folds:
            return False
        probe, tuned, error, _ = self.measured.tolist()
        return tuned - probe > 2 * error

    @property
    def settled(self):
        return self.stage == self.folds and self.keeps_probe

    def read(self, value):
        return self.encoder(value) if self.low_rank is None else self.low_rank.run(self.encoder, value)

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
        if self.low_rank is not None:
            self.low_rank.merge(self.encoder)
        for part in ("encoder", "classifier"):
            start, kept = self.start[part].state_dict(), self.get_submodule(part)
            if self.keeps_probe:
                kept.load_state_dict(start)
                continue
            for name, tensor in kept.state_dict().items():
                if tensor.is_floating_point():
                    tensor.copy_(torch.lerp(start[name], tensor, self.interpolation))


def folds_of(labels, groups, folds):
    """(n,) int64, the fold that leaves each sample out: each leaves out the same share of every class, or of the groups where there are some."""
    return ranks(labels) % folds if (groups < 0).any() else groups.unique(return_inverse=True)[1] % folds


def softened_divergence(logits, before):
    """(B,) KL from softened earlier probabilities to the present ones, times the squared temperature, which keeps gradients as large (Hinton et al.
    2015)."""
    now, was = logits / SOFTNESS, before / SOFTNESS
    return F.kl_div(now.log_softmax(1), was.log_softmax(1), reduction="none", log_target=True).sum(1) * SOFTNESS**2


def trained_blocks(train: str, blocks: int) -> range:
    """Which of an encoder's blocks train: all of them, N of "last:N" or "first:N", or none for "head"."""
    if train in ("all", "head"):
        return range(blocks if train == "all" else 0)
    kind, _, number = train.partition(":")
    if kind not in ("first", "last") or not number.isdigit() or not 1 <= int(number) <= blocks:
        hint = f"choose all, head, last:N or first:N with N from 1 to {blocks}, the blocks of this encoder"
        raise UserError(f"train cannot be {train!r}", hint=hint)
    return range(int(number)) if kind == "first" else range(blocks - int(number), blocks)
