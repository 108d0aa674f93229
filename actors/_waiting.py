"""Whose code is executing, and for whom it waits.

A dispatcher leaves here which actor runs on its threads and tasks. Where a handler is about to
wait, for a reply or for room in a mailbox, it is noted on its cell; if those it waits for wait for
it in turn, nobody in the circle could ever go on, so it gets an error instead.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, Protocol

from actors._errors import WouldDeadlock

__all__ = ["CELL", "Blocker", "Wait", "begin_wait", "blocking", "frames_from", "local", "own_turn"]

CELL: ContextVar[Any] = ContextVar("callboard_cell", default=None)
"""The actor that is executing on a loop, or within a send; on threads it is `local.worker.cell`."""

LONGEST_CIRCLE = 1000
"""Actors that are looked at; each look is taken while others go on, so it has to end."""

_get_running_loop = asyncio._get_running_loop


class Blocker(Protocol):
    """A thread of a dispatcher, which wants to know when its handler is about to block."""

    cell: Any

    def before_block(self) -> None:
        """Let another thread take over."""

    def after_block(self) -> None:
        """The handler goes on."""


class Wait(Protocol):
    """What an actor waits for."""

    def waits_for_cell(self) -> Any:
        """Return the cell whose turn has to come first, or None if the wait is over."""


class _Local(threading.local):
    worker: Blocker | None = None


local = _Local()
"""What a dispatcher left for code that runs on its threads."""


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


def frames_from(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of a stack, the outermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


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
