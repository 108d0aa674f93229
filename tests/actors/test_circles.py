"""Circles in which somebody waits on an actor's behalf, for an end, or far too deep."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import textwrap
import threading
from queue import SimpleQueue

import pytest

import actors
from actors import (
    Actor,
    ActorDeadError,
    ActorSystem,
    Bounded,
    ChildSpec,
    Deadline,
    DeadlineExceeded,
    FinalizerWaits,
    SlowHandler,
    Supervision,
    Timeout,
    TooManyWaiting,
    WouldDeadlock,
    run,
)

TOLERANT = Supervision(intensity=1000)
SECONDS = 20
"""After which a test counts as hung."""


# -- tasks and threads that wait on an actor's behalf --------------------------------------------


async def gathers(ref, message, bystander):
    return await asyncio.gather(bystander.request(("bystander", ())), ref.request(message))


async def plainly(ref, message, _):
    return await ref.request(message)


async def gathers_in_a_gather(ref, message, bystander):
    both = asyncio.gather(bystander.request(("bystander", ())), ref.request(message))
    return await asyncio.gather(both, asyncio.sleep(0))


async def waits_with_a_limit(ref, message, _):
    return await asyncio.wait_for(ref.request(message), SECONDS)


async def waits_for_all(ref, message, bystander):
    tasks = {asyncio.ensure_future(r) for r in (bystander.request(("", ())), ref.request(message))}
    done, _ = await asyncio.wait(tasks)
    return [task.result() for task in done]


async def waits_for_the_first_of_one(ref, message, _):
    done, _ = await asyncio.wait(
        [asyncio.ensure_future(ref.request(message))], return_when=asyncio.FIRST_COMPLETED
    )
    return done.pop().result()


async def groups(ref, message, bystander):
    async def ask(whom, what):
        return await whom.request(what)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(bystander, ("bystander", ())))
            task = group.create_task(ask(ref, message))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return task.result()


async def starts_a_task(ref, message, bystander):
    async def ask():
        return await ref.request(message)

    task = asyncio.create_task(ask())
    await bystander.request(("bystander", ()))
    return await task


async def starts_a_task_that_starts_one(ref, message, bystander):
    return await asyncio.create_task(starts_a_task(ref, message, bystander))


async def starts_a_task_that_asks_later(ref, message, bystander):
    async def ask():
        for _ in range(50):
            await bystander.request(("bystander", ()))
        return await asyncio.create_task(starts_a_task(ref, message, bystander))

    return await asyncio.gather(ask())


async def sends_a_thread(ref, message, _):
    return await asyncio.to_thread(ref.ask, message)


async def sends_a_thread_with_a_request(ref, message, _):
    return await asyncio.to_thread(lambda: ref.request(message).get())


async def gathers_threads(ref, message, bystander):
    return await asyncio.gather(
        asyncio.to_thread(ref.ask, message), asyncio.to_thread(bystander.ask, ("", ()))
    )


WAYS = [
    gathers,
    gathers_in_a_gather,
    waits_with_a_limit,
    waits_for_all,
    waits_for_the_first_of_one,
    groups,
    starts_a_task,
    starts_a_task_that_starts_one,
    starts_a_task_that_asks_later,
    sends_a_thread,
    sends_a_thread_with_a_request,
    gathers_threads,
]


class Asking(Actor):
    def __init__(self, way, bystander):
        super().__init__()
        self.way = way
        self.bystander = bystander

    async def on_receive(self, message):
        _, path = message
        if not path:
            return "the end"
        return await self.way(path[0], ("", path[1:]), self.bystander)


class SyncAsking(Actor):
    def on_receive(self, message):
        _, path = message
        return path[0].ask(("", path[1:])) if path else "the end"


def named(way):
    return way.__name__


@pytest.mark.parametrize("others", ["alone", "alike", "plain", "sync"])
@pytest.mark.parametrize("way", WAYS, ids=named)
def test_a_circle_through_whoever_waits_for_an_actor_is_found(way, others):
    with ActorSystem() as system:
        bystander = system.spawn(SyncAsking)
        ring = [system.spawn(Asking, way, bystander, name="first")]
        if others == "alike":
            ring += [system.spawn(Asking, way, bystander) for _ in range(2)]
        elif others == "plain":
            ring.append(system.spawn(Asking, plainly, bystander))
        elif others == "sync":
            ring.append(system.spawn(SyncAsking))
        with pytest.raises(WouldDeadlock) as caught:
            ring[0].request(("", (*ring[1:], ring[0]))).get(timeout=SECONDS)
        found = caught.value.actors
        assert found[0] == found[-1]
        assert set(found) == {ref.path for ref in ring}
        # Everybody is free again, and a way that is no circle stays open.
        for ref in ring:
            assert ref.request(("", ())).get(timeout=SECONDS) == "the end"
        assert "the end" in str(ring[0].request(("", (bystander,))).get(timeout=SECONDS))


@pytest.mark.parametrize("way", WAYS, ids=named)
async def test_such_a_circle_is_found_on_the_callers_loop_too(way):
    async with ActorSystem() as system, asyncio.timeout(SECONDS):
        bystander = system.spawn(SyncAsking)
        first, second = (system.spawn(Asking, way, bystander) for _ in range(2))
        with pytest.raises(WouldDeadlock):
            await first.request(("", (second, first)))
        assert "the end" in str(await first.request(("", (second,))))


async def leaves_it_behind(actor, ask):
    actor.left = asyncio.create_task(ask())
    await asyncio.sleep(0.1)


async def takes_the_first(actor, ask):
    actor.left = asyncio.create_task(ask())
    await asyncio.wait(
        {actor.left, asyncio.create_task(asyncio.sleep(0.1))},
        return_when=asyncio.FIRST_COMPLETED,
    )


async def takes_the_first_failure(actor, ask):
    async def fail():
        await asyncio.sleep(0.1)
        raise LookupError

    actor.left = asyncio.create_task(ask())
    failing = asyncio.create_task(fail())
    await asyncio.wait({actor.left, failing}, return_when=asyncio.FIRST_EXCEPTION)
    assert isinstance(failing.exception(), LookupError)


async def looks_again(actor, ask):
    actor.left = asyncio.create_task(ask())
    await asyncio.wait({actor.left}, timeout=0.1)


async def gives_up_without_ending_it(actor, ask):
    actor.left = asyncio.create_task(ask())
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(actor.left), 0.1)


async def sends_a_thread_and_leaves(actor, ask):
    actor.left = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(ask())))
    await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    "way",
    [
        leaves_it_behind,
        takes_the_first,
        takes_the_first_failure,
        looks_again,
        gives_up_without_ending_it,
        sends_a_thread_and_leaves,
    ],
    ids=named,
)
async def test_what_a_handler_does_not_need_is_no_circle(way):
    class Leaving(Actor):
        async def on_receive(self, message):
            if message == "start":
                await way(self, lambda: ask(self.actor_ref))
                return "left"
            return await self.left if message == "result" else message

    async def ask(ref):
        return await ref.request("hello")

    async with ActorSystem() as system, asyncio.timeout(SECONDS):
        ref = system.spawn(Leaving)
        assert await ref.request("start") == "left"
        assert await ref.request("result") == "hello"


async def test_ten_thousand_gathered_requests_to_a_busy_actor_take_few_looks():
    class Busy(Actor):
        def __init__(self):
            super().__init__()
            self.gate = asyncio.Event()

        async def on_receive(self, message):
            if message == "hold":
                await asyncio.gather(self.gate.wait())
            return 1

    class Many(Actor):
        async def on_receive(self, ref):
            return sum(await asyncio.gather(*(ref.request(n) for n in range(10_000))))

    async with ActorSystem() as system, asyncio.timeout(SECONDS):
        busy = system.spawn(Busy)
        busy.tell("hold")
        answer = system.spawn(Many).request(busy)
        waiting = asyncio.ensure_future(answer)
        await asyncio.sleep(0.2)
        busy._cell.instance.gate.set()
        assert await waiting == 10_000


def test_a_thread_that_fills_a_mailbox_for_an_actor_closes_a_circle_too():
    class Own(Actor):
        mailbox = Bounded(2, "block")

        async def on_receive(self, message):
            if message == "fill":
                await asyncio.to_thread(self.fill)

        def fill(self):
            for n in range(5):
                self.actor_ref.tell(n)

    with ActorSystem() as system:
        ref = system.spawn(Own, name="own")
        with pytest.raises(WouldDeadlock, match="/own waits for /own"):
            ref.request("fill").get(timeout=SECONDS)
        assert ref.request("hello").get(timeout=SECONDS) is None


def test_the_watchdog_tells_whom_a_task_of_a_handler_waits_for():
    reports = []
    reported = threading.Event()

    class Waits(Actor):
        async def on_receive(self, ref):
            first = asyncio.ensure_future(ref.request("hold"))
            gate = asyncio.Event()
            first.add_done_callback(lambda _: gate.set())
            await gate.wait()
            return await first

    class Holds(Actor):
        def on_receive(self, message):
            reported.wait(SECONDS)
            return message

    def report(event):
        if event.path == "/waits":
            reports.append(event)
            reported.set()

    with ActorSystem(watchdog=0.05) as system:
        system.events.subscribe(report, SlowHandler)
        held = system.spawn(Holds, name="held")
        assert system.spawn(Waits, name="waits").request(held).get(timeout=SECONDS) == "hold"
    assert reports[0].waits_for == "/held"


# -- starts in order -----------------------------------------------------------------------------


def asks_at_start(ref):
    return ref.ask("hello")


async def requests_at_start(ref):
    return await ref.request("hello")


async def gathers_at_start(ref):
    return await asyncio.gather(ref.request("hello"))


class Starting(Actor):
    """Asks in its `on_start` who is sent through the box, and sends what came of it."""

    def __init__(self, way, refs, outcomes):
        super().__init__()
        self.ask = lambda: way(refs.get(timeout=SECONDS))
        self.outcomes = outcomes

    def on_start(self):
        try:
            self.outcomes.put(self.ask())
        except WouldDeadlock as error:
            self.outcomes.put(error)


class AsyncStarting(Starting):
    async def on_start(self):
        try:
            self.outcomes.put(await self.ask())
        except WouldDeadlock as error:
            self.outcomes.put(error)


class StartingBelow(Actor):
    def __init__(self, spec):
        super().__init__()
        self.spec = spec

    def on_start(self):
        self.spawn_in_order(self.spec)


@pytest.mark.parametrize("below", [False, True], ids=["itself", "below"])
@pytest.mark.parametrize("way", [asks_at_start, requests_at_start, gathers_at_start], ids=named)
def test_one_that_waits_in_on_start_for_who_starts_after_it_gets_the_error(way, below):
    refs, outcomes = SimpleQueue(), SimpleQueue()
    kind = Starting if way is asks_at_start else AsyncStarting
    first = ChildSpec(kind, (way, refs, outcomes), name="first")
    if below:
        first = ChildSpec(StartingBelow, (first,), name="above")
    with ActorSystem() as system:
        _, _, last = system.spawn_in_order(
            first, ChildSpec(Obeying, name="second"), ChildSpec(Obeying, name="last")
        )
        refs.put(last)
        error = outcomes.get(timeout=SECONDS)
        assert isinstance(error, WouldDeadlock)
        path = "/above/first" if below else "/first"
        assert error.actors[0] == error.actors[-1] == path
        assert "/last" in error.actors
        assert "who starts after it" in str(error)
        # Having been told, it starts, and the others after it.
        assert last.request("hello").get(timeout=SECONDS) == "hello"


def test_one_whose_children_start_in_order_waits_in_vain_for_who_starts_after_it():
    gate = threading.Event()

    class Held(Actor):
        def on_start(self):
            gate.wait(SECONDS)

    with ActorSystem() as system:
        first, last = system.spawn_in_order(
            ChildSpec(AboveHeld, (Held,), name="first"), ChildSpec(Obeying, name="last")
        )
        answer = first.request(last)
        with pytest.raises(WouldDeadlock, match="/first waits for /last, which waits for /first"):
            answer.get(timeout=SECONDS)
        gate.set()
        assert last.request("hello").get(timeout=SECONDS) == "hello"


class AboveHeld(Actor):
    def __init__(self, held):
        super().__init__()
        self.held = held

    def on_start(self):
        self.spawn_in_order(self.held)

    def on_receive(self, ref):
        return ref.ask("hello")


def test_one_may_wait_in_on_start_for_who_started_before_it():
    refs, outcomes = SimpleQueue(), SimpleQueue()
    with ActorSystem() as system:
        first, _ = system.spawn_in_order(
            Obeying, ChildSpec(Starting, (asks_at_start, refs, outcomes))
        )
        refs.put(first)
        assert outcomes.get(timeout=SECONDS) == "hello"


# -- time limits ---------------------------------------------------------------------------------

SHORT = 0.15
"""Seconds after which one gives up, in earnest."""


def asks_until(ref, message):
    return ref.ask(message, timeout=SHORT)


def requests_until(ref, message):
    return ref.request(message, timeout=SHORT).get()


def gets_until(ref, message):
    return ref.request(message).map(str).get(timeout=SHORT)


async def awaits_until(ref, message):
    return await ref.request(message, timeout=SHORT)


async def awaits_in_a_scope(ref, message):
    async with asyncio.timeout(SHORT):
        return await ref.request(message)


async def awaits_in_a_scope_of_ours(ref, message):
    async with Deadline(SHORT):
        return await ref.request(message)


async def gathers_in_a_scope(ref, message):
    async with asyncio.timeout(SHORT):
        return await asyncio.gather(ref.request(message))


async def awaits_for_a_while(ref, message):
    return await asyncio.wait_for(ref.request(message), SHORT)


async def gathers_for_a_while(ref, message):
    return await asyncio.wait_for(asyncio.gather(ref.request(message)), SHORT)


async def sends_a_thread_for_a_while(ref, message):
    return await asyncio.to_thread(ref.ask, message, timeout=SHORT)


async def is_ended_by_a_timer(ref, message):
    waiting = asyncio.ensure_future(ref.request(message))
    asyncio.get_running_loop().call_later(SHORT, waiting.cancel)
    try:
        return await waiting
    except asyncio.CancelledError:
        raise TimeoutError from None


LIMITED = [
    asks_until,
    requests_until,
    gets_until,
    awaits_until,
    awaits_in_a_scope,
    awaits_in_a_scope_of_ours,
    gathers_in_a_scope,
    awaits_for_a_while,
    gathers_for_a_while,
    sends_a_thread_for_a_while,
    is_ended_by_a_timer,
]


class GivesUp(Actor):
    def on_receive(self, message):
        if message == "echo":
            return message
        try:
            return message[0](message[1], self.actor_ref)
        except (Timeout, DeadlineExceeded):
            return "given up"


class GivesUpAsync(Actor):
    async def on_receive(self, message):
        if message == "echo":
            return message
        try:
            return await message[0](message[1], self.actor_ref)
        except TimeoutError:
            return "given up"


class Patient(Actor):
    """Asks whom it is sent, and keeps what came of it."""

    seconds = None

    def __init__(self):
        super().__init__()
        self.outcome = None

    def on_receive(self, ref):
        if ref == "outcome":
            return self.outcome
        try:
            self.outcome = ref.ask("echo", timeout=self.seconds)
        except WouldDeadlock as error:
            self.outcome = error
        return None


class PatientForAMinute(Patient):
    seconds = 60


class PatientAsync(Patient):
    async def on_receive(self, ref):
        if ref == "outcome":
            return self.outcome
        try:
            (self.outcome,) = await asyncio.gather(ref.request("echo"))
        except WouldDeadlock as error:
            self.outcome = error
        return None


@pytest.mark.parametrize("kind", [Patient, PatientForAMinute, PatientAsync])
@pytest.mark.parametrize("way", LIMITED, ids=named)
def test_who_gives_up_before_the_others_answers_them_then(way, kind):
    with ActorSystem() as system:
        first = system.spawn(GivesUpAsync if asyncio.iscoroutinefunction(way) else GivesUp)
        second = system.spawn(kind)
        assert first.request((way, second)).get(timeout=SECONDS) == "given up"
        # An async handler is cancelled when the request that it handles is given up.
        outcome = second.request("outcome").get(timeout=SECONDS)
        assert outcome == "echo" or (outcome is None and kind is PatientAsync)


class AsksWithin(Actor):
    def on_receive(self, message):
        if message == "echo":
            return message
        (seconds, ref), *rest = message
        return ref.ask(rest or "echo", timeout=seconds)


def test_who_gives_up_in_an_hour_holds_nobody_up():
    with ActorSystem() as system:
        a, b = system.spawn(AsksWithin), system.spawn(AsksWithin)
        with pytest.raises(WouldDeadlock):
            a.request([(3600, b), (None, a)]).get(timeout=SECONDS)


@pytest.mark.parametrize(("first", "second"), [(10, 5), (5, 5), (None, 5), (None, None)])
def test_who_closes_a_circle_is_told_at_once_unless_another_gives_up_sooner(first, second):
    with ActorSystem() as system:
        a, b = system.spawn(AsksWithin), system.spawn(AsksWithin)
        with pytest.raises(Timeout) as caught:
            a.request([(first, b), (second, a)]).get(timeout=SECONDS)
        assert isinstance(caught.value, WouldDeadlock)


@pytest.mark.parametrize("way", [gathers, plainly], ids=named)
def test_a_circle_within_one_deadline_is_one_since_all_would_give_up_at_once(way):
    with ActorSystem() as system, run(deadline=60):
        a, b = (system.spawn(Asking, way, system.spawn(SyncAsking)) for _ in range(2))
        with pytest.raises(WouldDeadlock):
            a.request(("", (b, a))).get(timeout=SECONDS)


# -- ends ----------------------------------------------------------------------------------------


class Obeying(Actor):
    """Does with `self` what it is sent."""

    def on_receive(self, message):
        return message(self) if callable(message) else message


class AsyncObeying(Actor):
    async def on_receive(self, message):
        return await message(self) if callable(message) else message


def waits_for_end(ref):
    """Return what has a sync and an async actor wait for an end."""

    def wait(actor):
        return (ref or actor.actor_ref).stop()

    async def wait_async(actor):
        return await (ref or actor.actor_ref).stop(block=False)

    return {Obeying: wait, AsyncObeying: wait_async}


def error_of(answer):
    """Wait for an answer; return the `WouldDeadlock` that it is, if it is one."""
    try:
        answer.get(timeout=SECONDS)
    except WouldDeadlock as error:
        return error
    return None


BOTH = pytest.mark.parametrize("kind", [Obeying, AsyncObeying])


@BOTH
def test_an_actor_that_waits_for_its_own_end_gets_the_error_and_ends(kind):
    with ActorSystem() as system:
        ref = system.spawn(kind, name="own")
        with pytest.raises(WouldDeadlock, match=r"/own waits for /own: .*stop\(block=False\)"):
            ref.request(waits_for_end(None)[kind]).get(timeout=SECONDS)
        assert ref.actor_stopped.wait(SECONDS)


@BOTH
def test_two_actors_that_wait_for_each_others_end_come_home(kind):
    with ActorSystem() as system:
        a, b = system.spawn(kind, name="a"), system.spawn(kind, name="b")
        meeting = threading.Barrier(2)

        def stops(other):
            def wait(_):
                meeting.wait(SECONDS)
                return other.stop()

            return wait

        def stops_later(other):
            async def wait(_):
                await asyncio.to_thread(meeting.wait, SECONDS)
                return await other.stop(block=False)

            return wait

        order = stops if kind is Obeying else stops_later
        answers = [a.request(order(b)), b.request(order(a))]
        errors = list(filter(None, map(error_of, answers)))
        assert errors
        for error in errors:
            assert set(error.actors) == {"/a", "/b"}
        assert a.actor_stopped.wait(SECONDS)
        assert b.actor_stopped.wait(SECONDS)


@BOTH
@pytest.mark.parametrize("deep", [False, True], ids=["child", "grandchild"])
def test_a_parent_that_stops_a_child_that_asks_it_closes_a_circle(kind, deep):
    asks = threading.Event()

    class Below(Actor):
        def on_receive(self, parent):
            asks.set()
            return parent.ask("are you there?")

    class Between(Actor):
        def on_start(self):
            self.child = self.spawn(ChildSpec(Below, shutdown=None, name="below"))

        def on_receive(self, message):
            self.child.tell(message)

    class Parent(kind):
        def on_start(self):
            self.child = self.spawn(Between if deep else Below, name="child")

    def stop_child(actor):
        actor.child.tell(actor.actor_ref)
        assert asks.wait(SECONDS)
        return actor.child.stop()

    async def stop_child_async(actor):
        actor.child.tell(actor.actor_ref)
        await asyncio.to_thread(asks.wait, SECONDS)
        return await actor.child.stop(block=False)

    with ActorSystem(supervision=TOLERANT) as system:
        ref = system.spawn(Parent, name="parent")
        order = stop_child if kind is Obeying else stop_child_async
        # Whoever closes the circle gets the error, and the other what it waits for.
        error = error_of(ref.request(order))
        assert error is None or "/parent" in error.actors
        assert ref.request("still there").get(timeout=SECONDS) == "still there"


@BOTH
@pytest.mark.parametrize("seconds", ["brutal_kill", 0.05])
@pytest.mark.parametrize("below", ["child", "grandchild"])
def test_a_child_that_is_killed_in_the_end_closes_no_circle(kind, seconds, below):
    asks = threading.Event()

    class Below(Actor):
        async def on_receive(self, waiter):
            asks.set()
            return await waiter.request("are you there?")

    class Between(Actor):
        def on_start(self):
            self.child = self.spawn(ChildSpec(Below, shutdown=None))

        def on_receive(self, waiter):
            self.child.tell(waiter)

    class Parent(Actor):
        def on_start(self):
            what = Below if below == "child" else Between
            self.child = self.spawn(ChildSpec(what, shutdown=seconds))

        def on_receive(self, waiter):
            self.child.tell(waiter)

    with ActorSystem() as system:
        parent, waiter = system.spawn(Parent), system.spawn(kind)

        def waits(_):
            assert asks.wait(SECONDS)
            return parent.stop()

        async def waits_async(_):
            await asyncio.to_thread(asks.wait, SECONDS)
            return await parent.stop(block=False)

        answer = waiter.request(waits if kind is Obeying else waits_async)
        parent.tell(waiter)
        assert answer.get(timeout=SECONDS) is True


def test_the_shutdown_of_another_system_waits_for_nobody_who_is_killed_in_the_end():
    class Closing(Actor):
        def on_receive(self, other):
            return other.shutdown().get()

    with ActorSystem() as system, ActorSystem() as other:
        ref = system.spawn(Closing)
        there = other.spawn(ChildSpec(AsyncObeying, shutdown=0.1))

        async def has_it_closed(_):
            return await ref.request(other)

        with pytest.raises(ActorDeadError):
            there.request(has_it_closed).get(timeout=SECONDS)
        assert other.shutdown().get(timeout=SECONDS).stopped == 1


@BOTH
def test_an_actor_that_waits_for_the_end_of_what_it_lives_below_gets_the_error(kind):
    class Parent(Actor):
        def on_start(self):
            spec = ChildSpec(kind, shutdown=None, name="child")
            self.child = self.spawn(spec)

        def on_receive(self, message):
            return self.child

    with ActorSystem() as system:
        parent = system.spawn(Parent, name="parent")
        child = parent.ask("child")
        with pytest.raises(WouldDeadlock, match="/parent/child waits for /parent, which waits"):
            child.request(waits_for_end(parent)[kind]).get(timeout=SECONDS)
        assert parent.actor_stopped.wait(SECONDS)


@BOTH
def test_an_actor_may_wait_for_the_end_of_another(kind):
    with ActorSystem() as system:
        ref, other = system.spawn(kind), system.spawn(Obeying)
        assert ref.request(waits_for_end(other)[kind]).get(timeout=SECONDS) is True


@BOTH
def test_an_actor_that_waits_for_the_shutdown_of_its_system_is_told_not_to(kind):
    def wait(actor):
        return actor.actor_ref.system.shutdown().get()

    async def wait_async(actor):
        return await actor.actor_ref.system.shutdown()

    system = ActorSystem()
    ref = system.spawn(kind, name="own")
    with pytest.raises(WouldDeadlock, match=r"shutdown\(\) without waiting"):
        ref.request(wait if kind is Obeying else wait_async).get(timeout=SECONDS)
    report = system.shutdown().get(timeout=SECONDS)
    assert report.abandoned == ()
    assert report.seconds < 4


def test_an_actor_may_wait_for_the_shutdown_of_another_system():
    with ActorSystem() as system, ActorSystem() as other:
        other.spawn(Obeying)
        ref = system.spawn(Obeying)
        report = ref.request(lambda _: other.shutdown().get()).get(timeout=SECONDS)
        assert report.stopped == 1


def test_a_circle_through_the_shutdown_of_another_system_is_found():
    class Closing(Actor):
        def on_receive(self, other):
            return other.shutdown().get()

    with ActorSystem() as system, ActorSystem() as other:
        ref = system.spawn(Closing, name="closing")
        there = other.spawn(ChildSpec(Obeying, shutdown=None, name="there"))
        with pytest.raises(WouldDeadlock, match="/closing waits for /there"):
            there.request(lambda _: ref.ask(other)).get(timeout=SECONDS)


# -- without end -----------------------------------------------------------------------------------


class Endless(Actor):
    """Asks a new actor what it is asked."""

    def on_receive(self, message):
        return message if message == "hello" else self.another().ask(message)

    def another(self):
        return self.actor_ref.system.spawn(type(self))


class EndlessBelow(Endless):
    def another(self):
        return self.spawn(type(self))


class EndlessInTurns(Actor):
    """Likewise, but every other actor is async, so nobody runs on the stack of an asker."""

    def on_receive(self, message):
        return message if message == "hello" else self.actor_ref.system.spawn(Between).ask(message)


class Between(Actor):
    async def on_receive(self, message):
        return await self.actor_ref.system.spawn(EndlessInTurns).request(message)


@pytest.fixture(params=["threads", "depth", "process"])
def few_threads(request, monkeypatch):
    pool = "actors._dispatch._pool"
    if request.param == "threads":
        monkeypatch.setattr(f"{pool}.MAX_WORKERS", 40)
    elif request.param == "depth":
        monkeypatch.setattr(f"{pool}.LOOK_EVERY", 16)
        monkeypatch.setattr(f"{pool}.DEEPEST", 30)
    else:
        start = threading.Thread.start

        def refuse(thread):
            if threading.active_count() > 60:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)
    return request.param


@pytest.mark.parametrize("way", ["ask", "request", "run"])
@pytest.mark.parametrize("kind", [Endless, EndlessBelow, EndlessInTurns])
def test_actors_that_ask_without_end_get_an_error_and_the_system_goes_on(
    kind, way, few_threads, eventually
):
    with ActorSystem() as system:
        ref = system.spawn(kind)
        with run() if way == "run" else contextlib.nullcontext():
            with pytest.raises(TooManyWaiting, match="without end") as caught:
                if way == "request":
                    ref.request("on and on").get(timeout=SECONDS)
                else:
                    ref.ask("on and on")
            assert (caught.value.depth is not None) == (few_threads == "depth")
            # The end of the chain was withdrawn, so nobody goes on with it.
            assert ref.ask("hello") == "hello"
        # It may have been cut in the middle, by one that was slow to wait: the rest ends likewise.
        eventually(lambda: system.stats().waiting == 0)
        actors = system.stats().actors
        assert system.spawn(kind).request("hello").get(timeout=SECONDS) == "hello"
        assert system.stats().actors == actors + 1


def test_many_handlers_that_wait_for_one_are_no_chain(monkeypatch):
    monkeypatch.setattr("actors._dispatch._pool.LOOK_EVERY", 16)
    monkeypatch.setattr("actors._dispatch._pool.DEEPEST", 30)
    gate = threading.Event()

    class Gate(Actor):
        async def on_receive(self, message):
            await asyncio.to_thread(gate.wait, SECONDS)
            return message

    class Waits(Actor):
        def on_receive(self, ref):
            return ref.request("hello").get(timeout=SECONDS)

    with ActorSystem() as system:
        ref = system.spawn(Gate)
        answers = [system.spawn(Waits).request(ref) for _ in range(100)]
        gate.set()
        assert [answer.get(timeout=SECONDS) for answer in answers] == ["hello"] * 100


# -- finalizers and the exit -----------------------------------------------------------------------


class Finalized:
    def __init__(self, call, outcomes):
        self.call = call
        self.outcomes = outcomes
        self.myself = self  # so that only the garbage collector ends it

    def __del__(self):
        try:
            self.outcomes.append(self.call())
        except Exception as error:
            self.outcomes.append(error)


@pytest.mark.parametrize("order", ["ask", "get", "stop"])
def test_a_finalizer_that_waits_for_the_actor_it_interrupts_gets_the_error(order):
    outcomes = []

    class Collects(Actor):
        def on_receive(self, message):
            if message == "hello":
                return message
            ref = self.actor_ref
            calls = {
                "ask": lambda: ref.ask("hello"),
                "get": lambda: ref.request("hello").get(),
                "stop": ref.stop,
            }
            Finalized(calls[order], outcomes)
            gc.collect()
            return "collected"

    with ActorSystem() as system:
        ref = system.spawn(Collects)
        assert ref.request("collect").get(timeout=SECONDS) == "collected"
    assert [type(outcome) for outcome in outcomes] == [WouldDeadlock]


def test_a_finalizer_in_the_middle_of_the_runtime_waits_no_longer_than_a_moment(monkeypatch):
    outcomes = []

    class Loose(Actor):
        async def on_receive(self, message):
            return message

    with ActorSystem() as system:
        ref = system.spawn(Loose)
        loop = system._loop
        schedule = loop._schedule

        def interrupted():
            # What others wait for is half done: nobody else sends for a driver now.
            monkeypatch.setattr(loop, "_schedule", schedule)
            Finalized(lambda: ref.ask("in between"), outcomes)
            # The collector calls it below this frame, which is to count as one of the runtime.
            exec(compile("import gc; gc.collect()", actors.__file__, "exec"), {})
            schedule()

        monkeypatch.setattr(loop, "_schedule", interrupted)
        assert ref.request("hello").get(timeout=SECONDS) == "hello"
    assert [type(outcome) for outcome in outcomes] == [FinalizerWaits]


def test_a_finalizer_in_between_a_program_may_wait_as_long_as_it_takes():
    outcomes = []

    class Slow(Actor):
        async def on_receive(self, message):
            await asyncio.sleep(0.3)
            return message

    with ActorSystem() as system:
        ref = system.spawn(Slow)
        Finalized(lambda: ref.ask("hello"), outcomes)
        gc.collect()
    assert outcomes == ["hello"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "system.shutdown().get()",
        "system.__exit__(None, None, None)",
        "echo.ask(1)",
        "echo.stop()",
        "ActorSystem().spawn(Echo).ask(1)",
        "ActorSystem().spawn(Sync).ask(1)",
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_finalizer_that_waits_while_the_interpreter_exits_does_not_hang(call, when):
    program = f"""
        import atexit, os
        def late():
            # After the runtime has stopped what it knew of.
            global system, echo
            system = ActorSystem()
            echo = system.spawn(Echo)
        if {when == "after"}: atexit.register(late)
        from actors import Actor, ActorSystem
        class Echo(Actor):
            async def on_receive(self, message): return message
        class Sync(Actor):
            def on_receive(self, message): return message
        class Finalized:
            def __del__(self):
                try: outcome = {call}
                except BaseException as error: outcome = type(error).__name__
                os.write(1, f"outcome: {{outcome}}".encode())
        system = ActorSystem()
        echo = system.spawn(Echo)
        import sys
        sys.modules["kept"] = Finalized()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert "outcome: " in done.stdout
