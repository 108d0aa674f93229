"""Deadlines: a point in time that work must not pass.

Layer 2, because the scope form cancels work on an event loop; what layer 1 needs of a deadline is
the protocol `_context.DeadlineLike`.
"""

from __future__ import annotations

import asyncio
import math
import sys
from types import TracebackType
from typing import Any, Self

from actors._clock import Clock, ambient
from actors._errors import DeadlineExceeded, InvalidOption

__all__ = ["Deadline"]


def _clock_of(given: Clock | None) -> Clock:
    if given is None:
        return ambient.clock
    if not callable(getattr(given, "monotonic", None)):
        raise InvalidOption("clock", given, "a Clock, such as SystemClock(), or None")
    return given


class Deadline:
    """A deadline `seconds` from now.

    As a scope (`async with Deadline(5):`) it cancels the work inside when the time comes and
    raises `DeadlineExceeded`; as a plain `with` it checks on the way in and on the way out, since
    sync code cannot be interrupted.

    Args:
        seconds: how far away it is; must be a finite number above zero.
        clock: what to measure with; the machine's clock unless a system gives its own.

    Raises:
        InvalidOption: `seconds` is not a finite number above zero, or `clock` is none.
    """

    __slots__ = ("_clock", "_scopes", "when")

    when: float | None
    """The point on the clock's monotonic scale, in seconds; None is never."""

    def __init__(self, seconds: float, *, clock: Clock | None = None) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise InvalidOption("deadline", seconds, "a number of seconds")
        if not 0 < seconds <= sys.float_info.max:
            raise InvalidOption("deadline", seconds, "a finite number of seconds above zero")
        self._clock = clock = _clock_of(clock)
        self.when = clock.monotonic() + seconds
        # Invariant: one stack of open scopes per task, since tasks share a deadline.
        self._scopes: dict[Any, list[asyncio.Timeout]] = {}

    @classmethod
    def never(cls) -> Self:
        """Return the deadline that does not come; its timeout form is None."""
        return cls.at(None)

    @classmethod
    def at(cls, when: float | None, *, clock: Clock | None = None) -> Self:
        """Return the deadline at `when` on the clock's monotonic scale (None: never).

        Raises:
            InvalidOption: `when` is no number, or `clock` is none.
        """
        if when is not None and (
            isinstance(when, bool) or not isinstance(when, (int, float)) or math.isnan(when)
        ):
            raise InvalidOption("when", when, "a point in time in seconds, or None for never")
        self = cls.__new__(cls)
        self._clock = _clock_of(clock)
        self.when = when
        self._scopes = {}
        return self

    def expired(self) -> bool:
        """Tell whether the time has come."""
        return self.when is not None and self._clock.monotonic() >= self.when

    def remaining(self) -> float | None:
        """Return the seconds left (never below zero), or None for `never()`.

        This is the form that `timeout=` arguments take.
        """
        if self.when is None:
            return None
        return max(0.0, self.when - self._clock.monotonic())

    def check(self, what: str = "the work") -> None:
        """Raise if the time has come.

        Raises:
            DeadlineExceeded: the deadline has passed.
        """
        if self.when is not None:
            late = self._clock.monotonic() - self.when
            if late >= 0:
                raise DeadlineExceeded(what, late)

    def tighten(self, other: float | Deadline | None, /) -> Self:
        """Return the earlier of this deadline and `other` (seconds from now, or a deadline)."""
        if other is None:
            return self
        theirs = (
            other.when if isinstance(other, Deadline) else Deadline(other, clock=self._clock).when
        )
        if theirs is None or (self.when is not None and self.when <= theirs):
            return self
        return type(self).at(theirs, clock=self._clock)

    def __enter__(self) -> Self:
        self.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.check()

    async def __aenter__(self) -> Self:
        self.check()
        remaining = self.remaining()
        loop = asyncio.get_running_loop()
        # Our clock and the loop's may differ (virtual time), so the scope is laid by what is left.
        scope = asyncio.timeout_at(None if remaining is None else loop.time() + remaining)
        await scope.__aenter__()
        self._scopes.setdefault(asyncio.current_task(), []).append(scope)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = asyncio.current_task()
        stack = self._scopes[task]
        scope = stack.pop()
        if not stack:
            del self._scopes[task]
        try:
            await scope.__aexit__(kind, value, traceback)
        except TimeoutError as error:
            if scope.expired():
                raise DeadlineExceeded("the work inside the scope") from error
            raise

    def __repr__(self) -> str:
        left = self.remaining()
        return "Deadline.never()" if left is None else f"<Deadline in {left:.3f} s>"
