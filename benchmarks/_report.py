"""Shows results: tables for people, JSON for machines, and the figures of README.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks._runner import BASELINES, Machine, Report, Result

__all__ = ["CAVEATS", "README", "read_json", "renew", "show", "write_json"]

README = Path(__file__).parent / "README.md"

HEADING = "## The latest figures"
"""What stands under it in README.md is written by `--readme`, up to the next such heading."""

CAVEATS = """\
Read first: these are micro benchmarks. Handlers do next to nothing, so they show what the runtime
adds to each message and nothing about models, which take a million times as long. Each figure is
the median of rounds in fresh processes, in which the peers take turns; on a busy or throttled
machine only the ratios mean something. Peers do the same work where it can be expressed with them,
some of them less of it (rates are per item). thespian runs in its simplest form, without
transports; "deque" is no runtime at all, but the limit of the interpreter; Erlang has all cores."""

RATES = ("benchmark", "peer", "per second", *(f"x {name}" for name in BASELINES), "spread")
"""Columns of the rates; what else a benchmark measured follows in a last one."""

TEXTS = {"benchmark", "us per item", "peer"}
"""Columns that are no figures."""


def _number(value: float) -> str:
    """Three significant digits at least, and no more than that after the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 10 else f"{value:.3g}"


def _spread(result: Result) -> str:
    # One round has no spread, which is not the same as none.
    return f"{100 * result.spread:.0f} %" if len(result.rates) > 1 else ""


def _rates(results: Iterable[Result]) -> list[list[str]]:
    rows = []
    before = ""
    for r in results:
        label = f"{r.benchmark} ({r.unit})" if r.benchmark != before else ""
        before = r.benchmark
        if r.problem:
            rows.append([label, r.peer, "-", *("" for _ in BASELINES), "", r.problem])
            continue
        ratios = [_number(r.ratios[name]) if name in r.ratios else "" for name in BASELINES]
        further = ", ".join(f"{key} {_number(value)}" for key, value in r.extra.items())
        spread = _spread(r)
        rows.append([label, r.peer, _number(r.median), *ratios, spread, further])
    return rows


def _slopes(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of how cost grows."""
    sizes = sorted({size for r in results for size in r.growth})
    rows = []
    for r in results:
        costs = [_number(r.growth[size]) if size in r.growth else "" for size in sizes]
        slope = (
            ["", ""] if r.slope is None else [f"{r.slope.exponent:+.2f}", f"{r.slope.ratio:.1f}"]
        )
        spread = _spread(r)
        rows.append([f"{r.benchmark} ({r.unit})", r.peer, *costs, *slope, spread])
    columns = ["us per item", "peer", *(f"at {size:,}" for size in sizes)]
    return [*columns, "slope", "max/min", "spread"], rows


def _split(results: list[Result]) -> tuple[list[Result], list[Result]]:
    """Return the results that are rates, and those that are about growth."""
    return [r for r in results if not r.growth], [r for r in results if r.growth]


def _origin(machine: Machine) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    return (
        f"{machine.python}, {machine.system}, {machine.processor}, {machine.cores} cores, "
        f"{machine.memory_gb:g} GB;\n{packages}."
    )


def _table(title: str, columns: Iterable[str], rows: list[list[str]]) -> Table:
    table = Table(title=title)
    for name in columns:
        further = name == "further"
        justify: Literal["left", "right"] = "left" if further or name in TEXTS else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=not further)
    before = ""
    for row in rows:
        if before and row[0] not in {"", before}:
            table.add_section()
        before = row[0] or before
        table.add_row(*row)
    return table


def show(report: Report, console: Console) -> None:
    """Print caveats, machine and tables."""
    console.print(CAVEATS.replace("\n", " "), style="dim")
    console.print(_origin(report.machine))
    rates, growing = _split(report.results)
    if rates:
        title = "median rates; ratios to peers; spread over the rounds"
        console.print(_table(title, [*RATES, "further"], _rates(rates)))
    if growing:
        columns, rows = _slopes(growing)
        console.print(_table("how cost grows: cost ~ size^slope", columns, rows))


def write_json(report: Report, path: Path) -> None:
    """Write everything, the machine included."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def read_json(path: Path) -> Report:
    """Read what `write_json` wrote.

    Raises:
        msgspec.ValidationError: it is something else.
    """
    return msgspec.json.decode(path.read_bytes(), type=Report)


def _markdown(columns: list[str], rows: list[list[str]]) -> str:
    heads = [
        name.replace("x ", "\N{MULTIPLICATION SIGN} ").replace("us ", "µs ") for name in columns
    ]
    rule = ["---" if name in {*TEXTS, "further"} else "---:" for name in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *rows])


def renew(report: Report, path: Path = README, *, picture: Path | None = None) -> None:
    """Replace the figures in a README by those of a report.

    Args:
        report: the figures.
        path: the file; it has `HEADING` in it.
        picture: a plot of them, shown if it lies beside the file.

    Raises:
        ValueError: the file has no such heading.
    """
    before, heading, after = path.read_text(encoding="utf-8").partition(f"{HEADING}\n")
    if not heading:
        raise ValueError(f"{path} has no heading {HEADING!r}")
    following = after.find("\n## ")
    rates, growing = _split(report.results)
    rounds = f"{report.rounds} rounds" if report.rounds > 1 else "One round"
    parts = [f"{_origin(report.machine)} {rounds}, {report.factor:g} of the full work."]
    if picture is not None and picture.resolve().parent == path.resolve().parent:
        parts.append(f"![The same figures, drawn]({picture.name})")
    if rates:
        parts.append(_markdown([*RATES, "further"], _rates(rates)))
    if growing:
        parts.append("How cost grows; cost ~ size^slope, so 0 is flat:")
        parts.append(_markdown(*_slopes(growing)))
    rest = after[following:] if following >= 0 else ""
    path.write_text(f"{before}{heading}\n" + "\n\n".join(parts) + "\n" + rest, encoding="utf-8")
