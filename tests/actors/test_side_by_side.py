"""Several systems in one process: what references are good for where they come from another."""

from __future__ import annotations

import asyncio
import threading

import pykka
import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorStarted,
    ActorSystem,
    BudgetPool,
    ChildSpec,
    ForeignRef,
    InvalidOption,
    Terminated,
    current_actor,
)


class Call(Actor):
    def on_receive(self, message):
        return message(self)


class CallOnLoop(Actor):
    async def on_receive(self, message):
        await asyncio.sleep(0)
        return message(self)


class Passes(Actor):
    def __init__(self, ref):
        self.ref = ref

    async def on_receive(self, message):
        return await self.ref.request(message)


class Watches(Actor):
    """Watches others, and has whoever asks wait for the next end that it hears of."""

    def __init__(self):
        self.heard, self.wanted = [], []

    def on_receive(self, message):
        if isinstance(message, Terminated):
            self.heard.append(message)
        elif message == "next":
            self.wanted.append(self.reply_later())
        else:
            self.watch(message)
        while self.heard and self.wanted:
            self.wanted.pop(0).set(self.heard.pop(0))


@pytest.fixture
def other():
    with ActorSystem("other") as running:
        yield running


@pytest.mark.parametrize("kind", [Call, CallOnLoop])
def test_actors_of_different_systems_ask_each_other(system, other, kind):
    mine, yours = system.spawn(Call), other.spawn(kind)
    where = mine.ask(lambda me: yours.ask(lambda me: me.system))
    assert where is other
    assert mine.ask(lambda me: yours.ask(lambda me: current_actor())) is yours


async def test_they_do_on_two_loops_too(other):
    async with ActorSystem() as system:
        there = other.spawn(CallOnLoop)  # on a thread of its system
        here = system.spawn(Passes, there)  # on this loop
        back = other.spawn(Passes, here)
        assert await back.request(lambda me: me.system) is other


@pytest.mark.parametrize("end", ["stop", "kill", "shutdown"])
def test_an_actor_of_another_system_is_watched_as_any_other(system, other, end):
    watcher = system.spawn(Watches)
    watched = other.spawn(ChildSpec(Call, restart="temporary"))
    watcher.ask(watched)
    if end == "shutdown":
        other.shutdown()
    else:
        getattr(watched, end)()
    reason = "killed" if end == "kill" else "stopped"
    assert watcher.ask("next") == Terminated(watched, reason)
    watcher.ask(watched)
    assert watcher.ask("next") == Terminated(watched, reason), "of a dead actor, at once"


def test_a_watcher_whose_system_ends_leaves_the_watched_alone(other):
    watched = other.spawn(Call)
    with ActorSystem() as system:
        system.spawn(Watches).ask(watched)
    assert watched.is_alive()
    watched.stop()
    assert other.stats().waiting == 0


def test_events_of_one_system_may_be_told_to_an_actor_of_another(system, other):
    heard, arrived = [], threading.Event()

    class Started(Actor):
        def on_receive(self, message):
            heard.append(message)
            arrived.set()

    listener = system.spawn(Started)
    other.events.subscribe(listener, ActorStarted)
    ref = other.spawn(Call, name="one")
    assert arrived.wait(20)
    assert heard == [ActorStarted(ref, "/one")]
    listener.stop()
    other.spawn(Call)
    assert not other.events.heard, "the subscription of a dead actor is dropped"


def test_the_lease_of_a_holder_in_another_system_is_returned_when_it_dies(
    system, other, eventually
):
    class Holds(Actor):
        async def on_receive(self, message):
            async with pool.acquire(1):
                entered.set()
                await asyncio.Event().wait()

    entered = threading.Event()
    with BudgetPool(1, system=system) as pool:
        holder = other.spawn(ChildSpec(Holds, restart="temporary"))
        holder.tell("hold")
        assert entered.wait(20)
        assert pool.snapshot().get().reserved_usd == 1
        holder.kill()
        eventually(lambda: pool.snapshot().get().reserved_usd == 0)


def test_a_reference_into_a_system_that_ended_says_what_to_do(other):
    ref = other.spawn(Call)
    other.shutdown().get(timeout=20)
    for attempt in (ref.tell, ref.ask, lambda m: ref.request(m).get()):
        with pytest.raises(ActorDeadError, match="'other' was shut down; spawn it in a new one"):
            attempt("late")


def test_what_is_not_ours_cannot_be_watched(system):
    class Pykka(pykka.ThreadingActor):
        pass

    call = system.spawn(Call)
    stranger = Pykka.start()
    with pytest.raises(ForeignRef, match=r"derive its class from actors\.Actor"):
        call.ask(lambda me: me.watch(stranger))
    stranger.stop()
    with pytest.raises(InvalidOption, match="as `spawn` returns it"):
        call.ask(lambda me: me.watch(me))
