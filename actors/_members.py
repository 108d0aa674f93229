"""The supervised children of one actor (or of the root), and how long each may take to end.

Layer 3: what `_children` decides about, and the lock under which it does.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

from actors._clock import Clock
from actors._errors import NameTaken
from actors._supervision import ChildSpec, Supervision
from actors._timers import Timers

__all__ = ["KILL_GRACE", "Child", "Key", "Members", "call_all"]

KILL_GRACE = 0.25
"""Seconds a killed actor has to leave its handler before it is abandoned."""

Key = str | int


class Child(Protocol):
    """What a supervisor can tell a child; each call posts and returns at once."""

    key: Key
    spec: ChildSpec
    hook: str | None

    def order_restart(self, reason: Any) -> None:
        """Build a new instance, or the first one, and go on."""

    def order_halt(self) -> None:
        """End the instance, keep the mailbox, and report."""

    def order_stop(self, *, drain: bool = True) -> None:
        """Handle what is queued if `drain`, then end for good."""

    def order_die(self) -> None:
        """End for good; sent to a child that has already ended its instance."""

    def order_kill(self, *, wanted: bool = True) -> None:
        """End at once: for good if that is wanted, else to be restarted."""


class Members:
    """The living children of one supervisor, and what is under way among them.

    Args:
        policy: how it supervises.
        clock, timers: the system's.
        describe: returns the supervisor's path, for errors.
        on_escalate: called with the error when the restart window is exceeded.
        on_shut_down: called when significant children have ended (auto_shutdown).
        on_empty: called once for each `stop_all`, when the last child has ended.
    """

    __slots__ = (
        "_clock",
        "_closing",
        "_deadlines",
        "_delay",
        "_describe",
        "_drain",
        "_ending",
        "_failures",
        "_halted",
        "_halting",
        "_history",
        "_hooks_only",
        "_lock",
        "_look_at",
        "_members",
        "_next",
        "_on_empty",
        "_on_escalate",
        "_on_shut_down",
        "_on_started",
        "_policy",
        "_queue",
        "_quiet_since",
        "_reason",
        "_significant",
        "_starting",
        "_stopping",
        "_timers",
        "_to_halt",
        "_to_stop",
        "_told",
        "_waits",
        "_wanted_empty",
    )

    def __init__(
        self,
        policy: Supervision,
        clock: Clock,
        timers: Timers,
        describe: Callable[[], str],
        on_escalate: Callable[[BaseException], None],
        on_shut_down: Callable[[], None],
        on_empty: Callable[[], None],
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._timers = timers
        self._describe = describe
        self._on_escalate = on_escalate
        self._on_shut_down = on_shut_down
        self._on_empty = on_empty
        # Invariant: everything below changes under _lock only, and nothing is posted, called or
        # scheduled while it is held.
        self._lock = threading.RLock()
        self._members: dict[Key, Any] = {}  # in start order
        self._significant = 0  # how many of them are, and have not ended
        self._ending: set[Key] = set()  # those that are and have ended, until they are dead
        self._next = 0
        self._closing: bool = False
        self._wanted_empty = False  # whether `stop_all` was called and on_empty was not
        self._history: tuple[float, ...] = ()
        self._delay = 0.0  # before the next group restart, in seconds
        self._failures = 0
        self._quiet_since: float | None = None  # when the last restart was due, on the clock
        # One after the other, as in a shutdown: the next is told when the one before has halted.
        self._to_halt: list[Key] = []  # in start order, told from the end
        self._halting: set[Key] = set()  # those of them that have not halted
        self._told: Key | None = None  # the one of them that was told last
        self._reason: Any = None  # why the group is restarted
        # Without an instance, waiting to be restarted, or to be started for the first time.
        # Invariant: where children are restarted in groups, each is in _queue or about to die.
        self._halted: set[Key] = set()
        self._stopping: Key | None = None  # the one being stopped, of a sequence
        self._drain = True  # whether those that are stopped first handle what they have
        self._to_stop: list[Key] = []  # the sequence, in start order, stopped from the end
        # To be started one after the other, in start order.
        # Invariant: behind the first, which may be on its way, all are halted or halting; one that
        # is neither has ended, or somebody else has its name by now.
        self._queue: list[Key] = []
        self._starting: Key | None = None  # the one of them that was told to, and does not run yet
        # While not None, a delay has to pass before the next may start; the latest one counts.
        self._waits: object = None
        # Called once, when the queue is through; the owner's own start is over then.
        self._on_started: Callable[[], None] | None = None
        # When the ones that were asked to end have to be gone, on the clock; one timer serves all,
        # so that stopping a million children does not schedule a million calls.
        # Invariant: its keys are members.
        self._deadlines: dict[Key, float] = {}
        # Invariant: those of them that may handle messages for as long as they need, and only must
        # not be inside of a hook at that time.
        self._hooks_only: set[Key] = set()
        # When the next look at them is due.
        self._look_at: float | None = None

    # -- membership --------------------------------------------------------------------------

    def add(self, child: Child, *, in_order: bool = False) -> bool:
        """Take a new child in; tell False if the supervisor is stopping.

        A child whose key is 0 has no name and gets a number. If it is to start in order, it is told
        to by `start_next` when those before it run.

        Raises:
            NameTaken: a living child has the name.
        """
        with self._lock:
            if self._closing:
                return False
            if child.key == 0:
                self._next += 1
                child.key = self._next
            elif child.key in self._members:
                raise NameTaken(str(child.key), self._describe())
            self._members[child.key] = child
            self._significant += child.spec.significant
            if in_order:
                self._halted.add(child.key)
                self._queue.append(child.key)
            return True

    def get(self, key: Key) -> Any | None:
        """Return the living child of that name or number."""
        return self._members.get(key)

    def replace(self, child: Child) -> None:
        """Put a successor in the place of an abandoned child with the same key."""
        with self._lock:
            if child.key in self._members:
                self._members[child.key] = child

    def snapshot(self) -> list[Any]:
        """Return the living children in start order."""
        with self._lock:
            return list(self._members.values())

    @property
    def interrupted(self) -> bool:
        """Whether this very thread is in the middle of a change: this is a signal handler."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]  # as in Condition

    def renew_lock(self) -> None:
        """Have a lock that nobody holds, in a process that was forked with one that is held."""
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._members)

    # -- those that take too long ------------------------------------------------------------

    def watch_over_hooks(self, child: Child) -> None:
        """Kill a child that is to stop if it is inside of a hook when its time is over.

        Its messages may take as long as they need: `ref.stop()` lets them run.
        """
        after: list[Callable[[], object]] = []
        seconds = child.spec.shutdown
        if seconds is None:
            return
        with self._lock:
            key = child.key
            if self._members.get(key) is child and (
                key not in self._deadlines or key in self._hooks_only
            ):
                self._hooks_only.add(key)
                self._bound(child, KILL_GRACE if seconds == "brutal_kill" else seconds, after)
        call_all(after)

    def _watch_over(self, child: Any, after: list[Callable[[], object]]) -> None:
        """Kill the child if it takes longer to end than its specification allows."""
        seconds = child.spec.shutdown
        if seconds is None or seconds == "brutal_kill":
            return
        self._hooks_only.discard(child.key)
        self._bound(child, seconds, after)

    def _bound(self, child: Any, seconds: float, after: list[Callable[[], object]]) -> None:
        when = self._deadlines[child.key] = self._clock.monotonic() + seconds
        self._look_by(when, seconds, after)

    def _look_by(self, when: float, seconds: float, after: list[Callable[[], object]]) -> None:
        # The look that is due may be a minute away, and this child be allowed a second.
        if self._look_at is None or when < self._look_at:
            self._look_at = when
            after.append(lambda: self._timers.call_later(seconds, self._look_after))

    def _look_after(self) -> None:
        after: list[Callable[[], object]] = []
        with self._lock:
            now = self._clock.monotonic()
            late = [key for key, when in self._deadlines.items() if when <= now]
            for key in late:
                del self._deadlines[key]
                child = self._members[key]
                if key in self._hooks_only:
                    self._hooks_only.discard(key)
                    if child.hook is None:
                        continue  # it handles its messages, or waits for its children to end
                # One that was to be restarted with its group still is.
                wanted = key not in self._halting or child.spec.restart == "temporary"
                after.append(functools.partial(child.order_kill, wanted=wanted))
            self._look_at = None
            if self._deadlines:
                soon = min(self._deadlines.values())
                self._look_by(soon, soon - now, after)
        call_all(after)


def call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        call()
