"""What each fault of actors, messages, time and budgets does when its time has come."""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any, Literal

from actors.services._account import Account, Cap
from actors.services._budget_keeper import LeaseOrder
from actors.services._ledger import Ledger
from actors.services.budget import Budget
from actors.testing._errors import InjectedCrash
from actors.testing._injection import Injection, Site, Target
from actors.testing._kernel import Kernel

__all__ = ["After", "Crash", "Exhaustion", "Jump", "Late", "When"]

When = Literal["before", "after", "start"]

After = Callable[[Any], Any]
"""What the result of a handler goes through."""


class Crash(Injection):
    """An actor fails."""

    def __init__(
        self, site: Site, index: int, target: Target, at: int | None, rate: float | None, when: When
    ) -> None:
        super().__init__(site, index)
        self._target = target
        self._at = at
        self._rate = rate or 0.0
        self._after = when == "after"
        self._seen: dict[str, int] = {}

    def due(self, cell: Any, path: str) -> bool:
        """Count a message or start; tell whether the actor fails at it."""
        if not self._target.hits(path, cell.spec.cls):
            return False
        if self._at is None:
            return self._happens(self._rate)
        seen = self._seen[path] = self._seen.get(path, 0) + 1
        return seen == self._at and not self._stopped

    def error(self, path: str, number: int, what: str) -> InjectedCrash:
        """Return what it fails with."""
        self._inject(path, number, f"crash ({what})")
        about = "in its start" if what == "start" else f"{what} message #{number}"
        return InjectedCrash(f"{path} crashes {about}, as its test wants")

    def handling(self, cell: Any, path: str, number: int, _: Any) -> After | None:
        """Raise the crash, or return how it comes about."""
        if not self.due(cell, path):
            return None
        if not self._after:
            raise self.error(path, number, "before")

        def crash(result: Any) -> Any:
            if type(result) is CoroutineType:
                return finish(result)
            raise self.error(path, number, "after")

        async def finish(rest: Any) -> None:
            await rest
            raise self.error(path, number, "after")

        return crash


class Late(Injection):
    """Messages arrive later, or in a step of their own (`span` is None)."""

    def __init__(
        self,
        site: Site,
        index: int,
        target: Target,
        source: Target,
        span: tuple[float, float] | None,
        rate: float,
    ) -> None:
        super().__init__(site, index)
        self._target = target
        self._source = source
        self._span = span
        self._rate = rate

    def of(self, source: str, cell: Any, path: str, number: int) -> float | None:
        """Return the seconds of a message, if it is late."""
        if not self._target.hits(path, cell.spec.cls) or not self._source.hits(source, None):
            return None
        if not self._happens(self._rate):
            return None
        if self._span is None:
            self._inject(path, number, "reorder")
            return 0.0
        seconds = self._random.uniform(*self._span)
        self._inject(path, number, f"delay of {seconds:.6f} s")
        return seconds


class Jump(Injection):
    """A clock jumps."""

    def __init__(
        self,
        site: Site,
        index: int,
        kernel: Kernel,
        span: tuple[float, float],
        rate: float,
        wall: bool,
    ) -> None:
        super().__init__(site, index)
        self._kernel = kernel
        self._span = span
        self._rate = rate
        self._wall = wall

    def step(self) -> None:
        """Jump, perhaps."""
        kernel = self._kernel
        # Where there is nothing to do, time goes on anyway.
        if not (kernel.ready or self._wall) or not self._happens(self._rate):
            return
        seconds = self._random.uniform(*self._span)
        if self._wall:
            kernel.clock.offset += seconds
            self._inject("clock", 0, f"the wall clock is set by {seconds:+.6f} s")
            return
        self._inject("clock", 0, f"jump of {seconds:.6f} s")
        kernel.clock.now += seconds
        kernel.expire()


class Exhaustion(Injection):
    """A budget leaves nothing."""

    def __init__(self, site: Site, index: int, budget: Budget, at: int) -> None:
        super().__init__(site, index)
        self._ledger: Ledger = budget._books.ledger
        self._books = budget._books
        self._id = budget._path[-1]
        self._name = budget.name
        self._at = at
        self._seen = 0
        self._account: Account | None = None
        self._before = Cap()

    def handling(self, cell: Any, _: str, number: int, message: Any) -> None:
        """Look whether this is the acquire from which on there is nothing."""
        if type(message) is not LeaseOrder or self._id not in message.ask.path or self._stopped:
            return
        account = self._ledger._accounts.get(self._id)
        # The root of each pool has the same id.
        if account is None or cell.spec.args[0] is not self._books:
            return
        self._seen += 1
        if self._seen != self._at:
            return
        self._account, self._before = account, account.cap
        account.cap = Cap(*(max(0, used) for used in account.used))
        self._books.stamp = object()
        self._inject(self._name, number, "budget exhausted")

    def stop(self) -> None:
        """Give the budget its cap back."""
        super().stop()
        if self._account is not None:
            self._account.cap, self._account = self._before, None
            self._books.stamp = object()
