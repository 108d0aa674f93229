from __future__ import annotations

import asyncio
import math

import pytest

from actors import Deadline, DeadlineExceeded, InvalidOption


class Manual:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    time = monotonic


@pytest.fixture
def clock():
    return Manual()


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, "1", None, True])
def test_a_deadline_needs_a_finite_number_of_seconds_above_zero(seconds):
    with pytest.raises(InvalidOption, match="deadline"):
        Deadline(seconds)


def test_a_deadline_counts_down_and_then_has_passed(clock):
    deadline = Deadline(5, clock=clock)
    assert deadline.remaining() == 5
    assert not deadline.expired()
    clock.now += 4.5
    assert deadline.remaining() == 0.5
    deadline.check()
    clock.now += 0.5
    assert deadline.expired()
    assert deadline.remaining() == 0
    clock.now += 2
    assert deadline.remaining() == 0, "never below zero"
    with pytest.raises(DeadlineExceeded, match="the report") as caught:
        deadline.check("the report")
    assert caught.value.late_by == 2


def test_never_does_not_come_and_its_timeout_form_is_none():
    never = Deadline.never()
    assert never.remaining() is None
    assert never.when is None
    assert not never.expired()
    never.check()
    assert repr(never) == "Deadline.never()"


def test_tightening_takes_the_earlier(clock):
    five = Deadline(5, clock=clock)
    assert five.tighten(2).when == clock.now + 2
    assert five.tighten(10) is five
    assert five.tighten(None) is five
    assert five.tighten(Deadline.never()) is five
    assert five.tighten(Deadline(3, clock=clock)).when == clock.now + 3
    assert Deadline.never().tighten(five).when == five.when
    with pytest.raises(InvalidOption):
        five.tighten(-1)


def test_a_sync_scope_checks_on_the_way_in_and_out(clock):
    deadline = Deadline(5, clock=clock)
    with deadline as inside:
        assert inside is deadline

    def work():
        with deadline:
            clock.now += 6

    with pytest.raises(DeadlineExceeded):
        work()
    with pytest.raises(DeadlineExceeded), deadline:
        pytest.fail("it has passed already")


def test_a_sync_scope_does_not_hide_the_error_of_the_work(clock):
    deadline = Deadline(5, clock=clock)

    def work():
        with deadline:
            clock.now += 6
            raise KeyError("work")

    with pytest.raises(KeyError):
        work()


async def test_an_async_scope_cancels_the_work_inside():
    cancelled = []
    with pytest.raises(DeadlineExceeded):
        async with Deadline(0.01):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
    assert cancelled == [True]
    assert asyncio.current_task().cancelling() == 0


async def test_an_async_scope_in_time_changes_nothing():
    async with Deadline(1000) as deadline:
        await asyncio.sleep(0)
    async with Deadline.never():
        await asyncio.sleep(0)
    assert not deadline.expired()


async def test_scopes_of_one_deadline_nest_and_are_shared_by_tasks():
    deadline = Deadline(0.02)

    async def work():
        async with deadline, deadline:
            await asyncio.Event().wait()

    outcomes = await asyncio.gather(work(), work(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 2
    assert deadline._scopes == {}


async def test_a_timeout_error_of_the_work_itself_stays_what_it_is():
    with pytest.raises(TimeoutError) as caught:
        async with Deadline(1000):
            raise TimeoutError("inner")
    assert not isinstance(caught.value, DeadlineExceeded)


async def test_a_cancellation_from_outside_is_not_swallowed():
    async def work():
        async with Deadline(1000):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
