"""autogen-core's side: routed agents on its single-threaded runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    message_handler,
)

from benchmarks._spec import check

__all__ = ["run_count", "run_pingpong", "run_step"]


@dataclass
class Token:
    left: int


class Counter(RoutedAgent):
    seen = 0

    @message_handler
    async def count(self, message: Token, ctx: MessageContext) -> Token:
        type(self).seen += 1
        return message


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
    runtime = SingleThreadedAgentRuntime()
    await _register(runtime, Counter, "counter")
    runtime.start()
    counter = AgentId("counter", "default")
    began = time.perf_counter()
    for i in range(messages):
        await runtime.send_message(Token(i), counter)
    check(Counter.seen, messages)
    seconds = time.perf_counter() - began
    await runtime.stop()
    return seconds


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
        await runtime.send_message(Token(here - 1), AgentId("ping", "default"))
        left -= here
    seconds = time.perf_counter() - began
    await runtime.stop()
    return seconds


async def run_step(steps: int) -> float:
    """One agent asked once, again and again: the bare step of a workflow."""
    return await run_count(steps)
