from torch import nn

from leaven.errors import UserError
from leaven.losses import mean_within
from leaven.methods import Count, Encoder, Method, Outputs, Recipe


class APC(Method):
    """From the frames so far, predict the frame that comes some steps later (Chung et al. 2019, eq. 2).

    Frames are those of a log-mel spectrogram, or pieces of a signal. The context sees no frame after its own, and what lies beyond the end of a
    sample is not predicted.

    ahead: how many frames later (1 or more). Neighbouring frames are so alike that the next one alone teaches little.
    """

    paper = "An Unsupervised Autoregressive Model for Speech Representation Learning (Chung et al.)"
    year = 2019
    recipe = Recipe(optimizer="muon", lr=1e-2, batch=64, weight_decay=0.05, warmup=0.1)
    wants = "causal_frames"
    purpose = "reconstruction"
    loss_over_batch = False

    def __init__(self, encoder: Encoder, *, ahead: Count = 3):
        super().__init__(encoder)
        check_ahead(ahead, encoder)
        self.ahead = ahead
        self.predict = nn.Linear(encoder.dim, encoder.patch_size)

    def forward(self, views):
        (sample,) = views
        frames, values = self.encoder.frames(sample), self.encoder.patches(sample)
        prediction = self.predict(self.encoder.context(frames).tokens[:, : -self.ahead])
        return Outputs(prediction=prediction, target=values[:, self.ahead :], present=values[:, : -self.ahead], real=frames.real[:, self.ahead :])

    def loss(self, outputs):
        return {"distance": distance(outputs.prediction, outputs)}

    def chance(self, outputs):
        return distance(0 * outputs.target, outputs).item()

    def measures(self, outputs):
        """The distance as a share of that of a model that repeats the present frame."""
        repeated = distance(outputs.present, outputs).clamp(min=1e-12)
        return {"against_repetition": (distance(outputs.prediction, outputs) / repeated).item()}


def distance(prediction, outputs):
    """L1, the mean over the values of a frame, over the frames of a sample and over samples."""
    return mean_within((prediction - outputs.target).abs().mean(2), outputs.real)


def check_ahead(ahead, encoder):
    """UserError where a sample has no frame so many steps later."""
    frames = encoder.token_grid[1]
    if ahead >= frames:
        raise UserError(f"samples of {frames} frames have none that is {ahead} steps later", where="ahead", hint=f"choose from 1 to {frames - 1}")
