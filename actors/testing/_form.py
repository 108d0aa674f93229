"""The canonical form of a run, as data: what is stored, compared and shown."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

__all__ = ["BESIDE", "CanonicalRun", "Ruling", "Spend", "Step", "as_json"]

BESIDE = "side by side"
"""The kind of a step that holds those whose order is left to chance."""


class Ruling(msgspec.Struct, frozen=True, omit_defaults=True):
    """A decision.

    Attributes:
        decision: what kind.
        fields: what was recorded with it, normalised.
        outcome: what became of it, or None.
    """

    decision: str
    fields: dict[str, Any] = {}
    outcome: Any = None


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call: of a pattern, an agent, a model or a tool; or steps side by side.

    Attributes:
        kind: "workflow", "agent", "model", "tool", "span" or `BESIDE`.
        name: the name of the pattern, agent, model, tool or span.
        error: type and text of the error that ended it, or None.
        asked: the messages, where a double of a model has shown them, as `role: text`.
        answered: the answer, likewise.
        finish_reason: why the model ended, or None.
        attributes: what else is known of it, normalised.
        decisions: those that were taken in it.
        steps: what it called, in order.
    """

    kind: str
    name: str = ""
    error: str | None = None
    asked: tuple[str, ...] = ()
    answered: str | None = None
    finish_reason: str | None = None
    attributes: dict[str, Any] = {}
    decisions: tuple[Ruling, ...] = ()
    steps: tuple[Step, ...] = ()


class Spend(msgspec.Struct, frozen=True):
    """What the model calls of one agent cost.

    Attributes:
        calls: how many they were.
        tokens: input and output together.
        cost_usd: in USD; None if the price of one is unknown.
    """

    calls: int
    tokens: int
    cost_usd: Decimal | None


class CanonicalRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run in canonical form.

    Attributes:
        form: the version of this form.
        status, reason, error, output: how it ended, as in `CapturedRun`.
        tokens, cost_usd: what it took.
        spend: the same of each agent, from its model calls.
        decisions: those taken outside of spans.
        steps: what it called.
    """

    form: int = 1
    status: str = "done"
    reason: str = ""
    error: str | None = None
    output: str | None = None
    tokens: int = 0
    cost_usd: Decimal | None = None
    spend: dict[str, Spend] = {}
    decisions: tuple[Ruling, ...] = ()
    steps: tuple[Step, ...] = ()

    def to_json(self) -> str:
        """Return it as indented JSON, which `from_json` reads."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> CanonicalRun:
        """Read it.

        Raises:
            msgspec.ValidationError, msgspec.DecodeError: it is something else.
        """
        return msgspec.json.decode(text, type=cls)

    def lines(self) -> list[str]:
        """Return it as lines for people, without what it cost."""
        text = [f"status: {self.status}" + (f" ({self.reason})" if self.reason else "")]
        if self.error is not None:
            text += _labelled("error", self.error)
        if self.output is not None:
            text += _labelled("output", self.output)
        text += _ruling_lines(self.decisions, "")
        for step in self.steps:
            text += _step_lines(step, "")
        return text


def _labelled(label: str, value: str, indent: str = "") -> list[str]:
    first, *rest = value.splitlines() or [""]
    if not rest:
        return [f"{indent}{label}: {first}"]
    return [f"{indent}{label}:", *(f"{indent}  {line}" for line in (first, *rest))]


def _ruling_lines(rulings: Iterable[Ruling], indent: str) -> list[str]:
    lines = []
    for ruling in rulings:
        fields = ", ".join(f"{name}={as_json(value)}" for name, value in ruling.fields.items())
        outcome = "" if ruling.outcome is None else f" → {as_json(ruling.outcome)}"
        lines.append(f"{indent}* {ruling.decision}: {fields}{outcome}".rstrip(" :"))
    return lines


def as_json(value: Any) -> str:
    """Return a value as one line of JSON."""
    return msgspec.json.encode(value).decode()


def _step_lines(step: Step, indent: str) -> list[str]:
    lines = [f"{indent}- {step.kind} {step.name}".rstrip()]
    inner = f"{indent}    "
    for name, value in step.attributes.items():
        lines.append(f"{inner}{name}: {as_json(value)}")
    for message in step.asked:
        lines += _labelled("asked", message, inner)
    if step.answered is not None:
        lines += _labelled("answered", step.answered, inner)
    if step.finish_reason not in {None, "stop"}:
        lines.append(f"{inner}ended by: {step.finish_reason}")
    if step.error is not None:
        lines += _labelled("error", step.error, inner)
    lines += _ruling_lines(step.decisions, inner)
    for below in step.steps:
        lines += _step_lines(below, inner)
    return lines
