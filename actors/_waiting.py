"""Who waits for whom.

Where a handler is about to wait, for a reply or for room in a mailbox, it is noted on its cell; if
those it waits for wait for it in turn, nobody in the circle could ever go on, so it gets an error
instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from actors._errors import WouldDeadlock
from actors._executing import CELL, Signal, local, taken_lock

__all__ = ["Wait", "begin_wait", "blocking", "own_turn", "signal"]

LONGEST_CIRCLE = 1000
"""Actors that are looked at; each look is taken while others go on, so it has to end."""

_get_running_loop = asyncio._get_running_loop


class Wait(Protocol):
    """What an actor waits for."""

    def waits_for_cell(self) -> Any:
        """Return the cell whose turn has to come first, or None if the wait is over."""


@contextmanager
def blocking() -> Iterator[None]:
    """Tell the dispatcher that the code inside is about to block its thread.

    The pool notices by itself within some milliseconds; with this it need not find out.
    """
    worker = local.worker
    if worker is None:
        yield
        return
    worker.before_block()
    try:
        yield
    finally:
        worker.after_block()


def signal() -> Signal:
    """Return what this thread can wait for until another releases it."""
    worker = local.worker
    return taken_lock() if worker is None else worker.signal()


def own_turn() -> Any:
    """Return the cell whose turn this very code is, or None.

    A task that a handler started is not its turn: the actor may go on without it.
    """
    if _get_running_loop() is not None:
        cell = CELL.get()
        if cell is None or cell.frame is None or cell.frame is not asyncio.current_task():
            return None
        return cell
    worker = local.worker
    return None if worker is None else worker.cell


def begin_wait(wait: Wait) -> Any:
    """Note that the actor whose turn this is waits; return its cell, or None outside of turns.

    Whoever began clears `cell.waits_for` afterwards.

    Raises:
        WouldDeadlock: it would wait for itself, by way of the others.
    """
    me = own_turn()
    if me is None:
        return None
    # Written before the others are looked at. If two close a circle at once, each of them writes
    # first, so one at least sees it.
    me.waits_for = wait
    circle = [me]
    following: Wait | None = wait
    while following is not None and len(circle) < LONGEST_CIRCLE:
        cell = following.waits_for_cell()
        if cell is None:
            break
        circle.append(cell)
        if cell is me:
            me.waits_for = None
            raise WouldDeadlock([member.path for member in circle])
        following = cell.waits_for
    return me
