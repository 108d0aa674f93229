"""An event loop on virtual time, and the dispatcher of async actors on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVarTuple

from actors._dispatch._loop import LoopDispatcher
from actors._driver import Driver
from actors.testing._errors import SimulationError
from actors.testing._kernel import Kernel, SimulatedThread
from actors.testing._world import refuse

__all__ = ["SimulatedDispatcher", "SimulatedLoop"]

Ts = TypeVarTuple("Ts")

_set_running_loop = asyncio._set_running_loop


class _Timer(asyncio.TimerHandle):
    """A callback that is due on virtual time."""

    __slots__ = ()

    _loop: SimulatedLoop

    def gone(self) -> bool:
        return self._cancelled

    def due(self) -> None:
        self._loop.enqueue(self)


class _Task(asyncio.Task[Any]):
    """A task that has the same place in a set in every process."""

    __slots__ = ("_number",)

    def __init__(self, *args: Any, number: int, **options: Any) -> None:
        self._number = number  # first, since the task is put into a set
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number


class _Future(asyncio.Future[Any]):
    """A future, likewise."""

    __slots__ = ("_number",)

    def __init__(self, *, number: int, loop: SimulatedLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.BaseEventLoop):
    """The event loop of a simulation: callbacks in the order they were asked for, on virtual time.

    There are no sockets; `run_in_executor` (and so `asyncio.to_thread`) runs the function on a
    simulated thread.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        super().__init__()
        self.set_task_factory(self._make_task)
        # Invariant: `_next` stands in the kernel's `ready` once, as long as this is not empty.
        self._fifo: deque[asyncio.Handle] = deque()

    def _make_task(self, _: Any, coro: Any, **options: Any) -> _Task:
        return _Task(coro, loop=self, number=self._kernel.number(), **options)

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(number=self._kernel.number(), loop=self)

    def time(self) -> float:
        return self._kernel.clock.now

    def is_running(self) -> bool:
        return self._kernel.stepping

    def run_forever(self) -> None:
        raise SimulationError("the loop of a simulation runs in `sim.run()` only")

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._refuse_if_closed()
        handle = asyncio.Handle(callback, args, self, context)
        self.enqueue(handle)
        return handle

    def _refuse_if_closed(self) -> None:
        if self.is_closed():
            raise RuntimeError("the event loop of this simulation is closed")

    call_soon_threadsafe = call_soon

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._refuse_if_closed()
        timer = _Timer(when, callback, args, self, context)
        self._kernel.at(when, timer)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is skipped when its time has come."""

    def enqueue(self, handle: asyncio.Handle) -> None:
        """Have a callback called after those that wait."""
        fifo = self._fifo
        if not fifo:
            self._kernel.ready.append((self._next, None))
        fifo.append(handle)

    @property
    def asyncgen_hooks(self) -> tuple[Any, Any]:
        """What async generators are to be watched with while this loop runs."""
        return self._asyncgen_firstiter_hook, self._asyncgen_finalizer_hook  # type: ignore[attr-defined]

    def go_on(self) -> None:
        """Have what waits here called, although the kernel has forgotten about it."""
        if self._fifo:
            self._kernel.ready.append((self._next, None))

    def _next(self, _: None) -> None:
        fifo = self._fifo
        handle = fifo.popleft()
        if fifo:
            self._kernel.ready.append((self._next, None))
        if not handle._cancelled:
            _set_running_loop(self)
            try:
                handle._run()
            finally:
                _set_running_loop(None)

    def run_in_executor(  # type: ignore[override]  # the base calls it a coroutine function
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        self._refuse_if_closed()
        if executor is not None:
            refuse(
                "an executor has real threads; in a simulation pass None (or use "
                "`asyncio.to_thread`), which takes a simulated one"
            )
        future: asyncio.Future[Any] = self.create_future()

        def work(_: SimulatedThread) -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - it is the outcome
                self.call_soon(_set_exception, future, error)
            else:
                self.call_soon(_set_result, future, result)

        self._kernel.start_thread(work, getattr(func, "__name__", "executor"))
        return future

    async def subprocess_exec(self, *_: Any, **__: Any) -> Any:
        """Refuse: a process is of the real world."""
        refuse("a simulation starts no processes; give the actor a double")

    subprocess_shell = subprocess_exec

    def __del__(self) -> None:
        """Have nothing to complain of: a simulation that was never entered holds nothing open."""

    def close(self) -> None:
        self._fifo.clear()
        super().close()


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


class _OneByOne(Driver):
    """A driver that handles one message in a turn."""

    __slots__ = ()

    throughput = 1


class SimulatedDispatcher(LoopDispatcher):
    """The dispatcher of async actors in a simulation: each turn is a step of its own."""

    loop: SimulatedLoop

    def __init__(self, kernel: Kernel, loop: SimulatedLoop) -> None:
        super().__init__(loop)
        self._kernel = kernel

    def _submit(self, cell: Any) -> None:
        self._kernel.ready.append((self._turn, cell))

    def _turn(self, cell: Any) -> None:
        """Give one turn to an actor, as the task of a driver."""
        self.ready.append(cell)
        spare = self._spare
        while spare:
            driver = spare.pop()
            if driver.task.cancelling():
                continue  # it is about to end
            driver.left = 1
            _set_running_loop(self.loop)
            try:
                self._step(driver)
            finally:
                _set_running_loop(None)
            return
        # It takes its first turn in its first step.
        driver = _OneByOne(self)
        self._drivers.add(driver)
        driver.task.add_done_callback(driver.ended)

    def resume_pump(self) -> None:
        """Whoever is ready was given a driver already."""

    def lend(self, future: Any) -> None:
        """Whoever waits lets others choose what happens meanwhile."""

    def held_up(self) -> float:
        """The loop of a simulation is never held up."""
        return 0.0
