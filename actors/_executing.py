"""Whose code is executing: what dispatchers leave for code that runs on their threads and tasks."""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from types import FrameType
from typing import Any, Protocol

__all__ = ["CELL", "Blocker", "frames_from", "frames_of", "local"]

CELL: ContextVar[Any] = ContextVar("callboard_cell", default=None)
"""The actor that is executing on a loop, or in the context of a message that carries one; else it
is `local.worker.cell`."""


class Blocker(Protocol):
    """A thread of a dispatcher, which wants to know when its handler is about to block."""

    cell: Any

    def before_block(self) -> None:
        """Let another thread take over."""

    def after_block(self) -> None:
        """The handler goes on."""


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
