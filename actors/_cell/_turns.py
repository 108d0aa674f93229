"""Turns: how messages are handled, on a thread and on an event loop.

`run_on` and `run_async` are the same turn twice, since a coroutine cannot be both fast on a thread
and able to wait on a loop. What is not on the fast path is shared.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from contextvars import Context
from queue import Empty, SimpleQueue
from types import CoroutineType
from typing import Any, Protocol, cast

from actors._cell._handling import Handling
from actors._cell._state import (
    IDLE,
    LOCKS,
    UNMADE,
    CellState,
    complete,
)
from actors._context import context_to_carry
from actors._errors import ActorDeadError
from actors._future import Future
from actors._mailbox import HIGH_WATER, THROUGHPUT
from actors._messages import MailboxHigh
from actors._ref import SPECIAL

__all__ = ["Cell"]


class Runner(Protocol):
    """A thread that takes turns, as the cells see it."""

    cell: Any
    """Whose turn it takes."""

    handled: int
    """How many messages, counted at the end of each turn."""

    placed: bool
    """Whether it goes on with the next turn."""

    throughput: int
    """User messages in one turn, at most."""

    context: Context
    """The one it takes turns in; what handlers leave there must not be found by others."""

    take: Callable[[], Any]
    """Return who is ready, or None once the pool ends; raises `queue.Empty`."""

    def end(self) -> None:
        """Pass the end of the pool on."""


class Driver(Protocol):
    """A task that takes turns on an event loop, likewise."""

    context: Context
    """Its own, in which there is nothing but the actor that is executing."""

    throughput: int
    """User messages in one turn, at most."""

    def next(self, cell: Any, handled: int, /) -> Any:
        """Note the end of a turn of `cell`; return whose turn is next, or None to stop."""


class _Alone:
    """The runner of one turn."""

    __slots__ = ("cell", "context", "handled")

    placed = False
    throughput = THROUGHPUT
    take: Callable[[], Any] = SimpleQueue[Any]().get_nowait

    def __init__(self) -> None:
        self.cell: Any = None
        self.context = Context()
        self.handled = 0

    def end(self) -> None:
        """There is no pool."""


class Cell(Handling):
    """One actor as the engine sees it."""

    __slots__ = ()

    # -- turns ---------------------------------------------------------------------------------

    def run(self, until: Future[Any] | None = None) -> int:
        """Take a turn on this thread; return how many messages were handled.

        Args:
            until: a future after whose answer the turn ends early, because its thread waits for
                nothing else, and what comes next may block (perhaps until that thread goes on).
        """
        alone = _Alone()
        # The messages come from all kinds of senders, and have no part in what is set here.
        alone.context.run(self.run_on, alone, until)
        return alone.handled

    def run_on(self, runner: Runner, until: Future[Any] | None = None) -> None:
        """Take a turn, and then those of the actors that the runner has ready.

        One call for many turns, because most turns have one message, and a call for each would
        cost a tenth of it.
        """
        cell: Any = self
        take = runner.take
        # Invariant: empty after a request and after a turn, or the runner gets a new one. A context
        # for each told message that brings none would cost a tenth of it, to look a fortieth.
        context = runner.context
        throughput = runner.throughput
        while True:
            left = throughput
            unhandled = 0
            queue = cell.queue
            while True:
                pulse = cell.pulse
                if pulse is not cell.calm:
                    if cell.closed:
                        break
                    if cell.control:
                        complete(cell._attend())
                        continue
                    if cell.suspended:
                        break
                    cell.calm = pulse
                receive = cell.receive
                # The fast path. Invariant: between two messages, `pulse` tells whether anything
                # but the next message has to be looked at (control, a failure, the actor's end).
                while queue and left and cell.pulse is pulse:
                    left -= 1
                    try:
                        item = queue.popleft()
                    except IndexError:
                        unhandled += 1
                        break
                    if type(item) in SPECIAL:
                        unhandled += 1 - cell._run_special(item)
                        if context or (until is not None and until._state):
                            unhandled += left
                            left = 0
                        continue
                    cell.item = item
                    cell.began = None
                    try:
                        result = receive(item)
                        if result is not None and type(result) is CoroutineType:
                            raise cell._unexpected(result)  # noqa: TRY301 - fails it likewise
                    except BaseException as error:  # noqa: BLE001 - all that ends a handler fails it
                        unhandled += 1
                        cell._dead_letter(item, "failed")
                        complete(cell._fail(error))
                if cell.pulse is pulse:
                    break  # nothing but messages came, so there is nothing to look at
            runner.handled += throughput - left - unhandled
            # What _end_turn does, in line for those that are in a hurry.
            cell.item = IDLE
            if cell.direct:
                cell.permit[0] = 1
                if queue or cell.control:
                    cell.again()
            else:
                cell._end_turn()
            if context or not runner.placed:
                return
            try:
                cell = runner.cell = take()
            except Empty:
                return
            if cell is None:
                runner.end()
                return

    async def run_async(self, driver: Driver) -> None:
        """Take a turn on the event loop, and then those of the actors that the driver has ready."""
        cell: Any = self
        context = driver.context
        throughput = driver.throughput
        while True:
            left = throughput
            unhandled = 0
            queue = cell.queue
            while True:
                pulse = cell.pulse
                if pulse is not cell.calm:
                    if cell.closed:
                        break
                    if cell.control:
                        await cell._attend()
                        continue
                    if cell.suspended:
                        break
                    cell.calm = pulse
                receive = cell.receive
                while queue and left and cell.pulse is pulse:
                    left -= 1
                    try:
                        item = queue.popleft()
                    except IndexError:
                        unhandled += 1
                        break
                    if type(item) in SPECIAL:
                        unhandled += 1 - await cell._run_special_async(item)
                        if len(context) > 1:
                            unhandled += left
                            left = 0
                        continue
                    cell.item = item
                    cell.began = None
                    try:
                        result = receive(item)
                        if type(result) is CoroutineType:
                            result = await result
                            if type(result) is CoroutineType:
                                raise cell._unexpected(result)  # noqa: TRY301 - likewise
                    except BaseException as error:  # noqa: BLE001 - likewise
                        unhandled += 1
                        cell._dead_letter(item, "failed")
                        step = cell._fail(error)
                        if step is not None:
                            await step
                if cell.pulse is pulse:
                    break
            handled = throughput - left - unhandled
            cell.item = IDLE
            if cell.direct:
                cell.permit[0] = 1
                if queue or cell.control:
                    cell.again()
            else:
                cell._end_turn()
            cell = driver.next(cell, handled)
            if cell is None:
                return

    def wreck(self, error: BaseException) -> None:
        """Fail after the runtime failed in a turn, which would leave the actor stuck for good."""
        asked, self.asked = self.asked, None
        if isinstance(asked, Future):
            answer = ActorDeadError(f"{self.path} could not go on with the request")
            answer.__cause__ = error
            asked._fail(answer)
        self.attending = False
        self.post_first(Cell._op_escalate, error)
        self._end_turn()

    def _end_turn(self) -> None:
        """Let the next one have the permit, and see to what is there by now."""
        self.item = IDLE
        if self.closed:
            # It is gone for good. If it was abandoned when its last turn was just over, that turn
            # gave the permit back, and whoever got it relies on this one.
            if self.queue or self.control:
                self.bury()
            return
        if self.bounds is not None:
            self.freed()
        self.release()

    def again(self) -> None:
        """Take the permit back if there is something to do, and warn if it is very much."""
        if len(self.queue) > HIGH_WATER:
            self.warn_if_high()
        super().again()

    def warn_if_high(self) -> None:
        """Publish, once, that very much waits; at the end of a turn, or while one takes long."""
        waiting = len(self.queue)
        if waiting <= HIGH_WATER or self.warned or self.bounds is not None:
            return
        with LOCKS.late:  # the watchdog and a turn that ends may both come to it
            first, self.warned = not self.warned, True
        if first:
            self.system.publish(MailboxHigh(self.ref, self.path, waiting))

    async def _attend(self) -> None:
        """Do everything that waits in the control lane."""
        control = self.control
        self.item = IDLE
        try:
            while control and not self.closed:
                operation, args = control.popleft()
                self.attending = True
                step = operation(self, *args)
                if step is not None:
                    await step
        finally:
            self.attending = False

    # -- a turn on the asker's thread ----------------------------------------------------------

    def enqueue(self, message: Any) -> Future[Any]:
        """Queue a request as `ActorRef.request` does, for a caller that holds the permit."""
        future: Future[Any] = Future()
        future._requestee = self
        self.count_sent()
        self.queue.append((message, future, context_to_carry()))
        return future

    def answer(self, message: Any, asker: CellState | None) -> Any:
        """Handle one request on the thread of the asker, who holds the permit; a turn of its own.

        There is a future only if somebody wants it: the handler takes over the reply, or fails.

        Args:
            message: what to handle.
            asker: the actor whose handler asks, which waits until the turn is over.
        """
        if self.queue or self.pulse is not self.calm:
            # Something came between the asker's look and its grip: it has a turn of its own.
            future = self.enqueue(message)
            self.system.handled_inline(self.run(future))
            if asker is not None:
                asker.waits_for = None
            return future.get()
        try:
            self.count_sent()
        except RecursionError:
            self.permit[0] = 1
            raise
        # From here on there is stack for one call.
        self.item = message
        self.began = None
        self.asked = UNMADE
        try:
            result = self.receive(message)
            if type(result) is CoroutineType:
                raise self._unexpected(result)  # noqa: TRY301 - handled as what handlers raise
        except RecursionError as error:
            # The stack may be at its end, and the asker at fault; this actor must live on.
            if asker is not None:
                asker.waits_for = None
            _thread.start_new_thread(self._end_answer, (message, error))
            raise
        except BaseException as error:  # noqa: BLE001 - it is the answer, or a failure
            if asker is not None:
                asker.waits_for = None
            return self._end_answer(message, error).get()
        self.system.count_inline()
        promised, self.promised = self.promised, None
        self.asked = None
        if asker is not None:
            asker.waits_for = None
        # If it was abandoned in its handler, the answer counts all the same.
        if self.direct:
            # What _end_turn does, in line, since it must not end half way for lack of stack.
            self.item = IDLE
            self.permit[0] = 1
            if self.queue or self.control:
                try:
                    self.again()
                except RecursionError:
                    _thread.start_new_thread(self.again, ())
        else:
            self._end_turn()
        return result if promised is None else promised.get()

    def _end_answer(self, message: Any, error: BaseException) -> Future[Any]:
        """End the turn of `answer` after an exception; return the future that has it."""
        future = self.promised or cast("Future[Any]", self.promise())
        complete(self._not_handled(message, future, error))
        self.system.count_inline()
        self.asked = self.promised = None
        self._end_turn()
        return future
