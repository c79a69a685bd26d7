"""Damage as disks, networks, editors and strangers do it, each from a seed; and what must never follow from it."""

import contextlib
import json
import random
import resource
import signal

from leaven.errors import Interrupted, TrainingStopped, UserError

REPLACEMENTS = (
    None, -1, 0, 1, 10**12, -(10**12), 2**70, 1.5, float("nan"), 1e308, "x", "", "../../..", True, [], {}, [[]], ["a"], [10**9], [-1], {"a": 1},
)  # fmt: skip
SECONDS, BYTES = 20, 2 * 10**9


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A file that was cut, or in which bytes were changed, added or removed."""
    content = bytearray(content or b"\0")
    kind, place = draw.choice(("cut", "change", "head", "insert", "remove")), draw.randrange(len(content))
    if kind == "cut":
        del content[place:]
    elif kind in ("change", "head"):
        for _ in range(draw.choice((1, 2, 8, 30))):
            content[draw.randrange(len(content) if kind == "change" else min(60, len(content)))] = draw.choice((0, 255, 34, 10, draw.randrange(256)))
    elif kind == "insert":
        content[place:place] = draw.randbytes(draw.choice((1, 7, 100)))
    else:
        del content[place : place + draw.choice((1, 5, 50))]
    return bytes(content)


def altered(tree, draw: random.Random):
    """A JSON value of which one part, which may be the whole, is removed or replaced. Returns it and a description."""
    path = draw.choice(list(places(tree)))
    if not path:
        return draw.choice(REPLACEMENTS), "all"
    part = tree
    for key in path[:-1]:
        part = part[key]
    if draw.random() < 0.15:
        del part[path[-1]]
        return tree, f"without {'.'.join(map(str, path))}"
    part[path[-1]] = value = draw.choice(REPLACEMENTS)
    return tree, f"{'.'.join(map(str, path))} = {value!r}"


def places(tree, path=()):
    yield path
    for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree[:3]) if isinstance(tree, list) else ():
        yield from places(part, (*path, key))


def altered_json(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    tree, what = altered(json.loads(content), draw)
    return json.dumps(tree).encode(), what


@contextlib.contextmanager
def harmless():
    """It may work or be refused as a user's mistake; it must neither end in another error, nor hang, nor take much memory."""

    def too_long(*_):
        raise AssertionError(f"it took more than {SECONDS} seconds")

    before, peak = signal.signal(signal.SIGALRM, too_long), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines: list[str] = []
    signal.alarm(SECONDS)
    try:
        yield
    except (UserError, TrainingStopped, Interrupted) as error:
        lines = str(error).splitlines()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert len(lines) <= 1, lines
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < BYTES
