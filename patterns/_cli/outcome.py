"""What came of a run, in the terms of its record: status and reason, route, cost. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from actors import BudgetSnapshot
from patterns._cli.checking import tidy
from patterns._cli.folder import RouteRecord
from patterns._cli.kept import KeptReply
from patterns._results import RouterResult, RunResult

__all__ = ["Ending", "cost_of", "ending_of", "route_of", "text_of_run"]

_WHY = {
    "classifier_error": "the editor could not sort the request, so the rule decided",
    "unknown_label": "the editor named no desk there is, so the rule decided",
    "low_confidence": "the editor's ballots disagreed, so the rule decided",
    "thin_margin": "the editor's ballots were too close, so the rule decided",
}

_LATE = "the model did not answer in time"

_ENDINGS = {
    "budget": "the budget is used up",
    "deadline": "the deadline passed",
    "timeout": _LATE,
    "completed": "finished",
    "incomplete": "finished, but a part of it failed",
    "max_revisions": "finished: the best draft after all revisions",
    "no_gain": "finished: the best draft, since revising gained nothing",
    "accepted": "finished: the reviewer accepted it",
}


class Ending(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        status: as in `RunRecord`.
        reason: why, in words.
        whole: whether nothing of what was asked for failed.
    """

    status: Literal["done", "partial", "halted", "failed", "interrupted"]
    reason: str
    whole: bool = False


def ending_of(result: RouterResult | None, error: Exception | None, signalled: str) -> Ending:
    """Return how a run ended.

    Args:
        result: what the team made of it, or None.
        error: what kept it from making anything, or None.
        signalled: the signal that came, or empty.
    """
    if result is None and signalled:
        return Ending("interrupted", f"stopped by {signalled}")
    if result is None:
        return Ending("failed", f"{type(error).__name__}: {error}" if error else "no result")
    cause = _cause(result)
    reason = _ENDINGS.get(cause.reason, cause.reason)
    problem = _plainly(cause.error or result.error)
    if cause.reason in {"deadline", "timeout"}:
        # What was being done just then tells nobody anything.
        problem = None
    if cause.reason in {"budget", "deadline"} or result.status == "halted":
        # Also where a usable draft was ready: less was done than was asked for.
        return Ending("halted", f"{reason} ({problem})" if problem else reason)
    if result.status == "failed" or cause.reason.endswith("_failed"):
        return Ending("failed", problem or reason)
    failed = "; ".join(dict.fromkeys(_failures(result))) if result.status == "partial" else ""
    if failed:
        return Ending("partial", f"{_ENDINGS['incomplete']} ({_plainly(failed)})")
    return Ending(result.status, reason, whole=True)


def text_of_run(result: RouterResult | None, ending: Ending, replies: Sequence[KeptReply]) -> str:
    """Return what `result.md` is to hold: the result, or else all that was written."""
    if ending.status in {"done", "partial"} and result is not None and result.text.strip():
        return result.text.strip()
    parts = [f"> Unfinished: {ending.reason}. Below is what was done until then."]
    if result is not None and result.text.strip():
        parts.append(result.text.strip())
    kept = [reply for reply in replies if not reply.is_data]
    if kept:
        parts.append("## What the agents wrote")
        parts.extend(f"### {reply.agent}\n\n{tidy(reply.text)}" for reply in kept)
    if len(parts) == 1:
        return f"> Unfinished: {ending.reason}. Nothing had been written until then."
    return "\n\n".join(parts)


def route_of(facts: Mapping[str, Any]) -> RouteRecord:
    """Return the record of a route from the router's own decision."""
    confidence = facts.get("confidence")
    share = f"{confidence:.0%}" if confidence is not None and confidence < 1 else "all"
    why = str(facts.get("why"))
    explanation = _WHY.get(why, f"{share} of the ballots said so")
    return RouteRecord(str(facts["route"]), why, facts.get("target"), confidence, explanation)


def cost_of(summary: Any, spent: BudgetSnapshot, *, free: bool) -> Decimal | None:
    """Return what a run cost in USD, or None if that is unknown."""
    if summary.cost_usd is None:
        return None
    unseen = spent.settled_tokens > summary.tokens
    if unseen and not free and spent.settled_usd == summary.cost_usd:
        # A call was cut off: its prompt is booked in tokens, but nobody knows their price.
        return None
    return spent.settled_usd


def _cause(result: RunResult) -> RunResult:
    """Return the innermost result that is the reason why this one is as it is."""
    inner = [getattr(result, "reply", None)]
    inner.extend(stage.reply for stage in reversed(getattr(result, "stages", ())))
    for reply in inner:
        if isinstance(reply, RunResult) and reply.status == result.status != "done":
            return _cause(reply)
    return result


def _failures(result: Any) -> Iterator[str]:
    """Yield what failed in a result that is usable all the same: who, and the error."""
    for stage in getattr(result, "stages", ()):
        if stage.error:
            yield f"{stage.name}: {stage.error}"
        else:
            yield from _failures(stage.reply)
    for failure in getattr(result, "failures", ()):
        if failure.kind != "cancelled":
            yield f"{failure.recipient}: {failure.error}"
    for given in getattr(result, "replies", ()):
        yield from _failures(given.reply)
    reply = getattr(result, "reply", None)
    if reply is not None:
        yield from _failures(reply)


def _plainly(error: str | None) -> str | None:
    """Return an error without the frames of the patterns that it came through."""
    if error is None:
        return None
    error = re.sub(
        r"DeadlineExceeded: the deadline of [^;]*? has passed( \(by [^)]*\))?", _LATE, error
    )
    return re.sub(r"RunFailed: the run \w+ \(\w+\): |BudgetExceeded: ", "", error)
