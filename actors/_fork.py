"""What becomes of a system in a process that was forked with it, where none of its threads are."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from actors._answer import Answer
from actors._cell import renew_locks
from actors._errors import ForkedSystem
from actors._tree import all_below

if TYPE_CHECKING:
    from actors._shutdown import Stoppable  # of its own layer, and only looked at

__all__ = ["inherit"]


def inherit(systems: list[Stoppable]) -> None:
    """Make all use of the parent's systems an error, since nobody here would do what is asked."""
    renew_locks()
    for system in systems:
        _leave(system)


def _leave(system: Stoppable) -> None:
    system._forked = True

    def refuse(*_: Any) -> Any:
        raise ForkedSystem(system.name)

    def give_up(future: Any) -> None:
        if isinstance(future, Answer):
            future._callbacks = None  # for the parent, whose loops and threads are not here
            future._fail(ForkedSystem(system.name))

    system._lock = threading.RLock()
    system._pool.submit = refuse
    if system._loop is not None:
        system._loop.submit = refuse
    for root in (system._user, system._services):
        for cell in all_below(root):
            # Whatever is sent is counted first, so this is where it gets its error; and an
            # order, when it wants to schedule a turn that nobody was in the middle of.
            cell.count_sent = refuse
            cell.direct = False
            cell.submit = refuse
            cell.permit = {0: 1, 1: 1}
            give_up(cell.asked)
            for item in cell.queue:
                give_up(item[1] if type(item) is tuple else None)
            for owed in () if cell.extras is None else tuple(cell.extras.owed):
                give_up(owed)
