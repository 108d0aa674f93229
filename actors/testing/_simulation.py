"""A whole system of actors in one thread, on virtual time, in the order that a seed chooses."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from actors import _default
from actors._clock import ambient
from actors._errors import InvalidOption
from actors._executing import local
from actors._future import Future
from actors._ids import RANDOM
from actors._options import function, patience
from actors._tree import living
from actors.services._append_file import using
from actors.services._errand import at_once
from actors.testing._errors import (
    EndlessSimulation,
    RealWorld,
    SimulationDeadlock,
    SimulationError,
)
from actors.testing._faults import Faults
from actors.testing._history import History
from actors.testing._invariants import Invariants
from actors.testing._kernel import Kernel, SimulatedThread, VirtualClock
from actors.testing._loop import SimulatedLoop
from actors.testing._options import check_count
from actors.testing._preemption import preempted
from actors.testing._recorder import Recorder
from actors.testing._schedules import RandomSchedule, Schedule
from actors.testing._system import SimulatedSystem
from actors.testing._world import closed_world

__all__ = ["STEPS", "Simulation"]

__tracebackhide__ = True  # pytest shows the lines of the test, not these

T = TypeVar("T")

STEPS = 2_000_000
"""Steps after which a simulation counts as one that does not end."""

PATIENCE = 86_400.0
"""Virtual seconds in which, at the end of a simulation, what was asked has to be answered,"""

MOST_WAITED = 100_000
"""and steps."""


class Simulation:
    """A system of actors whose every step is decided by a seed.

    `with Simulation(seed=7) as sim:` gives `sim.system`, in which actors are spawned as in any
    other. They run while the test waits for something: for an answer (`ref.ask`, `future.get`), in
    `sim.run()`, or for a coroutine given to it. All time is virtual: an hour passes as soon as
    nothing else can happen.

    Args:
        seed: chooses who runs next; the same seed gives the same history, byte for byte.
        schedule: chooses instead of the seed.
        steps: how many it may take until it counts as one that does not end; for each call that
            lets it run.
        system: options of the `ActorSystem`, such as `supervision`.

    Attributes:
        seed: as given.
        system: the system, which is also the default one within the scope.
        history: what happened.
        faults: what goes wrong on purpose.
        random: a source of randomness for the test's own use, decided by the seed.
        clock: the virtual clock.

    Raises:
        MissingExtra: greenlet is not installed (`pip install callboard[testing]`).
        InvalidOption: `seed` or `steps` is not a whole number, or `steps` is less than 1.
    """

    __test__ = False

    def __init__(
        self,
        seed: int = 0,
        *,
        schedule: Schedule | None = None,
        steps: int = STEPS,
        **system: Any,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise InvalidOption("seed", seed, "a whole number")
        check_count("steps", steps)
        self._steps = steps
        self.seed = seed
        self.random = random.Random(f"{seed} test")  # noqa: S311 - reproducible on purpose
        self.schedule: Any = schedule or RandomSchedule(seed)
        self._kernel = Kernel(self.schedule)
        self._kernel.deadlock = self._deadlock
        self._kernel.bounded = self._bounded
        self.clock: VirtualClock = self._kernel.clock
        self.history = History()
        self.faults = Faults(self, self._kernel)
        self._recorder = Recorder(self._kernel, self.history, self.faults, self._kept)
        self._loop = SimulatedLoop(self._kernel)
        self._kernel.asyncgen_hooks = self._loop.asyncgen_hooks
        self._threads = itertools.count(1)
        self._world = closed_world(lambda: self._kernel.stepping, self._refused)
        options = {"name": "simulation", **system}
        self.system = SimulatedSystem(self._kernel, self._loop, self._recorder, **options)
        self._invariants = Invariants(
            seed, self._kernel, self.history, self.system, self._recorder.open_requests
        )
        self._before: tuple[Any, ...] | None = None
        self._closed = False
        self._told = False  # whether the test has heard of a deadlock

    # -- the scope -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._before is not None or self._closed:
            raise SimulationError("a simulation is entered once; make a new one")
        self._before = (
            local.worker,
            ambient.clock,
            _default.own.system,
            RANDOM.getstate(),
            random.getstate(),
            using.disk,
            at_once.count,
        )
        local.worker = self._kernel.outside
        ambient.clock = self.clock
        _default.own.system = self.system
        using.disk = self.faults.disk
        at_once.count = itertools.count(1)
        RANDOM.seed(f"{self.seed} ids")
        random.seed(f"{self.seed} random")
        self._world.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._tear_down()

    def _finish(self) -> None:
        """End in order: what is left to do is done, everything stops, and the balance is drawn."""
        kernel, recorder = self._kernel, self._recorder
        kernel.run(self._bounded(lambda: False), kernel.clock.now)
        if not (kernel.upcoming() or self._told) and self._stuck():
            raise self._deadlock("the simulation is over, and somebody waits for ever")
        if recorder.waited_for and self._invariants.checks("forgotten"):
            until = kernel.clock.now + PATIENCE
            last = kernel.steps + MOST_WAITED
            kernel.run(lambda: not recorder.waited_for or kernel.steps > last, until)
            if recorder.waited_for:
                raise self._deadlock("the simulation is over, and somebody has no answer yet")
        self._invariants.check_at_rest()
        ending = self.system.shutdown()
        kernel.run(self._bounded(ending.done))
        # What is still on its way becomes a dead letter.
        kernel.run(self._bounded(recorder.arrived))
        self._invariants.check_at_end()

    def _tear_down(self) -> None:
        self._closed = True
        kernel = self._kernel
        kernel.after_step.clear()
        kernel.choose = _oldest  # what is done from here on is no part of the schedule
        self._recorder.close()
        try:
            kernel.close()
            self._loop.go_on()
            self._cancel_tasks()
            self._loop.close()
            self.system.leave()
        finally:
            self._world.__exit__(None, None, None)
            assert self._before is not None
            worker, clock, system, ids, state, using.disk, at_once.count = self._before
            local.worker = worker
            ambient.clock = clock
            _default.own.system = system
            RANDOM.setstate(ids)
            random.setstate(state)

    def _cancel_tasks(self) -> None:
        for _ in range(3):  # a task may begin another while it is cancelled
            tasks = [task for task in asyncio.all_tasks(self._loop) if not task.done()]
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            self._kernel.run(_at_most(100 * len(tasks), tasks))

    # -- running ---------------------------------------------------------------------------------

    @overload
    def run(self, work: Coroutine[Any, Any, T], /) -> T: ...

    @overload
    def run(self, work: Callable[[], T], /) -> T: ...

    @overload
    def run(self, work: None = None, /, *, seconds: float = ...) -> None: ...

    def run(self, work: Any = None, /, *, seconds: float = math.inf) -> Any:
        """Let the simulation go on.

        Args:
            work: a coroutine, or a function; run in the simulation until it returns. Without it,
                the simulation runs until nothing is left that could happen.
            seconds: how long at most, in virtual time; without `work` only.

        Returns:
            What `work` returned.

        Raises:
            SimulationDeadlock: somebody waits, and nothing can happen any more.
            EndlessSimulation: it does not end; an actor that has a timer again and again needs
                `seconds`.
            InvalidOption: `work` is neither of these, or `seconds` no number.
            BaseException: what `work` raised.
        """
        if work is None:
            self._run_on(patience(seconds, "seconds"))
            return None
        if not asyncio.iscoroutine(work):
            function("work", work, "a coroutine, a function without arguments, or None")
        if asyncio.iscoroutine(work):
            task = self._loop.create_task(work)
            done, result = task.done, task.result
        else:
            future = self.thread(work)
            done, result = future.done, future.get
        if not self._kernel.run(self._bounded(done)):
            raise self._deadlock("the work given to `sim.run` does not end")
        return result()

    def _run_on(self, seconds: float) -> None:
        until = self.clock.now + seconds
        self._kernel.run(self._bounded(lambda: False), until)
        if seconds == math.inf and self._stuck() and not self._waits_for_the_test():
            raise self._deadlock("nothing can happen any more")

    def _bounded(self, done: Callable[[], bool]) -> Callable[[], bool]:
        kernel = self._kernel
        steps = self._steps
        last = kernel.steps + steps

        def bounded() -> bool:
            if kernel.steps > last:
                raise EndlessSimulation(
                    f"the simulation does not end: {steps:,} steps were taken; say for how long it "
                    "is to run (`sim.run(seconds=60)`) if an actor has a timer for ever, or allow "
                    "more (`steps=`)"
                )
            return done()

        return bounded

    def thread(self, work: Callable[[], T], *, name: str = "") -> Future[T]:
        """Run a function on a simulated thread of its own, beside everything else.

        Args:
            work: may wait for answers as the code of a thread does.
            name: for the history; "thread-1" and so on if empty.

        Returns:
            The future of what it returns.
        """
        future: Future[T] = Future()

        def run(_: SimulatedThread) -> None:
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - it is the outcome
                future.try_set_exception(error)
            else:
                future.try_set(result)

        self._kernel.start_thread(run, name or f"thread-{next(self._threads)}")
        return future

    # -- what has to hold --------------------------------------------------------------------------

    def always(self, predicate: Callable[[], object], name: str = "") -> None:
        """Check after each step that `predicate()` is true.

        Args:
            predicate: a plain function of what is there already; it must not wait.
            name: for the error; else its docstring or name.

        Raises:
            InvariantViolated: from whatever lets the simulation run, when it is not, or raises.
            SimulationError: likewise, when it waits.
        """
        self._invariants.always(predicate, name)

    def eventually(self, predicate: Callable[[], object], *, within: float, name: str = "") -> None:
        """Let the simulation go on until `predicate()` is true.

        Args:
            predicate: asked after each step; as for `always`.
            within: virtual seconds.
            name: for the error.

        Raises:
            InvariantViolated: it was not true in time, or raised.
            SimulationError: it waits.
        """
        self._invariants.eventually(predicate, within, name, self._bounded)

    def allow(self, *names: str) -> None:
        """Do not check some of what is checked in every simulation.

        Args:
            names: "lost" (each message is handled once, or becomes a dead letter), "forgotten"
                (each request is answered), "undead" (only living actors handle messages),
                "orphan" (no actor outlives its parent or its system), "overdrawn" (budgets keep
                to their caps, and book each charge), "unreturned" (no lease outlives its holder);
                and "files" (actors open no files).

        Raises:
            InvalidOption: there is no such invariant.
        """
        self._invariants.allow(*(name for name in names if name != "files"))
        self._world.files |= "files" in names

    def preempted(self, *methods: tuple[type, str]) -> AbstractContextManager[None]:
        """Let simulated threads be left before each statement of some methods, inside of the scope.

        For state that sync actors or threads share outside of messages. What a `with` guards is not
        left. Name few lines: the more pauses there are, the more alike are the orders.

        Args:
            methods: class and name of each, as in `(Cache, "add")`; no closures, so none that call
                `super()`, and none that the class inherits.

        Raises:
            SimulationError: on the way in, where a method cannot be.
        """
        return preempted(self._kernel, *methods)

    def fault(self, target: str, number: int, what: str) -> None:
        """Write down that a fault was injected; for faults of your own.

        Args:
            target: path of the actor, or the name of what it hit.
            number: of the message it is about; 0 if about none.
            what: which fault, in words that are the same for the same seed.
        """
        self._recorder.fault(target, number, what)

    def _refused(self, error: RealWorld) -> None:
        """Have the test hear of it when the step is over, whoever has caught it by then."""
        if self._closed:
            return

        def tell() -> None:
            self._kernel.after_step.remove(tell)
            raise error

        self._kernel.after_step.insert(0, tell)

    def _kept(self, cell: Any, message: Any, before: Any) -> None:
        self._invariants.kept(cell, message, before)

    # -- who waits ---------------------------------------------------------------------------------

    def _stuck(self) -> list[str]:
        """Return a line for each that waits for something that cannot happen."""
        lines = []
        for thread in self._kernel.waiting:
            cell = thread.cell
            if cell is not None and cell.closed:
                continue  # it was killed, and its handler is waited for by nobody
            who = cell.path if cell is not None else thread.name
            lines.append(f"{who} waits for {self._awaited(who)}")
        for driver in self.system.drivers():
            cell = driver.cell
            if cell is not None and cell.frame is driver.task and cell.in_turn:
                lines.append(f"{cell.path} waits for {self._awaited(cell.path)}")
        return sorted(lines)

    def _waits_for_the_test(self) -> bool:
        """Tell whether a probe was asked something, which the test will answer."""
        probes = {
            cell.path
            for cell in living(self.system._user)
            if getattr(cell.spec.cls, "is_probe", False)
        }
        return any(target in probes for _, _, target in self._recorder.open_requests())

    def _awaited(self, who: str) -> str:
        return self._recorder.target_of(who) or "something that no actor will do"

    def _deadlock(self, what: str) -> SimulationError:
        lines = self._stuck()
        lines += [
            f"{source} has no answer to #{number} from {target}"
            for number, source, target in self._recorder.open_requests()
        ]
        text = "".join(f"\n  {line}" for line in lines)
        self._told = True
        self._recorder.dismiss()
        return SimulationDeadlock(
            f"{what}, at {self.clock.now:g} s of virtual time (seed {self.seed}):{text}"
        )


def _oldest(count: int) -> int:  # noqa: ARG001 - as of schedules
    """Choose as no schedule does."""
    return 0


def _at_most(steps: int, tasks: list[asyncio.Task[Any]]) -> Callable[[], bool]:
    """Tell whether all tasks are done, or it was asked that often."""
    left = iter(range(steps))
    return lambda: next(left, None) is None or all(task.done() for task in tasks)
