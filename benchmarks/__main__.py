"""`python -m benchmarks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from benchmarks._cases import BENCHMARKS
from benchmarks._plot import plot as draw
from benchmarks._report import README, read_json, renew, show, write_json
from benchmarks._runner import Report, Result, describe_machine, measure
from benchmarks._spec import PEERS

QUICK = 0.05
"""The part of the work that `--quick` does."""


WIDE = 180
"""Columns of a table that is not shown on a terminal."""


def _benchmarks(names: list[str]) -> list[str]:
    """Return the benchmarks that are meant; a family, such as `slope`, means all of `slope-…`.

    Raises:
        BadParameter: there is none of that name.
    """
    found: list[str] = []
    for name in names:
        meant = [b for b in BENCHMARKS if b == name or b.startswith(f"{name}-")]
        if not meant:
            raise typer.BadParameter(f"no benchmark {name}; there are: {', '.join(BENCHMARKS)}")
        found += (b for b in meant if b not in found)
    return found


def _peers(given: list[str]) -> list[str]:
    """Return the peers that are meant, given with commas or spaces between them.

    Raises:
        BadParameter: there is none of that name.
    """
    names = [name for part in given for name in part.replace(",", " ").split()]
    strangers = [name for name in names if name not in PEERS]
    if strangers:
        raise typer.BadParameter(f"no peer {', '.join(strangers)}; there are: {', '.join(PEERS)}")
    return names or list(PEERS)


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Benchmarks, or the first part of their names (ask, gather, slope, …); "
            "all if none.",
        ),
    ] = None,
    peers: Annotated[
        list[str] | None,
        typer.Option(help=f"With commas or in several options: {', '.join(PEERS)}."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the results into this PNG.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A twentieth of the work, once.")] = False,
    results: Annotated[
        Path | None,
        typer.Option("--from", help="Measure nothing: take what --json wrote to this file."),
    ] = None,
    readme: Annotated[
        bool, typer.Option("--readme", help="Renew the figures in the README beside the source.")
    ] = False,
) -> None:
    """Measure callboard beside its peers, each measurement in a fresh process."""
    # A peer among the names came after `--peers A`: spaces do as well as commas.
    words = names or []
    chosen = _peers([*(peers or []), *(word for word in words if word in PEERS)])
    wanted = _benchmarks([word for word in words if word not in PEERS] or list(BENCHMARKS))
    if results is None:
        report = _measured(wanted, chosen, 1 if quick else rounds, QUICK if quick else 1.0)
    else:
        report = read_json(results)
        kept = [r for r in report.results if r.benchmark in wanted and r.peer in chosen]
        report = msgspec.structs.replace(report, results=kept)
    # Into a file or pipe go whole rows, which eighty columns would break.
    console = Console()
    show(report, console if console.is_terminal else Console(width=WIDE))
    if json is not None:
        write_json(report, json)
    if plot is not None:
        draw(report.results, plot)
    if readme:
        renew(report, README, picture=plot)


def _measured(names: list[str], peers: list[str], rounds: int, factor: float) -> Report:
    found: list[Result] = []
    with Console(stderr=True).status("starting") as running:
        for name in names:
            found += measure(
                BENCHMARKS[name], peers, rounds=rounds, factor=factor, progress=running.update
            )
    return Report(describe_machine(), rounds, factor, found)


if __name__ == "__main__":
    typer.run(main)
