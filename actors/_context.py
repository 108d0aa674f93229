"""The run context: what travels with every message of one run.

A `RunContext` is put into each envelope by the sender and is current, through a context variable,
while the receiver handles the message; so an agent that asks other agents passes budget, deadline
and trace on without a word of code. Layer 1: fields are opaque here, the services give them
meaning.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol, Self

import msgspec

__all__ = ["RUN", "DeadlineLike", "RunContext", "current"]


class DeadlineLike(Protocol):
    """What layer 1 needs to know of a deadline."""

    @property
    def when(self) -> float | None:
        """The point on the monotonic clock, in seconds; None is never."""
        ...

    def tighten(self, other: Any, /) -> Self:
        """Return the earlier of the two."""
        ...


class RunContext(msgspec.Struct, frozen=True):
    """What one run hands from actor to actor.

    Attributes:
        run_id: names the run in every record.
        budget: the lease or pool that calls are charged to, or None.
        deadline: when the run has to be done, or None.
        span: the current span of the trace, or None.
        log: the decision log, or None.
        tracer: the tracer that opened the span, or None.
        journal: the journal of a resumable run, or None.
    """

    run_id: str
    budget: Any = None
    deadline: Any = None
    span: Any = None
    log: Any = None
    tracer: Any = None
    journal: Any = None

    def child(self, **changes: Any) -> RunContext:
        """Return a copy with `changes`; a deadline among them can only tighten this one's."""
        deadline = changes.get("deadline")
        if deadline is not None and self.deadline is not None:
            changes["deadline"] = self.deadline.tighten(deadline)
        elif deadline is None:
            changes.pop("deadline", None)
        return msgspec.structs.replace(self, **changes)


RUN: ContextVar[RunContext | None] = ContextVar("callboard_run", default=None)


def current() -> RunContext | None:
    """Return the context of the run whose code is executing, or None outside of runs."""
    return RUN.get()
