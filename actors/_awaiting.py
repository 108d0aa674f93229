"""What a suspended task cannot go on without, as far as asyncio tells.

A task tells which future it waits for, but not which tasks will make up that future's answer. The
ways of asyncio to wait for several are known here, each by what its frame or its future holds.
What is not known (an event, a queue, the first of several) is left out: it might come in time. So
is what the task gives up waiting for without ending it, as behind `asyncio.shield`.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
from collections.abc import Iterable, Iterator
from contextvars import Context
from types import FrameType
from typing import Any

__all__ = ["frame_of", "given_up_at", "inner_step", "needed_by"]

MOST = 100_000
"""Tasks that are looked at; others go on meanwhile, so it has to end."""


def frame_of(step: Any) -> FrameType | None:
    """Return the frame of a coroutine or generator, or None if it has ended or is neither."""
    return getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)


def inner_step(step: Any) -> Any:
    """Return what a suspended coroutine or generator awaits, or None if it cannot be told.

    One that steps another by hand, as the engine does, keeps it in a local called `stepped`.
    """
    inner = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None)
    if inner is None:
        frame = frame_of(step)
        if frame is not None and "stepped" in frame.f_code.co_varnames:
            return frame.f_locals.get("stepped")
    return inner


def needed_by(task: asyncio.Task[Any]) -> Iterator[asyncio.Task[Any] | Context]:
    """Yield what a task waits for, all of it: tasks, and the contexts that threads work in.

    Those are left out that are done, and those of which one would do.
    """
    seen: set[int] = set()
    todo: list[Any] = [task]
    while todo and len(seen) < MOST:
        future = todo.pop()
        if id(future) in seen:
            continue
        seen.add(id(future))
        if isinstance(future, Context):
            yield future
        elif future.done():
            continue
        elif isinstance(future, asyncio.Task):
            if future is not task:
                yield future
            waits_for = getattr(future, "_fut_waiter", None)
            if waits_for is not None and not waits_for.done():
                todo.extend(_parts(waits_for) or _parts_of_wait(future, waits_for))
        else:
            todo.extend(_parts(future))


def given_up_at(task: asyncio.Task[Any], loop: Any) -> float | None:
    """Return when a timer ends what the task waits for, on the loop's clock; None if none does.

    Known are timers that belong to the task, or to one that it needs: `asyncio.timeout`,
    `wait_for`, cancel scopes of anyio, `loop.call_later(…, task.cancel)`. A loop that does not show
    its timers (uvloop) has none.
    """
    tasks = [task, *(part for part in needed_by(task) if isinstance(part, asyncio.Task))]
    parts = {id(one) for one in tasks}
    parts.update(id(getattr(one, "_fut_waiter", None)) for one in tasks)
    timers = list(getattr(loop, "_scheduled", ()))  # which other threads add to
    ending = (t for t in timers if any(id(one) in parts for one in _ended_by(t)))
    return min((timer.when() for timer in ending), default=None)


def _ended_by(timer: Any) -> Iterable[Any]:
    """Return what a timer of a loop is there to end, if that is known."""
    callback, args = timer._callback, timer._args
    if callback is _RELEASE:
        return args or ()
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Timeout):
        return (owner._task,)  # type: ignore[attr-defined]
    if type(owner).__module__.startswith("anyio."):  # a CancelScope
        return tuple(getattr(owner, "_tasks", ()))
    return (owner,) if isinstance(owner, asyncio.Task) else ()


def _parts(future: Any) -> list[Any]:
    """Return what a future is made up of, if it tells by itself."""
    if isinstance(future, asyncio.Task):
        return [future]
    return list(getattr(future, "_children", ()))  # asyncio.gather


_WAIT: Any = asyncio.tasks._wait.__code__  # type: ignore[attr-defined]  # what asyncio.wait ends in
_WAIT_FOR = asyncio.wait_for.__code__
_RELEASE: Any = asyncio.tasks._release_waiter  # type: ignore[attr-defined]  # how it gives up
_TO_THREAD = asyncio.to_thread.__code__


def _parts_of_wait(task: asyncio.Task[Any], waits_for: Any) -> list[Any]:
    """Return what the innermost coroutine of a task waits for by way of a plain future."""
    step: Any = task.get_coro()
    frame = None
    while step is not None:
        frame = frame_of(step) or frame
        step = inner_step(step)
    if frame is None:
        return []
    names = frame.f_locals
    if frame.f_code is _TO_THREAD:
        return [names["ctx"]]
    if frame.f_code is _WAIT_FOR:  # which waits in a task of its own before Python 3.12
        return [names["fut"]] if names.get("waiter") is waits_for else []
    if frame.f_code is _WAIT:
        pending = [future for future in names["fs"] if not future.done()]
        # With a timeout it does not fail, but looks again: whoever waits so goes on by himself. And
        # the first that fails may be any, which ends this wait as the first that is done does.
        sure = names["return_when"] == asyncio.ALL_COMPLETED or len(names["fs"]) == 1
        return pending if sure and names.get("timeout_handle") is None else []
    group: Any = names.get("self")
    if isinstance(group, asyncio.TaskGroup) and group._on_completed_fut is waits_for:  # type: ignore[attr-defined]
        return list(group._tasks)
    return []
