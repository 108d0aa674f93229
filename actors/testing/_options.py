"""Whether an option of the test kit can work."""

from __future__ import annotations

from typing import Any

from actors._errors import InvalidOption

__all__ = ["check_count", "check_rate", "check_seconds", "check_span"]


def check_count(option: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number, or less than `least`.

    Raises:
        InvalidOption: it is that.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidOption(option, value, f"a whole number of at least {least}")


def check_rate(value: object, option: str = "rate") -> None:
    """Refuse what is no share.

    Raises:
        InvalidOption: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InvalidOption(option, value, "a share between 0 and 1")


def check_seconds(option: str, value: object) -> None:
    """Refuse what is no number of seconds, zero or more.

    Raises:
        InvalidOption: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise InvalidOption(option, value, "a number of seconds, zero or more")


def check_span(value: Any, option: str = "seconds", *, least: float = 0.0) -> tuple[float, float]:
    """Return the two ends of a span of seconds, which may be given as one number.

    Raises:
        InvalidOption: it is no such span.
    """
    ends = value if isinstance(value, tuple) else (value, value)
    numbers = len(ends) == 2 and all(
        isinstance(end, (int, float)) and not isinstance(end, bool) and abs(end) < float("inf")
        for end in ends
    )
    if not numbers or not least <= ends[0] <= ends[1]:
        at_least = "" if least < 0 else f" of at least {least:g}"
        raise InvalidOption(option, value, f"seconds{at_least}, or the least and the most of them")
    return float(ends[0]), float(ends[1])
