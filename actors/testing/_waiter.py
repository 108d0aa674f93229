"""How a test waits: the one seam between the test kit and whatever makes time go by.

With threads, waiting is blocking the test's own. A simulation has one thread, which has to run the
system on until the answer is there; its system brings a `Waiter` of its own along, as its
attribute `waiter`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, TypeVar

from actors._errors import Timeout, WouldBlockLoop
from actors._future import Future

__all__ = ["Waiter", "wait", "wait_on_loop", "waiter_of"]

T = TypeVar("T")


class Waiter(Protocol):
    """Waits for futures on behalf of sync tests."""

    def wait(self, future: Future[T], timeout: float | None, *, instead: str) -> T:
        """Return the future's answer.

        Args:
            future: what to wait for; it may be done already.
            timeout: seconds of the system's clock, or None.
            instead: what to write instead where blocking is not possible.

        Raises:
            Timeout: no answer within `timeout`.
            WouldBlockLoop: an event loop runs on this thread.
            BaseException: the future was answered with it.
        """


class _Blocking:
    """Blocks the test's thread."""

    def wait(self, future: Future[T], timeout: float | None, *, instead: str) -> T:
        # Also if it is done: whether a test works must not depend on who was quicker.
        if asyncio._get_running_loop() is not None:
            raise WouldBlockLoop("this", instead)
        return future.get(timeout=timeout)


_BLOCKING = _Blocking()


def waiter_of(system: Any) -> Waiter:
    """Return the system's own waiter, else the one that blocks."""
    waiter: Waiter | None = getattr(system, "waiter", None)
    return _BLOCKING if waiter is None else waiter


def wait(
    system: Any, future: Future[T], timeout: float | None = None, *, instead: str = "await it"
) -> T:
    """Wait for a future in a sync test; see `Waiter.wait`."""
    return waiter_of(system).wait(future, timeout, instead=instead)


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
