"""Ready-made aggregators, and the prompt for an agent that is one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import msgspec

from actors import InvalidOption, to_text
from patterns._results import GivenReply

__all__ = ["Join", "Vote", "compose", "join", "vote"]


class Join(msgspec.Struct, frozen=True):
    """Puts the replies one after the other; made by `join`."""

    separator: str

    def __call__(self, replies: Sequence[GivenReply]) -> str:
        """Return the texts, joined."""
        return self.separator.join(reply.text for reply in replies)


class Vote(msgspec.Struct, frozen=True):
    """Takes the reply most agree on; made by `vote`."""

    key: Callable[[GivenReply], Hashable] | None

    def __call__(self, replies: Sequence[GivenReply]) -> GivenReply:
        """Return the first reply, in recipient order, of those that most agree on."""
        keys = [_plain(reply) if self.key is None else self.key(reply) for reply in replies]
        # Counter keeps the order of first appearance among equals.
        ((winner, _),) = Counter(keys).most_common(1)
        return replies[keys.index(winner)]


def _plain(reply: GivenReply) -> str:
    return " ".join(reply.text.casefold().split()).rstrip(".!")


def join(separator: str = "\n\n") -> Join:
    """Return an aggregator that joins the texts of the replies in recipient order.

    Raises:
        InvalidOption: `separator` is no text.
    """
    given: object = separator
    if not isinstance(given, str):
        raise InvalidOption("separator", separator, "a str")
    return Join(separator)


def vote(key: Callable[[GivenReply], Hashable] | None = None) -> Vote:
    """Return an aggregator that takes the reply given most often; a tie goes to the first.

    Args:
        key: what two replies must have in common to agree; None compares their texts without
            regard to case, spacing and a final full stop.

    Raises:
        InvalidOption: `key` cannot be called.
    """
    if key is not None and not callable(key):
        raise InvalidOption("key", key, "a function of a GivenReply, or None")
    return Vote(key)


def compose(given: Any, replies: Sequence[GivenReply]) -> str:
    """Return the prompt for an agent that aggregates."""
    parts = [f"Request:\n{to_text(given)}"]
    parts.extend(
        f"Answer {number} (from {reply.recipient}):\n{reply.text}"
        for number, reply in enumerate(replies, 1)
    )
    parts.append("Combine these answers into one.")
    return "\n\n".join(parts)
