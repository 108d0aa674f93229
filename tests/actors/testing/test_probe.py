"""Probes: what they take, in which order, and how they say what is missing."""

from __future__ import annotations

import asyncio
import threading

import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorSystem,
    AlreadySet,
    InvalidOption,
    NoReplyExpected,
    Terminated,
    WouldBlockLoop,
)
from actors.testing import ExpectationFailed, TestProbe


class Forward(Actor):
    def __init__(self, to):
        super().__init__()
        self.to = to

    def on_receive(self, message):
        self.to.tell(message)


class Asks(Actor):
    async def on_receive(self, ref):
        try:
            return await ref.request("how much?")
        except ValueError as error:
            return f"failed: {error}"


@pytest.fixture
def probe(system):
    return TestProbe(system, "probe")


def test_a_probe_takes_messages_in_the_order_they_arrived(system, probe):
    forward = system.spawn(Forward, probe.ref)
    for number in range(100):
        probe.send(forward, number)
    assert [probe.expect(number) for number in range(100)] == list(range(100))
    probe.expect_none(within=0.0)


def test_expect_returns_the_message_that_fulfils_a_predicate(probe):
    probe.ref.tell({"kind": "done"})
    assert probe.expect(lambda message: message["kind"] == "done") == {"kind": "done"}


def test_expect_type_takes_subclasses_and_refuses_others(probe):
    probe.ref.tell(True)
    assert probe.expect_type(int) is True
    probe.ref.tell("text")
    with pytest.raises(ExpectationFailed, match="expected a int"):
        probe.expect_type(int)


def test_a_class_as_expected_message_is_refused_with_the_fix(probe):
    with pytest.raises(InvalidOption, match="expect_type"):
        probe.expect(int)


def test_a_failed_expectation_tells_what_was_expected_what_came_and_what_waits(probe, eventually):
    for message in ("first", "wrong", "next", "last"):
        probe.ref.tell(message)
    probe.expect("first")
    eventually(lambda: len(probe._expectations.queue.waiting()) == 3, "all have come")
    with pytest.raises(ExpectationFailed) as caught:
        probe.expect("right")
    error = caught.value
    assert (error.expected, error.received, error.waiting, error.before) == (
        "'right'",
        ("wrong",),
        ("next", "last"),
        ("first",),
    )
    assert str(error).splitlines() == [
        "/probe expected 'right'",
        "received:",
        "  1. 'wrong'",
        "still in the queue:",
        "  1. 'next'",
        "  2. 'last'",
        "taken before:",
        "  1. 'first'",
    ]
    assert isinstance(error, AssertionError)
    assert probe.expect("next") == "next", "what was looked at is taken"


def test_nothing_in_time_fails_and_what_comes_later_is_not_lost(probe, eventually):
    with pytest.raises(ExpectationFailed, match=r"'late' within 0.01 s\nreceived:\n  nothing"):
        probe.expect("late", timeout=0.01)
    probe.ref.tell("late")
    eventually(lambda: probe._expectations.queue.waiting() == ["late"], "it has come")
    assert probe.expect("late") == "late"


def test_expect_none_fails_with_the_message_that_came(probe):
    probe.ref.tell("noise")
    with pytest.raises(ExpectationFailed, match="no message within 5 s") as caught:
        probe.expect_none(within=5)
    assert caught.value.received == ("noise",)


def test_receive_until_returns_all_messages_up_to_the_one(probe):
    for number in range(5):
        probe.ref.tell(number)
    assert probe.receive_until(lambda number: number == 3) == [0, 1, 2, 3]
    assert probe.expect(4) == 4


def test_receive_until_counts_its_time_once_for_all_messages(probe):
    def never(_):
        return False

    stop = threading.Event()

    def chatter():
        while not stop.wait(0.005):
            probe.ref.tell("tick")

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        with pytest.raises(ExpectationFailed, match="never") as caught:
            probe.receive_until(never, timeout=0.1)
    finally:
        stop.set()
        thread.join()
    assert set(caught.value.received) == {"tick"}


def test_a_probe_answers_the_request_it_took_last(system, probe):
    asks = system.spawn(Asks)
    answer = asks.request(probe.ref)
    probe.expect("how much?")
    probe.reply(42)
    assert answer.get(timeout=20) == 42
    with pytest.raises(AlreadySet):
        probe.reply(43)


def test_a_probe_answers_with_an_error(system, probe):
    answer = system.spawn(Asks).request(probe.ref)
    probe.expect("how much?")
    probe.reply_error(ValueError("sold out"))
    assert answer.get(timeout=20) == "failed: sold out"


def test_there_is_nothing_to_answer_before_a_request_was_taken(probe):
    with pytest.raises(NoReplyExpected, match="nothing was taken"):
        probe.reply(1)
    probe.ref.tell("told")
    probe.expect("told")
    with pytest.raises(NoReplyExpected, match="told, not requested"):
        probe.reply(1)


def test_a_watched_actor_is_expected_to_end(system, probe):
    watched = system.spawn(Actor)
    probe.watch(watched)
    watched.stop()
    ended = probe.expect_terminated(watched)
    assert ended == Terminated(watched, "stopped")


def test_the_end_of_another_actor_is_not_the_expected_one(system, probe):
    one, other = system.spawn(Actor, name="one"), system.spawn(Actor, name="other")
    one.stop()
    probe.watch(one)
    with pytest.raises(ExpectationFailed, match="expected the end of /other"):
        probe.expect_terminated(other)


def test_a_stopped_probe_is_dead_to_its_senders(system, probe):
    watcher = TestProbe(system)
    watcher.watch(probe.ref)
    probe.stop()
    watcher.expect_terminated(probe.ref)
    with pytest.raises(ActorDeadError):
        watcher.send(probe.ref, "anybody there?")


async def test_blocking_on_a_loop_is_refused_with_what_to_write_instead_even_if_a_message_waits():
    async with ActorSystem() as system:
        probe = TestProbe(system)
        probe.ref.tell("here")
        with pytest.raises(WouldBlockLoop, match=r"await probe.aio.expect"):
            probe.expect("here")
        assert await probe.aio.expect("here") == "here", "it was not lost"


async def test_the_same_expectations_can_be_awaited():
    async with ActorSystem() as system:
        probe = TestProbe(system)
        for message in (1, "two", 3.0):
            probe.ref.tell(message)
        assert await probe.aio.expect(1) == 1
        assert await probe.aio.expect_type(str) == "two"
        assert await probe.aio.receive_until(lambda message: message == 3.0) == [3.0]
        await probe.aio.expect_none(within=0.0)
        watched = system.spawn(Actor)
        probe.watch(watched)
        watched.stop(block=False)
        assert (await probe.aio.expect_terminated(watched)).reason == "stopped"
        with pytest.raises(ExpectationFailed, match=r"within 0\.01 s"):
            await probe.aio.expect("nothing", timeout=0.01)


async def test_a_cancelled_expectation_takes_no_message(eventually):
    async with ActorSystem() as system:
        probe = TestProbe(system)
        waiting = asyncio.ensure_future(probe.aio.expect("one", timeout=30))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        probe.ref.tell("one")
        eventually(lambda: probe._expectations.queue.waiting() == ["one"], "it has come")
        assert await probe.aio.expect("one") == "one"


def test_pytest_does_not_take_a_probe_for_a_test():
    assert TestProbe.__test__ is False
