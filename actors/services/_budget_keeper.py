"""The actor behind every budget: it owns a ledger and does what the ledger decides."""

from __future__ import annotations

import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from loguru import logger

from actors._actor import Actor
from actors._errors import BudgetExceeded, CallboardError, LedgerError, RequestCancelled
from actors._future import Future
from actors._messages import ActorRestarted, Terminated
from actors._ref import ActorRef
from actors._waiting import blocking
from actors.services._account import Cap, Pair
from actors.services._append_file import AppendFile, lines_of
from actors.services._ledger import ROOT, Ask, Ledger, Outcome, Standing
from actors.services._ledger_file import Entry, add_up, encode, is_entry
from actors.services._money import usd

__all__ = [
    "Books",
    "BudgetKeeper",
    "BudgetSnapshot",
    "ChargeOrder",
    "Check",
    "CloseOrder",
    "FiledBudgetKeeper",
    "HolderSnapshot",
    "LeaseOrder",
    "Look",
    "PoolOrder",
    "open_books",
]


class HolderSnapshot(msgspec.Struct, frozen=True):
    """One holder's part of a budget.

    Attributes:
        settled_usd, settled_tokens: what it was charged.
        reserved_usd, reserved_tokens: what its leases hold beyond that.
        leases: how many leases it holds.
    """

    settled_usd: Decimal
    reserved_usd: Decimal
    settled_tokens: int
    reserved_tokens: int
    leases: int


class BudgetSnapshot(msgspec.Struct, frozen=True):
    """How a pool or a lease stands.

    Attributes:
        name: its name.
        cap_usd, cap_tokens: its caps; None is no cap.
        settled_usd, settled_tokens: what was charged to it and everything below it.
        reserved_usd, reserved_tokens: what open leases below it hold and have not spent.
        free_usd, free_tokens: what is left, never below zero; None without a cap.
        waiting: how many acquires wait in the whole tree.
        by_holder: the same by the holder of the leases.
    """

    name: str
    cap_usd: Decimal | None
    settled_usd: Decimal
    reserved_usd: Decimal
    free_usd: Decimal | None
    cap_tokens: int | None
    settled_tokens: int
    reserved_tokens: int
    free_tokens: int | None
    waiting: int
    by_holder: dict[str, HolderSnapshot]


class LeaseOrder(msgspec.Struct, frozen=True):
    """Ask for a lease; `actor` is watched, and returns it by dying."""

    ask: Ask
    actor: ActorRef[Any] | None


class PoolOrder(msgspec.Struct, frozen=True):
    """Open a child pool below the account at the end of `path`."""

    id: int
    path: tuple[int, ...]
    cap: Cap
    name: str


class ChargeOrder(msgspec.Struct, frozen=True):
    """Settle an amount on the account at the end of `path`."""

    path: tuple[int, ...]
    amount: Pair
    holder: str


class CloseOrder(msgspec.Struct, frozen=True):
    """Return a lease, close a pool, or withdraw an ask that waits."""

    id: int


class Check(msgspec.Struct, frozen=True):
    """Ask whether there is anything to spend at the end of `path`.

    Attributes:
        path: ids from the root to the account.
        more: True asks for something to be left there; False for nothing to be overdrawn, there
            and above, which is enough for work that may cost nothing.
    """

    path: tuple[int, ...]
    more: bool


class Look(msgspec.Struct, frozen=True):
    """Ask how the account at the end of `path` stands."""

    path: tuple[int, ...]


class _Write(msgspec.Struct, frozen=True):
    """Sent to itself: arrives behind the charges that wait, so that one write serves them all."""


class _Expire(msgspec.Struct, frozen=True):
    """Sent to itself when the first of those that wait runs out of time."""


class Books:
    """What must outlive a restart of the keeper: the ledger and its file.

    Attributes:
        ledger: who may spend what.
        file: where charges are kept, or None.
        ids: of the leases and pools to be. The handle takes one, so that a lease can be
            cancelled or nested in before the keeper has heard of it.
        unwritten: lines that are booked and not on the disk yet.
        stamp: another object after every order that was sent and everything the keeper did by
            itself; whoever finds the one it knows need not ask again what it has asked.
    """

    __slots__ = ("file", "ids", "ledger", "stamp", "unwritten")

    def __init__(self, ledger: Ledger, file: AppendFile | None) -> None:
        self.ledger = ledger
        self.file = file
        self.ids = itertools.count(ROOT + 1)
        self.unwritten: list[bytes] = []
        # Invariant: it changes after the message is in the mailbox, never before. So who sees the
        # new one and then asks is answered after that message was handled.
        self.stamp = object()

    def write(self) -> None:
        """Put on disk what is not there yet.

        Raises:
            LedgerError: that failed; the lines are kept for the next time.
        """
        if self.file is None or not self.unwritten:
            return
        count = len(self.unwritten)
        try:
            self.file.append(b"".join(self.unwritten), sync=True)
        except OSError as error:
            raise LedgerError(
                f"{self.file.path}: {count} charges are booked but not written: {error}"
            ) from error
        del self.unwritten[:count]

    def close(self) -> None:
        """Let others have the file."""
        if self.file is not None:
            self.file.close()


def open_books(cap: Cap, name: str, path: Path | None) -> Books:
    """Make a ledger, with what earlier processes wrote into the file at `path`.

    Raises:
        LedgerError: the file cannot be opened, is damaged, or is in use.
    """
    ledger = Ledger(cap, name)
    if path is None:
        return Books(ledger, None)
    try:
        file = AppendFile(path)
    except BlockingIOError as error:
        raise LedgerError(f"{path} is in use by another pool or process") from error
    except OSError as error:
        raise LedgerError(f"{path} cannot be opened as a ledger: {error}") from error
    try:
        _, end = file.last_line(is_entry)
        if end == 0 and file.size and file.ends_line():
            raise LedgerError(f"{path} is not the file of a ledger")  # noqa: TRY301 - one clean-up
        if end < file.size:
            logger.warning("{}: {} torn bytes were cut off", path, file.size - end)
            file.cut(end)
        with path.open("rb") as lines:
            ledger.restore(add_up(str(path), (line for line, _ in lines_of(lines))))
    except OSError as error:
        file.close()
        raise LedgerError(f"{path} cannot be read as a ledger: {error}") from error
    except BaseException:
        file.close()
        raise
    return Books(ledger, file)


class BudgetKeeper(Actor):
    """Keeps a ledger that lives in memory.

    Args:
        books: the ledger; it outlives a restart.
    """

    # It does sums and never waits, so those who send to it run it: to ask it from an event loop
    # would cost two changes of thread otherwise.
    _brief = True

    def __init__(self, books: Books) -> None:
        super().__init__()
        self._books = books
        self._ledger = books.ledger
        # Invariant: exactly the asks that wait in the ledger, with who waits for them.
        self._waiting: dict[int, Future[Any]] = {}
        # Invariant: leases and asks by the actor that made them; `_owners` is its inverse. Each
        # of these actors is watched.
        self._of: dict[ActorRef[Any], set[int]] = {}
        self._owners: dict[int, ActorRef[Any]] = {}
        # When the timer for the next expiry goes off, or None.
        self._alarm: float | None = None

    def on_receive(self, message: Any) -> Any:
        """Do what the message orders; the ledger decides."""
        match message:
            case Check(path, more):
                self._check(path, more)
            case LeaseOrder(ask, actor):
                self._acquire(ask, actor)
            case ChargeOrder():
                self._charge(message)
            case CloseOrder(ident):
                self._close(ident)
            case Look(path):
                return _snapshot(self._ledger.standing(path))
            case PoolOrder(ident, path, cap, name):
                self._open_pool(ident, path, cap, name)
            case _Expire():
                self._alarm = None
                self._serve()
                self._books.stamp = object()
            case Terminated(ref) | ActorRestarted(ref):
                # A restart is a crash, too. It is published before the new instance is built, so
                # what that one acquires comes after this.
                self._abandon(ref, dead=isinstance(message, Terminated))
                self._books.stamp = object()
        return None

    def on_start(self) -> None:
        """Hear of holders that crash and are restarted, which those who watch do not."""
        self._subscription = self.system.events.subscribe(self.actor_ref, ActorRestarted)

    def on_failure(self, *_: Any) -> None:
        """Let the next instance subscribe for itself, if there is one."""
        self._subscription.cancel()
        self._books.stamp = object()

    def on_stop(self) -> None:
        """Hear of nothing any more, and have everybody ask, to be told so."""
        self._subscription.cancel()
        self._books.stamp = object()

    def _check(self, path: tuple[int, ...], more: bool) -> None:
        refused = self._ledger.shortage(path) if more else self._ledger.overdraft(path)
        if refused is not None:
            raise refused

    def _abandon(self, actor: ActorRef[Any], *, dead: bool) -> None:
        for ident in sorted(self._of.get(actor, ())):
            self._close(ident)
        if dead:
            self._of.pop(actor, None)

    def _acquire(self, ask: Ask, actor: ActorRef[Any] | None) -> None:
        outcome = self._ledger.acquire(ask)
        if outcome is None:
            self._waiting[ask.id] = self.reply_later()
        if actor is not None and (outcome is None or outcome.error is None):
            if actor not in self._of:
                self._of[actor] = set()
                self.watch(actor)
            self._of[actor].add(ask.id)
            self._owners[ask.id] = actor
        self._serve()
        if outcome is not None and outcome.error is not None:
            raise outcome.error

    def _open_pool(self, ident: int, path: tuple[int, ...], cap: Cap, name: str) -> None:
        try:
            self._ledger.open_pool(ident, path, cap, name)
        except CallboardError as error:
            # Nobody waits for this; whoever asks of the child will be told that it is closed.
            logger.warning("{}: {}", self, error)

    def _charge(self, order: ChargeOrder) -> None:
        exceeded = self._ledger.charge(order.path, order.amount, order.holder)
        self._serve()
        if exceeded is not None:
            raise exceeded

    def _close(self, ident: int) -> None:
        self._disown(ident)
        waiting = self._waiting.pop(ident, None)
        if waiting is not None:
            waiting.try_set_exception(RequestCancelled("the acquire was withdrawn"))
        if self._ledger.close(ident):
            self._serve()

    def _serve(self) -> None:
        """Answer those whose waiting has ended, and come back when the next one's will."""
        if not self._ledger.waiting and self._alarm is None:
            return
        for outcome in self._ledger.serve(self.system.clock.monotonic()):
            self._answer(outcome)
        when = self._ledger.next_deadline()
        if when == self._alarm:
            return
        self._alarm = when
        if when is None:
            self.timers.cancel("expire")
        else:
            left = max(0.0, when - self.system.clock.monotonic())
            self.timers.start("expire", _Expire(), after=left)

    def _answer(self, outcome: Outcome) -> None:
        reply = self._waiting.pop(outcome.id, None)
        if outcome.error is not None:
            self._disown(outcome.id)
        if reply is not None:
            _settle(reply, outcome.error)
        elif outcome.error is None:
            # Who asked for it asked the keeper that was here before a restart.
            self._ledger.close(outcome.id)

    def _disown(self, ident: int) -> None:
        owner = self._owners.pop(ident, None)
        if owner is not None and owner in self._of:
            self._of[owner].discard(ident)


class FiledBudgetKeeper(BudgetKeeper):
    """Keeps a ledger that survives its process: a charge is answered once it is on disk.

    Args:
        books: the ledger and its file; they outlive a restart.
    """

    # It waits for the disk.
    _brief = False

    def __init__(self, books: Books) -> None:
        super().__init__(books)
        # Charges whose lines are among `unwritten`, with what will be answered.
        self._charges: list[tuple[Future[Any], BudgetExceeded | None]] = []
        self._write_is_due = False

    def on_receive(self, message: Any) -> Any:
        """Do what the message orders, and write what is booked."""
        if isinstance(message, _Write):
            return self._write()
        return super().on_receive(message)

    def _charge(self, order: ChargeOrder) -> None:
        if not any(order.amount):
            super()._charge(order)
            return
        reply = self.reply_later()
        exceeded = self._ledger.charge(order.path, order.amount, order.holder)
        entry = Entry(self.system.clock.time(), order.holder, *order.amount)
        self._books.unwritten.append(encode(entry) + b"\n")
        self._charges.append((reply, exceeded))
        if not self._write_is_due:
            self._write_is_due = True
            self.actor_ref.tell(_Write())
        self._serve()

    def _write(self) -> None:
        self._write_is_due = False
        charges, self._charges = self._charges, []
        failure: LedgerError | None = None
        try:
            with blocking():
                self._books.write()
        except LedgerError as error:
            failure = error
        for reply, exceeded in charges:
            _settle(reply, exceeded or failure)

    def on_stop(self) -> None:
        """Write what is booked, and let others have the file."""
        super().on_stop()
        self._write()
        if self._books.unwritten:
            logger.error("{} charges could not be written", len(self._books.unwritten))
        self._books.close()


def _settle(reply: Future[Any], error: CallboardError | None) -> None:
    if error is None:
        reply.try_set(None)
    else:
        reply.try_set_exception(error)


def _snapshot(standing: Standing) -> BudgetSnapshot:
    cap, settled, reserved = standing.cap, standing.settled, standing.reserved
    free = [
        None if c is None else max(0, c - s - r)
        for c, s, r in zip(cap, settled, reserved, strict=True)
    ]
    return BudgetSnapshot(
        name=standing.name,
        cap_usd=None if cap.usd is None else usd(cap.usd),
        settled_usd=usd(settled.usd),
        reserved_usd=usd(reserved.usd),
        free_usd=None if free[0] is None else usd(free[0]),
        cap_tokens=cap.tokens,
        settled_tokens=settled.tokens,
        reserved_tokens=reserved.tokens,
        free_tokens=free[1],
        waiting=standing.waiting,
        by_holder={
            holder: HolderSnapshot(
                settled_usd=usd(share.settled.usd),
                reserved_usd=usd(share.reserved.usd),
                settled_tokens=share.settled.tokens,
                reserved_tokens=share.reserved.tokens,
                leases=share.leases,
            )
            for holder, share in standing.by_holder.items()
        },
    )
