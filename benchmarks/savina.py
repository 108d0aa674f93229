"""Savina's micro benchmarks (Imam and Sarkar, AGERE 2014), under its names and parameters.

Written once against what the runtimes of `_runtimes` share: a base class, a way to spawn, `tell`
and `on_receive`. Each actor of a benchmark therefore does the same work on all of them.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from benchmarks._runtimes import RUNTIMES, Runtime, actor
from benchmarks._spec import Benchmark, Measurement, case, check, define

__all__: list[str] = []


def _enter(benchmark: Benchmark, body: Callable[..., tuple[float, int]]) -> None:
    def on(opened: Callable[[], AbstractContextManager[Runtime]]) -> Callable[..., Measurement]:
        def run(**params: int) -> Measurement:
            with opened() as runtime:
                return Measurement(*body(runtime, **params))

        return run

    for name, (opened, share) in RUNTIMES.items():
        case(benchmark, name, share=share)(on(opened))


SOURCE = "Savina"


def _count(runtime: Runtime, messages: int) -> tuple[float, int]:
    """One sender tells a counter; the counter reports at the end."""

    def counter(self: Any, message: Any) -> None:
        if message is None:
            runtime.finish(self.seen)
        else:
            self.seen += 1

    ref = actor(runtime, counter)(seen=0)
    began = time.perf_counter()
    tell = ref.tell
    for i in range(messages):
        tell(i)
    tell(None)
    check(runtime.wait(), messages)
    return time.perf_counter() - began, messages


def _pingpong(runtime: Runtime, pings: int) -> tuple[float, int]:
    """Two actors send one message to and fro."""

    def ping(self: Any, message: Any) -> None:
        if self.left:
            self.left -= 1
            self.pong.tell(self.actor_ref)
        else:
            self.pong.tell(None)

    def pong(self: Any, message: Any) -> None:
        if message is None:
            runtime.finish(self.seen)
        else:
            self.seen += 1
            message.tell(None)

    other = actor(runtime, pong)(seen=0)
    one = actor(runtime, ping)(left=pings, pong=other)
    began = time.perf_counter()
    one.tell(None)
    check(runtime.wait(), pings)
    return time.perf_counter() - began, 2 * pings


def _threadring(runtime: Runtime, actors: int, hops: int) -> tuple[float, int]:
    """A token goes round a ring."""

    def station(self: Any, message: Any) -> None:
        if isinstance(message, int):
            if message:
                self.next.tell(message - 1)
            else:
                runtime.finish(self.place)
        else:
            self.next = message

    make = actor(runtime, station)
    ring = [make(next=None, place=i) for i in range(actors)]
    for i, ref in enumerate(ring):
        ref.tell(ring[(i + 1) % actors])
    began = time.perf_counter()
    ring[0].tell(hops)
    check(runtime.wait(), hops % actors)
    return time.perf_counter() - began, hops


def _fjcreate(runtime: Runtime, actors: int) -> tuple[float, int]:
    """Start an actor, send it one message, have it stop; many times."""
    lock = threading.Lock()
    left = [actors]

    class Once(runtime.base):  # type: ignore[name-defined,misc]
        worked = 0

        def on_receive(self, message: Any) -> None:
            work(self, message)

        def on_stop(self) -> None:
            with lock:
                left[0] -= self.worked
                if not left[0]:
                    runtime.finish(left[0])

    class OnceAsync(Once):
        async def on_receive(self, message: Any) -> None:  # type: ignore[override]
            work(self, message)

    def work(self: Any, message: int) -> None:
        _burn(message)
        self.worked += 1
        self.actor_ref.stop(block=False)

    cls = OnceAsync if runtime.asynchronous else Once
    spawn = runtime.spawn
    began = time.perf_counter()
    for _ in range(actors):
        spawn(cls).tell(1)
    check(runtime.wait(), 0)
    return time.perf_counter() - began, actors


def _burn(rounds: int) -> float:
    """Savina's token work: some arithmetic, so that a handler is not empty."""
    value = 37.2
    for _ in range(rounds):
        value = value * 0.5 + 1.0
    return value


def _fjthrput(runtime: Runtime, messages: int, actors: int) -> tuple[float, int]:
    """Messages to many actors in turn, with a little work in each."""
    lock = threading.Lock()
    left = [actors]

    def worker(self: Any, message: int) -> None:
        _burn(message)
        self.left -= 1
        if not self.left:
            with lock:
                left[0] -= 1
                last = not left[0]
            if last:
                runtime.finish(actors - left[0])

    make = actor(runtime, worker)
    refs = [make(left=messages) for _ in range(actors)]
    began = time.perf_counter()
    for _ in range(messages):
        for ref in refs:
            ref.tell(1)
    check(runtime.wait(), actors)
    return time.perf_counter() - began, messages * actors


def _big(runtime: Runtime, messages: int, actors: int) -> tuple[float, int]:
    """Each of many actors pings random others and waits for each pong."""
    lock = threading.Lock()
    left = [actors]
    refs: list[Any] = []
    answered = [0] * actors

    def member(self: Any, message: Any) -> None:
        if message is not None:
            # A ping carries who sent it; a pong carries None.
            answered[self.place] += 1
            message.tell(None)
            return
        self.left -= 1
        if self.left >= 0:
            refs[self.random.randrange(actors)].tell(self.actor_ref)
            return
        with lock:
            left[0] -= 1
            last = not left[0]
        if last:
            runtime.finish(sum(answered))

    make = actor(runtime, member)
    refs.extend(make(place=i, left=messages, random=random.Random(i)) for i in range(actors))
    began = time.perf_counter()
    for ref in refs:
        ref.tell(None)
    check(runtime.wait(), messages * actors)
    return time.perf_counter() - began, 2 * messages * actors


def _bndbuffer(
    runtime: Runtime, size: int, producers: int, consumers: int, items: int, cost: int
) -> tuple[float, int]:
    """Producers and consumers share a buffer that an actor keeps."""
    total = producers * items

    def keeper(self: Any, message: Any) -> None:
        kind, who, item = message
        if kind == "item":
            if self.free:
                self.free.popleft().tell(item)
            else:
                self.buffer.append(item)
            if len(self.buffer) >= size:
                self.held.append(who)
            else:
                who.tell("more")
        elif kind == "ready":
            if self.buffer:
                who.tell(self.buffer.popleft())
                if self.held:
                    self.held.popleft().tell("more")
            else:
                self.free.append(who)
            if item is not None:
                self.seen += 1
                if self.seen == total:
                    runtime.finish(self.seen)

    def producer(self: Any, message: Any) -> None:
        if self.left:
            self.left -= 1
            self.keeper.tell(("item", self.actor_ref, _burn(cost)))

    def consumer(self: Any, message: Any) -> None:
        if message == "begin":
            self.keeper.tell(("ready", self.actor_ref, None))
        else:
            _burn(cost)
            self.keeper.tell(("ready", self.actor_ref, message))

    kept = actor(runtime, keeper)(buffer=deque(), free=deque(), held=deque(), seen=0)
    make_producer, make_consumer = actor(runtime, producer), actor(runtime, consumer)
    all_of_them = [make_consumer(keeper=kept) for _ in range(consumers)]
    all_of_them += [make_producer(keeper=kept, left=items) for _ in range(producers)]
    began = time.perf_counter()
    for ref in all_of_them:
        ref.tell("begin")
    check(runtime.wait(), total)
    return time.perf_counter() - began, total


_COLOURS = ("blue", "red", "yellow")


def _complement(mine: str, other: str) -> str:
    if mine == other:
        return mine
    return next(c for c in _COLOURS if c not in {mine, other})


def _chameneos(runtime: Runtime, chameneos: int, meetings: int) -> tuple[float, int]:
    """Creatures meet in pairs at a mall and change their colours."""

    def mall(self: Any, message: Any) -> None:
        if isinstance(message, int):
            self.total += message
            self.gone += 1
            if self.gone == chameneos:
                runtime.finish(self.total)
        elif not self.left:
            message[0].tell(None)
        elif self.waiting is None:
            self.waiting = message
        else:
            self.left -= 1
            first, self.waiting = self.waiting, None
            first[0].tell(message)

    def creature(self: Any, message: Any) -> None:
        if message is None:
            self.mall.tell(self.met)
        elif message == "begin":
            self.mall.tell((self.actor_ref, self.colour))
        elif isinstance(message, str):
            self.met += 1
            self.colour = message
            self.mall.tell((self.actor_ref, self.colour))
        else:
            other, colour = message
            self.met += 1
            self.colour = _complement(self.colour, colour)
            other.tell(self.colour)
            self.mall.tell((self.actor_ref, self.colour))

    place = actor(runtime, mall)(left=meetings, waiting=None, total=0, gone=0)
    make = actor(runtime, creature)
    creatures = [make(mall=place, colour=_COLOURS[i % 3], met=0) for i in range(chameneos)]
    began = time.perf_counter()
    for ref in creatures:
        ref.tell("begin")
    check(runtime.wait(), 2 * meetings)
    return time.perf_counter() - began, meetings


def _banking(runtime: Runtime, accounts: int, transactions: int) -> tuple[float, int]:
    """A teller orders transfers between accounts; each is debit, credit, reply."""

    balances = [1000.0] * accounts

    def account(self: Any, message: Any) -> None:
        kind, amount, other, teller = message
        if kind == "transfer":
            balances[self.number] -= amount
            other.tell(("credit", amount, self.actor_ref, teller))
        else:
            balances[self.number] += amount
            teller.tell((balances[self.number], amount))

    def teller(self: Any, message: Any) -> None:
        if message != "begin":
            self.done += 1
            if self.done == transactions:
                runtime.finish(transactions)
            return
        pick = random.Random(7)
        for _ in range(transactions):
            source = pick.randrange(accounts - 1)
            target = pick.randrange(source + 1, accounts)
            refs[source].tell(("transfer", pick.random() * 100, refs[target], self.actor_ref))

    make = actor(runtime, account)
    refs = [make(number=i) for i in range(accounts)]
    desk = actor(runtime, teller)(done=0)
    began = time.perf_counter()
    desk.tell("begin")
    check(runtime.wait(), transactions)
    seconds = time.perf_counter() - began
    check(round(sum(balances), 3), 1000.0 * accounts)
    return seconds, transactions


def _philosopher(runtime: Runtime, philosophers: int, meals: int) -> tuple[float, int]:
    """Philosophers ask an arbiter for both forks, and ask again when refused."""
    total = philosophers * meals

    def arbiter(self: Any, message: Any) -> None:
        kind, seat, who = message
        left, right = seat, (seat + 1) % philosophers
        if kind == "hungry":
            if self.taken[left] or self.taken[right]:
                who.tell("denied")
            else:
                self.taken[left] = self.taken[right] = True
                who.tell("eat")
        else:
            self.taken[left] = self.taken[right] = False
            self.eaten += 1
            if self.eaten == total:
                runtime.finish(self.eaten)

    def philosopher(self: Any, message: Any) -> None:
        if message == "eat":
            self.left -= 1
            self.arbiter.tell(("done", self.seat, self.actor_ref))
            if not self.left:
                return
        self.arbiter.tell(("hungry", self.seat, self.actor_ref))

    table = actor(runtime, arbiter)(taken=[False] * philosophers, eaten=0)
    make = actor(runtime, philosopher)
    refs = [make(arbiter=table, seat=i, left=meals) for i in range(philosophers)]
    began = time.perf_counter()
    for ref in refs:
        ref.tell("begin")
    check(runtime.wait(), total)
    return time.perf_counter() - began, total


count = define("count", "messages", SOURCE, {"messages": 1_000_000}, ("messages",))
pingpong = define("pingpong", "messages", SOURCE, {"pings": 40_000}, ("pings",))
threadring = define("threadring", "hops", SOURCE, {"actors": 100, "hops": 100_000}, ("hops",))
fjcreate = define("fjcreate", "actors", SOURCE, {"actors": 40_000}, ("actors",))
fjthrput = define("fjthrput", "messages", SOURCE, {"messages": 10_000, "actors": 60}, ("messages",))
big = define("big", "messages", SOURCE, {"messages": 20_000, "actors": 120}, ("messages",))
bndbuffer = define(
    "bndbuffer",
    "items",
    SOURCE,
    {"size": 50, "producers": 40, "consumers": 40, "items": 1000, "cost": 25},
    ("items",),
)
chameneos = define(
    "chameneos", "meetings", SOURCE, {"chameneos": 100, "meetings": 200_000}, ("meetings",)
)
banking = define(
    "banking", "transactions", SOURCE, {"accounts": 1000, "transactions": 50_000}, ("transactions",)
)
philosopher = define(
    "philosopher", "meals", SOURCE, {"philosophers": 20, "meals": 10_000}, ("meals",)
)

for _benchmark, _body in (
    (count, _count),
    (pingpong, _pingpong),
    (threadring, _threadring),
    (fjcreate, _fjcreate),
    (fjthrput, _fjthrput),
    (big, _big),
    (bndbuffer, _bndbuffer),
    (chameneos, _chameneos),
    (banking, _banking),
    (philosopher, _philosopher),
):
    _enter(_benchmark, _body)
