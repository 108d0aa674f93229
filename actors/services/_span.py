"""Spans: what took how long, within what, and how it ended.

A span must cost next to nothing to those it measures: it takes two readings of the clock and is
handed over when it ends; encoding and writing happen elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Token
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from actors._clock import Clock
from actors._context import RUN, RunContext, current
from actors._errors import InvalidOption
from actors._ids import RANDOM
from actors.services._set_order import settled

__all__ = ["Span", "SpanEvent", "Status", "encode_span"]

Status = Literal["unset", "ok", "error"]

_bits = RANDOM.getrandbits


class SpanEvent(msgspec.Struct, frozen=True):
    """Something that happened during a span.

    Attributes:
        name: what.
        time: when, in nanoseconds since the Unix epoch.
        attributes: details.
    """

    name: str
    time: int
    attributes: dict[str, Any]


class Span:
    """A stretch of work; a scope, sync or async, that becomes the run's current span.

    Attributes:
        trace_id: the run's id.
        span_id: 16 hexadecimal digits.
        parent_id: the span around it, or None.
        name: what kind of work it is.
        attributes: details, changed by `set_attribute`.
        status: "unset" until it ends, then "error" if it did so with an exception, else "ok" or
            what `set_status` said.
        start, end: nanoseconds since the Unix epoch; 0 before it.
    """

    __slots__ = (
        "_announce",
        "_began",
        "_clock",
        "_events",
        "_hand_over",
        "_token",
        "_tracer",
        "attributes",
        "end",
        "name",
        "parent_id",
        "span_id",
        "start",
        "status",
        "trace_id",
    )

    def __init__(
        self,
        tracer: Any,
        clock: Clock,
        hand_over: Callable[[Span], None],
        name: str,
        attributes: dict[str, Any],
        announce: Callable[[Span], None] | None = None,
    ) -> None:
        self._tracer = tracer
        self._clock = clock
        self._announce = announce
        self._hand_over = hand_over
        self.name = name
        self.attributes = attributes
        # Made late: most spans have none, and each list is one more for the garbage collector.
        self._events: list[SpanEvent] | None = None
        self.status: Status = "unset"
        self.trace_id = ""
        self.span_id = _bits(64).to_bytes(8).hex()
        self.parent_id: str | None = None
        self.start = self.end = 0
        self._token: Token[RunContext | None] | None = None

    def set_attribute(self, name: str, value: Any) -> None:
        """Set or replace one attribute.

        Raises:
            InvalidOption: `name` is no text.
        """
        if not isinstance(name, str):
            raise InvalidOption("name", name, "the name of an attribute, a str")
        self.attributes[name] = value

    def add_event(self, name: str, /, **attributes: Any) -> None:
        """Note that something happened now.

        Raises:
            InvalidOption: `name` is no text.
        """
        if not isinstance(name, str):
            raise InvalidOption("name", name, "what happened, a str")
        if self._events is None:
            self._events = []
        self._events.append(SpanEvent(name, _nanoseconds(self._clock), attributes))

    def record_exception(self, error: BaseException) -> None:
        """Note an exception that the work goes on after; one that ends the span notes itself."""
        self.add_event(
            "exception",
            **{
                "exception.type": f"{type(error).__module__}.{type(error).__qualname__}",
                "exception.message": str(error),
            },
        )

    def set_status(self, status: Status) -> None:
        """Say how it went, where no exception says it.

        Raises:
            InvalidOption: it is none of "ok", "error" and "unset".
        """
        if status not in ("ok", "error", "unset"):
            raise InvalidOption("status", status, "'ok', 'error' or 'unset'")
        self.status = status

    @property
    def events(self) -> Sequence[SpanEvent]:
        """What `add_event` noted."""
        return self._events or ()

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e9

    def __enter__(self) -> Self:
        if self.start:
            raise RuntimeError(f"the span {self.name!r} was entered before; make a new one")
        clock = self._clock
        outer = current()
        if outer is None:
            self.trace_id = f"{_bits(128):032x}"
            inner = RunContext(self.trace_id, span=self, tracer=self._tracer)
        else:
            self.trace_id = outer.run_id
            if outer.span is not None:
                self.parent_id = outer.span.span_id
            inner = RunContext(
                outer.run_id,
                outer.budget,
                outer.deadline,
                self,
                outer.log,
                self._tracer if outer.tracer is None else outer.tracer,
                outer.journal,
            )
        self._token = RUN.set(inner)
        self.start = int(clock.time() * 1e9)
        self._began = clock.monotonic()
        if self._announce is not None:
            self._announce(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end = self.start + int((self._clock.monotonic() - self._began) * 1e9)
        token, self._token = self._token, None
        if token is not None:
            # A generator that is closed elsewhere leaves it in another context than it entered,
            # where the span was never current.
            try:  # noqa: SIM105 - `suppress` costs as much as the rest of this
                RUN.reset(token)
            except ValueError:
                pass
        if value is not None:
            self.status = "error"
            self.record_exception(value)
        elif self.status == "unset":
            self.status = "ok"
        self._hand_over(self)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, value, traceback)

    def __repr__(self) -> str:
        return f"<Span {self.name} {self.span_id}>"


class _Line(msgspec.Struct, frozen=True):
    """A span as it is written."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: Sequence[SpanEvent]
    status: Status


_encode = msgspec.json.Encoder(enc_hook=repr, decimal_format="number").encode


def encode_span(span: Span) -> bytes:
    """Return the JSON line of a span that ended; what JSON cannot hold is written as its repr."""
    line = _Line(
        span.trace_id,
        span.span_id,
        span.parent_id,
        span.name,
        span.start,
        span.end,
        span.attributes,
        span.events,
        span.status,
    )
    try:
        body = _encode(line)
        # A set is written as an array; one array, that of the events, is in each line.
        if body.count(b"[") > 1:
            body = _encode(settled(line))
        return body + b"\n"
    except Exception:  # noqa: BLE001 - a strange attribute must not cost the other spans
        plain = {str(key): repr(value) for key, value in span.attributes.items()}
        bare = msgspec.structs.replace(line, name=repr(span.name), attributes=plain, events=[])
        return _encode(bare) + b"\n"


def _nanoseconds(clock: Clock) -> int:
    return int(clock.time() * 1e9)
