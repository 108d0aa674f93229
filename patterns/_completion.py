"""When a broadcast has collected enough. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from actors import InvalidOption

__all__ = ["All", "Closing", "First", "Quorum", "Until", "When", "closing"]


def _positive(name: str, k: object) -> None:
    if type(k) is not int or k < 1:
        raise InvalidOption(name, k, "a number of replies, at least 1")


class All(msgspec.Struct, frozen=True):
    """Everybody has answered; complete if all replies are valid."""


class Quorum(msgspec.Struct, frozen=True):
    """`k` valid replies are in; given up as soon as so many cannot come any more.

    Contrast `First`, which takes what it can get.
    """

    k: int

    def __post_init__(self) -> None:
        _positive("Quorum", self.k)


class First(msgspec.Struct, frozen=True):
    """The first `k` valid replies, or fewer if no more come."""

    k: int = 1

    def __post_init__(self) -> None:
        _positive("First", self.k)


class When(msgspec.Struct, frozen=True):
    """`enough(replies)` is true of the valid replies so far, in recipient order."""

    enough: Callable[[tuple[Any, ...]], bool]

    def __post_init__(self) -> None:
        if not callable(self.enough):
            raise InvalidOption("When", self.enough, "a function of the replies so far")


Until = All | Quorum | First | When


class Closing(msgspec.Struct, frozen=True):
    """The end of collecting.

    Attributes:
        complete: whether what was asked for is there.
        reason: "complete", or why not.
    """

    complete: bool
    reason: Literal[
        "complete",
        "failures",
        "unreachable",
        "exhausted",
        "timeout",
        "deadline",
        "condition_failed",
    ]


_COMPLETE = Closing(complete=True, reason="complete")


def closing(
    until: Until, total: int, valid: int, failed: int, *, enough: bool = False
) -> Closing | None:
    """Say whether collecting is over, and how; None to go on.

    Args:
        until: what is asked for.
        total: number of recipients.
        valid: how many gave a valid reply.
        failed: how many failed.
        enough: what the function of a `When` says.
    """
    pending = total - valid - failed
    match until:
        case All():
            if pending:
                return None
            return Closing(complete=False, reason="failures") if failed else _COMPLETE
        case Quorum(k):
            if valid >= k:
                return _COMPLETE
            if valid + pending < k:
                return Closing(complete=False, reason="unreachable")
            return None
        case First(k):
            if valid >= k:
                return _COMPLETE
        case When():
            if enough:
                return _COMPLETE
    return None if pending else Closing(complete=False, reason="exhausted")
