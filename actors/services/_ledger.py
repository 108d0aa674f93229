"""The ledger of a tree of pools and leases: who may spend what, decided purely.

Every account has, in each unit, what was `settled` (spent) below it and what is `used` (settled
plus reserved). A lease *holds* its maximum at its parent, so its footprint there is
`max(held, used)`; a child pool holds nothing and only caps. One rule follows for all of them:

    used(account) == its own charges + sum of its children's footprints

Admission asks for `used + asked <= cap` on the way to the root before it changes anything. A
charge is never refused: it is recorded in full and only then compared with the caps, because
money that was spent stays spent. Pure: time comes in as `now`, ids are given by the caller, and
whoever waits is answered by the `Outcome`s that calls return.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from actors._errors import BudgetExceeded, CallboardError, InvalidOption
from actors.services._account import (
    UNLIMITED,
    ZERO,
    Account,
    Cap,
    Pair,
    add_to_holder,
    below,
    climb,
    grow,
    hopeless,
    idle,
    lacks,
    minus,
    plus,
    refusal,
    scarcity,
)

__all__ = ["ROOT", "Ask", "Ledger", "Outcome", "Share", "Standing"]

ROOT = 0
"""Id of the account at the top."""


class Ask(msgspec.Struct, frozen=True):
    """The wish for a lease.

    Attributes:
        id: of the lease to be; never used before.
        path: ids from the root to the account asked, both included.
        cap: what the lease may spend; it is reserved, where it is not None.
        holder: whose the lease will be.
        deadline: until when (on the caller's clock) the ask may wait; None fails fast.
    """

    id: int
    path: tuple[int, ...]
    cap: Cap
    holder: str
    deadline: float | None = None

    @property
    def amount(self) -> Pair:
        """What has to be reserved."""
        return Pair(self.cap.usd or 0, self.cap.tokens or 0)


class Outcome(msgspec.Struct, frozen=True):
    """What became of an ask: `error` is None if it was admitted."""

    id: int
    error: CallboardError | None = None


class Share(msgspec.Struct, frozen=True):
    """One holder's part, in nano-dollars and tokens."""

    settled: Pair
    reserved: Pair
    leases: int


class Standing(msgspec.Struct, frozen=True):
    """How an account stands, in nano-dollars and tokens.

    Attributes:
        name: the account's.
        cap: its caps.
        settled: what was charged to it and below it.
        reserved: what open leases hold beyond what they have settled.
        waiting: asks that wait in the whole tree.
        by_holder: the same by who holds or held the leases.
    """

    name: str
    cap: Cap
    settled: Pair
    reserved: Pair
    waiting: int
    by_holder: dict[str, Share]


class Ledger:
    """A pool, the pools and leases below it, and the asks that wait.

    Args:
        cap: what the root pool may spend.
        name: the root pool's name, for errors.
    """

    def __init__(self, cap: Cap = UNLIMITED, name: str = "budget") -> None:
        self._root = Account(ROOT, None, cap, name, name, lease=False)
        # Invariant: holds every account that is open or has open ones below it.
        self._accounts = {ROOT: self._root}
        # Invariant: ids of asks that wait are not among the accounts.
        self._queue: dict[int, Ask] = {}
        # Invariant: one line per account asked, none empty, first-in first-out; the values are
        # the order over all lines.
        self._lines: dict[int, OrderedDict[int, int]] = {}
        self._order = 0
        # Holds ids that no longer wait, too: they are dropped when they come up.
        self._deadlines: list[tuple[float, int]] = []

    # -- accounts ----------------------------------------------------------------------------

    def restore(self, spent: dict[str, Pair]) -> None:
        """Count what an earlier process spent, by holder."""
        for holder, amount in spent.items():
            self._settle(self._root, amount, holder)
        self._root.overdrawn = self._root.over

    def open_pool(self, ident: int, path: tuple[int, ...], cap: Cap, name: str) -> None:
        """Put a child pool below the account at the end of `path`: a cap that reserves nothing.

        Raises:
            InvalidOption: the account was closed.
        """
        parent = self._asked(path)
        child = Account(ident, parent, cap, name, name, lease=False)
        parent.children[ident] = self._accounts[ident] = child

    def acquire(self, ask: Ask) -> Outcome | None:
        """Admit a lease, refuse it, or let it wait: then `serve` will tell.

        An ask that may wait goes behind those that wait for the same room; one that may not
        takes what is free now.
        """
        try:
            account = self._asked(ask.path)
        except InvalidOption as closed:
            return Outcome(ask.id, closed)
        if ask.deadline is None:
            amount = ask.amount
            refused = refusal(account, amount)
            if refused is None:
                self._admit(account, ask, amount)
            return Outcome(ask.id, refused)
        never = hopeless(account, ask.amount)
        if never is not None:
            return Outcome(ask.id, never)
        self._order += 1
        self._queue[ask.id] = ask
        self._lines.setdefault(account.id, OrderedDict())[ask.id] = self._order
        heapq.heappush(self._deadlines, (ask.deadline, ask.id))
        return None

    def charge(self, path: tuple[int, ...], amount: Pair, holder: str) -> BudgetExceeded | None:
        """Settle `amount` on the account at the end of `path`, in full, whatever the caps say.

        An account that is closed already passes the charge to the nearest one above it that is
        not: a late bill is still a bill.

        Returns:
            An error that tells which pool this charge took past its cap, or None.
        """
        accounts = self._accounts
        ident = path[-1]
        if ident not in accounts:
            ident = next(i for i in reversed(path) if i in accounts)
        account = accounts[ident]
        exceeded: BudgetExceeded | None = None
        for over, growth in self._settle(account, amount, holder):
            # The cap of a lease is what it reserved; past it a charge draws on what is free.
            if exceeded is None and not over.lease:
                for unit in (0, 1):
                    cap = over.cap[unit]
                    if growth[unit] and cap is not None and over.used[unit] > cap:
                        exceeded = over.exceeded(unit, amount[unit])
                        break
        return exceeded

    def close(self, ident: int) -> bool:
        """Return what a lease still holds, close a pool, or take an ask out of the queue.

        What is open below it stays open; nothing new is admitted. Tell whether there was
        something to close.
        """
        if ident in self._queue:
            self._leave(ident)
            return True
        account = self._accounts.get(ident)
        if account is None or not account.open or account.parent is None:
            return False
        before = account.footprint
        account.open = False
        account.held = ZERO
        grow(account.parent, minus(account.footprint, before))
        self._drop_if_empty(account)
        return True

    # -- the queue ---------------------------------------------------------------------------

    def serve(self, now: float) -> list[Outcome]:
        """Return what became of those that wait: admitted, out of time, or without any hope.

        To be called after every change.
        """
        if not self._queue:
            return []
        outcomes = list(self._admit_waiting())
        expired = []
        while (when := self.next_deadline()) is not None and when <= now:
            ask = self._leave(self._deadlines[0][1])
            expired.append(Outcome(ask.id, scarcity(self._accounts[ask.path[-1]], ask.amount)))
        if expired:
            outcomes += expired
            outcomes += self._admit_waiting()
        return outcomes

    def next_deadline(self) -> float | None:
        """Return when the first of those that wait runs out of time, or None."""
        while self._deadlines and self._deadlines[0][1] not in self._queue:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def _leave(self, ident: int) -> Ask:
        ask = self._queue.pop(ident)
        line = self._lines[ask.path[-1]]
        del line[ident]
        if not line:
            del self._lines[ask.path[-1]]
        return ask

    def _admit_waiting(self) -> Iterator[Outcome]:
        # Accounts that lack room for an earlier ask: what they have is kept for it, or a large
        # ask would starve behind small ones. An ask that needs nothing of them may pass, which
        # it must: the earlier one may wait for the very lease the later one nests in.
        blocked: set[int] = set()
        heads = [(next(iter(line.values())), account) for account, line in self._lines.items()]
        heapq.heapify(heads)
        while heads:
            _, where = heapq.heappop(heads)
            for outcome in self._admit_line(where, blocked):
                yield outcome
                # Back to the oldest head: each line is first-in first-out, and so are they all.
                if where in self._lines:
                    heapq.heappush(heads, (next(iter(self._lines[where].values())), where))
                break

    def _admit_line(self, where: int, blocked: set[int]) -> Iterator[Outcome]:
        """Serve the first of the line at one account, or put what it lacks among `blocked`."""
        ask = self._queue[next(iter(self._lines[where]))]
        try:
            account = self._asked(ask.path)
        except InvalidOption as closed:
            self._leave(ask.id)
            yield Outcome(ask.id, closed)
            return
        never = hopeless(account, ask.amount)
        if never is not None:
            self._leave(ask.id)
            yield Outcome(ask.id, never)
            return
        steps = list(climb(account, ask.amount))
        touched = {node.id for node, growth in steps if node is account or any(growth)}
        if touched & blocked:
            blocked |= touched
        elif refusal(account, ask.amount) is not None:
            blocked |= {node.id for node, growth in steps if lacks(node, growth)} & touched
            # Whoever stands in line here stands behind this ask.
            blocked.add(account.id)
        else:
            self._leave(ask.id)
            self._admit(account, ask, ask.amount)
            yield Outcome(ask.id)

    # -- looking -----------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many asks wait in the whole tree."""
        return len(self._queue)

    def shortage(self, path: tuple[int, ...]) -> BudgetExceeded | None:
        """Return why there is nothing left to spend at the end of `path`, or None.

        Raises:
            InvalidOption: the account was closed.
        """
        account = self._known(path)
        unit = account.spent_out
        return None if unit is None else account.exceeded(unit, None)

    def overdraft(self, path: tuple[int, ...]) -> BudgetExceeded | None:
        """Return what was charged past its cap, from the end of `path` up to the root, or None.

        Raises:
            InvalidOption: the account was closed.
        """
        return refusal(self._asked(path), ZERO)

    def standing(self, path: tuple[int, ...]) -> Standing:
        """Return how the account at the end of `path` stands.

        Raises:
            InvalidOption: the account was closed.
        """
        account = self._known(path)
        unspent: dict[str, Pair] = {}
        leases: dict[str, int] = {}
        for lease in below(account):
            if lease.lease:
                unspent[lease.holder] = plus(unspent.get(lease.holder, ZERO), idle(lease))
                leases[lease.holder] = leases.get(lease.holder, 0) + lease.open
        return Standing(
            name=account.name,
            cap=account.cap,
            settled=account.settled,
            reserved=minus(account.used, account.settled),
            waiting=self.waiting,
            by_holder={
                holder: Share(
                    account.spent.get(holder, ZERO),
                    unspent.get(holder, ZERO),
                    leases.get(holder, 0),
                )
                for holder in account.spent | unspent
            },
        )

    def check(self) -> None:
        """Assert every invariant by adding everything up again (for tests).

        Raises:
            AssertionError: one does not hold.
        """
        seen = {account.id: account for account in below(self._root)} | {ROOT: self._root}
        assert seen == self._accounts
        assert not self._queue.keys() & self._accounts.keys()
        assert self._queue.keys() == {i for line in self._lines.values() for i in line}
        assert all(list(line.values()) == sorted(line.values()) for line in self._lines.values())
        for account in seen.values():
            used = settled = account.direct
            for child in account.children.values():
                used = plus(used, child.footprint)
                settled = plus(settled, child.settled)
            assert account.used == used
            assert account.settled == settled
            assert min(minus(used, settled)) >= 0
            assert account.overdrawn or not account.over
            assert account.open or account.held == ZERO
            assert account.open or account.children
            spent = ZERO
            for part in account.spent.values():
                spent = plus(spent, part)
            assert spent == settled

    # -- bookkeeping ------------------------------------------------------------------------

    def _known(self, path: tuple[int, ...]) -> Account:
        account = self._accounts.get(path[-1])
        if account is None:
            raise _closed(path)
        return account

    def _asked(self, path: tuple[int, ...]) -> Account:
        account = self._known(path)
        if not account.open:
            raise _closed(path)
        return account

    def _admit(self, account: Account, ask: Ask, amount: Pair) -> None:
        name = f"lease of {ask.holder}"
        lease = Account(ask.id, account, ask.cap, name, ask.holder, lease=True)
        lease.held = amount
        account.children[ask.id] = self._accounts[ask.id] = lease
        grow(account, amount)

    def _settle(self, account: Account, amount: Pair, holder: str) -> list[tuple[Account, Pair]]:
        """Book `amount` at once; return the accounts it went through with their growth."""
        account.direct = plus(account.direct, amount)
        node: Account | None = account
        while node is not None:
            node.settled = plus(node.settled, amount)
            add_to_holder(node.spent, holder, amount)
            node = node.parent
        grown = grow(account, amount)
        for node, _ in grown:
            if node.over:
                node.overdrawn = True
        return grown

    def _drop_if_empty(self, account: Account) -> None:
        while not account.open and not account.children and account.parent is not None:
            parent = account.parent
            del parent.children[account.id], self._accounts[account.id]
            parent.direct = plus(parent.direct, account.settled)
            account = parent


def _closed(path: tuple[int, ...]) -> InvalidOption:
    return InvalidOption("lease", path[-1], "a lease or pool that was not returned yet")
