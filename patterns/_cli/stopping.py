"""Ctrl-C and its kin: heard at once, and never waited on for long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["INTERRUPTED", "Stop", "end_soon"]

INTERRUPTED = 130
"""Exit code of a run that a signal ended, as shells count it for Ctrl-C."""

LAST_RESORT = 1.6
"""Seconds after a signal from which on nothing more is waited for: the process ends."""


class Stop:
    """Hears the signals that end a run; a second one ends the process there and then.

    Attributes:
        heard: set once there was a signal.
        name: which, or empty.
        when: at which second of the monotonic clock.
    """

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.name = ""
        self.when = 0.0
        self._loop = asyncio.get_running_loop()

    def _hear(self, number: int, _frame: Any) -> None:
        if self.name:
            # A second Ctrl-C: whoever is that sure is obeyed at once.
            os._exit(INTERRUPTED)
        self.when = time.monotonic()
        self.name = signal.Signals(number).name
        self._loop.call_soon_threadsafe(self.heard.set)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen inside the block."""
        before = {
            number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def end_soon(signalled: float) -> None:
    """See to it that the process ends, even if a library's thread does not."""
    left = max(0.0, signalled + LAST_RESORT - time.monotonic())
    timer = threading.Timer(left, os._exit, (INTERRUPTED,))
    timer.daemon = True
    timer.start()
