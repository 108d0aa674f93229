"""Where things are printed, and the final report of a run."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from patterns._cli.folder import RunRecord
from patterns._cli.view import count, money, seconds

__all__ = ["consoles", "report", "wide_console"]

PLAIN_WIDTH = 160
"""Columns of tables that go into a file or a pipe, where nothing tells how wide they may be."""

READABLE_WIDTH = 100
"""Columns of running text on a terminal, however wide it is."""


class _Paper(Console):
    """A console that leaves it to others what a reader who is gone means."""

    def on_broken_pipe(self) -> None:
        """Say so."""
        raise BrokenPipeError


def consoles(*, quiet: bool) -> tuple[Console, Console | None]:
    """Return where the report goes, and where the team is drawn if anybody is looking."""
    printing = _Paper(highlight=False)
    if printing.is_terminal:
        printing.width = min(printing.width, READABLE_WIDTH)
    live = Console(stderr=True, highlight=False)
    looking = printing.is_terminal and live.is_terminal and not live.is_dumb_terminal
    return printing, live if looking and not quiet else None


def wide_console() -> Console:
    """Return a console for tables; beyond a terminal it is wide and has no colours."""
    width = (
        None
        if sys.stdout is not None and sys.stdout.isatty()
        else shutil.get_terminal_size((PLAIN_WIDTH, 0)).columns
    )
    return _Paper(highlight=False, width=width)


def report(console: Console, record: RunRecord, folder: Path) -> None:
    """Print the result, the route and why, time, tokens and cost."""
    if console.is_terminal:
        console.print()
        console.print(Markdown(record.result))
        console.print()
        console.print(Rule(style="dim"))
    else:
        # As it is: a pipe wants the text, not its picture.
        console.out(record.result, highlight=False)
        console.out("\n---")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(record, folder):
        table.add_row(name, Text(value))
    console.print(table)


def _facts(record: RunRecord, folder: Path) -> list[tuple[str, str]]:
    facts = []
    if record.status != "done":
        facts.append(("status", f"{record.status}: {record.reason}"))
    route = record.route
    facts.append(("route", f"{route.taken} ({route.explanation})" if route else "none taken"))
    facts.append(("time", seconds(record.seconds or 0.0)))
    used = f"{count(record.tokens)}, in {record.calls} calls of {record.model}"
    facts.append(("tokens", used))
    facts.append(("cost", money(record.cost_usd)))
    facts.append(("records", f"{folder} (result.md, run.json, decisions.jsonl, trace.jsonl)"))
    return facts
