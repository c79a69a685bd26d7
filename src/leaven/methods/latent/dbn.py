from leaven.encoders import build_encoder
from leaven.errors import UserError
from leaven.methods import DataSpec, Recipe
from leaven.methods.boltzmann import Machines
from leaven.modules.units import Binary


class DBN(Machines):
    """Restricted Boltzmann machines on top of each other, each a model of the hidden units below (Hinton, Osindero and Teh 2006, section 4).

    Only the uppermost machine keeps undirected weights; those below generate downwards. The weights are those of greedy learning, without the paper's
    up-down algorithm after it. Grey values are probabilities of a 1.

    widths: hidden units of each machine.
    """

    paper = "A Fast Learning Algorithm for Deep Belief Nets (Hinton et al.)"
    year = 2006
    recipe = Recipe(optimizer="sgd", lr=0.05, batch=100, weight_decay=1e-4, lr_rule="none", warmup=0.0, momentum=0.5)
    log_prob_is = "estimate of a lower bound of it"

    def __init__(self, data: DataSpec, *, widths: tuple[int, ...] = (500, 500, 500), **machines):
        if not widths:
            raise UserError("widths must name one machine or more")
        encoder = build_encoder("dense", data.roles["x"], {"widths": widths, "activation": "sigmoid", "last": "sigmoid", "raw": True})
        super().__init__(encoder, data, Binary(), **machines)
