from torch.nn import functional as F

from leaven.data.spec import DataSpec
from leaven.errors import UserError
from leaven.methods.method import Method, Outputs, Recipe
from leaven.modalities import Pixels, Vector
from leaven.modules import Teacher
from leaven.modules.adversaries import dense_players, noise_size
from leaven.modules.samples import deviation, energy_distance
from leaven.views import Views, default_views

JUDGED_FROM = 200  # turns of the generator: what begins as noise is far from the data, and its average from itself
COLLAPSED, TOO_STRONG, FAR, DRIFTING = 0.3, 0.99, 0.1, 0.5


class GAN(Method):
    """One network makes samples of noise, another tells them from the data, each against the other (Goodfellow et al. 2014, eq. 1 and algorithm 1).

    Both are fully connected. A step is a turn of one of them. New samples come from a moving average of the generator.

    noise: numbers that a sample is made of (none: as many as it has, at most 64). generator, discriminator: widths of their hidden layers; the last
    one of the discriminator gives the features. discriminator_steps: turns of the discriminator before each of the generator, the paper's k.
    saturating: the generator minimises log(1 - D), as in equation 1, whose gradient vanishes while samples are easily told; otherwise it maximises
    log D. momentum: of the moving average.
    """

    paper = "Generative Adversarial Networks (Goodfellow et al.)"
    year = 2014
    recipe = Recipe(lr=5e-4, batch=128, weight_decay=0.0, betas=(0.5, 0.999), lr_rule="none", schedule="constant", warmup=0.0)
    purpose = "plain"
    shapes_features = False
    loss_over_batch = False
    judged_by = "sample_distance"
    saturating = False

    def __init__(
        self,
        data: DataSpec,
        *,
        noise: int | None = None,
        generator: tuple[int, ...] = (256, 256),
        discriminator: tuple[int, ...] = (256, 256),
        discriminator_steps: int = 1,
        saturating: bool = False,
        momentum: float = 0.999,
        views: Views | None = None,
    ):
        super().__init__(views=views or default_views(self.purpose, data.roles["x"].modality))
        self.saturating = saturating
        noise = noise_size(noise, data.roles["x"])
        self.begin(noise, dense_players(data.roles["x"], noise, generator, discriminator), discriminator_steps, momentum)

    def begin(self, noise, players, discriminator_steps, momentum):
        """players: the generator and the discriminator, which take `discriminator_steps` turns a round and the last one."""
        if discriminator_steps < 1 or not 0 <= momentum < 1:
            raise UserError(f"steps must be 1 or more and momentum from 0 to below 1, not {discriminator_steps} and {momentum}")
        self.noise = noise
        self.generator, self.discriminator = players
        self.average = Teacher(self.generator, momentum=momentum, rising=False, warming=True)
        self.players = ("discriminator",) * discriminator_steps + ("generator",)

    @property
    def encoder(self):
        return self.discriminator.encoder

    def views(self, batch, draw):
        (real,) = self.augment(batch["x"], draw.child("views"))
        return {"real": [real], "noise": [draw.normal(len(batch), self.noise)]}

    def forward(self, views, player):
        noise, *label = views["noise"]
        fake = self.generator(noise, *label)
        if player == "generator":
            return Outputs(fake=self.discriminator(fake, *label))
        return Outputs(real=self.discriminator(*views["real"]), fake=self.discriminator(fake.detach(), *label))

    def loss(self, outputs, player):
        if player == "generator":
            return {"generator": -F.softplus(outputs.fake).mean() if self.saturating else F.softplus(-outputs.fake).mean()}
        return {"discriminator": F.softplus(-outputs.real).mean() + F.softplus(outputs.fake).mean()}

    def after_step(self, outputs, progress):
        if "real" not in outputs:  # the average moves with the generator
            super().after_step(outputs, progress)

    def sample(self, count, draw, label=None):
        noise = draw.normal(count, self.noise).to(self.generator.center)
        made = self.average(noise) if label is None else self.average(noise, label)
        return Pixels(made) if self.encoder.input.modality == "pixels" else Vector(made)

    def examine(self, views):
        """How samples compare with the data: how many are told apart rightly, their deviation and distance from it, and how far they move about."""
        noise, *label = views["noise"]
        fake, steady = self.generator(noise, *label), self.average(noise, *label)
        real_score, fake_score = self.discriminator(*views["real"]), self.discriminator(fake, *label)
        x, y, z = (self.encoder.normalize(each).float().flatten(1) for each in (views["real"][0], fake, steady))
        return {
            "told_apart": ((real_score > 0).float().mean() + (fake_score <= 0).float().mean()).item() / 2,
            "sample_spread": deviation(y) / deviation(x),
            "sample_distance": energy_distance(x, y),
            "sample_drift": (y.mean(0) - z.mean(0)).norm().item() / deviation(x),
        }

    def diagnose(self, measures):
        if self.average.updates < JUDGED_FROM:
            return {}
        found = {}
        if measures["sample_spread"] < COLLAPSED:
            found["mode collapse"] = (
                f"generated samples spread {measures['sample_spread']:.2f} times as far as the data's; usual causes: too high a learning rate, too "
                "few turns of the discriminator, or a generator much stronger than it; wgan_gp seldom does this"
            )
        if measures.get("told_apart", 0) > TOO_STRONG and measures["sample_distance"] > FAR:  # of near ones it may be sure and still teach
            found["discriminator too strong"] = (
                f"it tells {measures['told_apart']:.1%} of the samples apart, which stay {measures['sample_distance']:.2f} of 1 away from the data: "
                "the generator learns little from it; usual causes: too many turns or too high a learning rate of the discriminator, a saturating "
                "loss, or a generator too small for the data"
            )
        if measures["sample_drift"] > DRIFTING:
            found["oscillating"] = (
                f"the mean of the generated samples lies {measures['sample_drift']:.2f} of the data's deviation from its own moving average: the "
                "players chase each other in circles; usual causes: too high a learning rate or momentum (recipe.lr, recipe.betas), or too small a "
                "batch"
            )
        return found
