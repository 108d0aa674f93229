"""The system of a simulation: everything of a real one, but what runs the turns."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Protocol

from loguru import logger

from actors._cell import Cell, LoneCell
from actors._executing import CELL, Signal, local
from actors._future import Future
from actors._lifecycle import State
from actors._mailbox import Dispatcher
from actors._messages import ActorFailed, ActorRestarted, DeadLetter, ShutdownReport
from actors._ref import ActorRef
from actors._shutdown import forget
from actors._system import ActorSystem
from actors._timers import Timers
from actors._waiting import signal
from actors.services._budget_keeper import Books, BudgetKeeper
from actors.testing._errors import InjectedCrash
from actors.testing._kernel import Kernel, SimulatedThread, SimulatedTimers
from actors.testing._loop import SimulatedDispatcher, SimulatedLoop

__all__ = ["Hold", "Observer", "SimulatedSystem", "sender"]

__tracebackhide__ = True  # pytest shows the lines of the test, not these


def sender() -> str:
    """Return the path of the actor whose code is executing, or the name of the simulated thread."""
    cell = CELL.get()
    worker: Any = local.worker
    if cell is None and worker is not None:
        cell = worker.cell
    if cell is not None:
        return str(cell.path)
    return getattr(worker, "name", "") or "test"


Hold = Callable[[Callable[[], None]], None]
"""Keeps what it is given, and calls it when its time has come."""


class Observer(Protocol):
    """Who sees everything that happens in a simulated system, and may interfere."""

    def sending(self, cell: Any, item: Any) -> Hold | None:
        """Somebody sends `item`; return None to have it delivered, or who does so later."""

    def stopping(self, cell: Any) -> Hold | None:
        """Somebody orders an actor to stop; likewise, as it must not overtake what was sent."""

    def handling(self, cell: Any, message: Any) -> Callable[[Any], Any] | None:
        """An actor is about to handle a message; what is raised here, it raises.

        Return what its result has to go through, or None.
        """

    def starting(self, cell: Any) -> Exception | None:
        """An instance was made; return what its start is to fail with, or None."""

    def kept(self, cell: Any, message: Any, before: Any) -> None:
        """The keeper of a budget handled a message; `before`, so much was settled."""

    def replied(self, cell: Any, future: Any, reply: Any) -> None:
        """A request was answered."""

    def noted(self, kind: Any, path: str, what: Any = None) -> None:
        """Something happened to an actor."""


class _SimulatedRef(ActorRef[Any]):
    """A reference that has the same place in a set in every process."""

    __slots__ = ("_number",)

    def __init__(self, cell: Any) -> None:
        super().__init__(cell)
        self._number: int = cell.system.kernel.number()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return self._number


class SimulatedCell(Cell):
    """A cell whose messages are seen."""

    __slots__ = ("_path", "_receive", "on_way")

    ref_type = _SimulatedRef

    def __init__(self, *args: Any) -> None:
        self._receive: Any = None
        self._path = ""
        # What was sent to it and not handled yet: the number, the sender, the message.
        self.on_way: deque[tuple[int, str, Any]] = deque()
        super().__init__(*args)

    @property
    def path(self) -> str:
        # Asked for twice for each message.
        path = self._path
        if not path:
            path = self._path = super().path
        return path

    # A sender in a hurry must not pass by `put`.
    direct = property(lambda _: False, lambda _, __: None)

    @property
    def receive(self) -> Any:
        return self._receive

    @receive.setter
    def receive(self, handler: Any) -> None:
        if handler is None or self._receive is not None:
            self._receive = handler  # the flight recorder's, around what is seen already
            return
        handling = self.system.observer.handling
        if issubclass(self.spec.cls, BudgetKeeper):
            handler = self._audited(handler)

        def observed(message: Any) -> Any:
            after = handling(self, message)
            result = handler(message)
            return result if after is None else after(result)

        self._receive = observed

    def _audited(self, handler: Any) -> Any:
        kept = self.system.observer.kept
        ledger = self.spec.args[0].ledger

        def audited(message: Any) -> Any:
            before = ledger._root.settled
            try:
                return handler(message)
            finally:
                kept(self, message, before)

        return audited

    def begin(self) -> None:
        super().begin()
        if self.state is State.RUNNING and "on_start" in vars(self.instance):
            # Its class has no `on_start`, so nobody has looked at what `_build` put there.
            self.post(Cell._op_escalate, self.instance.on_start.error)

    def _build(self) -> None:
        super()._build()
        error = self.system.observer.starting(self)
        if error is not None:
            self.instance.on_start = _Failing(error)

    async def _not_handled(self, message: Any, future: Any, error: BaseException) -> int:
        handled = await super()._not_handled(message, future, error)
        # It crashes, which a request that only raises an exception would not have it do.
        if isinstance(error, InjectedCrash) and self.state < State.STOPPING and not self.then:
            step = self._fail(error)
            if step is not None:
                await step
        return handled

    def put(self, item: Any) -> None:
        hold = self.system.observer.sending(self, item)
        if hold is None:
            super().put(item)
        else:
            hold(partial(super().put, item))

    def order_stop(self, future: Future[bool] | None = None, *, drain: bool = True) -> None:
        hold = self.system.observer.stopping(self)
        if hold is None:
            super().order_stop(future, drain=drain)
        else:
            hold(partial(super().order_stop, future, drain=drain))

    def stopped_event(self) -> threading.Event:
        extras = self.more()
        if extras.stopped is None:
            event = extras.stopped = _SimulatedEvent()
            if self.closed:
                event.set()
            else:
                self.order_notice(event.set)
        return extras.stopped

    def _invoke(self, message: Any) -> Any:
        if type(message).__module__ != "pykka.messages":
            return super()._invoke(message)
        after = self.system.observer.handling(self, message)
        result = super()._invoke(message)
        return result if after is None else after(result)

    def _answer(self, future: Any, result: Any) -> None:
        self.system.observer.replied(self, future, result)
        super()._answer(future, result)

    def enter(self) -> None:
        super().enter()
        system = self.system
        system.observer.noted("start", self.path)
        if issubclass(self.spec.cls, BudgetKeeper):
            system.books.append((self.path, self.spec.args[0]))

    def leave(self) -> None:
        super().leave()
        self.system.observer.noted("stop", self.path, self.reason)


class _SimulatedEvent(threading.Event):
    """An event that one waits for on virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self._signals: list[Signal] = []

    def set(self) -> None:
        super().set()
        waited_for, self._signals = self._signals, []
        for one in waited_for:
            one.release()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            waited_for = signal()
            self._signals.append(waited_for)
            waited_for.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
        return self.is_set()


class SimulatedLoneCell(SimulatedCell, LoneCell):
    """Likewise, of an actor without a supervisor."""

    __slots__ = ()


class _Failing:
    """An `on_start` that fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self) -> None:
        raise self.error


class SimulatedPool:
    """The dispatcher of sync actors in a simulation: each turn is a step, on a simulated thread."""

    inline = False
    awaits = False
    started = True
    threads = 0
    exhausted = False

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.handled = 0
        self.submit: Callable[[Any], None] = self._submit

    def _submit(self, cell: Any) -> None:
        self._kernel.ready.append((self._turn, cell))

    def _turn(self, cell: Any) -> None:
        thread = self._kernel.idle_thread()
        thread.cell = cell
        self._kernel.run_thread(self._take_turn, thread)

    def _take_turn(self, thread: SimulatedThread) -> None:
        cell = thread.cell
        try:
            cell.run_on(thread)
        except Exception as error:  # noqa: BLE001 - as in the real pool
            logger.exception("the runtime failed in a turn of {}", cell)
            cell.wreck(error)
        self.handled += thread.handled
        thread.handled = 0
        thread.cell = None

    def take_here(self, cell: Any) -> None:
        """As `submit`: who runs when is chosen."""
        self.submit(cell)

    def lend(self, future: Any) -> None:
        """A loop's time is not for handlers that may block."""

    def works(self) -> bool:
        """It always does."""
        return True

    def interrupt(self, cell: Any) -> None:
        """A sync handler cannot be interrupted."""

    def interrupt_request(self, cell: Any, future: Any) -> None:
        """A sync handler cannot be interrupted."""

    def executing(self) -> list[tuple[Any, Callable[[], list[FrameType]]]]:
        """Return the actors whose handlers wait, each with a way to its frames."""
        return [
            (thread.cell, partial(_frames_of, thread))
            for thread in self._kernel.waiting
            if thread.cell is not None
        ]

    def close(self) -> None:
        """There are no threads."""

    def join(self, timeout: float) -> list[str]:  # noqa: ARG002 - as of the real pool
        """There are no threads."""
        return []


def _frames_of(thread: SimulatedThread) -> list[FrameType]:
    frame = thread.greenlet.gr_frame
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


class SimulatedSystem(ActorSystem):
    """An `ActorSystem` that runs in a simulation."""

    _cells = (SimulatedCell, SimulatedLoneCell)

    def __init__(
        self, kernel: Kernel, loop: SimulatedLoop, observer: Observer, **options: Any
    ) -> None:
        self.observer = observer
        self.kernel = kernel
        # The books of all budgets that were ever opened here, with the paths of their keepers.
        self.books: list[tuple[str, Books]] = []
        super().__init__(clock=kernel.clock, **options)
        self._loop = SimulatedDispatcher(kernel, loop)

    def _make_timers(self) -> Timers:
        return SimulatedTimers(self.kernel)

    def _make_pool(self) -> Any:
        return SimulatedPool(self.kernel)

    def _make_pinned(self, cls: type[Any]) -> Dispatcher:  # noqa: ARG002 - it needs no thread
        pool: Dispatcher = self._pool
        return pool

    def leave(self) -> None:
        """Count as stopped, since nobody will take another step."""
        self._stop_permit.clear()
        self._stopping = self._stopped
        self._terminated.set()
        forget(self)
        self._stopped.try_set(ShutdownReport(self._ended.value, (), 0.0))

    def drivers(self) -> list[Any]:
        """Return the tasks in which async actors take their turns."""
        return list(self._loop._drivers) if self._loop is not None else []

    def failed(self, report: ActorFailed) -> None:
        self.observer.noted("fail", report.path, report.reason)
        super().failed(report)

    def publish(self, event: Any) -> None:
        if isinstance(event, ActorRestarted):
            self.observer.noted("restart", event.path)
        super().publish(event)

    def dead_letter(self, letter: DeadLetter) -> None:
        self.observer.noted("dead", letter.target, (letter.kind, letter.message))
        super().dead_letter(letter)

    def late_reply(self, reply: Any, target: str) -> None:
        self.observer.noted("late", target, reply)
        super().late_reply(reply, target)
