"""Shared by the tests of patterns: a system, records, and scripted agents of known cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors import ActorStopped, ActorSystem, DecisionLog, Reply, Usage


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    """A system on the test's own loop."""
    async with ActorSystem("test") as system:
        yield system


@pytest.fixture
async def log(system: ActorSystem, tmp_path: Path) -> DecisionLog:
    """A decision log of that system."""
    return DecisionLog(tmp_path / "decisions.jsonl", fsync="never", system=system)


async def _until_gone(system: ActorSystem, suffix: str) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def look(_: Any = None) -> None:
        living = [node for node in system.tree().children if node.state != "stopped"]
        if not any(node.kind.endswith(suffix) for node in living if node.path != "/system"):
            loop.call_soon_threadsafe(over.set)

    subscription = system.events.subscribe(look, ActorStopped)
    look()
    async with asyncio.timeout(5):
        await over.wait()
    subscription.cancel()


@pytest.fixture
def runs_over(system: ActorSystem) -> Callable[[], Awaitable[None]]:
    """A function that waits until no run's actor is alive."""
    return lambda: _until_gone(system, "Conductor")


@pytest.fixture
def no_actors(system: ActorSystem) -> Callable[[], Awaitable[None]]:
    """A function that waits until no actor at all is alive."""
    return lambda: _until_gone(system, "")


@pytest.fixture
def recorded(log: DecisionLog) -> Callable[..., Awaitable[list[dict[str, Any]]]]:
    """A function that returns the fields of the decisions of one kind, in order."""

    async def query(kind: str) -> list[dict[str, Any]]:
        return [dict(decision.fields) for decision in await log.query(kind)]

    return query


def priced(text: str, usd: str = "0.01", tokens: int = 10, **fields: Any) -> Reply:
    return Reply(text, Usage(0, tokens), Decimal(usd), "scripted", **fields)


class Scripted:
    """An agent that answers with one item after the other; an exception is raised."""

    def __init__(self, *items: Any, name: str = "scripted") -> None:
        self.items = list(items)
        self.__name__ = name
        self.prompts: list[str] = []

    async def __call__(self, prompt: Any) -> Any:
        self.prompts.append(prompt if isinstance(prompt, str) else prompt.text)
        item = self.items.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item


class Held:
    """An async agent that works until it is let go, and notes how it ended."""

    def __init__(self, text: str = "held", name: str = "held") -> None:
        self.text = text
        self.__name__ = name
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = asyncio.Event()
        self.ends: Counter[str] = Counter()

    async def __call__(self, prompt: Any) -> Reply:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ends["cancelled"] += 1
            raise
        else:
            self.ends["finished"] += 1
            return priced(self.text)
        finally:
            self.ended.set()


@pytest.fixture
def paid() -> Callable[..., Reply]:
    """A function that makes a reply of known cost: `paid(text, usd="0.01", tokens=10)`."""
    return priced


@pytest.fixture
def scripted() -> type[Scripted]:
    """The class of scripted agents."""
    return Scripted


@pytest.fixture
def held() -> type[Held]:
    """The class of agents that wait for `go`."""
    return Held
