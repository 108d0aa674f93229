"""Which desk a request belongs to: the model's word against that of the wording and the inputs.

A small model cannot name a category, but it can repeat a request: so it is asked to do that, in
one of the phrases below (its schema allows nothing else), and each phrase belongs to a desk. Two
such ballots and one by rule decide by majority; how many agree is the confidence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from actors import Agent, InvalidOutput, Reply, Usage, current
from patterns._choice import Choice
from patterns._cli.inputs import Assignment

__all__ = ["PHRASES", "Sorter", "by_rule", "desks_for", "phrase_schema"]

PHRASES: dict[str, tuple[str, ...]] = {
    "code_review": (
        "Review this code",
        "Code review",
        "Find the bugs in this program",
        "Find bugs",
        "Is this code correct?",
        "Is this program safe?",
        "Does this function work?",
        "Improve this code",
        "Suggest improvements to this code",
        "Check this script for errors",
        "Refactor this class",
        "What is wrong with this code?",
        "Look over my program",
    ),
    "summarize": (
        "Summarize",
        "Summarize this text",
        "Summarize this article",
        "Summarise this document",
        "Sum up the main points",
        "Write a short summary",
        "Write an abstract",
        "Make a summary",
        "Give me the main points",
        "Give me three bullet points",
        "Condense this report",
        "Shorten this text",
        "Boil this down to one paragraph",
        "What is the gist of this?",
        "What are the key points?",
        "Tl;dr",
    ),
    "research": (
        "Why did this happen?",
        "How does this work?",
        "How did this change?",
        "What are the causes and effects?",
        "What are the pros and cons?",
        "What does the text say about this?",
        "What were the effects?",
        "Which problems were there?",
        "Who was this?",
        "When and where was this?",
        "Explain the history of this",
        "Explain why this was done",
        "Compare these two things",
        "Research this question",
        "Tell me about this topic",
    ),
}

_DESK = {phrase: desk for desk, phrases in PHRASES.items() for phrase in phrases}

_BALLOTS = (
    "Request: {request}\n\nRepeat the request in simple words.",
    "Request: {request}\n\nRepeat the request.",
)

_WORDING = {
    "summarize": re.compile(
        r"\b(summar\w*|sum(med)? up|tl;?dr|shorten|condense|digest|gist|abstract|outline|"
        r"boil\w* down|takeaways?|(main|key) (points?|ideas?|facts?)|bullet points?|in short|"
        r"in brief|(one|two|three|four|five|\d+) (sentences?|words|paragraphs?))\b",
        re.IGNORECASE,
    ),
    "code_review": re.compile(
        r"\b(review|bugs?|debug|refactor\w*|code|function|method|class|module|script|program|"
        r"unit tests?|pull request|patch|\w+\.(py|js|ts|c|cpp|go|rs|java|rb|php))\b",
        re.IGNORECASE,
    ),
    "research": re.compile(
        r"\b(why|how|what|who|whom|whose|when|where|which|explain|compare|research|investigate|"
        r"analy[sz]e|causes?|effects?|consequences|tell me about|pros and cons)\b",
        re.IGNORECASE,
    ),
}


def desks_for(assignment: Assignment) -> tuple[str, ...]:
    """Return the desks that an assignment can belong to, given its inputs.

    A review of code needs code, or at least talk of it, and a summary something to sum up.
    """
    documents = assignment.documents
    code = any(document.is_source for document in documents)
    desks = ["research"]
    if documents:
        desks.insert(0, "summarize")
    if code or _WORDING["code_review"].search(assignment.request):
        desks.insert(0, "code_review")
    return tuple(desks)


def phrase_schema(desks: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of a ballot for one of these desks."""
    phrases = [phrase for desk in desks for phrase in PHRASES[desk]]
    return {
        "type": "object",
        "properties": {"request": {"type": "string", "enum": phrases}},
        "required": ["request"],
        "additionalProperties": False,
    }


def by_rule(assignment: Assignment) -> str:
    """Return the desk that the wording of a request and the kind of its inputs speak for."""
    if _WORDING["summarize"].search(assignment.request):
        return "summarize"
    # "Review" and "class" mean something else where the inputs are prose.
    speaks_of_code = _WORDING["code_review"].search(assignment.request) is not None
    if assignment.is_source or (speaks_of_code and not assignment.documents):
        return "code_review"
    if _WORDING["research"].search(assignment.request) or not assignment.documents:
        return "research"
    return "summarize"


class Sorter:
    """Classifies assignments for the router.

    Args:
        agent: a model with a `phrase_schema`.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def classify(self, assignment: Assignment) -> Choice:
        """Return the desk with the most ballots; the confidence is their share."""
        request = assignment.request.strip()
        # The phrases begin with a capital, and a small model would not match another.
        request = request[:1].upper() + request[1:]
        ballots = {"rule": by_rule(assignment)}
        replies = []
        for number, ballot in enumerate(_BALLOTS, 1):
            reply = await self._agent.run(ballot.format(request=request))
            replies.append(reply)
            phrase = reply.data.get("request") if isinstance(reply.data, dict) else None
            if phrase not in _DESK:
                raise InvalidOutput("editor", f"answered with none of its phrases: {reply.text!r}")
            ballots[f"{number}: {phrase}"] = _DESK[phrase]
        count = Counter(ballots.values())
        (desk, votes), *others = count.most_common()
        run = current()
        if run is not None and run.log is not None:
            await run.log.record("ballots", pattern="newsroom", ballots=ballots)
        return Choice(
            desk,
            round(votes / len(ballots), 2),
            tuple((other, round(n / len(ballots), 2)) for other, n in others),
            _together(replies),
        )


def _together(replies: list[Reply]) -> Reply:
    """Return one reply with the usage of all, for the router's meter."""
    costs = [reply.cost_usd for reply in replies]
    usage = Usage(
        sum(reply.usage.input_tokens for reply in replies),
        sum(reply.usage.output_tokens for reply in replies),
    )
    known = [cost for cost in costs if cost is not None]
    cost = sum(known[1:], known[0]) if len(known) == len(costs) else None
    return msgspec.structs.replace(replies[0], usage=usage, cost_usd=cost)
