"""The budget: who may spend what, decided by one actor for a whole tree of pools and leases."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from actors._context import current
from actors._default import current_actor, system_for
from actors._errors import (
    ActorDeadError,
    CallboardError,
    ForkedSystem,
    InvalidOption,
    WouldBlockLoop,
)
from actors._future import Future
from actors._options import filled, flag, patience, place
from actors._ref import ActorRef
from actors._system import ActorSystem
from actors.services._account import Cap, Pair
from actors.services._budget_keeper import (
    Books,
    BudgetKeeper,
    BudgetSnapshot,
    ChargeOrder,
    Check,
    CloseOrder,
    FiledBudgetKeeper,
    HolderSnapshot,
    LeaseOrder,
    Look,
    PoolOrder,
    open_books,
)
from actors.services._errand import errand, nothing_to_end, wait_for_end
from actors.services._ledger import ROOT, Ask
from actors.services._money import Money, nano_dollars
from actors.services._money import tokens as count_of_tokens
from actors.services._money import usd as in_usd

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Acquisition", "Budget", "BudgetPool", "BudgetSnapshot", "HolderSnapshot", "Lease"]

OUTSIDE = "(outside)"
"""The holder of leases that are acquired outside of actors and without a name."""


_WELL: Future[None] = Future()
"""The answer of a check that need not be made again."""
_WELL.set(None)


class Budget:
    """What pools and leases have in common: both can be charged, looked at and nested in."""

    __slots__ = ("_books", "_found", "_path", "_ref", "_system", "name")

    _ref: ActorRef[Any]
    _system: ActorSystem
    _books: Books
    # The stamp of the books when `check` found all well last, without and with `more`.
    _found: list[object]
    # Invariant: ids from the root to this account; a charge that comes after the account was
    # closed finds the next one above it this way.
    _path: tuple[int, ...]

    name: str
    """For errors and snapshots."""

    def _bind(
        self,
        ref: ActorRef[Any],
        system: ActorSystem,
        books: Books,
        path: tuple[int, ...],
        name: str,
    ) -> None:
        self._ref = ref
        self._system = system
        self._books = books
        self._found = [None, None]
        self._path = path
        self.name = name

    def _order(self, message: Any) -> Future[Any]:
        future = errand(self._ref, message)
        self._books.stamp = object()
        return future

    def acquire(
        self,
        max_usd: Money | None = None,
        max_tokens: int | None = None,
        *,
        wait: float | None = None,
        holder: str | None = None,
    ) -> Acquisition:
        """Reserve up to that much: `with`, `async with`, `await` or `.get()` what is returned.

        It is admitted if `settled + reserved + asked <= cap` holds here and for everything above,
        in one step. Acquires that wait are served first in, first out, where they need the same
        room; one that does not wait takes what is free.

        Args:
            max_usd: what to reserve in USD; None reserves nothing, and charges draw on what is
                free.
            max_tokens: the same in tokens.
            wait: None fails at once if there is no room; otherwise the seconds to queue for it,
                or until the deadline of the current run if that comes first.
            holder: whose it is in snapshots; None takes the current actor's path.

        Raises:
            InvalidOption: an amount or `wait` makes no sense.
            BudgetExceeded: there is no room (from the returned object).
        """
        cap = _cap(max_usd, max_tokens, "max_usd", "max_tokens")
        given: object = wait
        if given is not None and (
            isinstance(given, bool)
            or not isinstance(given, (int, float))
            or not 0 <= given <= sys.float_info.max
        ):
            raise InvalidOption("wait", wait, "a finite number of seconds, 0 or more, or None")
        filled("holder", holder, optional=True)
        return Acquisition(self, cap, wait, holder)

    def charge(self, usd: Money = 0, tokens: int = 0, *, holder: str | None = None) -> Future[None]:
        """Settle what was spent.

        The amount is booked even if it is more than was reserved, if the deadline has passed, or
        if nobody waits for the future. With a `path` the future is answered once it is on disk.

        Args:
            usd: an amount of USD.
            tokens: a number of tokens.
            holder: who spent it, in snapshots; None is the holder of the lease, or of a pool the
                current actor's path.

        Raises:
            InvalidOption: an amount makes no sense.
            BudgetExceeded: this charge went past a pool's cap (from the future); it is booked.
            LedgerError: it is booked but could not be written to the file (from the future).
        """
        amount = Pair(nano_dollars(usd), count_of_tokens(tokens))
        filled("holder", holder, optional=True)
        return self._order(ChargeOrder(self._path, amount, holder or self._holder()))

    def check(self, *, more: bool = True) -> Future[None]:
        """Make sure that there is something to spend, after everything that was sent before.

        Nothing is reserved by it: it is for work of which nobody knows what it will cost.

        Args:
            more: whether something has to be left here; False is content if nothing was overdrawn,
                here and above.

        Raises:
            BudgetExceeded: there is not (from the future).
            InvalidOption: it was returned or closed (likewise); or `more` is no bool.
        """
        flag("more", more)
        stamp = self._books.stamp
        if self._found[more] is stamp:
            return _WELL
        future = errand(self._ref, Check(self._path, more))

        def note(answered: Future[Any]) -> None:
            if answered.exception() is None:
                self._found[more] = stamp

        future.add_done_callback(note)
        return future

    def snapshot(self) -> Future[BudgetSnapshot]:
        """Return how it stands, after everything that was sent before.

        Raises:
            InvalidOption: it was returned or closed (from the future).
        """
        return errand(self._ref, Look(self._path))

    def _holder(self) -> str:
        raise NotImplementedError

    def _close(self) -> None:
        # A pool that is gone has no reservations either.
        # Nor has a process that inherited it by fork: they are its parent's.
        with contextlib.suppress(ActorDeadError, ForkedSystem):
            self._ref.tell(CloseOrder(self._path[-1]))
        self._books.stamp = object()


class Lease(Budget):
    """A part of a budget that is reserved for one holder, until it is released.

    Also a scope, for a lease that was awaited rather than entered.

    Attributes:
        max_usd, max_tokens: what was reserved; None is nothing.
        holder: whose it is.
    """

    __slots__ = ("holder", "max_tokens", "max_usd")

    def __init__(self, parent: Budget, cap: Cap, holder: str) -> None:
        path = (*parent._path, next(parent._books.ids))  # noqa: SLF001 - a lease is a part of its parent
        self._bind(parent._ref, parent._system, parent._books, path, f"lease of {holder}")  # noqa: SLF001 - likewise
        self.holder = holder
        self.max_usd = None if cap.usd is None else in_usd(cap.usd)
        self.max_tokens = cap.tokens

    def release(self) -> None:
        """Return what was not spent; once is enough, more does no harm."""
        self._close()

    def _holder(self) -> str:
        return self.holder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    def __repr__(self) -> str:
        return f"<Lease of {self.holder}: {self.max_usd} USD, {self.max_tokens} tokens>"


class Acquisition:
    """A lease on its way: enter it (`with`, `async with`), await it, or `get()` it. Once.

    As a scope it returns the lease at the end. Whoever is cancelled or gives up while it waits
    leaves nothing behind: neither a place in the queue nor a lease that nobody holds.
    """

    __slots__ = ("_budget", "_cap", "_holder", "_lease", "_wait")

    def __init__(self, budget: Budget, cap: Cap, wait: float | None, holder: str | None) -> None:
        self._budget = budget
        self._cap = cap
        self._wait = wait
        self._holder = holder
        self._lease: Lease | None = None

    def _begin(self) -> tuple[Lease, Future[Any]]:
        # Nothing is sent before somebody is there to take the lease: what is only made and then
        # dropped holds nothing.
        if self._lease is not None:
            raise CallboardError("this acquire was used before; call acquire() again")
        actor = current_actor()
        holder = self._holder or (OUTSIDE if actor is None else actor.path)
        budget = self._budget
        lease = self._lease = Lease(budget, self._cap, holder)
        until = None
        if self._wait is not None:
            until = budget._system.clock.monotonic() + self._wait  # noqa: SLF001 - one class in two
            run = current()
            if run is not None and run.deadline is not None and run.deadline.when is not None:
                until = min(until, run.deadline.when)
        path = lease._path  # noqa: SLF001 - likewise
        ask = Ask(path[-1], path[:-1], self._cap, holder, until)
        return lease, budget._order(LeaseOrder(ask, actor))  # noqa: SLF001 - likewise

    def get(self, timeout: float | None = None) -> Lease:
        """Wait for the lease on this thread.

        Args:
            timeout: seconds to wait at most; then the acquire is withdrawn.

        Raises:
            InvalidOption: `timeout` is no number of seconds; nothing was asked for.
            BudgetExceeded: there was no room, or not in time.
            Timeout: no answer within `timeout`.
            ActorDeadError: the pool is closed.
            WouldBlockLoop: an event loop runs on this thread.
        """
        if timeout is not None:
            timeout = patience(timeout)
        lease, future = self._begin()
        try:
            future.get(timeout=timeout)
        except WouldBlockLoop:
            lease.release()
            self._lease = None  # so that it can still be awaited
            raise WouldBlockLoop(
                "taking a lease by `with` or get()", "`async with` or `await`"
            ) from None
        except BaseException:
            # A grant on its way comes before this, so it goes back.
            lease.release()
            raise
        return lease

    async def _arrive(self) -> Lease:
        lease, future = self._begin()
        try:
            await future
        except BaseException:
            # Cancellation may have crossed the grant; likewise.
            lease.release()
            raise
        return lease

    def __await__(self) -> Generator[Any, None, Lease]:
        return self._arrive().__await__()

    def __enter__(self) -> Lease:
        return self.get()

    def __exit__(self, *_: object) -> None:
        if self._lease is not None:
            self._lease.release()

    async def __aenter__(self) -> Lease:
        return await self._arrive()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__()


class BudgetPool(Budget):
    """An amount of money and tokens that many actors, threads and loops spend from together.

    Args:
        usd: cap in USD (int, float, Decimal or str); None is no cap.
        tokens: cap in tokens; None is no cap.
        path: a file that keeps what was spent beyond this process; None keeps it in memory.
        name: for errors and snapshots.
        system: the actor system to live in; None is the default one.

    Raises:
        InvalidOption: an amount is no number, NaN, infinite or negative; or another option makes
            no sense.
        LedgerError: the file cannot be opened, is damaged, or is in use.
    """

    __slots__ = ()

    def __init__(
        self,
        usd: Money | None = None,
        tokens: int | None = None,
        *,
        path: str | Path | None = None,
        name: str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        cap = _cap(usd, tokens, "usd", "tokens")
        filled("name", name, optional=True)
        file = None if path is None else place("path", path)
        name = name or "budget"
        system = system_for(system)
        books = open_books(cap, name, file)
        try:
            keeper = BudgetKeeper if path is None else FiledBudgetKeeper
            ref = system.spawn_service(keeper, books)
        except BaseException:
            books.close()
            raise
        self._bind(ref, system, books, (ROOT,), name)

    def child(
        self, usd: Money | None = None, tokens: int | None = None, *, name: str | None = None
    ) -> BudgetPool:
        """Return a pool below this one: a cap of its own that reserves nothing here.

        Args:
            usd: its cap in USD; None is no cap but this pool's.
            tokens: the same in tokens.
            name: for errors and snapshots.

        Raises:
            InvalidOption: an amount makes no sense.
            ActorDeadError: the pool is closed.
        """
        cap = _cap(usd, tokens, "usd", "tokens")
        filled("name", name, optional=True)
        pool = BudgetPool.__new__(BudgetPool)
        ident = next(self._books.ids)
        title = name or f"child of {self.name}"
        pool._bind(self._ref, self._system, self._books, (*self._path, ident), title)  # noqa: SLF001 - same class
        self._ref.tell(PoolOrder(ident, self._path, cap, title))
        return pool

    def close(self) -> Future[None]:
        """Close the pool; what it holds in a file is written. A child pool returns to its parent.

        Acquires that wait get `ActorDeadError`.
        """
        inherited = nothing_to_end(self._ref)
        if inherited is not None:
            return inherited
        done: Future[None] = Future()
        if len(self._path) > 1:
            self._close()
            done.set(None)
            return done
        self._ref.stop(block=False).add_done_callback(lambda _: done.try_set(None))
        self._books.stamp = object()
        return done

    def _holder(self) -> str:
        actor = current_actor()
        return OUTSIDE if actor is None else actor.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        wait_for_end(self.close(), "BudgetPool")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<BudgetPool {self.name}>"


def _cap(usd: Money | None, tokens: int | None, usd_name: str, tokens_name: str) -> Cap:
    return Cap(
        None if usd is None else nano_dollars(usd, usd_name),
        None if tokens is None else count_of_tokens(tokens, tokens_name),
    )
