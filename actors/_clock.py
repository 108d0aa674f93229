"""Time as the runtime sees it.

Everything that waits or stamps asks a `Clock`, so that a simulation can put virtual time in its
place. Layer 0: the protocol only knows numbers; `SystemClock` is the one place that reads a clock.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol, runtime_checkable

__all__ = ["Clock", "SystemClock", "ambient"]


@runtime_checkable
class Clock(Protocol):
    """Two readings: one to measure with, one to write down."""

    def monotonic(self) -> float:
        """Return seconds that never go back; the zero is arbitrary."""
        ...

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


class _Ambient(threading.local):
    clock: Clock = SystemClock()


ambient = _Ambient()
"""`ambient.clock` is what code of this thread measures with that names no system; a simulation puts
its own there."""
