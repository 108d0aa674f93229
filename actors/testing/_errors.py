"""What a simulation or a double tells a test."""

from __future__ import annotations

from actors._errors import CallboardError

__all__ = [
    "EndlessSimulation",
    "InjectedCrash",
    "InvariantViolated",
    "NotDeterministic",
    "RealWorld",
    "SimulationDeadlock",
    "SimulationError",
]


class SimulationError(CallboardError, AssertionError):
    """Something happened in a simulation that must not: the test fails."""


class SimulationDeadlock(SimulationError):
    """Nothing can happen any more, and somebody waits; the text says who for whom."""


class EndlessSimulation(SimulationError):
    """Something goes on to happen, step by step, for ever; a deadlock is the opposite."""


class InvariantViolated(SimulationError):
    """What has to hold at all times did not, or what had to come about did not in time."""


class RealWorld(SimulationError):
    """Code in a simulation wanted to sleep, start a thread or do I/O in earnest."""


class NotDeterministic(SimulationError):
    """The same seed gave another history: a simulation of this code proves and replays nothing.

    Attributes:
        replay: the seed, as it is given to `--simulate-seed`.
        line: the first line of the history that differs; counts from 1.
        first: what that line was at first; "" if there was none.
        second: what it was the second time; likewise.
    """

    def __init__(self, replay: str, line: int, first: str, second: str) -> None:
        self.replay = replay
        self.line = line
        self.first = first
        self.second = second
        super().__init__(
            f"seed {replay} failed, and when it was run again it gave another history: the code "
            "under test depends on something besides the seed (state that is left by the run "
            "before, the real clock, `os.urandom`, `uuid4`, `id`, the order of a set, a real "
            f"thread). The first difference is line {line} of the history:\n"
            f"  at first {first or '(no such line)'}\n"
            f"  then     {second or '(no such line)'}"
        )


class InjectedCrash(CallboardError):
    """An actor failed because its test wanted it to.

    Unlike other exceptions it fails the actor in a request, too, as `crash_on` would have it.
    """
