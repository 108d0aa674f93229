"""What a run left behind, printed: its decisions as a table, its spans as a waterfall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from patterns._cli.folder import Folder, RunRecord
from patterns._cli.inputs import Refused
from patterns._cli.view import count, money, seconds

__all__ = ["show_decisions", "show_trace"]

BAR = 32
"""Most columns of the waterfall."""

NAME = 48
"""Most columns of a span's name."""

FIGURES = 34
"""Columns that time, tokens and cost take with the space between them."""

# Columns of every decision; what else it has is told in its own words.
_COLUMNS = frozenset({"seq", "ts", "decision", "run_id", "span_id", "actor", "prev", "pattern"})
_NAMES = {
    "gen_ai.usage.input_tokens": "in",
    "gen_ai.usage.output_tokens": "out",
}


class _Span(msgspec.Struct):
    span_id: str
    parent_id: str | None
    name: str
    start: int
    end: int
    status: str
    attributes: dict[str, Any]

    @property
    def tokens(self) -> int | None:
        used = [self.attributes.get(name) for name in _NAMES]
        return sum(n for n in used if n) if any(n is not None for n in used) else None


def show_decisions(console: Console, path: Path) -> None:
    """Print the decisions of a run.

    Raises:
        Refused: there are none, or they cannot be read.
    """
    record = Folder.read(path)
    lines = list(_lines(path, "decisions.jsonl"))
    started = record.started if record is not None else _number(lines, "ts")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("#", justify="right", style="dim")
    table.add_column("after", justify="right", no_wrap=True, style="cyan")
    table.add_column("who", no_wrap=True)
    table.add_column("decision", no_wrap=True, style="bold")
    table.add_column("what", overflow="fold")
    for line in lines:
        facts = {k: v for k, v in line.items() if k not in _COLUMNS and v not in (None, [], {})}
        table.add_row(
            str(line.get("seq", "")),
            seconds(max(0.0, float(line.get("ts", started)) - started)),
            Text(str(line.get("pattern") or _last(line.get("actor")))),
            Text(str(line.get("decision", ""))),
            Text(", ".join(f"{name}={_brief(value)}" for name, value in facts.items())),
        )
    _headline(console, record, f"{len(lines)} decisions")
    console.print(table)


def show_trace(console: Console, path: Path) -> None:
    """Print the spans of a run as a waterfall.

    Raises:
        Refused: there are none, or they cannot be read.
    """
    record = Folder.read(path)
    spans = []
    for number, line in enumerate(_lines(path, "trace.jsonl"), 1):
        try:
            spans.append(msgspec.convert(line, _Span))
        except msgspec.ValidationError as error:
            raise Refused(f"{path / 'trace.jsonl'}: line {number} is no span ({error})") from None
    _headline(console, record, f"{len(spans)} spans")
    if not spans:
        return
    start = min(span.start for span in spans)
    whole = max(1, max(span.end for span in spans) - start)
    nested = [(depth, span, "  " * depth + _title(span)) for depth, span in _nested(spans)]
    name = min(NAME, max(len(title) for _, _, title in nested) + 2)
    bar = max(BAR // 4, min(BAR, console.width - name - FIGURES))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("span", no_wrap=True, overflow="ellipsis", max_width=name)
    table.add_column("", no_wrap=True, min_width=bar)
    for heading in ("time", "tokens", "cost"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading) + 2)
    for _, span, label in nested:
        failed = span.status == "error"
        left = min(bar - 1, (span.start - start) * bar // whole)
        width = max(1, min(bar - left, (span.end - span.start) * bar // whole))
        color = "red" if failed else "green" if span.tokens is not None else "blue"
        cost = span.attributes.get("callboard.cost_usd")
        table.add_row(
            Text(label + (" ✗" if failed else "")),
            Text(" " * left + "━" * width, style=color),
            seconds((span.end - span.start) / 1e9),
            "" if span.tokens is None else count(span.tokens),
            "" if span.tokens is None else money(None if cost is None else Decimal(str(cost))),
        )
    console.print(table)


def _headline(console: Console, record: RunRecord | None, counted: str) -> None:
    if record is None:
        console.print(Text(counted, style="bold"))
        return
    console.print(
        Text.assemble((record.run_id, "bold"), f"  {record.status}  ", (counted, "dim"), "\n"),
        Text(record.request, style="italic"),
        "",
        sep="",
    )


def _lines(path: Path, name: str) -> Iterable[dict[str, Any]]:
    file = path / name
    if not path.is_dir():
        raise Refused(f"{path}: there is no such folder; give the folder of a run")
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise Refused(f"{path}: is not the folder of a run ({name} is missing)") from None
    except OSError as error:
        raise Refused(f"{file}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(data.splitlines(), 1):
        try:
            yield msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            if number == data.count(b"\n") + 1:
                # A run that is still going on, or was killed, has a line that is not whole.
                return
            raise Refused(f"{file}: line {number} is damaged ({error})") from None


def _nested(spans: list[_Span]) -> Iterable[tuple[int, _Span]]:
    """Yield spans depth first with their depth; one whose parent never ended is a root."""
    ids = {span.span_id for span in spans}
    below: dict[str | None, list[_Span]] = {}
    for span in sorted(spans, key=lambda span: span.start):
        below.setdefault(span.parent_id if span.parent_id in ids else None, []).append(span)
    waiting = [(0, span) for span in reversed(below.get(None, []))]
    while waiting:
        depth, span = waiting.pop()
        yield depth, span
        waiting.extend((depth + 1, other) for other in reversed(below.get(span.span_id, [])))


def _title(span: _Span) -> str:
    return span.name.removeprefix("invoke_workflow ").removeprefix("invoke_agent ")


def _number(lines: list[dict[str, Any]], name: str) -> float:
    return float(lines[0].get(name, 0)) if lines else 0.0


def _last(path: Any) -> str:
    return str(path or "").rpartition("/")[2]


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_brief(other)}" for name, other in value.items())
    if isinstance(value, list):
        return "; ".join(_brief(other) for other in value)
    text = " ".join(str(value).split())
    return text if len(text) <= 160 else f"{text[:160]}…"
