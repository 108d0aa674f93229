"""Keeping real models out of tests."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from types import CodeType

from actors.agents._gate import guarded
from actors.agents._seat import calling_agent
from actors.testing._errors import RealModelBlocked

__all__ = ["BlockedCalls", "block_real_models", "blocked_calls"]


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

    def clear(self) -> tuple[RealModelBlocked, ...]:
        """Return the errors so far and forget them: they were expected, whoever caught them."""
        with self._lock:
            errors = tuple(self._errors)
            self._errors.clear()
            return errors

    def verify(self, test: CodeType | None = None) -> None:
        """Make sure that no actor's call was blocked without the test hearing of it.

        Who calls a model outside of actors gets the error itself.

        Args:
            test: whose code an error has to have reached to be heard of; None is nobody's.

        Raises:
            RealModelBlocked: a pattern, or whoever it was, took it for a failure of the agent.
        """
        for error in self.errors:
            reached = (frame.f_code for frame, _ in walk_tb(error.__traceback__))
            if error.agent is not None and not any(code is test for code in reached):
                raise error

    def __call__(self, model: str) -> None:
        """Refuse a call."""
        error = RealModelBlocked(model, calling_agent())
        with self._lock:
            self._errors.append(error)
        raise error


@contextmanager
def blocked_calls() -> Iterator[BlockedCalls]:
    """Have real models blocked inside the block; whoever asks for it verifies."""
    blocked = BlockedCalls()
    with guarded(blocked):
        yield blocked


@contextmanager
def block_real_models() -> Iterator[BlockedCalls]:
    """Have every call of a `local` or `openai:` model raise `RealModelBlocked` inside the block.

    In the whole process, whichever thread, loop or actor calls. Doubles still answer; one that
    records is blocked when it calls the real model.

    An error that did not reach the function with the block, because a pattern or other code has
    caught it, is raised at its end, unless it ends by another exception. `clear()` of what the
    block yields says that it was expected.
    """
    caller = sys._getframe(1)
    while caller.f_globals.get("__name__") == "contextlib" and caller.f_back is not None:
        caller = caller.f_back
    test = caller.f_code
    del caller
    with blocked_calls() as blocked:
        yield blocked
        blocked.verify(test)
