"""What makes up the next batch. A sampler names the samples of each step's global batch, and a checkpoint keeps what it remembers."""

from leaven.sampling.loader import Loader
from leaven.sampling.members import Members
from leaven.sampling.min_red import MinRed
from leaven.sampling.sampler import Nearness, Source
from leaven.sampling.stream import InOrder, Policy, Reservoir, Stream

POLICIES: dict[str, type[Policy]] = {"fifo": Policy, "reservoir": Reservoir, "minred": MinRed}
"""Which samples the buffer of a stream keeps, by name."""

__all__ = ["POLICIES", "InOrder", "Loader", "Members", "MinRed", "Nearness", "Policy", "Reservoir", "Source", "Stream"]
