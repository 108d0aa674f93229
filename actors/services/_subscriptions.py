"""Events, and who wants to hear of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from actors.services import _topics as topics

__all__ = ["Event", "Subscriptions"]


class Event(Mapping[str, Any]):
    """What happened: a read-only mapping over the payload.

    Attributes:
        topic: under which it was emitted.
        id: its number on its bus, from 1.
        time: when it was emitted, in seconds since the Unix epoch.
    """

    __slots__ = ("_payload", "id", "time", "topic")

    def __init__(self, topic: str, payload: Mapping[str, Any], ident: int, time: float) -> None:
        self.topic = topic
        self.id = ident
        self.time = time
        self._payload = MappingProxyType(dict(payload))

    def __getitem__(self, key: str) -> Any:
        return self._payload[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._payload)

    def __len__(self) -> int:
        return len(self._payload)

    def __repr__(self) -> str:
        return f"<Event {self.id} {self.topic} {dict(self._payload)!r}>"

    def __reduce__(self) -> Any:
        return (Event, (self.topic, dict(self._payload), self.id, self.time))


class _Subscription(msgspec.Struct, frozen=True):
    order: int
    pattern: topics.Segments
    handler: Callable[[Event], Any]
    once: bool


class Subscriptions:
    """Who wants to hear of what. Used by one actor, and outlives its restarts."""

    def __init__(self) -> None:
        self._order = 0
        # Invariant: no list is empty; each is in the order of subscription.
        self._exact: dict[topics.Segments, list[_Subscription]] = {}
        self._wild: list[_Subscription] = []

    def add(self, pattern: topics.Segments, handler: Callable[[Event], Any], *, once: bool) -> None:
        """Subscribe a handler behind all others."""
        self._order += 1
        subscription = _Subscription(self._order, pattern, handler, once)
        if "*" in pattern or "**" in pattern:
            self._wild.append(subscription)
        else:
            self._exact.setdefault(pattern, []).append(subscription)

    def remove(self, pattern: topics.Segments, handler: Callable[[Event], Any] | None) -> int:
        """End the subscriptions of a handler (None: of all) to exactly that pattern."""
        gone = {
            s.order
            for s in (*self._exact.get(pattern, ()), *self._wild)
            if s.pattern == pattern and (handler is None or s.handler == handler)
        }
        self._drop(gone)
        return len(gone)

    def take(self, topic: topics.Segments) -> list[Callable[[Event], Any]]:
        """Return the handlers of a topic in order of subscription; `once` ones for good."""
        found = [*self._exact.get(topic, ())]
        found += [s for s in self._wild if topics.matches(s.pattern, topic)]
        found.sort(key=lambda s: s.order)
        once = {s.order for s in found if s.once}
        if once:
            self._drop(once)
        return [s.handler for s in found]

    def _drop(self, orders: set[int]) -> None:
        self._wild = [s for s in self._wild if s.order not in orders]
        for pattern, subscriptions in list(self._exact.items()):
            subscriptions[:] = [s for s in subscriptions if s.order not in orders]
            if not subscriptions:
                del self._exact[pattern]
