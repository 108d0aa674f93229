"""The watchdog: looks now and then at what actors are at, and reports what takes too long.

It also looks at the mailboxes of those that are in a turn, which else are looked at after it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from loguru import logger

from actors._messages import SlowHandler, shortened
from actors._timers import Timers
from actors._waiting import whom

__all__ = ["Executing", "Watchdog", "stack_of"]

LOOKS = 4
"""How often it looks within its limit; so a report is late by a quarter of it at most."""

_ENGINE = tuple(
    __file__.removesuffix("_watchdog.py") + part
    for part in (
        "_answer.py",
        "_cell",
        "_dispatch",
        "_driver.py",
        "_future.py",
        "_ref.py",
        "_worker.py",
    )
)

Executing = Iterable[tuple[Any, Callable[[], list[FrameType]]]]


class Watchdog:
    """Reports each message and hook once that takes longer than `limit` seconds.

    Args:
        limit: seconds.
        executing: returns the cells in whose turns somebody is, each with a way to its frames.
        publish: takes the reports.
        timers: the system's.
    """

    def __init__(
        self,
        limit: float,
        executing: Callable[[], Executing],
        publish: Callable[[Any], None],
        timers: Timers,
    ) -> None:
        self._limit = limit
        self._executing = executing
        self._publish = publish
        self._timers = timers
        # What was reported: a cell, and since when it had been at its message or in its hook.
        # Invariant: used on the timer thread only.
        self._reported: set[tuple[int, float]] = set()
        self._look_later()

    def _look_later(self) -> None:
        self._timers.call_later(self._limit / LOOKS, self._look)

    def _look(self) -> None:
        try:
            self._reported = {
                key for cell, frames in self._executing() if (key := self._look_at(cell, frames))
            }
        finally:
            self._look_later()

    def _look_at(
        self, cell: Any, frames: Callable[[], list[FrameType]]
    ) -> tuple[int, float] | None:
        """Report the cell if it is due; return what to remember of it."""
        cell.warn_if_high()
        hook = cell.hook
        message = None if hook is not None else cell.item
        age = cell.age()
        began = cell.began
        if age is None or began is None or age < self._limit:
            return None
        key = (id(cell), began)
        if key not in self._reported:
            report = SlowHandler(
                cell.ref, cell.path, message, age, stack_of(frames()), whom(cell), hook
            )
            logger.warning(
                "{} has been {} for {:.1f} s\n{}",
                report.path,
                f"in {hook}" if hook is not None else f"handling {shortened(message)}",
                age,
                report.stack,
            )
            self._publish(report)
        return key


def stack_of(frames: list[FrameType]) -> str:
    """Format frames as a traceback does, without those of the engine around the handler."""
    own = [frame for frame in frames if not frame.f_code.co_filename.startswith(_ENGINE)]
    lines = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in own or frames)
    return "".join(lines.format())
