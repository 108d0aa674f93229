"""Options as they are given: each is checked before anything is begun with it.

What is checked by several modules stands here; what one module checks, it checks itself.
"""

from __future__ import annotations

import math
import os
from numbers import Real
from pathlib import Path
from typing import Any

from actors._errors import InvalidOption

__all__ = [
    "LONGEST",
    "NUMBERS",
    "filled",
    "flag",
    "function",
    "hashable",
    "patience",
    "place",
    "writable",
]


NUMBERS = frozenset({int, float})
"""Types of most timeouts: where one is given for each message, only the others are judged here."""

LONGEST = 1e300
"""Seconds that can surely be added to a time; there are whole numbers that cannot."""


def patience(timeout: Any, option: str = "timeout") -> float:
    """Return for how many seconds somebody is ready to wait; infinity is as long as it takes.

    As with pykka, below zero is no time at all: it is what is left of a deadline that has passed.

    Raises:
        InvalidOption: it is no number (a bool is none), or NaN.
    """
    # The abstract class is last, as it takes five times as long; it is for the numbers of numpy.
    if isinstance(timeout, (int, float, Real)) and not isinstance(timeout, bool):
        try:
            seconds = float(timeout)
        except OverflowError:  # a whole number of 300 digits
            seconds = math.inf if timeout > 0.0 else 0.0  # type: ignore[operator]  # of two kinds
        if not math.isnan(seconds):
            return max(0.0, seconds)
    raise InvalidOption(option, timeout, "a number of seconds, or None to wait as long as it takes")


def flag(option: str, value: Any, hint: str = "") -> None:
    """Make sure that it is True or False, and nothing that merely looks like one of them.

    Raises:
        InvalidOption: it is neither.
    """
    if not isinstance(value, bool):
        raise InvalidOption(option, value, f"True or False{hint}")


def filled(option: str, value: Any, *, optional: bool = False) -> None:
    """Make sure that it is a string with something in it, or None if it is `optional`.

    Raises:
        InvalidOption: it is not, or no file could hold it (half of a surrogate pair).
    """
    if (value is None and optional) or (isinstance(value, str) and value and writable(value)):
        return
    if isinstance(value, str) and value:
        raise InvalidOption(option, value, "text that UTF-8 can hold, without half surrogate pairs")
    raise InvalidOption(option, value, "a non-empty string" + (", or None" if optional else ""))


def writable(text: str) -> bool:
    """Tell whether UTF-8 can hold a text; half of a surrogate pair it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def function(option: str, value: Any, expected: str) -> None:
    """Make sure that it can be called.

    Raises:
        InvalidOption: it cannot.
    """
    if not callable(value):
        raise InvalidOption(option, value, expected)


def hashable(option: str, value: Any) -> None:
    """Make sure that it can be the key of something.

    Raises:
        InvalidOption: it cannot.
    """
    try:
        hash(value)
    except TypeError as error:
        raise InvalidOption(
            option, value, f"something hashable, such as a str or a tuple ({error})"
        ) from error


def place(option: str, value: Any) -> Path:
    """Return the path of a file.

    Raises:
        InvalidOption: it is neither a str nor a path.
    """
    given = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(given, str):
        raise InvalidOption(option, value, "the path of a file, as a str or a Path")
    return Path(given)
