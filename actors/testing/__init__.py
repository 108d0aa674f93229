"""Tests at actor level: whole systems in one thread, on virtual time, in the order of a seed."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.testing._errors import (
        EndlessSimulation,
        InjectedCrash,
        InvariantViolated,
        NotDeterministic,
        RealWorld,
        SimulationDeadlock,
        SimulationError,
    )
    from actors.testing._simulation import Simulation

__all__ = [
    "EndlessSimulation",
    "InjectedCrash",
    "InvariantViolated",
    "NotDeterministic",
    "RealWorld",
    "Simulation",
    "SimulationDeadlock",
    "SimulationError",
]

# The pytest plugin lies in this package, and pytest loads it at each start: nothing is imported
# before it is used.
_LAZY = {
    "EndlessSimulation": "_errors",
    "InjectedCrash": "_errors",
    "InvariantViolated": "_errors",
    "NotDeterministic": "_errors",
    "RealWorld": "_errors",
    "Simulation": "_simulation",
    "SimulationDeadlock": "_errors",
    "SimulationError": "_errors",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
