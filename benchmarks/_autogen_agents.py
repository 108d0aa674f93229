"""autogen-core's side: routed agents on its single-threaded runtime."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    TopicId,
    TypeSubscription,
    message_handler,
)

from benchmarks._spec import check

__all__ = ["Token", "Worker", "run_count", "run_pingpong", "run_step"]


@dataclass
class Token:
    left: int


class Worker(RoutedAgent):
    """Answers each token with one that holds what `work` made of its number."""

    def __init__(self, work: Callable[[Any], Awaitable[Any]]) -> None:
        super().__init__("worker")
        self._work = work

    @message_handler
    async def answer(self, message: Token, ctx: MessageContext) -> Token:
        return Token(await self._work(message.left))


class Counter(RoutedAgent):
    seen = 0

    @message_handler
    async def count(self, message: Token, ctx: MessageContext) -> None:
        type(self).seen += 1


class Player(RoutedAgent):
    @message_handler
    async def play(self, message: Token, ctx: MessageContext) -> Token:
        if not message.left:
            return message
        other = AgentId("pong" if self.id.type == "ping" else "ping", "default")
        answer: Token = await self.runtime.send_message(Token(message.left - 1), other)
        return answer


async def _register(runtime: SingleThreadedAgentRuntime, cls: Any, name: str) -> None:
    await cls.register(runtime, name, lambda: cls(name))


async def run_count(messages: int) -> float:
    """Published, since what is sent is awaited until it is answered."""
    runtime = SingleThreadedAgentRuntime()
    await _register(runtime, Counter, "counter")
    await runtime.add_subscription(TypeSubscription("counted", "counter"))
    topic = TopicId("counted", "default")
    began = time.perf_counter()
    runtime.start()
    for i in range(messages):
        await runtime.publish_message(Token(i), topic)
    await runtime.stop_when_idle()
    check(Counter.seen, messages)
    return time.perf_counter() - began


async def run_pingpong(pings: int) -> float:
    """Rounds of a hundred, since each reply waits on the stack for the next."""
    runtime = SingleThreadedAgentRuntime()
    await _register(runtime, Player, "ping")
    await _register(runtime, Player, "pong")
    runtime.start()
    began = time.perf_counter()
    left = 2 * pings
    while left:
        here = min(100, left)
        last = await runtime.send_message(Token(here - 1), AgentId("ping", "default"))
        check(last.left, 0)
        left -= here
    seconds = time.perf_counter() - began
    await runtime.stop()
    return seconds


async def run_step(steps: int) -> float:
    """One agent asked once, again and again: the bare step of a workflow."""

    async def work(number: int) -> int:
        return number + 1

    runtime = SingleThreadedAgentRuntime()
    await Worker.register(runtime, "worker", lambda: Worker(work))
    runtime.start()
    agent = AgentId("worker", "default")
    began = time.perf_counter()
    answer = Token(0)
    for _ in range(steps):
        answer = await runtime.send_message(answer, agent)
    seconds = time.perf_counter() - began
    check(answer.left, steps)
    await runtime.stop()
    return seconds
