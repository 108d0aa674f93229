"""The revision loop's decisions: what a reviewer said, which draft is best, when to stop. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from actors import InvalidOutput
from patterns._results import Draft, Verdict

__all__ = ["PATIENCE", "VERDICT_SCHEMA", "accepts", "best", "gains_nothing", "read_verdict"]

PATIENCE = 2
"""How many reviews in a row may fail to raise the best score before the loop ends."""

VERDICT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "decision": {"type": "string", "enum": ["accept", "revise", "reject"]},
        "score": {"type": "number"},
        "issues": {"type": "array", "items": {"type": "string"}},
        "feedback": {"type": "string"},
    },
    "required": ["decision", "feedback"],
    "additionalProperties": False,
}
"""For a model that reviews: `Agent(model, schema=VERDICT_SCHEMA)` answers with a `Verdict`."""

# Not `search`, and nothing but marks of layout before the word: a verdict found anywhere in the
# text approves "NOT APPROVED".
_FIRST_WORD = re.compile(r"[\s*_#>\"'`]*([A-Za-z]+)(?![\w-])")

Accept = float | Callable[[Verdict], bool] | None


def read_verdict(reply: Any) -> Verdict:
    """Return what a reviewer's reply says.

    A `Verdict` is taken as it is, JSON data must be one, and a text approves if its first word is
    APPROVED and rejects if it is REJECTED; any other text asks for a revision.

    Raises:
        InvalidOutput: the data is no verdict, or the text is empty.
    """
    if isinstance(reply, Verdict):
        return reply
    data = getattr(reply, "data", None)
    if isinstance(data, Verdict):
        return data
    text: str = getattr(reply, "text", "")
    if data is not None:
        try:
            return msgspec.convert(data, Verdict)
        except msgspec.ValidationError as error:
            raise InvalidOutput("reviewer", f"no verdict ({error}): {text[:80]!r}") from error
    if not text.strip():
        raise InvalidOutput("reviewer", "said nothing")
    found = _FIRST_WORD.match(text)
    word = found.group(1).upper() if found is not None else ""
    rest = text[found.end() :].strip(" \t\n*_.:;,!-") if found is not None else text
    if word == "APPROVED":
        return Verdict("accept", feedback=rest)
    if word == "REJECTED":
        return Verdict("reject", feedback=rest)
    return Verdict("revise", feedback=text.strip())


def accepts(verdict: Verdict, accept: Accept) -> bool:
    """Tell whether a verdict ends the loop with its draft accepted.

    Args:
        verdict: the reviewer's.
        accept: None follows the decision; a number is the least score (without a score the
            decision counts); a function decides. A rejected draft is never accepted.
    """
    if verdict.decision == "reject":
        return False
    if accept is None:
        return verdict.decision == "accept"
    if callable(accept):
        return bool(accept(verdict))
    if verdict.score is None:
        return verdict.decision == "accept"
    return verdict.score >= accept


def best(drafts: Sequence[Draft]) -> Draft | None:
    """Return the draft with the highest score, the latest of equals; a score beats none."""
    chosen: Draft | None = None
    for draft in drafts:
        if chosen is None or _rank(draft) >= _rank(chosen):
            chosen = draft
    return chosen


def _rank(draft: Draft) -> float:
    return float("-inf") if draft.score is None else draft.score


def gains_nothing(drafts: Sequence[Draft]) -> bool:
    """Tell whether going on is pointless: a draft repeats, or the score does not rise any more."""
    if not drafts:
        return False
    if any(draft.text == drafts[-1].text for draft in drafts[:-1]):
        return True
    scores = [draft.score for draft in drafts]
    if len(scores) <= PATIENCE or any(score is None for score in scores):
        return False
    known = [score for score in scores if score is not None]
    return max(known[-PATIENCE:]) <= max(known[:-PATIENCE])
