"""The supervised children of one actor (or of the root): who they are and what becomes of them.

Layer 3: it executes what `_supervision.decide` says, by posting to the children. It has a lock of
its own instead of its owner's turns, because a supervisor must be able to decide while its own
handler waits, perhaps for the very child that failed. No user code runs in here.
"""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable
from typing import Any, Protocol

from actors._clock import Clock
from actors._errors import NameTaken, RestartLimitExceeded
from actors._supervision import (
    ChildSpec,
    Decision,
    Ending,
    Supervision,
    comes_back,
    decide,
)
from actors._timers import Timers

__all__ = ["KILL_GRACE", "Child", "Children"]

KILL_GRACE = 0.25
"""Seconds a killed actor has to leave its handler before it is abandoned."""

Key = str | int

_ANOTHER = ChildSpec(object, restart="temporary", significant=True)
"""Stands for all siblings whose ending would count."""


class Child(Protocol):
    """What a supervisor can tell a child; each call posts and returns at once."""

    key: Key
    spec: ChildSpec

    def order_restart(self, reason: Any) -> None:
        """Build a new instance and go on."""

    def order_halt(self) -> None:
        """End the instance, keep the mailbox, and report."""

    def order_stop(self, *, drain: bool = True) -> None:
        """Handle what is queued if `drain`, then end for good."""

    def order_die(self) -> None:
        """End for good; sent to a child that has already ended its instance."""

    def order_kill(self, *, wanted: bool = True) -> None:
        """End at once: for good if that is wanted, else to be restarted."""


class Children:
    """The living children of one supervisor.

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
        "_lock",
        "_look_at",
        "_members",
        "_next",
        "_on_empty",
        "_on_escalate",
        "_on_shut_down",
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
        self._halted: set[Key] = set()  # without an instance, waiting to be restarted
        self._stopping: Key | None = None  # the one being stopped, of a sequence
        self._drain = True  # whether those that are stopped first handle what they have
        self._to_stop: list[Key] = []  # the sequence, in start order, stopped from the end
        self._queue: list[Key] = []  # to be restarted one after the other, in this order
        self._starting: Key | None = None  # the one of them that was told to, and does not run yet
        # When the ones that were asked to end have to be gone, on the clock; one timer serves all,
        # so that stopping a million children does not schedule a million calls.
        # Invariant: its keys are members.
        self._deadlines: dict[Key, float] = {}
        # When the next look at them is due.
        self._look_at: float | None = None

    # -- membership --------------------------------------------------------------------------

    def add(self, child: Child) -> bool:
        """Take a new child in; tell False if the supervisor is stopping.

        A child whose key is 0 has no name and gets a number.

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

    # -- endings -----------------------------------------------------------------------------

    def report(self, child: Child, ending: Ending, reason: Any) -> None:
        """Hear that a child has ended its instance and waits for what becomes of it."""
        after: list[Callable[[], object]] = []
        with self._lock:
            if self._starting == child.key:
                self._starting = None
            if self._closing or self._members.get(child.key) is not child:
                after.append(child.order_die)
            elif child.key in self._halting:
                # It failed on its own while it was asked to halt: it has halted.
                self._halted.add(child.key)
                self._deadlines.pop(child.key, None)
                self._no_longer_halting(child.key, after)
            else:
                self._decide(child, ending, reason, after)
        _call_all(after)

    def _decide(
        self, child: Child, ending: Ending, reason: Any, after: list[Callable[[], object]]
    ) -> None:
        now = self._clock.monotonic()
        members: list[Any]
        if self._policy.strategy == "one_for_one" or not comes_back(child.spec, ending):
            # Nobody else is affected, so do not look at ten thousand siblings.
            members, position = [child], 0
            specs = [child.spec]
            if self._significant > child.spec.significant:
                specs.append(_ANOTHER)
        else:
            members = list(self._members.values())
            position = members.index(child)
            specs = [member.spec for member in members]
        decision = decide(self._policy, specs, position, ending, self._history, now)
        self._history = decision.history
        if decision.forget:
            after.append(child.order_die)
            if child.spec.significant:
                # It has ended, although it will be a member until it is dead.
                self._significant -= 1
                self._ending.add(child.key)
            if decision.shut_down:
                after.append(self._on_shut_down)
            return
        if decision.escalate:
            error = RestartLimitExceeded(
                self._describe(), self._policy.intensity, self._policy.period
            )
            error.__cause__ = reason if isinstance(reason, BaseException) else None
            after.append(lambda: self._on_escalate(error))
            # Not after the owner's turn comes: its handler may be waiting for one of them.
            self._begin_closing(after)
            return
        delay = self._next_delay(now)
        if self._policy.strategy == "one_for_one":
            if delay:
                after.append(lambda: self._timers.call_later(delay, child.order_restart, reason))
            else:
                after.append(lambda: child.order_restart(reason))
            return
        self._halted.add(child.key)
        self._regroup(members, decision, delay, reason, after)

    def _regroup(
        self,
        members: list[Any],
        decision: Decision,
        delay: float,
        reason: Any,
        after: list[Callable[[], object]],
    ) -> None:
        self._queue = [members[i].key for i in decision.restart]
        self._to_halt = [
            members[i].key
            for i in sorted((*decision.restart, *decision.stop))
            if members[i].key not in self._halted
        ]
        self._halting.update(self._to_halt)
        self._delay = delay
        self._reason = reason
        self._halt_more(after)

    def _halt_more(self, after: list[Callable[[], object]]) -> None:
        """Have the next of the group end, in reverse start order; after the last, restart them."""
        while self._to_halt and self._to_halt[-1] not in self._halting:
            self._to_halt.pop()
        if not self._to_halt:
            self._told = None
            self._start_queue(after)
            return
        key = self._to_halt[-1]
        if self._told == key:
            return
        self._told = key
        child = self._members[key]
        if child.spec.restart == "temporary":
            after.append(child.order_stop)
        elif child.spec.shutdown == "brutal_kill":
            after.append(lambda: child.order_kill(wanted=False))
        else:
            after.append(child.order_halt)
        self._watch_over(child, after)

    def _next_delay(self, now: float) -> float:
        backoff = self._policy.backoff
        if backoff is None:
            return 0.0
        if self._quiet_since is not None and now - self._quiet_since > backoff.reset_after:
            self._failures = 0
        delay = backoff.delay(self._failures, random.random())  # noqa: S311 - jitter
        self._failures += 1
        # While it waits it cannot fail, so only the time after that counts as quiet; else a crash
        # loop that has come to long delays would go back to short ones.
        self._quiet_since = now + delay
        return delay

    def _no_longer_halting(self, key: Key, after: list[Callable[[], object]]) -> None:
        self._halting.discard(key)
        if self._told == key:
            self._told = None
        self._halt_more(after)

    def _start_queue(self, after: list[Callable[[], object]]) -> None:
        delay = self._delay
        if delay:
            after.append(lambda: self._timers.call_later(delay, self._start_next))
        else:
            after.append(self._start_next)

    def _start_next(self) -> None:
        child = None
        reason = self._reason
        with self._lock:
            while self._queue and not self._closing and not self._halting:
                key = self._queue[0]
                if key == self._starting:
                    return
                child = self._members.get(key)
                if child is not None and key in self._halted:
                    # From here on it is no longer at rest: should another member fail now, this
                    # one has to be halted again.
                    self._halted.discard(key)
                    self._starting = key
                    break
                self._queue.pop(0)
                child = None
        if child is not None:
            child.order_restart(reason)

    def started(self, child: Child) -> None:
        """Hear that a restarted child runs; start the next one of its group."""
        with self._lock:
            if self._starting == child.key:
                self._starting = None
            if self._queue and self._queue[0] == child.key:
                self._queue.pop(0)
            more = bool(self._queue)
        if more:
            self._start_next()

    def ended(self, child: Child) -> None:
        """Hear that a child is dead; it leaves the tree."""
        after: list[Callable[[], object]] = []
        key = child.key
        with self._lock:
            if self._members.get(key) is not child:
                return
            del self._members[key]
            if key in self._ending:
                self._ending.discard(key)
            else:
                self._significant -= child.spec.significant
            if not (
                self._closing
                or self._halting
                or self._halted
                or self._queue
                or self._deadlines
                or self._starting is not None
            ):
                return  # most children end while nothing goes on among them
            self._deadlines.pop(key, None)
            if self._starting == key:
                self._starting = None
            self._halted.discard(key)
            if self._closing:
                self._stop_more(after)
            elif key in self._halting:
                self._no_longer_halting(key, after)
            elif self._queue and self._queue[0] == key:
                # It was stopped while the others wait for it to be restarted.
                after.append(self._start_next)
        _call_all(after)

    # -- stopping ----------------------------------------------------------------------------

    def stop_all(self, *, drain: bool = True) -> None:
        """Stop the children in reverse start order; `on_empty` is called when all are dead.

        Args:
            drain: whether each first handles what waits in its mailbox.
        """
        after: list[Callable[[], object]] = []
        with self._lock:
            self._wanted_empty = True
            self._drain = drain
            if not self._closing:
                self._begin_closing(after)
            elif not self._members:
                self._stop_more(after)
        _call_all(after)

    def reopen(self) -> None:
        """Take children in again, after the owner was restarted; the window starts afresh."""
        with self._lock:
            self._closing = False
            self._wanted_empty = False
            self._stopping = None
            self._to_stop.clear()
            self._history = ()
            self._halted.clear()

    def _begin_closing(self, after: list[Callable[[], object]]) -> None:
        self._closing = True
        self._queue.clear()
        for key in self._halting:
            self._deadlines.pop(key, None)
        self._halting.clear()
        self._to_halt.clear()
        self._told = None
        self._starting = None
        self._stop_more(after)

    def _stop_more(self, after: list[Callable[[], object]]) -> None:
        if not self._members:
            if self._wanted_empty:
                # Not once more for a second caller, who would end his instance twice.
                self._wanted_empty = False
                after.append(self._on_empty)
            return
        # The end of the dict itself would be looked for past everything that was deleted there,
        # which makes stopping n children take n² steps.
        while not self._to_stop or self._to_stop[-1] not in self._members:
            if self._to_stop:
                self._to_stop.pop()
            else:
                self._to_stop = list(self._members)
        last = self._members[self._to_stop[-1]]
        if self._stopping == last.key:
            return
        self._stopping = last.key
        if last.spec.shutdown == "brutal_kill":
            after.append(last.order_kill)
        else:
            after.append(functools.partial(last.order_stop, drain=self._drain))
        self._watch_over(last, after)

    def _watch_over(self, child: Any, after: list[Callable[[], object]]) -> None:
        """Kill the child if it takes longer to end than its specification allows."""
        seconds = child.spec.shutdown
        if seconds is None or seconds == "brutal_kill":
            return
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
                # One that was to be restarted with its group still is.
                wanted = key not in self._halting or child.spec.restart == "temporary"
                after.append(functools.partial(child.order_kill, wanted=wanted))
            self._look_at = None
            if self._deadlines:
                soon = min(self._deadlines.values())
                self._look_by(soon, soon - now, after)
        _call_all(after)


def _call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        call()
