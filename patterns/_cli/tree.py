"""Who in a team did what, added up from spans as they begin and end."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, Protocol

import msgspec

__all__ = ["Member", "SpanLike", "Team"]

State = Literal["working", "done", "failed"]

_KINDS = ("invoke_workflow ", "invoke_agent ")


class SpanLike(Protocol):
    """What is read of a span."""

    @property
    def span_id(self) -> str: ...

    @property
    def parent_id(self) -> str | None: ...

    @property
    def name(self) -> str: ...

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def status(self) -> str: ...

    @property
    def attributes(self) -> Mapping[str, Any]: ...


class Member(msgspec.Struct, frozen=True):
    """One member of a team, at one moment, with everything below it.

    Attributes:
        name: of the agent or pattern.
        depth: how far below the root, from 0.
        state: "working" while anything of it is going on.
        calls: how many calls of a model ended.
        tokens: input and output of these.
        cost_usd: what they cost in USD; None if the price of one is unknown.
        seconds: between its first beginning and its last end, or until now.
    """

    name: str
    depth: int
    state: State
    calls: int
    tokens: int
    cost_usd: Decimal | None
    seconds: float


class _Node:
    def __init__(self, name: str, depth: int, start: int) -> None:
        self.name = name
        self.depth = depth
        self.start = start
        self.end = 0
        self.open = 0
        self.failed = False
        self.calls = self.tokens = 0
        self.cost: Decimal | None = Decimal(0)


class Team:
    """Listens to spans (see `Tracer.watch`) and tells how the team stands.

    Members are told apart by their path, so an agent that works ten times is one member.
    """

    def __init__(self) -> None:
        # Spans begin and end on several threads.
        self._lock = threading.Lock()
        self._nodes: dict[tuple[str, ...], _Node] = {}
        self._paths: dict[str, tuple[str, ...]] = {}
        self._open: set[str] = set()

    def __call__(self, span: SpanLike) -> None:
        """Take note of a span that began or ended."""
        with self._lock:
            if span.end:
                self._ended(span)
            else:
                self._began(span)

    def _began(self, span: SpanLike) -> None:
        path = self._paths.get(span.parent_id or "", ())
        kind = next((kind for kind in _KINDS if span.name.startswith(kind)), None)
        if kind is not None:
            name = span.name.removeprefix(kind)
            # What only stands around an agent of the same name is no member of its own.
            if not path or path[-1] != name:
                path = (*path, name)
        self._paths[span.span_id] = path
        self._open.add(span.span_id)
        if not path:
            return
        node = self._nodes.get(path)
        if node is None:
            node = self._nodes[path] = _Node(path[-1], len(path) - 1, span.start)
        node.open += 1
        node.failed = False

    def _ended(self, span: SpanLike) -> None:
        self._open.discard(span.span_id)
        path = self._paths.pop(span.span_id, ())
        node = self._nodes.get(path)
        if node is not None:
            node.open -= 1
            node.end = span.end
            node.failed = span.status == "error"
        if span.name.startswith("chat "):
            self._add_call(path, span.attributes)

    def _add_call(self, path: tuple[str, ...], attributes: Mapping[str, Any]) -> None:
        tokens = attributes.get("gen_ai.usage.input_tokens")
        if tokens is None:
            # It failed or was cancelled, and nobody knows what it used.
            return
        tokens += attributes.get("gen_ai.usage.output_tokens") or 0
        cost = attributes.get("callboard.cost_usd")
        for length in range(1, len(path) + 1):
            node = self._nodes[path[:length]]
            node.calls += 1
            node.tokens += tokens
            node.cost = None if node.cost is None or cost is None else node.cost + cost

    @property
    def quiet(self) -> bool:
        """Whether no span is open."""
        return not self._open

    def members(self, now: int) -> list[Member]:
        """Return the members, each before those below it, in the order they began.

        Args:
            now: nanoseconds since the Unix epoch.
        """
        with self._lock:
            nodes = dict(self._nodes)
            return [
                Member(
                    node.name,
                    node.depth,
                    "working" if node.open else "failed" if node.failed else "done",
                    node.calls,
                    node.tokens,
                    node.cost,
                    ((now if node.open else node.end) - node.start) / 1e9,
                )
                for node in (nodes[path] for path in _in_order(list(nodes)))
            ]


def _in_order(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return paths depth first; what began first comes first among siblings."""
    place = {path: number for number, path in enumerate(paths)}
    return sorted(
        paths,
        key=lambda path: [place.get(path[:length], 0) for length in range(1, len(path) + 1)],
    )
