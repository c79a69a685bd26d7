from leaven.data.spec import DataSpec
from leaven.encoders import build_encoder
from leaven.errors import UserError
from leaven.methods.boltzmann import Machines
from leaven.methods.method import Recipe
from leaven.modules.units import Binary
from leaven.views import Views


class DBN(Machines):
    """Restricted Boltzmann machines on top of each other, each a model of the hidden units below (Hinton, Osindero and Teh 2006, section 4).

    Only the uppermost machine keeps undirected weights; those below generate downwards. The weights are those of greedy learning, without the paper's
    up-down algorithm after it. Grey values are probabilities of a 1.

    widths: hidden units of each machine. gibbs_steps: rounds of Gibbs sampling, the k of CD-k. persistent: chains go on from step to step instead of
    starting at the samples. chains: how many there are. ais_runs, ais_temperatures: of annealed importance sampling, for the uppermost machine.
    sample_steps: rounds of Gibbs sampling in it that make new samples.
    """

    paper = "A Fast Learning Algorithm for Deep Belief Nets (Hinton et al.)"
    year = 2006
    recipe = Recipe(optimizer="sgd", lr=0.05, batch=100, weight_decay=1e-4, lr_rule="none", warmup=0.0, momentum=0.5)
    log_prob_is = "estimate of a lower bound of it"

    def __init__(
        self,
        data: DataSpec,
        *,
        widths: tuple[int, ...] = (500, 500, 500),
        gibbs_steps: int = 1,
        persistent: bool = True,
        chains: int = 100,
        ais_runs: int = 100,
        ais_temperatures: int = 3000,
        sample_steps: int = 1000,
        views: Views | None = None,
    ):
        if not widths:
            raise UserError("widths must name one machine or more")
        encoder = build_encoder("dense", data.roles["x"], {"widths": widths, "activation": "sigmoid", "last": "sigmoid", "raw": True})
        super().__init__(
            encoder, data, Binary(), views, gibbs_steps=gibbs_steps, persistent=persistent, chains=chains, ais_runs=ais_runs,
            ais_temperatures=ais_temperatures, sample_steps=sample_steps,
        )  # fmt: skip
