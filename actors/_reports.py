"""What cells report to their system: dead letters, late replies, failures, and the counts of it."""

from __future__ import annotations

from collections import deque
from types import FrameType
from typing import Any

from loguru import logger

from actors._clock import Clock
from actors._errors import InvalidOption
from actors._events import DeadLetterReport, Events
from actors._mailbox import Tally
from actors._messages import EVENTS, ActorFailed, DeadLetter
from actors._watchdog import Executing, stack_of

__all__ = ["Reports"]

KEPT_FAILURES = 32
"""The latest failures a system can tell of."""


class Reports:
    """The ears of a system.

    Args:
        clock: the system's.
        flight_recorder: how many messages are kept of an actor that has failed.
    """

    def __init__(self, clock: Clock, flight_recorder: int) -> None:
        size: object = flight_recorder
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InvalidOption("flight_recorder", flight_recorder, "a whole number, 0 or more")
        self.clock = clock
        self.flight_recorder = flight_recorder
        self.events = Events()
        self._dead = Tally()
        self._late = Tally()
        self._inline = Tally()
        self.count_inline = self._inline.add
        self._abandoned: list[tuple[str, str]] = []
        self._failures: deque[ActorFailed] = deque(maxlen=KEPT_FAILURES)
        self._report_dead = DeadLetterReport(clock)
        self._stopping: Any = None

    def failures(self) -> tuple[ActorFailed, ...]:
        """Return the reports of the latest failures, oldest first."""
        return tuple(self._failures)

    def publish(self, event: Any) -> None:
        """Publish an event."""
        self.events.publish(event)

    def failed(self, report: ActorFailed) -> None:
        """Keep and publish the report of a failure."""
        self._failures.append(report)
        self.events.publish(report)

    def dead_letter(self, letter: DeadLetter) -> None:
        """Publish and count a message that nobody handled."""
        if self._stopping is None:
            self._report_dead.note(letter)
        # A subscriber that loses what it is told would be told so for ever.
        if type(letter.message) not in EVENTS:
            self.events.publish(letter)
        # Counted last, so that whoever sees the count has been told of the letter.
        self._dead.add()

    def late_reply(self, reply: Any, target: str) -> None:
        """Publish and count a reply that nobody waits for any more."""
        self.events.publish(DeadLetter(reply, target, "late_reply"))
        self._late.add()

    def handled_inline(self, count: int) -> None:
        """Count messages that were handled by threads which waited for the answer."""
        for _ in range(count):
            self._inline.add()

    def abandoned(
        self,
        cell: Any,
        frames: list[FrameType] | None = None,
        why: str = "its handler does not return",
    ) -> None:
        """Remember an actor that did not end in time, and where its handler stands.

        Args:
            cell: the actor's.
            frames: the stack of the handler; None looks for it where turns are taken.
            why: it did not, for the log.
        """
        if frames is None:
            frames = next((frames() for one, frames in self._executing() if one is cell), [])
        stack = stack_of(frames)
        logger.warning("{} was abandoned: {}\n{}", cell.path, why, stack)
        self._abandoned.append((cell.path, stack))

    def _executing(self) -> Executing:
        """Return the cells in whose turns somebody is, each with a way to its frames."""
        raise NotImplementedError
