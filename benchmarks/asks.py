"""Asking and waiting: round trips from everywhere, fan-out with gather, and slow models."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from benchmarks._askers import ASKERS, Start, echo
from benchmarks._runtimes import RUNTIMES
from benchmarks._spec import Benchmark, Measurement, case, check, define

__all__ = ["ask_actor", "gathers", "waiting"]

ask_thread = define("ask-thread", "asks", "callboard", {"asks": 50_000}, ("asks",))
ask_actor = define("ask-actor", "asks", "callboard", {"asks": 50_000}, ("asks",))
ask_async = define("ask-async", "asks", "callboard", {"asks": 20_000}, ("asks",))
WIDEST = 10_000

gathers = [
    define(
        f"gather-{width}",
        "replies",
        "callboard",
        {"replies": 50_000 if width < WIDEST else 2 * WIDEST, "width": width},
        ("replies", "width") if width == WIDEST else ("replies",),
    )
    for width in (1, 10, 100, WIDEST)
]
waiting = define("waiting", "agents", "callboard", {"agents": 10_000}, ("agents",))

MODEL_SECONDS = 1.0
"""How long the slow model of `waiting` takes."""


def _echo(base: type[Any]) -> type[Any]:
    class Echo(base):  # type: ignore[misc]
        def on_receive(self, message: Any) -> Any:
            return message

    return Echo


# -- from threads and actors ------------------------------------------------------------------


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


def _get_all(peer: str) -> Callable[[list[Any]], Any]:
    if peer == "pykka":
        import pykka

        return pykka.get_all
    import actors

    return actors.get_all


def _gathered(peer: str, spawn: Any, base: type[Any], replies: int, width: int) -> Measurement:
    get_all = _get_all(peer)
    refs = [spawn(_echo(base)) for _ in range(width)]
    rounds = max(1, replies // width)
    total = 0
    began = time.perf_counter()
    for _ in range(rounds):
        total += sum(get_all([ref.ask(1, block=False) for ref in refs]))
    seconds = time.perf_counter() - began
    check(total, rounds * width)
    return Measurement(seconds, total)


def _enter_sync(peer: str, share: float) -> None:
    opened, _ = RUNTIMES[peer]

    @case(ask_thread, peer, share=share)
    def thread(asks: int) -> Measurement:
        with opened() as runtime:
            return _from_thread(runtime.spawn, runtime.base, asks)

    @case(ask_actor, peer, share=share)
    def actor(asks: int) -> Measurement:
        with opened() as runtime:
            return _from_actor(runtime.spawn, runtime.base, asks)

    for benchmark in gathers:

        @case(benchmark, peer, share=1.0 if benchmark.params["width"] == WIDEST else share)
        def gather(replies: int, width: int) -> Measurement:
            with opened() as runtime:
                return _gathered(peer, runtime.spawn, runtime.base, replies, width)


_enter_sync("callboard", 1.0)
_enter_sync("pykka", 0.1)


@case(ask_thread, "thespian", share=0.1)
def _thread_thespian(asks: int) -> Measurement:
    from thespian.actors import Actor, ActorSystem

    class Echo(Actor):  # type: ignore[misc]
        def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - its name
            if isinstance(message, int):
                self.send(sender, message)

    patience = timedelta(seconds=60)
    system = ActorSystem("simpleSystemBase")
    try:
        ref = system.createActor(Echo)
        began = time.perf_counter()
        total = 0
        for i in range(asks):
            total += system.ask(ref, i, patience)
        seconds = time.perf_counter() - began
    finally:
        system.shutdown()
    check(total, asks * (asks - 1) // 2)
    return Measurement(seconds, asks)


# -- from asyncio -----------------------------------------------------------------------------


async def _awaited(ask: Callable[[Any], Any], asks: int) -> Measurement:
    await ask(0)
    began = time.perf_counter()
    total = 0
    for i in range(asks):
        total += await ask(i)
    seconds = time.perf_counter() - began
    check(total, asks * (asks - 1) // 2)
    return Measurement(seconds, asks)


async def _gathered_awaiting(start: Start, replies: int, width: int) -> Measurement:
    askers = [await start(echo) for _ in range(width)]
    rounds = max(1, replies // width)
    total = 0
    began = time.perf_counter()
    for _ in range(rounds):
        total += sum(await asyncio.gather(*(ask(1) for ask in askers)))
    seconds = time.perf_counter() - began
    check(total, rounds * width)
    return Measurement(seconds, total)


async def _waited(start: Start, agents: int) -> Measurement:
    async def model(message: Any) -> Any:
        await asyncio.sleep(MODEL_SECONDS)
        return message

    askers = [await start(model) for _ in range(agents)]
    began = time.perf_counter()
    answers = await asyncio.gather(*(ask(i) for i, ask in enumerate(askers)))
    seconds = time.perf_counter() - began
    check(sum(answers), agents * (agents - 1) // 2)
    return Measurement(
        seconds, agents, {"wall_seconds": seconds, "threads": threading.active_count()}
    )


def _enter_async(
    peer: str, opened: Callable[[], AbstractAsyncContextManager[Start]], share: float
) -> None:
    def on(benchmark: Benchmark, body: Callable[..., Any], share: float) -> None:
        @case(benchmark, peer, share=share)
        def run(**params: int) -> Measurement:
            async def main() -> Measurement:
                async with opened() as start:
                    measured: Measurement = await body(start, **params)
                return measured

            return asyncio.run(main())

    async def asked(start: Start, asks: int) -> Measurement:
        return await _awaited(await start(echo), asks)

    on(ask_async, asked, share)
    for benchmark in gathers:
        on(benchmark, _gathered_awaiting, 1.0 if benchmark.params["width"] == WIDEST else share)
    on(waiting, _waited, 1.0)


for _peer, (_opened, _share) in ASKERS.items():
    _enter_async(_peer, _opened, _share)


@case(ask_async, "callboard")
def _async_to_pool(asks: int) -> Measurement:
    """A sync actor on the pool, asked from a loop: two changes of thread an ask."""

    async def main() -> Measurement:
        from actors import Actor, ActorSystem

        async with ActorSystem("bench") as system:
            return await _awaited(system.spawn(_echo(Actor)).request, asks)

    return asyncio.run(main())


@case(ask_async, "pykka", share=0.2)
def _async_pykka(asks: int) -> Measurement:
    """pykka's blocking ask, which is what its await comes down to."""
    opened, _ = RUNTIMES["pykka"]
    with opened() as runtime:
        return _from_thread(runtime.spawn, runtime.base, asks)


# -- slow models ------------------------------------------------------------------------------


@case(waiting, "callboard")
def _waiting_agents(agents: int) -> Measurement:
    """Agents, with all that an `Agent` adds to an actor."""

    async def main() -> Measurement:
        from actors import ActorSystem, Agent

        async with ActorSystem("bench") as system:
            names = (f"agent-{number}" for number in itertools.count())

            async def start(work: Any) -> Any:
                agent = Agent(work, name=next(names), system=system)

                async def ask(message: Any) -> int:
                    return int((await agent.run(str(message))).text)

                return ask

            return await _waited(start, agents)

    return asyncio.run(main())


@case(waiting, "pykka")
def _waiting_threads(agents: int) -> Measurement:
    """A thread for each agent."""
    import pykka

    class Waiting(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            time.sleep(MODEL_SECONDS)
            return message

    try:
        refs = [Waiting.start() for _ in range(agents)]
        began = time.perf_counter()
        answers = pykka.get_all([ref.ask(i, block=False) for i, ref in enumerate(refs)])
        seconds = time.perf_counter() - began
        threads = threading.active_count()
    finally:
        pykka.ActorRegistry.stop_all()
    check(sum(answers), agents * (agents - 1) // 2)
    return Measurement(seconds, agents, {"wall_seconds": seconds, "threads": threads})


@case(waiting, "langgraph")
def _waiting_graphs(agents: int) -> Measurement:
    """One graph of one node, invoked for each agent."""
    from typing import TypedDict

    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        number: int

    async def main() -> Measurement:
        async def start(_: Any) -> Any:
            async def ask(message: Any) -> Any:
                return (await compiled.ainvoke({"number": message}))["number"]

            return ask

        async def model(state: Any) -> Any:
            await asyncio.sleep(MODEL_SECONDS)
            return {"number": state["number"]}

        graph = StateGraph(State)
        graph.add_node("model", model)
        graph.add_edge(START, "model")
        graph.add_edge("model", END)
        compiled = graph.compile()
        return await _waited(start, agents)

    return asyncio.run(main())
