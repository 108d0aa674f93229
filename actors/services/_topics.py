"""Topics and the patterns that match them.

A topic is a row of segments, divided by `:`, `.` or `/`, which mean the same. In a pattern `*`
stands for one segment and `**` for any number of them, none included.
"""

from __future__ import annotations

import re

from actors._errors import InvalidOption

__all__ = ["Segments", "matches", "pattern", "topic"]

Segments = tuple[str, ...]

_DIVIDER = re.compile(r"[:./]")


def topic(text: str) -> Segments:
    """Return the segments of a topic.

    Raises:
        InvalidOption: it is empty, has an empty segment, or holds a wildcard.
    """
    segments = _split("topic", text)
    if any("*" in segment for segment in segments):
        raise InvalidOption("topic", text, "a topic; wildcards are for patterns")
    return segments


def pattern(text: str) -> Segments:
    """Return the segments of a pattern.

    Raises:
        InvalidOption: it is empty, has an empty segment, or a `*` beside other characters.
    """
    segments = _split("pattern", text)
    if any("*" in segment and segment not in {"*", "**"} for segment in segments):
        raise InvalidOption("pattern", text, "`*` and `**` as whole segments only")
    return segments


def _split(option: str, text: object) -> Segments:
    if not isinstance(text, str):
        raise InvalidOption(option, text, "a str of segments divided by `:`, `.` or `/`")
    segments = tuple(_DIVIDER.split(text))
    if not all(segments):
        raise InvalidOption(option, text, "segments that are not empty, divided by `:`, `.` or `/`")
    return segments


def matches(wanted: Segments, given: Segments) -> bool:
    """Tell whether a pattern covers a topic."""
    # The classic walk with one point to come back to: linear in practice, never exponential.
    at = place = 0
    retry: tuple[int, int] | None = None
    while place < len(given):
        if at < len(wanted) and wanted[at] == "**":
            retry = (at + 1, place)
            at += 1
        elif at < len(wanted) and wanted[at] in {"*", given[place]}:
            at += 1
            place += 1
        elif retry is not None:
            at, place = retry[0], retry[1] + 1
            retry = (at, place)
        else:
            return False
    return all(segment == "**" for segment in wanted[at:])
