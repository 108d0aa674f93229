from __future__ import annotations

import asyncio
import threading

import pytest

from actors import Actor, ActorDeadError, ActorSystem, Deadline, RequestCancelled
from actors._context import RUN, RunContext
from actors._messages import DeadLetter
from actors.services._errand import FAIR, errand


class Clerk(Actor):
    """Does what it is told when it is allowed to, and keeps what it did."""

    def __init__(self, go: threading.Event):
        super().__init__()
        self.go = go
        self.done: list[object] = []

    def on_receive(self, message):
        if message == "done":
            return self.done
        self.go.wait(10)
        self.done.append(message)
        return message


class Echo(Actor):
    _brief = True

    def on_receive(self, message):
        return message


@pytest.fixture
def letters(system):
    found: list[object] = []

    class Listener(Actor):
        def on_receive(self, message):
            found.append(message)

    system.events.subscribe(system.spawn(Listener), DeadLetter)
    return found


def test_an_errand_that_nobody_waits_for_is_carried_out_and_is_no_dead_letter(system, letters):
    go = threading.Event()
    clerk = system.spawn(Clerk, go)
    under_way, waiting = errand(clerk, "first"), errand(clerk, "second")
    assert under_way.cancel()
    assert waiting.cancel()
    assert not waiting.cancel(), "it was given up before"
    for future in (under_way, waiting):
        with pytest.raises(RequestCancelled):
            future.get()
    go.set()
    assert clerk.request("done").get() == ["first", "second"]
    assert letters == []


def test_an_errand_does_not_know_the_deadline_of_its_run(system):
    go = threading.Event()
    go.set()
    clerk = system.spawn(Clerk, go)
    limit = Deadline(0.001)
    while not limit.expired():
        pass
    token = RUN.set(RunContext("run", deadline=limit))
    try:
        assert errand(clerk, "late").get() == "late"
    finally:
        RUN.reset(token)


def test_an_errand_to_the_dead_is_answered(system):
    clerk = system.spawn(Clerk, threading.Event())
    clerk.stop()
    with pytest.raises(ActorDeadError):
        errand(clerk, "x").get()


async def test_a_cancelled_task_gives_up_its_errand_and_not_the_work():
    go = threading.Event()
    async with ActorSystem() as system:
        clerk = system.spawn(Clerk, go)

        async def send():
            await errand(clerk, "x")

        task = asyncio.create_task(send())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        assert await clerk.request("done") == ["x"]


async def test_answers_that_are_there_at_once_let_the_loop_go_on_now_and_then():
    async with ActorSystem() as system:
        echo = system.spawn(Echo)
        gone_on = []
        asyncio.get_running_loop().call_soon(gone_on.append, True)
        for number in range(FAIR):
            assert await errand(echo, number) == number
        assert gone_on
