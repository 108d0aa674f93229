"""Sees everything that happens in a simulated system, writes it down, and delivers messages late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from actors._future import Future
from actors.testing._faults import Faults
from actors.testing._history import History, Kind
from actors.testing._kernel import Kernel, SimulatedTimers
from actors.testing._system import sender

__all__ = ["Recorder"]


class Recorder:
    """The observer of a simulated system.

    Args:
        kernel: what runs the simulation.
        history: where it is written down.
        faults: what is asked about each message.
        kept: told of each message that the keeper of a budget has handled.
    """

    def __init__(
        self,
        kernel: Kernel,
        history: History,
        faults: Faults,
        kept: Callable[[Any, Any, Any], None],
    ) -> None:
        self._kernel = kernel
        self._clock = kernel.clock
        self._timers = SimulatedTimers(kernel)
        self._faults = faults
        self.kept = kept
        self._add = history.add
        self._sent = 0
        # What was sent and not handled yet, by actor and message; a message may be sent twice.
        self._on_their_way: dict[tuple[int, int], deque[tuple[int, str, Any]]] = {}
        # Invariant: the requests that have no answer, with who asked whom.
        self._asked: dict[Future[Any], tuple[int, str, str]] = {}
        # Invariant: what was sent and has not arrived, in the order in which it was sent, by sender
        # and receiver; with whether its time has come. No line is empty.
        self._lines: dict[tuple[str, str], deque[list[Any]]] = {}

    def open_requests(self) -> list[tuple[int, str, str]]:
        """Return number, asker and asked of all requests that nobody has answered."""
        return [entry for future, entry in self._asked.items() if not future.done()]

    def close(self) -> None:
        """Write nothing more down."""
        self._add = _drop

    def sending(self, cell: Any, item: Any, deliver: Callable[[], None]) -> None:
        """Somebody sends `item`."""
        message, future = (item[0], item[1]) if type(item) is tuple else (item, None)
        source = sender()
        target = cell.path
        self._sent = number = self._sent + 1
        kernel = self._kernel
        if isinstance(future, Future):
            kind: Kind = "ask"
            self._asked[future] = (number, source, target)
            future._add_callback(self._answered)
        else:
            kind = "send"
        self._add((kernel.steps, self._clock.now, kind, source, target, number, message))
        key = (id(cell), id(message))
        entry = (number, source, message)  # which keeps the message, and so its id, alive
        line = self._on_their_way.get(key)
        if line is None:
            self._on_their_way[key] = deque((entry,))
        else:
            line.append(entry)
        delay = None
        if self._faults.late and cell.bounds is None:
            delay = self._faults.delay_of(source, cell, target, number)
        if delay is None and not self._lines:
            deliver()
        else:
            self._deliver(source, target, delay, deliver)

    def _deliver(
        self, source: str, target: str, delay: float | None, deliver: Callable[[], None]
    ) -> None:
        key = (source, target)
        line = self._lines.get(key)
        if line is None:
            if delay is None:
                deliver()
                return
            line = self._lines[key] = deque()
        # What one sends to another arrives in order, so who is not delayed stands in line, too.
        entry = [delay is None, deliver]
        line.append(entry)
        if delay:
            self._timers.call_later(delay, self._arrive, key, entry)
        elif delay is not None:
            self._kernel.ready.append((lambda _: self._arrive(key, entry), None))

    def _arrive(self, key: tuple[str, str], entry: list[Any]) -> None:
        """Deliver a message, as soon as those before it are."""
        entry[0] = True
        line = self._lines[key]
        while line and line[0][0]:
            line.popleft()[1]()
        if not line:
            del self._lines[key]

    def arrived(self) -> bool:
        """Tell whether all that was sent was delivered."""
        return not self._lines

    def stopping(self, cell: Any, deliver: Callable[[], None]) -> None:
        """Somebody orders an actor to stop."""
        if self._lines:
            self._deliver(sender(), cell.path, None, deliver)
        else:
            deliver()

    def _answered(self, future: Future[Any]) -> None:
        self._asked.pop(future, None)

    def handling(self, cell: Any, message: Any) -> Callable[[Any], Any] | None:
        """An actor is about to handle a message; return what its result goes through."""
        key = (id(cell), id(message))
        line = self._on_their_way.get(key)
        number, source = 0, ""
        if line is not None:
            number, source, _ = line.popleft()
            if not line:
                del self._on_their_way[key]
        path = cell.path
        self._add((self._kernel.steps, self._clock.now, "handle", source, path, number, message))
        if self._faults.on_message:
            return self._faults.handling(cell, path, number, message)
        return None

    def starting(self, cell: Any) -> Exception | None:
        """An instance was made; return what its start is to fail with, if it is."""
        return self._faults.starting(cell)

    def fault(self, target: str, number: int, what: str) -> None:
        """A fault was injected."""
        self._add((self._kernel.steps, self._clock.now, "fault", "", target, number, what))

    def replied(self, cell: Any, future: Any, reply: Any) -> None:
        """A request was answered."""
        number, source, _ = self._asked.get(future, (0, "", ""))
        self._add((self._kernel.steps, self._clock.now, "reply", cell.path, source, number, reply))

    def noted(self, kind: Kind, path: str, what: Any = None) -> None:
        """Something happened to an actor."""
        self._add((self._kernel.steps, self._clock.now, kind, "", path, 0, what))


def _drop(_: Any) -> None:
    """Be the end of a history."""
