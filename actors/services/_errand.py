"""Requests that are carried out whatever becomes of those who sent them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator
from typing import Any

from actors._answer import _get_running_loop
from actors._errors import WouldBlockLoop
from actors._future import Future
from actors._ref import ActorRef

__all__ = ["at_once", "errand", "nothing_to_end", "wait_for_end"]


FAIR = 64
"""How many answers in a row, that were there at once, may be awaited without a look at the loop."""


class _AtOnce(threading.local):
    def __init__(self) -> None:
        self.count = itertools.count(1)


at_once = _AtOnce()
"""`at_once.count` counts them; a simulation begins anew, since it decides who is next."""


class _Errand(Future[Any]):
    """The answer to a request that stays in force when nobody waits for it any more.

    A mailbox passes over requests that were given up only where their future is a plain one.
    """

    __slots__ = ()

    def _resolve(self, state: int, value: Any) -> bool:
        # An answer that comes after it was given up is no late reply: it was to be carried out.
        return super()._resolve(state, value) or self.cancelled()

    def cancel(self) -> bool:
        """Wait no longer; what was ordered is done all the same."""
        return not self.done() and super().cancel()

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._state:
            yield from self._suspend()
        elif not next(at_once.count) % FAIR:
            # What asyncio.sleep(0) does: a task that asks again and again, until what it waits
            # for is there, must not keep others from bringing it about.
            yield
        return self._result()

    __iter__ = __await__


def errand(ref: ActorRef[Any], message: Any) -> Future[Any]:
    """Send a request that nothing can take back, and return a future of its answer.

    An ordinary request is given up when the run's deadline passes or its only waiter is
    cancelled. A spend that has happened must be booked even so, and a decision written down.
    """
    # As `ActorRef.request`, but the run of the sender, with its deadline, does not go along, and
    # the future does not know whom to tell that it was given up.
    future = _Errand()
    cell = ref._cell  # noqa: SLF001 - likewise
    if cell.closed:
        future.try_set_exception(ref._is_dead())  # noqa: SLF001 - likewise
    else:
        cell.put((message, future, None))
    return future


def nothing_to_end(ref: ActorRef[Any]) -> Future[Any] | None:
    """Return a future that is done if this process only inherited the service by fork.

    It is its parent's, who ends it: here an error in its place could hide the one (or the exit)
    for which a `with` block is left.
    """
    if not ref.system._forked:  # noqa: SLF001 - likewise
        return None
    done: Future[Any] = Future()
    done.set(None)
    return done


def wait_for_end(ending: Future[Any], of: str) -> None:
    """Wait where a `with` block is left for what it used to end.

    Raises:
        WouldBlockLoop: an event loop runs on this thread; it ends all the same.
    """
    if _get_running_loop() is not None and not ending.done():
        raise WouldBlockLoop(f"leaving `with {of}(…)`", f"`async with {of}(…)`")
    ending.get()
