"""Waiting and starting threads, where a finalizer or the interpreter's exit may be in the way."""

from __future__ import annotations

import sys
import sysconfig
import threading
import weakref
from _thread import LockType
from pathlib import Path
from types import FrameType
from typing import Any

from actors._errors import FinalizerWaits, SystemStopped
from actors._executing import Signal

__all__ = ["acquire", "interrupts", "start_thread"]

FINALIZER_SECONDS = 0.1
"""How long a finalizer may wait that came in between something of the runtime or of Python.

One collection may run many of them, one after the other."""

_OURS = (str(Path(__file__).parent), sysconfig.get_path("stdlib"))
_FOREIGN = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
_FINALIZE: Any = weakref.finalize.__call__


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        SystemStopped: the interpreter is exiting, so no thread would ever run.
    """
    _refuse_at_exit()
    thread.start()


def _refuse_at_exit() -> None:
    if sys.is_finalizing():
        raise SystemStopped("the interpreter is exiting, and has no threads any more")


def acquire(lock: Signal, seconds: float | None, what: str) -> bool:
    """Wait until another thread releases the lock; tell whether it did.

    Args:
        lock: what to wait for.
        seconds: at most; None is for ever.
        what: what it stands for, in errors.

    Raises:
        SystemStopped: the interpreter is exiting, so nobody will.
        FinalizerWaits: this is a finalizer, and what it came in between may have to go on first.
    """
    _refuse_at_exit()
    if seconds is not None and (seconds <= FINALIZER_SECONDS or type(lock) is not LockType):
        return lock.acquire(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))
    if type(lock) is not LockType:  # of a simulation, whose threads are not Python's
        return lock.acquire()
    if lock.acquire(timeout=FINALIZER_SECONDS):
        return True
    if interrupts(sys._getframe(1)):
        raise FinalizerWaits(what)
    if seconds is None:
        return lock.acquire()
    return lock.acquire(timeout=min(seconds - FINALIZER_SECONDS, threading.TIMEOUT_MAX))


def interrupts(frame: FrameType | None) -> bool:
    """Tell whether the frame is in a finalizer that came in between the runtime or Python's own.

    The garbage collector runs finalizers in the middle of anything, with any lock held.
    """
    while frame is not None:
        below = frame.f_back
        code = frame.f_code
        if code.co_name == "__del__" or code is _FINALIZE.__code__:
            file = "" if below is None else below.f_code.co_filename
            if below is None or (file.startswith(_OURS) and not file.startswith(_FOREIGN)):
                return True
        frame = below
    return False
