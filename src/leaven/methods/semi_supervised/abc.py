import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leaven.methods import DataSpec, Encoder, Outputs
from leaven.methods.semi_supervised.fixmatch import FixMatch
from leaven.modules import Teacher


class ABC(FixMatch):
    """FixMatch with a second classifier on the same features, which sees all classes equally often and is what is kept (Lee et al. 2021, eq. 1 to 4).

    A labeled sample counts for it with the probability (size of the smallest class) / (size of its own); so does an unlabeled one by its likeliest
    class, with a probability that begins at 1 and falls to that one (section 3.3). A strong view gets the probabilities of the weak one.
    """

    paper = "ABC: Auxiliary Balanced Classifier for Class-imbalanced Semi-supervised Learning (Lee et al.)"
    year = 2021
    without = ("rare_classes", "class_weights")  # the second classifier does it
    kept_share: Tensor

    def __init__(self, encoder: Encoder, data: DataSpec, **fixmatch):
        super().__init__(encoder, data, **fixmatch)
        self.balanced = nn.Linear(encoder.dim, self.target.names)
        self.average_balanced = Teacher(self.balanced, momentum=self.average.momentum, rising=False, warming=True)
        self.register_buffer("kept_share", torch.ones(self.target.names))

    def prepare(self, encode):
        super().prepare(encode)
        label, known = self.labels(encode)
        counts = label[known].bincount(minlength=self.target.names)
        self.kept_share.copy_(counts[counts > 0].min() / counts.clamp_min(1))
        self.balanced.load_state_dict(self.classifier.state_dict())
        self.average_balanced.network[0].load_state_dict(self.classifier.state_dict())

    def views(self, batches, draw):
        """Beside those of FixMatch a random number of each sample, by which it counts or not."""
        chances = {f"chance_of_{pool}": draw.child("kept", pool).uniform(len(batch)).to(batch.label.device) for pool, batch in batches.items()}
        return super().views(batches, draw) | chances

    def forward(self, views):
        features = self.encode([views["x"], *views["unlabeled"]])
        logits, *unlabeled = map(self.classifier, features)
        balanced, *guesses = map(self.balanced, features)
        named = {name: views[name] for name in ("label", "index", "chance_of_labeled", "chance_of_unlabeled")}
        return Outputs(logits=logits, unlabeled=unlabeled, balanced=balanced, guesses=guesses, **named)

    def loss(self, outputs):
        counts = outputs.chance_of_labeled < self.kept_share[outputs.label]
        labeled = (counts * F.cross_entropy(outputs.balanced, outputs.label, reduction="none")).mean()
        weak, strong = outputs.guesses
        target = weak.detach().softmax(1)
        share, guess = target.max(1)
        kept = 1 - self.done.to(share) * (1 - self.kept_share[guess])
        counts = (share >= self.confidence) & (outputs.chance_of_unlabeled < kept)
        unlabeled = (counts * F.cross_entropy(strong, target, reduction="none")).mean()
        return super().loss(outputs) | {"balanced": labeled, "balanced_unlabeled": self.risen() * unlabeled}

    def chance(self, outputs):
        """That of both classifiers."""
        return math.log(self.target.names) * (1 + self.kept_share[outputs.label].mean().item())

    def classify(self, value):
        return self.average_balanced.network[0](self.features(value)) / self.temperature

    @torch.no_grad()
    def finish(self):
        super().finish()
        self.balanced.load_state_dict(self.average_balanced.network[0].state_dict())
