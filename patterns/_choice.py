"""The choice of a route: what a classifier says, and what a router makes of it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Real
from typing import Any, Literal

import msgspec

from actors import InvalidOutput

__all__ = ["Choice", "Why", "as_choice", "choose"]

Why = Literal["confident", "classifier_error", "unknown_label", "low_confidence", "thin_margin"]


class Choice(msgspec.Struct, frozen=True):
    """What a classifier says about an input.

    Attributes:
        target: the label of the route.
        confidence: how sure it is, 0 to 1.
        alternatives: other labels with their confidence.
        reply: what was paid for the classification, to be metered; None if nothing was.
    """

    target: str
    confidence: float = 1.0
    alternatives: tuple[tuple[str, float], ...] = ()
    reply: Any = None

    @property
    def margin(self) -> float | None:
        """How far the confidence is above the best alternative; None without any."""
        others = [confidence for label, confidence in self.alternatives if label != self.target]
        return self.confidence - max(others) if others else None


def as_choice(value: Any) -> Choice:
    """Return what a classifier gave as a `Choice`.

    Raises:
        InvalidOutput: it is neither a label nor a choice, or its confidence is none.
    """
    if not isinstance(value, Choice):
        text = value if isinstance(value, str) else getattr(value, "text", None)
        if not isinstance(text, str):
            raise InvalidOutput(
                "classifier", f"returned {value!r}; expected a label (str) or a Choice"
            )
        return Choice(text.strip(), reply=None if isinstance(value, str) else value)
    if not isinstance(value.target, str):
        raise InvalidOutput("classifier", f"the label {value.target!r} is no str")
    figures: list[Any] = [value.confidence, *(confidence for _, confidence in value.alternatives)]
    for figure in figures:
        # NaN is not between any two numbers.
        if isinstance(figure, bool) or not (isinstance(figure, Real) and 0 <= float(figure) <= 1):
            raise InvalidOutput("classifier", f"confidence {figure!r} is not from 0 to 1")
    return value


def choose(
    choice: Choice, labels: Collection[str], min_confidence: float, min_margin: float
) -> Why:
    """Say whether a choice is to be followed ("confident"), or why not."""
    if choice.target not in labels:
        return "unknown_label"
    if choice.confidence < min_confidence:
        return "low_confidence"
    if choice.margin is not None and choice.margin < min_margin:
        return "thin_margin"
    return "confident"
