"""Tests at actor level: whole systems in one thread, on virtual time, in the order of a seed."""

from actors.testing._errors import (
    InvariantViolated,
    RealWorld,
    SimulationDeadlock,
    SimulationError,
)
from actors.testing._simulation import Simulation

__all__ = [
    "InvariantViolated",
    "RealWorld",
    "Simulation",
    "SimulationDeadlock",
    "SimulationError",
]
