"""One account of a ledger: what was spent, what is reserved, and what would fit.

An account is a pool or a lease. Everything is kept in both units at once, in whole nano-dollars
and tokens; see `_ledger` for how accounts make a tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from actors._errors import BudgetExceeded
from actors.services._money import usd

__all__ = [
    "OTHERS",
    "UNLIMITED",
    "ZERO",
    "Account",
    "Cap",
    "Pair",
    "add_to_holder",
    "below",
    "climb",
    "grow",
    "hopeless",
    "idle",
    "lacks",
    "minus",
    "passed_on",
    "plus",
    "refusal",
    "scarcity",
]

OTHERS = "(others)"
"""Under which the spending of holders that are long gone is added up."""

_HOLDERS_KEPT = 1000


class Pair(NamedTuple):
    """An amount in both units: nano-dollars and tokens."""

    usd: int = 0
    tokens: int = 0


class Cap(NamedTuple):
    """A cap in both units; None is no cap."""

    usd: int | None = None
    tokens: int | None = None


UNLIMITED = Cap()
ZERO = Pair()


class Account:
    """A pool or a lease."""

    __slots__ = (
        "cap",
        "children",
        "direct",
        "held",
        "holder",
        "id",
        "lease",
        "name",
        "open",
        "overdrawn",
        "parent",
        "settled",
        "spent",
        "used",
    )

    def __init__(
        self, ident: int, parent: Account | None, cap: Cap, name: str, holder: str, *, lease: bool
    ) -> None:
        self.id = ident
        self.parent = parent
        self.cap = cap
        self.name = name
        self.holder = holder
        self.lease = lease
        self.open = True
        self.children: dict[int, Account] = {}
        # Invariant: what the parent counts for this account is max(held, used), unit by unit.
        self.held = ZERO
        # Invariant: used == direct + sum of the children's footprints, and used >= settled.
        self.used = ZERO
        self.settled = ZERO
        # What was charged here, and what closed children left behind.
        self.direct = ZERO
        # Invariant: used <= cap unless charges (which are never refused) went past it.
        self.overdrawn = False
        # Invariant: the values add up to `settled`.
        self.spent: dict[str, Pair] = {}

    @property
    def footprint(self) -> Pair:
        """What the parent counts for this account."""
        held, used = self.held, self.used
        return used if held == ZERO else Pair(max(held[0], used[0]), max(held[1], used[1]))

    @property
    def over(self) -> bool:
        """Whether more is used than the cap allows."""
        (usd_used, tokens_used), (usd_cap, tokens_cap) = self.used, self.cap
        return (usd_cap is not None and usd_used > usd_cap) or (
            tokens_cap is not None and tokens_used > tokens_cap
        )

    @property
    def spent_out(self) -> int | None:
        """The unit of which nothing is left, 0 (USD) or 1 (tokens); None if there is of both."""
        for unit in (0, 1):
            cap = self.cap[unit]
            if cap is not None and self.used[unit] >= cap:
                return unit
        return None

    def exceeded(self, unit: int, asked: int | None) -> BudgetExceeded:
        """Return the error that says so, for unit 0 (USD) or 1 (tokens); None asks for more."""
        cap, settled, used = self.cap[unit], self.settled[unit], self.used[unit]
        reserved = used - settled
        if unit == 1:
            return BudgetExceeded(
                unit="tokens",
                cap=cap,
                settled=settled,
                reserved=reserved,
                asked="more" if asked is None else asked,
                pool=self.name,
            )
        return BudgetExceeded(
            unit="usd",
            cap=None if cap is None else usd(cap),
            settled=usd(settled),
            reserved=usd(reserved),
            asked="more" if asked is None else usd(asked),
            pool=self.name,
        )


# A lease is some twenty sums, and a named tuple's own constructor takes twice as long.
_new = tuple.__new__


def plus(a: Pair, b: Pair) -> Pair:
    """Return the sum."""
    return _new(Pair, (a[0] + b[0], a[1] + b[1]))


def minus(a: Pair, b: Pair) -> Pair:
    """Return the difference."""
    return _new(Pair, (a[0] - b[0], a[1] - b[1]))


def idle(lease: Account) -> Pair:
    """Return what a lease holds beyond what is used below it."""
    return minus(lease.footprint, lease.used)


def below(account: Account) -> Iterator[Account]:
    """Yield every account below this one."""
    for child in account.children.values():
        yield child
        yield from below(child)


def climb(account: Account, amount: Pair) -> Iterator[tuple[Account, Pair]]:
    """Yield each account up to the root with what `amount` more at the bottom adds to it."""
    node: Account | None = account
    while node is not None:
        yield node, amount
        amount = passed_on(node, amount)
        node = node.parent


def passed_on(account: Account, amount: Pair) -> Pair:
    """Return what `amount` more here adds to what the parent counts for the account."""
    held, used = account.held, account.used
    if held == ZERO:
        return amount
    return Pair(
        max(held[0], used[0] + amount[0]) - max(held[0], used[0]),
        max(held[1], used[1] + amount[1]) - max(held[1], used[1]),
    )


def grow(account: Account, amount: Pair) -> list[tuple[Account, Pair]]:
    """Add `amount` (which may be negative) to what is used; return the growth of those it did."""
    steps = []
    node: Account | None = account
    while node is not None and amount != ZERO:
        steps.append((node, amount))
        # Before the account itself changes.
        above = passed_on(node, amount)
        node.used = plus(node.used, amount)
        if node.overdrawn:
            node.overdrawn = node.over
        node, amount = node.parent, above
    return steps


def lacks(account: Account, amount: Pair) -> bool:
    """Tell whether `amount` more would go past the account's own cap."""
    return any(
        c is not None and u + d > c
        for u, d, c in zip(account.used, amount, account.cap, strict=True)
    )


def refusal(account: Account, amount: Pair) -> BudgetExceeded | None:
    """Return why `amount` cannot be reserved now, or None."""
    node: Account | None = account
    while node is not None:
        for unit in (0, 1):
            cap = node.cap[unit]
            if cap is not None and node.used[unit] + amount[unit] > cap:
                return node.exceeded(unit, amount[unit])
        amount = passed_on(node, amount)
        node = node.parent
    return None


def hopeless(account: Account, amount: Pair) -> BudgetExceeded | None:
    """Return why no return of any lease can make room for `amount`, or None.

    What is settled never shrinks, and what is used is at least that.
    """
    node: Account | None = account
    while node is not None:
        for unit in (0, 1):
            cap = node.cap[unit]
            if cap is not None and node.settled[unit] + amount[unit] > cap:
                return node.exceeded(unit, amount[unit])
        node = node.parent
    return None


def scarcity(account: Account, amount: Pair) -> BudgetExceeded:
    """Return the error of an ask that waited in vain."""
    refused = refusal(account, amount)
    if refused is not None:
        return refused
    # It would fit, and waited only for its turn behind an earlier one that does not.
    node = account
    while True:
        for unit in (0, 1):
            if amount[unit] and node.cap[unit] is not None:
                return node.exceeded(unit, amount[unit])
        if node.parent is None:
            return node.exceeded(0, amount.usd)
        node = node.parent


def add_to_holder(spent: dict[str, Pair], holder: str, amount: Pair) -> None:
    """Add to what a holder spent; beyond a thousand holders the eldest are added up."""
    before = spent.get(holder)
    if before is not None:
        spent[holder] = plus(before, amount)
        return
    if len(spent) >= _HOLDERS_KEPT:
        eldest = next(name for name in spent if name != OTHERS)
        spent[OTHERS] = plus(spent.get(OTHERS, ZERO), spent.pop(eldest))
    spent[holder] = amount
