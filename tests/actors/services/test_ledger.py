from __future__ import annotations

import random
from decimal import Decimal

import pytest

from actors._errors import BudgetExceeded, InvalidOption
from actors.services._account import OTHERS, UNLIMITED, Cap, Pair
from actors.services._ledger import ROOT, Ask, Ledger

USD = 10**9


def dollars(amount: float) -> int:
    return round(amount * USD)


class Desk:
    """A ledger that checks itself after every step and numbers the asks."""

    def __init__(self, usd=None, tokens=None):
        self.ledger = Ledger(Cap(None if usd is None else dollars(usd), tokens), "pool")
        self.ids = iter(range(1, 10**9))
        self.outcomes = {}

    def acquire(self, usd=None, tokens=None, *, of=(ROOT,), holder="h", until=None, now=0.0):
        ask = Ask(
            next(self.ids),
            of,
            Cap(None if usd is None else dollars(usd), tokens),
            holder,
            until,
        )
        outcome = self.ledger.acquire(ask)
        if outcome is not None:
            self.outcomes[ask.id] = outcome
        self.serve(now)
        return (*of, ask.id)

    def pool(self, usd=None, tokens=None, *, of=(ROOT,)):
        ident = next(self.ids)
        cap = Cap(None if usd is None else dollars(usd), tokens)
        self.ledger.open_pool(ident, of, cap, f"child {ident}")
        return (*of, ident)

    def charge(self, path, usd=0.0, tokens=0, *, holder="h", now=0.0):
        error = self.ledger.charge(path, Pair(dollars(usd), tokens), holder)
        self.serve(now)
        return error

    def close(self, path, now=0.0):
        self.ledger.close(path[-1])
        self.serve(now)

    def serve(self, now=0.0):
        served = self.ledger.serve(now)
        for outcome in served:
            assert outcome.id not in self.outcomes
            self.outcomes[outcome.id] = outcome
        self.ledger.check()
        return [outcome.id for outcome in served]

    def admitted(self, path):
        outcome = self.outcomes.get(path[-1])
        return None if outcome is None else outcome.error is None

    def error(self, path):
        return self.outcomes[path[-1]].error

    def usd(self, path=(ROOT,)):
        standing = self.ledger.standing(path)
        return standing.settled.usd / USD, standing.reserved.usd / USD


# -- admission -------------------------------------------------------------------------------


def test_a_lease_is_admitted_up_to_the_cap_and_not_a_nano_dollar_further():
    desk = Desk(usd=1)
    assert desk.admitted(desk.acquire(0.6))
    assert desk.admitted(desk.acquire(0.4))
    refused = desk.acquire(1e-9)
    assert not desk.admitted(refused)
    error = desk.error(refused)
    assert isinstance(error, BudgetExceeded)
    assert (error.unit, error.cap, error.settled, error.reserved, error.asked, error.pool) == (
        "usd",
        Decimal(1),
        Decimal(0),
        Decimal(1),
        Decimal("1e-9"),
        "pool",
    )


def test_tokens_are_capped_beside_usd():
    desk = Desk(usd=1, tokens=100)
    assert desk.admitted(desk.acquire(0.1, 60))
    refused = desk.acquire(0.1, 60)
    assert desk.error(refused).unit == "tokens"
    assert desk.error(refused).reserved == 60


def test_no_cap_admits_everything_and_still_counts():
    desk = Desk()
    lease = desk.acquire(10**6, 10**9)
    desk.charge(lease, 5.0, 7)
    assert desk.ledger.standing((ROOT,)).settled == Pair(5 * USD, 7)
    assert desk.ledger.standing((ROOT,)).cap == UNLIMITED


def test_a_lease_without_a_maximum_reserves_nothing_and_draws_on_what_is_free():
    desk = Desk(usd=1)
    lease = desk.acquire()
    assert desk.usd() == (0, 0)
    assert desk.charge(lease, 0.7) is None
    assert desk.usd() == (0.7, 0)
    assert desk.admitted(desk.acquire(0.3))


def test_closing_a_lease_returns_exactly_what_was_not_spent():
    desk = Desk(usd=1)
    lease = desk.acquire(1)
    desk.charge(lease, 0.25)
    assert desk.usd() == (0.25, 0.75)
    desk.close(lease)
    assert desk.usd() == (0.25, 0)
    desk.close(lease)
    assert desk.usd() == (0.25, 0)


# -- charges ---------------------------------------------------------------------------------


def test_a_charge_past_the_lease_draws_on_what_the_pool_has_free():
    desk = Desk(usd=1)
    lease = desk.acquire(0.2)
    assert desk.charge(lease, 0.9) is None
    assert desk.usd() == (0.9, 0)
    assert not desk.admitted(desk.acquire(0.2))
    assert desk.admitted(desk.acquire(0.1))


def test_a_charge_past_the_cap_is_recorded_in_full_and_nothing_more_is_admitted():
    desk = Desk(usd=1)
    lease = desk.acquire(0.2)
    error = desk.charge(lease, 1.5)
    assert isinstance(error, BudgetExceeded)
    assert (error.cap, error.settled, error.asked) == (1, Decimal("1.5"), Decimal("1.5"))
    assert desk.usd() == (1.5, 0)
    assert not desk.admitted(desk.acquire(0))
    assert not desk.admitted(desk.acquire(0, of=lease))
    desk.close(lease)
    assert not desk.admitted(desk.acquire())


def test_what_others_reserved_is_not_free():
    desk = Desk(usd=1)
    mine, theirs = desk.acquire(0.2), desk.acquire(0.8)
    assert desk.charge(mine, 0.3) is not None
    assert desk.charge(theirs, 0.8) is None, "their reservation still covers what they spend"
    assert desk.usd() == (1.1, 0)


def test_a_late_charge_to_a_returned_lease_lands_in_the_pool():
    desk = Desk(usd=1)
    outer = desk.acquire(0.5)
    inner = desk.acquire(0.3, of=outer)
    desk.close(inner)
    desk.charge(inner, 0.1)
    assert desk.usd(outer) == (0.1, 0)
    desk.close(outer)
    desk.charge(inner, 0.1)
    assert desk.usd() == (0.2, 0)


# -- trees -----------------------------------------------------------------------------------


def test_a_nested_lease_takes_from_its_lease_and_not_from_the_pool_again():
    desk = Desk(usd=1)
    outer = desk.acquire(0.8)
    inner = desk.acquire(0.5, of=outer)
    assert desk.usd() == (0, 0.8)
    assert desk.usd(outer) == (0, 0.5)
    refused = desk.acquire(0.4, of=outer)
    assert desk.error(refused).pool == "lease of h"
    desk.charge(inner, 0.2)
    desk.close(inner)
    assert desk.usd(outer) == (0.2, 0)
    assert desk.usd() == (0.2, pytest.approx(0.6))


def test_a_child_pool_caps_without_reserving():
    desk = Desk(usd=1)
    child = desk.pool(0.7)
    assert desk.usd() == (0, 0)
    assert desk.admitted(desk.acquire(0.6, of=child))
    assert desk.error(desk.acquire(0.2, of=child)).pool.startswith("child")
    assert desk.error(desk.acquire(0.5)).pool == "pool"


def test_an_ancestor_without_room_refuses_what_the_child_would_admit():
    desk = Desk(usd=1)
    child = desk.pool(0.9)
    desk.acquire(0.5)
    refused = desk.acquire(0.6, of=child)
    assert desk.error(refused).pool == "pool"
    assert desk.usd(child) == (0, 0), "and nothing is left behind halfway"


def test_a_charge_past_a_child_pools_cap_names_the_child_and_counts_everywhere():
    desk = Desk(usd=10)
    child = desk.pool(1)
    lease = desk.acquire(1, of=child)
    error = desk.charge(lease, 3)
    assert error.cap == 1
    assert desk.usd(child) == (3, 0)
    assert desk.usd() == (3, 0)
    assert desk.admitted(desk.acquire(7))
    assert not desk.admitted(desk.acquire(0, of=child))


def test_a_lease_closed_before_the_leases_in_it_keeps_only_what_they_hold():
    desk = Desk(usd=1)
    outer = desk.acquire(0.9)
    inner = desk.acquire(0.3, of=outer)
    desk.close(outer)
    assert desk.usd() == (0, 0.3)
    assert isinstance(desk.error(desk.acquire(0.1, of=outer)), InvalidOption)
    desk.charge(inner, 0.1)
    desk.close(inner)
    assert desk.usd() == (0.1, 0)
    with pytest.raises(InvalidOption):
        desk.ledger.standing(outer)


def test_closing_a_child_pool_leaves_its_spending_behind():
    desk = Desk(usd=1)
    child = desk.pool(0.5)
    desk.charge(child, 0.2)
    desk.close(child)
    assert desk.usd() == (0.2, 0)
    with pytest.raises(InvalidOption):
        desk.ledger.open_pool(99, child, UNLIMITED, "late")


# -- waiting ---------------------------------------------------------------------------------


def test_who_waits_is_served_first_in_first_out():
    desk = Desk(usd=1)
    first = desk.acquire(1)
    waiting = [desk.acquire(0.4, until=9) for _ in range(5)]
    assert [desk.admitted(w) for w in waiting] == [None] * 5
    desk.close(first)
    assert [desk.admitted(w) for w in waiting] == [True, True, None, None, None]
    desk.close(waiting[0])
    assert desk.admitted(waiting[2])
    assert desk.admitted(waiting[3]) is None


def test_a_large_ask_is_not_starved_by_small_ones_behind_it():
    desk = Desk(usd=1)
    first = desk.acquire(0.5)
    large = desk.acquire(0.8, until=9)
    small = desk.acquire(0.1, until=9)
    assert desk.admitted(small) is None
    desk.close(first)
    assert desk.admitted(large)
    assert desk.admitted(small)


def test_nor_by_small_ones_that_ask_a_child_pool_of_the_same_room():
    desk = Desk(usd=1)
    child = desk.pool()
    first = desk.acquire(0.5)
    large = desk.acquire(0.8, until=9)
    small = desk.acquire(0.1, of=child, until=9)
    smaller = desk.acquire(0.05, of=child, until=9)
    assert [desk.admitted(small), desk.admitted(smaller)] == [None, None]
    desk.close(first)
    assert [desk.admitted(ask) for ask in (large, small, smaller)] == [True, True, True]


@pytest.mark.parametrize("somebody_is_before_it", [False, True])
def test_who_lacks_one_unit_keeps_its_place_for_the_other(somebody_is_before_it):
    desk = Desk(usd=1, tokens=10)
    lease = desk.acquire(0.5)
    hog = desk.acquire(tokens=10)
    if somebody_is_before_it:
        desk.acquire(tokens=1, until=9)
    both = desk.acquire(0.4, 5, of=lease, until=9)
    later = desk.acquire(0.3, of=desk.pool(of=lease), until=9)
    assert [desk.admitted(both), desk.admitted(later)] == [None, None]
    desk.close(hog)
    assert [desk.admitted(both), desk.admitted(later)] == [True, None]


def test_an_ask_that_needs_nothing_of_the_contended_pool_may_pass():
    desk = Desk(usd=1)
    held = desk.acquire(0.8)
    blocked = desk.acquire(0.8, until=9)
    nested = desk.acquire(0.5, of=held, until=9)
    assert desk.admitted(nested), "or the holder that the other waits for could never finish"
    assert desk.admitted(blocked) is None


def test_a_full_child_pool_does_not_hold_up_its_siblings():
    desk = Desk(usd=1)
    child, sibling = desk.pool(0.1), desk.pool(0.5)
    desk.acquire(0.1, of=child)
    stuck = desk.acquire(0.1, of=child, until=9)
    assert desk.admitted(desk.acquire(0.5, of=sibling, until=9))
    assert desk.admitted(stuck) is None


def test_who_waits_too_long_gets_budget_exceeded_and_lets_the_next_one_in():
    desk = Desk(usd=1)
    desk.acquire(0.5)
    large = desk.acquire(0.8, until=5, now=0)
    small = desk.acquire(0.3, until=9, now=0)
    assert desk.ledger.next_deadline() == 5
    desk.serve(4.99)
    assert desk.admitted(large) is None
    desk.serve(5.0)
    assert isinstance(desk.error(large), BudgetExceeded)
    assert desk.error(large).asked == Decimal("0.8")
    assert desk.admitted(small)
    assert desk.ledger.next_deadline() is None


def test_who_fits_but_waits_behind_another_past_its_deadline_is_refused_too():
    desk = Desk(usd=1)
    desk.acquire(0.5)
    desk.acquire(0.8, until=9)
    small = desk.acquire(0.3, until=5)
    desk.serve(5.0)
    assert isinstance(desk.error(small), BudgetExceeded)


def test_an_ask_that_can_never_fit_does_not_wait():
    desk = Desk(usd=1)
    assert desk.admitted(desk.acquire(1.1, until=9)) is False
    lease = desk.acquire(1)
    later = desk.acquire(0.6, until=9)
    assert desk.admitted(later) is None
    desk.charge(lease, 0.5)
    assert desk.admitted(later) is False, "spent money never comes back"


def test_leaving_the_queue_lets_the_next_one_in():
    desk = Desk(usd=1)
    desk.acquire(0.5)
    large = desk.acquire(0.8, until=9)
    small = desk.acquire(0.3, until=9)
    desk.close(large)
    assert desk.admitted(small)
    assert desk.admitted(large) is None
    assert desk.ledger.next_deadline() is None


def test_asks_that_wait_at_a_lease_that_closes_are_told_so():
    desk = Desk(usd=1)
    lease = desk.acquire(0.5)
    desk.acquire(0.5, of=lease)
    waiting = [desk.acquire(0.2, of=lease, until=9) for _ in range(3)]
    desk.close(lease)
    assert all(isinstance(desk.error(w), InvalidOption) for w in waiting)


def test_thousands_who_wait_are_served_in_a_blink():
    desk = Desk(usd=1)
    desk.ledger.check = lambda: None
    held = desk.acquire(1)
    waiting = [desk.acquire(1, until=9) for _ in range(2000)]
    for path in [held, *waiting]:
        desk.close(path)
    assert desk.usd() == (0, 0)


# -- holders ---------------------------------------------------------------------------------


def test_by_holder_adds_up_to_the_totals():
    desk = Desk(usd=10)
    a = desk.acquire(4, holder="a")
    b = desk.acquire(1, of=a, holder="b")
    desk.acquire(2, holder="b")
    desk.charge(a, 0.5, holder="a")
    desk.charge(b, 0.25, holder="b")
    standing = desk.ledger.standing((ROOT,))
    shares = standing.by_holder
    assert {
        h: (s.settled.usd / USD, s.reserved.usd / USD, s.leases) for h, s in shares.items()
    } == {
        "a": (0.5, 2.5, 1),
        "b": (0.25, 2.75, 2),
    }


def test_holders_long_gone_are_added_up_so_that_memory_is_bounded():
    desk = Desk()
    for n in range(3000):
        desk.ledger.charge((ROOT,), Pair(1, 0), f"agent {n}")
    shares = desk.ledger.standing((ROOT,)).by_holder
    assert len(shares) <= 1001
    assert shares[OTHERS].settled.usd == 3000 - (len(shares) - 1)
    desk.ledger.check()


def test_what_an_earlier_process_spent_counts():
    desk = Desk(usd=1)
    desk.ledger.restore({"a": Pair(dollars(0.7)), "b": Pair(dollars(0.6))})
    desk.ledger.check()
    assert not desk.admitted(desk.acquire(0))
    assert desk.usd() == (1.3, 0)


# -- any order of events ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_no_order_of_events_breaks_the_ledger(seed):
    """Caps hold, nothing leaks and no spend is lost, whatever happens in whatever order."""
    rng = random.Random(seed)
    cap = rng.choice([None, 5, 20])
    desk = Desk(usd=cap, tokens=rng.choice([None, 50]))
    accounts: list[tuple[int, ...]] = [(ROOT,)]
    spent, overspent, now = 0, False, 0.0

    for _ in range(150):
        now += rng.random()
        match rng.choices(["acquire", "charge", "close", "pool", "time"], [5, 4, 4, 1, 1])[0]:
            case "acquire":
                until = rng.choice([None, now + rng.random() * 5])
                of = rng.choice(accounts)
                before = desk.ledger.standing((ROOT,))
                usd, tokens = rng.choice([None, rng.randrange(5)]), rng.choice([None, 3])
                path = desk.acquire(
                    usd, tokens, of=of, holder=f"h{rng.randrange(4)}", until=until, now=now
                )
                accounts.append(path)
                if until is None and of == (ROOT,):
                    asked = Pair(dollars(usd or 0), tokens or 0)
                    sums = zip(before.settled, before.reserved, asked, before.cap, strict=True)
                    fits = all(c is None or s + r + a <= c for s, r, a, c in sums)
                    assert desk.admitted(path) is fits
            case "charge":
                path = rng.choice(accounts)
                amount = rng.choice([0, rng.randrange(3), 4 if rng.random() < 0.1 else 0])
                error = desk.charge(path, amount, rng.randrange(2), now=now)
                spent += amount
                overspent = overspent or error is not None
            case "close":
                desk.close(rng.choice(accounts), now)
            case "pool":
                of = rng.choice(accounts)
                try:
                    accounts.append(desk.pool(rng.choice([None, 3]), of=of))
                except InvalidOption:
                    continue
            case "time":
                desk.serve(now)
        settled, reserved = desk.usd()
        assert settled == pytest.approx(spent), "no spend is ever lost"
        if cap is not None and not overspent:
            assert settled + reserved <= cap + 1e-9

    desk.serve(now + 1000)
    for path in reversed(accounts):
        desk.close(path, now + 1000)
    assert desk.usd() == (pytest.approx(spent), 0), "once all is returned, nothing is reserved"
    assert desk.ledger.standing((ROOT,)).waiting == 0
