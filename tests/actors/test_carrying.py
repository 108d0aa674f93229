"""Context variables: they travel with messages, and what a handler sets stays in it."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import threading
from contextlib import contextmanager

import pytest
from loguru import logger

from actors import (
    Actor,
    ActorSystem,
    Agent,
    ChildSpec,
    EventBus,
    RunContext,
    Supervision,
    carry,
    current,
    current_actor,
    run,
)
from actors._context import RUN
from patterns import Pipeline, Stage

USER = contextvars.ContextVar("user", default="nobody")


@contextmanager
def as_user(name):
    token = USER.set(name)
    yield
    USER.reset(token)


class Call(Actor):
    def on_receive(self, message):
        return message()


class CallOnLoop(Actor):
    """Waits before, between and after, so that its coroutine is suspended and resumed."""

    async def on_receive(self, message):
        await asyncio.sleep(0)
        result = message()
        await asyncio.sleep(0)
        return result


class CallAtOnce(Actor):
    async def on_receive(self, message):
        return message()


class Brief(Call):
    _brief = True


KINDS = [
    ChildSpec(Call),
    ChildSpec(Call, dispatcher="pinned"),
    ChildSpec(CallOnLoop),
    ChildSpec(CallAtOnce),
    ChildSpec(Brief),
]


@pytest.fixture(params=KINDS, ids=["pool", "pinned", "loop", "loop at once", "brief"])
def ref(request, system):
    return system.spawn(request.param)


def told(ref, call):
    """Tell an actor to call something, and return what that returned."""
    arrived, results = threading.Event(), []
    ref.tell(lambda: (results.append(call()), arrived.set()))
    assert arrived.wait(20)
    return results[0]


def who():
    return USER.get()


def set_user(name):
    before = USER.get()
    USER.set(name)
    return before


# -- they travel -------------------------------------------------------------------------------


def test_a_request_takes_the_senders_variables_along(ref):
    with as_user("ada"):
        assert ref.ask(who) == "ada"
        asked = ref.request(who)
    assert asked.get(timeout=20) == "ada"
    assert ref.ask(who) == "nobody"


def test_a_bare_tell_takes_nothing_along_unless_it_is_told_to(ref):
    with as_user("ada"):
        assert told(ref, who) == "nobody"
        with carry():
            assert told(ref, who) == "ada"
            assert told(ref, current) is None
        assert told(ref, who) == "nobody"


def test_in_a_run_what_is_told_takes_the_variables_along(ref):
    with as_user("ada"), run(run_id="r"), carry():
        assert told(ref, who) == "ada"
        assert told(ref, lambda: current().run_id) == "r"


def test_what_is_sent_while_a_message_with_variables_is_handled_takes_them_along(system, ref):
    first, arrived, seen = system.spawn(Call), threading.Semaphore(0), []

    def pass_on():
        ref.tell(lambda: (seen.append(who()), arrived.release()))

    for _ in range(3):  # from the second time on, the asker's thread takes the turn itself
        with as_user("ada"):
            first.ask(pass_on)
        assert arrived.acquire(timeout=20)
    assert seen == ["ada"] * 3


def test_a_tuple_is_a_message_as_any_other(system):
    class Echo(Actor):
        def on_receive(self, message):
            heard.append((message, USER.get()))
            return message

    heard = []
    echo = system.spawn(Echo)
    with as_user("ada"), carry():
        echo.tell((1, None, 2))
        assert echo.ask((3, 4, 5)) == (3, 4, 5)
    assert heard == [((1, None, 2), "ada"), ((3, 4, 5), "ada")]


def test_the_variables_of_many_senders_do_not_mix(ref):
    futures = []
    for n in range(200):
        with as_user(n):
            futures.append(ref.request(who))
        futures.append(ref.request(who))
    expected = [user for n in range(200) for user in (n, "nobody")]
    assert [future.get(timeout=20) for future in futures] == expected


def test_what_is_stashed_keeps_its_variables(system):
    class Stasher(Actor):
        opened = False

        def on_receive(self, message):
            if message == "open":
                self.opened = True
                self.unstash_all()
            elif self.opened:
                return USER.get()
            else:
                self.stash()
            return None

    stasher = system.spawn(Stasher)
    with as_user("ada"):
        asked = stasher.request("who")
    stasher.tell("open")
    assert asked.get(timeout=20) == "ada"


def test_threads_and_tasks_that_a_handler_starts_have_them_too(system):
    class Starts(Actor):
        async def on_receive(self, message):
            return [
                *await asyncio.gather(self.look(), asyncio.create_task(self.look())),
                await asyncio.to_thread(who),
            ]

        async def look(self):
            await asyncio.sleep(0)
            return USER.get(), current_actor() is self.actor_ref

    starts = system.spawn(Starts)
    with as_user("ada"):
        assert starts.ask("go") == [("ada", True), ("ada", True), "ada"]


def test_the_actor_that_handles_is_the_current_one_whoever_sent(system, ref):
    first = system.spawn(Call)
    with as_user("ada"):
        assert ref.ask(current_actor) is ref
        assert first.ask(lambda: (ref.request(current_actor), current_actor()))[1] is first
        assert first.ask(lambda: ref.request(current_actor)).get(timeout=20) is ref
        if ref.actor_class in {Call, Brief}:  # who asks it inside of a handler may run it there
            assert first.ask(lambda: (ref.ask(current_actor), current_actor())) == (ref, first)
    assert current_actor() is None


def test_the_timeout_of_a_request_travels_beside_the_variables(ref):
    token = RUN.set(RunContext("r"))
    with as_user("ada"):
        asked = ref.request(lambda: (who(), current().deadline.remaining()), timeout=5)
    RUN.reset(token)
    user, left = asked.get(timeout=20)
    assert user == "ada"
    assert 0 < left <= 5
    with as_user("ada"):
        assert ref.request(current, timeout=5).get(timeout=20) is None


# -- they stay where they are set --------------------------------------------------------------


def test_what_a_handler_sets_is_not_seen_by_those_who_ask_it(ref):
    with as_user("ada"):
        assert ref.ask(lambda: set_user("the handler's")) == "ada"
        assert who() == "ada"
        ref.request(lambda: set_user("the handler's")).get(timeout=20)
        assert who() == "ada"
    ref.ask(lambda: set_user("the handler's"))
    assert who() == "nobody"


def test_what_a_handler_sets_is_not_seen_by_the_next_messages(system, ref):
    other = system.spawn(ref._cell.spec)
    for _ in range(20):
        assert told(ref, lambda: set_user("the handler's")) == "nobody"
        assert told(other, who) == "nobody"
        assert other.ask(who) == "nobody"
        with as_user("ada"):
            assert ref.ask(lambda: set_user("the handler's")) == "ada"
        assert told(other, who) == "nobody"
        assert other.request(who).get(timeout=20) == "nobody"


@pytest.mark.parametrize("kind", [Call, CallOnLoop, CallAtOnce])
def test_what_the_handler_of_a_request_sets_is_not_seen_within_its_turn_either(system, kind):
    entered, gate = threading.Event(), threading.Event()
    ref = system.spawn(kind)
    ref.tell(lambda: (entered.set(), gate.wait(20)))
    assert entered.wait(20)
    bare = contextvars.Context()
    futures = [bare.run(ref.request, lambda: set_user("a handler's")) for _ in range(9)]
    gate.set()
    assert [future.get(timeout=20) for future in futures] == ["nobody"] * 9


def test_what_a_thread_of_an_asker_runs_for_others_has_no_part_in_its_variables(system):
    entered, gate, seen = threading.Event(), threading.Event(), []
    call = system.spawn(Call)
    call.tell(lambda: (entered.set(), gate.wait(20)))
    assert entered.wait(20)
    call.tell(lambda: seen.append(set_user("a handler's")))
    with as_user("ada"):
        asked = call.request(who)
        gate.set()
        assert asked.get(timeout=20) == "ada"
        assert call.ask(who) == "ada"
    assert seen == ["nobody"]
    assert who() == "nobody"


async def test_on_the_callers_loop_they_travel_and_stay_too():
    class Nested(Actor):
        def __init__(self, following):
            super().__init__()
            self.following = following

        async def on_receive(self, message):
            before = USER.get()
            USER.set(f"{before}+")
            deeper = [] if self.following is None else await self.following.request(message)
            if message == "wait":
                await asyncio.sleep(0)
            return [(before, USER.get()), *deeper]

    async with ActorSystem() as system:
        inner = system.spawn(Nested, None)
        outer = system.spawn(Nested, inner)
        await inner.request("warm up")  # from here on a driver is there to lend time to
        for message in ("at once", "wait") * 3:
            with as_user("ada"):
                assert await outer.request(message) == [("ada", "ada+"), ("ada+", "ada++")]
                assert who() == "ada"
            assert await outer.request(message) == [("nobody", "nobody+"), ("nobody+", "nobody++")]


async def test_drivers_that_a_handler_left_something_with_are_replaced():
    async with ActorSystem() as system:
        refs = [system.spawn(CallAtOnce) for _ in range(20)]
        for _ in range(20):
            assert {await ref.request(lambda: set_user("a handler's")) for ref in refs} == {
                "nobody"
            }
        assert await refs[0].request(who) == "nobody"
        assert system.stats().waiting == 0


def test_cancelling_and_killing_reach_a_handler_that_has_variables_of_its_own(system, eventually):
    ended = []

    class Long(Actor):
        async def on_receive(self, message):
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(USER.get())

    long = system.spawn(Long)
    for end in ("cancel", "kill"):
        entered = threading.Event()
        with as_user(end):
            asked = long.request("work")
        assert entered.wait(20)
        asked.cancel() if end == "cancel" else long.kill()
        eventually(lambda end=end: end in ended)
    assert ended == ["cancel", "kill"]


# -- who relies on them ------------------------------------------------------------------------


@pytest.fixture
def lines():
    written = []
    logger.enable("actors")
    sink = logger.add(lambda m: written.append((m.record["message"], dict(m.record["extra"]))))
    yield written
    logger.remove(sink)
    logger.disable("actors")


def test_what_loguru_is_told_about_a_request_stands_in_the_lines_of_its_handlers(
    system, ref, lines
):
    first = system.spawn(Call)
    with logger.contextualize(request="r-1"):
        first.ask(lambda: ref.request(lambda: logger.info("two actors deep"))).get(timeout=20)
    ref.ask(lambda: logger.info("another"))
    assert ("two actors deep", {"request": "r-1"}) in lines
    assert ("another", {}) in lines


def test_the_failure_of_a_handler_is_logged_with_the_variables_of_its_message(
    ref, lines, eventually
):
    def fail():
        raise ArithmeticError("broken")

    with logger.contextualize(request="r-1"), carry():
        ref.tell(fail)
    eventually(lambda: (f"{ref.path} failed", {"request": "r-1"}) in lines)


def test_decimal_contexts_are_those_of_the_sender(ref):
    """The standard library has variables of its own, which handlers touch without a thought."""
    with decimal.localcontext(prec=3):
        assert ref.ask(lambda: str(decimal.Decimal(1) / 3)) == "0.333"
    for _ in range(10):
        assert told(ref, lambda: len(str(decimal.Decimal(1) / 3))) == 30


async def test_patterns_agents_and_buses_hand_them_on():
    seen = []

    def worker(prompt):
        seen.append(("thread", USER.get()))
        return prompt

    async def async_worker(prompt):
        seen.append(("loop", USER.get()))
        return prompt

    async with ActorSystem(supervision=Supervision(intensity=100)) as system:
        heard = asyncio.Event()
        async with EventBus(system=system) as bus:

            @bus.on("done")
            async def on_done(event):
                seen.append(("bus", USER.get()))
                heard.set()

            team = Pipeline(
                [Stage("one", Agent(worker, concurrency=2)), Stage("two", async_worker)],
                system=system,
            )
            with as_user("ada"):
                result = await team.run("hello")
                bus.publish("done")
            assert result.status == "done", result
            await heard.wait()
    assert seen == [("thread", "ada"), ("loop", "ada"), ("bus", "ada")]


def test_bare_tells_to_one_actor_may_share_what_its_handler_sets_within_a_turn(system, settled):
    """The price of bare tells: a context for each would cost it a tenth."""
    entered, gate, seen = threading.Event(), threading.Event(), []
    call, other = system.spawn(Call), system.spawn(Call)
    call.tell(lambda: (entered.set(), gate.wait(20)))
    assert entered.wait(20)
    for n in range(5):
        call.tell(lambda n=n: seen.append(set_user(n)))
    other.tell(lambda: seen.append(who()))
    gate.set()
    settled(system)
    assert seen == ["nobody", 0, 1, 2, 3, "nobody"]
