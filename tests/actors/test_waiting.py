"""Who waits for whom: a circle is an error that names it, whatever its members wait for."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading

import pykka
import pytest

from actors import (
    Actor,
    ActorSystem,
    Bounded,
    ChildSpec,
    DeadLetter,
    MailboxFull,
    Supervision,
    WouldBlockLoop,
    WouldDeadlock,
)

TOLERANT = Supervision(intensity=1000)


class Asking(Actor):
    """Passes what it is asked on to the first of the list that comes with it."""

    def on_receive(self, path):
        return path[0].ask(path[1:]) if path else "the end"


class AsyncAsking(Actor):
    async def on_receive(self, path):
        return await path[0].request(path[1:]) if path else "the end"


def a_ring(system, kinds):
    return [system.spawn(kind, name=f"n{n}") for n, kind in enumerate(kinds)]


RINGS = [
    [Asking],
    [Asking, Asking],
    [Asking] * 5,
    [AsyncAsking],
    [AsyncAsking, AsyncAsking],
    [AsyncAsking] * 40,
    [Asking, AsyncAsking],
    [AsyncAsking, Asking, AsyncAsking, Asking],
]


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("kinds", RINGS, ids=lambda kinds: "-".join(k.__name__ for k in kinds))
def test_a_circle_of_asks_is_an_error_that_names_its_members(kinds, timeout):
    with ActorSystem() as system:
        ring = a_ring(system, kinds)
        with pytest.raises(WouldDeadlock, match="none of them could go on") as caught:
            ring[0].request((*ring[1:], ring[0]), timeout=timeout).get(timeout=20)
        paths = [ref.path for ref in ring]
        # It begins with the one that found it: as a rule the last to wait, or one before it that
        # was slower to begin its wait.
        found = caught.value.actors
        assert found[0] == found[-1]
        first = paths.index(found[0])
        assert found[:-1] == (*paths[first:], *paths[:first])
        assert isinstance(caught.value, pykka.Timeout)
        # Everybody is free again.
        assert ring[0].ask(tuple(ring[1:])) == "the end"


async def test_a_circle_of_asks_on_the_callers_loop_is_found_too():
    async with ActorSystem() as system:
        ring = a_ring(system, [AsyncAsking] * 3)
        with pytest.raises(WouldDeadlock):
            await ring[0].request((ring[1], ring[2], ring[0]))
        assert await ring[0].request((ring[1], ring[2])) == "the end"


@pytest.mark.parametrize("kind", [Asking, AsyncAsking])
def test_two_that_close_a_circle_at_the_same_time_both_come_home(kind):
    with ActorSystem() as system:
        for _ in range(100):
            a, b = system.spawn(kind), system.spawn(kind)
            answers = a.request((b, a)), b.request((a, b))
            for answer in answers:
                try:
                    answer.get(timeout=20)
                except WouldDeadlock:
                    continue
            a.stop(block=False)
            b.stop(block=False)


def test_asking_in_a_diamond_is_no_circle():
    with ActorSystem() as system:

        class Both(Actor):
            async def on_receive(self, refs):
                return await asyncio.gather(*(ref.request((refs[2],)) for ref in refs[:2]))

        left, right, below = a_ring(system, [Asking, AsyncAsking, Asking])
        assert system.spawn(Both).ask((left, right, below)) == ["the end", "the end"]


async def test_a_task_that_a_handler_left_behind_may_wait_for_its_own_actor():
    class Parent(Actor):
        async def on_receive(self, message):
            if message == "leave":
                self.task = asyncio.create_task(self.ask_myself())
                return None
            if message == "result":
                return await self.task
            return message

        async def ask_myself(self):
            return await self.actor_ref.request("hello")

    async with ActorSystem() as system:
        ref = system.spawn(Parent)
        ref.tell("leave")
        await ref.request("pass")
        async with asyncio.timeout(20):
            assert await ref.request("result") == "hello"


def test_a_request_that_was_handed_on_makes_no_circle():
    class Front(Actor):
        """Has its own asker asked, by a later message."""

        def __init__(self):
            super().__init__()
            self.owed = None

        def on_receive(self, message):
            match message:
                case "owe":
                    self.owed = self.reply_later()
                    self.timers.start("settle", "settle", after=0.01)
                case "settle":
                    self.owed.set("settled")

    class Back(Actor):
        def on_receive(self, front):
            return front.ask("owe")

    with ActorSystem() as system:
        assert system.spawn(Back).ask(system.spawn(Front)) == "settled"


def takes_over(actor):
    return actor.reply_later()


class Acknowledges(Actor):
    """Answers at once, and goes on until the one who asked has the answer."""

    def on_receive(self, gate):
        self.take().set("begun")
        return gate.wait(20)

    def take(self):
        return self.reply_later()


class AcknowledgesInside(Acknowledges):
    def take(self):
        return next(self.reply_later() for _ in range(1))


class AcknowledgesInherited(Acknowledges):
    pass


class AcknowledgesWrapped(Acknowledges):
    @functools.wraps(takes_over)
    def take(self):
        return takes_over(self)


@pytest.mark.parametrize(
    "kind", [Acknowledges, AcknowledgesInside, AcknowledgesInherited, AcknowledgesWrapped]
)
def test_an_answer_that_is_given_before_the_handler_ends_comes_at_once(kind):
    gate, answers = threading.Event(), []

    class Between(Actor):
        def on_receive(self, ref):
            return ref.ask(gate)

    with ActorSystem() as system:
        ref, between = system.spawn(kind), system.spawn(Between)
        for ask in (lambda: ref.ask(gate), lambda: between.ask(ref)):
            asker = threading.Thread(target=lambda ask=ask: answers.append(ask()), daemon=True)
            asker.start()
            asker.join(5)
            gate.set()
            asker.join(20)
            assert not asker.is_alive()
            gate.clear()
    assert answers == ["begun", "begun"]


def test_the_answer_comes_at_once_from_the_second_on_where_nothing_tells_of_it_before():
    gate = threading.Event()

    class Hidden(Actor):
        def on_receive(self, wait):
            takes_over(self).set("begun")
            return gate.wait(20) if wait else None

    with ActorSystem() as system:
        ref = system.spawn(Hidden)
        assert ref.ask(False) == "begun"
        asker = threading.Thread(target=ref.ask, args=(True,), daemon=True)
        asker.start()
        asker.join(5)
        arrived = not asker.is_alive()
        gate.set()
        assert arrived
        assert system.spawn(Hidden).ask(False) == "begun"


def test_an_asker_whose_reply_was_taken_over_may_be_asked_meanwhile():
    class Late(Actor):
        def __init__(self):
            super().__init__()
            self.outcome = None

        def on_receive(self, asker):
            if asker == "outcome":
                return self.outcome
            reply = self.reply_later()
            timer = threading.Timer(0.05, reply.set, ("late",))
            timer.start()
            self.outcome = asker.ask("hello")
            timer.join()
            return None

    class Asker(Actor):
        def on_receive(self, message):
            return message if message == "hello" else message.ask(self.actor_ref)

    with ActorSystem() as system:
        late, asker = system.spawn(Late), system.spawn(Asker)
        assert asker.request(late).get(timeout=20) == "late"
        assert late.request("outcome").get(timeout=20) == "hello"


# -- room in a mailbox --------------------------------------------------------------------------


class Filling(Actor):
    """Tells the other one so much that it does not fit."""

    def __init__(self, barrier):
        super().__init__()
        self.barrier = barrier
        self.outcome = None

    def on_receive(self, message):
        if message == "outcome":
            return self.outcome
        if isinstance(message, int):
            return None
        self.barrier.wait(20)
        try:
            for n in range(10):
                message.tell(n)
            self.outcome = "all sent"
        except WouldDeadlock as error:
            self.outcome = error
        return self.outcome


def test_two_actors_that_fill_each_others_mailboxes_get_an_error_that_names_both():
    with ActorSystem() as system:
        barrier = threading.Barrier(2)
        a, b = (
            system.spawn(ChildSpec(Filling, (barrier,), name=name, mailbox=Bounded(3, "block")))
            for name in "ab"
        )
        answers = [a.request(b), b.request(a)]
        outcomes = [answer.get(timeout=20) for answer in answers]
        errors = [outcome for outcome in outcomes if isinstance(outcome, WouldDeadlock)]
        assert errors, outcomes
        for error in errors:
            assert set(error.actors) == {"/a", "/b"}
        assert a.ask("outcome", timeout=20) is not None
        assert b.ask("outcome", timeout=20) is not None
        stats = system.stats()
        assert stats.sent == stats.handled + stats.dead + stats.waiting


def test_an_actor_that_fills_its_own_mailbox_gets_the_error():
    class Own(Actor):
        mailbox = Bounded(2, "block")

        def on_receive(self, message):
            if message == "fill":
                for n in range(3):
                    self.actor_ref.tell(n)

    with ActorSystem(supervision=TOLERANT) as system:
        ref = system.spawn(Own, name="own")
        with pytest.raises(WouldDeadlock, match="/own waits for /own"):
            ref.ask("fill", timeout=20)


# -- full mailboxes and async code ---------------------------------------------------------------


class Held(Actor):
    """Handles nothing until its gate is open."""

    def __init__(self, entered, gate):
        super().__init__()
        self.entered = entered
        self.gate = gate
        self.seen = []

    async def on_receive(self, message):
        if message == "hold":
            self.entered.set()
            await self.gate.wait()
        self.seen.append(message)
        return list(self.seen)


async def test_requests_to_a_full_mailbox_that_blocks_wait_in_line_without_the_loop():
    entered, gate = asyncio.Event(), asyncio.Event()
    async with ActorSystem() as system:
        ref = system.spawn(ChildSpec(Held, (entered, gate), mailbox=Bounded(2, "block")))
        ref.tell("hold")
        await entered.wait()
        replies = [ref.request(n) for n in range(50)]
        assert len(ref._cell.queue) <= 2
        gate.set()
        async with asyncio.timeout(20):
            last = [await reply for reply in replies][-1]
        assert last == ["hold", *range(50)]
        stats = system.stats()
        assert (stats.sent, stats.handled, stats.dead) == (51, 51, 0)


async def test_telling_something_to_a_full_mailbox_that_blocks_says_what_to_do_on_a_loop():
    entered, gate = asyncio.Event(), asyncio.Event()
    async with ActorSystem() as system:
        ref = system.spawn(ChildSpec(Held, (entered, gate), mailbox=Bounded(1, "block")))
        ref.tell("hold")
        await entered.wait()
        ref.tell("fits")
        with pytest.raises(WouldBlockLoop, match=r"await ref\.request"):
            ref.tell("does not fit")
        gate.set()
        async with asyncio.timeout(20):
            assert await ref.request("waits") == ["hold", "fits", "waits"]


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_requests_in_line_are_answered_when_the_actor_ends(end):
    entered, gate = asyncio.Event(), asyncio.Event()
    letters = []
    async with ActorSystem() as system:
        system.events.subscribe(letters.append, DeadLetter)
        spec = ChildSpec(Held, (entered, gate), mailbox=Bounded(1, "block"), restart="temporary")
        ref = system.spawn(spec)
        ref.tell("hold")
        await entered.wait()
        replies = [ref.request(n) for n in range(5)]
        if end == "kill":
            ref.kill()
        else:
            stopping = ref.stop(block=False, drain=False)
            gate.set()
            await stopping
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*replies, return_exceptions=True)
        assert all(type(outcome).__name__ == "ActorDeadError" for outcome in outcomes)
        stats = system.stats()
        assert stats.sent == stats.handled + stats.dead
        assert len(letters) >= 5


async def test_a_cancelled_request_in_line_is_not_run():
    entered, gate = asyncio.Event(), asyncio.Event()
    async with ActorSystem() as system:
        ref = system.spawn(ChildSpec(Held, (entered, gate), mailbox=Bounded(1, "block")))
        ref.tell("hold")
        await entered.wait()
        first, second, third = (ref.request(n) for n in range(3))
        second.cancel()
        gate.set()
        async with asyncio.timeout(20):
            assert await first == ["hold", 0]
            assert await third == ["hold", 0, 2]


@pytest.mark.parametrize("overflow", ["reject", "drop_new", "drop_old", "block"])
def test_a_slow_consumer_keeps_memory_flat_whatever_its_policy(overflow):
    class Slow(Actor):
        mailbox = Bounded(100, overflow)

        def __init__(self):
            super().__init__()
            self.longest = 0

        def on_receive(self, message):
            self.longest = max(self.longest, len(self._cell.queue))
            return self.longest

    with ActorSystem() as system:
        ref = system.spawn(Slow)

        def produce():
            for n in range(20_000):
                with contextlib.suppress(MailboxFull):
                    ref.tell(n)

        producers = [threading.Thread(target=produce) for _ in range(3)]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join(60)
            assert not producer.is_alive()
        ref.stop()
        stats = system.stats()
        assert stats.sent == stats.handled + stats.dead
        if overflow == "block":
            assert stats.handled == 60_000
