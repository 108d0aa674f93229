from __future__ import annotations

import asyncio
import pickle
import threading

import pykka
import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorRef,
    ActorSystem,
    ChildSpec,
    DeadLetter,
    DeadlineExceeded,
    ForeignRef,
    Future,
    InvalidOption,
    RequestCancelled,
    Timeout,
    WouldBlockLoop,
)


class Echo(Actor):
    def on_receive(self, message):
        return message


class EchoOnLoop(Actor):
    async def on_receive(self, message):
        await asyncio.sleep(0)
        return message


class Gated(Actor):
    def __init__(self, entered, gate):
        self.entered, self.gate = entered, gate

    def on_receive(self, message):
        if message == "wait":
            self.entered.set()
            assert self.gate.wait(20)
        return message


@pytest.fixture(params=[Echo, EchoOnLoop])
def echo(request, system):
    return system.spawn(request.param, name="echo")


@pytest.fixture
def gated(system):
    """An actor inside of a handler, and the gate that lets it out."""
    entered, gate = threading.Event(), threading.Event()
    ref = system.spawn(Gated, entered, gate)
    ref.tell("wait")
    assert entered.wait(20)
    yield ref, gate
    gate.set()


MESSAGES = ["text", 1, None, (1, 2), (), ("m", None, None), [1], {"k": 1}, b"bytes", object()]


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_any_object_is_a_message_and_arrives_as_it_is(echo, message):
    assert echo.ask(message) is message
    assert echo.request(message).get(timeout=20) is message


@pytest.mark.parametrize("message", MESSAGES, ids=repr)
def test_any_object_can_be_told(system, message):
    seen = []
    done = threading.Event()

    class Keeper(Actor):
        def on_receive(self, message):
            seen.append(message)
            done.set()

    assert system.spawn(Keeper).tell(message) is None
    assert done.wait(20)
    assert seen[0] is message


async def test_a_request_is_awaited_without_blocking_the_loop(echo):
    assert await echo.request("hello") == "hello"
    assert await asyncio.gather(*(echo.request(n) for n in range(100))) == list(range(100))


async def test_asking_on_a_loop_raises_and_names_the_fix(echo):
    with pytest.raises(WouldBlockLoop, match=r"await ref\.request"):
        echo.ask("hello")
    with pytest.raises(WouldBlockLoop):
        echo.stop()
    assert await echo.ask("hello", block=False) == "hello"
    assert await echo.stop(block=False) is True


def test_a_dead_actor_refuses_tells_and_answers_requests(echo):
    echo.stop()
    with pytest.raises(ActorDeadError):
        echo.tell("late")
    with pytest.raises(ActorDeadError):
        echo.ask("late")
    with pytest.raises(ActorDeadError):
        echo.request("late").get()
    with pytest.raises(pykka.ActorDeadError, match="is dead: watch it"):
        echo.ask("late")
    assert echo.stop() is False
    echo.kill()


def test_a_reference_shows_its_class_and_place(echo):
    assert echo.path == "/echo"
    assert echo.name == "echo"
    assert "/echo" in str(echo)
    assert "/echo" in repr(echo)
    assert isinstance(echo, ActorRef)
    assert isinstance(echo, pykka.ActorRef)


def test_a_reference_cannot_be_pickled(echo):
    with pytest.raises(ForeignRef, match=r"cannot be pickled.*an ActorSystem of its own"):
        pickle.dumps(echo)
    with pytest.raises(TypeError):  # which those who try to pickle anything expect
        pickle.dumps(echo)


def test_two_references_are_equal_only_if_they_mean_the_same_actor(system):
    one, two = system.spawn(Echo, name="one"), system.spawn(Echo)
    assert system.find("/one") == one
    assert one != two
    assert len({one, two, system.find("/one")}) == 2


# -- timeouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_request_must_have_time(echo, timeout):
    with pytest.raises(InvalidOption, match="timeout"):
        echo.request("hello", timeout=timeout)


def test_a_request_in_time_is_answered(echo):
    assert echo.request("hello", timeout=20).get() == "hello"
    assert echo.ask("hello", timeout=20) == "hello"


def test_a_request_whose_time_passed_while_it_waited_is_not_run(system, gated, settled):
    ref, gate = gated
    letters = []
    system.events.subscribe(letters.append, DeadLetter)
    late = ref.request("late", timeout=0.01)
    with pytest.raises(DeadlineExceeded):
        late.get()
    gate.set()
    assert ref.ask("after") == "after"
    assert [(letter.message, letter.kind) for letter in letters] == [("late", "expired")]
    stats = settled(system)
    assert (stats.handled, stats.dead, stats.late_replies) == (2, 1, 0)


def test_an_expired_request_that_nobody_waits_for_is_answered_when_its_turn_comes(gated):
    ref, gate = gated
    passed = threading.Event()
    late = ref.request("late", timeout=0.001)
    ref._cell.system.timers.call_later(0.002, passed.set)
    assert passed.wait(20)
    assert not late.done()
    gate.set()
    assert ref.ask("after") == "after"
    assert isinstance(late.exception(), DeadlineExceeded)
    assert late.exception().late_by > 0


def test_a_callback_hears_of_the_deadline_although_nobody_waits(gated):
    ref, _ = gated
    heard = threading.Event()
    future = ref.request("late", timeout=0.001)
    future.add_done_callback(lambda _: heard.set())
    assert heard.wait(20)
    assert isinstance(future.exception(), DeadlineExceeded)


async def test_a_deadline_ends_an_await(gated):
    ref, _ = gated
    with pytest.raises(DeadlineExceeded):
        await ref.request("late", timeout=0.01)


def test_asking_with_a_timeout_gives_up_as_in_pykka(gated):
    ref, _ = gated
    with pytest.raises(pykka.Timeout):
        ref.ask("late", timeout=0.01)
    with pytest.raises(TimeoutError):
        ref.ask("late", timeout=0)


def test_a_reply_after_the_timeout_is_a_dead_letter_that_says_so(system, settled):
    letters = []
    system.events.subscribe(letters.append, DeadLetter)
    entered, gate = threading.Event(), threading.Event()
    ref = system.spawn(Gated, entered, gate)
    late = ref.request("wait", timeout=0.01)
    assert entered.wait(20)
    with pytest.raises(DeadlineExceeded):
        late.get()
    gate.set()
    ref.ask("after")
    assert letters == [DeadLetter("wait", ref.path, "late_reply")]
    stats = settled(system)
    assert (stats.sent, stats.handled, stats.dead, stats.late_replies) == (2, 2, 0, 1)


def test_giving_up_a_get_does_not_give_up_the_request(system):
    entered, gate = threading.Event(), threading.Event()
    future = system.spawn(Gated, entered, gate).request("wait")
    assert entered.wait(20)
    with pytest.raises(Timeout):
        future.get(timeout=0.001)
    gate.set()
    assert future.get(timeout=20) == "wait"


# -- cancelling ----------------------------------------------------------------------------------


def test_a_cancelled_request_that_waits_is_not_run(system, gated, settled):
    ref, gate = gated
    letters = []
    system.events.subscribe(letters.append, DeadLetter)
    future = ref.request("cancelled")
    assert future.cancel()
    gate.set()
    ref.ask("after")
    assert [(letter.message, letter.kind) for letter in letters] == [("cancelled", "cancelled")]
    settled(system)


class Sleeper(Actor):
    def __init__(self, notes):
        self.notes = notes

    async def on_receive(self, message):
        if message != "sleep":
            return self.notes[:]
        self.notes.append("entered")
        try:
            await asyncio.Event().wait()
        finally:
            self.notes.append("finally")


async def test_cancelling_a_request_cancels_the_async_handler_and_not_the_actor(system, notes):
    ref = system.spawn(Sleeper, notes)
    future = ref.request("sleep")
    await asyncio.to_thread(notes.wait_for, "entered")
    assert future.cancel()
    assert await ref.request("log") == ["entered", "finally"]
    with pytest.raises(RequestCancelled):
        await future
    assert system.tree().children[0].restarts == 0


async def test_the_deadline_of_a_request_cancels_the_async_handler(system, notes):
    ref = system.spawn(Sleeper, notes)
    await ref.request("log")  # so that it is entered long before the deadline
    with pytest.raises(DeadlineExceeded):
        await ref.request("sleep", timeout=0.1)
    assert await ref.request("log") == ["entered", "finally"]


async def test_cancelling_the_task_that_awaits_a_request_cancels_the_handler(notes):
    async with ActorSystem() as system:
        ref = system.spawn(Sleeper, notes)

        async def read():
            await ref.request("sleep")

        task = asyncio.create_task(read())
        await asyncio.to_thread(notes.wait_for, "entered")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ref.request("log") == ["entered", "finally"]


async def test_a_cancelled_request_does_not_make_the_next_handler_look_cancelled(notes):
    class Grouped(Sleeper):
        async def on_receive(self, message):
            if message == "sleep":
                return await super().on_receive(message)

            async def fail():
                raise KeyError(message)

            looks_cancelled = asyncio.current_task().cancelling()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail())
                    await asyncio.Event().wait()
            except* KeyError:
                pass
            return looks_cancelled

    async with ActorSystem() as system:
        ref = system.spawn(Grouped, notes)
        future = ref.request("sleep")
        await asyncio.to_thread(notes.wait_for, "entered")
        after = ref.request("group")  # in the same turn
        future.cancel()
        assert await after == 0


async def test_cancelling_too_late_does_not_hit_the_next_message():
    async with ActorSystem() as system:
        ref = system.spawn(EchoOnLoop)
        for n in range(200):
            first, second = ref.request(n), ref.request(-n)
            await asyncio.sleep(0)
            if n % 2:
                await asyncio.sleep(0)
            first.cancel()
            assert await second == -n


# -- asking inline ---------------------------------------------------------------------------------


def test_an_asker_is_not_held_up_by_what_is_handled_after_its_own_message(system):
    """Its thread may run the turn itself; what comes next must not keep it."""
    entered, gate = threading.Event(), threading.Event()
    behind = []

    class Answers(Actor):
        def on_receive(self, message):
            if message == "first":
                # Somebody else's message comes in, behind the one being handled.
                behind.append(self.actor_ref.request("blocks"))
                return "answer"
            entered.set()
            assert gate.wait(20), "the asker never came to open the gate"
            return "opened"

    ref = system.spawn(Answers)
    assert ref.ask("first") == "answer"
    assert entered.wait(20)
    gate.set()
    assert behind[0].get(timeout=20) == "opened"


def test_a_future_of_pykka_put_into_the_inbox_by_hand_is_answered(system):
    from pykka._envelope import Envelope

    ref = system.spawn(Echo)
    for future in (Future(), pykka.ThreadingFuture()):
        ref.actor_inbox.put(Envelope("by hand", reply_to=future))
        assert future.get(timeout=20) == "by hand"


def test_a_stop_with_a_timeout_goes_on_after_it(gated):
    ref, gate = gated
    with pytest.raises(Timeout):
        ref.stop(timeout=0.01)
    gate.set()
    ref.stop()
    assert not ref.is_alive()


def test_an_event_tells_that_an_actor_is_dead(echo):
    stopped = echo.actor_stopped
    assert not stopped.is_set()
    echo.stop()
    assert stopped.wait(20)
    assert echo.actor_stopped.is_set()


def test_a_spec_and_its_reference_name_the_same_system(system):
    assert system.spawn(ChildSpec(Echo)).system is system
