"""What may stand in an agent's place, and what its answers mean.

A worker is a callable, an object with `run`, or a model. This module finds out which, calls it the
way it wants to be called, and turns what it returns into a `Reply`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import msgspec

from actors._errors import InvalidOption, InvalidOutput
from actors.agents._types import Reply, Usage
from actors.services._set_order import settled

__all__ = ["Kind", "Worker", "inspect_worker", "to_reply", "to_text"]

_NO_TOKENS = Usage(0, 0)
_NOTHING = Decimal(0)
_EXTRAS = frozenset({"budget", "deadline"})
"""What a worker is given if it takes parameters of these names."""

Kind = Literal["model", "runner", "async", "sync"]


class Worker(msgspec.Struct, frozen=True):
    """A worker and how to call it.

    Attributes:
        call: what is called with the prompt.
        kind: "model" (call is the model itself), "runner" (an object's `run`), "async", "sync".
        wants: which of "budget" and "deadline" it takes.
        name: what to call it when nobody named it.
    """

    call: Any
    kind: Kind
    wants: frozenset[str]
    name: str


def inspect_worker(worker: Any) -> Worker:
    """Find out what kind of worker this is.

    Raises:
        InvalidOption: it is none.
    """
    if callable(getattr(worker, "complete", None)) and not isinstance(worker, type):
        return Worker(worker, "model", frozenset(), str(getattr(worker, "name", "model")))
    run = getattr(worker, "run", None)
    if callable(run) and not isinstance(worker, type):
        name = getattr(worker, "name", None) or type(worker).__name__.lower()
        return Worker(run, "runner", _wants(run), str(name))
    if callable(worker):
        function = inspect.unwrap(worker)
        asynchronous = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - its kind is wanted, not whether
        )
        name = getattr(worker, "__name__", None) or type(worker).__name__.lower()
        return Worker(
            worker,
            "async" if asynchronous else "sync",
            _wants(worker),
            name.replace("<lambda>", "agent"),
        )
    raise InvalidOption(
        "worker", worker, "a callable, an object with a `run` method, a model, or a model's name"
    )


def _wants(call: Callable[..., Any]) -> frozenset[str]:
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return frozenset()
    parameters = signature.parameters.values()
    try:
        signature.bind(None, **dict.fromkeys({p.name for p in parameters} & _EXTRAS))
    except TypeError as error:
        raise InvalidOption(
            "worker", call, f"a callable that takes a prompt and needs no more ({error})"
        ) from error
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        # `**kwargs` passes on what it gets; that it wants a budget it has to say by name.
        return frozenset()
    return frozenset(p.name for p in parameters) & _EXTRAS


def to_text(value: Any) -> str:
    """Return a prompt or an output as text: a string, an object's `text`, or its JSON."""
    if isinstance(value, str):
        return value
    text = getattr(value, "text", None)
    if isinstance(text, str):
        return text
    if value is None:
        return ""
    try:
        return msgspec.json.encode(settled(value)).decode()
    except (TypeError, ValueError):
        return str(value)


def to_reply(value: Any, worker: str) -> Reply:
    """Turn what a worker returned into a `Reply`.

    A plain string has cost nothing that is known of; an object tells by `usage` or `tokens` and by
    `cost_usd` (None: unknown).

    Raises:
        InvalidOutput: it is neither text nor something with `text`.
    """
    if isinstance(value, Reply):
        return value
    if isinstance(value, str):
        return Reply(value, _NO_TOKENS, _NOTHING)
    text = getattr(value, "text", None)
    if not isinstance(text, str):
        # The result objects of agent frameworks call it `output`.
        text = getattr(value, "output", None)
    if not isinstance(text, str):
        raise InvalidOutput(
            worker,
            f"returned {type(value).__name__}; an agent returns a str, a Reply, or an object "
            "with a `text`",
        )
    usage = getattr(value, "usage", None)
    if not isinstance(usage, Usage):
        tokens = getattr(value, "tokens", 0)
        usage = Usage(0, tokens if isinstance(tokens, int) else 0)
    cost = getattr(value, "cost_usd", None)
    if isinstance(cost, (int, float)) and not isinstance(cost, bool):
        cost = Decimal(str(cost))
    return Reply(
        text=text,
        usage=usage,
        cost_usd=cost if isinstance(cost, Decimal) else None,
        model=str(getattr(value, "model", "")),
        finish_reason=str(getattr(value, "finish_reason", "stop")),
        degraded=bool(getattr(value, "degraded", False)),
        data=getattr(value, "data", None),
    )
