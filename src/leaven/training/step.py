"""Gradients of one global batch, in one piece, in micro-batches or over several processes, always of the same loss; and how much arithmetic it is."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from leaven.data.batch import Batch
from leaven.draw import Draw, seed_of
from leaven.methods.method import Method, Outputs, map_tensors, tensors_of
from leaven.sampling import Loader, Members
from leaven.training.devices import seed_device
from leaven.training.distributed import gather, mean_over_processes

Autocast = Callable[[], AbstractContextManager]


@contextmanager
def unchanged_buffers(module: nn.Module) -> Iterator[None]:
    """Running statistics and other buffers as they were, whatever happens inside."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    yield
    for buffer, before in kept:
        buffer.copy_(before)


def in_full_precision(outputs: Outputs) -> Outputs:
    """Losses are computed in fp32 (or fp64) whatever the network ran in."""
    return map_tensors(lambda tensor: tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor, outputs)


def in_double(views: Any) -> Any:
    """Views with every floating-point tensor in float64, for runs at that precision."""
    return map_tensors(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, views)


def joined(parts: list[Outputs]) -> Outputs:
    """The outputs of several micro-batches as those of one batch."""
    return map_tensors(lambda *tensors: torch.cat(tensors), parts[0], *parts[1:])


class Step:
    """The forward and backward pass of one optimiser step.

    Methods whose loss compares samples see the outputs of the whole global batch; over micro-batches their gradients are cached
    (Gao et al. 2021): outputs first without a graph, then the loss of all of them, then each part again with the gradient of its outputs.
    """

    def __init__(self, method: Method, autocast: Autocast):
        self.method, self.autocast = method, autocast

    def forward(self, views: Any, seed: tuple[object, ...], player: tuple[str, ...]) -> Outputs:
        seed_device(seed_of(*seed), next(self.method.parameters()).device)  # dropout inside the networks
        with self.autocast():
            outputs = self.method(views, *player)
        return in_full_precision(outputs)

    def loss(self, outputs: Outputs, player: tuple[str, ...]) -> dict[str, Tensor]:
        with torch.autocast(next(tensors_of(outputs)).device.type, enabled=False):
            return self.method.loss(outputs, *player)

    def gradients(
        self, parts: list[Any], seed: tuple[object, ...], player: tuple[str, ...] = (), whole: bool = False
    ) -> tuple[dict[str, Tensor], Outputs]:
        """Accumulates gradients of the global batch's loss; `parts` are the views of each local micro-batch.

        Returns the loss terms and the outputs that the loss saw last, detached: of the global batch where it compares samples or `whole` asks for
        that, else of one part.
        """
        if not self.method.loss_over_batch:
            return self._independent(parts, seed, player, whole)
        if len(parts) == 1:
            outputs = gather(self.forward(parts[0], seed, player))
            terms = self.loss(outputs, player)
            total(terms).backward()
            return detached(terms), detached(outputs)
        with torch.no_grad(), unchanged_buffers(self.method):
            local = [self.forward(part, (*seed, number), player) for number, part in enumerate(parts)]
        leaves = map_tensors(lambda tensor: tensor.requires_grad_(tensor.is_floating_point()), joined(local))
        outputs = gather(leaves)
        terms = self.loss(outputs, player)
        total(terms).backward()
        starts = [0 for _ in tensors_of(leaves)]  # each output has its own number of rows in a part, such as those of a larger pool
        for number, part in enumerate(parts):
            again = self.forward(part, (*seed, number), player)
            pairs = []
            for place, (tensor, leaf) in enumerate(zip(tensors_of(again), tensors_of(leaves), strict=True)):
                start, starts[place] = starts[place], starts[place] + len(tensor)
                if tensor.requires_grad and leaf.grad is not None:
                    pairs.append((tensor, leaf.grad[start : starts[place]]))
            torch.autograd.backward([tensor for tensor, _ in pairs], [gradient for _, gradient in pairs])
        return detached(terms), detached(outputs)

    def _independent(self, parts: list[Any], seed: tuple[object, ...], player: tuple[str, ...], whole: bool) -> tuple[dict[str, Tensor], Outputs]:
        sums: dict[str, Tensor] = {}
        kept: list[Outputs] = []
        for number, part in enumerate(parts):
            outputs = self.forward(part, (*seed, number) if len(parts) > 1 else seed, player)
            terms = self.loss(outputs, player)
            (total(terms) / len(parts)).backward()
            for name, term in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(term)) + term.detach() / len(parts)
            kept = [*(kept if whole else []), detached(outputs)]
        return {name: mean_over_processes(value) for name, value in sums.items()}, gather(joined(kept)) if whole else kept[-1]


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def detached(tree: Any) -> Any:
    return map_tensors(Tensor.detach, tree)


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
    sampler = Members(rows, members).sampler(batch, 0, "order", pools=method.pools, nearness=method.nearness)
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
