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


_NEXT: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.STARTING, State.STOPPING}),
    State.STARTING: frozenset({State.RUNNING, State.RESTARTING, State.STOPPING}),
    State.RUNNING: frozenset({State.RESTARTING, State.STOPPING}),
    State.RESTARTING: frozenset({State.STARTING, State.STOPPING}),
    State.STOPPING: frozenset({State.STOPPED}),
    State.STOPPED: frozenset(),
}


def may_advance(now: State, to: State) -> bool:
    """Tell whether an actor may go from `now` to `to`."""
    return to in _NEXT[now]


def advance(now: State, to: State) -> State:
    """Return `to`, having checked that the step is allowed.

    Raises:
        AssertionError: it is not; a bug of the runtime, never of its user.
    """
    assert to in _NEXT[now], f"an actor cannot go from {now.name} to {to.name}"
    return to
