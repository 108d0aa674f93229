from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from decimal import Decimal

import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorSystem,
    BudgetExceeded,
    CallboardError,
    ChildSpec,
    Deadline,
    InvalidOption,
    Timeout,
)
from actors._context import RUN, RunContext
from actors._errors import LedgerError
from actors.services.budget import BudgetPool, Lease


@pytest.fixture
def pool(system):
    with BudgetPool(usd=1, tokens=1000, system=system) as opened:
        yield opened


def everything_comes_back(pool, usd=1):
    """Wait until the whole cap is free, which it is exactly if nothing was leaked."""
    with pool.acquire(usd, wait=10):
        pass
    snapshot = pool.snapshot().get()
    assert snapshot.waiting == 0
    assert snapshot.reserved_usd == 0


# -- leases ----------------------------------------------------------------------------------


def test_a_lease_is_reserved_inside_its_scope_and_returned_after_it(pool):
    with pool.acquire(0.4, 100) as lease:
        assert isinstance(lease, Lease)
        assert lease.max_usd == Decimal("0.4")
        lease.charge(usd=0.1, tokens=30).get()
        inside = pool.snapshot().get()
    after = pool.snapshot().get()
    assert (inside.settled_usd, inside.reserved_usd) == (Decimal("0.1"), Decimal("0.3"))
    assert (inside.settled_tokens, inside.reserved_tokens) == (30, 70)
    assert (after.settled_usd, after.reserved_usd) == (Decimal("0.1"), 0)
    assert (after.free_usd, after.free_tokens) == (Decimal("0.9"), 970)
    assert (after.cap_usd, after.cap_tokens) == (1, 1000)


async def test_a_lease_works_the_same_way_on_a_loop():
    async with ActorSystem() as system, BudgetPool(usd=1, system=system) as pool:
        async with pool.acquire(0.4) as lease:
            await lease.charge(0.1)
            assert (await pool.snapshot()).reserved_usd == Decimal("0.3")
        lease = await pool.acquire(1 - 0.1)
        async with lease:
            assert (await pool.snapshot()).free_usd == 0
        assert (await pool.snapshot()).free_usd == Decimal("0.9")


def test_point_one_and_point_two_fit_a_cap_of_point_three(system):
    with BudgetPool(usd=0.3, system=system) as pool, pool.acquire(0.1), pool.acquire(0.2):
        assert pool.snapshot().get().free_usd == 0


def test_no_room_fails_at_once_with_the_facts(pool):
    with pool.acquire(0.7), pytest.raises(BudgetExceeded) as caught, pool.acquire(0.5):
        pass
    error = caught.value
    assert (error.cap, error.settled, error.reserved, error.asked) == (
        1,
        0,
        Decimal("0.7"),
        Decimal("0.5"),
    )
    assert error.unit == "usd"


def test_a_failure_inside_the_scope_returns_the_lease(pool):
    with pytest.raises(ZeroDivisionError), pool.acquire(1):
        _ = 1 / 0
    everything_comes_back(pool)


def test_an_acquire_that_is_never_used_holds_nothing(pool):
    for _ in range(3):
        pool.acquire(1)
    everything_comes_back(pool)


def test_an_acquire_is_used_once(pool):
    acquisition = pool.acquire(0.1)
    with acquisition:
        pass
    with pytest.raises(CallboardError):
        acquisition.get()


def test_a_lease_may_be_released_more_than_once(pool):
    lease = pool.acquire(1).get()
    lease.release()
    lease.release()
    with lease:
        pass
    everything_comes_back(pool)


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -1, True, "much"])
def test_what_is_no_amount_is_refused_where_it_is_given(system, pool, amount):
    for refused in (
        lambda: BudgetPool(amount, system=system),
        lambda: pool.acquire(amount),
        lambda: pool.child(amount),
        lambda: pool.charge(amount),
    ):
        with pytest.raises(ValueError, match="expected an amount"):
            refused()


@pytest.mark.parametrize("wait", [-1, float("inf"), float("nan"), True, "1"])
def test_what_is_no_time_to_wait_is_refused(pool, wait):
    with pytest.raises(InvalidOption):
        pool.acquire(0.1, wait=wait)


# -- charges ---------------------------------------------------------------------------------


def test_a_charge_past_the_lease_draws_on_what_is_free(pool):
    with pool.acquire(0.2) as lease:
        lease.charge(0.9).get()
    assert pool.snapshot().get().settled_usd == Decimal("0.9")


def test_a_charge_past_the_cap_is_booked_in_full_and_nothing_more_is_admitted(pool):
    with pool.acquire(0.2) as lease, pytest.raises(BudgetExceeded):
        lease.charge(5).get()
    assert pool.snapshot().get().settled_usd == 5
    assert pool.snapshot().get().free_usd == 0
    with pytest.raises(BudgetExceeded):
        pool.acquire(0).get()


def test_a_charge_nobody_waits_for_is_booked(pool):
    with pool.acquire(1) as lease:
        for _ in range(100):
            lease.charge(0.001)
    assert pool.snapshot().get().settled_usd == Decimal("0.1")


def test_a_charge_after_the_deadline_is_booked(system, pool):
    with pool.acquire(1) as lease:
        expired = Deadline.at(system.clock.monotonic() - 1, clock=system.clock)
        token = RUN.set(RunContext("late", deadline=expired))
        try:
            lease.charge(0.5).get()
        finally:
            RUN.reset(token)
    assert pool.snapshot().get().settled_usd == Decimal("0.5")


def test_a_charge_to_a_returned_lease_is_booked(pool):
    with pool.acquire(1) as lease:
        pass
    lease.charge(0.5).get()
    assert pool.snapshot().get().settled_usd == Decimal("0.5")


async def test_a_charge_whose_task_is_cancelled_is_booked():
    async with ActorSystem() as system, BudgetPool(usd=1, system=system) as pool:
        lease = await pool.acquire(1)

        async def pay():
            await lease.charge(0.01)

        for _ in range(20):
            task = asyncio.create_task(pay())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await pool.snapshot()).settled_usd == Decimal("0.2")


def test_a_pool_can_be_charged_without_a_lease(pool):
    pool.charge(0.3, 5).get()
    assert pool.snapshot().get().settled_tokens == 5


# -- nesting ---------------------------------------------------------------------------------


# -- checks ----------------------------------------------------------------------------------


def finds(budget, *, more=True):
    """Tell what a check says: "enough", or the type of its error."""
    try:
        budget.check(more=more).get()
    except CallboardError as error:
        return type(error)
    return "enough"


def test_a_check_tells_whether_anything_is_left(pool):
    assert finds(pool) == "enough"
    with pool.acquire(1):
        with pytest.raises(BudgetExceeded) as caught:
            pool.check().get()
        error = caught.value
        facts = (error.unit, error.cap, error.settled, error.reserved, error.asked, error.pool)
        assert facts == ("usd", 1, 0, 1, "more", "budget")
        assert finds(pool, more=False) == "enough", "nothing is overdrawn"
    assert finds(pool) == "enough"
    with pool.acquire(max_tokens=1000):
        assert finds(pool) is BudgetExceeded


def test_a_check_that_is_content_with_nothing_left_refuses_what_is_overdrawn_above(pool):
    child = pool.child()
    with pytest.raises(BudgetExceeded):
        pool.charge(2).get()
    assert finds(child) == "enough", "it has no cap of its own"
    assert finds(child, more=False) is BudgetExceeded


def test_a_check_is_never_out_of_date(system):
    rng = random.Random(11)
    pool = BudgetPool(usd=100, system=system)
    ledger = pool._ref._cell.instance._ledger
    child = pool.child(usd=40)
    leases = []
    found = set()
    for _ in range(2000):
        budget = rng.choice([pool, child, *leases])
        match rng.randrange(4):
            case 0 if len(leases) < 6:
                with contextlib.suppress(BudgetExceeded):
                    leases.append(budget.acquire(rng.choice([None, 5, 20])).get())
            case 1 if leases:
                leases.pop(rng.randrange(len(leases))).release()
            case 2 if rng.random() < 0.2:
                budget.charge(0.5)
        for one in (pool, child, *leases):
            short, overdrawn = ledger.shortage(one._path), ledger.overdraft(one._path)
            assert (finds(one) == "enough") == (short is None)
            assert (finds(one, more=False) == "enough") == (overdrawn is None)
            found.add((short is None, overdrawn is None))
    assert len(found) == 4, "every case came up"


def test_a_check_of_what_was_returned_or_closed_says_so(system, pool):
    child = pool.child(usd=1)
    lease = pool.acquire(0.5).get()
    assert [finds(child), finds(lease)] == ["enough", "enough"]
    child.close().get()
    lease.release()
    assert [finds(child), finds(lease)] == [InvalidOption, InvalidOption]
    other = BudgetPool(usd=1, system=system)
    assert finds(other) == "enough"
    other.close()
    assert finds(other) is ActorDeadError


def test_a_check_of_a_lease_whose_holder_died_says_that_it_was_returned(system, pool):
    holder = system.spawn(ChildSpec(Spender, (pool,), restart="temporary"))
    lease = holder.request(("hold", 1)).get()
    assert finds(lease) == "enough"
    holder.tell("crash")
    everything_comes_back(pool)
    assert finds(lease) is InvalidOption


def test_a_check_of_a_pool_whose_system_ended_says_that_it_is_dead():
    with ActorSystem() as system:
        pool = BudgetPool(usd=1, system=system)
        assert finds(pool) == "enough"
    assert finds(pool) is ActorDeadError


async def test_a_task_that_asks_again_and_again_does_not_keep_the_loop():
    async with ActorSystem() as system, BudgetPool(usd=1, system=system) as pool:
        lease = await pool.acquire(1)

        async def give_back():
            lease.release()

        task = asyncio.create_task(give_back())
        while (await pool.snapshot()).free_usd == 0:
            pass
        await task


def test_leases_and_child_pools_nest(pool):
    child = pool.child(0.5, name="team")
    with child.acquire(0.4) as outer, outer.acquire(0.3) as inner:
        inner.charge(0.1).get()
        assert outer.snapshot().get().reserved_usd == Decimal("0.2")
        assert child.snapshot().get().name == "team"
        with pytest.raises(BudgetExceeded) as caught:
            child.acquire(0.2).get()
        assert caught.value.pool == "team"
        with pytest.raises(BudgetExceeded):
            outer.acquire(0.2).get()
    assert child.snapshot().get().settled_usd == Decimal("0.1")
    assert pool.snapshot().get().settled_usd == Decimal("0.1")


def test_a_closed_child_pool_admits_nothing_and_leaves_its_spending(pool):
    with pool.child(0.5) as child:
        child.charge(0.2).get()
    with pytest.raises(InvalidOption):
        child.acquire(0.1).get()
    with pytest.raises(InvalidOption):
        child.snapshot().get()
    with pytest.raises(InvalidOption):
        child.child(0.1).acquire(0.1).get()
    assert pool.snapshot().get().settled_usd == Decimal("0.2")


def test_without_a_cap_everything_is_admitted_and_counted(system):
    with BudgetPool(system=system) as pool:
        with pool.acquire(10**6, 10**9) as lease:
            lease.charge(5, 7).get()
        snapshot = pool.snapshot().get()
    assert (snapshot.cap_usd, snapshot.free_usd, snapshot.settled_usd) == (None, None, 5)
    assert (snapshot.cap_tokens, snapshot.free_tokens, snapshot.settled_tokens) == (None, None, 7)


# -- waiting ---------------------------------------------------------------------------------


def test_who_waits_is_served_when_there_is_room(pool):
    first = pool.acquire(1).get()
    got = []
    waiter = threading.Thread(target=lambda: got.append(pool.acquire(0.5, wait=10).get()))
    waiter.start()
    # Also in the queue, behind it, and withdrawn again: so the first one surely waits.
    while pool.snapshot().get().waiting == 0:
        pass
    first.release()
    waiter.join()
    assert isinstance(got[0], Lease)


def test_who_waits_in_vain_gets_budget_exceeded(pool):
    with pool.acquire(1), pytest.raises(BudgetExceeded) as caught:
        pool.acquire(0.5, wait=0.01).get()
    assert caught.value.reserved == 1


def test_nobody_waits_past_the_deadline_of_the_run(system, pool):
    soon = RunContext("r", deadline=Deadline(0.01, clock=system.clock))
    with pool.acquire(1):
        token = RUN.set(soon)
        try:
            with pytest.raises(BudgetExceeded):
                pool.acquire(0.5, wait=60).get()
        finally:
            RUN.reset(token)
    everything_comes_back(pool)


def test_a_get_that_times_out_withdraws_the_acquire(pool):
    with pool.acquire(1):
        with pytest.raises(Timeout):
            pool.acquire(1, wait=60).get(timeout=0.01)
        assert pool.snapshot().get().waiting == 0
    everything_comes_back(pool)


async def test_a_cancelled_acquire_leaves_the_queue():
    async with ActorSystem() as system, BudgetPool(usd=1, system=system) as pool:
        async with pool.acquire(1):
            waiting = asyncio.create_task(pool.acquire(1, wait=60).__aenter__())
            while (await pool.snapshot()).waiting == 0:
                pass
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (await pool.snapshot()).waiting == 0
        assert (await pool.snapshot()).reserved_usd == 0


async def test_a_grant_that_races_the_cancellation_is_returned():
    rng = random.Random(7)
    async with ActorSystem() as system, BudgetPool(usd=1, system=system) as pool:

        async def hold():
            async with pool.acquire(1, wait=60) as lease:
                await lease.snapshot()

        for _ in range(300):
            tasks = [asyncio.create_task(hold()) for _ in range(3)]
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with pool.acquire(1, wait=10):
            pass
        snapshot = await pool.snapshot()
        assert (snapshot.waiting, snapshot.reserved_usd) == (0, 0)


async def test_wait_for_and_gather_leave_nothing_behind():
    async with ActorSystem() as system, BudgetPool(usd=1, system=system) as pool:
        async with pool.acquire(1):
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(pool.acquire(1, wait=60), 0.001)
        async with pool.acquire(1, wait=10):
            assert (await pool.snapshot()).waiting == 0


# -- holders ---------------------------------------------------------------------------------


class Spender(Actor):
    """Acquires and keeps what it is told to, in whatever way it is told to end."""

    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def on_receive(self, message):
        match message:
            case ("hold", usd):
                self.lease = self.pool.acquire(usd).get()
                return self.lease
            case "spend":
                return self.lease.charge(0.001).get()
            case "crash":
                raise ZeroDivisionError


class AsyncSpender(Actor):
    async def on_receive(self, message):
        pool, usd, entered = message
        async with pool.acquire(usd):
            entered.set()
            await asyncio.Event().wait()


def test_the_lease_of_a_holder_that_crashes_is_returned(system, pool):
    holder = system.spawn(ChildSpec(Spender, (pool,), restart="temporary"))
    holder.request(("hold", 1)).get()
    holder.tell("crash")
    everything_comes_back(pool)
    assert not holder.is_alive()


def test_the_lease_of_a_holder_that_is_restarted_is_returned(system, pool):
    holder = system.spawn(Spender, pool)
    holder.request(("hold", 1)).get()
    holder.tell("crash")
    everything_comes_back(pool)
    assert holder.is_alive()
    holder.request(("hold", 1)).get()
    assert pool.snapshot().get().reserved_usd == 1, "what it acquires anew it keeps"


def test_the_lease_of_a_holder_that_stops_is_returned(system, pool):
    holder = system.spawn(Spender, pool)
    holder.request(("hold", 1)).get()
    holder.stop()
    everything_comes_back(pool)


def test_the_lease_of_a_holder_that_is_killed_inside_its_scope_is_returned(system, pool):
    holder = system.spawn(ChildSpec(AsyncSpender, restart="temporary"))
    entered = threading.Event()
    holder.tell((pool, 1, entered))
    assert entered.wait(10)
    holder.kill()
    everything_comes_back(pool)


def test_the_place_in_the_queue_of_a_holder_that_dies_is_given_up(system, pool):
    with pool.acquire(1):
        holder = system.spawn(ChildSpec(AsyncWaiter, restart="temporary"))
        holder.tell(pool)
        while pool.snapshot().get().waiting == 0:
            pass
        holder.kill()
        while pool.snapshot().get().waiting:
            pass


class AsyncWaiter(Actor):
    async def on_receive(self, pool):
        await pool.acquire(1, wait=60)


def test_by_holder_shows_actors_by_their_path_and_others_by_the_name_they_give(system, pool):
    holder = system.spawn(Spender, pool, name="spender")
    holder.request(("hold", 0.25)).get()
    holder.request("spend").get()
    with pool.acquire(0.5, holder="a script") as lease:
        lease.charge(0.125)
        shares = pool.snapshot().get().by_holder
    assert shares["/spender"].settled_usd == Decimal("0.001")
    assert shares["/spender"].reserved_usd == Decimal("0.249")
    assert shares["/spender"].leases == 1
    assert shares["a script"].settled_usd == Decimal("0.125")


@pytest.mark.slow
def test_a_hundred_holders_share_a_pool_and_half_of_them_die(system):
    with BudgetPool(usd=1, system=system) as pool:
        spec = ChildSpec(Spender, (pool,), restart="temporary")
        holders = [system.spawn(spec) for _ in range(100)]
        for future in [holder.request(("hold", 0.01)) for holder in holders]:
            future.get()
        with pytest.raises(BudgetExceeded):
            pool.acquire(0.01).get()
        for holder in holders:
            holder.request("spend").get()
        for holder in holders[:50]:
            holder.tell("crash")
        with pool.acquire(50 * 0.009, wait=10):
            snapshot = pool.snapshot().get()
        assert snapshot.settled_usd == Decimal("0.1")
        assert snapshot.free_usd == 0
        for holder in holders[50:]:
            holder.stop(block=False)
        everything_comes_back(pool, 0.9)


# -- everything at once ----------------------------------------------------------------------


@pytest.mark.slow
def test_threads_and_loops_together_never_pass_the_cap(system):
    """Eight threads and three loops spend from one pool, some waiting, some cancelled."""
    pool = BudgetPool(usd=1, system=system)
    spent = []
    over = []

    def look():
        snapshot = pool.snapshot().get()
        if snapshot.settled_usd + snapshot.reserved_usd > 1:
            over.append(snapshot)

    def on_a_thread(seed):
        rng = random.Random(seed)
        for _ in range(25):
            wait = rng.choice([None, 0.005])
            try:
                with pool.acquire(Decimal(rng.randrange(1, 40)) / 100, wait=wait) as lease:
                    amount = Decimal(rng.randrange(3)) / 1000
                    lease.charge(min(amount, lease.max_usd)).get()
                    spent.append(min(amount, lease.max_usd))
                    look()
            except BudgetExceeded:
                pass

    async def one(rng):
        wait = rng.choice([None, 5])
        try:
            async with pool.acquire(Decimal(rng.randrange(1, 40)) / 100, wait=wait) as lease:
                amount = Decimal(rng.randrange(3)) / 1000
                spent.append(amount)
                await lease.charge(amount)
        except BudgetExceeded:
            pass

    async def on_a_loop(seed):
        rng = random.Random(seed)
        for _ in range(10):
            tasks = [asyncio.create_task(one(rng)) for _ in range(6)]
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            rng.choice(tasks).cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    threads = [threading.Thread(target=on_a_thread, args=(seed,)) for seed in range(8)]
    threads += [
        threading.Thread(target=lambda seed=seed: asyncio.run(on_a_loop(seed))) for seed in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not over
    snapshot = pool.snapshot().get()
    assert snapshot.settled_usd == sum(spent), "no spend is lost or counted twice"
    assert (snapshot.reserved_usd, snapshot.waiting) == (0, 0)
    pool._ref._cell.instance._ledger.check()


# -- closing ---------------------------------------------------------------------------------


def test_a_closed_pool_answers_that_it_is_dead(system):
    pool = BudgetPool(usd=1, system=system)
    lease = pool.acquire(0.5).get()
    pool.close().get()
    pool.close().get()
    for future in (pool.snapshot(), lease.charge(0.1)):
        with pytest.raises(ActorDeadError):
            future.get()
    with pytest.raises(ActorDeadError):
        pool.acquire(0.1).get()
    lease.release()


def test_who_waits_at_a_pool_that_closes_is_told(system):
    pool = BudgetPool(usd=1, system=system)
    errors = []

    def wait():
        try:
            pool.acquire(1, wait=60).get()
        except ActorDeadError as error:
            errors.append(error)

    lease = pool.acquire(1).get()
    waiter = threading.Thread(target=wait)
    waiter.start()
    while pool.snapshot().get().waiting == 0:
        pass
    pool.close().get()
    waiter.join()
    assert len(errors) == 1
    lease.release()


# -- on disk ---------------------------------------------------------------------------------


def test_what_was_spent_survives_and_what_was_reserved_does_not(system, tmp_path):
    path = tmp_path / "ledger"
    with BudgetPool(usd=1, path=path, system=system) as pool:
        lease = pool.acquire(0.9, holder="a").get()
        lease.charge(0.25, 7).get()
    with BudgetPool(usd=1, path=path, system=system) as pool:
        snapshot = pool.snapshot().get()
        assert (snapshot.settled_usd, snapshot.settled_tokens) == (Decimal("0.25"), 7)
        assert snapshot.reserved_usd == 0
        assert snapshot.by_holder["a"].settled_usd == Decimal("0.25")
        with pytest.raises(BudgetExceeded):
            pool.acquire(0.8).get()


def test_a_torn_charge_at_the_end_is_cut_off(system, tmp_path):
    path = tmp_path / "ledger"
    with BudgetPool(usd=1, path=path, system=system) as pool:
        pool.charge(0.25).get()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-3])
    with BudgetPool(usd=1, path=path, system=system) as pool:
        assert pool.snapshot().get().settled_usd == Decimal("0.25")
        pool.charge(0.25).get()
    assert path.read_bytes().count(b"\n") == 2


def test_a_damaged_ledger_is_refused_rather_than_added_up_wrongly(system, tmp_path):
    path = tmp_path / "ledger"
    with BudgetPool(path=path, system=system) as pool:
        pool.charge(0.25).get()
        pool.charge(0.25).get()
    path.write_bytes(b"x" + path.read_bytes())
    with pytest.raises(LedgerError):
        BudgetPool(path=path, system=system)
    foreign = tmp_path / "foreign"
    foreign.write_text("milk\neggs\n")
    with pytest.raises(LedgerError):
        BudgetPool(path=foreign, system=system)
    assert foreign.read_text() == "milk\neggs\n"


def test_a_ledger_is_open_once(system, tmp_path):
    with BudgetPool(path=tmp_path / "ledger", system=system), pytest.raises(LedgerError):
        BudgetPool(path=tmp_path / "ledger", system=system)
    with pytest.raises(LedgerError):
        BudgetPool(path=tmp_path / "missing" / "ledger", system=system)
    BudgetPool(path=tmp_path / "ledger", system=system).close().get()


@pytest.mark.slow
def test_a_ledger_that_cannot_be_written_says_so_and_counts_all_the_same(program, tmp_path):
    path = tmp_path / "ledger"
    child = program(
        """
import resource, signal, sys
from actors import ActorSystem
from actors._errors import LedgerError
from actors.services.budget import BudgetPool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with ActorSystem() as system:
    pool = BudgetPool(usd=10, path=sys.argv[1], system=system)
    pool.charge(1).get()
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        pool.charge(2).get()
    except LedgerError:
        print("refused", pool.snapshot().get().settled_usd)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    pool.charge(4).get()
    pool.close().get()
""",
        path,
    )
    out, _ = child.communicate(timeout=30)
    assert out.split() == ["refused", "3"]
    with ActorSystem() as system, BudgetPool(path=path, system=system) as pool:
        assert pool.snapshot().get().settled_usd == 7, "nothing booked is forgotten"


@pytest.mark.slow
def test_an_acknowledged_charge_survives_kill_9(program, tmp_path, system):
    path = tmp_path / "ledger"
    acknowledged = 0
    for _ in range(3):
        child = program(
            """
import os, sys, threading
from actors import ActorSystem
from actors.services.budget import BudgetPool
with ActorSystem() as system:
    pool = BudgetPool(path=sys.argv[1], system=system)
    def spend():
        while True:
            pool.charge("0.001", 1).get()
            os.write(1, b"paid\\n")
    for _ in range(4):
        threading.Thread(target=spend, daemon=True).start()
    threading.Event().wait()
""",
            path,
        )
        for _ in range(50):
            assert child.stdout.readline() == "paid\n"
            acknowledged += 1
        child.kill()
        acknowledged += child.stdout.read().count("\n")
        child.wait()
        with BudgetPool(path=path, system=system) as pool:
            settled = pool.snapshot().get().settled_tokens
            assert acknowledged <= settled, "more may be booked than could still be told"
