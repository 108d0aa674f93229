"""What becomes of the supervised children of one actor (or of the root).

Layer 4: it executes what `_supervision.decide` says, by posting to the children. It has a lock of
its own instead of its owner's turns, because a supervisor must be able to decide while its own
handler waits, perhaps for the very child that failed. No user code runs in here.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable
from typing import Any

from actors._errors import RestartLimitExceeded
from actors._members import Child, Key, Members, call_all
from actors._supervision import ChildSpec, Decision, Ending, comes_back, decide

__all__ = ["Children"]

_ANOTHER = ChildSpec(object, restart="temporary", significant=True)
"""Stands for all siblings whose ending would count."""


class Children(Members):
    """The living children of one supervisor, and what becomes of them."""

    __slots__ = ()

    # -- as what the start of a child waits for; see `Wait` ----------------------------------

    plain = False
    advice = "in on_start, do not wait for who starts after it"
    until = None

    def starts_later(self, key: Key) -> bool:
        """Tell whether a child starts only when another one runs."""
        first = self._queue[:1]
        return key in self._halted and bool(first) and first[0] != key and not self._halting

    def waits_for_cell(self) -> Any:
        """Return the child whose turn it is to start."""
        first = self._queue[:1]
        return self._members.get(first[0]) if first else None

    def waits_for_cells(self, waiting: Any) -> Iterable[Any]:  # noqa: ARG002 - others need it
        child = self.waits_for_cell()
        while child is not None:
            yield child
            below = child.children
            # It may run, but counts as started in a turn after those that it starts in order do.
            child = None if below is None or below._on_started is None else below.waits_for_cell()

    def refuse(self, error: BaseException) -> bool:  # noqa: ARG002 - likewise
        """Nobody is in a handler who could be told."""
        return False

    # -- endings -----------------------------------------------------------------------------

    def report(self, child: Child, ending: Ending, reason: Any) -> None:
        """Hear that a child has ended its instance and waits for what becomes of it."""
        after: list[Callable[[], object]] = []
        with self._lock:
            if self._starting == child.key:
                self._starting = None
            if self._closing or self._members.get(child.key) is not child:
                after.append(child.order_die)
            elif child.key in self._halting and child.spec.restart == "temporary":
                # It failed on its own before it was asked to stop: it has halted when it is dead.
                after.append(child.order_die)
            elif child.key in self._halting:
                # It failed on its own while it was asked to halt: it has halted.
                self._halted.add(child.key)
                self._deadlines.pop(child.key, None)
                self._hooks_only.discard(child.key)
                self._no_longer_halting(child.key, after)
            else:
                self._decide(child, ending, reason, after)
        call_all(after)

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
            if self._queue and self._queue[0] == child.key:
                self._starting = child.key  # still: the next one waits until it runs
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
        # Another group may be under way, of those that started before these; none of it may be
        # forgotten. One that is to be stopped for good, but has not started yet, still starts.
        due = {members[i].key for i in decision.restart}.union(self._queue)
        self._queue = [key for key in self._members if key in due]
        self._halting.update(
            members[i].key
            for i in (*decision.restart, *decision.stop)
            if members[i].key not in self._halted
        )
        self._to_halt = [key for key in self._members if key in self._halting]
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
            waits = self._waits = object()
            after.append(lambda: self._timers.call_later(delay, self._waited, waits))
        else:
            self._waits = None
            after.append(self.start_next)

    def _waited(self, waits: object) -> None:
        with self._lock:
            if self._waits is not waits:
                return  # another failure came, and with it a longer delay
            self._waits = None
        self.start_next()

    def start_next(self) -> None:
        """Have the next one of the queue start, if none is on its way."""
        call: Callable[[], object] | None = None
        with self._lock:
            if self._closing or self._halting or self._waits is not None:
                return
            while self._queue:
                key = self._queue[0]
                if key == self._starting:
                    return
                child = self._members.get(key)
                if child is not None and key in self._halted:
                    # From here on it is no longer at rest: should another member fail now, this
                    # one has to be halted again.
                    self._halted.discard(key)
                    self._starting = key
                    call = functools.partial(child.order_restart, self._reason)
                    break
                self._queue.pop(0)
            if not self._queue:
                call, self._on_started = self._on_started, None
        if call is not None:
            call()

    def started(self, child: Child) -> None:
        """Hear that a child runs after it was told to start; start the next one of the queue."""
        after: list[Callable[[], object]] = []
        with self._lock:
            key = child.key
            if self._starting == key:
                self._starting = None
            if key in self._halting:
                # It has to start once more. If the order to halt overtook the one to start, it was
                # void, since there was nothing to end; given twice, the second one is.
                if self._told == key:
                    self._told = None
                    self._halt_more(after)
            elif self._queue:
                if self._queue[0] == key:
                    self._queue.pop(0)
                after.append(self.start_next)
        call_all(after)

    def call_when_started(self, call: Callable[[], None]) -> bool:
        """Have `call()` made once the queue is through; tell False if there is none."""
        with self._lock:
            if self._closing:
                return True  # its owner is about to end
            if not self._queue:
                return False
            self._on_started = call
            return True

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
            self._hooks_only.discard(key)
            if self._starting == key:
                self._starting = None
            self._halted.discard(key)
            if self._closing:
                self._stop_more(after)
            elif key in self._halting:
                self._no_longer_halting(key, after)
            elif self._queue and self._queue[0] == key:
                # It was stopped while the others wait for it to be restarted.
                after.append(self.start_next)
        call_all(after)

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
        call_all(after)

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
            self._hooks_only.discard(key)
        self._halting.clear()
        self._to_halt.clear()
        self._told = None
        self._starting = None
        self._waits = None
        self._on_started = None
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
