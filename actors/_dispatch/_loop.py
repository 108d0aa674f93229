"""The event loop: handlers are stepped directly, and only one that suspends costs a task.

A *driver* is a task that takes ready cells one after the other and awaits their turns. Awaiting a
turn that does not suspend costs no trip through the loop. When a handler does suspend, its driver
is suspended with it (so the handler runs in a real task, as `asyncio.timeout` and others demand),
and a pump, which the loop calls next, sends another driver to the remaining cells. 100 000 agents
that wait for a model are 100 000 suspended drivers.

A task of the same loop that awaits a reply *lends* its time: the turns that are ready are stepped
there and then, so an ask whose handler does not suspend costs no trip through the loop either.
"""

from __future__ import annotations

import _thread
import asyncio
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from loguru import logger

from actors._driver import TURNS_PER_STEP, Driver
from actors._threads import start_thread

__all__ = ["LoopDispatcher", "LoopThread"]

SPARE_DRIVERS = 64
"""Parked drivers that are kept."""

MOST_SENT = 64
"""Drivers that are sent in one round of the loop."""

LENDS_PER_ROUND = 64
"""How often tasks lend themselves to ready actors before the loop has to come round."""

MAX_LENT = 16
"""How deep lending may go on one stack."""

YEARS = 1e9
"""Seconds until something that is never due."""

_get_running_loop = asyncio._get_running_loop


class LoopDispatcher:
    """The dispatcher of async actors on one event loop."""

    inline = False
    awaits = True

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ready: deque[Any] = deque()
        # Invariant: empty from the moment a pump is scheduled until it begins; so there is at most
        # one, and whoever appends after it began schedules the next. (As a mailbox's permit.)
        self._pump_permit = {0: 1}
        # Invariant: all below is used on the loop's thread only.
        self._spare: list[Driver] = []
        self._drivers: set[Driver] = set()
        # Invariant: the drivers that were sent for and have not come yet. One that somebody else
        # cancels on its way leaves here when it ends, or no other would be sent for ever again.
        self._waking: set[Driver] = set()
        # When the loop was asked to come round for `held_up`, until it does.
        self._asked: float | None = None
        self._wanted = 1  # drivers that the next pump sends
        self._lends = 0  # since the loop came round
        # The tasks that lend their time, the innermost last. All are in the middle of a step.
        self._lenders: list[asyncio.Task[Any]] = []
        self._closed = False
        self._tether: weakref.ref[asyncio.TimerHandle] | None = None
        self.thread: int | None = None  # the loop's, once it has run something
        self.handled = 0
        self.submit: Callable[[Any], None] = self._submit

    def _submit(self, cell: Any) -> None:
        self.ready.append(cell)
        if self._pump_permit.pop(0, 0):
            try:
                self._schedule()
            except RecursionError:
                # The sender's stack is at its end, which must not be the end of all async actors.
                # This is one more call of it, and goes on with a stack of its own.
                _thread.start_new_thread(self._schedule, ())

    def resume_pump(self) -> None:
        """Have somebody sent for those that are ready, unless that is so already."""
        if self._pump_permit.pop(0, 0):
            self.loop.call_soon(self._pump)

    def _schedule(self) -> None:
        if _get_running_loop() is self.loop:
            self.loop.call_soon(self._pump)
            return
        try:
            self.loop.call_soon_threadsafe(self._pump)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            self._strand()

    def tether(self) -> None:
        """Hear of it when the owner of the loop closes it, rather than when it is needed next."""
        loop = self.loop
        # What is scheduled is let go when the loop is closed. Not on a loop of somebody's own,
        # which may be one that leaps to whatever is due next.
        if type(loop).__module__.partition(".")[0] in {"asyncio", "uvloop"}:
            self._tether = weakref.ref(loop.call_later(YEARS, int), self._let_go)

    def _let_go(self, _: object) -> None:
        if self.loop.is_closed() and not self._closed:
            self._strand()

    def _strand(self) -> None:
        """End the actors that nobody can run any more, as the loop was closed under the system.

        The others end like this when they are needed next.
        """
        self._closed = True  # for drivers that are collected: there is nothing to wait for
        # They may send to each other in here, which must not end in a call for each of them.
        self._pump_permit.pop(0, 0)
        for driver in list(self._drivers):
            if driver.cell is not None:
                driver.cell.strand()
        while True:
            while self.ready:
                try:
                    cell = self.ready.popleft()
                except IndexError:
                    break  # another thread does the same
                cell.strand()
            self._pump_permit[0] = 1
            if not (self.ready and self._pump_permit.pop(0, 0)):
                return

    def _pump(self) -> None:
        self._pump_permit[0] = 1
        self._lends = 0
        if self.thread is None:
            self.thread = threading.get_ident()
        if not self.ready or self._waking:
            return
        # One will do if handlers do not wait. If they do, each keeps its driver: double, or ten
        # thousand that begin to wait at once would take the loop ten thousand rounds.
        for _ in range(min(self._wanted, len(self.ready))):
            self._send_driver()
        self._wanted = min(2 * self._wanted, MOST_SENT)

    def _send_driver(self) -> None:
        while self._spare:
            driver = self._spare.pop()
            parked = driver.parked
            if parked is not None and not parked.done():
                self._waking.add(driver)
                parked.set_result(None)
                return
        driver = Driver(self)
        self._drivers.add(driver)
        self._waking.add(driver)
        driver.task.add_done_callback(driver.ended)

    def driver_ended(self, driver: Driver) -> None:
        """Forget a driver whose task is over."""
        self._drivers.discard(driver)
        self._waking.discard(driver)
        if self.ready:
            self.resume_pump()

    def arrived(self, driver: Driver) -> None:
        """Note that a driver is there and takes turns."""
        self._waking.discard(driver)

    def park(self, driver: Driver) -> bool:
        """Have a driver wait for the next pump; tell False if it is to end instead."""
        self._wanted = 1
        if self.ready:
            self.resume_pump()
        if len(self._spare) >= SPARE_DRIVERS or self._closed:
            return False
        driver.parked = self.loop.create_future()
        self._spare.append(driver)
        return True

    def lend(self, future: Any) -> None:
        """Take the turns of actors that are ready on the time of the task that awaits `future`.

        It would only wait, and the loop have to come round twice until it went on. The turns are
        stepped as a parked driver, in its context and as its task; if one comes to wait for
        something, that driver goes on with it, and the lending ends.
        """
        loop = self.loop
        if not self.ready or self._lends >= LENDS_PER_ROUND or len(self._lenders) >= MAX_LENT:
            return
        if _get_running_loop() is not loop or not self._spare:
            return
        task = asyncio.current_task(loop)
        if task is None:
            return
        driver = self._spare.pop()
        if driver.task.cancelling():
            return  # it is about to end
        self._lends += 1
        self._lenders.append(task)
        driver.left = TURNS_PER_STEP
        driver.until = future
        asyncio._leave_task(loop, task)
        try:
            self._step(driver)
        finally:
            asyncio._enter_task(loop, task)
            self._lenders.pop()
            driver.until = None

    def _step(self, driver: Driver) -> None:
        """Take turns as a parked driver, which the caller has taken from the spare ones."""
        loop = self.loop
        asyncio._enter_task(loop, driver.task)
        try:
            suspended = driver.context.run(driver.step)
        finally:
            asyncio._leave_task(loop, driver.task)
        parked = driver.parked
        if parked is None or parked.done():
            return  # a handler cancelled the task it ran in: the driver is on its way
        if not suspended and driver.left >= 0:
            self._spare.append(driver)
        else:
            parked.set_result(None)

    def take_here(self, cell: Any) -> None:
        """An actor of the loop runs on the loop only."""
        self.submit(cell)

    def works(self) -> bool:
        """Tell whether the loop is there to take turns on."""
        return not self.loop.is_closed()

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
            self._strand()

    def _interrupt(self, cell: Any, future: Any) -> None:
        task = cell.frame
        # Each may be over by now, and what runs be the next message, or the next instance.
        due = cell.kill_pending() if future is None else cell.asked is future
        if task is None or not due:
            return
        if task is asyncio.current_task(self.loop) or task in self._lenders:
            # It was ordered by the handler itself, or on time that it lends; its next await is the
            # first chance. A task that is cancelled in the middle of a step would be told so at
            # whatever it awaits next, which may be in the handler of another actor.
            self.loop.call_soon(self._interrupt, cell, future)
            return
        cell.interrupted = "kill" if future is None else "request"
        cell.was_interrupted = True
        task.cancel()

    # -- looking -----------------------------------------------------------------------------

    def executing(self) -> list[tuple[Any, Callable[[], list[FrameType]]]]:
        """Return the actors whose handlers run or wait here, each with a way to its frames."""
        return [(d.cell, d.frames) for d in list(self._drivers) if d.cell is not None]

    def held_up(self) -> float:
        """Return for how many seconds the loop is known not to have come round; inf if closed."""
        if self.loop.is_closed():
            return math.inf
        asked = self._asked
        if asked is not None:
            return time.monotonic() - asked
        if _get_running_loop() is not self.loop:
            self._asked = time.monotonic()
            self._on_loop(self._came_round)
        return 0.0

    def _came_round(self) -> None:
        self._asked = None

    # -- the end -----------------------------------------------------------------------------

    def abandon(self) -> None:
        """Let nobody miss the drivers, which go on in the process that this one was forked from."""
        for driver in self._drivers:
            driver.task._log_destroy_pending = False  # type: ignore[attr-defined]  # as gather does

    async def close(self) -> None:
        """Let all drivers end; handlers that are still suspended are cancelled."""
        self._closed = True
        handle = None if self._tether is None else self._tether()
        if handle is not None:
            handle.cancel()
        for driver in self._spare:
            if driver.parked is not None and not driver.parked.done():
                driver.parked.set_result(None)
        self._spare.clear()
        me = asyncio.current_task()
        drivers = [d.task for d in self._drivers if d.task is not me]
        if not drivers:
            return
        _, late = await asyncio.wait(drivers, timeout=0.2)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)


class LoopThread:
    """An event loop on a thread of its own, for systems that were not given one."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        # Held by the thread, or a system that is forgotten would be collected with its drivers,
        # and they be closed as what nobody can ever wake.
        self.dispatcher = LoopDispatcher(self.loop)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        start_thread(self._thread)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            while not self._closing:
                try:
                    self.loop.run_forever()
                except (SystemExit, KeyboardInterrupt):
                    # asyncio lets these two through when a task that a handler started raises one.
                    # In a thread they end that thread, which all actors of the loop live on.
                    logger.exception("a task on the loop of an actor system wanted to exit")
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            asyncio.set_event_loop(None)
            self.loop.close()

    def close(self) -> None:
        """Let the loop end."""
        self._closing = True
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
