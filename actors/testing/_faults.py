"""Faults that a simulation injects; which and when, the seed decides."""

from __future__ import annotations

from typing import Any

__all__ = ["Faults"]


class Faults:
    """The faults of one simulation; none, unless they are asked for."""

    def __init__(self, simulation: Any) -> None:
        self._simulation = simulation

    def delay(self, source: str, target: str, message: Any) -> float | None:
        """Return after how many seconds a message is delivered; None for at once."""
        return None

    def handling(self, cell: Any, message: Any) -> None:
        """Raise what the actor is to fail with, if it is."""
