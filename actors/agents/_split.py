"""Cut a long text into chunks that fit a model."""

from __future__ import annotations

import re
from collections.abc import Callable

from actors._errors import InvalidOption
from actors._options import function

__all__ = ["split_text"]

# Where to cut, best first: before a heading, after a blank line, a line, a sentence, a word.
_BORDERS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^(?=#{1,6}\s)",
        r"^[ \t]*\n(?!\s*\n)",
        r"\n",
        r"[.!?][\"')\]]*\s+",
        r"\s+",
    )
)
# A border further back than this share of the room is not worth the shorter chunk.
_LEAST_FILLED = 0.5


def split_text(text: str, *, max_tokens: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Split a text at its natural borders into chunks of at most `max_tokens` tokens each.

    The chunks joined are the text again, to the last character. Each ends, if one lies in its
    second half, before a Markdown heading, else after a paragraph, a line, a sentence or a word.

    Args:
        text: Markdown, source code or plain text.
        max_tokens: ceiling of a chunk, in tokens.
        count_tokens: counts the tokens of a text, such as `Model.count_tokens`; called some
            twenty times for each chunk.

    Raises:
        InvalidOption: `max_tokens` is too small for a single character, or an option is of
            another type.
    """
    given: object = text
    if not isinstance(given, str):
        raise InvalidOption("text", text, "a str")
    size: object = max_tokens
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InvalidOption("max_tokens", max_tokens, "a whole number, at least 1")
    function("count_tokens", count_tokens, "a function from a text to its number of tokens")
    chunks: list[str] = []
    start = 0
    while start < len(text):
        room = _longest_prefix(text, start, max_tokens, count_tokens)
        if room == 0:
            raise InvalidOption(
                "max_tokens", max_tokens, f"enough for the character {text[start]!r}"
            )
        end = start + room
        if end < len(text):
            end = _border(text, start, end)
            # A shorter text can have more tokens, if the cut falls within a word or a sign.
            while end - start > 1 and count_tokens(text[start:end]) > max_tokens:
                end = _border(text, start, end - 1)
        chunks.append(text[start:end])
        start = end
    return chunks


def _longest_prefix(
    text: str, start: int, max_tokens: int, count_tokens: Callable[[str], int]
) -> int:
    """Length of a prefix of `text[start:]` that fits, and about as long as can be."""
    left = len(text) - start
    fits, too_long = 0, min(left, 4 * max_tokens)
    while count_tokens(text[start : start + too_long]) <= max_tokens:
        fits = too_long
        if fits == left:
            return fits
        too_long = min(left, 2 * too_long)
    # To the nearest hundredth: the border is looked for further back anyhow.
    while too_long - fits > max(1, too_long // 100):
        middle = (fits + too_long) // 2
        if count_tokens(text[start : start + middle]) <= max_tokens:
            fits = middle
        else:
            too_long = middle
    return fits


def _border(text: str, start: int, end: int) -> int:
    """Return the best place to cut in the later half of `text[start:end]`, else `end`."""
    earliest = start + max(1, int((end - start) * _LEAST_FILLED))
    for border in _BORDERS:
        cut = None
        # Looks a little beyond the end, to see the heading that would begin there.
        for match in border.finditer(text, earliest, min(len(text), end + 8)):
            if earliest <= match.end() <= end:
                cut = match.end()
        if cut is not None:
            return cut
    return end
