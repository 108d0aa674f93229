"""Peers that can be asked from asyncio: each is opened as a context that yields how to start one.

`start(work)` starts an actor that answers each message with `await work(message)`, and returns the
function that asks it. Written once for all of them: ask-async, gather and waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

__all__ = ["ASKERS", "Start", "echo"]

Work = Callable[[Any], Awaitable[Any]]
Start = Callable[[Work], Awaitable[Callable[[Any], Awaitable[Any]]]]


async def echo(message: Any) -> Any:
    """Answer with the message."""
    return message


@asynccontextmanager
async def _callboard() -> AsyncIterator[Start]:
    """Async actors on the asker's own loop."""
    from actors import Actor, ActorSystem

    class Worker(Actor):
        def __init__(self, work: Work) -> None:
            super().__init__()
            self.work = work

        async def on_receive(self, message: Any) -> Any:
            return await self.work(message)

    async with ActorSystem("bench") as system:

        async def start(work: Work) -> Callable[[Any], Awaitable[Any]]:
            return system.spawn(Worker, work).request

        yield start


@asynccontextmanager
async def _asyncio() -> AsyncIterator[Start]:
    """A queue to ask through, a task that answers, and an asyncio future for each answer."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []

    async def start(work: Work) -> Callable[[Any], Awaitable[Any]]:
        queue: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()

        async def worker() -> None:
            while True:
                message, reply = await queue.get()
                reply.set_result(await work(message))

        def ask(message: Any) -> asyncio.Future[Any]:
            reply = loop.create_future()
            queue.put_nowait((message, reply))
            return reply

        tasks.append(asyncio.create_task(worker()))
        return ask

    yield start
    for task in tasks:
        task.cancel()


@asynccontextmanager
async def _xoscar() -> AsyncIterator[Start]:
    import xoscar

    class Worker(xoscar.Actor):  # type: ignore[misc]
        def __init__(self, work: Work) -> None:
            self.work = work

        async def answer(self, message: Any) -> Any:
            return await self.work(message)

    pool = await xoscar.create_actor_pool("127.0.0.1:0", n_process=0)
    async with pool:

        async def start(work: Work) -> Callable[[Any], Awaitable[Any]]:
            ref = await xoscar.create_actor(Worker, work, address=pool.external_address)
            ask: Callable[[Any], Awaitable[Any]] = ref.answer
            return ask

        yield start


@asynccontextmanager
async def _autogen() -> AsyncIterator[Start]:
    from autogen_core import AgentId, SingleThreadedAgentRuntime

    from benchmarks._autogen_agents import Token, Worker

    runtime = SingleThreadedAgentRuntime()
    started: list[str] = []

    async def start(work: Work) -> Callable[[Any], Awaitable[Any]]:
        name = f"worker{len(started)}"
        started.append(name)
        await Worker.register(runtime, name, lambda: Worker(work))
        agent = AgentId(name, "default")

        async def ask(message: Any) -> Any:
            return (await runtime.send_message(Token(message), agent)).left

        return ask

    runtime.start()
    yield start
    await runtime.stop()


ASKERS: dict[str, tuple[Callable[[], AbstractAsyncContextManager[Start]], float]] = {
    # name: (how to open it, the share of the asks it gets)
    "callboard-async": (_callboard, 1.0),
    "asyncio": (_asyncio, 1.0),
    "xoscar": (_xoscar, 0.2),
    "autogen": (_autogen, 0.1),
}
