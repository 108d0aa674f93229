from __future__ import annotations

import asyncio
import copy
import functools
import gc
import pickle
import threading
import warnings

import pytest
from loguru import logger

from actors import (
    Actor,
    ActorSystem,
    Deadline,
    DeadlineExceeded,
    InvalidOption,
    NoHandler,
    RequestCancelled,
    current,
)
from actors._context import RUN, RunContext
from actors.services.bus import Event, EventBus


@pytest.fixture
def bus(system):
    with EventBus(system=system) as opened:
        yield opened


@pytest.fixture
async def loop_bus():
    async with ActorSystem() as system, EventBus(system=system) as opened:
        yield opened


# -- subscribing and emitting ----------------------------------------------------------------


def test_the_only_handler_gives_the_value(bus):
    @bus.on("intent:code_review")
    def review(event):
        return f"reviewed {event['file']}"

    assert bus.emit("intent:code_review", file="a.py").get() == "reviewed a.py"
    assert callable(review), "the decorator leaves the function as it is"


async def test_async_handlers_answer_awaiting_emitters(loop_bus):
    @loop_bus.on("double")
    async def double(event):
        await asyncio.sleep(0)
        return event["n"] * 2

    assert await loop_bus.emit("double", n=21) == 42


def test_several_handlers_give_a_list_in_order_of_subscription(bus):
    first_may_end = threading.Event()

    def slow(event):
        first_may_end.wait(10)
        return "slow"

    async def quick(event):
        first_may_end.set()
        return "quick"

    bus.on("x", slow)
    bus.on("*", quick)
    bus.on("x", lambda event: "last")
    assert bus.emit("x").get() == ["slow", "quick", "last"]


def test_nobody_there_is_an_error(bus):
    bus.on("other", print)
    with pytest.raises(NoHandler) as caught:
        bus.emit("intent:unknown").get()
    assert caught.value.topic == "intent:unknown"
    assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("pattern", ["a:b:c", "a.b.c", "a/b/c", "a:*:c", "a:**", "**"])
@pytest.mark.parametrize("topic", ["a:b:c", "a.b/c"])
def test_patterns_and_dividers(bus, pattern, topic):
    bus.on(pattern, lambda event: event.topic)
    assert bus.emit(topic).get() == topic


def test_what_makes_no_sense_is_refused_at_once(bus):
    for call in (
        lambda: bus.on("a::b"),
        lambda: bus.on("a*"),
        lambda: bus.on("a", "handler"),
        lambda: bus.emit("a:*"),
        lambda: bus.publish(""),
        lambda: bus.off(""),
    ):
        with pytest.raises(InvalidOption):
            call()


def test_once_is_once_even_for_emitters_that_race(bus):
    calls = []
    bus.once("x", lambda event: calls.append(event.id))
    futures = [bus.emit("x") for _ in range(20)]
    missed = 0
    for future in futures:
        try:
            future.get()
        except NoHandler:
            missed += 1
    assert (len(calls), missed) == (1, 19)


def test_off_ends_one_handler_or_all(bus):
    def one(event):
        return 1

    def two(event):
        return 2

    for handler in (one, two, two):
        bus.on("x", handler)
    bus.on("*", one)
    assert bus.off("x", one).get() == 1
    assert bus.emit("x").get() == [2, 2, 1]
    assert bus.off("x").get() == 2
    assert bus.off("x").get() == 0
    assert bus.emit("x").get() == 1
    assert bus.off("*", one).get() == 1


class CallMe:
    async def __call__(self, event):
        return "async object"


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: lambda event: "sync", "sync"),
        (CallMe, "async object"),
        (lambda: functools.partial(later, "partial"), "partial"),
        (lambda: lambda event: later("returned", event), "returned"),
    ],
)
def test_every_kind_of_callable_can_handle(bus, make, value):
    bus.on("x", make())
    assert bus.emit("x").get() == value


async def later(value, event):
    await asyncio.sleep(0)
    return value


# -- events ----------------------------------------------------------------------------------


def test_an_event_is_a_mapping_over_its_payload_with_three_facts(system, bus):
    events = []
    bus.on("**", events.append)
    before = system.clock.time()
    bus.emit("a:b", x=1, topic="mine", self="too").get()
    bus.emit("a:c").get()
    first, second = events
    assert dict(first) == {"x": 1, "topic": "mine", "self": "too"}
    assert (first["x"], len(first), "x" in first, first.get("y")) == (1, 3, True, None)
    assert (first.topic, first.id, second.id) == ("a:b", 1, 2)
    assert before <= first.time <= system.clock.time()
    with pytest.raises(TypeError):
        first["x"] = 2


def test_an_event_travels(bus):
    event = Event("a", {"x": [1]}, 7, 1.5)
    for other in (pickle.loads(pickle.dumps(event)), copy.copy(event)):
        assert (other.topic, other.id, other.time, dict(other)) == ("a", 7, 1.5, {"x": [1]})


# -- failures --------------------------------------------------------------------------------


def test_a_failure_reaches_the_emitter_and_no_other_handler(bus):
    finished = []

    def broken(event):
        raise ZeroDivisionError("broken")

    async def fine(event):
        await asyncio.sleep(0)
        finished.append(event.id)

    bus.on("x", broken)
    bus.on("x", fine)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="broken"):
            bus.emit("x").get()
    assert finished == [1, 2]


def test_several_failures_come_as_a_group_in_order(bus):
    def one(event):
        raise ValueError("one")

    async def two(event):
        raise KeyError("two")

    for handler in (one, two, print):
        bus.on("x", handler)
    with pytest.raises(ExceptionGroup) as caught:
        bus.emit("x").get()
    assert [type(e) for e in caught.value.exceptions] == [ValueError, KeyError]


def test_a_handler_that_exits_hurts_nobody_else(bus):
    def leaving(event):
        raise SystemExit(3)

    bus.on("x", leaving)
    bus.on("y", lambda event: "still here")
    with pytest.raises(SystemExit):
        bus.emit("x").get()
    assert bus.emit("y").get() == "still here"


async def test_a_handler_that_is_cancelled_from_within_is_no_silence(loop_bus):
    @loop_bus.on("x")
    async def cancelled(event):
        raise asyncio.CancelledError

    with pytest.raises(RequestCancelled):
        await loop_bus.emit("x")


async def test_cancelling_the_emitter_cancels_the_handlers(loop_bus):
    began, ended = asyncio.Event(), asyncio.Event()

    @loop_bus.on("x")
    async def endless(event):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def emit():
        await loop_bus.emit("x")

    task = asyncio.create_task(emit())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 10)


async def test_the_deadline_of_the_run_ends_a_handler(loop_bus):
    ended = asyncio.Event()

    @loop_bus.on("x")
    async def endless(event):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    token = RUN.set(RunContext("r", deadline=Deadline(0.02)))
    try:
        with pytest.raises(DeadlineExceeded):
            await loop_bus.emit("x")
    finally:
        RUN.reset(token)
    await asyncio.wait_for(ended.wait(), 10)


async def test_handlers_that_were_given_up_leave_no_actor_behind():
    async with ActorSystem() as system, EventBus(system=system) as bus:
        bus.on("x", lambda event: asyncio.Event().wait())
        bus.on("x", later_forever)
        for _ in range(50):
            task = asyncio.create_task(_wait(bus.emit("x")))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        bus.off("x")
        bus.on("x", lambda event: None)
        while system.stats().actors > 2:
            await bus.emit("x")


def test_a_coroutine_nobody_wants_any_more_is_let_go_quietly(system, bus):
    began, go_on = threading.Event(), threading.Event()

    @bus.on("x")
    def handler(event):
        began.set()
        go_on.wait(10)
        return asyncio.sleep(0)

    bus.on("y", lambda event: None)
    future = bus.emit("x")
    assert began.wait(10)
    future.cancel()
    go_on.set()
    while system.stats().actors > 1:
        bus.emit("y").get()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gc.collect()
    assert not seen


async def later_forever(event):
    await asyncio.Event().wait()


async def _wait(future):
    return await future


# -- beside each other -----------------------------------------------------------------------


def test_a_slow_handler_does_not_hold_up_other_emits(bus):
    go_on = threading.Event()
    bus.on("slow", lambda event: go_on.wait(10))
    bus.on("quick", lambda event: "quick")
    slow = bus.emit("slow")
    assert bus.emit("quick").get(timeout=10) == "quick"
    assert not slow.done()
    go_on.set()
    assert slow.get() is True


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_handler_may_emit_on_its_own_bus(bus, kind):
    def sync_countdown(event):
        n = event["n"]
        return n and bus.emit("down", n=n - 1).get() + 1

    async def async_countdown(event):
        n = event["n"]
        return n and await bus.emit("down", n=n - 1) + 1

    bus.on("down", sync_countdown if kind == "sync" else async_countdown)
    assert bus.emit("down", n=25).get(timeout=30) == 25


def test_a_handler_may_subscribe_and_unsubscribe(bus):
    def handler(event):
        bus.off("x").get()
        bus.on("y", lambda event: "new")
        return bus.emit("y").get()

    bus.on("x", handler)
    assert bus.emit("x").get(timeout=10) == "new"


def test_the_run_of_the_emitter_is_the_run_of_the_handlers(bus):
    bus.on("x", lambda event: current().run_id)
    token = RUN.set(RunContext("mine"))
    try:
        assert bus.emit("x").get() == "mine"
    finally:
        RUN.reset(token)


class Emitter(Actor):
    def __init__(self, bus):
        super().__init__()
        self.bus = bus

    def on_receive(self, message):
        return self.bus.emit("x", n=message).get()


def test_actors_emit_from_inside(system, bus):
    bus.on("x", lambda event: event["n"] + 1)
    emitters = [system.spawn(Emitter, bus) for _ in range(10)]
    answers = [emitter.request(n).get(timeout=20) for n, emitter in enumerate(emitters)]
    assert answers == list(range(1, 11))


# -- publishing ------------------------------------------------------------------------------


def test_publish_does_not_wait_and_needs_nobody(bus):
    assert bus.publish("nobody") is None
    go_on, heard = threading.Event(), threading.Event()

    @bus.on("x")
    def slow(event):
        go_on.wait(10)
        heard.set()

    bus.publish("x")
    assert not heard.is_set()
    go_on.set()
    assert heard.wait(10)


def test_a_failure_after_publish_is_logged(bus):
    logged = []
    sink = logger.add(lambda message: logged.append(message.record), level="ERROR")
    logger.enable("actors")
    try:

        def broken(event):
            raise ZeroDivisionError

        bus.on("x", broken)
        bus.on("y", lambda event: 1)
        bus.publish("x")
        while not logged:
            bus.emit("y").get()
    finally:
        logger.disable("actors")
        logger.remove(sink)
    assert "'x'" in logged[0]["message"]
    assert isinstance(logged[0]["exception"].value, ZeroDivisionError)


def test_a_closed_bus_says_so(system):
    from actors import ActorDeadError

    bus = EventBus(system=system)
    bus.close().get()
    with pytest.raises(ActorDeadError):
        bus.emit("x").get()
