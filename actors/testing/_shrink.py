"""Makes a failing history shorter, by changing what was chosen in it.

That is delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing
Input", 2002) on the choices of a schedule: parts are left off, set to "the oldest", or taken out,
large ones first, and what still fails in the same way is kept. Then single choices are set to "the
youngest", which goes on with what has just begun and leaves everything else for later.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from actors.testing._outcome import Attempt, Outcome
from actors.testing._schedules import Replay

__all__ = ["SECONDS", "Shrunk", "shrink"]

SECONDS = 10.0
"""Real seconds after which no shorter history is looked for."""

_YOUNG = 3
"""How many of the youngest are tried in place of an older one."""

Choices = tuple[int, ...]


class Shrunk(msgspec.Struct, frozen=True):
    """What shrinking came to.

    Attributes:
        outcome: the failing one with the shortest history; the first one if there was none.
        runs: how many were made.
        seconds: how many that took.
        stopped: what ended it, if nothing else was left to try: "" then.
    """

    outcome: Outcome
    runs: int
    seconds: float
    stopped: str


class _Spent(Exception):
    """No more runs, or no more time."""


class _Shrinker:
    """The state of one search.

    Args:
        first: the failing run.
        attempt: makes a run.
        runs: how many it may make.
        seconds: how long it may take.
    """

    def __init__(self, first: Outcome, attempt: Attempt, runs: int, seconds: float) -> None:
        self.best = first
        self.choices = _stripped(first.taken)
        self._cost = _cost(first)
        # Invariant: the best of those whose histories are not longer than the first one. Longer
        # ones with fewer deviations are worth it on the way, since there is less left to try.
        self.shortest = first
        self._longest = len(first.history)
        # A schedule that leads nowhere is left early.
        self._attempt = attempt.within(4 * first.steps + 1000)
        self._most = runs
        self._until = time.monotonic() + seconds
        self.runs = 0
        self._tried = {self.choices}

    def fails(self, choices: Choices) -> bool:
        """Tell whether these choices fail in the same way, and better; keep them then."""
        choices = _stripped(choices)
        if choices in self._tried:
            return False
        if self.runs >= self._most:
            raise _Spent(f"{self._most} runs")
        if time.monotonic() > self._until:
            raise _Spent("its time")
        self._tried.add(choices)
        self.runs += 1
        outcome = self._attempt(Replay(self.best.replay.seed, choices))
        if outcome.kind != self.best.kind or _cost(outcome) >= self._cost:
            return False
        # What was chosen in fact, which is less if it fails before all was used.
        self.choices = _stripped(outcome.taken)
        self._tried.add(self.choices)
        self._cost = _cost(outcome)
        outcome.replay = Replay(outcome.replay.seed, self.choices)
        self.best = outcome
        if len(outcome.history) <= self._longest:
            self.shortest = outcome
        return True

    def search(self) -> None:
        """Try everything, until nothing helps any more."""
        if self.fails(()):
            return
        while True:
            before = self._cost
            self._leave_off()
            self._each_part(_zeroed, goes_on=True)
            self._each_part(_cut, goes_on=False)
            self._lower()
            self._hurry()
            if self._cost == before:
                return

    def _leave_off(self) -> None:
        """Try shorter and shorter beginnings."""
        works, breaks = len(self.choices), 0
        while works - breaks > 1:
            middle = (works + breaks) // 2
            if self.fails(self.choices[:middle]):
                works = min(middle, len(self.choices))
            else:
                breaks = middle

    def _each_part(self, change: Callable[[Choices, int, int], Choices], *, goes_on: bool) -> None:
        """Try to change each half, each quarter and so on down to each single choice.

        Args:
            change: what is tried.
            goes_on: whether the next part is to be found behind one that was changed, or in its
                place.
        """
        size = max(1, len(self.choices) // 2)
        while True:
            start = 0
            while start < len(self.choices):
                if not self.fails(change(self.choices, start, size)) or goes_on:
                    start += size
            if size == 1:
                return
            size //= 2

    def _lower(self) -> None:
        """Try smaller numbers: passing over fewer."""
        for place in range(len(self.choices)):
            for lower in (1, 2, 4, 8):
                if place >= len(self.choices) or self.choices[place] <= lower:
                    break
                if self.fails((*self.choices[:place], lower, *self.choices[place + 1 :])):
                    break

    def _hurry(self) -> None:
        """Try to take the youngest instead of an older one: to go on with what has just begun."""
        place = 0
        while place < len(self.best.counts):
            taken, count = self.best.taken, self.best.counts[place]
            for choice in range(count - 1, max(taken[place], count - 1 - _YOUNG), -1):
                if self.fails((*taken[:place], choice)):
                    break
            place += 1


def _zeroed(choices: Choices, start: int, size: int) -> Choices:
    return (*choices[:start], *(0 for _ in choices[start : start + size]), *choices[start + size :])


def _cut(choices: Choices, start: int, size: int) -> Choices:
    return choices[:start] + choices[start + size :]


def _stripped(choices: Choices | list[int]) -> Choices:
    """Return the choices without zeros at the end, which change nothing."""
    end = len(choices)
    while end and choices[end - 1] == 0:
        end -= 1
    return tuple(choices[:end])


def _cost(outcome: Outcome) -> tuple[int, int, int]:
    deviations = outcome.deviations()
    return len(outcome.history) + deviations, deviations, sum(outcome.taken)


def shrink(first: Outcome, attempt: Attempt, *, runs: int, seconds: float = SECONDS) -> Shrunk:
    """Look for a shorter history that fails in the same way.

    Args:
        first: the failing run.
        attempt: makes a run.
        runs: how many it may make.
        seconds: how long it may take.
    """
    began = time.monotonic()
    search = _Shrinker(first, attempt, runs, seconds)
    stopped = ""
    try:
        search.search()
    except _Spent as spent:
        stopped = str(spent)
    return Shrunk(search.shortest, search.runs, time.monotonic() - began, stopped)
