"""What has to hold in a simulation: what the test says, and what holds for every system."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from actors._errors import InvalidOption
from actors._executing import local
from actors.services._account import Account, Pair, minus
from actors.services._budget_keeper import Books, ChargeOrder
from actors.services._ledger import ROOT
from actors.services._money import usd
from actors.testing._errors import InvariantViolated, SimulationError
from actors.testing._history import Event, History, canonical
from actors.testing._kernel import Kernel
from actors.testing._system import SimulatedSystem

__all__ = ["BUILT_IN", "Invariants"]

BUILT_IN = {
    "lost": "each message is handled once, or becomes a dead letter",
    "forgotten": "each request is answered",
    "undead": "an actor handles nothing before it starts and after it stopped",
    "orphan": "no actor outlives its parent, or its system",
    "overdrawn": "no budget has more reserved than its cap allows, and each charge is booked once",
    "unreturned": "no lease outlives the actor that holds it",
}
"""What is checked in every simulation, by the names that `sim.allow` takes."""

SHOWN = 8
"""Lines of events in an error."""

FEW = 100
"""Accounts of a budget that are all looked at after each of its turns; of more, only those that the
message was about."""


class Invariants:
    """The invariants of one simulation.

    Args:
        seed: for the errors.
        kernel: what runs it.
        history: what happened.
        system: the system that is watched.
        open_requests: number, asker and asked of the requests without an answer.
    """

    def __init__(
        self,
        seed: int,
        kernel: Kernel,
        history: History,
        system: SimulatedSystem,
        open_requests: Callable[[], list[tuple[int, str, str]]],
    ) -> None:
        self._seed = seed
        self._kernel = kernel
        self._history = history
        self._system = system
        self._open_requests = open_requests
        self._allowed: set[str] = set()

    def allow(self, *names: str) -> None:
        """Do not check these; see BUILT_IN.

        Raises:
            InvalidOption: there is no such invariant.
        """
        for name in names:
            if name not in BUILT_IN:
                raise InvalidOption("name", name, f"one of {', '.join(map(repr, BUILT_IN))}")
        self._allowed.update(names)

    def checks(self, name: str) -> bool:
        """Tell whether one is checked."""
        return name not in self._allowed

    # -- what the test says ------------------------------------------------------------------------

    def always(self, predicate: Callable[[], object], name: str) -> None:
        """Check after each step that the predicate is true."""
        text = name or _name_of(predicate)

        def check() -> None:
            if not self._holds(predicate, text):
                raise self._violation(f"{text} does not hold any more", self._now())

        self._kernel.after_step.append(check)

    def eventually(
        self,
        predicate: Callable[[], object],
        within: float,
        name: str,
        bounded: Callable[[Callable[[], bool]], Callable[[], bool]],
    ) -> None:
        """Let the simulation go on until the predicate is true."""
        if isinstance(within, bool) or not isinstance(within, (int, float)) or not within >= 0:
            raise InvalidOption("within", within, "virtual seconds, 0 or more")
        text = name or _name_of(predicate)
        until = self._kernel.clock.now + within
        done = bounded(lambda: self._holds(predicate, text))
        if self._kernel.run(done, until):
            return
        before, local.worker = local.worker, self._kernel.nobody
        try:
            # Once more, now that the time is up: it may ask for the time.
            came = self._holds(predicate, text)
        finally:
            local.worker = before
        if not came:
            raise self._violation(
                f"{text} did not come about within {within:g} s", self._last_events()
            )

    def _holds(self, predicate: Callable[[], object], text: str) -> bool:
        try:
            answer = predicate()
        except SimulationError as error:
            raise SimulationError(f"{text} cannot be checked: {error}") from error
        except Exception as error:
            raise self._violation(f"{text} cannot be told: {error!r}", self._now()) from error
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise SimulationError(
                f"{text} cannot be checked: its predicate returned an awaitable, which is always "
                "true; make it a plain function of what is there already"
            )
        return bool(answer)

    # -- budgets, after each of their turns --------------------------------------------------------

    def kept(self, cell: Any, message: Any, before: Pair) -> None:
        """Look at a budget after its keeper has handled a message.

        Args:
            cell: the keeper's.
            message: what it handled.
            before: what was settled in the whole pool before.
        """
        if not self.checks("overdrawn"):
            return
        books: Books = cell.spec.args[0]
        ledger = books.ledger
        accounts: Iterable[Account] = ledger._accounts.values()
        if len(ledger._accounts) > FEW:
            path = getattr(getattr(message, "ask", message), "path", (ROOT,))
            accounts = [a for i in path if (a := ledger._accounts.get(i)) is not None]
        found = _overdrawn(accounts)
        if type(message) is ChargeOrder:
            booked = minus(ledger._root.settled, before)
            if booked != message.amount:
                found = (
                    f"{ledger._root.name} booked {_amount(booked)} of a charge of "
                    f"{_amount(message.amount)} by {message.holder}"
                )
        if found is None:
            return
        about = f"{cell.path} handled {canonical(message)}"
        violation = self._violation(found, [about, *self._now()])

        def fail() -> None:
            raise violation

        # In the handler it would be the answer to a request, and nobody might look.
        self._kernel.after_step.append(fail)

    # -- at rest, and at the end -------------------------------------------------------------------

    def check_at_rest(self) -> None:
        """Check what has to hold when nothing is left to do, before the system is shut down."""
        living = _Living(self._history)
        if self.checks("orphan"):
            orphans = [path for path in living.alive if living.lacks_parent(path)]
            if orphans:
                raise self._violation(
                    f"actors outlive their parents: {', '.join(orphans)}",
                    self._events_of({*orphans, *map(_parent, orphans)}),
                )
        if self.checks("unreturned"):
            for keeper, books in self._system.books:
                left = [a for a in _leases(books) if a.holder in living.dead]
                if left and keeper in living.alive:
                    held = ", ".join(f"{_amount(a.held)} of {a.holder}" for a in left)
                    raise self._violation(
                        f"{books.ledger._root.name} still reserves for dead actors: {held}",
                        self._events_of({a.holder for a in left}),
                    )

    def check_at_end(self) -> None:
        """Check what has to hold when the system has stopped."""
        checks: dict[str, Callable[[], Iterator[tuple[str, list[str]]]]] = {
            "undead": self._undead,
            "lost": self._lost,
            "orphan": self._survivors,
            "forgotten": self._forgotten,
            "overdrawn": self._wrong_books,
        }
        for name, check in checks.items():
            if self.checks(name):
                for text, lines in check():
                    raise self._violation(text, lines)

    def _undead(self) -> Iterator[tuple[str, list[str]]]:
        for path, number in _Living(self._history).undead:
            yield (
                f"{path} handled message #{number} although it is dead",
                self._events_of({path}),
            )

    def _lost(self) -> Iterator[tuple[str, list[str]]]:
        stats = self._system.stats()
        if not stats.waiting:
            return
        text = (
            f"{stats.sent} messages were sent, but {stats.handled} handled, and {stats.dead} "
            "became dead letters"
        )
        # What is in a handler that never ends has not been handled.
        stuck = sum(thread.cell is not None for thread in self._kernel.waiting)
        if 0 < stats.waiting <= stuck:
            return
        if stats.waiting > 0:
            lines = [event.line() for event in _unhandled(self._history)]
            yield f"messages were lost: {text}", lines or ["(which ones is not known)"]
        else:
            yield f"messages were counted twice: {text}", self._last_events()

    def _survivors(self) -> Iterator[tuple[str, list[str]]]:
        count = self._system.stats().actors
        if count:
            living = _Living(self._history).alive
            names = ", ".join(living) or f"{count} of them"
            yield f"actors live on although the system has stopped: {names}", self._last_events()

    def _forgotten(self) -> Iterator[tuple[str, list[str]]]:
        numbers = {number for number, _, _ in self._open_requests()}
        if numbers:
            asks = [event for event in self._history.of("ask") if event.number in numbers]
            text = ", ".join(f"#{e.number} {e.source} -> {e.target}" for e in asks)
            yield f"nobody ever answered what was asked: {text}", [e.line() for e in asks]

    def _wrong_books(self) -> Iterator[tuple[str, list[str]]]:
        for keeper, books in self._system.books:
            try:
                books.ledger.check()
            except AssertionError:
                name = books.ledger._root.name
                text = f"the books of {name} ({keeper}) do not add up"
                yield text, self._events_of({keeper})

    # -- errors ------------------------------------------------------------------------------------

    def _violation(self, text: str, lines: Iterable[str] = ()) -> InvariantViolated:
        kernel = self._kernel
        where = f"step {kernel.steps}, {kernel.clock.now:g} s, seed {self._seed}"
        shown = list(lines)
        more = len(shown) - SHOWN
        if more > 0:
            shown = [f"({more} more)", *shown[-SHOWN:]]
        return InvariantViolated("\n  ".join([f"{text} ({where})", *shown]))

    def _now(self) -> list[str]:
        """Return what happened in this step."""
        history = self._history
        lines = []
        for index in range(len(history) - 1, -1, -1):
            event = history[index]
            if event.step != self._kernel.steps:
                break
            lines.append(event.line())
        return lines[::-1]

    def _last_events(self) -> list[str]:
        history = self._history
        return [history[i].line() for i in range(max(0, len(history) - SHOWN), len(history))]

    def _events_of(self, paths: set[str]) -> list[str]:
        return [e.line() for e in self._history if e.target in paths or e.source in paths]


class _Living:
    """Who lives and who is dead, by a history.

    Attributes:
        alive: paths of the actors that have started and not stopped.
        dead: paths of those that have, and whose place nobody took.
        undead: paths of actors that were not alive, and what they handled.
    """

    def __init__(self, history: History) -> None:
        # A dict where the order is shown.
        self.alive: dict[str, None] = {}
        self.dead: dict[str, None] = {}
        self.undead: list[tuple[str, int]] = []
        alive = self.alive
        for kind, path, number in history.outline():
            if kind == "handle":
                if path not in alive:
                    self.undead.append((path, number))
            elif kind == "start":
                alive[path] = None
                self.dead.pop(path, None)
            elif kind == "stop":
                alive.pop(path, None)
                self.dead[path] = None

    def lacks_parent(self, path: str) -> bool:
        """Tell whether the parent of an actor is none of the roots, and dead."""
        parent = _parent(path)
        return parent not in {"", "/system"} and parent not in self.alive


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _unhandled(history: History) -> list[Event]:
    """Return the messages that were neither handled nor became dead letters."""
    waiting: dict[int, Event] = {}
    for event in history:
        if event.kind in {"send", "ask"}:
            waiting[event.number] = event
        elif event.kind == "handle":
            waiting.pop(event.number, None)
        elif event.kind == "dead":
            for number, sent in waiting.items():
                if sent.target == event.target and sent.what is event.what[1]:
                    del waiting[number]
                    break
    return list(waiting.values())


def _overdrawn(accounts: Iterable[Account]) -> str | None:
    """Say which account has more reserved than its cap allows.

    Charges are never refused, so one that went past its cap by being charged is all right.
    """
    for account in accounts:
        if not account.overdrawn and account.over:
            return (
                f"{account.name} is overdrawn: settled {_amount(account.settled)} and reserved "
                f"{_amount(minus(account.used, account.settled))}, "
                f"with a cap of {_amount(account.cap)}"
            )
    return None


def _leases(books: Books) -> list[Account]:
    return [a for a in books.ledger._accounts.values() if a.lease and a.open]


def _amount(pair: tuple[int | None, int | None]) -> str:
    dollars, tokens = pair
    parts = []
    if dollars is not None and (dollars or not tokens):
        parts.append(f"{usd(dollars)} USD")
    if tokens:
        parts.append(f"{tokens} tokens")
    return " and ".join(parts) or "none"


def _name_of(predicate: Any) -> str:
    text: str = inspect.getdoc(predicate) or getattr(predicate, "__name__", "") or repr(predicate)
    code = getattr(predicate, "__code__", None)
    if text == "<lambda>" and code is not None:
        file = code.co_filename.replace("\\", "/").rpartition("/")[2]
        return f"the predicate in {file}, line {code.co_firstlineno},"
    return text.partition("\n")[0].rstrip(".")
