"""Who waits for whom.

Where a handler is about to wait, for a reply, for room in a mailbox or for an end, it is noted on
its cell; if those it waits for wait for it in turn, nobody in the circle could ever go on, so it
gets an error instead.

What a handler waits for may be waited for by others on its behalf: tasks it gathers, a thread it
sent. Such a wait is noted *aside*, since the handler may as well have left it behind; whether it
needs it is looked up (see `needed_by`) some milliseconds later, if the wait is not over by then.

A circle in which one gives up waiting before all others is none to them: they get their answers
then. Only the one who would be first to give up is told at once that he waits in vain.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, Protocol

from actors._awaiting import given_up_at, needed_by
from actors._errors import WouldDeadlock
from actors._executing import CELL, Signal, local, taken_lock

__all__ = [
    "Asides",
    "Limited",
    "Wait",
    "begin_wait",
    "blocking",
    "longest_chain",
    "note_aside",
    "own_turn",
    "signal",
    "whom",
]

LONGEST_CIRCLE = 1000
"""Actors that are looked at; each look is taken while others go on, so it has to end."""

SOON = 0.01
"""Seconds from a wait aside to the first look at it; each further look takes twice as long."""

LATEST = 30.0
"""Seconds between the last two looks; after that, only what somebody begins to wait for counts."""

SHARE = 50
"""A look is due no sooner than after so many times what the last one took."""

MOMENT = 0.05
"""Seconds before the end of a wait in which an answer is not sure to come in time any more."""

PATIENCE = 60.0
"""Seconds for which a circle may last until another gives up; who waits for an hour, hangs."""

_get_running_loop = asyncio._get_running_loop
_current_task = asyncio.current_task


class Wait(Protocol):
    """What an actor waits for."""

    plain: bool
    """Whether `waits_for_cell` tells all of it; if not, `waits_for_cells` does."""

    advice: str
    """What to do instead, where it closes a circle."""

    @property
    def until(self) -> float | None:
        """When whoever waits gives up by himself, on the system's monotonic clock; None: never."""

    def waits_for_cell(self) -> Any:
        """Return the cell whose turn has to come first, or None if the wait is over.

        Where it is not plain: a part of the tree that tells what is waited for.
        """

    def waits_for_cells(self, waiting: Any) -> Iterable[Any]:
        """Return all cells whose turns have to come first; `waiting` at once if it is one."""

    def refuse(self, error: WouldDeadlock) -> bool:
        """End the wait with the error, if it can be ended."""


class Limited:
    """A wait that is given up at a time of its own, while what is waited for goes on."""

    __slots__ = ("_wait", "advice", "plain", "until")

    def __init__(self, wait: Wait, until: float) -> None:
        self._wait = wait
        self.plain = wait.plain
        self.advice = wait.advice
        self.until: float | None = until

    def waits_for_cell(self) -> Any:
        return self._wait.waits_for_cell()

    def waits_for_cells(self, waiting: Any) -> Iterable[Any]:
        return self._wait.waits_for_cells(waiting)

    def refuse(self, error: WouldDeadlock) -> bool:
        return self._wait.refuse(error)


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
    loop = _get_running_loop()
    if loop is not None:
        cell = CELL.get()
        if cell is None or cell.frame is None or cell.frame is not _current_task(loop):
            return None
        return cell
    worker = local.worker
    return None if worker is None else worker.cell


def begin_wait(wait: Wait) -> Any:
    """Note that the actor whose turn this is waits; return where, or None outside of actors.

    Whoever began sets `waits_for` of what is returned to None afterwards.

    Raises:
        WouldDeadlock: it would wait for itself, by way of the others.
    """
    me = own_turn()
    if me is None:
        return note_aside(wait)
    # Written before the others are looked at. If two close a circle at once, each of them writes
    # first, so one at least sees it.
    me.waits_for = wait
    following: Wait | None = wait
    members = 0
    while following is not None and members < LONGEST_CIRCLE:
        if not following.plain:
            _search(me)
            break
        cell = following.waits_for_cell()
        if cell is None:
            break
        if cell is me:
            _search(me)
            break
        following = cell.waits_for
        if following is None:
            if cell.asides is not None:
                cell.asides.hurry()
            elif cell.suspended:
                following = cell.start_wait()
        members += 1
    return me


def _search(me: Any) -> None:
    circle = _circle(me)
    if circle:
        me.waits_for = None
        raise _error(circle, me)


# -- circles -------------------------------------------------------------------------------------


class _Step:
    """That one waits for something, on the way from the first."""

    __slots__ = ("after", "cell", "wait")

    def __init__(self, cell: Any, wait: Wait, after: _Step | None) -> None:
        self.cell = cell
        self.wait = wait
        self.after = after


def _circle(me: Any) -> list[_Step]:
    """Return how `me` comes to wait for itself, for no shorter than the others, or nothing."""
    free: set[int] = set()  # those that give up before `me` does
    while True:
        circle = _way_back(me, free)
        if not circle:
            return circle
        # Each step was looked at when others had gone on already. What is still there, after all of
        # it was seen, was there at one time; and then nobody in it can go on any more.
        if not all(map(_lasts, circle)):
            continue
        before = min(_gives_up(me) - MOMENT, me.now() + PATIENCE)
        others = {step.cell for step in circle if step.cell is not me}
        early = {id(cell) for cell in others if _gives_up(cell) < before}
        if not early:
            return circle
        free |= early


def _gives_up(cell: Any) -> float:
    """Return when the turn of a cell gives up one of its waits, as far as is known."""
    times = [wait.until for wait in _waits_of(cell)]
    task = cell.frame
    if task is not None and cell.dispatcher.awaits:
        loop = cell.dispatcher.loop
        left = given_up_at(task, loop)
        if left is not None:
            times.append(cell.now() + left - loop.time())
    return min((time for time in times if time is not None), default=math.inf)


def _way_back(me: Any, free: set[int]) -> list[_Step]:
    steps = [_Step(me, wait, None) for wait in _waits_of(me)]
    seen = set(free)
    for step in steps:  # which grows meanwhile
        wait = step.wait
        if wait.plain:
            cell = wait.waits_for_cell()
            cells: Iterable[Any] = () if cell is None else (cell,)
        else:
            cells = wait.waits_for_cells(me)
        for cell in cells:
            if cell is me:
                way: list[_Step] = []
                back: _Step | None = step
                while back is not None:
                    way.append(back)
                    back = back.after
                return way[::-1]
            if len(seen) >= LONGEST_CIRCLE:
                return []
            if id(cell) not in seen:
                seen.add(id(cell))
                steps.extend(_Step(cell, wait, step) for wait in _waits_of(cell))
    return []


def _waits_of(cell: Any) -> list[Wait]:
    """Return what the turn of a cell waits for, all of which it needs."""
    own = cell.waits_for
    if own is not None:
        return [own]
    asides = cell.asides
    start = cell.start_wait() if cell.suspended and asides is None else None
    if start is not None:
        return [start]
    return [] if asides is None else asides.needed()


def _lasts(step: _Step) -> bool:
    wait = step.wait
    return wait.waits_for_cell() is not None and any(w is wait for w in _waits_of(step.cell))


def _error(circle: list[_Step], me: Any) -> WouldDeadlock:
    paths = []
    for step in circle:
        paths.append(step.cell.path)
        if not step.wait.plain:  # for what is not in the circle itself, but above one who is
            above = step.wait.waits_for_cell()
            if above is not None and above.path:
                paths.append(above.path)
    paths.append(me.path)
    paths = [path for path, after in zip(paths, [*paths[1:], None], strict=True) if path != after]
    advice = next((s.wait.advice for s in circle if not s.wait.plain), circle[0].wait.advice)
    return WouldDeadlock(paths if len(paths) > 1 else paths * 2, advice)


def longest_chain(cells: Iterable[Any]) -> int:
    """Return how many wait for each other in a row; exact if who waits longest comes first."""
    longest = 0
    seen: set[int] = set()
    for first in cells:
        cell, length = first, 0
        while cell is not None and id(cell) not in seen:
            seen.add(id(cell))
            length += 1
            wait = cell.waits_for
            cell = None if wait is None else wait.waits_for_cell()
            if cell is not None and not wait.plain:
                break
        longest = max(longest, length)
    return longest


def whom(cell: Any) -> str | None:
    """Return the path of an actor that the cell's handler waits for, or None."""
    asides = cell.asides
    waits = [cell.waits_for] if asides is None else [cell.waits_for, *asides.open()]
    for wait in waits:
        found = None if wait is None else wait.waits_for_cell()
        if found is not None:
            return str(found.path) or "/"
    return None


# -- waits on somebody's behalf ------------------------------------------------------------------


class _Aside:
    """A wait of a task or thread that an actor's handler started."""

    __slots__ = ("_wait", "cell", "key")

    def __init__(self, cell: Any, wait: Wait, key: Any) -> None:
        self.cell = cell
        self.key = self if key is None else key
        self._wait: Wait | None = wait

    @property
    def waits_for(self) -> Wait | None:
        return self._wait

    @waits_for.setter
    def waits_for(self, wait: Wait | None) -> None:
        self._wait = wait
        # At once, or what the task has come to would be kept until the next look.
        key, self.key = self.key, None
        asides = self.cell.asides
        if asides is not None and asides.notes.get(key) is self:
            asides.notes.pop(key, None)
            if not asides.notes and not asides.soon:
                asides.end()


_ASIDE: ContextVar[_Aside | None] = ContextVar("callboard_aside", default=None)
"""What a thread waits for on behalf of an actor; read by way of the context it works in."""


def note_aside(wait: Wait) -> _Aside | None:
    """Note that this code, which is nobody's turn, waits on behalf of the actor that started it."""
    cell = CELL.get()
    if cell is None or not cell.dispatcher.awaits:
        return None
    here = _get_running_loop()
    dispatcher = cell.dispatcher
    if here is None:
        note = _Aside(cell, wait, None)
        _ASIDE.set(note)
    else:
        note = _Aside(cell, wait, _current_task(here))
        if here is dispatcher.loop:
            _add(note)
            return note
    with contextlib.suppress(RuntimeError):  # the loop was closed, and the turn is no more
        dispatcher.loop.call_soon_threadsafe(_add, note)
    return note


def _add(note: _Aside) -> None:
    cell = note.cell
    asides = cell.asides
    if asides is None:
        asides = cell.asides = Asides(cell)
    asides.notes[note.key] = note
    if note.waits_for is None:  # it ended on its thread just now
        asides.notes.pop(None, None)
    if not asides.soon:
        asides.look_soon()


class Asides:
    """What tasks and threads wait for on behalf of one actor.

    Looks are rare: they cost as much as there are such waits. The first one finds a circle that
    closed when the waits began, which is nearly all; later ones find what nobody tells of.
    """

    __slots__ = ("cell", "delay", "handle", "least", "loop", "notes", "soon")

    def __init__(self, cell: Any) -> None:
        # Weak, or a look that is due would keep a dead actor.
        self.cell = weakref.ref(cell)
        self.loop: asyncio.AbstractEventLoop = cell.dispatcher.loop
        # By the task that waits; a thread's note stands for itself.
        # Invariant: all here changes on the loop of the cell only, but a wait that ends on a thread
        # takes its own note out.
        self.notes: dict[Any, _Aside] = {}
        self.delay = self.least = SOON
        self.handle: asyncio.TimerHandle | None = None
        self.soon = False  # whether a look is due as early as may be

    def end(self) -> None:
        """Look no more, since nothing is waited for; from any thread.

        A look that is due soon may come: the next such waits may begin before it.
        """
        loop = self.loop
        if _get_running_loop() is loop:
            self._end()
        else:
            with contextlib.suppress(RuntimeError):  # likewise
                loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        cell = self.cell()
        if self.notes or cell is None or cell.asides is not self:
            return
        cell.asides = None
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None

    def open(self) -> list[Wait]:
        """Return what is waited for; from any thread."""
        return [n.waits_for for n in list(self.notes.values()) if n.waits_for is not None]

    def needed(self) -> list[Wait]:
        """Return what the cell's turn cannot go on without; from any thread."""
        cell = self.cell()
        task = None if cell is None else cell.frame
        if task is None:
            return []
        waits = []
        for part in needed_by(task):
            note = part.get(_ASIDE) if isinstance(part, Context) else self.notes.get(part)
            if note is not None and note.cell is cell and note.waits_for is not None:
                waits.append(note.waits_for)
        return waits

    def hurry(self) -> None:
        """Look soon, since something else has changed; from any thread."""
        if self.soon:
            return
        loop = self.loop
        if _get_running_loop() is loop:
            self.look_soon()
        else:
            with contextlib.suppress(RuntimeError):  # likewise
                loop.call_soon_threadsafe(self.look_soon)

    def look_soon(self) -> None:
        """Look as early as may be."""
        cell = self.cell()
        if cell is not None and cell.asides is self and not self.soon:
            self.soon = True
            self.delay = self.least
            self._arm()

    def _arm(self) -> None:
        if self.handle is not None:
            self.handle.cancel()
        # In no context, or that of whoever waits would be kept until then, with all that is in it.
        loop, when = self.loop, self.loop.time() + self.delay
        self.handle = loop.call_at(when, self._look, context=Context())

    def _look(self) -> None:
        self.handle = None
        self.soon = False
        cell = self.cell()
        if not self.notes or cell is None:
            self._end()
            return
        began = self.loop.time()
        if cell.frame is not None and cell.waits_for is None:
            circle = _circle(cell)
            if circle:
                error = _error(circle, cell)
                any(step.wait.refuse(error) for step in circle)
        self.least = max(SOON, SHARE * (self.loop.time() - began))
        self.delay = max(self.least, 2 * self.delay)
        if self.delay <= LATEST:
            self._arm()
