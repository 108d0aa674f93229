"""What happened in a simulation, in order, and as text that is the same wherever it is made."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Literal

import msgspec

from actors._future import Future
from actors._ref import ActorRef

__all__ = ["Event", "History", "Kind", "canonical"]

Kind = Literal[
    "send", "ask", "handle", "reply", "fail", "start", "stop", "restart", "dead", "late", "fault"
]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_FIELDS = 7
"""Of an event."""

LONGEST = 120
"""Characters of a message that are shown."""


class Event(msgspec.Struct, frozen=True):
    """One thing that happened.

    Attributes:
        step: the step of the simulation in which it did; starts at 0.
        time: virtual seconds since the simulation began.
        kind: what: a message was sent ("send"; "ask" if an answer is wanted) or handled, a request
            answered ("reply"), an actor started, failed, restarted or stopped, a message became a
            dead letter ("dead"), a reply came too late ("late"), a fault was injected ("fault").
        source: path of the actor (or name of the thread) that did it, or "".
        target: path of the actor to which it happened, or name of the thread.
        number: which message it is about, counted from 1; 0 if about none.
        what: the message, reply or reason itself.
    """

    step: int
    time: float
    kind: Kind
    source: str
    target: str
    number: int
    what: Any

    def line(self) -> str:
        """Return the event as a line of text."""
        about = f" #{self.number}" if self.number else ""
        source = f"{self.source} -> " if self.source else ""
        what = "" if self.what is None else f"  {canonical(self.what)}"
        return f"{self.time:10.6f} {self.kind:<7} {source}{self.target}{about}{what}"


class History:
    """The events of one simulation, the oldest first.

    Messages are kept as they are and made into text when it is asked for, so they should not be
    changed after they were sent; which messages between actors should not be anyway.
    """

    def __init__(self) -> None:
        # Invariant: seven items for each event, and not a tuple of seven, which the garbage
        # collector would have to look at again and again.
        self._fields: list[Any] = []
        self.add: Callable[[tuple[int, float, Kind, str, str, int, Any]], None] = (
            self._fields.extend
        )

    def __len__(self) -> int:
        return len(self._fields) // _FIELDS

    def __iter__(self) -> Iterator[Event]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Event:
        first = range(len(self))[index] * _FIELDS
        return Event(*self._fields[first : first + _FIELDS])

    def outline(self) -> Iterator[tuple[Kind, str, int]]:
        """Return kind, target and number of each event, at a tenth of the cost of the events."""
        fields = self._fields
        return zip(fields[2::_FIELDS], fields[4::_FIELDS], fields[5::_FIELDS], strict=True)

    def of(self, *kinds: Kind) -> list[Event]:
        """Return the events of these kinds."""
        return [event for event in self if event.kind in kinds]

    def __str__(self) -> str:
        return "".join(f"{event.line()}\n" for event in self)

    def __bytes__(self) -> bytes:
        return str(self).encode()

    def digest(self) -> str:
        """Return the SHA-256 of the text, to compare two histories by."""
        return hashlib.sha256(bytes(self)).hexdigest()


def canonical(value: Any) -> str:
    """Return a value as text that depends on nothing but the value.

    Sets are sorted, addresses of objects left out; what is long is shortened in the middle.
    """
    text = _text(value, 6)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 40]} ... {text[-35:]}"
    return text


def _text(value: Any, depth: int) -> str:
    if depth == 0:
        return "..."
    down = depth - 1
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, str | bytes | int | float | bool | None):
        return repr(value)
    if isinstance(value, ActorRef):
        return f"<{value.path}>"
    if isinstance(value, Future):
        return "<Future>"
    if isinstance(value, BaseException):
        return f"{type(value).__name__}({', '.join(_text(a, down) for a in value.args)})"
    name = type(value).__name__
    if isinstance(value, msgspec.Struct):
        fields = [(field, getattr(value, field)) for field in value.__struct_fields__]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        fields = list(zip(value._fields, value, strict=True))
    elif isinstance(value, Mapping):
        inner = ", ".join(f"{_text(k, down)}: {_text(v, down)}" for k, v in value.items())
        return f"{{{inner}}}" if type(value) is dict else f"{name}({{{inner}}})"
    elif isinstance(value, functools.partial):
        parts = [_text(part, down) for part in (value.func, *value.args)]
        parts += [f"{key}={_text(part, down)}" for key, part in value.keywords.items()]
        return f"{name}({', '.join(parts)})"
    elif isinstance(value, AbstractSet):
        return f"{name}({', '.join(sorted(_text(item, down) for item in value))})"
    elif isinstance(value, list | tuple | deque):
        inner = ", ".join(_text(item, down) for item in value)
        if isinstance(value, deque):
            return f"{name}([{inner}])"
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    elif isinstance(value, type):
        return value.__qualname__
    else:
        return _ADDRESS.sub("", repr(value))
    return f"{name}({', '.join(f'{field}={_text(item, down)}' for field, item in fields)})"
