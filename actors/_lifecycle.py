"""The life of an actor as a state machine that only moves forward.

new → starting → running → (restarting → starting) → stopping → stopped

Pure: the cell asks `advance` before it changes its state, so no bug can bring an actor back.
"""

from __future__ import annotations

import enum

__all__ = ["State", "advance", "may_advance"]


class State(enum.IntEnum):
    """Where in its life an actor is."""

    NEW = 0
    STARTING = 1
    RUNNING = 2
    RESTARTING = 3
    STOPPING = 4
    STOPPED = 5


def _bits(*states: State) -> int:
    return sum(1 << state for state in states)


# As bits, since each actor asks twice, and a set would hash an enum's member by its name.
_NEXT = (
    _bits(State.STARTING, State.STOPPING),  # after NEW
    _bits(State.RUNNING, State.RESTARTING, State.STOPPING),  # after STARTING
    _bits(State.RESTARTING, State.STOPPING),  # after RUNNING
    _bits(State.STARTING, State.STOPPING),  # after RESTARTING
    _bits(State.STOPPED),  # after STOPPING
    _bits(),  # after STOPPED
)


def may_advance(now: State, to: State) -> bool:
    """Tell whether an actor may go from `now` to `to`."""
    return bool(_NEXT[now] >> to & 1)


def advance(now: State, to: State) -> State:
    """Return `to`, having checked that the step is allowed.

    Raises:
        AssertionError: it is not; a bug of the runtime, never of its user.
    """
    assert _NEXT[now] >> to & 1, f"an actor cannot go from {now.name} to {to.name}"
    return to
