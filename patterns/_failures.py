"""What kind of failure an error is, and so what may be done about it. Pure."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from actors import (
    ActorDeadError,
    BudgetExceeded,
    ContextWindowExceeded,
    DeadlineExceeded,
    InvalidOption,
    InvalidOutput,
    MailboxFull,
    MissingExtra,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    RequestCancelled,
    WouldDeadlock,
)
from patterns._results import RunFailed

__all__ = ["KINDS", "Kind", "describe", "hopeless", "kind_of", "retry_after"]

Kind = Literal[
    "transient",  # may pass by itself
    "rate_limited",  # may pass after a while
    "invalid_output",  # another answer may be better
    "fatal",  # will not pass
    "budget",  # never retried: there is no money for it
    "deadline",  # never retried: there is no time for it
    "cancelled",  # never retried: nobody wants it any more
]
KINDS: frozenset[str] = frozenset(
    {
        "transient",
        "rate_limited",
        "invalid_output",
        "fatal",
        "budget",
        "deadline",
        "cancelled",
    }
)

_BY_REASON: dict[str, Kind] = {"circuit_open": "transient", "timeout": "deadline"}

_HOPELESS = (ModelRejected, ContextWindowExceeded, InvalidOption, MissingExtra)


def kind_of(error: BaseException) -> Kind:
    """Return the kind of a failure; what is not known to pass is fatal."""
    match error:
        case RunFailed():
            reason = error.result.reason
            if reason in KINDS:
                return reason  # type: ignore[return-value]  # KINDS are the kinds
            return _BY_REASON.get(reason, "fatal")
        case BudgetExceeded():
            return "budget"
        case DeadlineExceeded():
            return "deadline"
        case RequestCancelled() | asyncio.CancelledError():
            return "cancelled"
        case ModelRateLimited():
            return "rate_limited"
        case ModelUnavailable() | ModelTimeout() | ActorDeadError() | MailboxFull():
            return "transient"
        case ContextWindowExceeded() | InvalidOption() | WouldDeadlock():
            # Two are ValueErrors like InvalidOutput, the last a TimeoutError, and no other answer
            # would help.
            return "fatal"
        case InvalidOutput():
            return "invalid_output"
        case ConnectionError() | TimeoutError():
            return "transient"
    return "fatal"


def hopeless(error: BaseException) -> bool:
    """Tell whether a fresh start cannot help: the request itself is at fault, not the worker."""
    return isinstance(error, _HOPELESS)


def retry_after(error: BaseException) -> float | None:
    """Return the seconds the other side asked to wait, if it did."""
    holder: Any = error.result if isinstance(error, RunFailed) else error
    seconds = getattr(holder, "retry_after", None)
    return float(seconds) if isinstance(seconds, (int, float)) and seconds >= 0 else None


def describe(error: BaseException) -> str:
    """Return type and text of an error in one line."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
