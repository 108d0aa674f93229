"""One-shot answers that can be waited for from threads and awaited from event loops.

A request is answered once: by the actor that handles the request, by `cancel()`, or by its
deadline. Whoever comes second learns that it was late (`_resolve` returns False), which is how a
late reply becomes a dead letter instead of an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import pykka
from loguru import logger

from actors._errors import (
    AlreadySet,
    DeadlineExceeded,
    InvalidOption,
    RequestCancelled,
    Timeout,
    TooManyWaiting,
    WouldBlockLoop,
    WouldDeadlock,
)
from actors._executing import CELL, local
from actors._options import LONGEST, NUMBERS, function, patience
from actors._threads import acquire
from actors._waiting import Limited, Wait, begin_wait, signal

__all__ = ["Answer", "Requestee", "annotate", "renew_answer_lock"]

T = TypeVar("T")

_get_running_loop = asyncio._get_running_loop
_PENDING, _VALUE, _ERROR = 0, 1, 2

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Requestee(Protocol):
    """Where a request went: what a future tells it about being given up."""

    def request_given_up(self, future: Any) -> None:
        """Stop working on the request if it is being handled right now."""

    def hasten(self, future: Any) -> None:
        """Do on this task, which is about to wait for the answer, what can be done for it."""

    def expire_at(self, when: float, future: Any) -> None:
        """Call `future._expire()` at `when` on the system's monotonic clock."""

    def works_on(self, future: Any) -> Any:
        """Return the cell from whose turns the answer has to come, or None if from elsewhere."""

    def now(self) -> float:
        """Return the time on the system's monotonic clock."""


_listening = threading.RLock()
"""Held for some instructions, by all futures alike.

As all locks of the runtime that are held while Python code runs, it may be taken again by the
thread that has it: a finalizer or signal handler may come in between, and use the runtime.
"""


def renew_answer_lock() -> None:
    """Have a lock that nobody holds, in a process that was forked with one that is held."""
    global _listening  # noqa: PLW0603 - the one lock of this module
    _listening = threading.RLock()


class Answer(pykka.Future[T], Generic[T]):
    """A place for one answer, and all ways to wait for it."""

    __slots__ = ("_callbacks", "_open", "_requestee", "_state", "_value", "_waiters", "_when")

    # Shadows the instance attribute that pykka's constructor would set.
    _get_hook: Any = None

    # What would have blocked a loop, and what to write instead.
    _on_loop = ("Future.get()", "`await` the future")

    # Where the request was sent; known in Python's development mode only, see ActorRef.request.
    _place: str | None = None

    # What it is as something that an actor waits for; see `Wait`.
    plain: bool = True
    advice = "use tell in one of the directions, or answer with reply_later"

    def __init__(self) -> None:
        # pykka's constructor is not called: all it does is to set what stands on the class here.
        # Invariant: emptied by whoever answers. As with a mailbox's permit, one call into C tells
        # who is first, at a fraction of the cost of a lock.
        self._open = {0: 1}
        # Invariant: leaves _PENDING once, after _value was written.
        self._state = _PENDING
        self._value: Any = None
        # Invariant: changes under _listening only. Who adds one looks at _state afterwards, and
        # who answers looks here after _state was written, so one of the two sees the other.
        self._callbacks: list[Callable[[Any], object]] | None = None
        self._waiters = 0
        self._requestee: Requestee | None = None
        self._when: float | None = None

    def __repr__(self) -> str:
        return f"<Future {('pending', 'done', 'failed')[self._state]}>"

    # -- answering ---------------------------------------------------------------------------

    def set(self, value: T | None = None) -> None:
        """Answer with a value.

        Raises:
            AlreadySet: the future has an answer.
        """
        if self._get_hook is not None or not self._resolve(_VALUE, value):
            raise AlreadySet("this future already has an answer")

    def set_exception(self, exc_info: ExcInfo | BaseException | None = None) -> None:
        """Answer with an exception: an instance, an `exc_info` triple, or the current one.

        Raises:
            AlreadySet: the future has an answer.
            InvalidOption: it is none of these; the future stays open.
        """
        if self._get_hook is not None or not self._fail(_exception_of(exc_info)):
            raise AlreadySet("this future already has an answer")

    def try_set(self, value: T | None = None) -> bool:
        """Answer with a value if nobody did; False means that nobody waits for it any more."""
        return self._resolve(_VALUE, value)

    def try_set_exception(self, error: BaseException) -> bool:
        """Answer with an exception if nobody did; False means that nobody waits for it.

        Raises:
            InvalidOption: it is no exception; the future stays open.
        """
        if not isinstance(error, BaseException):
            raise InvalidOption("error", error, "an exception, such as ValueError('why')")
        return self._fail(error)

    def _fail(self, error: BaseException) -> bool:
        return self._resolve(_ERROR, (error, error.__traceback__))

    def _resolve(self, state: int, value: Any) -> bool:
        """Answer if that is still possible; tell whether it was."""
        if not self._open.pop(0, 0):
            return False
        self._value = value
        self._state = state
        if self._callbacks is not None:
            with _listening:
                callbacks, self._callbacks = self._callbacks, None
            for callback in callbacks or ():
                self._notify(callback)
        return True

    def _notify(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except BaseException:  # noqa: BLE001 - or SystemExit would end the answerer's turn half way
            logger.exception("a done-callback of a future failed")

    def cancel(self) -> bool:
        """Give the request up; tell whether it was still open.

        A request that waits is not run; an async handler that runs it is cancelled at its next
        await; a sync handler cannot be interrupted, and its reply becomes a dead letter.
        """
        if not self._fail(RequestCancelled("the request was cancelled")):
            return False
        if self._requestee is not None:
            self._requestee.request_given_up(self)
        return True

    def _expire(self) -> None:
        if self._fail(DeadlineExceeded("the request")) and self._requestee is not None:
            self._requestee.request_given_up(self)

    # -- looking -----------------------------------------------------------------------------

    def done(self) -> bool:
        """Tell whether there is an answer."""
        return self._state != _PENDING

    def cancelled(self) -> bool:
        """Tell whether the answer is that it was cancelled."""
        return self._state == _ERROR and isinstance(self._value[0], RequestCancelled)

    def exception(self) -> BaseException | None:
        """Return the exception it was answered with; None if pending or answered with a value."""
        return self._value[0] if self._state == _ERROR else None

    def add_done_callback(self, callback: Callable[[Self], object]) -> None:
        """Call `callback(future)` once there is an answer, on the thread that gives it.

        If there is one already, it is called at once. What it raises is logged.

        Raises:
            InvalidOption: `callback` cannot be called.
        """
        function("callback", callback, "a function of the future")
        if self._add_callback(callback):
            if self._when is not None and self._requestee is not None:
                self._requestee.expire_at(self._when, self)
        else:
            self._notify(callback)

    def _add_callback(self, callback: Callable[[Any], object], *, waits: bool = False) -> bool:
        with _listening:
            if self._state:
                return False
            self._waiters += waits
            if self._callbacks is None:
                self._callbacks = [callback]
            else:
                self._callbacks.append(callback)
            if not self.done():
                return True
            # It was answered meanwhile, by somebody who may not have seen the callback.
            return not self._withdraw(callback)

    def _withdraw(self, callback: Callable[[Any], object]) -> bool:
        """Take a callback out; tell False if it was called, by a finalizer of this very thread."""
        if self._callbacks is None:
            return False
        self._callbacks.remove(callback)
        return True

    def _drop_waiter(self, callback: Callable[[Any], object]) -> bool:
        """Take out the callback of one who waited; tell whether nobody else waits.

        Those who only listen (`add_done_callback`) do not count: the runtime does so itself.
        """
        with _listening:
            if self._callbacks is None:
                return False
            self._waiters -= 1
            self._callbacks.remove(callback)
            return not self._waiters

    def _result(self) -> T:
        if self._state == _VALUE:
            return self._value  # type: ignore[no-any-return]
        while not self.done():
            # Its time ran out when somebody was first to answer, who has two more lines to go.
            time.sleep(0)
        if self._state == _VALUE:
            return self._value  # type: ignore[no-any-return]
        error, traceback = self._value
        if self._place is not None:
            annotate(error, self._place.__str__)
        # Each raise starts from the original traceback, or it would grow with every reader.
        raise error.with_traceback(traceback)

    # -- waiting -----------------------------------------------------------------------------

    def get(self, *, timeout: float | None = None) -> T:
        """Wait for the answer on this thread.

        Args:
            timeout: seconds to wait at most; None waits as long as it takes.

        Raises:
            InvalidOption: `timeout` is no number of seconds.
            Timeout: no answer within `timeout`; the request goes on.
            DeadlineExceeded: the request's own deadline passed.
            RequestCancelled: the future was cancelled.
            WouldDeadlock: the actor that waits would wait for itself.
            FinalizerWaits: a finalizer waits too long, in the middle of something else.
            TooManyWaiting: there is no thread left for another handler that waits.
            WouldBlockLoop: an event loop runs on this thread.
            BaseException: what the handler raised.
        """
        if timeout is not None and (type(timeout) not in NUMBERS or not 0 <= timeout < LONGEST):
            timeout = patience(timeout)
        if self._state == _PENDING:
            if self._get_hook is not None:
                return self._run_hook(timeout)
            self._wait(timeout)
        return self._result()

    def _wait(self, timeout: float | None) -> None:
        if _get_running_loop() is not None:
            raise WouldBlockLoop(*self._on_loop)
        arrival = signal()

        def arrived(_: Answer[T]) -> None:
            arrival.release()

        if not self._add_callback(arrived, waits=True):
            return
        wait, expires = timeout, False
        if self._when is not None and self._requestee is not None:
            left = max(0.0, self._when - self._requestee.now())
            if timeout is None or left <= timeout:
                wait, expires = left, True
        worker = local.worker
        me = self._begin_wait(None if expires else timeout)
        try:
            if worker is not None:
                try:
                    worker.before_block()
                except TooManyWaiting as error:
                    # Or what was asked for would be run all the same, and ask the next.
                    if self._fail(error) and self._requestee is not None:
                        self._requestee.request_given_up(self)
                    return
            if acquire(arrival, wait, "a reply"):
                return
        finally:
            if me is not None:
                me.waits_for = None
            if worker is not None:
                worker.after_block()
        self._drop_waiter(arrived)
        if expires:
            self._expire()
        elif self._state == _PENDING:
            raise Timeout(timeout or 0.0)

    def _begin_wait(self, seconds: float | None = None) -> Any:
        """Note that an actor waits for this; in a circle the answer is that it would deadlock."""
        wait: Wait = self
        if seconds is not None and self._requestee is not None:
            wait = Limited(self, self._requestee.now() + seconds)
        try:
            return begin_wait(wait)
        except WouldDeadlock as error:
            self._fail(error)
            return None

    @property
    def until(self) -> float | None:
        return self._when

    def waits_for_cell(self) -> Any:
        if self._state or self._requestee is None:
            return None
        return self._requestee.works_on(self)

    def waits_for_cells(self, waiting: Any) -> Iterable[Any]:  # noqa: ARG002 - others need it
        cell = self.waits_for_cell()
        return () if cell is None else (cell,)

    def refuse(self, error: WouldDeadlock) -> bool:
        return self._fail(error)

    def __await__(self) -> Generator[Any, None, T]:
        if self._state == _PENDING:
            if self._get_hook is not None:
                return (yield from asyncio.to_thread(self.get).__await__())
            me = self._begin_wait() if CELL.get() is not None else None
            try:
                yield from self._suspend()
            finally:
                if me is not None:
                    me.waits_for = None
        return self._result()

    __iter__ = __await__

    def _suspend(self) -> Generator[Any, None, None]:
        if self._requestee is not None:
            self._requestee.hasten(self)
        if self._state:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        arrived = _Arrival(loop, waiter)
        if not self._add_callback(arrived, waits=True):
            return
        timer = None
        if self._when is not None and self._requestee is not None:
            timer = loop.call_later(max(0.0, self._when - self._requestee.now()), self._expire)
        try:
            yield from waiter.__await__()
        except asyncio.CancelledError:
            # As with asyncio's futures, cancelling the only one who waits cancels the work.
            if self._drop_waiter(arrived):
                self.cancel()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    # -- pykka's hook ------------------------------------------------------------------------

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Have `func(timeout)` make the value on the first `get()` (pykka); None: nothing does.

        Raises:
            AlreadySet: the future has an answer.
            InvalidOption: `func` cannot be called.
        """
        if func is not None:
            function("func", func, "a function of the timeout in seconds, or None")
        if self._state:
            raise AlreadySet("this future already has an answer")
        self._get_hook = func

    def _run_hook(self, timeout: float | None) -> T:
        # A hook that raises is asked again next time, a value is kept: as pykka does it.
        value: T = self._get_hook(timeout)
        self._resolve(_VALUE, value)
        return self._result()


class _Arrival:
    """Wakes a task that waits; one object, where functions would be five to collect."""

    __slots__ = ("_loop", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        self._loop = loop
        self._waiter = waiter

    def __call__(self, _: Answer[Any]) -> None:
        if _get_running_loop() is self._loop:
            self._wake()
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            # The loop was closed under its own task, so nobody waits any more.
            if not self._loop.is_closed():
                raise

    def _wake(self) -> None:
        if not self._waiter.done():
            self._waiter.set_result(None)


def _exception_of(exc_info: ExcInfo | BaseException | None) -> BaseException:
    if isinstance(exc_info, BaseException):
        return exc_info
    triple: Any = exc_info if exc_info is not None else sys.exc_info()
    if (
        not isinstance(triple, tuple)
        or len(triple) != 3
        or not (triple[0] is None or _is_kind(triple[0]))
        or not isinstance(triple[1], (BaseException, type(None)))
        or not isinstance(triple[2], (TracebackType, type(None)))
    ):
        raise InvalidOption(
            "exc_info", exc_info, "an exception, what sys.exc_info() returns, or None"
        )
    kind, given, traceback = triple
    error: BaseException = given
    if given is None:
        error = kind() if kind is not None else RuntimeError("no exception to set")
    return error.with_traceback(traceback) if traceback is not None else error


def _is_kind(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def annotate(error: BaseException, make: Callable[[], str]) -> None:
    """Add a note to an exception, once; one that is raised for ever takes no more than 20."""
    # Some take none: a frozen dataclass, one with slots or a property of that name.
    with contextlib.suppress(Exception):
        notes = getattr(error, "__notes__", ())
        if len(notes) < 20 and (note := make()) not in notes:
            error.add_note(note)
