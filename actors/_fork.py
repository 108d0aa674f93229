"""What becomes of a system in a process that was forked with it, where none of its threads are.

Whatever is asked of it there is an error at once, since nobody would ever do it; to leave it or to
shut it down does nothing, since it is the parent's. Nothing here touches an event loop, whose
selector and sockets both processes have.
"""

from __future__ import annotations

import threading
from queue import Empty
from typing import TYPE_CHECKING, Any, NoReturn

import pykka

from actors._answer import Answer
from actors._cell import Cell, renew_locks
from actors._errors import ForkedSystem
from actors._messages import ShutdownReport
from actors._ref import ActorRef, StopOrder
from actors._tree import all_below

if TYPE_CHECKING:
    from actors._shutdown import Stoppable  # of its own layer, and only looked at

__all__ = ["inherit"]


class _Left:
    """In the place of a part of a system that stayed in the parent."""

    def __init__(self, system: str) -> None:
        self._system = system

    def __getattr__(self, _: str) -> NoReturn:
        raise ForkedSystem(self._system)


class _NoPermit(dict[int, int]):
    """In the place of the permit of a mailbox that nobody here will ever read."""

    __slots__ = ("_system",)

    def __init__(self, system: str) -> None:
        super().__init__()
        self._system = system

    def pop(self, *_: object) -> NoReturn:
        raise ForkedSystem(self._system)


def inherit(systems: list[Stoppable]) -> None:
    """Make all use of the parent's systems an error, except for leaving them."""
    renew_locks()
    for system in systems:
        if not system._forked:  # else it comes from the parent's parent
            _leave(system)
    # The registry is this process's, and has its own actors only.
    pykka.ActorRegistry._actor_refs_lock = threading.RLock()
    refs = pykka.ActorRegistry._actor_refs
    refs[:] = [r for r in refs if not (isinstance(r, ActorRef) and r.system._forked)]


def _leave(system: Any) -> None:
    name = system.name
    system._forked = True
    system._lock = threading.RLock()
    if not system._stopped.done():
        _answer(system._stopped, 1, ShutdownReport(0, (), 0.0))
    if system._loop is not None:
        system._loop.abandon()
    ready = system._pool.ready
    for root in (system._user, system._services):
        for cell in all_below(root):
            _leave_cell(cell, name)
    # If this thread is in a handler, it finds that there is nothing left to do.
    try:
        while True:
            ready.get_nowait()
    except Empty:
        ready.put(None)
    system._pool = system.timers = system.events = system.groups = _Left(name)


def _leave_cell(cell: Cell, system: str) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise ForkedSystem(system)

    def give_up(future: Any) -> None:
        if isinstance(future, Answer) and not future.done():
            error = ForkedSystem(system)
            _answer(future, 2, (error, None))

    # A message is counted first, so this is where it gets its error; all else comes to the permit.
    cell.count_sent = refuse
    cell.direct = False
    cell.permit = _NoPermit(system)
    give_up(cell.asked)
    for stop in cell.stops:
        give_up(stop)
    extras = cell.extras
    for owed in () if extras is None else extras.owed:
        give_up(owed)
    waiting = () if cell.bounds is None else cell.bounds.waiting
    for item in (*cell.queue, *(w.item for w in waiting), *((extras and extras.stash) or ())):
        if type(item) is tuple:
            give_up(item[1])
        elif type(item) is StopOrder:
            give_up(item.future)
    for _, args in cell.control or ():
        for arg in args:
            give_up(arg)
    # What waits is for the parent to handle.
    cell.bounds = None
    cell.queue.clear()
    if cell.control is not None:
        cell.control.clear()


def _answer(future: Answer[Any], state: int, value: Any) -> None:
    """Answer what nobody else will: not even one who was about to, as it was forked."""
    future._callbacks = None  # for the parent, whose loops and threads are not here
    future._open = {0: 1}
    future._resolve(state, value)
