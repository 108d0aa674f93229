"""Tracing: spans that nest across actors, written down by an actor, summed up on demand."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec
from loguru import logger

from actors._actor import Actor
from actors._default import system_for
from actors._errors import ActorDeadError, ForkedSystem, InvalidOption, TraceError
from actors._future import Future
from actors._options import function, place
from actors._system import ActorSystem
from actors._waiting import blocking
from actors.services._append_file import AppendFile
from actors.services._errand import errand, nothing_to_end, wait_for_end
from actors.services._span import Span, SpanEvent, encode_span
from actors.services._summary import Row, Summary, Totals

__all__ = ["Row", "Span", "SpanEvent", "Summary", "Tracer"]


LINGER = 0.05
"""Seconds in which spans may gather before they are written: what they cost must not depend on
how often a thread has to be woken for them."""


class _Begun(msgspec.Struct, frozen=True):
    """A first span has ended: take it over soon, with those that end until then."""


class _Take(msgspec.Struct, frozen=True):
    """Sent to itself after that: take over what has ended."""


class _Flush(msgspec.Struct, frozen=True):
    """Take over what has ended, and answer when it is written."""


class _Summarise(msgspec.Struct, frozen=True):
    """Add up everything that has ended."""


class _Close(msgspec.Struct, frozen=True):
    """Take over what has ended, and end."""


class Ended:
    """The way of spans from those who end them to the keeper; outlives its restarts.

    Attributes:
        spans: those nobody has taken over yet.
        due: held from the moment the keeper is called until it begins to take over, which is
            `LINGER` later.
        closed: whether nobody will come for them any more.
        totals: what those that were taken over add up to.
        file: where they are written, or None.
    """

    __slots__ = ("closed", "due", "file", "spans", "totals")

    def __init__(self, file: AppendFile | None) -> None:
        self.spans: deque[Span] = deque()
        self.due = threading.Lock()
        self.closed = False
        self.totals = Totals()
        self.file = file


class TraceKeeper(Actor):
    """Writes spans down, as many at once as there are.

    Args:
        ended: where they are found.
    """

    def __init__(self, ended: Ended) -> None:
        super().__init__()
        self._ended = ended
        self._failure: TraceError | None = None

    def on_start(self) -> None:
        """Keep the appointment that an instance before this one has made."""
        if self._ended.due.locked():
            self._take_soon()

    def _take_soon(self) -> None:
        self.timers.start("take", _Take(), after=LINGER)

    def on_receive(self, message: Any) -> Any:
        """Take over what has ended, and answer what was asked."""
        if isinstance(message, _Begun):
            return self._take_soon()
        if isinstance(message, _Take):
            # Before looking: who ends a span after this calls again.
            self._ended.due.release()
        self._take_over()
        match message:
            case _Summarise():
                return self._ended.totals.summary()
            case _Flush():
                self._report()
            case _Close():
                self._let_go()
                self.actor_ref.stop(block=False)
                self._report()
        return None

    def _take_over(self) -> None:
        ended = self._ended
        lines = []
        while ended.spans:
            span = ended.spans.popleft()
            failed = span.status == "error"
            ended.totals.add(span.name, span.seconds, span.attributes, failed=failed)
            if ended.file is not None:
                lines.append(encode_span(span))
        if ended.file is None or not lines:
            return
        try:
            with blocking():
                ended.file.append(b"".join(lines), sync=False)
        except OSError as error:
            # The trace is not worth failing the work for, nor memory without end.
            self._failure = TraceError(f"{ended.file.path}: {len(lines)} spans are lost: {error}")
            logger.warning("{}", self._failure)

    def _report(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _let_go(self) -> None:
        self._ended.closed = True
        self._ended.spans.clear()
        if self._ended.file is not None:
            self._ended.file.close()
            self._ended.file = None

    def on_stop(self) -> None:
        """Write what has ended until now; a shutdown is no reason to lose it."""
        self._take_over()
        self._let_go()


class Tracer:
    """Makes spans, writes them down as JSON lines, and sums them up.

    A line has `trace_id` (the run's id), `span_id`, `parent_id`, `name`, `start` and `end` in
    nanoseconds since the Unix epoch, `attributes`, `events` and `status`. It is written within a
    twentieth of a second of the span's end; `flush`, `close` and a shutdown write what there is.

    Args:
        export_path: the file to append to; None only sums up.
        system: the actor system to live in; None is the default one.

    Raises:
        InvalidOption: an option makes no sense.
        TraceError: the file cannot be opened, or is in use.
    """

    def __init__(
        self, export_path: str | Path | None = None, *, system: ActorSystem | None = None
    ) -> None:
        self._system = system_for(system)
        self._watchers: tuple[Callable[[Span], None], ...] = ()
        self._ended = Ended(
            None if export_path is None else _open(place("export_path", export_path))
        )
        try:
            self._ref = self._system.spawn_service(TraceKeeper, self._ended)
        except BaseException:
            if self._ended.file is not None:
                self._ended.file.close()
            raise

    def span(self, name: str, /, **attributes: Any) -> Span:
        """Return a span, to be entered with `with` or `async with`.

        Inside it is the current span of the run, also in the actors that are asked from there;
        outside of runs it begins a trace of its own.

        Args:
            name: what kind of work it is, such as "chat" or "invoke_agent reviewer".
            attributes: details; names with dots go in as `**{...}`.

        Raises:
            InvalidOption: `name` is no text.
        """
        if not isinstance(name, str):
            raise InvalidOption("name", name, "the kind of work, a str")
        announce = self._tell_watchers if self._watchers else None
        return Span(self, self._system.clock, self._hand_over, name, attributes, announce)

    def watch(self, watcher: Callable[[Span], None]) -> None:
        """Have a function called with each span as it begins (its `end` is 0) and as it ends.

        It is called by whoever works in the span, on that thread, so it has to be quick; what it
        raises is logged and never reaches the work. Spans made before this call are not told of
        as they begin.

        Raises:
            InvalidOption: `watcher` cannot be called.
        """
        function("watcher", watcher, "a function of a Span")
        self._watchers = (*self._watchers, watcher)

    def _tell_watchers(self, span: Span) -> None:
        for watcher in self._watchers:
            try:
                watcher(span)
            except Exception as error:  # noqa: BLE001 - who looks on must not break the work
                logger.opt(exception=error).error("a watcher of {} failed", self)

    def _hand_over(self, span: Span) -> None:
        if self._watchers:
            self._tell_watchers(span)
        ended = self._ended
        if ended.closed:
            return
        ended.spans.append(span)
        # One message for all spans that end before the keeper takes them over.
        if ended.due.acquire(blocking=False):
            try:
                self._ref.tell(_Begun())
            except (ActorDeadError, ForkedSystem):
                ended.closed = True
                ended.spans.clear()

    def summary(self) -> Future[Summary]:
        """Return count, durations, tokens and cost by span name, agent and model.

        It covers all spans that have ended.

        Raises:
            ActorDeadError: the tracer is closed (from the future).
        """
        return errand(self._ref, _Summarise())

    def flush(self) -> Future[None]:
        """Write every span that has ended.

        Raises:
            TraceError: spans were lost since the last flush (from the future).
            ActorDeadError: the tracer is closed (likewise).
        """
        return errand(self._ref, _Flush())

    def close(self) -> Future[None]:
        """Write every span that has ended, and close; spans that end later are dropped.

        Raises:
            TraceError: spans were lost since the last flush (from the future).
        """
        inherited = nothing_to_end(self._ref)
        if inherited is not None:
            return inherited
        if self._ended.closed:
            done: Future[None] = Future()
            done.set(None)
            return done
        return errand(self._ref, _Close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        wait_for_end(self.close(), "Tracer")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Tracer {self._ref.path}>"


def _open(path: Path) -> AppendFile:
    try:
        file = AppendFile(path)
        try:
            _, end = file.last_line(lambda line: line.endswith(b"}"))
            file.cut(end)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise TraceError(f"{path} cannot be opened for spans: {error}") from error
    return file
