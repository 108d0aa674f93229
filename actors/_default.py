"""The default system, and which actor's code is executing.

The default system is what `Actor.start()` and handles without a `system=` use; it is started on
first use and stopped at exit.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

from actors._actor import Actor
from actors._errors import InvalidOption
from actors._executing import CELL, local
from actors._ref import ActorRef
from actors._shutdown import JOIN_SECONDS
from actors._system import ActorSystem, running_systems

__all__ = ["check_system", "current_actor", "default_system", "system_for"]


def current_actor() -> ActorRef[Any] | None:
    """Return the reference of the actor whose code is executing, or None outside of actors."""
    cell = CELL.get()
    if cell is None and local.worker is not None:
        cell = local.worker.cell
    return cell.ref if cell is not None else None


_default_lock = threading.Lock()
_default: ActorSystem | None = None


class _Own(threading.local):
    system: ActorSystem | None = None


own = _Own()
"""`own.system` stands in for the default system on this thread; a simulation puts its own there."""


def default_system() -> ActorSystem:
    """Return the system that is used where none is named; started on first use, stopped at exit."""
    global _default  # noqa: PLW0603 - the one default
    if own.system is not None:
        return own.system
    with _default_lock:
        if _default is None or _default._stopping is not None or _default._forked:
            _default = ActorSystem("default")
        return _default


def check_system(system: Any) -> None:
    """Make sure that it is an actor system, or None.

    Raises:
        InvalidOption: it is neither.
    """
    if system is not None and not isinstance(system, ActorSystem):
        raise InvalidOption("system", system, "an ActorSystem, or None for the default one")


def system_for(system: ActorSystem | None) -> ActorSystem:
    """Return the system that was given, or the default one.

    Raises:
        InvalidOption: what was given is no system.
    """
    check_system(system)
    return default_system() if system is None else system


def _start_in_default_system(
    cls: type[Actor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ActorRef[Any]:
    return default_system()._start_unsupervised(cls, args, kwargs)


Actor._start_in_default_system = staticmethod(_start_in_default_system)


@atexit.register
def _stop_systems() -> None:
    """Stop what still runs, whoever started it, so that last hooks run and are not torn apart."""
    ends = [(system, system.shutdown()) for system in running_systems()]
    for system, ended in ends:
        ended.get()
        system._join(JOIN_SECONDS)


def _after_fork() -> None:
    global _default_lock  # noqa: PLW0603 - whoever held it stayed in the parent
    _default_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
