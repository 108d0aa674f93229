"""Many actors: start and stop, memory, look-ups, and the wait beside a busy one."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks._runtimes import PATIENCE, RUNTIMES, Runtime, actor
from benchmarks._spec import Measurement, case, check, define

__all__ = ["idle", "spawn"]

spawn = define("spawn", "actors", "callboard", {"actors": 20_000}, ("actors",))
idle = define("idle", "actors", "callboard", {"actors": 1_000_000}, ("actors",))
lookup = define(
    "lookup", "look-ups", "callboard", {"actors": 20_000, "lookups": 2_000}, ("actors", "lookups")
)
fairness = define(
    "fairness",
    "messages",
    "callboard",
    {"actors": 1_000, "backlog": 1_000, "flood": 500_000},
    ("flood",),
)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _quiet(base: type[Any]) -> type[Any]:
    class Quiet(base):  # type: ignore[misc]
        def on_receive(self, message: Any) -> Any:
            return message

    return Quiet


def _per_actor(actors: int, began: float, born: float, ended: float) -> Measurement:
    """Tell what starting and stopping cost, and each for itself."""
    return Measurement(
        ended - began,
        actors,
        {"spawn_us": 1e6 * (born - began) / actors, "stop_us": 1e6 * (ended - born) / actors},
    )


def _spawn(runtime: Runtime, actors: int) -> Measurement:
    stopped: list[int] = []

    class Brief(runtime.base):  # type: ignore[name-defined,misc]
        def on_receive(self, message: Any) -> Any:
            return message

        def on_stop(self) -> None:
            stopped.append(1)

    class BriefAsync(Brief):
        async def on_receive(self, message: Any) -> Any:
            return message

    cls = BriefAsync if runtime.asynchronous else Brief
    began = time.perf_counter()
    refs = [runtime.spawn(cls) for _ in range(actors)]
    check(refs[-1].ask("there"), "there")
    born = time.perf_counter()
    for ending in [ref.stop(block=False) for ref in refs]:
        ending.get(timeout=PATIENCE)
    ended = time.perf_counter()
    check(len(stopped), actors)
    return _per_actor(actors, began, born, ended)


def _enter_spawn(peer: str, share: float) -> None:
    opened, _ = RUNTIMES[peer]

    @case(spawn, peer, share=share)
    def run(actors: int) -> Measurement:
        with opened() as runtime:
            return _spawn(runtime, actors)


_enter_spawn("callboard", 1.0)
_enter_spawn("callboard-async", 1.0)
_enter_spawn("pykka", 0.05)


@case(spawn, "asyncio")
def _spawn_tasks(actors: int) -> Measurement:
    """A task with a queue for each, cancelled and waited for."""

    async def main() -> Measurement:
        stopped: list[int] = []

        async def live(queue: asyncio.Queue[asyncio.Future[str]]) -> None:
            try:
                while True:
                    (await queue.get()).set_result("there")
            finally:
                stopped.append(1)

        began = time.perf_counter()
        queues: list[asyncio.Queue[asyncio.Future[str]]] = [asyncio.Queue() for _ in range(actors)]
        tasks = [asyncio.create_task(live(queue)) for queue in queues]
        reply: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        queues[-1].put_nowait(reply)
        check(await reply, "there")
        born = time.perf_counter()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        ended = time.perf_counter()
        check(len(stopped), actors)
        return _per_actor(actors, began, born, ended)

    return asyncio.run(main())


@case(idle, "callboard")
def _idle(actors: int) -> Measurement:
    """Memory of idle actors, and how long it takes to stop them all."""
    from actors import Actor, ActorSystem

    cls = _quiet(Actor)
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
    system.shutdown().get(timeout=PATIENCE)
    stopped = time.perf_counter() - began
    check(system.stats().actors, 0)
    return Measurement(
        spawned, actors, {"bytes_per_actor": used / actors, "stop_all_seconds": stopped}
    )


@case(idle, "pykka", share=0.002)
def _idle_threads(actors: int) -> Measurement:
    """A thread each, of which only what is resident counts."""
    import pykka

    cls = _quiet(pykka.ThreadingActor)
    cls.start().ask("warm")
    gc.collect()
    before = _resident_bytes()
    began = time.perf_counter()
    refs = [cls.start() for _ in range(actors)]
    spawned = time.perf_counter() - began
    used = _resident_bytes() - before
    check(refs[-1].ask("there"), "there")
    began = time.perf_counter()
    check(len(pykka.ActorRegistry.stop_all()), actors + 1)
    stopped = time.perf_counter() - began
    return Measurement(
        spawned, actors, {"bytes_per_actor": used / actors, "stop_all_seconds": stopped}
    )


@case(idle, "asyncio", share=0.1)
def _idle_tasks(actors: int) -> Measurement:
    """A task each that waits for its queue."""

    async def main() -> Measurement:
        gc.collect()
        before = _resident_bytes()
        began = time.perf_counter()
        queues: list[asyncio.Queue[None]] = [asyncio.Queue() for _ in range(actors)]
        tasks = [asyncio.create_task(queue.get()) for queue in queues]
        await asyncio.sleep(0)  # a turn of the loop, in which each task comes to its queue
        spawned = time.perf_counter() - began
        used = _resident_bytes() - before
        began = time.perf_counter()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        stopped = time.perf_counter() - began
        check(sum(isinstance(end, asyncio.CancelledError) for end in ended), actors)
        return Measurement(
            spawned, actors, {"bytes_per_actor": used / actors, "stop_all_seconds": stopped}
        )

    return asyncio.run(main())


@case(lookup, "callboard")
def _lookup(actors: int, lookups: int) -> Measurement:
    """Find and stop one of n actors, again and again."""
    from actors import Actor, ActorSystem

    cls = _quiet(Actor)
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

    urns = [_quiet(pykka.ThreadingActor).start().actor_urn for _ in range(actors)]
    began = time.perf_counter()
    for urn in urns[:lookups]:
        found = pykka.ActorRegistry.get_by_urn(urn)
        assert found is not None
        check(found.stop(), True)
    seconds = time.perf_counter() - began
    pykka.ActorRegistry.stop_all()
    return Measurement(seconds, min(lookups, actors))


def _fairness(runtime: Runtime, actors: int, backlog: int, flood: int) -> Measurement:
    """How long a message to each of a thousand waits beside an actor that always has work.

    The busy one has `backlog` messages in its mailbox from beginning to end. All the time the
    thousand are told at once, and again when the last of them has had its turn.
    """
    lock = threading.Lock()
    waits: list[float] = []
    heard = threading.Event()

    def busy(self: Any, message: Any) -> None:
        if message is None:
            for i in range(backlog):
                self.actor_ref.tell(i)
            return
        self.left -= 1
        if self.left > 0:
            self.actor_ref.tell(message)
        elif not self.left:
            runtime.finish(flood)

    def timed(self: Any, told: float) -> None:
        wait = time.perf_counter() - told
        with lock:
            waits.append(wait)
            last = not len(waits) % actors
        if last:
            heard.set()

    make = actor(runtime, timed)
    others = [make() for _ in range(actors)]
    one = actor(runtime, busy)(left=flood)
    rounds = 0
    began = time.perf_counter()
    one.tell(None)
    while runtime.answer is None or not rounds:
        for ref in others:
            ref.tell(time.perf_counter())
        rounds += 1
        if not heard.wait(PATIENCE):
            raise TimeoutError("somebody starves")
        heard.clear()
    seconds = time.perf_counter() - began
    check(runtime.wait(), flood)
    check(len(waits), rounds * actors)
    waits.sort()
    return Measurement(
        seconds,
        flood + len(waits),
        {
            "worst_wait_ms": 1000 * waits[-1],
            "p99_wait_ms": 1000 * waits[int(len(waits) * 0.99)],
            "median_wait_ms": 1000 * waits[len(waits) // 2],
        },
    )


def _enter_fairness(peer: str, share: float) -> None:
    opened, _ = RUNTIMES[peer]

    @case(fairness, peer, share=share)
    def run(**params: int) -> Measurement:
        with opened() as runtime:
            return _fairness(runtime, **params)


_enter_fairness("callboard", 1.0)
_enter_fairness("callboard-async", 1.0)
_enter_fairness("pykka", 0.2)
