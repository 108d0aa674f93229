"""Requests that are carried out whatever becomes of those who sent them."""

from __future__ import annotations

from contextvars import Context
from typing import Any

from actors._future import Future
from actors._ref import ActorRef

__all__ = ["errand"]


def errand(ref: ActorRef[Any], message: Any) -> Future[Any]:
    """Send a request that nothing can take back, and return a future of its answer.

    An ordinary request is given up when the run's deadline passes or its only waiter is
    cancelled. A spend that has happened must be booked even so, and a decision written down.
    """
    inner = Context().run(ref.request, message)
    outer: Future[Any] = Future()

    def answer(_: Future[Any]) -> None:
        error = inner.exception()
        if error is None:
            outer.try_set(inner.get())
        else:
            outer.try_set_exception(error)

    inner.add_done_callback(answer)
    return outer
