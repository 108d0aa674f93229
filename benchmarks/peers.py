"""Savina's work where it can be expressed without callboard's and pykka's calls.

asyncio      a coroutine and an `asyncio.Queue` for each actor
deque        a bare loop over one deque of (handler, message): the interpreter's limit
thespian     its actor system of queues and threads, `multiprocQueueBase`
xoscar       actors in one process, awaited
autogen      autogen-core's SingleThreadedAgentRuntime
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks._spec import Measurement, case, check
from benchmarks.savina import count, fjthrput, pingpong, threadring

__all__: list[str] = []


# -- asyncio queues --------------------------------------------------------------------------


@case(count, "asyncio")
def _asyncio_count(messages: int) -> Measurement:
    async def main() -> float:
        queue: asyncio.Queue[int | None] = asyncio.Queue()

        async def counter() -> int:
            seen = 0
            while await queue.get() is not None:
                seen += 1
            return seen

        task = asyncio.create_task(counter())
        began = time.perf_counter()
        for i in range(messages):
            queue.put_nowait(i)
        queue.put_nowait(None)
        check(await task, messages)
        return time.perf_counter() - began

    return Measurement(asyncio.run(main()), messages)


@case(pingpong, "asyncio")
def _asyncio_pingpong(pings: int) -> Measurement:
    async def main() -> float:
        here: asyncio.Queue[int] = asyncio.Queue()
        there: asyncio.Queue[int] = asyncio.Queue()

        async def pong() -> None:
            for _ in range(pings):
                here.put_nowait(await there.get())

        async def ping() -> int:
            seen = 0
            for i in range(pings):
                there.put_nowait(i)
                await here.get()
                seen += 1
            return seen

        began = time.perf_counter()
        seen, _ = await asyncio.gather(ping(), pong())
        check(seen, pings)
        return time.perf_counter() - began

    return Measurement(asyncio.run(main()), 2 * pings)


@case(threadring, "asyncio")
def _asyncio_threadring(actors: int, hops: int) -> Measurement:
    async def main() -> float:
        queues: list[asyncio.Queue[int]] = [asyncio.Queue() for _ in range(actors)]
        done = asyncio.get_running_loop().create_future()

        async def station(i: int) -> None:
            mine, following = queues[i], queues[(i + 1) % actors]
            while True:
                left = await mine.get()
                if not left:
                    done.set_result("round")
                    return
                following.put_nowait(left - 1)

        tasks = [asyncio.create_task(station(i)) for i in range(actors)]
        began = time.perf_counter()
        queues[0].put_nowait(hops)
        check(await done, "round")
        seconds = time.perf_counter() - began
        for task in tasks:
            task.cancel()
        return seconds

    return Measurement(asyncio.run(main()), hops)


@case(fjthrput, "asyncio")
def _asyncio_fjthrput(messages: int, actors: int) -> Measurement:
    async def main() -> float:
        from benchmarks.savina import _burn

        async def worker(queue: asyncio.Queue[int]) -> int:
            seen = 0
            while seen < messages:
                _burn(await queue.get())
                seen += 1
            return seen

        queues: list[asyncio.Queue[int]] = [asyncio.Queue() for _ in range(actors)]
        tasks = [asyncio.create_task(worker(queue)) for queue in queues]
        began = time.perf_counter()
        for _ in range(messages):
            for queue in queues:
                queue.put_nowait(1)
        check(sum(await asyncio.gather(*tasks)), messages * actors)
        return time.perf_counter() - began

    return Measurement(asyncio.run(main()), messages * actors)


# -- a bare deque ----------------------------------------------------------------------------


class _Bare:
    """The least that can be called an actor: a handler, and one queue for all."""

    def __init__(self, queue: deque[tuple[Callable[[Any], None], Any]]) -> None:
        self.queue = queue

    def receive(self, message: Any) -> None:
        raise NotImplementedError


def _run_bare(queue: deque[tuple[Callable[[Any], None], Any]]) -> None:
    while queue:
        handler, message = queue.popleft()
        handler(message)


@case(count, "deque")
def _deque_count(messages: int) -> Measurement:
    class Counter(_Bare):
        seen = 0

        def receive(self, message: Any) -> None:
            self.seen += 1

    queue: deque[tuple[Callable[[Any], None], Any]] = deque()
    counter = Counter(queue)
    began = time.perf_counter()
    for i in range(messages):
        queue.append((counter.receive, i))
    _run_bare(queue)
    check(counter.seen, messages)
    return Measurement(time.perf_counter() - began, messages)


@case(pingpong, "deque")
def _deque_pingpong(pings: int) -> Measurement:
    class Player(_Bare):
        other: Player
        seen = 0

        def receive(self, message: Any) -> None:
            self.seen += 1
            if message:
                self.queue.append((self.other.receive, message - 1))

    queue: deque[tuple[Callable[[Any], None], Any]] = deque()
    one, other = Player(queue), Player(queue)
    one.other, other.other = other, one
    began = time.perf_counter()
    queue.append((one.receive, 2 * pings))
    _run_bare(queue)
    check(one.seen + other.seen, 2 * pings + 1)
    return Measurement(time.perf_counter() - began, 2 * pings)


@case(threadring, "deque")
def _deque_threadring(actors: int, hops: int) -> Measurement:
    class Station(_Bare):
        following: Station
        seen = 0

        def receive(self, message: Any) -> None:
            self.seen += 1
            if message:
                self.queue.append((self.following.receive, message - 1))

    queue: deque[tuple[Callable[[Any], None], Any]] = deque()
    ring = [Station(queue) for _ in range(actors)]
    for i, station in enumerate(ring):
        station.following = ring[(i + 1) % actors]
    began = time.perf_counter()
    queue.append((ring[0].receive, hops))
    _run_bare(queue)
    check(sum(station.seen for station in ring), hops + 1)
    return Measurement(time.perf_counter() - began, hops)


# -- thespian --------------------------------------------------------------------------------


@case(pingpong, "thespian", share=0.1)
def _thespian_pingpong(pings: int) -> Measurement:
    from benchmarks._thespian_actors import run_pingpong

    return Measurement(run_pingpong(pings), 2 * pings)


@case(count, "thespian", share=0.01)
def _thespian_count(messages: int) -> Measurement:
    from benchmarks._thespian_actors import run_count

    return Measurement(run_count(messages), messages)


# -- xoscar ----------------------------------------------------------------------------------


@case(pingpong, "xoscar", share=0.1)
def _xoscar_pingpong(pings: int) -> Measurement:
    from benchmarks._xoscar_actors import run_pingpong

    return Measurement(asyncio.run(run_pingpong(pings)), 2 * pings)


@case(count, "xoscar", share=0.05)
def _xoscar_count(messages: int) -> Measurement:
    from benchmarks._xoscar_actors import run_count

    return Measurement(asyncio.run(run_count(messages)), messages)


# -- autogen-core ----------------------------------------------------------------------------


@case(pingpong, "autogen", share=0.1)
def _autogen_pingpong(pings: int) -> Measurement:
    from benchmarks._autogen_agents import run_pingpong

    return Measurement(asyncio.run(run_pingpong(pings)), 2 * pings)


@case(count, "autogen", share=0.01)
def _autogen_count(messages: int) -> Measurement:
    from benchmarks._autogen_agents import run_count

    return Measurement(asyncio.run(run_count(messages)), messages)
