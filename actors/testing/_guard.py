"""Keeping real models out of tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from actors.agents._gate import guarded
from actors.agents._seat import calling_agent
from actors.testing._errors import RealModelBlocked

__all__ = ["BlockedCalls", "block_real_models"]


class BlockedCalls:
    """The calls that were blocked, for tests that want to know."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._errors: list[RealModelBlocked] = []

    @property
    def errors(self) -> tuple[RealModelBlocked, ...]:
        """The error of each call that was blocked, in order."""
        with self._lock:
            return tuple(self._errors)

    def __call__(self, model: str) -> None:
        """Refuse a call."""
        error = RealModelBlocked(model, calling_agent())
        with self._lock:
            self._errors.append(error)
        raise error


@contextmanager
def block_real_models() -> Iterator[BlockedCalls]:
    """Have every call of a `local` or `openai:` model raise `RealModelBlocked` inside the block.

    In the whole process, whichever thread, loop or actor calls. Doubles still answer; one that
    records is blocked when it calls the real model.
    """
    blocked = BlockedCalls()
    with guarded(blocked):
        yield blocked
