import math

import torch
from torch import nn

from leaven.losses import across_crops
from leaven.methods import Encoder, Method, Outputs, Positive, Recipe
from leaven.modules import Teacher
from leaven.modules.heads import Centering, DINOHead


class DINO(Method):
    """Match a moving teacher's centred and sharpened assignment of the other crops to prototypes (Caron et al. 2021, eq. 1 to 4, algorithm 1).

    The defaults for prototypes, widths and momentum suit small data and short trainings; the paper has 65,536 prototypes and a momentum of 0.996.

    prototypes: how many there are. head: widths of the layers before them. head_norm: batch norm between those layers, without which a short
    training makes no progress (the paper has none with transformers). student_temperature: of the student's softmax. teacher_temperature: of the
    teacher's softmax, at first and after temperature_warmup. temperature_warmup: share of the training (0-1) in which it rises. momentum: of the
    teacher, rising to 1. center_momentum: of the running mean that centres the teacher's scores. frozen: share of the training (0-1) in which the
    prototypes do not change. centering: subtract that mean, which keeps one prototype from taking all samples.
    """

    paper = "Emerging Properties in Self-Supervised Vision Transformers (Caron et al.)"
    year = 2021
    recipe = Recipe(optimizer="muon", lr=6e-2, batch=256, weight_decay=0.05)
    purpose = "multicrop"
    guards = {"centering": "the centring of the teacher's scores"}
    head_count = 1
    assign: nn.Module

    def __init__(
        self,
        encoder: Encoder,
        *,
        prototypes: int = 256,
        head: tuple[int, ...] = (256, 64),
        head_norm: bool = True,
        student_temperature: Positive = 0.1,
        teacher_temperature: tuple[Positive, Positive] = (0.02, 0.04),
        temperature_warmup: float = 0.3,
        momentum: float = 0.99,
        center_momentum: float = 0.9,
        frozen: float = 0.02,
        centering: bool = True,
    ):
        super().__init__(encoder)
        self.student_temperature, self.teacher_temperature, self.temperature_warmup = student_temperature, teacher_temperature, temperature_warmup
        self.frozen, self.prototypes, self.center_momentum, self.centering = frozen, prototypes, center_momentum, centering
        self.heads = nn.ModuleList(DINOHead(encoder.dim, head, prototypes, head_norm) for _ in range(self.head_count))
        self.teacher = Teacher(self.encoder, *self.heads, momentum=momentum)
        self.assign = self.assigner()
        self.register_buffer("progress", torch.zeros(()))

    def assigner(self):
        """What turns the teacher's scores into targets."""
        return Centering(self.prototypes, self.center_momentum, self.centering)

    def forward(self, views):
        features = self.encode(views)
        targets = self.encode(views[: self.augment.count], self.teacher)
        return Outputs(features=features, assignments=self.logits(self.heads[0], features), targets=targets)

    def logits(self, head, parts):
        """The head's scores of several parts (batch, ..., dim) in one pass, divided by the student's temperature."""
        scores = head(torch.cat(parts), frozen=bool(self.progress < self.frozen)) / self.student_temperature
        return list(scores.chunk(len(parts)))

    def loss(self, outputs):
        return {"crops": across_crops(outputs.assignments, self.targets(self.assign, outputs.targets))}

    def targets(self, assign, scores):
        """The teacher's assignments, of all its crops together."""
        first, last = self.teacher_temperature
        temperature = first + (last - first) * (self.progress / max(self.temperature_warmup, 1e-9)).clamp(max=1)
        return assign(torch.cat(scores), temperature).chunk(len(scores))

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.assign.update(torch.cat(outputs.targets))
        self.progress.fill_(progress)

    def chance(self, outputs):
        return math.log(self.prototypes)
