"""Scheduled calls: one thread with a heap for a whole system, started when first needed.

A call runs on the timer thread and must be short; what the runtime schedules only posts messages.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Any, Protocol

from loguru import logger

from actors._clock import Clock
from actors._threads import start_thread

__all__ = ["ScheduledCall", "ThreadTimers", "Timers"]

LEAST_SWEPT = 1000
"""Scheduled calls from which on it is looked whether some were cancelled."""


class ScheduledCall:
    """A call that is due at a point in time, unless it is cancelled before."""

    __slots__ = ("_call", "when")

    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self.when = when
        self._call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Make sure that the call is not started any more; what it held on to is let go."""
        self._call = None

    @property
    def cancelled(self) -> bool:
        """Whether there is nothing left to call."""
        return self._call is None

    def run(self) -> None:
        """Make the call, once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Timers(Protocol):
    """What schedules calls: a thread in earnest, the scheduler itself in a simulation."""

    def call_later(self, seconds: float, call: Callable[..., object], *args: Any) -> ScheduledCall:
        """Call `call(*args)` in `seconds`."""
        ...

    def close(self) -> None:
        """Forget what is scheduled and start nothing new."""
        ...

    def join(self, timeout: float | None = None) -> None:
        """Wait, after `close`, until nothing is being called any more."""
        ...

    @property
    def threads(self) -> int:
        """How many threads are in use."""
        ...

    @property
    def interrupted(self) -> bool:
        """Whether this very thread is in the middle of a change: this is a signal handler."""
        ...


class ThreadTimers:
    """Scheduled calls on a thread of their own."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self._name = name
        self._changed = threading.Condition(threading.RLock())
        # Invariant: a heap by (when, order), guarded by _changed; `order` keeps calls of the same
        # instant in the order they were made.
        self._heap: list[tuple[float, int, ScheduledCall]] = []
        self._order = itertools.count()
        self._sweep_at = LEAST_SWEPT
        self._thread: threading.Thread | None = None
        self._closed = False

    def call_later(self, seconds: float, call: Callable[..., object], *args: Any) -> ScheduledCall:
        """Call `call(*args)` on the timer thread in `seconds`; dropped once the timers close."""
        bound = (lambda: call(*args)) if args else call
        scheduled = ScheduledCall(self._clock.monotonic() + max(0.0, seconds), bound)
        with self._changed:
            if self._closed:
                return scheduled
            if len(self._heap) >= self._sweep_at:
                self._sweep()
            heapq.heappush(self._heap, (scheduled.when, next(self._order), scheduled))
            if self._thread is None:
                self._start()
            elif self._heap[0][2] is scheduled:
                self._changed.notify()
        return scheduled

    def _start(self) -> None:
        # Known before it is started, which takes a while: a signal handler that comes in between
        # would start another.
        thread = self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            start_thread(thread)
        except (RuntimeError, MemoryError):
            self._thread = None
            # Whoever schedules something may be a shutdown, which has to go on.
            logger.exception("there is no thread for timers; the next one that is set tries again")

    def _sweep(self) -> None:
        """Let go of what was cancelled; else a timer of an hour would be kept for an hour.

        Done when as many calls again have come as there were after the last time, so that each
        call pays for a step or two.
        """
        # A finalizer that comes in between adds to the new list.
        entries: list[tuple[float, int, ScheduledCall]] = []
        entries, self._heap = self._heap, entries
        self._heap.extend([entry for entry in entries if not entry[2].cancelled])
        heapq.heapify(self._heap)
        self._sweep_at = max(LEAST_SWEPT, 2 * len(self._heap))

    def _run(self) -> None:
        while (scheduled := self._next()) is not None:
            try:
                scheduled.run()
            except BaseException:  # noqa: BLE001 - one bad call must not end all timers
                logger.exception("a scheduled call failed")

    def _next(self) -> ScheduledCall | None:
        with self._changed:
            while not self._closed:
                if not self._heap:
                    self._changed.wait()
                    continue
                when, _, scheduled = self._heap[0]
                left = when - self._clock.monotonic()
                if left <= 0 or scheduled.cancelled:
                    heapq.heappop(self._heap)
                    if not scheduled.cancelled:
                        return scheduled
                else:
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
            return None

    @property
    def threads(self) -> int:
        """How many threads are in use (0 or 1)."""
        return int(self._thread is not None and self._thread.is_alive())

    @property
    def interrupted(self) -> bool:
        """Whether this very thread is in the middle of a change: this is a signal handler."""
        return bool(self._changed._is_owned())  # type: ignore[attr-defined]  # as Condition's own

    def close(self) -> None:
        """Forget what is scheduled and let the thread end."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the thread to end; called from the thread itself, return at once."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
