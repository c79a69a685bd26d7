"""A data set as a stream: its samples in their order, through a replay buffer."""

import math
import re
from typing import Any

import torch
from torch import Tensor

from leaven.data import Batch, DataSet
from leaven.data.order import in_order
from leaven.errors import UserError
from leaven.sampling import POLICIES, InOrder, Stream
from leaven.training.request import Request

BUFFER = 4096  # samples, where nothing is said
REPLAYED = 8  # times that a sample is seen on average, where nothing is said
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB)", re.IGNORECASE)
BYTES = {"kb": 1e3, "mb": 1e6, "gb": 1e9}


def ordered(data: DataSet, members: Tensor) -> Tensor:
    """The members in the order of the numbers in their names, file by file, or of a table's rows."""
    return members[torch.from_numpy(in_order([data.files[int(row)] for row in members])[0])]


def capacity(request: Request, rows: Batch, batch: int) -> int:
    """How many samples the buffer holds. UserError where it is not to be understood, or does not hold a batch."""
    text = str(request.buffer or BUFFER).strip()
    size = SIZE.fullmatch(text)
    if size is None and not text.isdigit():
        raise UserError(f"a buffer of {text!r} is neither a number of samples nor of bytes", where="--buffer", hint="write 4096, or 500MB")
    one = max(1, rows.select(torch.zeros(1, dtype=torch.int64)).nbytes)
    count = int(text) if size is None else int(float(size[1]) * BYTES[size[2].lower()] / one)
    if count < batch:
        what = f"a buffer of {text} holds {count:,} samples, fewer than a batch of {batch}"
        raise UserError(what, where="--buffer", hint="raise it, or lower --batch")
    return count


def fresh(request: Request, batch: int) -> int:
    """Samples that arrive before each step."""
    return request.fresh or max(1, batch // REPLAYED)


def steps_of(request: Request, samples: int, batch: int) -> int:
    """Steps that read the whole stream once, or as often as `epochs` says."""
    return 1 + math.ceil(max(0.0, (request.epochs or 1) * samples - batch) / fresh(request, batch))


def stream_choices(request: Request, data: DataSet, batch: int) -> list[dict[str, Any]]:
    """What is said of the stream before it begins; nothing where there is none. UserError where it is not to be understood."""
    if request.stream is None:
        return []
    if request.stream not in POLICIES:
        raise UserError(f"there is no buffer {request.stream!r}", where="--stream", hint=f"choose {', '.join(POLICIES)}")
    count, samples = capacity(request, data.rows, batch), len(data.train())
    holds = f"the buffer holds {count:,} samples" if count < samples else f"the buffer of {count:,} samples holds the whole stream"
    return [{"what": "stream", "value": request.stream, "why": f"{holds}, and {fresh(request, batch)} arrive before each step"}]


def stream_of(request: Request, data: DataSet, rows: Batch, members: Tensor, batch: int) -> Stream:
    """rows: the samples of the data set, wherever they lie."""
    assert request.stream is not None
    policy = POLICIES[request.stream]()
    return Stream(InOrder(rows, ordered(data, members)), capacity=capacity(request, rows, batch), fresh=fresh(request, batch), policy=policy)


def described(request: Request, batch: int) -> dict[str, Any]:
    """What identifies the stream of a run; empty where there is none."""
    if request.stream is None:
        return {}
    return {"stream": {"keeps": request.stream, "buffer": str(request.buffer or BUFFER), "fresh": fresh(request, batch)}}
