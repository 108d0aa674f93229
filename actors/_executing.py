"""Whose code is executing: what dispatchers leave for code that runs on their threads and tasks."""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any, Protocol

__all__ = [
    "CELL",
    "Blocker",
    "Signal",
    "frames_from",
    "frames_of",
    "frames_within",
    "local",
    "taken_lock",
]

CELL: ContextVar[Any] = ContextVar("callboard_cell", default=None)
"""The actor that is executing on a loop, or in the context of a message that carries one; else it
is `local.worker.cell`."""


class Signal(Protocol):
    """What one thread waits for and another gives; a lock that is taken, in earnest."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Wait; tell whether it was given within `timeout` seconds (-1: however long it takes)."""
        ...

    def release(self) -> None:
        """Give it."""
        ...


def taken_lock() -> Signal:
    """Return what a thread can wait for."""
    lock = threading.Lock()
    lock.acquire()
    return lock


class Blocker(Protocol):
    """A thread of a dispatcher, which wants to know when its handler is about to block."""

    cell: Any

    def before_block(self) -> None:
        """Let another thread take over.

        Raises:
            TooManyWaiting: there is none.
        """

    def after_block(self) -> None:
        """The handler goes on."""

    def signal(self) -> Signal:
        """Return what the handler can wait for."""
        ...


class _Local(threading.local):
    worker: Blocker | None = None


local = _Local()
"""What a dispatcher left for code that runs on its threads."""


def frames_from(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of a stack, the outermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def frames_of(thread: int | None) -> list[FrameType]:
    """Return the stack of a thread by its ident, the outermost frame first."""
    return frames_from(sys._current_frames().get(thread or 0))


def frames_within(code: CodeType, one: object) -> list[FrameType]:
    """Return the stack of the thread that is in a method of an object, up to where it stands.

    Args:
        code: the method's.
        one: its `self`.
    """
    for innermost in list(sys._current_frames().values()):
        frames = frames_from(innermost)
        if any(f.f_code is code and f.f_locals.get("self") is one for f in frames):
            return frames
    return []
