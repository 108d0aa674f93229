"""Whose code is executing: what dispatchers leave for code that runs on their threads and tasks."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from types import FrameType
from typing import Any, Protocol

__all__ = ["CELL", "Blocker", "frames_from", "local"]

CELL: ContextVar[Any] = ContextVar("callboard_cell", default=None)
"""The actor that is executing on a loop, or in the context of a message that carries one; else it
is `local.worker.cell`."""


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
