"""Ctrl-C and SIGTERM during a training."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from leaven.errors import Interrupted


class StopRequest:
    """Whether somebody asked for an end. The first Ctrl-C or SIGTERM only asks; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen until the end of the block. Raises Interrupted on a second Ctrl-C. Only the main thread of a process hears signals."""

        def ask(number: int, frame: Any) -> None:
            if self.asked and number == signal.SIGINT:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # a third one ends whatever does not come to an end
                raise KeyboardInterrupt
            self.asked = True

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # not the main thread
            before = {}
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted("stopped at once") from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
