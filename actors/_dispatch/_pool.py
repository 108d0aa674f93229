"""The thread pool: one thread at a time runs turns, and another is ready to take its place.

More than one running thread would only fight for the interpreter lock. So one worker *holds the
place*: it alone waits for the ready queue. It gives the place away when its handler blocks in a
`Future.get` (the future tells it), and a monitor takes the place from it when the ready queue has
made no progress for some milliseconds (the handler sleeps, or does I/O). A worker without the place
finishes its turn, parks, and retires if it is not needed again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from loguru import logger

from actors._context import enter
from actors._errors import SystemStopped, TooManyWaiting
from actors._executing import local
from actors._threads import start_thread
from actors._waiting import longest_chain, note_aside
from actors._worker import Worker, WorkerThread, guests

__all__ = ["Pool"]

TICK = 0.005
"""Seconds between two looks of the monitor; two looks without progress take the place away."""

IDLE_TICKS = 40
"""Looks at an idle pool after which the monitor sleeps until there is work."""

RETIRE_AFTER = 2.0
"""Seconds a worker stays parked."""

MAX_STUCK = 512
"""Workers the monitor adds at most; those that wait for futures do not count."""

MAX_WORKERS = 16_384
"""Workers there may be, nearly all of which wait for futures; half of what Linux has by default."""

DEEPEST = 10_000
"""How deep actors may wait for each other where that takes threads."""

LOOK_EVERY = 256
"""Workers after whose start it is looked how deep they wait for each other."""

MAX_INLINE = 24
"""How deep asks may run each other's turns on one stack."""


class Pool:
    """The dispatcher of sync actors.

    Args:
        name: prefix of the threads' names.
        handled_inline: counts messages that guests handled.
    """

    inline = True
    awaits = False

    def __init__(self, name: str, handled_inline: Callable[[], object]) -> None:
        self._name = name
        self._handled_inline = handled_inline
        self.ready: SimpleQueue[Any] = SimpleQueue()
        self._lock = threading.RLock()
        # Invariant: all below changes under _lock. There is one holder once the pool has started,
        # and only the holder waits for `ready`; helpers (see _watch) take what is there.
        self._holder: Worker | None = None
        self._parked: list[Worker] = []
        self._workers: dict[Worker, threading.Thread] = {}
        self._retired_handled = 0
        self._monitor: threading.Thread | None = None
        self._closed = False
        self.started = False
        # Set by the holder when it goes to work while the monitor sleeps.
        self._monitor_asleep = False
        self._monitor_wake = threading.Event()
        # A submit is a C call and nothing else.
        self.submit: Callable[[Any], None] = self.ready.put

    # -- entrances ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the first worker, unless somebody else did meanwhile."""
        with self._lock:
            if self._holder is None and not self._closed:
                self.started = True
                self._hold(self._new_worker())
                self._monitor = threading.Thread(
                    target=self._watch, name=f"{self._name}-monitor", daemon=True
                )
                start_thread(self._monitor)

    def run_here(self, cell: Any, future: Any) -> None:
        """Give the mailbox a turn on this thread, which has nothing to do but wait for `future`."""
        worker = local.worker
        if worker is None:
            worker = local.worker = Worker(None)
        if not isinstance(worker, Worker) or worker.depth >= MAX_INLINE or self._closed:
            self.submit(cell)
            return
        # The cell and not the future: to answer that would not free a thread that runs the turn.
        asker = worker.cell
        if asker is None:
            asker = note_aside(cell)
        else:
            asker.waits_for = cell
        try:
            self._run_as_guest(worker, cell, future)
        finally:
            if asker is not None:
                asker.waits_for = None

    def take_here(self, cell: Any) -> None:
        """Give the mailbox of a brief actor its turn at once, on the thread that sends to it."""
        worker = local.worker
        if worker is None:
            worker = local.worker = Worker(None)
        # At the end of its own turn it gets in line, or a busy one would keep this thread.
        if not isinstance(worker, Worker) or worker.depth >= MAX_INLINE or worker.cell is cell:
            self.ready.put(cell)
            return
        self._run_as_guest(worker, cell, None)

    def _run_as_guest(self, worker: Worker, cell: Any, until: Any) -> None:
        """Have this thread take a turn of the cell within whatever it is doing."""
        before, worker.cell = worker.cell, cell
        worker.depth += 1
        try:
            for _ in range(cell.run(until)):
                self._handled_inline()
        finally:
            worker.depth -= 1
            worker.cell = before

    def answer_here(self, cell: Any, message: Any) -> Any:
        """Have an idle actor answer on this thread; the caller took its permit."""
        worker = local.worker
        if worker is None:
            worker = local.worker = Worker(None)
        if not isinstance(worker, Worker) or worker.depth >= MAX_INLINE:
            future = cell.enqueue(message)
            self.submit(cell)
            return future.get()
        before, worker.cell = worker.cell, cell
        asker = before
        if before is not None:
            before.waits_for = cell
        worker.depth += 1
        begun = False
        try:
            context = copy_context()
            if context:
                if before is None:
                    asker = note_aside(cell)
                context.run(enter, cell)
            begun = True
            return context.run(cell.answer, message, asker)
        except RecursionError as error:
            if not begun or error.__traceback__ is None or error.__traceback__.tb_next is None:
                cell.permit[0] = 1  # there was not even the stack to begin
                if asker is not None:
                    asker.waits_for = None
            raise
        finally:
            worker.depth -= 1
            worker.cell = before

    def lend(self, future: Any) -> None:
        """A loop's time is not for handlers that may block."""

    def works(self) -> bool:
        """There will be a thread."""
        return True

    def interrupt(self, cell: Any) -> None:
        """A sync handler cannot be interrupted."""

    def interrupt_request(self, cell: Any, future: Any) -> None:
        """A sync handler cannot be interrupted."""

    # -- workers -----------------------------------------------------------------------------

    def _new_worker(self) -> Worker:
        """Start a worker; the caller holds the lock.

        Raises:
            TooManyWaiting: the workers wait for each other too deep, or there can be no more.
        """
        workers = len(self._workers)
        if workers and not workers % LOOK_EVERY:
            depth = longest_chain(worker.cell for worker in self._workers)
            if depth >= DEEPEST:
                raise TooManyWaiting(workers, depth)
        if workers >= MAX_WORKERS:
            raise TooManyWaiting(workers)
        worker = Worker(self)
        thread = WorkerThread(worker, self._work, f"{self._name}-worker")
        self._workers[worker] = thread
        try:
            start_thread(thread)
        except SystemStopped:
            del self._workers[worker]
            raise
        except (RuntimeError, MemoryError) as error:
            del self._workers[worker]
            raise TooManyWaiting(workers) from error
        return worker

    def _work(self, me: Worker) -> None:
        local.worker = me
        me.thread = threading.get_ident()
        while me.context.run(self._take_turns, me):
            me.context = Context()

    def _take_turns(self, me: Worker) -> bool:
        """Take turns until a handler left something in the context; False is the thread's end."""
        take = self.ready.get_nowait
        context = me.context
        while not context:
            if self._holder is not me:
                if not me.helping:
                    if not self._park(me):
                        return False
                    continue
                me.helping = False
            try:
                cell = take()
            except Empty:
                if self._holder is not me:
                    continue
                cell = self._wait_for_work(me)
            if cell is None:
                # The pool closes; the next worker is to see it, too.
                self.ready.put(None)
                self._retire(me)
                return False
            me.cell = cell
            try:
                cell.run_on(me)
            except BaseException as error:  # noqa: BLE001 - a bug must not stop all actors
                logger.exception("the runtime failed in a turn of {}", me.cell)
                me.cell.wreck(error)
            cell = None  # or a thread that waits for work would keep a dead actor
        return True

    def _wait_for_work(self, me: Worker) -> Any:
        me.cell = None
        me.idle = True
        cell = self.ready.get()
        me.idle = False
        if self._monitor_asleep:
            self._monitor_asleep = False
            self._monitor_wake.set()
        return cell

    def _hold(self, worker: Worker) -> None:
        """Give a worker the place; the caller holds the lock."""
        worker.placed = True
        self._holder = worker

    def give_place(self, me: Worker) -> None:
        """Let another worker run turns, because this one is about to block or does not return."""
        with self._lock:
            if self._holder is not me or self._closed:
                return
            called = self._call()
            me.placed = False
            self._hold(called)

    def _park(self, me: Worker) -> bool:
        """Wait to be called; False means to end the thread."""
        me.cell = None
        with self._lock:
            if self._holder is me or me.helping:
                return True
            if not self._closed:
                self._parked.append(me)
        called = me.wake.acquire(timeout=RETIRE_AFTER) if not self._closed else False
        with self._lock:
            if me in self._parked:
                self._parked.remove(me)
            elif not self._closed:
                if not called:
                    me.wake.acquire()  # called just when the wait ended: the call is there
                return True
            self._forget(me)
            return False

    def _call(self) -> Worker:
        """Return a parked worker that was woken, or a new one; the caller holds the lock.

        Invariant: whoever takes a worker out of _parked releases its `wake`, once, under _lock.
        """
        if not self._parked:
            return self._new_worker()
        worker = self._parked.pop()
        worker.wake.release()
        return worker

    def _retire(self, me: Worker) -> None:
        with self._lock:
            self._forget(me)

    def _forget(self, me: Worker) -> None:
        self._retired_handled += me.handled
        me.handled = 0
        self._workers.pop(me, None)

    # -- the monitor -------------------------------------------------------------------------

    def _watch(self) -> None:
        seen: tuple[Worker | None, int] = (None, 0)
        idle_ticks = 0
        helpers = 0
        while not self._closed:
            time.sleep(TICK)
            holder = self._holder
            if holder is None or holder.idle:
                idle_ticks += 1
                helpers = 0
                if idle_ticks >= IDLE_TICKS:
                    self._monitor_wake.clear()
                    self._monitor_asleep = True
                    # The holder may have gone to work before it could see that we sleep.
                    if holder is self._holder and holder is not None and holder.idle:
                        self._monitor_wake.wait()
                    self._monitor_asleep = False
                    idle_ticks = 0
                continue
            idle_ticks = 0
            now = (holder, holder.handled)
            if now != seen or self.ready.empty():
                seen = now
                helpers = 0
                continue
            # No turn has ended since the last look, and others wait. One more worker will do if
            # one handler sleeps; if that gets stuck as well, double, or a thousand sleeping
            # handlers would hold up the rest for a thousand ticks.
            try:
                self.give_place(holder)
                self._call_helpers(helpers)
            except TooManyWaiting:
                continue  # and whoever waits next is told so
            helpers = max(1, 2 * helpers)
            # The new holder is stuck as well if it has ended no turn by the next look.
            seen = (self._holder, 0 if self._holder is None else self._holder.handled)

    def _call_helpers(self, wanted: int) -> None:
        with self._lock:
            for _ in range(min(wanted, self.ready.qsize())):
                if self._closed or len(self._workers) >= MAX_STUCK:
                    return
                self._call().helping = True

    # -- looking -----------------------------------------------------------------------------

    def executing(self) -> list[tuple[Any, Callable[[], list[FrameType]]]]:
        """Return the actors whose handlers run or wait on the pool's threads, and on guests'."""
        with self._lock:
            workers = [*self._workers, *guests]
        return [(w.cell, w.frames) for w in workers if w.cell is not None]

    @property
    def exhausted(self) -> bool:
        """Tell whether all threads there may be are stuck in handlers while others wait."""
        return len(self._workers) >= MAX_STUCK and not self.ready.empty()

    # -- the end -----------------------------------------------------------------------------

    @property
    def handled(self) -> int:
        """Messages handled by workers."""
        with self._lock:
            return self._retired_handled + sum(w.handled for w in self._workers)

    @property
    def threads(self) -> int:
        """Threads in use, the monitor included."""
        with self._lock:
            monitor = self._monitor is not None and self._monitor.is_alive()
            return len(self._workers) + int(monitor)

    def close(self) -> None:
        """Let all threads end once their turn is over; there is nobody left to take another."""
        with self._lock:
            self._closed = True
            parked, self._parked = self._parked, []
        self.ready.put(None)
        self._monitor_wake.set()
        for worker in parked:
            worker.wake.release()

    def join(self, timeout: float) -> list[str]:
        """Wait for the threads to end; return the paths of the actors in whose handlers some are.

        Args:
            timeout: seconds for all of them together.
        """
        until = time.monotonic() + timeout
        with self._lock:
            threads = list(self._workers.items())
        current = threading.current_thread()
        stuck = []
        for worker, thread in threads:
            if thread is current:
                continue
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive() and worker.cell is not None:
                stuck.append(worker.cell.path)
        if self._monitor is not None and self._monitor is not current:
            self._monitor.join(max(TICK * 4, until - time.monotonic()))
        return stuck
