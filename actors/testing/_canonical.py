"""Making the canonical form of a run: the same for the same behaviour, whenever and however it ran.

Ids, times, durations and addresses are replaced by their kind; what ran side by side stands in an
order of its own, whichever came first. Pure.

What stands side by side: the recipients of a broadcast, which its decision `gather` tells; and
calls whose spans overlap. Decisions stand before the calls of their span, since a log and a trace
have no order in common. How far the losers of a broadcast came, and what became of them after it,
is left out: `gather` says who they were.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from actors._errors import InvalidOption
from actors.services import _genai
from actors.services._decision_file import Decision
from actors.testing._calls import INPUT_MESSAGES, OUTPUT_MESSAGES
from actors.testing._captured import CapturedRun, SpanRecord
from actors.testing._form import BESIDE, CanonicalRun, Ruling, Spend, Step, as_json

__all__ = ["canonical"]


_KINDS = {
    "invoke_workflow": "workflow",
    "invoke_agent": "agent",
    "chat": "model",
    "execute_tool": "tool",
}

# Shown by a step's own fields, or different each time.
_KNOWN = frozenset(
    {
        _genai.OPERATION_NAME,
        _genai.AGENT_NAME,
        _genai.REQUEST_MODEL,
        _genai.RESPONSE_MODEL,
        _genai.RESPONSE_FINISH_REASONS,
        _genai.INPUT_TOKENS,
        _genai.OUTPUT_TOKENS,
        _genai.COST_USD,
        INPUT_MESSAGES,
        OUTPUT_MESSAGES,
    }
)

# Of the losers of a broadcast, during or after its result: chance says which and when.
_AFTERWARDS = frozenset({"cancel", "late_reply", "late_failure"})

_TIMES = frozenset(
    {
        "after",
        "age",
        "duration",
        "elapsed",
        "late_by",
        "latency",
        "retry_after",
        "seconds",
        "seconds_left",
        "time",
        "timestamp",
        "ts",
        "wait",
        "waited",
    }
)
_COSTS = frozenset({"cost_usd", "tokens"})

_IDS = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*[a-f])(?=[a-f]*[0-9])([0-9a-f]{32}|[0-9a-f]{16})\b"), "<id>"),
    (
        re.compile(
            r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d+)?)?( ?(Z|UTC)\b|[+-]\d\d:?\d\d\b)?"
        ),
        "<time>",
    ),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "<address>"),
)
_NOISE = (
    (re.compile(r"\b\d+(\.\d+)?(e-?\d+)? ?(seconds?|milliseconds?|ms|s)\b"), "<duration>"),
    (re.compile(r"(/[^\s/:]+):\d+"), r"\1:<n>"),
)


def canonical(run: CapturedRun, mask: Iterable[str] = ()) -> CanonicalRun:
    """Return the canonical form of a run.

    Args:
        run: what was captured or read.
        mask: regular expressions of what else differs each time; it becomes `<masked>`.

    Raises:
        InvalidOption: one of `mask` is no regular expression.
    """
    clean = _Cleaner(run, mask)
    children: dict[str | None, list[SpanRecord]] = defaultdict(list)
    rulings: dict[str | None, list[Decision]] = defaultdict(list)
    known = {span.span_id for span in run.spans}
    for span in run.spans:
        children[span.parent_id if span.parent_id in known else None].append(span)
    for decision in run.decisions:
        rulings[decision.span_id if decision.span_id in known else None].append(decision)

    counted: list[SpanRecord] = []

    def steps_of(parent: str | None) -> tuple[Step, ...]:
        found = _without_losers(children[parent], rulings[parent])
        counted.extend(found)
        spans = sorted(found, key=lambda span: (span.start, span.end))
        steps: list[Step] = []
        for group in _groups(spans, rulings[parent]):
            made = [step_of(span) for span in group]
            if len(made) == 1:
                steps += made
            else:
                made.sort(key=lambda step: (step.kind, step.name, msgspec.json.encode(step)))
                steps.append(Step(BESIDE, steps=tuple(made)))
        return tuple(steps)

    def step_of(span: SpanRecord) -> Step:
        return clean.step(span, clean.rulings(rulings[span.span_id]), steps_of(span.span_id))

    steps = steps_of(None)
    return CanonicalRun(
        status=run.status,
        reason=run.reason,
        error=clean.noise(run.error),
        output=clean.text(run.output),
        tokens=run.tokens,
        cost_usd=run.cost_usd,
        spend=_spend(counted),
        decisions=clean.rulings(rulings[None]),
        steps=steps,
    )


def _groups(
    spans: Sequence[SpanRecord], decisions: Sequence[Decision]
) -> Iterable[list[SpanRecord]]:
    """Divide siblings, given by their start, into what came after the other."""
    gather = _gather(decisions)
    group: list[SpanRecord] = []
    until = 0
    collecting = False
    for span in spans:
        gathered = gather is not None and gather.has(span)
        if group and ((collecting and gathered) or span.start < until):
            group.append(span)
        else:
            if group:
                yield group
            group = [span]
        collecting = gathered
        until = max(until, span.end)
    if group:
        yield group


class _Gather(msgspec.Struct, frozen=True):
    """The close of a broadcast: when, in nanoseconds, who was asked, and who had not answered."""

    at: int
    recipients: frozenset[str]
    missing: frozenset[str]

    def has(self, span: SpanRecord) -> bool:
        """Tell whether a child of the broadcast is one of its recipients."""
        # In virtual time, what comes after the close may begin in the same instant.
        return span.start < self.at or (span.start == self.at and _name(span) in self.recipients)


def _gather(decisions: Sequence[Decision]) -> _Gather | None:
    for each in decisions:
        if each.decision == "gather":
            parts = [each.fields.get(part) or () for part in ("replies", "failures", "missing")]
            # As a span's times: cut off, not rounded.
            return _Gather(
                int(each.ts * 1e9),
                frozenset(str(name) for part in parts for name in part),
                frozenset(map(str, parts[2])),
            )
    return None


def _without_losers(
    spans: Sequence[SpanRecord], decisions: Sequence[Decision]
) -> Sequence[SpanRecord]:
    gather = _gather(decisions)
    if gather is None:
        return spans
    return [span for span in spans if not (gather.has(span) and _name(span) in gather.missing)]


def _name(span: SpanRecord) -> str:
    return span.name.removeprefix(f"{span.operation} ")


def _spend(spans: Iterable[SpanRecord]) -> dict[str, Spend]:
    agents: dict[str, list[SpanRecord]] = defaultdict(list)
    for span in spans:
        if span.operation == "chat":
            agents[span.agent or "?"].append(span)
    found = {}
    for agent in sorted(agents):
        calls = agents[agent]
        costs = [span.cost_usd for span in calls if span.status != "error" or span.tokens]
        known = [cost for cost in costs if cost is not None]
        found[agent] = Spend(
            calls=len(calls),
            tokens=sum(span.tokens for span in calls),
            cost_usd=sum(known, Decimal(0)) if len(known) == len(costs) else None,
        )
    return found


class _Cleaner:
    """Takes out what differs each time.

    Args:
        run: whose ids it is about.
        mask: regular expressions of the user's.
    """

    def __init__(self, run: CapturedRun, mask: Iterable[str]) -> None:
        self._ids = re.compile(
            "|".join(
                re.escape(one) for one in {run.run_id, *(span.span_id for span in run.spans)} if one
            )
            or r"(?!)"
        )
        self._masks = []
        for pattern in mask:
            try:
                self._masks.append(re.compile(pattern))
            except (re.error, TypeError) as error:
                raise InvalidOption("mask", pattern, f"a regular expression ({error})") from error

    def text(self, value: str | None) -> str | None:
        """Clean a prompt or an answer: what a model says of times and numbers stays."""
        return None if value is None else self._text(value)

    def _text(self, value: str) -> str:
        for pattern in self._masks:
            value = pattern.sub("<masked>", value)
        value = self._ids.sub("<id>", value)
        for pattern, kind in _IDS:
            value = pattern.sub(kind, value)
        return value

    def noise(self, value: str | None) -> str | None:
        """Clean the text of an error or a decision: durations and numbers of actors go, too."""
        return None if value is None else self._noise(value)

    def _noise(self, value: str) -> str:
        value = self._text(value)
        for pattern, kind in _NOISE:
            value = pattern.sub(kind, value)
        return value

    def value(self, name: str, value: Any) -> Any:
        """Clean a field of a decision or an attribute of a span."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and name in _TIMES:
            return "<duration>"
        if name in _COSTS and (number or value is None or isinstance(value, str)):
            return "<cost>"
        if isinstance(value, float):
            return round(value, 3)
        if isinstance(value, str):
            return self._noise(value)
        if isinstance(value, Mapping):
            return {
                self._noise(str(key)): self.value(str(key), each) for key, each in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.value(name, each) for each in value]
        return value

    def rulings(self, decisions: Iterable[Decision]) -> tuple[Ruling, ...]:
        """Clean decisions, in their order."""
        return tuple(
            Ruling(
                each.decision,
                {name: self.value(name, value) for name, value in each.fields.items()},
                self.value("outcome", each.outcome),
            )
            for each in decisions
            if each.decision not in _AFTERWARDS
        )

    def step(
        self, span: SpanRecord, decisions: tuple[Ruling, ...], steps: tuple[Step, ...]
    ) -> Step:
        """Clean a span."""
        operation = span.operation or ""
        attributes = span.attributes
        answers = attributes.get(OUTPUT_MESSAGES)
        reasons = attributes.get(_genai.RESPONSE_FINISH_REASONS)
        return Step(
            kind=_KINDS.get(operation, "span"),
            name=self._noise(_name(span)),
            error=self.noise(span.error),
            asked=tuple(f"{role}: {self._text(text)}" for role, text in _messages(attributes)),
            answered=self.text(_content(answers[0]) if isinstance(answers, list) else None),
            finish_reason=str(reasons[0]) if isinstance(reasons, list) and reasons else None,
            attributes={
                key: self.value(key, attributes[key])
                for key in sorted(attributes)
                if key not in _KNOWN
            },
            decisions=decisions,
            steps=steps,
        )


def _messages(attributes: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    asked = attributes.get(INPUT_MESSAGES)
    for message in asked if isinstance(asked, list) else ():
        if isinstance(message, Mapping):
            yield str(message.get("role", "")), _content(message)


def _content(message: Any) -> str:
    content = message.get("content", "") if isinstance(message, Mapping) else message
    return content if isinstance(content, str) else as_json(content)
