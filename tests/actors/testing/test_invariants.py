"""What has to hold in a simulation is checked, and who breaks it is named."""

from __future__ import annotations

import asyncio

import pytest

from actors import Actor, BudgetExceeded, BudgetPool, InvalidOption, Supervision
from actors.services import _ledger
from actors.services._account import Pair
from actors.services._budget_keeper import BudgetKeeper
from actors.services._ledger import Ledger
from actors.testing import InvariantViolated, Simulation, SimulationError


class Counter(Actor):
    def __init__(self):
        self.count = 0

    def on_receive(self, message):
        self.count += message
        return self.count


class Quiet(Actor):
    def on_receive(self, message):
        return message


def instance(ref):
    return ref._cell.instance


# -- what a test says --------------------------------------------------------------------------------


def test_always_is_checked_after_each_step_and_names_the_messages_of_the_one_that_broke_it():
    with pytest.raises(InvariantViolated) as caught, Simulation(seed=7) as sim:
        counter = sim.system.spawn(Counter, name="counter")
        actor = instance(counter)
        sim.always(lambda: actor.count < 3, "the count is below 3")
        for _ in range(5):
            counter.tell(1)
        sim.run()
    text = str(caught.value)
    assert "the count is below 3 does not hold any more" in text
    assert "seed 7" in text
    assert "handle  test -> /counter #3  1" in text
    assert "#4" not in text, "it stops there"


def test_always_is_checked_while_a_request_is_waited_for_too():
    with pytest.raises(InvariantViolated), Simulation() as sim:
        counter = sim.system.spawn(Counter)
        actor = instance(counter)
        sim.always(lambda: actor.count == 0)
        counter.ask(1)


def test_a_predicate_is_called_by_its_docstring_its_name_or_its_place():
    def documented():
        """Nothing is lost."""
        return False

    def named():
        return False

    for predicate, name in (
        (documented, "Nothing is lost does not"),
        (named, "named does not"),
        (lambda: False, "the predicate in test_invariants.py, line "),
    ):
        with pytest.raises(InvariantViolated, match=name), Simulation() as sim:
            sim.always(predicate)
            sim.system.spawn(Quiet).ask(1)


def test_eventually_lets_time_go_on_until_it_is_so():
    class Later(Actor):
        ready = False

        def on_start(self):
            self.timers.start("ready", "ready", after=30.0)

        def on_receive(self, message):
            self.ready = True

    with Simulation(seed=2) as sim:
        later = instance(sim.system.spawn(Later))
        with pytest.raises(
            InvariantViolated, match=r"ready did not come about within 20 s.*seed 2"
        ):
            sim.eventually(lambda: later.ready, within=20, name="ready")
        assert sim.clock.now == 20
        sim.eventually(lambda: later.ready, within=20)
        assert sim.clock.now == 30
        sim.eventually(lambda: sim.clock.now >= 35, within=5, name="it may ask for the time")


@pytest.mark.parametrize("how", ["always", "eventually"])
def test_a_predicate_that_raises_says_which_and_why(how):
    def broken():
        """The books are balanced."""
        return {}["balance"]

    with (
        pytest.raises(
            InvariantViolated, match=r"balanced cannot be told: KeyError\('balance'\)"
        ) as e,
        Simulation() as sim,
    ):
        check(sim, how, broken)
    assert isinstance(e.value.__cause__, KeyError)


@pytest.mark.parametrize("how", ["always", "eventually"])
def test_a_predicate_must_not_wait(how):
    match = r"all is well cannot be checked.*must not wait"
    with pytest.raises(SimulationError, match=match), Simulation() as sim:
        quiet = sim.system.spawn(Quiet)
        check(sim, how, lambda: quiet.ask(1), "all is well")


@pytest.mark.parametrize("how", ["always", "eventually"])
def test_a_predicate_that_is_a_coroutine_would_always_be_true_and_is_refused(how):
    async def predicate():
        await asyncio.sleep(0)

    with pytest.raises(SimulationError, match="make it a plain function"), Simulation() as sim:
        check(sim, how, predicate)


def check(sim, how, predicate, name=""):
    if how == "always":
        sim.always(predicate, name)
        sim.system.spawn(Quiet).ask(1)
    else:
        sim.eventually(predicate, within=1, name=name)


@pytest.mark.parametrize("within", [-1, "soon", True, None])
def test_within_is_a_number_of_seconds(within):
    with Simulation() as sim, pytest.raises(InvalidOption):
        sim.eventually(lambda: True, within=within)


# -- what holds for every system -----------------------------------------------------------------------
# Each of these plants one mistake.


class Dropper(Actor):
    """Drops what waits in its mailbox."""

    def on_receive(self, message):
        self._cell.queue.clear()


def lost(sim, monkeypatch):
    dropper = sim.system.spawn(Dropper, name="dropper")
    dropper.tell("first")
    dropper.tell("second")
    sim.run()


class Doubler(Actor):
    """Puts what it handles back into its mailbox, once."""

    doubled = False

    def on_receive(self, message):
        if not self.doubled:
            self.doubled = True
            self._cell.queue.append(message)


def twice(sim, monkeypatch):
    sim.system.spawn(Doubler, name="doubler").tell("x")
    sim.run()


class LastWord(Actor):
    """Asks when it stops, and nobody answers."""

    def __init__(self, other):
        self.other = other

    def on_receive(self, message):
        """Nothing."""

    def on_stop(self):
        self.other.request("still there?")
        self.other._cell.queue.clear()


def forgotten(sim, monkeypatch):
    sim.allow("lost")
    quiet = sim.system.spawn(Quiet, name="quiet")
    sim.system.spawn(LastWord, quiet, name="last")


def undead(sim, monkeypatch):
    quiet = sim.system.spawn(Quiet, name="quiet")
    receive = quiet._cell.receive
    quiet.stop()
    receive("boo")


class Forgetful(Actor):
    """Loses sight of its children."""

    def on_start(self):
        self.spawn(Quiet, name="child")

    def on_receive(self, message):
        self._cell.children = None


def orphan(sim, monkeypatch):
    parent = sim.system.spawn(Forgetful, name="parent")
    parent.ask("go")
    parent.stop()


def overdrawn(sim, monkeypatch):
    monkeypatch.setattr(_ledger, "refusal", lambda *_: None)
    pool = BudgetPool(usd=5, name="project")
    pool.acquire(max_usd=3, holder="a").get()
    pool.acquire(max_usd=3, holder="b").get()


def unbooked(sim, monkeypatch):
    monkeypatch.setattr(Ledger, "charge", lambda *_: None)
    pool = BudgetPool(usd=5, name="project")
    pool.charge(usd=1, holder="me").get()


def wrong_books(sim, monkeypatch):
    pool = BudgetPool(usd=5, name="project")
    pool._books.ledger._root.direct = Pair(1, 1)


class Holder(Actor):
    def __init__(self, pool):
        self.pool = pool

    def on_receive(self, message):
        self.lease = self.pool.acquire(max_usd=2).get()


def unreturned(sim, monkeypatch):
    monkeypatch.setattr(BudgetKeeper, "_abandon", lambda *_, **__: None)
    pool = BudgetPool(usd=5, name="project")
    holder = sim.system.spawn(Holder, pool, name="holder")
    holder.ask("take")
    holder.stop()
    sim.run()


PLANTED = [
    (
        lost,
        "lost",
        ["messages were lost: 2 messages were sent, but 1 handled", "/dropper #2  'second'"],
    ),
    (
        twice,
        "lost",
        ["messages were counted twice: 1 messages were sent, but 2 handled", "/doubler"],
    ),
    (
        forgotten,
        "forgotten",
        ["nobody ever answered what was asked: #1 /last -> /quiet", "'still there?'"],
    ),
    (undead, "undead", ["/quiet handled message #0 although it is dead", "'boo'"]),
    (orphan, "orphan", ["actors outlive their parents: /parent/child", "stop    /parent"]),
    (
        overdrawn,
        "overdrawn",
        [
            "project is overdrawn: settled 0 USD and reserved 6 USD, with a cap of 5 USD",
            "LeaseOrder",
        ],
    ),
    (unbooked, "overdrawn", ["project booked 0 USD of a charge of 1 USD by me", "ChargeOrder"]),
    (
        wrong_books,
        "overdrawn",
        ["the books of project (/system/budgetkeeper-1) do not add up", "budgetkeeper-1"],
    ),
    (
        unreturned,
        "unreturned",
        ["project still reserves for dead actors: 2 USD of /holder", "stop    /holder"],
    ),
]
BY_NAME = [mistake.__name__ for mistake, _, _ in PLANTED]


@pytest.mark.parametrize(("mistake", "words"), [(m, w) for m, _, w in PLANTED], ids=BY_NAME)
def test_a_planted_mistake_is_found_and_named(mistake, words, monkeypatch):
    with pytest.raises(InvariantViolated) as caught, Simulation(seed=11) as sim:
        mistake(sim, monkeypatch)
    for word in ["seed 11", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(("mistake", "name"), [(m, n) for m, n, _ in PLANTED], ids=BY_NAME)
def test_each_can_be_allowed(mistake, name, monkeypatch):
    with Simulation() as sim:
        sim.allow(name)
        mistake(sim, monkeypatch)


def test_what_is_allowed_has_to_be_among_what_is_checked():
    with Simulation() as sim, pytest.raises(InvalidOption, match="'lost', 'forgotten'"):
        sim.allow("everything")


def test_a_charge_beyond_what_was_reserved_is_no_violation():
    with Simulation():
        pool = BudgetPool(usd=5)
        with pool.acquire(max_usd=1) as lease:
            lease.charge(usd=3).get()
            with pytest.raises(BudgetExceeded):
                lease.charge(usd=3).get()
        with pytest.raises(BudgetExceeded):
            pool.acquire(max_usd=1).get()
        pool.charge(usd=0, tokens=10).get()


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_violated_by_a_system_that_crashes_everywhere(seed):
    class Worker(Holder):
        async def on_receive(self, message):
            async with self.pool.acquire(max_usd=1, wait=5) as lease:
                await asyncio.sleep(message)
                await lease.charge(usd="0.5")

        def on_start(self):
            self.spawn(Quiet).tell("child")

    with Simulation(seed, supervision=Supervision(intensity=10_000)) as sim:
        pool = BudgetPool(usd=3)
        workers = [sim.system.spawn(Worker, pool, name=f"w{n}") for n in range(6)]
        for when in ("before", "after", "start"):
            sim.faults.crash("/**", rate=0.1, when=when)
        sim.faults.delay(seconds=(0, 1), rate=0.2)
        sim.faults.reorder(rate=0.2)
        for number in range(6):
            for worker in workers:
                worker.tell(number / 5)
        sim.run(seconds=3)
        workers[0].stop()
        workers[1].kill()
        sim.run(seconds=30)
        assert sim.history.of("fail")


@pytest.mark.parametrize("wanted", [True, False])
def test_a_killed_actor_that_is_abandoned_with_its_children_is_no_violation(wanted):
    class Stuck(Forgetful):
        def on_receive(self, message):
            self.children_of = self._cell.child_refs()
            self.other.ask("never")

    class Never(Actor):
        async def on_receive(self, message):
            await asyncio.sleep(1000)

    with Simulation(supervision=Supervision(intensity=10)) as sim:
        Stuck.other = sim.system.spawn(Never)
        stuck = sim.system.spawn(Stuck, name="stuck")
        stuck.tell("go")
        sim.run(seconds=1)
        stuck._cell.order_kill(wanted=wanted)
        sim.run(seconds=100)
        assert "stop" in {e.kind for e in sim.history if e.target == "/stuck/child"}
        sim.run(seconds=1000)
