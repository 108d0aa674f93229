"""A thread for one actor alone, for libraries that demand to be called on the same thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Any

from loguru import logger

from actors._errors import TooManyWaiting
from actors._executing import frames_of, local, taken_lock
from actors._threads import start_thread

__all__ = ["Pinned"]


class Pinned:
    """The dispatcher of one pinned actor; its thread ends with the actor."""

    inline = False
    awaits = False
    pool = None
    signal = staticmethod(taken_lock)

    def __init__(self, name: str, handled: Callable[[int], None]) -> None:
        self._name = name
        self._handled = handled
        self._turns: SimpleQueue[Any] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self.cell: Any = None
        self.submit: Callable[[Any], None] = self._submit

    def _submit(self, cell: Any) -> None:
        if self._thread is None:
            # Invariant: the caller holds the cell's permit, so nobody else is here.
            self.cell = cell
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                start_thread(thread)
            except (RuntimeError, MemoryError) as error:
                cell.permit[0] = 1  # whoever sends next tries again
                raise TooManyWaiting(threading.active_count()) from error
            self._thread = thread
        self._turns.put(cell)

    def _run(self) -> None:
        local.worker = self
        while True:
            cell = self._turns.get()
            try:
                self._handled(cell.run())
            except BaseException as error:  # noqa: BLE001 - as on the pool
                logger.exception("the runtime failed in a turn of {}", cell)
                cell.wreck(error)
            if cell.closed:
                return

    def executing(self) -> list[tuple[Any, Callable[[], list[FrameType]]]]:
        """Return its actor, with a way to the frames of its handler."""
        return [(self.cell, self._frames)] if self._thread is not None else []

    def _frames(self) -> list[FrameType]:
        thread = self._thread.ident if self._thread is not None else None
        return frames_of(thread)

    def join(self, timeout: float) -> None:
        """Wait for the thread to end; called from the thread itself, return at once."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def before_block(self) -> None:
        """Nobody else waits for this thread."""

    def after_block(self) -> None:
        """Nobody else waits for this thread."""

    def take_here(self, cell: Any) -> None:
        """A pinned actor runs on its own thread only."""
        self.submit(cell)

    def lend(self, future: Any) -> None:
        """A loop's time is not for handlers that may block."""

    def works(self) -> bool:
        """There will be a thread."""
        return True

    def interrupt(self, cell: Any) -> None:
        """A sync handler cannot be interrupted."""

    def interrupt_request(self, cell: Any, future: Any) -> None:
        """A sync handler cannot be interrupted."""
