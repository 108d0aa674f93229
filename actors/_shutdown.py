"""How a system ends, and what it is made of that has to end.

Shutdown goes from the users' actors to the services, and from them to the threads. It runs once,
whoever begins it: a call, the end of a `with` block, or a failure that no policy tolerates.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from loguru import logger

from actors._answer import _get_running_loop
from actors._children import Children
from actors._clock import Clock
from actors._dispatch._loop import LoopDispatcher, LoopThread
from actors._dispatch._pinned import Pinned
from actors._dispatch._pool import Pool
from actors._errors import ForkedSystem, SystemStopped, WouldBlockLoop, WouldDeadlock
from actors._future import Future
from actors._mailbox import Tally
from actors._messages import ShutdownReport, SystemFailed
from actors._options import flag
from actors._reports import Reports
from actors._supervision import Supervision
from actors._timers import ThreadTimers, Timers
from actors._tree import Root, living
from actors._waiting import Limited, begin_wait

__all__ = ["JOIN_SECONDS", "Stoppable", "forget"]

_roots: set[Root] = set()
"""Those of the systems that run. A root holds its actors, and each of them its system: those that
everybody has forgotten go on, and are stopped at exit. A system without actors is held by whoever
uses it, and by nobody else."""

JOIN_SECONDS = 2.0
"""How long the end of a `with` block waits for threads whose work is over."""


def forget(system: Stoppable) -> None:
    """Let go of a system that has ended."""
    _roots.difference_update((system._user, system._services))


class _Ending(Future[ShutdownReport]):
    """The report of a shutdown; who does not wait for it any more takes it from nobody else."""

    __slots__ = ("_system",)

    plain = False
    advice = "call shutdown() without waiting for it"

    def __init__(self, system: Stoppable) -> None:
        super().__init__()
        # Weak, or a system that everybody has forgotten would be held by its own end.
        self._system = weakref.ref(system)

    _on_loop = ("ActorSystem.shutdown().get()", "`await system.shutdown()`")

    def cancel(self) -> bool:
        return False

    def refuse(self, error: WouldDeadlock) -> bool:  # noqa: ARG002 - it is not only his
        return False

    def _begin_wait(self, seconds: float | None = None) -> Any:
        system = self._system()
        if seconds is None or system is None:
            return begin_wait(self)
        return begin_wait(Limited(self, system.clock.monotonic() + seconds))

    def waits_for_cell(self) -> Any:
        system = self._system()
        return None if self._state or system is None else system._user

    def waits_for_cells(self, waiting: Any) -> Iterable[Any]:
        system = self._system()
        if self._state or system is None:
            return
        if waiting is not None and waiting.system is system:
            yield waiting
            return
        for root in (system._user, system._services):
            for cell in living(root):
                if cell.spec.shutdown is None:
                    yield from cell.within(waiting)


class Stoppable(Reports):
    """The parts of a system, and their end.

    Args:
        name: for logs and thread names.
        supervision: how the root supervises the actors spawned on the system.
        clock: what the system measures time with.
        flight_recorder: how many messages are kept of an actor that has failed.
    """

    def __init__(
        self, name: str, supervision: Supervision, clock: Clock, flight_recorder: int
    ) -> None:
        super().__init__(clock, flight_recorder)
        self.name = name
        self.failure: BaseException | None = None
        """Why the system shut itself down, if it did."""
        self.sent = Tally()
        self.timers = self._make_timers()
        self._born = Tally()
        self._ended = Tally()
        self._pool = self._make_pool()
        self._lock = threading.RLock()
        # Invariant: the fields below change under _lock.
        self._loop: LoopDispatcher | None = None
        self._loop_thread: LoopThread | None = None
        self._pinned_handled = 0
        self._pinned: weakref.WeakSet[Pinned] = weakref.WeakSet()
        # Invariant: as a mailbox's permit; whoever takes it begins the shutdown.
        self._stop_permit = {0: 1}
        self._stopped: Future[ShutdownReport] = _Ending(self)
        # Invariant: not None from the beginning of the shutdown on.
        self._stopping: Future[ShutdownReport] | None = None
        self._began_stopping = 0.0
        self.drains = True  # whether actors that are stopped first handle what they have
        self._forked = False
        self._terminated = threading.Event()
        # Invariant: services stop after the last of the others.
        self._user = Root("")
        self._services = Root("/system")
        self._user.children = self._make_children(self._user, supervision, self._stop_services)
        self._services.children = self._make_children(
            self._services, Supervision(intensity=10), self._wrap_up
        )
        _roots.update((self._user, self._services))

    def __del__(self) -> None:
        """End the threads of a system that was forgotten; no actor lives in it, see `_roots`."""
        if "_services" not in vars(self) or self._stopping is not None or self._forked:
            return
        if not (self._pool.started or self._loop_thread or self.timers.threads):
            forget(self)
            return
        self._stopping = self._stopped
        # Elsewhere, as this may be in the middle of anything, on one of those threads even.
        with contextlib.suppress(RuntimeError):  # the interpreter is about to end
            _thread.start_new_thread(self._wrap_up, ())
        warnings.warn(
            f"{self!r} was forgotten and its threads are ended; use it in a `with` block, or call "
            "its shutdown()",
            ResourceWarning,
            stacklevel=1,
            source=self,
        )

    def check_process(self) -> None:
        """Refuse to do anything in a process that only inherited the system.

        Raises:
            ForkedSystem: it was started before this process was forked.
        """
        if self._forked:
            raise ForkedSystem(self.name)

    def _make_timers(self) -> Timers:
        return ThreadTimers(self.clock, f"{self.name}-timers")

    def _make_pool(self) -> Any:
        return Pool(self.name, self._inline.add)

    def _make_children(
        self, root: Root, policy: Supervision, on_empty: Callable[[], None]
    ) -> Children:
        return Children(
            policy,
            self.clock,
            self.timers,
            lambda: root.path or "/",
            _weakly(self._escalated),
            _weakly(self.shutdown),
            _weakly(on_empty),
        )

    def _escalated(self, error: BaseException) -> None:
        self.failure = error
        logger.opt(exception=error).critical("the actor system {!r} has failed", self.name)
        self.events.publish(SystemFailed(self.name, error))
        self.shutdown()

    # -- the shutdown ------------------------------------------------------------------------

    def shutdown(self, *, drain: bool = True) -> Future[ShutdownReport]:
        """Stop all actors, children before parents and services last; the same future each time.

        Each actor first handles what it has, for as long as its `shutdown` allows; then it is
        killed, and if its handler still does not return, abandoned and reported. It may be called
        from anywhere, signal handlers included. In a process that inherited the system by fork it
        does nothing, as the system is the parent's.

        Args:
            drain: False has each actor (services excepted) end after the message it is at; what
                waits becomes dead letters.

        Raises:
            InvalidOption: `drain` is no bool.
        """
        flag("drain", drain)
        if self._forked:
            return self._stopped
        # No lock: a signal handler may have interrupted its holder, on this very thread.
        if not self._stop_permit.pop(0, 0):
            return self._stopped
        self._began_stopping = self.clock.monotonic()
        self._stopping = self._stopped
        self.drains = drain
        assert self._user.children is not None
        if self._user.children.interrupted or self.timers.interrupted:
            # By this call, from a signal handler or a finalizer. The change has to be finished
            # first, so the rest is done elsewhere (not by `Thread.start`, which takes a lock).
            _thread.start_new_thread(self._stop_users, ())
        else:
            self._stop_users()
        return self._stopped

    def _stop_users(self) -> None:
        assert self._user.children is not None
        self._user.children.stop_all(drain=self.drains)

    def _stop_services(self) -> None:
        # The root's children may also close because it escalated; then this comes along.
        self.shutdown()
        self.drains = True  # services have yet to write down what the others did
        assert self._services.children is not None
        self._services.children.stop_all()

    def _wrap_up(self) -> None:
        with self._lock:
            if self._terminated.is_set():
                return
            self._terminated.set()
        forget(self)
        self.timers.close()
        self._pool.close()
        if self._loop_thread is not None and self._loop is not None:
            loop, thread = self._loop.loop, self._loop_thread

            async def end(dispatcher: LoopDispatcher) -> None:
                await dispatcher.close()
                thread.close()

            ending = self._loop
            loop.call_soon_threadsafe(lambda: _keep(loop.create_task(end(ending))))
        self._stopped.try_set(
            ShutdownReport(
                stopped=self._ended.value,
                abandoned=tuple(path for path, _ in self._abandoned),
                stacks=tuple(stack for _, stack in self._abandoned),
                seconds=self.clock.monotonic() - self._began_stopping,
            )
        )

    def _join(self, seconds: float) -> None:
        """Wait for the threads, which have nothing left to do."""
        self.timers.join(seconds)
        # Those of abandoned actors may never come back.
        limit = 0.1 if self._abandoned else seconds
        until = time.monotonic() + limit
        for pinned in list(self._pinned):
            pinned.join(max(0.0, until - time.monotonic()))
        for path in self._pool.join(limit):
            logger.warning("a thread is left behind in the handler of {}", path)
        if self._loop_thread is not None:
            self._loop_thread.join(seconds)

    # -- the `with` block --------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._may_be_entered()
        return self

    def _may_be_entered(self) -> None:
        self.check_process()
        if self._stopping is not None:
            raise SystemStopped(f"the actor system {self.name!r} was shut down; make a new one")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._forked:
            return
        # On Ctrl-C nobody wants what is queued any more; a second one ends this wait, too.
        drain = kind is None or issubclass(kind, Exception)
        if _get_running_loop() is not None:
            self.shutdown(drain=drain)
            raise WouldBlockLoop("leaving `with ActorSystem()`", "`async with ActorSystem()`")
        self.shutdown(drain=drain).get()
        self._join(JOIN_SECONDS)

    async def __aenter__(self) -> Self:
        self._may_be_entered()
        with self._lock:
            if self._loop is None:
                self._loop = LoopDispatcher(asyncio.get_running_loop())
                self._loop.tether()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._forked:
            return
        # The shutdown goes on to its bounded end even if this task is cancelled meanwhile.
        ending = self.shutdown(drain=kind is None or issubclass(kind, Exception))
        cancelled: asyncio.CancelledError | None = None
        while not ending.done():
            try:
                await _settled(ending)
            except asyncio.CancelledError as error:
                cancelled = error
        if self._loop is not None and self._loop_thread is None:
            await self._loop.close()
        self._join(0.1 if self._abandoned else JOIN_SECONDS)
        if cancelled is not None:
            raise cancelled


def _weakly(method: Callable[..., object]) -> Callable[..., None]:
    """Return the method as a function that does not hold the object; see `_roots`."""
    weak = weakref.WeakMethod(method)

    def call(*args: Any) -> None:
        bound = weak()
        if bound is not None:
            bound(*args)

    return call


async def _settled(future: Future[Any]) -> None:
    """Wait until the future has an answer, without cancelling it when the waiter is cancelled."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def tell(_: Future[Any]) -> None:
        loop.call_soon_threadsafe(done.set)

    future.add_done_callback(tell)
    await done.wait()


_kept: set[asyncio.Task[Any]] = set()


def _keep(task: asyncio.Task[Any]) -> None:
    """Hold a task until it is done, which the loop itself does not."""
    _kept.add(task)
    task.add_done_callback(_kept.discard)
