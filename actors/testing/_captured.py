"""A run as its files tell it: the decisions, the spans, the result; what it cost and how long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from actors._errors import LogCorrupt
from actors.agents._worker import to_text
from actors.services import _genai
from actors.services._decision_file import Decision, parse, rotated
from actors.testing._errors import RunUnreadable

__all__ = ["CapturedRun", "SpanRecord", "assemble", "read_files", "read_run"]


class SpanRecord(msgspec.Struct, frozen=True):
    """One line of a trace.

    Attributes:
        trace_id, span_id, parent_id: as the tracer made them.
        name: what kind of work it was.
        start, end: nanoseconds since the Unix epoch.
        attributes, events: details.
        status: "ok" or "error".
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start: int
    end: int
    attributes: dict[str, Any] = {}
    events: list[dict[str, Any]] = []
    status: str = "ok"

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e9

    @property
    def operation(self) -> str | None:
        """What kind of span it is, such as "invoke_workflow", "invoke_agent" or "chat"; or None."""
        found = self.attributes.get(_genai.OPERATION_NAME)
        return found if isinstance(found, str) else None

    @property
    def agent(self) -> str | None:
        """The name of the agent, where it is the span of one or of its model call."""
        found = self.attributes.get(_genai.AGENT_NAME)
        return found if isinstance(found, str) else None

    @property
    def tokens(self) -> int:
        """Input and output tokens of this call alone."""
        counts = (
            self.attributes.get(_genai.INPUT_TOKENS),
            self.attributes.get(_genai.OUTPUT_TOKENS),
        )
        return sum(count for count in counts if isinstance(count, int))

    @property
    def cost_usd(self) -> Decimal | None:
        """The price of this call alone in USD; None if it is unknown."""
        return _amount(self.attributes.get(_genai.COST_USD))

    @property
    def error(self) -> str | None:
        """Type and text of the exception that ended it, or None."""
        if self.status != "error":
            return None
        for event in reversed(self.events):
            if event.get("name") == "exception":
                facts = event.get("attributes") or {}
                kind = str(facts.get("exception.type", "")).rpartition(".")[2]
                return f"{kind}: {facts.get('exception.message', '')}"
        return "failed"


class CapturedRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has left behind; what `capture_run` and `read_run` give.

    Attributes:
        run_id: its name in the records.
        decisions: its decisions, in order.
        spans: its spans, in the order in which they ended.
        status: "done", "partial", "halted" or "failed"; of a result that has none, "done".
        reason: why it ended as it did, or "".
        error: type and text of the error behind it, or None.
        output: the answer as text, or None if the result is not known.
        cost_usd: in USD; None if the price of anything is unknown.
        tokens: input and output tokens together.
    """

    run_id: str
    decisions: tuple[Decision, ...] = ()
    spans: tuple[SpanRecord, ...] = ()
    status: str = "done"
    reason: str = ""
    error: str | None = None
    output: str | None = None
    cost_usd: Decimal | None = None
    tokens: int = 0

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of the agents that had a part in it, sorted."""
        return tuple(sorted({span.agent for span in self.spans if span.agent is not None}))

    @property
    def seconds(self) -> float:
        """How long it took, from the beginning of its first span to the end of its last."""
        if not self.spans:
            return 0.0
        return (max(s.end for s in self.spans) - min(s.start for s in self.spans)) / 1e9

    def latencies(self, agent: str) -> tuple[float, ...]:
        """Return how long each prompt took that an agent worked on, in seconds, in order.

        Raises:
            LookupError: the agent had no part in the run; the text says who had.
        """
        own = [
            span for span in self.spans if span.agent == agent and span.operation == "invoke_agent"
        ]
        if not own:
            raise LookupError(f"no agent {agent!r} in this run, but {list(self.agents)}")
        return tuple(span.seconds for span in sorted(own, key=lambda span: span.start))

    def latency(self, agent: str) -> float:
        """Return how long the slowest of an agent's prompts took, in seconds; see `latencies`."""
        return max(self.latencies(agent))

    def model_calls(self, agent: str | None = None) -> tuple[SpanRecord, ...]:
        """Return the spans of the model calls, of one agent or of all, in the order they began."""
        own = [
            span for span in self.spans if span.operation == "chat" and agent in {None, span.agent}
        ]
        return tuple(sorted(own, key=lambda span: span.start))


def assemble(
    run_id: str,
    decisions: Iterable[Decision],
    spans: Iterable[SpanRecord],
    result: Any = None,
    error: BaseException | None = None,
) -> CapturedRun:
    """Put a run together.

    Args:
        run_id: its name.
        decisions, spans: what was recorded of it.
        result: what it returned: a result of a pattern, a `Reply`, a mapping with these fields, or
            any other value.
        error: what it raised instead.
    """
    spans = tuple(spans)
    facts: dict[str, Any] = {"run_id": run_id, "decisions": tuple(decisions), "spans": spans}
    calls = [span for span in spans if span.operation == "chat"]
    costs = [span.cost_usd for span in calls if span.status != "error" or span.tokens]
    facts["tokens"] = max(_field(result, "tokens", 0) or 0, sum(span.tokens for span in calls))
    if _has(result, "cost_usd"):
        # Only the result knows what callables have cost.
        facts["cost_usd"] = _amount(_field(result, "cost_usd", None))
    else:
        known = [cost for cost in costs if cost is not None]
        facts["cost_usd"] = sum(known, Decimal(0)) if len(known) == len(costs) else None
    if error is not None:
        facts |= {"status": "failed", "reason": "error", "error": _describe(error)}
    elif result is not None:
        facts["status"] = str(_field(result, "status", None) or "done")
        facts["reason"] = str(_field(result, "reason", None) or "")
        facts["error"] = _field(result, "error", None)
        text = _field(result, "result", None) if isinstance(result, Mapping) else to_text(result)
        facts["output"] = to_text(result) if text is None else str(text)
    return CapturedRun(**facts)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def read_run(
    folder: str | Path | None = None,
    *,
    decisions: str | Path | None = None,
    trace: str | Path | None = None,
    result: Any = None,
    run_id: str | None = None,
) -> CapturedRun:
    """Read a run from its files.

    Args:
        folder: the folder of a `callboard run`, whose files are taken where no other is given.
        decisions: the file of its `DecisionLog`.
        trace: the file of its `Tracer`; without it, what ran side by side cannot be told.
        result: what the run returned; None takes that of the folder.
        run_id: which run, if the files have several.

    Raises:
        RunUnreadable: there are no such files or runs in them, or several, or they are damaged.
    """
    if folder is not None:
        base = Path(folder)
        decisions = decisions or base / "decisions.jsonl"
        trace = trace or base / "trace.jsonl"
        if result is None and (base / "run.json").exists():
            result = _decode(base / "run.json", _lines(base / "run.json", whole=True)[0])
            run_id = run_id or result.get("run_id")
    elif decisions is None and trace is None:
        raise RunUnreadable("give read_run the folder of a run, or the files of its log or trace")
    ruled, spans = read_files(decisions, trace)
    found = {span.trace_id for span in spans} | {each.run_id for each in ruled if each.run_id}
    if run_id is None:
        if len(found) != 1:
            names = ", ".join(sorted(found)) or "none"
            raise RunUnreadable(f"these files should have one run, or name one of theirs: {names}")
        run_id = found.pop()
    elif run_id not in found:
        raise RunUnreadable(f"no run {run_id!r} in these files, but {sorted(found)}")
    return assemble(
        run_id,
        (each for each in ruled if each.run_id == run_id),
        (span for span in spans if span.trace_id == run_id),
        result,
    )


def read_files(
    decisions: str | Path | None, trace: str | Path | None
) -> tuple[list[Decision], list[SpanRecord]]:
    """Return all that the file of a log and that of a tracer hold.

    Raises:
        RunUnreadable: one of them cannot be read, or is damaged.
    """
    ruled = [] if decisions is None else _read_decisions(Path(decisions))
    spans = [] if trace is None else _read_spans(Path(trace))
    return ruled, spans


def _read_decisions(path: Path) -> list[Decision]:
    found = []
    for file in [*rotated(path), path]:
        for line in _lines(file):
            try:
                found.append(parse(line))
            except LogCorrupt as error:
                raise RunUnreadable(f"{file}: {error}") from error
    return found


def _read_spans(path: Path) -> list[SpanRecord]:
    return [_decode(path, line, SpanRecord) for line in _lines(path)]


def _decode(path: Path, line: bytes, kind: Any = dict[str, Any]) -> Any:
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunUnreadable(f"{path}: {line[:60]!r} is no record of a run ({error})") from error


def _lines(path: Path, *, whole: bool = False) -> list[bytes]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunUnreadable(f"{path} cannot be read: {error}") from error
    return [data] if whole else data.splitlines()


def _has(result: Any, name: str) -> bool:
    return name in result if isinstance(result, Mapping) else hasattr(result, name)


def _field(result: Any, name: str, default: Any) -> Any:
    if isinstance(result, Mapping):
        return result.get(name, default)
    return getattr(result, name, default)


def _amount(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None
