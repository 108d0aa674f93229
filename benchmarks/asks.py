"""Asking and waiting: round trips from everywhere, and fan-out with gather."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks._spec import Measurement, case, check, define

__all__: list[str] = []

ask_thread = define("ask-thread", "asks", "callboard", {"asks": 50_000}, ("asks",))
ask_actor = define("ask-actor", "asks", "callboard", {"asks": 50_000}, ("asks",))
ask_async = define("ask-async", "asks", "callboard", {"asks": 20_000}, ("asks",))
gather = define("gather", "replies", "callboard", {"replies": 50_000, "width": 100}, ("replies",))


def _echo(base: type[Any]) -> type[Any]:
    class Echo(base):  # type: ignore[misc]
        def on_receive(self, message: Any) -> Any:
            return message

    return Echo


def _from_thread(spawn: Any, base: type[Any], asks: int) -> Measurement:
    ref = spawn(_echo(base))
    ref.ask(0)
    began = time.perf_counter()
    total = 0
    for i in range(asks):
        total += ref.ask(i)
    seconds = time.perf_counter() - began
    check(total, asks * (asks - 1) // 2)
    return Measurement(seconds, asks)


def _from_actor(spawn: Any, base: type[Any], asks: int) -> Measurement:
    class Asker(base):  # type: ignore[misc]
        def on_receive(self, message: Any) -> Any:
            ref, asks = message
            began = time.perf_counter()
            total = 0
            for i in range(asks):
                total += ref.ask(i)
            return time.perf_counter() - began, total

    seconds, total = spawn(Asker).ask((spawn(_echo(base)), asks))
    check(total, asks * (asks - 1) // 2)
    return Measurement(seconds, asks)


def _gathered(spawn: Any, base: type[Any], replies: int, width: int, get_all: Any) -> Measurement:
    refs = [spawn(_echo(base)) for _ in range(width)]
    rounds = max(1, replies // width)
    began = time.perf_counter()
    for i in range(rounds):
        values = get_all([ref.ask(i, block=False) for ref in refs])
        check(len(list(values)), width)
    return Measurement(time.perf_counter() - began, rounds * width)


@case(ask_thread, "callboard")
def _thread(asks: int) -> Measurement:
    from actors import Actor, ActorSystem

    with ActorSystem("bench") as system:
        return _from_thread(system.spawn, Actor, asks)


@case(ask_thread, "pykka", share=0.2)
def _thread_pykka(asks: int) -> Measurement:
    import pykka

    try:
        return _from_thread(lambda cls: cls.start(), pykka.ThreadingActor, asks)
    finally:
        pykka.ActorRegistry.stop_all()


@case(ask_actor, "callboard")
def _actor(asks: int) -> Measurement:
    from actors import Actor, ActorSystem

    with ActorSystem("bench") as system:
        return _from_actor(system.spawn, Actor, asks)


@case(ask_actor, "pykka", share=0.2)
def _actor_pykka(asks: int) -> Measurement:
    import pykka

    try:
        return _from_actor(lambda cls: cls.start(), pykka.ThreadingActor, asks)
    finally:
        pykka.ActorRegistry.stop_all()


async def _awaited(spawn: Any, cls: type[Any], asks: int) -> Measurement:
    ref = spawn(cls)
    await ref.request(0)
    began = time.perf_counter()
    total = 0
    for i in range(asks):
        total += await ref.request(i)
    seconds = time.perf_counter() - began
    check(total, asks * (asks - 1) // 2)
    return Measurement(seconds, asks)


@case(ask_async, "callboard-async")
def _async(asks: int) -> Measurement:
    """An async actor on the asker's own loop."""

    async def main() -> Measurement:
        from actors import Actor, ActorSystem

        class Echo(Actor):
            async def on_receive(self, message: Any) -> Any:
                return message

        async with ActorSystem("bench") as system:
            return await _awaited(system.spawn, Echo, asks)

    return asyncio.run(main())


@case(ask_async, "callboard")
def _async_to_pool(asks: int) -> Measurement:
    """A sync actor on the pool, asked from a loop: two changes of thread an ask."""

    async def main() -> Measurement:
        from actors import Actor, ActorSystem

        async with ActorSystem("bench") as system:
            return await _awaited(system.spawn, _echo(Actor), asks)

    return asyncio.run(main())


@case(ask_async, "pykka", share=0.2)
def _async_pykka(asks: int) -> Measurement:
    """pykka's blocking ask, which is what its await comes down to."""
    import pykka

    try:
        return _from_thread(lambda cls: cls.start(), pykka.ThreadingActor, asks)
    finally:
        pykka.ActorRegistry.stop_all()


@case(ask_async, "asyncio")
def _async_queues(asks: int) -> Measurement:
    """A queue to ask through and an asyncio future to answer with."""

    async def main() -> Measurement:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue()

        async def echo() -> None:
            while True:
                value, reply = await queue.get()
                reply.set_result(value)

        task = asyncio.create_task(echo())
        began = time.perf_counter()
        total = 0
        for i in range(asks):
            reply: asyncio.Future[int] = loop.create_future()
            queue.put_nowait((i, reply))
            total += await reply
        seconds = time.perf_counter() - began
        task.cancel()
        check(total, asks * (asks - 1) // 2)
        return Measurement(seconds, asks)

    return asyncio.run(main())


@case(gather, "callboard")
def _gather(replies: int, width: int) -> Measurement:
    from actors import Actor, ActorSystem, get_all

    with ActorSystem("bench") as system:
        return _gathered(system.spawn, Actor, replies, width, get_all)


@case(gather, "pykka", share=0.1)
def _gather_pykka(replies: int, width: int) -> Measurement:
    import pykka

    try:
        return _gathered(
            lambda cls: cls.start(), pykka.ThreadingActor, replies, width, pykka.get_all
        )
    finally:
        pykka.ActorRegistry.stop_all()
