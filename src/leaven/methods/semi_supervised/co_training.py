import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.errors import UserError
from leaven.methods import DataSpec, Encoder, NonNegative, Outputs, Share, ShareBelowOne
from leaven.methods.partly_labeled import PartlyLabeled, alone


class CoTraining(PartlyLabeled):
    """Two inputs of a sample have a classifier each, and what one of them is confident of is a label for the other (Blum and Mitchell 1998, table 1).

    It helps where each input says enough by itself, and where they err in different samples. The paper adds the surest samples to the labels, round
    by round. Here all that are sure enough count in each step, as in FixMatch, so that a wrong guess can be taken back. One encoder is kept with its
    classifier, so that the run names samples of which only that input is known.

    kept: the input that the run reads in the end (empty: the first one). confidence: the probability that is enough. weight: of the unlabeled
    samples. ramp: share of the training over which it rises. momentum: of the average of the weights, which is kept.
    """

    paper = "Combining Labeled and Unlabeled Data with Co-Training (Blum and Mitchell)"
    year = 1998
    without = ("probe_first",)
    views_of_unlabeled = ("weak",)

    def __init__(
        self,
        encoders: dict[str, Encoder],
        data: DataSpec,
        *,
        kept: str = "",
        confidence: ShareBelowOne = 0.9,
        weight: NonNegative = 1.0,
        ramp: Share = 0.2,
        momentum: ShareBelowOne = 0.99,
        **supervised,
    ):
        if kept and kept not in encoders:
            raise UserError(f"no input is called {kept!r}", where="kept", hint=f"choose {' or '.join(encoders)}")
        self.kept = kept or next(iter(encoders))
        encoders[self.kept].role = self.kept
        (self.other,) = encoders.keys() - {self.kept}
        super().__init__(encoders[self.kept], data, weight=weight, ramp=ramp, momentum=momentum, **supervised)
        self.confidence = confidence
        self.partner = nn.ModuleDict({"encoder": encoders[self.other], "classifier": nn.Linear(encoders[self.other].dim, self.target.names)})
        self.augment = {role: alone("labels", encoder) for role, encoder in encoders.items()}

    @classmethod
    def inputs(cls, data):
        if len(data.inputs) != 2:
            there = f"{len(data.inputs)}: {', '.join(data.inputs)}"
            hint = "name two columns, as in --columns title=COLUMN,text=COLUMN"
            raise UserError(f"{cls.name} learns from two inputs of a sample, and this data has {there}", hint=hint)
        return dict.fromkeys(data.inputs, cls.wants)

    def encoders(self):
        return {self.kept: self.encoder}

    def views(self, batches, draw):
        """By pool and input."""
        views = {
            pool: {role: augment(batches[pool][role], draw.child(pool, role))[0] for role, augment in self.augment.items()} for pool in self.pools
        }
        return {**views, "label": batches["labeled"].label, "index": batches["unlabeled"].index}

    def forward(self, views):
        networks = {self.kept: (self.encoder, self.classifier), self.other: (self.partner["encoder"], self.partner["classifier"])}
        logits = {
            role: [classifier(features) for features in self.encode([views[pool][role] for pool in ("labeled", "unlabeled")], encoder)]
            for role, (encoder, classifier) in networks.items()
        }
        own, partner = logits[self.kept], logits[self.other]
        unlabeled = [own[1], partner[1]]
        return Outputs(logits=own[0], partner=partner[0], label=views["label"], unlabeled=unlabeled, index=views["index"])

    def loss(self, outputs):
        partner = super().of_labeled(Outputs(logits=outputs.partner, label=outputs.label))
        return {**super().loss(outputs), "partner": partner}

    def of_unlabeled(self, outputs):
        own, partner = outputs.unlabeled
        return self.taught(own, partner) + self.taught(partner, own)

    def taught(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of one input by what the other is confident of, over the whole batch."""
        share, guess = teacher.detach().softmax(1).max(1)
        return ((share >= self.confidence) * F.cross_entropy(student, guess, reduction="none")).mean()

    def chance(self, outputs):
        return 2 * super().chance(outputs)

    def measures(self, outputs):
        with torch.no_grad():
            agree = outputs.unlabeled[0].argmax(1) == outputs.unlabeled[1].argmax(1)
        return super().measures(outputs) | {"agreement": agree.float().mean().item()}
