"""Races of budget, log, bus and tracing, as their users meet them, in many orders of events."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal

import pytest

import actors
from actors import (
    Actor,
    ActorDeadError,
    BudgetExceeded,
    BudgetPool,
    ChildSpec,
    DecisionLog,
    EventBus,
    RequestCancelled,
    Supervision,
    Tracer,
)

pytestmark = pytest.mark.simulate(seeds=50, system={"supervision": Supervision(intensity=10_000)})


class Echo(Actor):
    def on_receive(self, message):
        return message


# -- budget ------------------------------------------------------------------------------------------


class Spender(Actor):
    """Takes a lease, spends a part of it, and may crash in between."""

    def __init__(self, pool, spent):
        super().__init__()
        self.pool, self.spent = pool, spent

    async def on_receive(self, message):
        async with self.pool.acquire("0.30", wait=1) as lease:
            await asyncio.sleep(0.001)
            lease.charge("0.20")
            self.spent.append(Decimal("0.20"))
            if message == "crash":
                raise ValueError
            await asyncio.sleep(0.001)


def test_the_cap_holds_through_crashes_kills_and_cancellations(sim):
    pool, spent = BudgetPool(1), []
    spenders = [sim.system.spawn(Spender, pool, spent) for _ in range(4)]
    other = sim.system.spawn(Echo)
    requests = [
        ref.request(message) for ref, message in zip(spenders, ["", "crash", "", ""], strict=True)
    ]
    sim.always(lambda: sum(spent) <= 1)

    def disturb():
        other.ask("a moment")
        requests[2].cancel()
        spenders[3].kill()

    sim.thread(disturb).get()
    for request in requests:
        with contextlib.suppress(ValueError, ActorDeadError, RequestCancelled):
            request.get()
    sim.run()
    after = pool.snapshot().get()
    assert after.settled_usd == sum(spent)
    assert after.reserved_usd == 0
    assert after.waiting == 0


def test_a_holder_that_dies_without_a_word_returns_its_lease(sim):
    pool = BudgetPool(1)

    class Holder(Actor):
        def on_receive(self, message):
            if message == "crash":
                raise ValueError
            self.lease = pool.acquire("0.60").get()

    holder = sim.system.spawn(ChildSpec(Holder, restart="temporary"))
    next_one = sim.thread(lambda: pool.acquire("0.60", wait=5).get())
    holder.tell("hold")
    sim.thread(lambda: holder.tell("crash"))
    sim.run()
    lease = next_one.get()
    assert pool.snapshot().get().reserved_usd == Decimal("0.60")
    lease.release()


def test_who_queues_for_money_gets_it_or_hears_that_it_is_too_late_and_never_both(sim):
    pool = BudgetPool(1)

    async def hold():
        async with pool.acquire(1):
            await asyncio.sleep(0.010)

    async def queue():
        try:
            async with pool.acquire(1, wait=0.010) as lease:
                await lease.charge("0.25")
        except BudgetExceeded:
            return Decimal(0)
        return Decimal("0.25")

    async def all_of_them():
        return await asyncio.gather(hold(), queue(), queue())

    _, *spent = sim.run(all_of_them())
    after = pool.snapshot().get()
    assert after.settled_usd == sum(spent)
    assert after.reserved_usd == 0


def test_a_pool_that_is_closed_among_acquires_answers_each_of_them(sim):
    pool = BudgetPool(1)

    def acquire():
        try:
            pool.acquire("0.60", wait=60).get().charge("0.01").get()
        except ActorDeadError:
            return "closed"
        return "spent"

    acquiring = [sim.thread(acquire) for _ in range(3)]
    sim.thread(lambda: pool.close().get())
    assert {acquired.get() for acquired in acquiring} <= {"spent", "closed"}


# -- decision log --------------------------------------------------------------------------------------


def test_each_record_that_was_answered_is_in_the_log_in_its_senders_order(sim, tmp_path):
    path = tmp_path / f"{sim.seed}.jsonl"
    log = DecisionLog(path)

    def record(name):
        return [log.record("step", name=name, number=n).get() for n in range(3)]

    recording = {name: sim.thread(lambda name=name: record(name)) for name in "ab"}
    numbers = {name: future.get() for name, future in recording.items()}
    found = log.query("step").get()
    assert sorted([*numbers["a"], *numbers["b"]]) == [decision.seq for decision in found]
    for name in "ab":
        mine = [d for d in found if d.fields["name"] == name]
        assert [d.seq for d in mine] == numbers[name]
        assert [d.fields["number"] for d in mine] == [0, 1, 2]
    log.close().get()
    assert DecisionLog.verify(path).records == 6


def test_records_that_cross_the_close_are_written_or_refused(sim, tmp_path):
    path = tmp_path / f"{sim.seed}.jsonl"
    log = DecisionLog(path)

    def record():
        try:
            return log.record("step").get()
        except (actors.LogClosed, ActorDeadError):
            return None

    recording = [sim.thread(record) for _ in range(3)]
    sim.thread(lambda: log.close().get())
    written = [seq for future in recording if (seq := future.get()) is not None]
    sim.run()
    assert DecisionLog.verify(path).records == len(written)


# -- bus -----------------------------------------------------------------------------------------------------


def test_an_event_reaches_each_handler_once_whatever_else_goes_on(sim):
    bus = EventBus()
    heard = []

    @bus.on("order:*")
    async def slow(event):
        await asyncio.sleep(0.001)
        heard.append(("slow", event["number"]))
        return "slow"

    @bus.on("order:*")
    def quick(event):
        heard.append(("quick", event["number"]))
        return "quick"

    @bus.on("order:*")
    async def failing(event):
        raise LookupError(event["number"])

    def emit(number):
        with pytest.raises(LookupError):
            bus.emit("order:new", number=number).get()

    emitting = [sim.thread(lambda n=n: emit(n)) for n in range(3)]
    for emitted in emitting:
        emitted.get()
    assert sorted(heard) == sorted((name, n) for name in ("quick", "slow") for n in range(3))


def test_a_handler_for_one_event_hears_one_of_those_that_come_at_once(sim):
    bus = EventBus()
    heard = []
    bus.once("go", lambda event: heard.append(event["number"]))

    def emit(number):
        try:
            bus.emit("go", number=number).get()
        except actors.NoHandler:
            return 0
        return 1

    emitting = [sim.thread(lambda n=n: emit(n)) for n in range(3)]
    assert sum(emitted.get() for emitted in emitting) == len(heard) == 1


# -- tracing -------------------------------------------------------------------------------------------------


def test_spans_close_and_nest_through_actors_that_crash_and_are_cancelled(sim):
    tracer = Tracer()

    class Worker(Actor):
        async def on_receive(self, message):
            with tracer.span("work", kind=message):
                await asyncio.sleep(0.001)
                if message == "crash":
                    raise ValueError

    refs = [sim.system.spawn(Worker) for _ in range(3)]
    other = sim.system.spawn(Echo)

    async def team():
        with tracer.span("team"):
            requests = [
                r.request(m) for r, m in zip(refs, ["crash", "cancel", "fine"], strict=True)
            ]
            await other.request("a moment")
            requests[1].cancel()
            await asyncio.gather(*requests, return_exceptions=True)

    sim.run(team())
    sim.run()
    by_name = tracer.summary().get().by_name
    assert by_name["team"].count == 1
    # One that was cancelled before it was begun has none.
    begun = [event for event in sim.history.of("handle") if event.target in {r.path for r in refs}]
    assert by_name["work"].count == len(begun)


def test_a_run_within_a_simulation_has_its_budget_deadline_and_log(sim, tmp_path):
    log = DecisionLog(tmp_path / f"{sim.seed}.jsonl", fsync="never")

    async def work():
        async with actors.run(budget=1, deadline=0.5, log=log, run_id="r") as context:
            ref = sim.system.spawn(Echo)
            assert await ref.request("in time") == "in time"
            async with context.budget.acquire("0.40") as lease:
                await lease.charge("0.10")
            await log.record("done")
            try:
                async with context.deadline:
                    await asyncio.sleep(1)
            except actors.DeadlineExceeded:
                return sim.clock.now
        return None

    assert sim.run(work()) == pytest.approx(0.5)
    (decision,) = log.query().get()
    assert (decision.decision, decision.run_id) == ("done", "r")


@pytest.mark.simulate(seeds=1)
def test_what_is_imported_late_may_be_read_from_its_file(sim, tmp_path, monkeypatch):
    """Also where pytest does it, which rewrites the asserts of some modules."""
    pytest.register_assert_rewrite("imported_late")
    (tmp_path / "imported_late.py").write_text("assert True\nvalue = 7\n")
    monkeypatch.syspath_prepend(tmp_path)

    async def work():
        import imported_late

        return imported_late.value

    assert sim.run(work()) == 7
