"""How a test waits: on its thread, or on its loop.

In a simulation, blocking is what lets the simulation run on; nothing here has to know of it.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from actors._errors import Timeout, WouldBlockLoop
from actors._future import Future

__all__ = ["wait", "wait_on_loop"]

T = TypeVar("T")


def wait(future: Future[T], timeout: float | None = None, *, instead: str) -> T:
    """Return a future's answer in a sync test.

    Args:
        future: what to wait for; it may be done already.
        timeout: seconds of the system's clock, or None.
        instead: what to write instead where an event loop runs.

    Raises:
        Timeout: no answer within `timeout`.
        WouldBlockLoop: an event loop runs on this thread.
        BaseException: the future was answered with it.
    """
    # Also if it is done: whether a test works must not depend on who was quicker.
    if asyncio._get_running_loop() is not None:
        raise WouldBlockLoop("this", instead)
    return future.get(timeout=timeout)


async def wait_on_loop(future: Future[T], timeout: float | None) -> T:  # noqa: ASYNC109
    """Await a future for `timeout` seconds of the loop's clock, or None; cancels it then.

    Raises:
        Timeout: no answer within `timeout`.
    """
    waiting = asyncio.ensure_future(_awaited(future))
    try:
        done, _ = await asyncio.wait({waiting}, timeout=timeout)
    finally:
        if not waiting.done():
            waiting.cancel()
    if not done:
        await asyncio.wait({waiting})
        if waiting.cancelled():
            raise Timeout(timeout or 0.0)
    return waiting.result()


async def _awaited(future: Future[T]) -> T:
    return await future
