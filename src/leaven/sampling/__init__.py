"""What makes up the next batch. A sampler names the samples of each step's global batch, and a checkpoint keeps what it remembers."""

from leaven.sampling.loader import Loader
from leaven.sampling.members import Members
from leaven.sampling.sampler import Nearness, Source
from leaven.sampling.stream import Stream

__all__ = ["Loader", "Members", "Nearness", "Source", "Stream"]
