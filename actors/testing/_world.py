"""Keeps the real world out of a simulation: what sleeps, starts threads or does I/O is refused.

Some of that Python announces to audit hooks (sockets, subprocesses, files), which may refuse it.
The rest (`time.sleep`, threads) is replaced while simulations run; code that has taken a reference
to one of these functions before passes by.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from actors.testing._errors import RealWorld

__all__ = ["closed_world"]

__tracebackhide__ = True  # pytest shows the lines of the test, not these

_REFUSED = {
    "socket.__new__": "open a socket",
    "socket.connect": "connect a socket",
    "socket.getaddrinfo": "look up a host",
    "subprocess.Popen": "start a process",
    "os.system": "start a process",
    "os.fork": "fork the process",
    "os.posix_spawn": "start a process",
    "open": "open a file",
}

_OWN = (
    "_pytest",
    "actors",
    "greenlet",
    "importlib",
    "linecache",
    "loguru",
    "patterns",
    "traceback",
)
"""Packages that may open files in a simulation: imports, by Python's own loader or by pytest's, and
the log on a disk, which a test gives a path of its own."""

_hooked = False
_real_sleep = time.sleep
_real_start = threading.Thread.start


class _Doors:
    """The simulations that run, by their threads."""

    def __init__(self) -> None:
        # Invariant: the threads in which a simulation takes a step at the moment.
        self.stepping: dict[int, Callable[[], bool]] = {}

    def shut(self) -> bool:
        """Tell whether the current thread is in a simulation."""
        stepping = self.stepping.get(threading.get_ident())
        return stepping is not None and stepping()


_doors = _Doors()


def _refusal(what: str) -> RealWorld:
    return RealWorld(
        f"code in a simulation wanted to {what}, which takes real time and comes out differently "
        "each time; use what the runtime has (timers, `asyncio.sleep`, `asyncio.to_thread`), or "
        "give the actor a double"
    )


def _hook(event: str, args: tuple[Any, ...]) -> None:
    what = _REFUSED.get(event)
    if what is None or not _doors.stepping or not _doors.shut():
        return
    if event == "open":
        if isinstance(args[0], int) or _is_own():
            return
        what = f"open the file {args[0]!r}"
    raise _refusal(what)


def _is_own() -> bool:
    """Tell whether the first frame that is not the standard library's may open files."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "").partition(".")[0]
        if name in _OWN or "importlib" in frame.f_code.co_filename:
            return True
        if name not in sys.stdlib_module_names:
            return False
        frame = frame.f_back
    return True


def _sleep(seconds: float) -> None:
    if _doors.shut():
        raise _refusal("sleep")
    _real_sleep(seconds)


def _start(thread: threading.Thread) -> None:
    if _doors.shut():
        raise _refusal(f"start the thread {thread.name!r}")
    _real_start(thread)


class closed_world:  # noqa: N801 - a scope
    """The scope in which steps of a simulation are kept from the real world.

    Args:
        stepping: tells whether the simulation takes a step, which the test around it does not.
    """

    def __init__(self, stepping: Callable[[], bool]) -> None:
        self._stepping = stepping
        self._outer: Callable[[], bool] | None = None

    def __enter__(self) -> None:
        global _hooked  # noqa: PLW0603 - audit hooks cannot be removed
        if not _hooked:
            _hooked = True
            sys.addaudithook(_hook)
        if not _doors.stepping:
            time.sleep = cast("Any", _sleep)
            threading.Thread.start = cast("Any", _start)  # type: ignore[method-assign]
        me = threading.get_ident()
        self._outer = _doors.stepping.get(me)
        _doors.stepping[me] = self._stepping

    def __exit__(self, *_: object) -> None:
        me = threading.get_ident()
        if self._outer is not None:
            _doors.stepping[me] = self._outer
            return
        del _doors.stepping[me]
        if not _doors.stepping:
            time.sleep = _real_sleep
            threading.Thread.start = _real_start  # type: ignore[method-assign]
