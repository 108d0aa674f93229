"""A worker: a thread that takes the turns of sync actors, and where it stands.

Layer 5: `_dispatch._pool` says when there is one, and what it is to take.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextvars import Context
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Protocol

from actors._executing import frames_of, taken_lock
from actors._mailbox import THROUGHPUT

__all__ = ["Crew", "Worker", "WorkerThread", "guests"]


class Crew(Protocol):
    """The pool, as its workers see it."""

    ready: SimpleQueue[Any]
    """The actors whose turn it is, and None at the end."""

    def give_place(self, me: Worker) -> None:
        """Let another worker run turns, because this one is about to block or does not return."""


def _nothing() -> Any:
    """Be the ready queue of one who has no pool."""
    raise Empty


guests: weakref.WeakSet[Worker] = weakref.WeakSet()
"""Those of threads that belong to no pool; each goes with its thread."""


class Worker:
    """One thread of the pool, or a guest that waits for a reply and runs the turn itself."""

    __slots__ = (
        "__weakref__",
        "cell",
        "context",
        "depth",
        "handled",
        "helping",
        "idle",
        "placed",
        "pool",
        "take",
        "thread",
        "wake",
    )

    def __init__(self, pool: Crew | None) -> None:
        self.pool = pool
        self.cell: Any = None
        self.context = Context()
        self.depth = 0
        # Invariant: written by this worker alone; the monitor and stats only read.
        self.handled = 0
        self.idle = False
        self.thread = threading.get_ident()
        self.take: Callable[[], Any] = _nothing if pool is None else pool.ready.get_nowait
        # Invariant: whether it is the pool's holder; written under the pool's lock.
        self.placed = False
        # Whether to take one turn without having the place.
        self.helping = False
        # Locked while the worker is parked; released to wake it.
        self.wake = threading.Lock()
        self.wake.acquire()
        if pool is None:
            guests.add(self)

    throughput = THROUGHPUT
    signal = staticmethod(taken_lock)

    def frames(self) -> list[FrameType]:
        """Return the stack of its thread, the outermost frame first."""
        return frames_of(self.thread)

    def before_block(self) -> None:
        """Let another worker take over.

        Raises:
            TooManyWaiting: there is none, and no more threads.
        """
        if self.pool is not None:
            self.pool.give_place(self)

    def end(self) -> None:
        """Let the next worker see the end, too; this one comes to it once more itself."""
        if self.pool is not None:
            self.pool.ready.put(None)

    def after_block(self) -> None:
        """Go on without the place: the turn is finished beside the new holder's."""


class WorkerThread(threading.Thread):
    """A thread whose name says which actor it is in, for logs and for dumps of all stacks."""

    def __init__(self, worker: Worker, work: Callable[[Worker], None], name: str) -> None:
        self._worker = worker
        super().__init__(target=work, args=(worker,), name=name, daemon=True)

    @property
    def name(self) -> str:  # type: ignore[override]  # nobody renames it
        cell = self._worker.cell
        return super().name if cell is None else f"{super().name} in {cell.path}"
