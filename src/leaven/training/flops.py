"""How much arithmetic a training step is."""

from contextlib import closing, nullcontext

import torch
from torch import Tensor

from leaven.data.batch import Batch
from leaven.draw import Draw
from leaven.methods.method import Method
from leaven.sampling import Loader, Members
from leaven.training.step import Step


class AllTogether(nullcontext):
    """In place of torch's tracker of modules, whose hooks do not bear gradients of gradients."""

    parents = {"Global"}


def flops_a_step(method: Method, rows: Batch, members: Tensor, batch: int) -> float:
    """Floating-point operations of one forward and backward pass over `batch` samples: matrix products and convolutions as torch counts them, a
    multiply-add as two. The mean over players, and over stages by their share. The method's gradients and buffers are not left as they were.
    """
    from torch.utils.flop_counter import FlopCounterMode

    stages, players = list(method.stages()), method.players or ("",)
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    sampler = Members(rows, members).sampler(batch, 0, "order", pools=method.pools)
    step, count = Step(method.train(), nullcontext), 0.0
    with closing(Loader(sampler, [0], 1, torch.device("cpu"))) as loader:
        (samples,) = loader.batches(0)
        for number, stage in enumerate(stages):
            method.stage = number
            with torch.no_grad():
                views = method.views(samples, Draw("flops", number))
            for player in players:
                trained = (getattr(method, player),) if player else stage.trains
                moving = None if trained is None else {parameter for module in trained for parameter in module.parameters()}
                for parameter in parameters:
                    parameter.requires_grad_(moving is None or parameter in moving)
                counter = FlopCounterMode(display=False)
                counter.mod_tracker = AllTogether()  # type: ignore[assignment]
                with counter:
                    step.gradients([views], ("flops",), (player,) if player else ())
                count += stage.share * counter.get_total_flops() / len(players)
    return count
