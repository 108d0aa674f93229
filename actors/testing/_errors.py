"""What a simulation or a double tells a test."""

from __future__ import annotations

from actors._errors import CallboardError

__all__ = ["InvariantViolated", "RealWorld", "SimulationDeadlock", "SimulationError"]


class SimulationError(CallboardError, AssertionError):
    """Something happened in a simulation that must not: the test fails."""


class SimulationDeadlock(SimulationError):
    """Nothing can happen any more, and somebody waits; the text says who for whom."""


class InvariantViolated(SimulationError):
    """What has to hold at all times did not, or what had to come about did not in time."""


class RealWorld(SimulationError):
    """Code in a simulation wanted to sleep, start a thread or do I/O in earnest."""
