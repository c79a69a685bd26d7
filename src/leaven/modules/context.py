"""Later steps of a sequence, predicted from the steps so far. Steps may be moments of a sound, or rows of a grid of patches."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class CausalBlock(nn.Module):
    """A residual block that sees a step and the one before, and at both the places to the left and right (van den Oord et al. 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.reduce = nn.Conv2d(width, width, 1)
        self.across = nn.Conv2d(width, width, (1, 3), padding=(0, 1))
        self.before = nn.Conv2d(width, width, (2, 1))
        self.expand = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "batch width steps places"]) -> Float[Tensor, "batch width steps places"]:
        y = self.across(F.relu(self.reduce(x)))
        return x + self.expand(F.relu(self.before(F.pad(y, (0, 0, 1, 0)))))


class Forecast(nn.Module):
    """Linear predictions of the latents some steps ahead, from a context of the latents so far (van den Oord et al. 2018, section 2.3).

    The context at step t is a function of latents up to t alone: causal convolutions, `depth` steps far back (Henaff et al. 2020, appendix).
    inputs: length of a latent. ahead: how many steps ahead. width: of the context. dim: of predictions and targets.
    """

    def __init__(self, inputs: int, ahead: tuple[int, ...], *, width: int, depth: int, dim: int):
        super().__init__()
        self.ahead = ahead
        self.embed = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*(CausalBlock(width) for _ in range(depth)))
        self.predict = nn.ModuleList(nn.Linear(width, dim) for _ in ahead)
        self.target = nn.Linear(inputs, dim)

    def context(self, latents: Float[Tensor, "batch steps places inputs"]) -> Float[Tensor, "batch steps places width"]:
        """Sequences have one place at each step, grids have one for each column."""
        return F.relu(self.blocks(self.embed(latents).permute(0, 3, 1, 2)).permute(0, 2, 3, 1))

    def forward(self, latents: Float[Tensor, "batch steps places inputs"]) -> tuple[list[Tensor], list[Tensor]]:
        """For each number of steps k: predictions and targets, both (batch, steps - k, places, dim)."""
        context, targets = self.context(latents), self.target(latents)
        predictions = [predict(context[:, :-k]) for k, predict in zip(self.ahead, self.predict, strict=True)]
        return predictions, [targets[:, k:] for k in self.ahead]
