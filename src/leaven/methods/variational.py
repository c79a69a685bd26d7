"""What variational auto-encoders share: a Gaussian code, the weight of its KL during the training, and whether the code is used at all."""

import torch
from torch import nn

from leaven.encoders import Projected
from leaven.losses.variational import gaussian_kl
from leaven.methods import Count, Method, NonNegative, Share

ACTIVE = 0.01  # variance over the data of a code's mean, above which it counts as used (Burda et al. 2016, section 4.4)


class Variational(Method):
    """log p(x) >= E log p(x | z) - KL(q(z | x) || p(z)), where the encoder's features are the mean of q(z | x).

    beta: weight of the KL (0 or more; 1 gives the bound, Higgins et al. 2017). annealing: share of the training (0-1) over which that weight rises
    from 0 (Bowman et al. 2016). free_bits: nats that each number of the code may carry at no cost, on the mean of the batch (0 or more; Kingma et al.
    2016, eq. 15). bound_samples: codes per sample for `log_prob`.
    """

    purpose = "plain"
    log_prob_is = "lower bound of it"
    causes = ""
    """Usual causes of a code that is not used."""
    progress: torch.Tensor

    def __init__(self, encoder, code, *, beta: NonNegative = 1.0, annealing: Share = 0.0, free_bits: NonNegative = 0.0, bound_samples: Count = 50):
        super().__init__(Projected.around(encoder, code))
        self.beta, self.annealing, self.free_bits, self.bound_samples = beta, annealing, free_bits, bound_samples
        self.log_variance = nn.Linear(self.encoder.inner.dim, self.encoder.dim)
        self.register_buffer("progress", torch.zeros(()))

    def posterior(self, x):
        """Mean and logarithm of the variance of q(z | x), both (B, code)."""
        features = self.encoder.inner(x)
        return self.encoder.code(features), self.log_variance(features)

    @property
    def weight(self):
        """Of the KL: rises from 0 to beta over the annealing."""
        return self.beta * (self.progress / self.annealing).clamp(max=1) if self.annealing else self.beta

    def kl(self, outputs):
        """The term of the KL: its mean over the batch, in which each number of the code has its free bits."""
        return self.weight * gaussian_kl(outputs.mean, outputs.log_variance).mean(0).clamp(min=self.free_bits).sum()

    def after_step(self, outputs, progress):
        super().after_step(outputs, progress)
        self.progress.fill_(progress)

    def examine(self, views):
        outputs = self(views)
        kl = gaussian_kl(outputs.mean.float(), outputs.log_variance.float()).sum(1).mean()
        return {"kl_nats": kl.item(), "active_units": int((outputs.mean.float().var(0) > ACTIVE).sum())}

    def diagnose(self, measures):
        if self.progress < self.annealing or (measures["kl_nats"] > 0.1 and measures["active_units"]):
            return {}
        use = f"the code carries {measures['kl_nats']:.2g} nats per sample, and {measures['active_units']} of its {self.encoder.dim} numbers are used"
        return {"posterior collapse": f"{use}; usual causes: {self.causes}"}
