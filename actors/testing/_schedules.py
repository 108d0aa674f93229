"""Who chooses what happens next in a simulation, and what was chosen as text that replays it.

A schedule is asked only where there is a choice. It answers with an index into what could happen,
the oldest first: 0 keeps the order in which things became possible, and every other answer is a
*deviation*, which passes over as many older ones as its number says.
"""

from __future__ import annotations

import itertools
import random
import re
from typing import Protocol

import msgspec

from actors._errors import InvalidOption

__all__ = ["ChosenSchedule", "RandomSchedule", "Replay", "Schedule"]


class Schedule(Protocol):
    """Who chooses."""

    def choose(self, count: int) -> int:
        """Return one of the numbers below `count`, which is at least two; 0 is the oldest."""
        ...


class RandomSchedule:
    """Chooses by a seed, and keeps what it chose.

    Args:
        seed: of the choices.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random  # noqa: S311 - reproducible on purpose
        self.taken: list[int] = []

    def choose(self, count: int) -> int:
        """Return one of the numbers below `count`."""
        chosen = int(self._random() * count)
        self.taken.append(chosen)
        return chosen


class ChosenSchedule:
    """Chooses what it was given; when that is used up, the oldest.

    Args:
        choices: the first ones. Where fewer could happen than one of them says, the youngest is
            taken.
    """

    def __init__(self, choices: tuple[int, ...] = ()) -> None:
        self._choices = choices
        # Invariant: as long as each other; what was chosen, and of how many.
        self.taken: list[int] = []
        self.counts: list[int] = []

    def choose(self, count: int) -> int:
        """Return one of the numbers below `count`."""
        place = len(self.taken)
        chosen = min(self._choices[place], count - 1) if place < len(self._choices) else 0
        self.taken.append(chosen)
        self.counts.append(count)
        return chosen


_REPLAY = re.compile(r"(-?\d+)(?::((?:\d+x)?\d+(?:\.(?:\d+x)?\d+)*))?", re.ASCII)
_LEAST_RUN = 4
"""Equal choices in a row from which on they are counted instead of repeated."""


class Replay(msgspec.Struct, frozen=True):
    """What is needed to have the same simulation again.

    As text: `17` for a seed, `17:3.0.2` for a seed whose schedule is replaced by these choices and
    then goes on oldest-first (so `17:0` is oldest-first throughout), `17:3.40x0.2` with forty zeros
    in a row.

    Attributes:
        seed: of everything random.
        choices: of the schedule; None for those of the seed.
    """

    seed: int
    choices: tuple[int, ...] | None = None

    def __str__(self) -> str:
        if self.choices is None:
            return str(self.seed)
        parts = []
        for choice, run in itertools.groupby(self.choices):
            times = len(list(run))
            parts += [f"{times}x{choice}"] if times >= _LEAST_RUN else [str(choice)] * times
        return f"{self.seed}:{'.'.join(parts) or '0'}"

    def schedule(self) -> RandomSchedule | ChosenSchedule:
        """Return a new schedule that chooses so."""
        return RandomSchedule(self.seed) if self.choices is None else ChosenSchedule(self.choices)

    @classmethod
    def parse(cls, text: str) -> Replay:
        """Return what such a text stands for.

        Raises:
            InvalidOption: it is not one.
        """
        found = _REPLAY.fullmatch(text.strip())
        if found is None:
            raise InvalidOption(
                "--simulate-seed", text, "a seed as it was printed, such as 17 or 17:3.0.2"
            )
        seed = int(found[1])
        if found[2] is None:
            return cls(seed)
        choices: list[int] = []
        for part in found[2].split("."):
            times, _, choice = part.rpartition("x")
            choices += [int(choice)] * int(times or 1)
        return cls(seed, tuple(choices))
