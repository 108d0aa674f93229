"""xoscar's side: actors in the main pool of one process."""

from __future__ import annotations

import time
from typing import Any

import xoscar

from benchmarks._spec import check

__all__ = ["run_count", "run_pingpong"]

ADDRESS = "127.0.0.1:0"


class Counter(xoscar.Actor):  # type: ignore[misc]
    def __init__(self) -> None:
        self.seen = 0

    def add(self) -> None:
        self.seen += 1

    def get(self) -> int:
        return self.seen


class Pong(xoscar.Actor):  # type: ignore[misc]
    def pong(self, message: int) -> int:
        return message


class Ping(xoscar.Actor):  # type: ignore[misc]
    async def play(self, other: Any, pings: int) -> int:
        seen = 0
        for i in range(pings):
            await other.pong(i)
            seen += 1
        return seen


async def run_count(messages: int) -> float:
    pool = await xoscar.create_actor_pool(ADDRESS, n_process=0)
    async with pool:
        counter = await xoscar.create_actor(Counter, address=pool.external_address)
        began = time.perf_counter()
        for _ in range(messages):
            await counter.add.tell()
        # Calls of one actor take their turns, so this one comes last.
        check(await counter.get(), messages)
        return time.perf_counter() - began


async def run_pingpong(pings: int) -> float:
    pool = await xoscar.create_actor_pool(ADDRESS, n_process=0)
    async with pool:
        address = pool.external_address
        pong = await xoscar.create_actor(Pong, address=address)
        ping = await xoscar.create_actor(Ping, address=address)
        began = time.perf_counter()
        check(await ping.play(pong, pings), pings)
        return time.perf_counter() - began
