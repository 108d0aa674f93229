"""The one thread of a simulation: what can run, what is due, and who is next.

Everything that happens in a simulation is a *step*: the turn of an actor, a simulated thread that
goes on, one callback of the event loop, a timer. What could happen next stands in `ready`, and the
schedule chooses one of it. Only when nothing can happen, time goes on, to the next timer.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import sys
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from actors._errors import MissingExtra
from actors._executing import Signal, local
from actors._timers import LEAST_SWEPT, ScheduledCall
from actors.testing._errors import SimulationError
from actors.testing._schedules import Schedule

__all__ = ["Due", "Kernel", "SimulatedThread", "SimulatedTimers", "VirtualClock"]

__tracebackhide__ = True  # pytest shows the lines of the test, not these

EPOCH = 1_767_225_600.0
"""What the clock on the wall says when a simulation begins: 2026-01-01, 00:00 UTC."""


class VirtualClock:
    """The clock of a simulation: it stands still while anything can happen."""

    __slots__ = ("now", "offset")

    def __init__(self) -> None:
        self.now = 0.0
        self.offset = EPOCH

    def monotonic(self) -> float:
        """Return the virtual seconds since the simulation began."""
        return self.now

    def time(self) -> float:
        """Return the virtual seconds since the Unix epoch."""
        return self.offset + self.now


class Due(Protocol):
    """Something that is due at a point in time."""

    def gone(self) -> bool:
        """Tell whether it was cancelled."""
        ...

    def due(self) -> None:
        """Its time has come: put into `ready` what is to be done."""
        ...


class _Signal:
    """What one simulated thread waits for."""

    __slots__ = ("given", "kernel", "waiter")

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.given = False
        self.waiter: SimulatedThread | None = None

    def release(self) -> None:
        self.given = True
        self._wake()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self.given or not blocking:
            return self.given
        return self.kernel.wait(self, math.inf if timeout < 0 else timeout)

    def _wake(self) -> None:
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            self.kernel.ready.append((self.kernel.resume, waiter))

    # As something that is due: the end of a wait.

    def gone(self) -> bool:
        return self.given or self.waiter is None

    def due(self) -> None:
        self._wake()


class _Left:
    """Whose place nobody has to take when it waits: it is left, or refused."""

    __slots__ = ()

    def before_block(self) -> None:
        """Nobody has to be told."""

    def after_block(self) -> None:
        """Nor that it goes on."""


class SimulatedThread(_Left):
    """What a thread of the pool is in earnest: it takes the turns of sync actors.

    It runs on a stack of its own, so that it can be left in the middle of a handler that waits.
    """

    __slots__ = ("cell", "context", "greenlet", "handled", "kernel", "name", "work")

    placed = False
    throughput = 1

    def __init__(self, kernel: Kernel, name: str = "") -> None:
        self.kernel = kernel
        self.name = name
        self.cell: Any = None
        self.context = Context()
        self.handled = 0
        self.work: Callable[[SimulatedThread], object] | None = None
        self.greenlet = kernel.new_greenlet(self._work, kernel.hub)
        self.greenlet.gr_context = self.context

    def _work(self) -> None:
        kernel = self.kernel
        while self.work is not None:
            work, self.work = self.work, None
            work(self)
            if self.context or kernel.closed:
                return  # what a handler left there must not be found by others
            kernel.spare.append(self)
            kernel.hub.switch()

    def take(self) -> Any:
        """Take one turn at a time."""
        raise NotImplementedError

    def end(self) -> None:
        """There is no pool that could end."""

    def signal(self) -> Signal:
        return _Signal(self.kernel)


class _Nobody(_Left):
    """Stands for a thread where code runs that must not wait: callbacks, timers, predicates."""

    cell = None

    def signal(self) -> Signal:
        raise SimulationError(
            "this code must not wait for anything: it is a callback, a timer or a predicate of the "
            "simulation; have an actor or a simulated thread (`sim.thread`) do it"
        )


class _Outside(_Left):
    """The code of the test, outside of the simulation: where it waits, the simulation goes on."""

    cell = None

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def signal(self) -> Signal:
        return _Signal(self.kernel)

    def waits_in_vain(self) -> bool:
        """Tell whether nothing can happen in the simulation; a real thread may do something yet."""
        kernel = self.kernel
        kernel.advance()
        return not kernel.ready


class Kernel:
    """What runs a simulation.

    Args:
        schedule: who chooses what happens next.

    Raises:
        MissingExtra: greenlet is not installed.
    """

    def __init__(self, schedule: Schedule) -> None:
        try:
            from greenlet import getcurrent, greenlet
        except ImportError as error:
            raise MissingExtra("testing") from error
        self.new_greenlet: Any = greenlet
        self.hub = getcurrent()
        self.choose = schedule.choose
        self.clock = VirtualClock()
        # Invariant: in the order in which it became possible, the oldest first.
        self.ready: list[tuple[Callable[[Any], object], Any]] = []
        # Invariant: a heap by (when, order).
        self.heap: list[tuple[float, int, Due]] = []
        self._order = itertools.count()
        self._sweep_at = LEAST_SWEPT
        self.spare: list[SimulatedThread] = []
        # Invariant: the threads that wait, and for what, in the order in which they began to.
        self.waiting: dict[SimulatedThread, _Signal] = {}
        # The numbers of what is kept in sets: their order must not be that of addresses.
        self.number = itertools.count(1).__next__
        self.steps = 0
        self.stepping = False
        self.closed = False
        # What async generators are given to that are left before their end.
        self.asyncgen_hooks: tuple[Any, Any] = (None, None)
        self.after_step: list[Callable[[], object]] = []
        # What the simulation knows better: the error of one who waits while nothing can happen any
        # more, and `done`, or what raises an error instead after too many steps.
        self.deadlock: Callable[[str], SimulationError] = SimulationError
        self.bounded: Callable[[Callable[[], bool]], Callable[[], bool]] = lambda done: done
        self.outside = _Outside(self)
        self.nobody = _Nobody()

    # -- what can happen -----------------------------------------------------------------------

    def at(self, when: float, what: Due) -> None:
        """Have something come due at `when` on the virtual clock."""
        if when == math.inf:
            return  # never
        heap = self.heap
        if len(heap) >= self._sweep_at:
            heap[:] = [entry for entry in heap if not entry[2].gone()]
            heapq.heapify(heap)
            self._sweep_at = max(LEAST_SWEPT, 2 * len(heap))
        heapq.heappush(heap, (when, next(self._order), what))

    def start_thread(self, work: Callable[[SimulatedThread], object], name: str = "") -> None:
        """Have `work` run on a simulated thread."""
        self.ready.append((self._begin, (work, name)))

    def _begin(self, given: tuple[Callable[[SimulatedThread], object], str]) -> None:
        work, name = given
        self.run_thread(work, SimulatedThread(self, name))

    def run_thread(
        self, work: Callable[[SimulatedThread], object], thread: SimulatedThread
    ) -> None:
        """Run `work` on that thread until it has to wait, or is done."""
        thread.work = work
        self.resume(thread)

    def idle_thread(self) -> SimulatedThread:
        """Return a thread that has nothing to do."""
        return self.spare.pop() if self.spare else SimulatedThread(self)

    def resume(self, thread: SimulatedThread) -> None:
        """Have a thread go on until it has to wait, or is done."""
        local.worker = thread
        try:
            thread.greenlet.switch()
        finally:
            local.worker = self.nobody

    def wait(self, signal: _Signal, timeout: float) -> bool:
        """Wait on the current thread for `timeout` seconds at most; tell whether it was given."""
        until = self.clock.now + timeout
        thread = local.worker
        if not isinstance(thread, SimulatedThread):
            if self.stepping:
                self.nobody.signal()
            if not self.run(self.bounded(lambda: signal.given), until) and until == math.inf:
                raise self.deadlock("the test waits for an answer that nobody will give")
            return signal.given
        signal.waiter = thread
        self.waiting[thread] = signal
        if until < math.inf:
            self.at(until, signal)
        try:
            self.hub.switch()
        finally:
            del self.waiting[thread]
            signal.waiter = None
        return signal.given

    # -- letting it happen -----------------------------------------------------------------------

    def run(self, done: Callable[[], bool], until: float = math.inf) -> bool:
        """Take steps until `done()`; tell whether it came to that.

        Args:
            done: asked after each step.
            until: when to stop on the virtual clock, which stands there then.
        """
        if self.stepping:
            raise SimulationError("the simulation is running already; this code is part of it")
        ready = self.ready
        choose = self.choose
        checks = self.after_step
        before = local.worker
        outer_loop = asyncio._get_running_loop()
        outer_hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(None)
        sys.set_asyncgen_hooks(*self.asyncgen_hooks)
        local.worker = self.nobody
        self.stepping = True
        try:
            while not done():
                count = len(ready)
                if count > 1:
                    call, what = ready.pop(choose(count))
                elif count:
                    call, what = ready.pop()
                elif self.advance(until):
                    continue
                else:
                    return False
                self.steps += 1
                call(what)
                if checks:
                    for check in checks:
                        check()
            return True
        finally:
            self.stepping = False
            local.worker = before
            asyncio._set_running_loop(outer_loop)
            sys.set_asyncgen_hooks(*outer_hooks)

    def upcoming(self) -> bool:
        """Tell whether anything is going to come due."""
        heap = self.heap
        while heap and heap[0][2].gone():
            heapq.heappop(heap)
        return bool(heap)

    def advance(self, until: float = math.inf) -> bool:
        """Have time go on to whatever is due next; tell whether anything is, by `until`."""
        heap = self.heap
        clock = self.clock
        if not self.upcoming() or heap[0][0] > until:
            if until < math.inf:
                clock.now = max(clock.now, until)
            return False
        clock.now = max(clock.now, heap[0][0])
        self.expire()
        return True

    def expire(self) -> None:
        """Have everything come due whose time has come."""
        heap = self.heap
        while heap and heap[0][0] <= self.clock.now:
            what = heapq.heappop(heap)[2]
            if not what.gone():
                what.due()

    def close(self) -> None:
        """End what still waits; `finally` blocks run."""
        # Or a thread whose handler has ended would stay to take the next turn, and with it all that
        # its stack holds, which the garbage collector does not see.
        self.closed = True
        before, local.worker = local.worker, self.nobody
        try:
            for thread in [*self.waiting, *self.spare]:
                thread.greenlet.throw()
        finally:
            local.worker = before
        self.spare.clear()
        self.ready.clear()
        self.heap.clear()


class _Call(ScheduledCall):
    """A call of the system's timers."""

    def __init__(
        self, kernel: Kernel, when: float, call: Callable[[], object], timers: SimulatedTimers
    ) -> None:
        super().__init__(when, call)
        self._kernel = kernel
        self.timers = timers

    def gone(self) -> bool:
        return self.cancelled

    def due(self) -> None:
        self._kernel.ready.append((_run_call, self))


def _run_call(call: ScheduledCall) -> None:
    call.run()


class SimulatedTimers:
    """The timers of a simulated system."""

    threads = 0
    interrupted = False

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._closed = False

    def call_later(self, seconds: float, call: Callable[..., object], *args: Any) -> ScheduledCall:
        """Call `call(*args)` in `seconds` of virtual time."""
        kernel = self._kernel
        bound = (lambda: call(*args)) if args else call
        scheduled = _Call(kernel, kernel.clock.now + max(0.0, seconds), bound, self)
        if not self._closed:
            kernel.at(scheduled.when, scheduled)
        return scheduled

    def close(self) -> None:
        """Forget what is scheduled and start nothing new."""
        self._closed = True
        heap = self._kernel.heap
        heap[:] = [e for e in heap if not (isinstance(e[2], _Call) and e[2].timers is self)]
        heapq.heapify(heap)

    def join(self, timeout: float | None = None) -> None:
        """There is no thread."""
