"""Keeps the real world out of a simulation: what sleeps, starts threads or does I/O is refused.

Some of that Python announces to audit hooks (sockets, subprocesses, files), which may refuse it.
The rest (`time.sleep`, threads) is replaced while simulations run; code that has taken a reference
to one of these functions before passes by. Conditions, and what is made of them (events, queues,
semaphores, barriers, `concurrent.futures`), are waited for on virtual time. `time.time` and
`time.monotonic` tell the virtual time to code in a simulation; `perf_counter` and `datetime` tell
that of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from actors._clock import ambient
from actors._executing import local
from actors.testing._errors import RealWorld

__all__ = ["closed_world", "refuse"]

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
    "os.listdir": "list a folder",
    "os.mkdir": "make a folder",
    "os.remove": "remove a file",
    "os.rename": "rename a file",
    "os.rmdir": "remove a folder",
    "os.scandir": "list a folder",
    "os.truncate": "cut a file",
    "sqlite3.connect": "open a database",
}

_OF_FILES = {name for name in _REFUSED if name == "open" or name.startswith("os.")} - {
    "os.fork",
    "os.posix_spawn",
    "os.system",
}

_OWN = (
    "_pytest",
    "actors",
    "greenlet",
    "importlib",
    "linecache",
    "logging",
    "loguru",
    "patterns",
    "traceback",
    "warnings",
    "zoneinfo",
)
"""Packages that may open files in a simulation: imports, by Python's own loader or by pytest's, and
logs on a disk, which a test gives paths of their own."""

_hooked = False
_real_sleep = time.sleep
_real_start = threading.Thread.start
_real_wait: Any = threading.Condition.wait
_real_as_completed: Any = asyncio.as_completed
_real_time = time.time
_real_monotonic = time.monotonic


class _Doors:
    """The simulations that run, by their threads."""

    def __init__(self) -> None:
        # Invariant: the scopes that are open, by the thread they were entered in.
        self.scopes: dict[int, closed_world] = {}

    def shut(self) -> closed_world | None:
        """Return the scope whose simulation takes a step on the current thread, if one does."""
        scope = self.scopes.get(threading.get_ident())
        return scope if scope is not None and scope.stepping() else None


_doors = _Doors()


def _refuse(what: str) -> None:
    refuse(
        f"code in a simulation wanted to {what}, which takes real time and comes out differently "
        "each time; use what the runtime has (timers, `asyncio.sleep`, `asyncio.to_thread`), or "
        "give the actor a double"
    )


def refuse(text: str) -> NoReturn:
    """Raise a refusal, of which the test hears even if somebody catches it.

    Raises:
        RealWorld: with that text.
    """
    error = RealWorld(text)
    scope = _doors.shut()
    if scope is not None:
        # Whoever is asked may have a way to deal with errors; the test is to hear all the same.
        scope.refused(error)
    raise error


def _hook(event: str, args: tuple[Any, ...]) -> None:
    what = _REFUSED.get(event)
    if what is None or not _doors.scopes:
        return
    scope = _doors.shut()
    if scope is None:
        return
    if event in _OF_FILES:
        if scope.files or isinstance(args[0], int) or _is_own():
            return
        what = f"{what} ({args[0]!r}; `sim.allow('files')` permits it)"
    _refuse(what)


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
    if _doors.shut() is not None:
        _refuse("sleep")
    _real_sleep(seconds)


def _start(thread: threading.Thread) -> None:
    if _doors.shut() is not None:
        _refuse(f"start the thread {thread.name!r}")
    _real_start(thread)


def _wait(condition: Any, timeout: float | None = None) -> bool:
    """Wait for a condition as `threading` does, but in a simulation on virtual time."""
    worker: Any = local.worker
    if threading.get_ident() not in _doors.scopes or worker is None:
        return bool(_real_wait(condition, timeout))
    if timeout is None and getattr(worker, "waits_in_vain", bool)():
        # A real thread of the test may do something yet.
        return bool(_real_wait(condition, timeout))
    if not condition._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    given = False
    waiter = worker.signal()
    condition._waiters.append(waiter)
    saved = condition._release_save()
    try:
        given = bool(waiter.acquire(timeout=-1 if timeout is None else max(0.0, timeout)))
        return given
    finally:
        condition._acquire_restore(saved)
        if not given:
            with contextlib.suppress(ValueError):
                condition._waiters.remove(waiter)


def _time() -> float:
    return _real_time() if _doors.shut() is None else ambient.clock.time()


def _monotonic() -> float:
    return _real_monotonic() if _doors.shut() is None else ambient.clock.monotonic()


def _waited() -> float:
    """Measure how long is waited, which the test around a simulation does on virtual time, too."""
    return ambient.clock.monotonic()


def _as_completed(fs: Any, **options: Any) -> Any:
    """Do what asyncio does; of bare coroutines it makes tasks in the order of a set of them."""
    if _doors.shut() is not None:
        fs = [asyncio.ensure_future(one) for one in fs]
    return _real_as_completed(fs, **options)


_REPLACED: tuple[tuple[Any, str, Any, Any], ...] = (
    (time, "sleep", _real_sleep, _sleep),
    (time, "time", _real_time, _time),
    (time, "time_ns", time.time_ns, lambda: int(_time() * 1e9)),
    (time, "monotonic", _real_monotonic, _monotonic),
    (time, "monotonic_ns", time.monotonic_ns, lambda: int(_monotonic() * 1e9)),
    (threading.Thread, "start", _real_start, _start),
    (threading.Condition, "wait", _real_wait, _wait),
    (threading, "_time", vars(threading)["_time"], _waited),
    (asyncio, "as_completed", _real_as_completed, _as_completed),
    (queue, "time", vars(queue)["time"], _waited),
)
"""What is replaced while simulations run: owner, name, the real thing, and ours."""


class closed_world:  # noqa: N801 - a scope
    """The scope in which steps of a simulation are kept from the real world.

    Args:
        stepping: tells whether the simulation takes a step, which the test around it does not.
        refused: told of what was refused.
    """

    def __init__(self, stepping: Callable[[], bool], refused: Callable[[RealWorld], None]) -> None:
        self.stepping = stepping
        self.refused = refused
        self.files = False  # whether files may be opened
        self._outer: closed_world | None = None

    def __enter__(self) -> None:
        global _hooked  # noqa: PLW0603 - audit hooks cannot be removed
        if not _hooked:
            _hooked = True
            sys.addaudithook(_hook)
        if not _doors.scopes:
            for owner, name, _, ours in _REPLACED:
                setattr(owner, name, ours)
        me = threading.get_ident()
        self._outer = _doors.scopes.get(me)
        _doors.scopes[me] = self

    def __exit__(self, *_: object) -> None:
        me = threading.get_ident()
        if self._outer is not None:
            _doors.scopes[me] = self._outer
            return
        del _doors.scopes[me]
        if not _doors.scopes:
            for owner, name, real, _ in _REPLACED:
                setattr(owner, name, real)
