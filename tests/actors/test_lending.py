"""Turns on the time of others: a task that awaits a reply, a thread that sends to a brief actor."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from actors import Actor, ActorDeadError, ActorSystem, Supervision, current_actor
from actors._dispatch._loop import LENDS_PER_ROUND, MAX_LENT

# -- a task that awaits a reply steps the turns that are ready ---------------------------------


class Same(Actor):
    """Answers with what it was asked, without waiting."""

    async def on_receive(self, message):
        return message


class Passing(Actor):
    """Asks the next one, down to the last."""

    def __init__(self, following):
        super().__init__()
        self.following = following

    async def on_receive(self, message):
        if self.following is None:
            return [message]
        return [message, *(await self.following.request(message + 1))]


async def test_a_loop_of_asks_does_not_keep_other_tasks_from_running():
    async with ActorSystem() as system:
        ref = system.spawn(Same)
        passes = 0

        async def other():
            nonlocal passes
            while True:
                passes += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for n in range(2_000):
            assert await ref.request(n) == n
        task.cancel()
        assert passes >= 2_000 // LENDS_PER_ROUND


async def test_asks_go_deeper_than_lending_does():
    async with ActorSystem() as system:
        ref = None
        for _ in range(5 * MAX_LENT):
            ref = system.spawn(Passing, ref)
        assert await ref.request(0) == list(range(5 * MAX_LENT))
        assert await ref.request(0) == list(range(5 * MAX_LENT))


async def test_a_turn_that_was_begun_on_lent_time_stays_in_one_task():
    class Tasks(Actor):
        async def on_receive(self, message):
            before = asyncio.current_task()
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            return before is asyncio.current_task(), before, current_actor()

    async with ActorSystem() as system:
        same, tasks = system.spawn(Same), system.spawn(Tasks)
        for _ in range(5):
            await same.request(1)
            stayed, task, actor = await tasks.request(1)
            assert stayed
            assert task is not asyncio.current_task()
            assert actor is tasks
            assert current_actor() is None


async def test_a_time_limit_inside_of_a_lent_turn_ends_what_it_should():
    class Limited(Actor):
        async def on_receive(self, seconds):
            try:
                async with asyncio.timeout(seconds):
                    await asyncio.Event().wait()
            except TimeoutError:
                return "timed out"

    async with ActorSystem() as system:
        same, limited = system.spawn(Same), system.spawn(Limited)
        for seconds in (0, 0.001, -1):
            await same.request(1)
            assert await limited.request(seconds) == "timed out"
            assert asyncio.current_task().cancelling() == 0


async def test_a_handler_that_cancels_its_own_task_fails_on_lent_time_as_on_its_own():
    class Rash(Actor):
        async def on_receive(self, message):
            asyncio.current_task().cancel()
            if message == "wait":
                await asyncio.sleep(0)
            return "went on"

    async with ActorSystem(supervision=Supervision(intensity=100)) as system:
        same, rash = system.spawn(Same), system.spawn(Rash)
        for _ in range(3):
            await same.request(1)
            assert await rash.request("go on") == "went on"
            await same.request(1)
            with pytest.raises(ActorDeadError, match="cancelled"):
                await rash.request("wait")
            assert asyncio.current_task().cancelling() == 0
            assert await same.request(2) == 2


async def test_what_a_handler_sets_in_its_context_is_not_seen_by_the_asker():
    variable = contextvars.ContextVar("variable", default="unset")

    class Setting(Actor):
        async def on_receive(self, message):
            seen = variable.get()
            variable.set(message)
            return seen

    async with ActorSystem() as system:
        same, setting = system.spawn(Same), system.spawn(Setting)
        variable.set("the asker's")
        await same.request(1)
        await setting.request("the handler's")
        assert variable.get() == "the asker's"


async def test_a_lent_turn_and_another_task_may_wait_for_the_same_future():
    gate = asyncio.get_running_loop().create_future()

    class Gated(Actor):
        async def on_receive(self, message):
            return await asyncio.shield(gate) if message == "shield" else await gate

    async def outside():
        return await gate

    async with ActorSystem() as system:
        same = system.spawn(Same)
        await same.request(1)
        waiting = [system.spawn(Gated).request("plain") for _ in range(3)]
        waiting.append(system.spawn(Gated).request("shield"))
        others = [asyncio.create_task(outside()) for _ in range(3)]

        async def ask(future):
            return await future

        asks = [asyncio.create_task(ask(future)) for future in waiting]
        asyncio.get_running_loop().call_later(0.01, gate.set_result, "open")
        assert await asyncio.gather(*asks, *others) == ["open"] * 7


async def test_the_request_of_a_cancelled_asker_is_cancelled_though_it_was_begun_on_its_time():
    ended = asyncio.Event()

    class Long(Actor):
        async def on_receive(self, message):
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    async with ActorSystem() as system:
        same, long = system.spawn(Same), system.spawn(Long)
        await same.request(1)

        async def ask():
            await long.request("work")

        task = asyncio.create_task(ask())
        await same.request(2)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            await ended.wait()
        assert long.is_alive()


# -- brief actors are run by whoever sends to them ------------------------------------------------


class Brief(Actor):
    _brief = True

    def __init__(self):
        super().__init__()
        self.seen = 0
        self.inside = threading.Lock()

    def on_receive(self, message):
        assert self.inside.acquire(blocking=False), "two threads in one actor"
        self.seen += 1
        seen = self.seen
        self.inside.release()
        if message == "who":
            return current_actor() is self.actor_ref, threading.current_thread()
        if message == "again" and seen < 200:
            self.actor_ref.tell("again")
        return seen


async def test_a_brief_actor_answers_on_the_thread_of_the_loop():
    async with ActorSystem() as system:
        ref = system.spawn(Brief)
        assert await ref.request("who") == (True, threading.current_thread())
        assert current_actor() is None


async def test_many_threads_and_a_loop_send_to_one_brief_actor_and_nothing_is_lost():
    async with ActorSystem() as system:
        ref = system.spawn(Brief)

        def send():
            for _ in range(5_000):
                ref.tell("message")

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(5_000):
            await ref.request(n)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert await ref.request("last") == 25_001
        stats = system.stats()
        assert (stats.sent, stats.handled, stats.waiting) == (25_001, 25_001, 0)


async def test_a_brief_actor_that_keeps_itself_busy_lets_go_of_the_sender():
    async with ActorSystem() as system:
        ref = system.spawn(Brief)
        ref.tell("again")
        # Its later turns are those of a thread of the pool, after which it has time for this.
        assert await ref.request("look") <= 201
