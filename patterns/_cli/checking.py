"""What a text claims that its source does not say, and how a small model's text is tidied. Pure."""

from __future__ import annotations

import re

import msgspec

__all__ = ["Checked", "check", "sentences", "tidy", "without_items"]

_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9ÀÖ-Þ])")
_ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)])(?:\s+|$)")
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
# A name is a capitalised word that does not begin its sentence or line.
_NAME = re.compile(r"(?<=[a-z,;] )[A-ZÀÖ-Þ][\w'\u2019-]+")


SAME = 0.85
"""The share of a sentence's words that an earlier one has, from which on it says the same."""


FEW = 3
"""So few words, as in a heading or an item, may well come again."""


def sentences(paragraph: str) -> list[str]:
    """Split a paragraph into its sentences; the mark of a list item stays with its first one."""
    mark = _ITEM.match(paragraph)
    start = mark.end() if mark else 0
    pieces = [piece.strip() for piece in _SENTENCE.split(paragraph[start:]) if piece.strip()]
    if mark and pieces:
        pieces[0] = f"{mark.group().strip()} {pieces[0]}"
    return pieces


def _words(sentence: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(sentence)]


def tidy(text: str, *, cut_off: bool = False) -> str:
    """Return a text without what it says twice, and without a last sentence that breaks off.

    Small models run in circles; nothing that is said for the first time is left out.

    Args:
        text: paragraphs or lines.
        cut_off: whether the text ended for want of room, so that its last sentence is a torso.
    """
    seen: list[set[str]] = []
    lines: list[str] = []
    for line in text.strip().splitlines():
        kept = []
        for sentence in sentences(line):
            words = set(_words(_ITEM.sub("", sentence, count=1)))
            if len(words) > FEW and any(
                len(words & before) >= SAME * len(words) for before in seen
            ):
                continue
            seen.append(words)
            kept.append(sentence)
        if kept or not line.strip():
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(indent + " ".join(kept))
    if cut_off:
        lines = _without_torso(lines)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _without_torso(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or lines[-1].rstrip().endswith((".", "!", "?", "```")):
        return lines
    *whole, torso = sentences(lines[-1]) or [""]
    rest = [*lines[:-1], " ".join(whole)] if whole else lines[:-1]
    # A torso is better than nothing.
    return rest if any(line.strip() for line in rest) else [*lines[:-1], f"{torso} …"]


def without_items(text: str) -> str:
    """Return a list as running text: without the marks of its items and the lines above them."""
    lines = [_ITEM.sub("", line, count=1).strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.endswith(":"))


class Checked(msgspec.Struct, frozen=True):
    """What a check found.

    Attributes:
        text: the text without the sentences that were dropped.
        dropped: these, each with the names and numbers that its source does not have.
    """

    text: str
    dropped: tuple[tuple[str, tuple[str, ...]], ...] = ()


def check(text: str, source: str) -> Checked:
    """Drop the sentences with a name or a number that does not occur in the source.

    It cannot tell whether a sentence is true, only that its facts have no ground. If more than
    half would go, the text is kept whole: then it is probably in another language.

    Args:
        text: what is checked.
        source: everything it may rest on.
    """
    known = {word.lower() for word in _WORD.findall(source)}
    lines: list[str] = []
    dropped: list[tuple[str, tuple[str, ...]]] = []
    count = 0
    for line in text.splitlines():
        kept = []
        for sentence in sentences(line):
            count += 1
            groundless = _groundless(sentence, known)
            if groundless:
                dropped.append((sentence, groundless))
            else:
                kept.append(sentence)
        if kept or not line.strip():
            lines.append(" ".join(kept))
    if not dropped or 2 * len(dropped) > count:
        return Checked(text)
    return Checked("\n".join(lines).strip(), tuple(dropped))


def _groundless(sentence: str, known: set[str]) -> tuple[str, ...]:
    body = _ITEM.sub("", sentence, count=1)
    facts = [*_NUMBER.findall(body), *_NAME.findall(body)]
    return tuple(
        fact
        for fact in dict.fromkeys(facts)
        if not all(part.lower() in known for part in _WORD.findall(fact) if part != "s")
    )
