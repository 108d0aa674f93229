"""The actor system: the root of a tree of actors, their dispatchers, names and numbers.

A system is a context manager, sync or async; several live side by side in a process and share
nothing. Actors spawned on it are supervised by its root; when they need more restarts than the
root's policy tolerates, the system shuts down, as an OTP application does.
"""

from __future__ import annotations

import _thread
import asyncio
import itertools
import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar, overload

from loguru import logger

from actors._actor import Actor, as_spec
from actors._cell import Cell, LoneCell, bind_defaults, renew_locks
from actors._children import Children
from actors._clock import Clock, SystemClock
from actors._dispatch._loop import LoopDispatcher, LoopThread
from actors._dispatch._pinned import Pinned
from actors._dispatch._pool import Pool
from actors._errors import ForkedSystem, InvalidOption, NameTaken, SystemStopped, WouldBlockLoop
from actors._future import Future, _get_running_loop
from actors._groups import Groups
from actors._mailbox import Dispatcher, Tally
from actors._messages import (
    Health,
    ShutdownReport,
    SystemFailed,
    SystemStats,
    TreeNode,
)
from actors._options import patience
from actors._ref import ActorRef
from actors._reports import Reports
from actors._supervision import ChildSpec, Supervision
from actors._timers import ThreadTimers
from actors._tree import Root, all_below, find_below, living, node_of
from actors._watchdog import Watchdog

__all__ = ["JOIN_SECONDS", "ActorSystem", "running_systems"]

A = TypeVar("A", bound=Actor)

bind_defaults(Actor)

# A library is silent until it is asked: `logger.enable("actors")`.
logger.disable("actors")

_names = itertools.count(1)
_all_systems: weakref.WeakSet[ActorSystem] = weakref.WeakSet()

HELD_UP_SECONDS = 5.0
"""How long an event loop may not come round before the system does not count as ready."""

JOIN_SECONDS = 2.0
"""How long the end of a `with` block waits for threads whose work is over."""


class _Ending(Future[ShutdownReport]):
    """The report of a shutdown; who does not wait for it any more takes it from nobody else."""

    __slots__ = ()

    _on_loop = ("ActorSystem.shutdown().get()", "`await system.shutdown()`")

    def cancel(self) -> bool:
        return False


class ActorSystem(Reports):
    """A tree of actors and what runs them.

    Args:
        name: for logs and thread names; generated if None.
        supervision: how the root supervises the actors spawned on the system.
        clock: what the system measures time with.
        watchdog: seconds after which a handler that still runs or waits is reported with its
            stack, as a `SlowHandler` event and in the log; None reports none.
        flight_recorder: how many messages of an actor that has failed are kept for the report of
            its next failure.

    Raises:
        InvalidOption: an option makes no sense.

    `with ActorSystem() as system:` runs async actors on a loop in a thread of its own, started
    when first needed; `async with ActorSystem() as system:` runs them on the caller's loop.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        supervision: Supervision | None = None,
        clock: Clock | None = None,
        watchdog: float | None = None,
        flight_recorder: int = 16,
    ) -> None:
        if name is not None and (not isinstance(name, str) or not name):
            raise InvalidOption("name", name, "a non-empty string")
        policy: object = supervision
        if policy is not None and not isinstance(policy, Supervision):
            raise InvalidOption("supervision", policy, "a Supervision(...), or None")
        if clock is not None and not isinstance(clock, Clock):
            raise InvalidOption("clock", clock, "a Clock (`monotonic()` and `time()`), or None")
        limit: object = watchdog
        if limit is not None and (
            isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0
        ):
            raise InvalidOption("watchdog", watchdog, "seconds above zero, or None")
        super().__init__(clock or SystemClock(), flight_recorder)
        self.name = name or f"system-{next(_names)}"
        self.failure: BaseException | None = None
        """Why the system shut itself down, if it did."""
        self.sent = Tally()
        self.timers = ThreadTimers(self.clock, f"{self.name}-timers")
        self._born = Tally()
        self._ended = Tally()
        self._pool = Pool(self.name, self._inline.add)
        self.groups = Groups(self)
        self._lock = threading.RLock()
        # Invariant: the fields below change under _lock.
        self._loop: LoopDispatcher | None = None
        self._loop_thread: LoopThread | None = None
        self._pinned_handled = 0
        self._pinned: weakref.WeakSet[Pinned] = weakref.WeakSet()
        # Invariant: as a mailbox's permit; whoever takes it begins the shutdown.
        self._stop_permit = {0: 1}
        self._stopped: Future[ShutdownReport] = _Ending()
        # Invariant: not None from the beginning of the shutdown on.
        self._stopping: Future[ShutdownReport] | None = None
        self._began_stopping = 0.0
        self.drains = True  # whether actors that are stopped first handle what they have
        self._forked = False
        self._terminated = threading.Event()
        # Invariant: services stop after the last of the others.
        self._user = Root("")
        self._services = Root("/system")
        self._user.children = self._make_children(
            self._user, supervision or Supervision(), self._stop_services
        )
        self._services.children = self._make_children(
            self._services, Supervision(intensity=10), self._wrap_up
        )
        _all_systems.add(self)
        if watchdog is not None:
            Watchdog(patience(watchdog), self._executing, self.publish, self.timers)

    def _make_children(
        self, root: Root, policy: Supervision, on_empty: Callable[[], None]
    ) -> Children:
        def shut_down() -> None:
            self.shutdown()

        return Children(
            policy,
            self.clock,
            self.timers,
            lambda: root.path or "/",
            self._escalated,
            shut_down,
            on_empty,
        )

    def __repr__(self) -> str:
        return f"<ActorSystem {self.name!r}>"

    # -- starting actors ---------------------------------------------------------------------

    @overload
    def spawn(
        self, what: type[A], *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[A]: ...

    @overload
    def spawn(
        self, what: ChildSpec, *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[Any]: ...

    def spawn(
        self, what: type[A] | ChildSpec, *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[Any]:
        """Start an actor at the top of the tree.

        Args:
            what: an actor class, with its constructor's arguments after it; or a `ChildSpec`.
            name: unique among the living ones; None takes a generated one.

        Raises:
            InvalidOption: an option or an attribute of the class makes no sense.
            UnexpectedCoroutine: a hook of the class is a generator function.
            NameTaken: a living top-level actor has the name.
            SystemStopped: the system is shutting down.
            ForkedSystem: the system was started before this process was forked.
            BaseException: what the actor's constructor raised.
        """
        assert self._user.children is not None
        spec = as_spec(what, args, name, kwargs)
        if self._stopping is not None and not self._forked:
            raise SystemStopped(f"{self.name} is stopping or has stopped, and starts no actors")
        if spec.name == "system":
            raise NameTaken("system", "/")  # there live the services
        return self.spawn_under(self._user.children, spec, self._user)

    def spawn_service(
        self, what: type[A] | ChildSpec, *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[Any]:
        """Start an actor that others rely on: it lives below /system and is stopped last."""
        children = self._services.children
        assert children is not None
        return self.spawn_under(children, as_spec(what, args, name, kwargs), self._services)

    def spawn_under(
        self, children: Children, spec: ChildSpec, parent: Any, *, alone: bool = False
    ) -> ActorRef[Any]:
        """Start an actor among the given children; what `spawn` of systems and actors ends in."""
        if self._forked:
            raise ForkedSystem(self.name)
        cell = (LoneCell if alone else Cell)(self, spec, spec.name or 0, parent)
        if not children.add(cell):
            raise SystemStopped(
                f"{parent.path or self.name} is stopping or has stopped, and starts no actors"
            )
        self._born.add()
        ref = cell.ref  # which it lets go of when it dies, perhaps before `begin` is through
        cell.begin()
        return ref

    def _start_unsupervised(
        self, cls: type[Actor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ActorRef[Any]:
        assert self._user.children is not None
        spec = as_spec(ChildSpec(cls, args, kwargs, restart="temporary"), (), None, {})
        return self.spawn_under(self._user.children, spec, self._user, alone=True)

    def dispatcher_for(self, spec: ChildSpec) -> Dispatcher:
        """Return what will run an actor of that specification.

        Raises:
            InvalidOption: a thread was asked for, but the class has async hooks.
        """
        cls = spec.cls
        chosen = spec.dispatcher or cls.dispatcher
        if cls._is_async:
            if chosen not in {None, "loop"}:
                raise InvalidOption(
                    "dispatcher", chosen, f"'loop' or None, since {cls.__name__} has async hooks"
                )
            return self._loop_dispatcher()
        if chosen == "loop":
            return self._loop_dispatcher()
        if chosen == "pinned":
            pinned = Pinned(f"{self.name}-{cls.__name__}", self._count_pinned)
            self._pinned.add(pinned)
            return pinned
        pool = self._pool
        if not pool.started:
            pool.start()
        return pool

    def _loop_dispatcher(self) -> LoopDispatcher:
        dispatcher = self._loop
        if dispatcher is None:
            with self._lock:
                if self._loop is None:
                    self._loop_thread = LoopThread(f"{self.name}-loop")
                    self._loop = LoopDispatcher(self._loop_thread.loop)
                dispatcher = self._loop
        return dispatcher

    def _count_pinned(self, handled: int) -> None:
        with self._lock:
            self._pinned_handled += handled

    # -- looking -----------------------------------------------------------------------------

    def find(self, path: str) -> ActorRef[Any] | None:
        """Return the living actor at a path such as "/team/writer", or None.

        Raises:
            InvalidOption: `path` is no string.
        """
        given: object = path
        if not isinstance(given, str):
            raise InvalidOption("path", path, "a string such as '/team/writer'")
        return find_below(self._user, self._services, path)

    def stats(self) -> SystemStats:
        """Return the system's counters; cheap enough to poll each second."""
        # What was handled is read before what was sent, so nothing seems handled unsent.
        dead = self._dead.value
        ended = self._ended.value
        handled = self._pool.handled + self._inline.value + self._pinned_handled
        threads = self._pool.threads + self.timers.threads
        if self._loop is not None:
            handled += self._loop.handled
        if self._loop_thread is not None:
            threads += self._loop_thread.threads
        sent = self.sent.value
        return SystemStats(
            sent=sent,
            handled=handled,
            dead=dead,
            waiting=sent - handled - dead,
            late_replies=self._late.value,
            actors=self._born.value - ended,
            threads=threads,
        )

    def tree(self) -> TreeNode:
        """Return what lives, from the root down."""
        roots = (
            *(node_of(cell) for cell in living(self._user)),
            TreeNode(
                "/system", "services", "running", 0, 0, tuple(map(node_of, living(self._services)))
            ),
        )
        state = "stopped" if self._terminated.is_set() else "running"
        return TreeNode("/", "ActorSystem", state, 0, 0, roots)

    def _executing(self) -> list[tuple[Any, Callable[[], list[FrameType]]]]:
        loop = [] if self._loop is None else self._loop.executing()
        pinned = [entry for thread in list(self._pinned) for entry in thread.executing()]
        return [e for e in (*self._pool.executing(), *loop, *pinned) if e[0].system is self]

    def health(self) -> Health:
        """Tell whether the system is alive and takes work, and why not; for probes of any kind.

        It returns at once, on any thread. That a loop is held up is seen by the second call.
        """
        loop = self._loop
        held_up = 0.0 if loop is None or self._forked else loop.held_up()
        live, why = True, ""
        if self._forked:
            live, why = False, "the process was forked"
        elif self._stopping is not None:
            live = not self._terminated.is_set()
            why = "shutting down" if self.failure is None else f"failed: {self.failure}"
        elif held_up == math.inf:
            live, why = False, "its event loop was closed before it was shut down"
        elif held_up > HELD_UP_SECONDS:
            why = f"its event loop has been held up for {held_up:.0f} seconds"
        elif self._pool.exhausted:
            why = "all threads are in handlers that do not return, and other actors wait"
        return Health(live=live, ready=not why, why=why)

    # -- what cells report -------------------------------------------------------------------

    def cell_ended(self) -> None:
        """Count a dead actor."""
        self._ended.add()

    def _escalated(self, error: BaseException) -> None:
        self.failure = error
        logger.opt(exception=error).critical("the actor system {!r} has failed", self.name)
        self.events.publish(SystemFailed(self.name, error))
        self.shutdown()

    # -- stopping ----------------------------------------------------------------------------

    def shutdown(self, *, drain: bool = True) -> Future[ShutdownReport]:
        """Stop all actors, children before parents and services last; the same future each time.

        Each actor first handles what it has, for as long as its `shutdown` allows; then it is
        killed, and if its handler still does not return, abandoned and reported. It may be called
        from anywhere, signal handlers included.

        Args:
            drain: False has each actor (services excepted) end after the message it is at; what
                waits becomes dead letters.
        """
        # No lock: a signal handler may have interrupted its holder, on this very thread.
        if not self._stop_permit.pop(0, 0):
            return self._stopped
        self._began_stopping = self.clock.monotonic()
        self._stopping = self._stopped
        self.drains = drain
        assert self._user.children is not None
        if self._forked:
            self._stopped.try_set(ShutdownReport(0, (), 0.0))
        elif self._user.children.interrupted or self.timers.interrupted:
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

    def __enter__(self) -> Self:
        if self._stopping is not None:
            raise SystemStopped(f"the actor system {self.name!r} was shut down; make a new one")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # On Ctrl-C nobody wants what is queued any more; a second one ends this wait, too.
        drain = kind is None or issubclass(kind, Exception)
        if _get_running_loop() is not None:
            self.shutdown(drain=drain)
            raise WouldBlockLoop("leaving `with ActorSystem()`", "`async with ActorSystem()`")
        self.shutdown(drain=drain).get()
        self._join(JOIN_SECONDS)

    async def __aenter__(self) -> Self:
        if self._stopping is not None:
            raise SystemStopped(f"the actor system {self.name!r} was shut down; make a new one")
        with self._lock:
            if self._loop is None:
                self._loop = LoopDispatcher(asyncio.get_running_loop())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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

    def _after_fork_in_child(self) -> None:
        self._forked = True

        def refuse(*_: Any) -> Any:
            raise ForkedSystem(self.name)

        def give_up(future: Any) -> None:
            if isinstance(future, Future):
                future._callbacks = None  # for the parent, whose loops and threads are not here
                future._fail(ForkedSystem(self.name))

        self._lock = threading.RLock()
        self._pool.submit = refuse
        if self._loop is not None:
            self._loop.submit = refuse
        for root in (self._user, self._services):
            for cell in all_below(root):
                # Whatever is sent is counted first, so this is where it gets its error; and an
                # order, when it wants to schedule a turn that nobody was in the middle of.
                cell.count_sent = refuse
                cell.direct = False
                cell.submit = refuse
                cell.permit = {0: 1, 1: 1}
                give_up(cell.asked)
                for item in cell.queue:
                    give_up(item[1] if type(item) is tuple else None)
                for owed in () if cell.extras is None else tuple(cell.extras.owed):
                    give_up(owed)


def running_systems() -> list[ActorSystem]:
    """Return the systems of this process that nobody has shut down."""
    return [s for s in list(_all_systems) if s._stopping is None and not s._forked]


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


def _after_fork() -> None:
    renew_locks()
    for system in list(_all_systems):
        system._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork)
