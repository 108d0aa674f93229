from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorSystem,
    BudgetExceeded,
    CallboardError,
    Deadline,
    DeadlineExceeded,
    InvalidOption,
    current,
)
from actors.services.budget import BudgetPool, Lease
from actors.services.decisions import DecisionLog
from actors.services.run import run
from actors.services.tracing import Tracer


def test_a_run_is_current_inside_its_scope_only(system):
    with run(run_id="seven", system=system) as r:
        assert current() is r
        assert r.run_id == "seven"
    assert current() is None


async def test_a_run_is_a_scope_for_async_code_too():
    async with ActorSystem() as system:
        async with run(budget=1, deadline=5, system=system) as r:
            assert current() is r
            async with r.budget.acquire(1):
                pass
        assert current() is None


def test_runs_without_a_name_get_one_each(system):
    with run(system=system) as one:
        pass
    with run(system=system) as two:
        pass
    assert one.run_id != two.run_id
    assert len(one.run_id) == 32


def test_a_number_makes_a_pool_that_ends_with_the_run(system):
    with run(budget="0.5", system=system) as r:
        pool = r.budget
        assert isinstance(pool, BudgetPool)
        with pool.acquire(0.5), pytest.raises(BudgetExceeded):
            pool.acquire(0.1).get()
    pool.close().get()
    with pytest.raises(ActorDeadError):
        pool.snapshot().get()


def test_a_number_inside_a_run_is_a_lease_on_its_budget(system):
    with run(budget=1, system=system) as outer:
        with run(budget=0.4) as inner:
            assert isinstance(inner.budget, Lease)
            assert inner.run_id == outer.run_id
            assert outer.budget.snapshot().get().reserved_usd == Decimal("0.4")
            inner.budget.charge(0.1).get()
            with run(budget=0.2) as innermost:
                assert inner.budget.snapshot().get().reserved_usd == Decimal("0.2")
                assert isinstance(innermost.budget, Lease)
            with pytest.raises(BudgetExceeded), run(budget=0.35):
                pass
            assert current() is inner
        after = outer.budget.snapshot().get()
        assert (after.settled_usd, after.reserved_usd) == (Decimal("0.1"), 0)


async def test_a_lease_of_an_inner_run_comes_back_when_it_is_cancelled():
    async with ActorSystem() as system, run(budget=1, system=system) as outer:
        entered = asyncio.Event()

        async def inner():
            async with run(budget=0.4):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(inner())
        await entered.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await outer.budget.snapshot()).reserved_usd == 0
        assert current() is outer


def test_a_pool_or_a_lease_is_used_as_it_is_and_stays_open(system):
    with BudgetPool(usd=1, system=system) as pool:
        with run(budget=pool, system=system) as r:
            assert r.budget is pool
        with pool.acquire(0.5) as lease, run(budget=lease) as r:
            assert r.budget is lease
        assert pool.snapshot().get().free_usd == 1


def test_what_is_not_given_is_that_of_the_run_around_it(system, tmp_path):
    journal = object()
    with (
        DecisionLog(tmp_path / "log", system=system) as log,
        Tracer(system=system) as tracer,
        run(budget=1, deadline=9, log=log, tracer=tracer, journal=journal, system=system) as outer,
        run(run_id="inner") as inner,
    ):
        assert inner.run_id == "inner"
        assert inner.log is log
        assert inner.tracer is tracer
        assert inner.journal is journal
        assert inner.budget is outer.budget
        assert inner.deadline is outer.deadline


def test_a_deadline_only_gets_earlier(system):
    with run(deadline=60, system=system) as outer:
        with run(deadline=3600) as inner:
            assert inner.deadline.when == outer.deadline.when
        with run(deadline=Deadline.never()) as inner:
            assert inner.deadline.when == outer.deadline.when
        with run(deadline=1) as inner:
            assert inner.deadline.when < outer.deadline.when
            assert 0 < inner.deadline.remaining() <= 1


class Patient(Actor):
    async def on_receive(self, message):
        await asyncio.Event().wait()


class Curious(Actor):
    def on_receive(self, message):
        return current()


def test_the_run_goes_along_with_every_request(system):
    asked = system.spawn(Curious)
    with run(run_id="mine", budget=1, system=system) as r:
        assert asked.request("?").get() == r
    assert asked.request("?").get() is None


def test_the_deadline_of_a_run_ends_what_is_asked_in_it(system):
    patient = system.spawn(Patient)
    with run(deadline=0.02, system=system), pytest.raises(DeadlineExceeded):
        patient.request("wait").get()


def test_a_failure_inside_passes_and_ends_the_run(system):
    with pytest.raises(ZeroDivisionError), run(budget=1, system=system) as r:
        _ = 1 / 0
    assert current() is None
    r.budget.close().get()
    with pytest.raises(ActorDeadError):
        r.budget.acquire(1).get()


def test_a_run_is_entered_once(system):
    scope = run(system=system)
    with scope:
        pass
    with pytest.raises(CallboardError), scope:
        pass


@pytest.mark.parametrize(
    "options",
    [
        {"budget": -1},
        {"budget": True},
        {"budget": float("nan")},
        {"budget": object()},
        {"budget": []},
        {"deadline": 0},
        {"deadline": -1},
        {"deadline": float("inf")},
        {"deadline": "soon"},
        {"deadline": True},
        {"log": "decisions.jsonl"},
        {"tracer": "spans.jsonl"},
        {"journal": "journal.db"},
        {"run_id": ""},
        {"run_id": 7},
    ],
)
def test_options_that_make_no_sense_are_refused_when_they_are_given(options):
    with pytest.raises(InvalidOption) as caught:
        run(**options)
    assert caught.value.option in options
