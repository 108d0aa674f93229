"""The actor that `start()` makes: nobody supervises it, and it follows pykka where that differs.

It stands in pykka's registry, shows the urn by which it is found there, and logs to the logger
"pykka" of the standard library what pykka's actors log, at the same levels.
"""

from __future__ import annotations

import logging
from typing import Any

import pykka

from actors._cell._state import is_cancellation
from actors._cell._turns import Cell

__all__ = ["LoneCell"]

_logger = logging.getLogger("pykka")


class LoneCell(Cell):
    """The cell of an actor without a supervisor."""

    __slots__ = ()

    @property
    def label(self) -> str:
        return f"{self.spec.cls.__name__} ({self.urn})"

    def enter(self) -> None:
        pykka.ActorRegistry.register(self.ref)
        _logger.debug("Starting %s", self.label)

    def leave(self) -> None:
        pykka.ActorRegistry.unregister(self.ref)
        if not isinstance(self.reason, BaseException):
            _logger.debug("Stopped %s", self.label)

    def bound_hooks(self) -> None:
        """Wait, as pykka does: whoever starts it so has no specification to say for how long."""

    def no_plain_exception(self, error: BaseException) -> None:
        _logger.debug("%r in %s. Stopping all actors.", error, self.label)
        # Not waiting, as a thread that waits for its own actor would wait for ever.
        pykka.ActorRegistry.stop_all(block=False)

    def log_failure(self, error: BaseException, what: str) -> None:
        super().log_failure(error, what)
        if isinstance(error, Exception) or is_cancellation(error):
            _logger.error("Unhandled exception in %s:", self.label, exc_info=error)

    def log_answer(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            _logger.info("Exception returned from %s to caller:", self.label, exc_info=error)

    def log_unexpected(self, message: Any) -> None:
        super().log_unexpected(message)
        _logger.warning("Unexpected message received by %s: %s", self.label, message)
