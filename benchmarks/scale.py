"""How cost grows: actors alive, messages waiting, children, and agents that wait for a model."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks._spec import Measurement, case, check, define

__all__: list[str] = []

idle = define("idle", "actors", "callboard", {"actors": 1_000_000}, ("actors",))
waiting = define("waiting", "agents", "callboard", {"agents": 10_000}, ("agents",))
lookup = define(
    "lookup", "look-ups", "callboard", {"actors": 20_000, "lookups": 2_000}, ("actors", "lookups")
)
slope_actors = define("slope-actors", "messages", "callboard", {"actors": 1_000_000}, ("actors",))
slope_messages = define(
    "slope-messages", "messages", "callboard", {"messages": 100_000}, ("messages",)
)
slope_children = define(
    "slope-children", "children", "callboard", {"children": 10_000}, ("children",)
)
fairness = define(
    "fairness", "messages", "callboard", {"actors": 1_000, "flood": 300_000}, ("flood",)
)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _quiet() -> type[Any]:
    from actors import Actor

    class Quiet(Actor):
        def on_receive(self, message: Any) -> Any:
            return message

    return Quiet


@case(idle, "callboard")
def _idle(actors: int) -> Measurement:
    """Memory of idle actors, and how long it takes to stop them all."""
    from actors import ActorSystem

    cls = _quiet()
    system = ActorSystem("bench")
    gc.collect()
    before = _resident_bytes()
    began = time.perf_counter()
    refs = [system.spawn(cls) for _ in range(actors)]
    spawned = time.perf_counter() - began
    used = _resident_bytes() - before
    check(refs[-1].ask("there"), "there")
    check(system.stats().actors, actors)
    del refs
    began = time.perf_counter()
    system.shutdown().get(timeout=300)
    stopped = time.perf_counter() - began
    check(system.stats().actors, 0)
    return Measurement(
        spawned,
        actors,
        {
            "bytes_per_actor": used / actors,
            "resident_mb": (before + used) / 1e6,
            "stop_all_seconds": stopped,
        },
    )


@case(waiting, "callboard-async")
def _waiting(agents: int) -> Measurement:
    """Agents that all wait one second for a model at the same time."""

    async def main() -> Measurement:
        from actors import Actor, ActorSystem

        class Waiting(Actor):
            async def on_receive(self, message: Any) -> Any:
                await asyncio.sleep(1)
                return message

        async with ActorSystem("bench") as system:
            refs = [system.spawn(Waiting) for _ in range(agents)]
            before = threading.active_count()
            began = time.perf_counter()
            futures = [ref.request(i) for i, ref in enumerate(refs)]
            total = 0
            for future in futures:
                total += await future
            seconds = time.perf_counter() - began
            check(total, agents * (agents - 1) // 2)
            return Measurement(
                seconds,
                agents,
                {"extra_threads": threading.active_count() - before, "wall_seconds": seconds},
            )

    return asyncio.run(main())


@case(waiting, "asyncio")
def _waiting_tasks(agents: int) -> Measurement:
    async def main() -> Measurement:
        async def agent(i: int) -> int:
            await asyncio.sleep(1)
            return i

        began = time.perf_counter()
        total = sum(await asyncio.gather(*(agent(i) for i in range(agents))))
        seconds = time.perf_counter() - began
        check(total, agents * (agents - 1) // 2)
        return Measurement(seconds, agents, {"wall_seconds": seconds})

    return asyncio.run(main())


@case(lookup, "callboard")
def _lookup(actors: int, lookups: int) -> Measurement:
    """Find and stop one of n actors, again and again."""
    from actors import ActorSystem

    cls = _quiet()
    with ActorSystem("bench") as system:
        for i in range(actors):
            system.spawn(cls, name=f"actor-{i}")
        began = time.perf_counter()
        for i in range(lookups):
            found = system.find(f"/actor-{i}")
            assert found is not None
            check(found.stop(), True)
        return Measurement(time.perf_counter() - began, lookups)


@case(lookup, "pykka", share=0.1)
def _lookup_pykka(actors: int, lookups: int) -> Measurement:
    """pykka keeps one list, so a tenth of the actors makes it ten times faster than it is."""
    import pykka

    class Quiet(pykka.ThreadingActor):
        pass

    urns = [Quiet.start().actor_urn for _ in range(actors)]
    began = time.perf_counter()
    for urn in urns[:lookups]:
        found = pykka.ActorRegistry.get_by_urn(urn)
        assert found is not None
        check(found.stop(), True)
    seconds = time.perf_counter() - began
    pykka.ActorRegistry.stop_all()
    return Measurement(seconds, min(lookups, actors))


@case(slope_actors, "callboard")
def _slope_actors(actors: int) -> Measurement:
    """One message to each of n actors, for n from a hundred on."""
    from actors import ActorSystem

    cls = _quiet()
    extra: dict[str, float] = {}
    n, total_seconds, total = 100, 0.0, 0
    while n <= actors:
        with ActorSystem("bench") as system:
            refs = [system.spawn(cls) for _ in range(n)]
            rounds = max(1, 20_000 // n)
            began = time.perf_counter()
            for _ in range(rounds):
                for ref in refs:
                    ref.tell(1)
            check(refs[-1].ask("end"), "end")
            while system.stats().waiting:
                check(refs[0].ask("end"), "end")
            seconds = time.perf_counter() - began
            extra[f"us_per_message_at_{n}"] = 1e6 * seconds / (rounds * n)
        total_seconds += seconds
        total += rounds * n
        n *= 10
    return Measurement(total_seconds, total, extra)


@case(slope_messages, "callboard")
def _slope_messages(messages: int) -> Measurement:
    """n messages that wait in one mailbox, for n from one on."""
    from actors import ActorSystem

    cls = _quiet()
    extra: dict[str, float] = {}
    n, total_seconds, total = 1, 0.0, 0
    with ActorSystem("bench") as system:
        while n <= messages:
            rounds = max(1, 5_000 // n)
            seconds = 0.0
            for _ in range(rounds):
                ref = system.spawn(cls)
                began = time.perf_counter()
                for i in range(n):
                    ref.tell(i)
                check(ref.ask("end"), "end")
                seconds += time.perf_counter() - began
                ref.stop()
            extra[f"us_per_message_at_{n}"] = 1e6 * seconds / (rounds * n)
            total_seconds += seconds
            total += rounds * n
            n *= 10
    return Measurement(total_seconds, total, extra)


@case(slope_children, "callboard")
def _slope_children(children: int) -> Measurement:
    """Start and stop n children of one actor, for n from one on."""
    from actors import Actor, ActorSystem

    cls = _quiet()

    class Parent(Actor):
        def on_receive(self, message: Any) -> Any:
            for _ in range(message):
                self.spawn(cls)
            return len(self.children)

    extra: dict[str, float] = {}
    n, total_seconds, total = 1, 0.0, 0
    with ActorSystem("bench") as system:
        while n <= children:
            rounds = max(1, 2_000 // n)
            seconds = 0.0
            for _ in range(rounds):
                parent = system.spawn(Parent)
                began = time.perf_counter()
                check(parent.ask(n), n)
                parent.stop()
                seconds += time.perf_counter() - began
            extra[f"us_per_child_at_{n}"] = 1e6 * seconds / (rounds * n)
            total_seconds += seconds
            total += rounds * n
            n *= 10
    return Measurement(total_seconds, total, extra)


@case(fairness, "callboard")
def _fairness(actors: int, flood: int) -> Measurement:
    """How long a thousand others wait while one actor has more than it can do."""
    from actors import Actor, ActorSystem

    class Timed(Actor):
        def on_receive(self, message: float) -> None:
            waits.append(time.perf_counter() - message)

    waits: list[float] = []
    every = max(1, flood // actors)
    with ActorSystem("bench") as system:
        busy = system.spawn(_quiet())
        others = [system.spawn(Timed) for _ in range(actors)]
        began = time.perf_counter()
        for i in range(flood):
            busy.tell(i)
            if i % every == 0:
                others[i // every % actors].tell(time.perf_counter())
        busy.ask("end")
        while system.stats().waiting:
            busy.ask("end")
        seconds = time.perf_counter() - began
    waits.sort()
    return Measurement(
        seconds,
        flood,
        {
            "worst_wait_ms": 1000 * waits[-1],
            "p99_wait_ms": 1000 * waits[int(len(waits) * 0.99)],
        },
    )
