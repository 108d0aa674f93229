"""Futures: the answers to requests, and what can be derived from several of them."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pykka

from actors._answer import _PENDING, _VALUE, Answer
from actors._clock import ambient
from actors._errors import Timeout, WouldBlockLoop

__all__ = ["Future", "get_all"]

T = TypeVar("T")
M = TypeVar("M")


class Future(Answer[T]):
    """The reply to a request: await it on any event loop, or `get()` it on any thread.

    It is also a `pykka.Future`, with `map`, `filter`, `join`, `reduce` and `set_get_hook`.
    """

    __slots__ = ()

    def map(self, func: Callable[[T], M]) -> Future[M]:
        """Return a future of `func(value)`; `func` runs once, when the result is wanted."""
        return _Derived((self,), lambda values: func(values[0]))

    def filter(self, func: Callable[[Any], bool]) -> Future[Any]:
        """Return a future of the list of those items of the value that `func` accepts."""
        return _Derived((self,), lambda values: list(filter(func, values[0])))

    def join(self, *futures: pykka.Future[Any]) -> Future[Any]:
        """Return a future of the list of this and the other futures' values."""
        return _Derived((self, *futures), list)

    def reduce(self, func: Callable[[Any, Any], Any], *args: Any) -> Future[Any]:
        """Return a future of `functools.reduce(func, value, *args)`."""
        return _Derived((self,), lambda values: functools.reduce(func, values[0], *args))


class _Derived(Future[T]):
    """A future computed from others, once, by whoever wants it first."""

    __slots__ = ("_combine", "_sources", "_started")

    def __init__(
        self,
        sources: tuple[pykka.Future[Any], ...] = (),
        combine: Callable[[list[Any]], T] | None = None,
    ) -> None:
        super().__init__()
        self._sources = sources
        self._combine = combine
        # Invariant: held by whoever computes; the function runs once and its outcome is kept.
        self._started = threading.Lock()

    def get(self, *, timeout: float | None = None) -> T:
        if self._state == _PENDING and self._sources:
            deadline = None if timeout is None else ambient.clock.monotonic() + timeout
            for source in self._sources:
                # Wait for all before computing, each with what is left of the one timeout.
                left = None if deadline is None else max(0.0, deadline - ambient.clock.monotonic())
                try:
                    source.get(timeout=left)
                except WouldBlockLoop:
                    raise  # this call failed, not the source
                except pykka.Timeout:
                    if deadline is not None and ambient.clock.monotonic() >= deadline:
                        raise Timeout(timeout or 0.0) from None
                    break
                except Exception:  # noqa: BLE001 - it is raised again from _compute
                    break
            self._compute()
        return super().get(timeout=timeout)

    def _compute(self) -> None:
        if not self._started.acquire(blocking=False):
            return
        try:
            values = [source.get() for source in self._sources]
            assert self._combine is not None
            value = self._combine(values)
        except BaseException as error:  # noqa: BLE001 - it is the outcome
            self._fail(error)
        else:
            self._resolve(_VALUE, value)

    def _add_callback(self, callback: Callable[[Any], object], *, waits: bool = False) -> bool:
        if not super()._add_callback(callback, waits=waits):
            return False
        if not self._sources:
            return True
        missing = [len(self._sources)]
        lock = threading.Lock()

        def arrived(_: Any) -> None:
            with lock:
                missing[0] -= 1
                last = missing[0] == 0
            if last:
                self._compute()

        for source in self._sources:
            if isinstance(source, Future) and source._get_hook is None:
                source.add_done_callback(arrived)
            else:
                # It does not tell when it is done, so a thread has to ask for it.
                threading.Thread(target=_fetch, args=(source, arrived), daemon=True).start()
        return True

    def cancel(self) -> bool:
        for source in self._sources:
            if isinstance(source, Future):
                source.cancel()
        return super().cancel()


def _fetch(source: pykka.Future[Any], then: Callable[[Any], None]) -> None:
    with contextlib.suppress(BaseException):
        source.get()
    then(source)


def get_all(futures: Iterable[pykka.Future[T]], *, timeout: float | None = None) -> list[T]:
    """Wait for all futures and return their values in order.

    Args:
        futures: what to wait for.
        timeout: seconds for all of them together; None waits as long as it takes.

    Raises:
        Timeout: not all were answered in time.
    """
    deadline = None if timeout is None else ambient.clock.monotonic() + timeout
    values = []
    for future in futures:
        left = None if deadline is None else max(0.0, deadline - ambient.clock.monotonic())
        try:
            values.append(future.get(timeout=left))
        except Timeout:
            raise Timeout(timeout or 0.0, "all of the replies") from None
    return values
