"""The actor system: the root of a tree of actors, their dispatchers, names and numbers.

A system is a context manager, sync or async; several live side by side in a process and share
nothing. Actors spawned on it are supervised by its root; when they need more restarts than the
root's policy tolerates, the system shuts down, as an OTP application does.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar, overload

from loguru import logger

from actors._actor import Actor, as_spec
from actors._cell import Cell, LoneCell, bind_defaults
from actors._children import Children
from actors._clock import Clock, SystemClock
from actors._dispatch._loop import LoopDispatcher, LoopThread
from actors._dispatch._pinned import Pinned
from actors._errors import ForkedSystem, InvalidOption, NameTaken, SystemStopped
from actors._executing import frames_of
from actors._fork import inherit
from actors._groups import Groups
from actors._mailbox import Dispatcher
from actors._messages import Health, SystemStats, TreeNode
from actors._options import filled, patience
from actors._ref import ActorRef
from actors._shutdown import Stoppable
from actors._supervision import ChildSpec, Supervision
from actors._tree import find_below, nodes_below
from actors._watchdog import Executing, Watchdog

__all__ = ["ActorSystem", "running_systems"]

A = TypeVar("A", bound=Actor)

bind_defaults(Actor)

# A library is silent until it is asked: `logger.enable("actors")`.
logger.disable("actors")

_names = itertools.count(1)
_all_systems: weakref.WeakSet[ActorSystem] = weakref.WeakSet()

HELD_UP_SECONDS = 5.0
"""How long an event loop may not come round before the system does not count as ready."""


class ActorSystem(Stoppable):
    """A tree of actors and what runs them.

    Args:
        name: for logs and thread names; generated if None.
        supervision: how the root supervises the actors spawned on the system.
        clock: what the system measures time with.
        watchdog: seconds after which a handler or hook that still runs or waits is reported with
            its stack, as a `SlowHandler` event and in the log; None reports none.
        flight_recorder: how many messages of an actor that has failed are kept for the report of
            its next failure.

    Raises:
        InvalidOption: an option makes no sense.

    `with ActorSystem() as system:` runs async actors on a loop in a thread of its own, started
    when first needed; `async with ActorSystem() as system:` runs them on the caller's loop.
    """

    _cells: tuple[type[Cell], type[Cell]] = (Cell, LoneCell)
    """Those of supervised actors, and of those that nobody supervises."""

    def __init__(
        self,
        name: str | None = None,
        *,
        supervision: Supervision | None = None,
        clock: Clock | None = None,
        watchdog: float | None = None,
        flight_recorder: int = 16,
    ) -> None:
        filled("name", name, optional=True)
        policy: object = supervision
        if policy is not None and not isinstance(policy, Supervision):
            raise InvalidOption("supervision", policy, "a Supervision(...), or None")
        if clock is not None and (isinstance(clock, type) or not isinstance(clock, Clock)):
            raise InvalidOption("clock", clock, "a Clock (`monotonic()` and `time()`), or None")
        limit: object = watchdog
        if limit is not None and (
            isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0
        ):
            raise InvalidOption("watchdog", watchdog, "seconds above zero, or None")
        super().__init__(
            name or f"system-{next(_names)}",
            supervision or Supervision(),
            clock or SystemClock(),
            flight_recorder,
        )
        self.groups = Groups(self)
        _all_systems.add(self)
        # Whose first constructors run, and on which threads; None if nobody wants to know.
        self.building: dict[Any, int] | None = None
        if watchdog is not None:
            self.building = {}
            Watchdog(patience(watchdog), _weakly_executing(self), self.events.publish, self.timers)

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
            SystemStopped: the system is shutting down, or the actor was killed in its constructor.
            ForkedSystem: the system was started before this process was forked.
            BaseException: what the actor's constructor raised.
        """
        return self._spawn(as_spec(what, args, name, kwargs))

    def _spawn(self, spec: ChildSpec, *, in_order: bool = False) -> ActorRef[Any]:
        assert self._user.children is not None
        if self._stopping is not None:
            self.check_process()
            raise SystemStopped(f"{self.name} is stopping or has stopped, and starts no actors")
        if spec.name == "system":
            raise NameTaken("system", "/")  # there live the services
        return self.spawn_under(self._user.children, spec, self._user, in_order=in_order)

    def spawn_in_order(self, *what: type[Any] | ChildSpec) -> tuple[ActorRef[Any], ...]:
        """Start actors at the top of the tree, one after the other; see `Actor.spawn_in_order`."""
        return tuple(
            self._spawn(spec, in_order=True)
            for spec in [as_spec(one, (), None, {}) for one in what]
        )

    def spawn_service(
        self, what: type[A] | ChildSpec, *args: Any, name: str | None = None, **kwargs: Any
    ) -> ActorRef[Any]:
        """Start an actor that others rely on: it lives below /system and is stopped last."""
        children = self._services.children
        assert children is not None
        return self.spawn_under(children, as_spec(what, args, name, kwargs), self._services)

    def spawn_under(
        self,
        children: Children,
        spec: ChildSpec,
        parent: Any,
        *,
        alone: bool = False,
        in_order: bool = False,
    ) -> ActorRef[Any]:
        """Start an actor among the given children; what `spawn` of systems and actors ends in."""
        if self._forked:
            raise ForkedSystem(self.name)
        cell = self._cells[alone](self, spec, spec.name or 0, parent)
        if not children.add(cell, in_order=in_order):
            raise SystemStopped(
                f"{parent.path or self.name} is stopping or has stopped, and starts no actors"
            )
        self._born.add()
        ref = cell.ref  # which it lets go of when it dies, perhaps before `begin` is through
        if in_order:
            cell.begin_in_order()
            children.start_next()
        else:
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
            return self._make_pinned(cls)
        pool: Dispatcher = self._pool
        if not self._pool.started:
            self._pool.start()
        return pool

    def _make_pinned(self, cls: type[Actor]) -> Dispatcher:
        pinned = Pinned(f"{self.name}-{cls.__name__}", self._count_pinned)
        self._pinned.add(pinned)
        return pinned

    def _loop_dispatcher(self) -> LoopDispatcher:
        dispatcher = self._loop
        if dispatcher is None:
            with self._lock:
                if self._loop is None:
                    self._loop_thread = LoopThread(f"{self.name}-loop")
                    self._loop = self._loop_thread.dispatcher
                dispatcher = self._loop
        if not dispatcher.works():
            raise SystemStopped(
                f"the event loop of {self.name} was closed before the system stopped, and runs no "
                "actors; make a new system"
            )
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
        self.check_process()
        return find_below(self._user, self._services, path)

    def stats(self) -> SystemStats:
        """Return the system's counters; cheap enough to poll each second."""
        self.check_process()
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
        self.check_process()
        roots = (
            *nodes_below(self._user),
            TreeNode("/system", "services", "running", 0, 0, nodes_below(self._services)),
        )
        state = "stopped" if self._terminated.is_set() else "running"
        return TreeNode("/", "ActorSystem", state, 0, 0, roots)

    def _executing(self) -> list[tuple[Any, Callable[[], list[FrameType]]]]:
        loop = [] if self._loop is None else self._loop.executing()
        pinned = [entry for thread in list(self._pinned) for entry in thread.executing()]
        building: list[tuple[Any, Callable[[], list[FrameType]]]] = [
            (cell, functools.partial(frames_of, thread))
            for cell, thread in list((self.building or {}).items())
        ]
        found = (*self._pool.executing(), *loop, *pinned, *building)
        return [entry for entry in found if entry[0].system is self]

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
            why = "shutting down" if live else "stopped"
            if self.failure is not None:
                why = f"failed: {self.failure}"
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


def _weakly_executing(system: ActorSystem) -> Callable[[], Executing]:
    """Return a look at who executes that does not hold the system."""
    weak = weakref.ref(system)

    def look() -> Executing:
        running = weak()
        return () if running is None else running._executing()

    return look


def running_systems() -> list[ActorSystem]:
    """Return the systems of this process that nobody has shut down."""
    return [s for s in list(_all_systems) if s._stopping is None and not s._forked]


def _after_fork() -> None:
    inherit(list(_all_systems))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
