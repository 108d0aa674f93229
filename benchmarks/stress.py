"""Millions of messages from threads, from loops, and from everything at once, while actors end.

threads     sent by threads to actors on the pool
loops       sent by coroutines on loops to async actors
mixed       sent by threads, loops and actors of both kinds to actors of all kinds

Each run ends with the balance `sent == handled + dead + waiting`, whose sides are counted here as
well: what senders sent, what handlers handled, the dead letters that were published, and what the
tree shows as waiting. The messages of one sender come in order; at actors that nobody ends, all of
them come, and at those that are crashed, killed and stopped all the time, none hangs.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks._spec import Measurement, case, check, define

__all__: list[str] = []

BURST = 250
"""Rounds after which a sender waits until one of the lasting actors has come to its messages."""

REAPERS = 4
"""Threads that end actors; each waits for an answer between two deeds, so one would do little."""

PATIENCE = 120.0
"""Seconds until a wait for rest, or for an answer, counts as hanging."""


class Counts:
    """What is counted outside of the runtime.

    Attributes:
        sent: messages that were accepted.
        unsure: requests whose actor was dead, or died with them in its mailbox: only the latter
            were accepted, and their senders cannot tell.
        handled: messages whose handler ended well.
        dead: dead letters published, late replies left out.
        deeds: crashes, kills and stops.
        last: of each lasting actor, the last number of each sender.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = self.unsure = self.handled = self.dead = self.deeds = 0
        self.last: list[dict[int, int]] = []

    def add(self, **counts: int) -> None:
        """Add to the counts of these names."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def bury(self, letter: Any) -> None:
        """Count a dead letter."""
        if letter.kind != "late_reply":
            self.add(dead=1)


def _specs(ways: str, counts: Counts) -> Callable[[int, bool], Any]:
    """Return a function from a number, and whether it lasts, to an actor's specification."""
    from actors import Actor, ChildSpec

    class Target(Actor):
        """Counts, and holds each sender to its order."""

        def __init__(self, lasting: bool) -> None:
            self.lasting = lasting
            self.last: dict[int, int] = {}
            self.handled = 0

        def on_receive(self, message: Any) -> None:
            if message == "crash":
                raise ValueError(message)
            if message != "pace":
                sender, number = message
                before = self.last.get(sender, -1)
                if number <= before or (self.lasting and number != before + 1):
                    raise AssertionError(f"{number} of sender {sender} came after {before}")
                self.last[sender] = number
            self.handled += 1

        def on_stop(self) -> None:
            counts.add(handled=self.handled)
            if self.lasting:
                counts.last.append(self.last)

        def on_failure(self, *_: object) -> None:
            counts.add(handled=self.handled)

    class TargetOnLoop(Target):
        async def on_receive(self, message: Any) -> None:  # type: ignore[override]
            if message == "pace" or not message[1] % 100:
                await asyncio.sleep(0)  # so that kills and stops find it suspended
            super().on_receive(message)

    kinds: dict[str, tuple[tuple[type[Actor], str | None], ...]] = {
        "threads": ((Target, None),),
        "loops": ((TargetOnLoop, None),),
        "mixed": ((Target, None), (TargetOnLoop, None), (Target, "pinned"), (TargetOnLoop, None)),
    }
    restarts = ("permanent", "transient", "temporary")

    def spec(number: int, lasting: bool) -> ChildSpec:
        cls, dispatcher = kinds[ways][number % len(kinds[ways])]
        restart: Any = restarts[number % len(restarts)]
        return ChildSpec(cls, (lasting,), restart=restart, dispatcher=dispatcher)  # type: ignore[arg-type]

    return spec


class Field:
    """The actors under fire: those that last, and mortals that end and are replaced."""

    def __init__(self, system: Any, ways: str, counts: Counts, lasting: int, mortals: int) -> None:
        self._system = system
        self._spec = _specs(ways, counts)
        self.counts = counts
        self.lasting = [system.spawn(self._spec(i, True)) for i in range(lasting)]
        self.mortals = [system.spawn(self._spec(i, False)) for i in range(mortals)]
        self.over = threading.Event()

    def reap(self, number: int) -> None:
        """End mortals in every way, and start others in their places, until it is over.

        Args:
            number: which reaper it is; each has places of its own.
        """
        from actors import ActorDeadError

        chance = random.Random(number)
        while not self.over.is_set():
            place = chance.randrange(number, len(self.mortals), REAPERS)
            ref = self.mortals[place]
            try:
                match chance.randrange(6):
                    case 0:
                        ref.kill()
                    case 1:
                        ref.stop(block=False)
                    case 2:
                        ref.stop(block=False, drain=False)
                    case _:
                        ref.tell("crash")
                        self.counts.add(sent=1)
            except ActorDeadError:
                pass
            self.counts.add(deeds=1)
            try:
                # Its own pace is that of the others.
                ref.request("pace").get(timeout=PATIENCE)
                self.counts.add(sent=1)
            except ActorDeadError:
                self.counts.add(unsure=1)
            if not ref.is_alive():
                self.mortals[place] = self._system.spawn(self._spec(place, False))


class Sender:
    """Sends numbered messages, each to all that last and to one mortal."""

    def __init__(self, number: int, rounds: int, field: Field) -> None:
        self.number = number
        self.rounds = rounds
        self.field = field
        self.next = 0

    def burst(self) -> bool:
        """Send some; tell whether there are more to send."""
        from actors import ActorDeadError

        lasting, mortals = self.field.lasting, self.field.mortals
        end = min(self.next + BURST, self.rounds)
        sent = (end - self.next) * (len(lasting) + 1)
        for number in range(self.next, end):
            message = (self.number, number)
            for ref in lasting:
                ref.tell(message)
            try:
                mortals[number % len(mortals)].tell(message)
            except ActorDeadError:
                sent -= 1
        self.next = end
        self.field.counts.add(sent=sent)
        return end < self.rounds

    def pace(self) -> Any:
        """Ask one of those that last; it comes to that when it has handled what was sent."""
        lasting = self.field.lasting
        self.field.counts.add(sent=1)
        return lasting[(self.number + self.next // BURST) % len(lasting)].request("pace")

    def work(self) -> None:
        """Send everything, blocking."""
        more = True
        while more:
            more = self.burst()
            self.pace().get(timeout=PATIENCE)

    async def work_awaiting(self) -> None:
        """Send everything, awaiting."""
        more = True
        while more:
            more = self.burst()
            async with asyncio.timeout(PATIENCE):
                await self.pace()


def _in_actor(system: Any, sender: Sender) -> None:
    """Have an actor send: on the pool or on the loop, by the sender's number."""
    from actors import Actor

    class Relay(Actor):
        def on_receive(self, message: Any) -> None:
            sender.work()

    class RelayOnLoop(Actor):
        async def on_receive(self, message: Any) -> None:
            await sender.work_awaiting()

    cls = RelayOnLoop if sender.number % 2 else Relay
    system.spawn(cls).request("begin").get()
    sender.field.counts.add(sent=1, handled=1)


def _job(system: Any, ways: str, sender: Sender) -> Callable[[], None]:
    if ways == "mixed":
        ways = ("threads", "loops", "actors")[sender.number % 3]
    if ways == "threads":
        return sender.work
    if ways == "loops":
        return lambda: asyncio.run(sender.work_awaiting())
    return partial(_in_actor, system, sender)


def _run_all(jobs: list[Callable[[], None]], field: Field) -> None:
    """Run each job on a thread while the reapers are at work; raise what any of them raised."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    reapers = [
        threading.Thread(target=guarded, args=(partial(field.reap, number),))
        for number in range(REAPERS)
    ]
    workers = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in (*reapers, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    field.over.set()
    for thread in reapers:
        thread.join()
    if errors:
        raise errors[0]


def _come_to_rest(system: Any) -> None:
    """Wait until the counters and the tree agree that nothing waits."""

    def waiting(node: Any) -> int:
        return int(node.waiting) + sum(map(waiting, node.children))

    until = time.monotonic() + PATIENCE
    while system.stats().waiting or waiting(system.tree()):
        if time.monotonic() > until:
            raise TimeoutError(f"messages wait forever: {system.stats()}")
        time.sleep(0.001)


def _stress(ways: str, messages: int, senders: int, lasting: int, mortals: int) -> Measurement:
    from actors import ActorSystem, DeadLetter, Supervision

    counts = Counts()
    rounds = max(1, messages // (senders * (lasting + 1)))
    tolerant = Supervision(intensity=1_000_000, period=0.001)
    with ActorSystem("bench", supervision=tolerant) as system:
        system.events.subscribe(counts.bury, DeadLetter)
        field = Field(system, ways, counts, lasting, mortals)
        jobs = [_job(system, ways, Sender(i, rounds, field)) for i in range(senders)]
        began = time.perf_counter()
        _run_all(jobs, field)
        _come_to_rest(system)
        seconds = time.perf_counter() - began
    stats = system.stats()
    assert counts.sent <= stats.sent <= counts.sent + counts.unsure, (vars(counts), stats)
    check(stats.sent, stats.handled + stats.dead)
    check(stats.handled, counts.handled)
    check(stats.dead, counts.dead)
    check(stats.actors, 0)
    check(counts.last, [dict.fromkeys(range(senders), rounds - 1)] * lasting)
    return Measurement(
        seconds,
        stats.sent,
        {"sent": stats.sent, "handled": stats.handled, "dead": stats.dead, "ended": counts.deeds},
    )


def _enter(ways: str) -> None:
    benchmark = define(
        f"stress-{ways}",
        "messages",
        "callboard",
        {"messages": 3_000_000, "senders": 6, "lasting": 4, "mortals": 12},
        ("messages",),
    )

    @case(benchmark, "callboard")
    def run(**params: int) -> Measurement:
        return _stress(ways, **params)


for _ways in ("threads", "loops", "mixed"):
    _enter(_ways)
