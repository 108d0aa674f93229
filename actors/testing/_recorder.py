"""Sees what happens in a simulated system, writes it down, and delivers messages late."""

from __future__ import annotations

from typing import Any

from actors._future import Future
from actors.testing._errors import SimulationError
from actors.testing._faults import Faults
from actors.testing._history import History, Kind
from actors.testing._kernel import Kernel
from actors.testing._system import sender

__all__ = ["Recorder"]


class Recorder:
    """The observer of a simulated system.

    Args:
        kernel: what runs the simulation.
        history: where it is written down.
        faults: what is asked about each message.
    """

    def __init__(self, kernel: Kernel, history: History, faults: Faults) -> None:
        self._kernel = kernel
        self._clock = kernel.clock
        self._faults = faults
        self._add = history.add
        self._over = False
        self._sent = 0
        # Invariant: the requests that have no answer, with who asked whom.
        self._asked: dict[Future[Any], tuple[int, str, str]] = {}
        # When the last message between two is delivered, where some are delayed.
        self._delivered: dict[tuple[str, str], float] = {}

    def open_requests(self) -> list[tuple[int, str, str]]:
        """Return number, asker and asked of all requests that nobody has answered."""
        return [entry for future, entry in self._asked.items() if not future.done()]

    @property
    def waited_for(self) -> bool:
        """Whether somebody has asked something and has no answer."""
        return bool(self._asked)

    def close(self) -> None:
        """Write nothing more down; nobody will answer any more."""
        self._add = _drop
        self._over = True
        for future in list(self._asked):
            future._fail(_over())

    def sending(self, cell: Any, item: Any) -> float:
        """Somebody sends `item`; return after how many seconds it is to be delivered.

        Raises:
            SimulationError: the simulation is over.
        """
        if self._over:
            raise _over()
        message, future = (item[0], item[1]) if type(item) is tuple else (item, None)
        source = sender()
        target = cell.path
        self._sent = number = self._sent + 1
        if isinstance(future, Future):
            kind: Kind = "ask"
            self._asked[future] = (number, source, target)
            future._add_callback(self._answered)
        else:
            kind = "send"
        self._add((self._kernel.steps, self._clock.now, kind, source, target, number, message))
        cell.on_way.append((number, source, message))
        delay = self._faults.delay(source, target, message)
        if delay or self._delivered:
            return self._delay(source, target, delay or 0.0)
        return 0.0

    def _delay(self, source: str, target: str, delay: float) -> float:
        """Return the delay with which what one sends to another arrives in order."""
        now = self._clock.now
        when = max(now + delay, self._delivered.get((source, target), 0.0))
        if when > now:
            self._delivered[source, target] = when
        return when - now

    def stopping(self, cell: Any) -> float:
        """Somebody orders an actor to stop; return the delay, likewise."""
        return self._delay(sender(), cell.path, 0.0) if self._delivered else 0.0

    def _answered(self, future: Future[Any]) -> None:
        self._asked.pop(future, None)

    def handling(self, cell: Any, message: Any) -> None:
        """An actor is about to handle a message."""
        number, source = 0, ""
        on_way = cell.on_way
        for index, entry in enumerate(on_way):
            if entry[2] is message:
                number, source, _ = entry
                del on_way[index]
                break
        path = cell.path
        self._add((self._kernel.steps, self._clock.now, "handle", source, path, number, message))
        self._faults.handling(cell, message)

    def replied(self, cell: Any, future: Any, reply: Any) -> None:
        """A request was answered."""
        number, source, _ = self._asked.get(future, (0, "", ""))
        self._add((self._kernel.steps, self._clock.now, "reply", cell.path, source, number, reply))

    def noted(self, kind: Kind, path: str, what: Any = None) -> None:
        """Something happened to an actor."""
        self._add((self._kernel.steps, self._clock.now, kind, "", path, 0, what))


def _over() -> SimulationError:
    return SimulationError("the simulation is over; what is left of it does nothing any more")


def _drop(_: Any) -> None:
    """Be the end of a history."""
