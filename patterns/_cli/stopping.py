"""Ctrl-C and its kin: heard at once, and never waited on for long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["INTERRUPTED", "Stop"]

INTERRUPTED = 130
"""Exit code of a run that a signal ended, as shells count it for Ctrl-C."""

LAST_RESORT = 1.7
"""Seconds after a signal from which on nothing more is waited for: the process ends."""


class Stop:
    """Hears the signals that end a run.

    Attributes:
        heard: set once there was a signal.
        name: which, or empty.
    """

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.name = ""
        self._saved = False
        self._loop = asyncio.get_running_loop()

    def _hear(self, number: int, _frame: Any) -> None:
        if self._saved:
            os._exit(INTERRUPTED)
        # Shells and wrappers pass one Ctrl-C on twice, milliseconds apart: a second signal must
        # not cost what the first one is about to save.
        if not self.name:
            self.name = signal.Signals(number).name
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self.heard.set()
        # Should a library's thread hold everything up.
        timer = threading.Timer(LAST_RESORT, os._exit, (INTERRUPTED,))
        timer.daemon = True
        timer.start()

    def saved(self) -> None:
        """Say that all is written and printed: now and from now on, a signal ends the process.

        It does so at once, since giving a model back may take longer than there is time for.
        """
        self._saved = True
        if self.name:
            os._exit(INTERRUPTED)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen inside the block."""
        before = {number: signal.signal(number, self._hear) for number in _signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _signals() -> list[signal.Signals]:
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    # Under nohup it is ignored, and has to stay so.
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        numbers.append(hangup)
    return numbers
