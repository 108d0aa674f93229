"""`python -m benchmarks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks._cases import BENCHMARKS
from benchmarks._report import plot as draw
from benchmarks._report import show, write_json
from benchmarks._runner import Result, describe_machine, measure

ALL_PEERS = sorted({peer for b in BENCHMARKS.values() for peer in b.cases})


def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Benchmarks; all if none.")
    ] = None,
    peers: Annotated[
        str | None, typer.Option(help=f"Comma-separated: {', '.join(ALL_PEERS)}.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each.")] = 3,
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the results into this PNG.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A twentieth of the work, once.")] = False,
) -> None:
    """Measure callboard beside its peers, each measurement in a fresh process."""
    wanted = names or list(BENCHMARKS)
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        raise typer.BadParameter(
            f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}"
        )
    chosen = peers.split(",") if peers else ALL_PEERS
    strangers = [peer for peer in chosen if peer not in ALL_PEERS]
    if strangers:
        raise typer.BadParameter(
            f"no peer {', '.join(strangers)}; there are: {', '.join(ALL_PEERS)}"
        )
    console = Console()
    status = Console(stderr=True)
    results: list[Result] = []
    with status.status("starting") as running:
        for name in wanted:
            results += measure(
                BENCHMARKS[name],
                chosen,
                rounds=1 if quick else rounds,
                factor=0.05 if quick else 1.0,
                progress=running.update,
            )
    machine = describe_machine()
    show(results, machine, console)
    if json is not None:
        write_json(results, machine, json)
    if plot is not None:
        draw(results, plot)


if __name__ == "__main__":
    typer.run(main)
