"""Futures: the answers to requests, and what can be derived from several of them."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pykka

from actors._answer import _PENDING, _VALUE, Answer
from actors._clock import ambient
from actors._errors import InvalidOption, Timeout, WouldBlockLoop
from actors._options import function, patience

__all__ = ["Future", "get_all"]

T = TypeVar("T")
M = TypeVar("M")


class Future(Answer[T]):
    """The reply to a request: await it on any event loop, or `get()` it on any thread.

    It is also a `pykka.Future`, with `map`, `filter`, `join`, `reduce` and `set_get_hook`.
    """

    __slots__ = ()

    # Each refuses what cannot work when it is called, not when the value is wanted.

    def map(self, func: Callable[[T], M]) -> Future[M]:
        """Return a future of `func(value)`; `func` runs once, when the result is wanted."""
        function("func", func, "a function of the value")
        return _Derived((self,), lambda values: func(values[0]))

    def filter(self, func: Callable[[Any], bool]) -> Future[Any]:
        """Return a future of the list of those items of the value that `func` accepts.

        As with the builtin `filter`, None accepts what is true.
        """
        if func is not None:
            function("func", func, "a function of one item, or None")
        return _Derived((self,), lambda values: list(filter(func, values[0])))

    def join(self, *futures: pykka.Future[Any]) -> Future[Any]:
        """Return a future of the list of this and the other futures' values."""
        for future in futures:
            _must_be_future(future)
        return _Derived((self, *futures), list)

    def reduce(self, func: Callable[[Any, Any], Any], *args: Any) -> Future[Any]:
        """Return a future of `functools.reduce(func, value, *args)`."""
        function("func", func, "a function of two items")
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
        if timeout is not None:
            timeout = patience(timeout)
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

    @property
    def plain(self) -> bool:  # type: ignore[override]  # nobody sets it
        return not self._sources

    @property
    def until(self) -> float | None:
        times = [source.until for source in self._sources if isinstance(source, Future)]
        return min((time for time in times if time is not None), default=None)

    def waits_for_cell(self) -> Any:
        return next(iter(self.waits_for_cells(None)), None)

    def waits_for_cells(self, waiting: Any) -> Iterable[Any]:
        if not self._state:
            for source in self._sources:
                if isinstance(source, Future):
                    yield from source.waits_for_cells(waiting)

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


def _must_be_future(value: Any) -> None:
    # Whatever can be waited for in this way is as good as one; a dict is not.
    if not callable(getattr(value, "get", None)) or isinstance(value, Mapping):
        raise InvalidOption(
            "futures", value, "futures, as `request` and `ask(block=False)` return them"
        )


def get_all(futures: Iterable[pykka.Future[T]], *, timeout: float | None = None) -> list[T]:
    """Wait for all futures and return their values in order.

    Args:
        futures: what to wait for.
        timeout: seconds for all of them together; None waits as long as it takes.

    Raises:
        InvalidOption: one of them is no future, or `timeout` is no number of seconds.
        Timeout: not all were answered in time.
        WouldBlockLoop: an event loop runs on this thread.
        BaseException: what a handler raised.
    """
    if timeout is not None:
        timeout = patience(timeout)
    given: object = futures
    if not isinstance(given, Iterable):
        raise InvalidOption("futures", futures, "a list of futures")
    if isinstance(futures, Sequence):
        # Before one is waited for. What is made one by one is looked at one by one.
        for future in futures:
            _must_be_future(future)
    deadline = None if timeout is None else ambient.clock.monotonic() + timeout
    values = []
    for future in futures:
        _must_be_future(future)
        left = None if deadline is None else max(0.0, deadline - ambient.clock.monotonic())
        try:
            values.append(future.get(timeout=left))
        except WouldBlockLoop as error:
            if isinstance(future, Future) and future.done():
                raise  # it is the answer
            raise WouldBlockLoop("get_all()", "`await asyncio.gather(*futures)`") from error
        except pykka.Timeout as error:
            if deadline is None or (isinstance(future, Future) and future.exception() is error):
                raise  # likewise: some handler has waited for too long
            raise Timeout(timeout or 0.0, "all of the replies") from None
    return values
