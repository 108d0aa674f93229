"""A driver: a task that takes the turns of async actors, and where it stands.

Layer 5: `_dispatch._loop` says when there is one, and what it is to take.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Coroutine, Generator
from types import FrameType
from typing import Any, Protocol

from loguru import logger

from actors._awaiting import frame_of, inner_step
from actors._executing import CELL, frames_of
from actors._mailbox import THROUGHPUT

__all__ = ["TURNS_PER_STEP", "Driver", "Sender"]

TURNS_PER_STEP = 256
"""Turns a driver takes before it lets the rest of the loop have a go."""


class Sender(Protocol):
    """Who sends drivers, as they see it; all is on the loop's thread."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where its drivers are tasks."""
        ...

    ready: deque[Any]
    """The actors whose turn it is."""

    thread: int | None
    """The loop's, once it has run something."""

    handled: int
    """How many messages."""

    def resume_pump(self) -> None:
        """Have somebody sent for those that are ready, unless that is so already."""

    def arrived(self, driver: Driver) -> None:
        """Note that a driver is there and takes turns."""

    def park(self, driver: Driver) -> bool:
        """Have a driver wait for the next pump; tell False if it is to end instead."""
        ...

    def driver_ended(self, driver: Driver) -> None:
        """Forget a driver whose task is over."""


class Driver:
    """A task that takes turns, and where it stands."""

    __slots__ = (
        "cancelling",
        "cell",
        "context",
        "dispatcher",
        "left",
        "parked",
        "ready",
        "rest",
        "spent",
        "task",
        "turns",
        "until",
    )

    def __init__(self, dispatcher: Sender) -> None:
        self.dispatcher = dispatcher
        self.ready = dispatcher.ready
        # Empty at first: a driver must not inherit the run of whoever caused it.
        self.context = contextvars.Context()
        # Whether a handler left something in it, which the next one must not find.
        self.spent = False
        self.cell: Any = None
        self.left = 0  # turns until the loop has a go
        self.rest: _Rest | None = None  # turns that came to wait, until this task takes them on
        self.until: Any = None  # the future whose task lends its time at the moment
        self.turns: Coroutine[Any, Any, None] | None = None  # the latest
        self.parked: asyncio.Future[None] | None = None
        # Not by the loop's own factory, which may be the user's: one that begins a task at once
        # would begin this one before it is made.
        self.task = asyncio.Task(self._drive(), loop=dispatcher.loop, context=self.context)
        self.cancelling = self.task.cancelling

    throughput = THROUGHPUT

    def ended(self, _: object) -> None:
        """Hear that its task is over."""
        self.dispatcher.driver_ended(self)

    def begin(self, cell: Any) -> None:
        """Note that a turn of `cell` is about to begin."""
        self.cell = cell
        cell.frame = self.task
        CELL.set(cell)

    def next(self, cell: Any, handled: int) -> Any:
        """Note the end of a turn of `cell`; return whose turn is next, or None to stop."""
        self.dispatcher.handled += handled
        cell.frame = None
        if len(self.context) > 1:  # there is more in it than CELL
            self.spent = True
        if (self.cancelling() and self._was_cancelled(cell)) or self.spent:
            self.left = -1
            return None
        self.left -= 1
        until = self.until
        if not self.left or (until is not None and until._state):
            return None
        ready = self.ready
        if not ready:
            return None
        cell = ready.popleft()
        if ready:
            # Should this turn suspend, somebody has to take the others.
            self.dispatcher.resume_pump()
        self.cell = cell
        cell.frame = self.task
        CELL.set(cell)
        return cell

    def frames(self) -> list[FrameType]:
        """Return where its turns stand, the handler's frame first; from any thread."""
        frames: list[FrameType] = []
        step: Any = self.turns
        while step is not None:
            running = getattr(step, "cr_running", False) or getattr(step, "gi_running", False)
            if running:
                return frames_of(self.dispatcher.thread)
            frame = frame_of(step)
            if frame is not None:
                frames.append(frame)
            step = inner_step(step)
        return frames

    def _was_cancelled(self, cell: Any) -> bool:
        """Tell whether somebody else than the runtime cancels the task, and it has to end."""
        foreign = cell.interrupted is None and not cell.was_interrupted
        cell.was_interrupted = False
        while self.task.cancelling():
            self.task.uncancel()
        return bool(foreign)

    def step(self) -> bool:
        """Take turns for as long as none has to wait; tell whether one has.

        Called in this driver's context, as its task, which may be parked meanwhile.
        """
        ready = self.dispatcher.ready
        cell = ready.popleft()
        if ready:
            self.dispatcher.resume_pump()
        self.begin(cell)
        turns = self.turns = cell.run_async(self)
        try:
            waits_for = turns.send(None)
        except StopIteration:
            return False
        except Exception as error:  # noqa: BLE001 - a bug of the runtime must not stop all actors
            logger.exception("the runtime failed in a turn of {}", self.cell)
            self.left -= 1
            self.cell.wreck(error)
            return False
        self.note_wait()
        if asyncio.isfuture(waits_for):
            waits_for._asyncio_future_blocking = False
        self.rest = _Rest(self, turns, waits_for)
        return True

    def note_wait(self) -> None:
        """Note since when the current message waits for something, if that is new."""
        cell = self.cell
        if cell.began is None:
            cell.began = cell.now()
        if cell.asides is not None:
            cell.asides.hurry()

    async def _drive(self) -> None:
        dispatcher = self.dispatcher
        ready = dispatcher.ready
        while not self.spent:
            dispatcher.arrived(self)
            self.left = TURNS_PER_STEP
            while self.left > 0 and (ready or self.rest is not None):
                if self.rest is None and not self.step():
                    continue
                rest, self.rest = self.rest, None
                assert rest is not None
                try:
                    await rest
                except Exception as error:  # noqa: BLE001 - likewise
                    logger.exception("the runtime failed in a turn of {}", self.cell)
                    self.left -= 1
                    self.cell.wreck(error)
            CELL.set(None)
            self.cell = self.turns = None
            if self.left < 0 or not dispatcher.park(self):
                return
            assert self.parked is not None
            try:
                await self.parked
            except asyncio.CancelledError:
                if self.rest is None:
                    raise
                # What was begun on another task's time is what was meant.
                self.rest.cancelled = True


class _Rest:
    """Turns that have come to wait for something, perhaps on another task's time."""

    __slots__ = ("cancelled", "driver", "turns", "waits_for")

    def __init__(self, driver: Driver, turns: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self.driver = driver
        self.turns = turns
        self.waits_for = waits_for
        self.cancelled = False

    def __await__(self) -> Generator[Any, Any, None]:
        stepped = self.turns
        waits_for = self.waits_for
        awaits = asyncio.isfuture(waits_for)
        try:
            # As with a task: what it waits for is cancelled, and only if that has an answer already
            # is it told so itself. Else what a handler gathers would go on without it.
            if self.cancelled and not (awaits and waits_for.cancel()):
                waits_for = stepped.throw(asyncio.CancelledError())
            elif awaits:
                # A task takes what is yielded to it for a future that is being awaited only if it
                # says so, once for each time.
                waits_for._asyncio_future_blocking = True
            while True:
                try:
                    value = yield waits_for
                except BaseException as error:  # noqa: BLE001 - it is for the one that waits
                    waits_for = stepped.throw(error)
                else:
                    waits_for = stepped.send(value)
                self.driver.note_wait()
        except StopIteration:
            return
