"""Runs a test in many simulations, until one fails, and makes that one short.

*By seed*, each schedule is a random walk. *Systematically*, schedules are enumerated from the one
that always takes the oldest: first all that pass over one older thing once, then all that do so
twice (or over two), and so on. That is delay-bounded scheduling (Emmi, Qadeer and Rakamaric,
"Delay-Bounded Scheduling", POPL 2011), with the bound raised step by step as CHESS raises its bound
on pre-emptions (Musuvathi and Qadeer, "Iterative Context Bounding", PLDI 2007): most errors need
few delays, the first failure needs the fewest, and for small systems the enumeration comes to an
end, which proves that no order of events fails.
"""

from __future__ import annotations

import inspect
import math
from collections import deque
from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

import msgspec

from actors._errors import InvalidOption
from actors._system import ActorSystem
from actors.testing._errors import EndlessSimulation, NotDeterministic
from actors.testing._options import check_count
from actors.testing._outcome import Attempt, Outcome
from actors.testing._schedules import Replay
from actors.testing._shrink import Shrunk, shrink
from actors.testing._simulation import STEPS

__all__ = ["Exploration", "Plan", "explore", "replay"]

__tracebackhide__ = True  # pytest shows the lines of the test, not these


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be tried.

    Attributes:
        seeds: how many; they are 0, 1, 2 and so on. Or the number of schedules at most, if they are
            enumerated.
        systematic: whether they are; a number bounds the delays of a schedule.
        steps: of one simulation, at most.
        system: options of its system.
        shrink: how many runs may be made to shorten a failing one; 0 for none.
    """

    seeds: int = 100
    systematic: bool | int = False
    steps: int = STEPS
    system: Mapping[str, Any] = {}
    shrink: int = 300

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Plan:
        """Return the plan with these options.

        Raises:
            InvalidOption: there is no such option, or it makes no sense.
        """
        for name, value in options.items():
            if name not in cls.__struct_fields__:
                known = ", ".join(cls.__struct_fields__)
                raise InvalidOption("simulate", name, f"one of its options: {known}")
            _CHECKS[name](name, value)
        return cls(**options)


def _check_systematic(name: str, value: object) -> None:
    if not isinstance(value, bool) and not (isinstance(value, int) and value > 0):
        raise InvalidOption(
            name, value, "True, or how many delays a schedule may have, which is at least 1"
        )


def _check_system(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise InvalidOption(name, value, "a dict of options of `ActorSystem`")
    # Its clock is the simulation's.
    known = [option for option in inspect.signature(ActorSystem).parameters if option != "clock"]
    for option in value:
        if option not in known:
            raise InvalidOption(name, value, f"options of `ActorSystem`: {', '.join(known)}")


_CHECKS: dict[str, Callable[[str, object], None]] = {
    "seeds": check_count,
    "systematic": _check_systematic,
    "steps": check_count,
    "system": _check_system,
    "shrink": lambda name, value: check_count(name, value, 0),
}


class Exploration(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        runs: how many simulations were run until one failed, or all.
        tried: what was tried, in words.
        failure: the first that failed; None if none did.
        shrunk: the shortest that failed in the same way; None if it was not looked for.
    """

    runs: int
    tried: str
    failure: Outcome | None = None
    shrunk: Shrunk | None = None

    @property
    def shortest(self) -> Outcome | None:
        """The failing run to look at."""
        return self.failure if self.shrunk is None else self.shrunk.outcome


def explore(attempt: Attempt, plan: Plan) -> Exploration:
    """Run what the plan says until one run fails; shorten that one, and run it last.

    Args:
        attempt: makes a run.
        plan: which, and how many.

    Raises:
        NotDeterministic: one failed, and does something else when it is run again.
    """
    enumerated = plan.systematic is not False
    found = _enumerate(attempt, plan) if enumerated else _by_seed(attempt, plan.seeds)
    first = found.failure
    if first is None:
        return found
    assert first.kind is not None
    if issubclass(first.kind.type, EndlessSimulation):
        return found  # another one would take as long, and none is shorter
    _check_again(first, attempt)
    if enumerated or plan.shrink == 0:
        return found  # an enumerated one has the fewest delays already
    shrunk = shrink(first, attempt, runs=plan.shrink)
    if shrunk.runs:
        attempt(shrunk.outcome.replay)  # so that what the last run leaves behind is its
    return msgspec.structs.replace(found, shrunk=shrunk)


def replay(attempt: Attempt, what: Replay) -> Exploration:
    """Run exactly one simulation, once.

    Args:
        attempt: makes a run.
        what: which.
    """
    outcome = attempt(what)
    tried = f"seed {what}" if what.choices is None else f"the schedule {what}"
    return Exploration(1, tried, None if outcome.error is None else outcome)


def _by_seed(attempt: Attempt, seeds: int) -> Exploration:
    tried = f"{seeds} seeds, from 0 to {seeds - 1}" if seeds > 1 else "seed 0"
    for seed in range(seeds):
        outcome = attempt(Replay(seed))
        if outcome.error is not None:
            return Exploration(seed + 1, tried, outcome)
    return Exploration(seeds, tried)


def _check_again(first: Outcome, attempt: Attempt) -> None:
    """Run a failing one once more."""
    second = attempt(first.replay)
    pairs = zip_longest(_lines(first), _lines(second), fillvalue="")
    for number, (before, after) in enumerate(pairs, 1):
        if before != after:
            error = NotDeterministic(str(first.replay), number, before, after)
            assert first.error is not None
            raise error.with_traceback(first.error.__traceback__) from first.error


def _lines(outcome: Outcome) -> list[str]:
    end = "passes" if outcome.kind is None else f"fails: {outcome.kind}"
    return [*str(outcome.history).splitlines(), end]


# -- one after the other ---------------------------------------------------------------------------

_Branch = tuple[list[int], int, int]
"""What was taken in another run, up to which place that is to be taken again, and what then."""


def _enumerate(attempt: Attempt, plan: Plan) -> Exploration:
    """Run all schedules, by their delays.

    Each schedule but the first is another one, its *origin*, up to its own last deviation: so each
    comes up once.
    """
    most = None if plan.systematic is True else int(plan.systematic)
    # Invariant: what is to be run yet, by delays; no more of it than may be run.
    waiting: dict[int, deque[_Branch]] = {0: deque([([], 0, 0)])}
    beyond = False
    cut_at = math.inf
    runs = 0
    while waiting:
        delays = min(waiting)
        line = waiting[delays]
        while line:
            if runs == plan.seeds:
                return Exploration(runs, _unfinished(runs, min(delays, cut_at)))
            runs += 1
            taken, place, choice = line.popleft()
            outcome = attempt(Replay(0, (*taken[:place], choice) if choice else ()))
            if outcome.error is not None:
                return Exploration(runs, _unfinished(runs, delays), outcome)
            begin = place + 1 if choice else 0
            for new, branch in _branches(outcome, begin):
                total = delays + new
                if most is not None and total > most:
                    beyond = True
                    continue
                others = waiting.setdefault(total, deque())
                if len(others) < plan.seeds - runs:
                    others.append(branch)
                else:
                    cut_at = min(cut_at, total)
        del waiting[delays]
    tried = f"all {runs} interleavings" if runs > 1 else "the only interleaving"
    return Exploration(runs, f"{tried} with at most {_delays(most)}" if beyond else tried)


def _branches(outcome: Outcome, begin: int) -> list[tuple[int, _Branch]]:
    """Return the schedules that deviate once more than this one, and behind it, with the delays."""
    taken = outcome.taken
    return [
        (choice, (taken, place, choice))
        for place in range(begin, len(taken))
        for choice in range(1, outcome.counts[place])
    ]


def _unfinished(runs: int, delays: float) -> str:
    if delays == 0:
        return "the oldest-first interleaving"
    return f"{runs} interleavings: all with fewer than {_delays(delays)}, and some with {delays}"


def _delays(number: float | None) -> str:
    return "1 delay" if number == 1 else f"{number} delays"
