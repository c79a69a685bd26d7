"""How long a step takes, from real steps of a copy."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from leaven.training.distributed import agree
from leaven.training.stages import Stages


def mean_step_seconds(seconds: float, stages: Stages, copied: Callable[[], tuple[Stages, Callable[[], object]]]) -> float:
    """Seconds that a step takes: the median of some real steps, four rounds at least, in `seconds` of time.

    Where several players take turns of different lengths, the mean of their medians; where stages train or grow different networks, the mean over the
    whole training. copied: gives a copy of the stages, and what does one step in it.
    """
    shares: dict[Any, float] = defaultdict(float)
    first: dict[Any, int] = {}
    for number, stage in enumerate(stages.all):
        kind = (stage.trains, stage.grow)
        shares[kind] += stages.end(number) - (stages.end(number - 1) if number else 0.0)
        first.setdefault(kind, number)
    return sum(share * step_seconds(first[kind], seconds / len(shares), *copied()) for kind, share in shares.items())


def step_seconds(number: int, seconds: float, stages: Stages, do_step: Callable[[], object]) -> float:
    """The same for one stage."""
    stages.grow_until(number - 1)
    stages.number = number
    stages.begin(0)
    begin = time.monotonic()
    durations: list[float] = []
    turns = max(1, len(stages.method.players))
    while len(durations) < 4 * turns or agree(time.monotonic() - begin < seconds and len(durations) < 200):
        clock = time.monotonic()
        do_step()
        durations.append(time.monotonic() - clock)
    rounds = [sorted(durations[1:][turn::turns]) for turn in range(turns)]  # the first step is slower than any other
    return sum(times[len(times) // 2] for times in rounds) / turns
