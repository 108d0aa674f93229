"""One run of a test in a simulation, and what came of it."""

from __future__ import annotations

import asyncio
import copy
import re
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from actors.testing._errors import SimulationError
from actors.testing._history import History
from actors.testing._schedules import Replay
from actors.testing._simulation import STEPS, Simulation

__all__ = ["Attempt", "Kind", "Outcome", "kind_of"]

__tracebackhide__ = True  # pytest shows the lines of the test, not these

_NUMBER = re.compile(r"\d[\d.,]*(?:e[+-]?\d+)?")
_NOT_THE_TESTS = (
    *{sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")},
    str(Path(__file__).parents[1]),
)


class Kind(msgspec.Struct, frozen=True):
    """What makes two failures the same one, although their histories differ.

    Attributes:
        type: of the exception.
        place: file and line of the assertion that failed; "" if it was none.
        text: of an error of the simulation, up to its details; "" if it was none.
    """

    type: type[BaseException]
    place: str = ""
    text: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.type.__name__, self.text, self.place) if part)


def kind_of(error: BaseException) -> Kind:
    """Return what kind of failure this is."""
    if not isinstance(error, AssertionError):
        return Kind(type(error))
    text = ""
    if isinstance(error, SimulationError):
        # Its details (times, steps, who waits for whom) differ from history to history.
        text = _NUMBER.sub("N", re.split(r"[:\n]|, at ", str(error), maxsplit=1)[0])
    return Kind(type(error), _place(error), text)


def _place(error: BaseException) -> str:
    """Return file and line of the innermost frame that is the test's, or of the innermost one."""
    frames = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [place for place in frames if not place[0].startswith(_NOT_THE_TESTS)]
    for file, line in (own or frames)[-1:]:
        return f"{file}:{line}"
    return ""


class Outcome:
    """What came of one run.

    Attributes:
        replay: what has it again.
        error: with which it failed; None if it passed.
        kind: of the error; None likewise.
        history: what happened.
        taken: what the schedule chose.
        counts: of how many, each; empty if the seed chose.
        steps: how many were taken.
    """

    __slots__ = ("counts", "error", "history", "kind", "replay", "steps", "taken")

    def __init__(self, replay: Replay, sim: Simulation, error: BaseException | None) -> None:
        self.replay = replay
        self.error = error
        self.kind = None if error is None else kind_of(error)
        self.history: History = sim.history
        self.taken: list[int] = sim.schedule.taken
        self.counts: list[int] = getattr(sim.schedule, "counts", [])
        self.steps = sim._kernel.steps

    def deviations(self) -> int:
        """Return how often something else than the oldest was chosen."""
        return sum(map(bool, self.taken))


class Attempt:
    """Runs a test in a simulation.

    Args:
        test: takes the simulation, which is entered.
        steps: as of `Simulation`.
        system: options of the system.
        caught: what counts as a failure of the test.
        passed_on: what does not, although it is `caught`: whoever asked for the run gets it.
    """

    def __init__(
        self,
        test: Callable[[Simulation], object],
        *,
        steps: int = STEPS,
        system: Mapping[str, Any] | None = None,
        caught: tuple[type[BaseException], ...] = (Exception,),
        passed_on: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._test = test
        self._steps = steps
        self._system = dict(system or {})
        self._caught: tuple[type[BaseException], ...] = (*caught, asyncio.CancelledError)
        self._passed_on = passed_on

    def within(self, steps: int) -> Attempt:
        """Return the same with a bound on the steps, unless it has a lower one."""
        other = copy.copy(self)
        other._steps = min(steps, self._steps)
        return other

    def __call__(self, replay: Replay) -> Outcome:
        """Run the test once.

        Raises:
            BaseException: the simulation cannot be made, or what is `passed_on`.
        """
        schedule = replay.schedule()
        sim = Simulation(replay.seed, schedule=schedule, steps=self._steps, **self._system)
        error: BaseException | None = None
        try:
            with sim:
                self._test(sim)
        except BaseException as raised:
            if isinstance(raised, self._passed_on) or not isinstance(raised, self._caught):
                raise
            error = raised
        return Outcome(replay, sim, error)
