"""Sees what happens in a simulated system, writes it down, and delivers messages late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from actors._future import Future
from actors.testing._errors import SimulationError
from actors.testing._faults import Faults
from actors.testing._history import History, Kind
from actors.testing._kernel import Kernel, SimulatedTimers
from actors.testing._system import Hold, sender

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
        # Not those of the system, which forget everything when it ends.
        self._timers = SimulatedTimers(kernel)
        self._faults = faults
        self.kept = kept
        self._add = history.add
        self._over = False
        self._sent = 0
        self._heard_of = 0  # the last message before the test was told who has no answer
        # Invariant: the requests that have no answer, with who asked whom.
        self._asked: dict[Future[Any], tuple[int, str, str]] = {}
        # Invariant: what was sent and has not arrived, in the order in which it was sent, by sender
        # and receiver; with whether its time has come. No line is empty.
        self._lines: dict[tuple[str, str], deque[list[Any]]] = {}

    def open_requests(self) -> list[tuple[int, str, str]]:
        """Return number, asker and asked of what has no answer and was not told to the test."""
        return [
            entry
            for future, entry in self._asked.items()
            if entry[0] > self._heard_of and not future.done()
        ]

    @property
    def waited_for(self) -> bool:
        """Whether somebody has no answer, likewise."""
        newest = next(reversed(self._asked.values()), None)
        return newest is not None and newest[0] > self._heard_of

    def dismiss(self) -> None:
        """Take it that the test has heard of everything that has no answer."""
        self._heard_of = self._sent

    def target_of(self, source: str) -> str | None:
        """Return whom an actor asked last that has not answered, or None."""
        asked = [target for future, (_, asker, target) in self._asked.items() if asker == source]
        return asked[-1] if asked else None

    def close(self) -> None:
        """Write nothing more down; nobody will answer any more."""
        self._add = _drop
        self._over = True
        for future in list(self._asked):
            future._fail(_over())

    def sending(self, cell: Any, item: Any) -> Hold | None:
        """Somebody sends `item`; return what keeps it back, or None.

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
        delay = None
        # Who sends to a full mailbox may have to wait, or to be told so.
        if self._faults.late and cell.bounds is None:
            delay = self._faults.delay_of(source, cell, target, number)
        if delay is None and not self._lines:
            return None
        return self._line_up(source, target, delay)

    def stopping(self, cell: Any) -> Hold | None:
        """Somebody orders an actor to stop; likewise."""
        return self._line_up(sender(), cell.path, None) if self._lines else None

    def _line_up(self, source: str, target: str, delay: float | None) -> Hold | None:
        """Return what keeps a message back; None if it is neither delayed nor behind others."""
        key = (source, target)
        line = self._lines.get(key)
        if line is None:
            if delay is None:
                return None
            line = self._lines[key] = deque()

        def hold(deliver: Callable[[], None]) -> None:
            # What one sends to another arrives in order, so all stand in line.
            entry = [delay is None, deliver]
            line.append(entry)
            if delay:
                self._timers.call_later(delay, self._arrive, key, entry)
            elif delay is not None:
                self._kernel.ready.append((lambda _: self._arrive(key, entry), None))

        return hold

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

    def _answered(self, future: Future[Any]) -> None:
        self._asked.pop(future, None)

    def handling(self, cell: Any, message: Any) -> Callable[[Any], Any] | None:
        """An actor is about to handle a message; return what its result goes through."""
        number, source = 0, ""
        on_way = cell.on_way
        for index, entry in enumerate(on_way):
            if entry[2] is message:
                number, source, _ = entry
                del on_way[index]
                break
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


def _over() -> SimulationError:
    return SimulationError("the simulation is over; what is left of it does nothing any more")


def _drop(_: Any) -> None:
    """Be the end of a history."""
