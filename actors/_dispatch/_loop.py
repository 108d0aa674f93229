"""The event loop: handlers are stepped directly, and only one that suspends costs a task.

A *driver* is a task that takes ready cells one after the other and awaits their turns. Awaiting a
turn that does not suspend costs no trip through the loop. When a handler does suspend, its driver
is suspended with it (so the handler runs in a real task, as `asyncio.timeout` and others demand),
and a pump, which the loop calls next, sends another driver to the remaining cells. 100 000 agents
that wait for a model are 100 000 suspended drivers.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from loguru import logger

from actors._context import CELL, RUN

__all__ = ["LoopDispatcher", "LoopThread"]

SPARE_DRIVERS = 64
"""Parked drivers that are kept."""

TURNS_PER_STEP = 256
"""Turns a driver takes before it lets the rest of the loop have a go."""

_get_running_loop = asyncio._get_running_loop


class LoopDispatcher:
    """The dispatcher of async actors on one event loop."""

    inline = False
    awaits = True

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ready: deque[Any] = deque()
        # Invariant: held from the moment a pump is scheduled until it begins; so there is at most
        # one, and whoever appends after it began schedules the next.
        self._pump_due = threading.Lock()
        # Invariant: all below is used on the loop's thread only.
        self._spare: list[tuple[asyncio.Future[None], asyncio.Task[None]]] = []
        self._drivers: set[asyncio.Task[None]] = set()
        # Invariant: the drivers that were sent for and have not come yet. One that somebody else
        # cancels on its way leaves here when it ends, or no other would be sent for ever again.
        self._waking: set[asyncio.Task[None]] = set()
        self._closed = False
        self.handled = 0
        self.submit: Callable[[Any], None] = self._submit

    def _submit(self, cell: Any) -> None:
        self._ready.append(cell)
        if self._pump_due.acquire(False):
            self._schedule()

    def _schedule(self) -> None:
        if _get_running_loop() is self.loop:
            # A driver that is running takes what it causes itself, unless it suspends first;
            # anybody else need not wait for the loop to come round to the pump.
            if asyncio.current_task(self.loop) in self._drivers:
                self.loop.call_soon(self._pump)
            else:
                self._pump()
            return
        try:
            self.loop.call_soon_threadsafe(self._pump)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            # Its owner closed the loop without stopping the system: nobody can run these.
            logger.error("the event loop of an actor system was closed before the system stopped")

    def _pump(self) -> None:
        self._pump_due.release()
        if not self._ready or self._waking:
            return
        while self._spare:
            parked, task = self._spare.pop()
            if not parked.done():
                self._waking.add(task)
                parked.set_result(None)
                return
        # In an empty context: a driver must not inherit the run of whoever caused it.
        task = self.loop.create_task(self._drive(), context=contextvars.Context())
        self._drivers.add(task)
        self._waking.add(task)
        task.add_done_callback(self._driver_ended)

    def _driver_ended(self, task: asyncio.Task[None]) -> None:
        self._drivers.discard(task)
        self._waking.discard(task)
        self._resume_pump()

    async def _drive(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        ready = self._ready
        cell: Any
        while True:
            self._waking.discard(me)
            for _ in range(TURNS_PER_STEP):
                try:
                    cell = ready.popleft()
                except IndexError:
                    break
                if ready and self._pump_due.acquire(False):
                    # Should this turn suspend, somebody has to take the others.
                    self.loop.call_soon(self._pump)
                CELL.set(cell)
                cell.frame = me
                try:
                    # Not in one statement: `+=` reads its left side before the turn suspends.
                    handled = await cell.run_async()
                    self.handled += handled
                except Exception:  # noqa: BLE001 - a bug of the runtime must not stop all actors
                    logger.exception("the runtime failed in a turn of {}", cell)
                cell.frame = None
                RUN.set(None)
                if me.cancelling() and self._was_cancelled(cell, me):
                    return
            CELL.set(None)
            cell = None
            if len(self._spare) >= SPARE_DRIVERS or self._closed:
                self._resume_pump()
                return
            parked = self.loop.create_future()
            self._spare.append((parked, me))
            self._resume_pump()
            await parked

    def _was_cancelled(self, cell: Any, me: asyncio.Task[None]) -> bool:
        """Tell whether somebody else than the runtime cancels this task, and it has to end."""
        foreign = cell.interrupted is None and not cell.was_interrupted
        cell.was_interrupted = False
        while me.cancelling():
            me.uncancel()
        return bool(foreign)

    def _resume_pump(self) -> None:
        if self._ready and self._pump_due.acquire(blocking=False):
            self.loop.call_soon(self._pump)

    def take_here(self, cell: Any) -> None:
        """An actor of the loop runs on the loop only."""
        self.submit(cell)

    # -- interruptions -----------------------------------------------------------------------

    def interrupt(self, cell: Any) -> None:
        """Cancel what the handler awaits, because the actor is being killed."""
        self._on_loop(self._interrupt, cell, None)

    def interrupt_request(self, cell: Any, future: Any) -> None:
        """Cancel what the handler awaits, if it still handles the request of that future."""
        self._on_loop(self._interrupt, cell, future)

    def _on_loop(self, call: Callable[..., None], *args: Any) -> None:
        if _get_running_loop() is self.loop:
            call(*args)
            return
        try:
            self.loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def _interrupt(self, cell: Any, future: Any) -> None:
        task = cell.frame
        # Each may be over by now, and what runs be the next message, or the next instance.
        due = cell.kill_pending() if future is None else cell.asked is future
        if task is None or not due:
            return
        if task is asyncio.current_task(self.loop):
            # It was ordered by the handler itself; its next await is the first chance.
            self.loop.call_soon(self._interrupt, cell, future)
            return
        cell.interrupted = "kill" if future is None else "request"
        cell.was_interrupted = True
        task.cancel()

    # -- the end -----------------------------------------------------------------------------

    async def close(self) -> None:
        """Let all drivers end; handlers that are still suspended are cancelled."""
        self._closed = True
        for parked, _ in self._spare:
            if not parked.done():
                parked.set_result(None)
        self._spare.clear()
        me = asyncio.current_task()
        drivers = [d for d in self._drivers if d is not me]
        if not drivers:
            return
        _, late = await asyncio.wait(drivers, timeout=0.2)
        for driver in late:
            driver.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)


class LoopThread:
    """An event loop on a thread of its own, for systems that were not given one."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            asyncio.set_event_loop(None)
            self.loop.close()

    def close(self) -> None:
        """Let the loop end."""
        try:
            self.loop.call_soon_threadsafe(self.loop.stop)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; tell whether it did. On the thread itself, return at once."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def threads(self) -> int:
        """How many threads are in use (0 or 1)."""
        return int(self._thread.is_alive())
