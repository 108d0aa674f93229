"""Shows results: a table for people, JSON for machines, a picture with logarithmic axes."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks._runner import Machine, Result

__all__ = ["CAVEATS", "plot", "show", "write_json"]

CAVEATS = """\
Read first: these are micro benchmarks. Handlers do next to nothing, so they show what the runtime
adds to each message and nothing about models, which take a million times as long. Each figure is
the median of rounds in fresh processes, in which the peers take turns; on a busy or throttled
machine only the ratios mean something. Peers do the same work where it can be expressed with them,
some of them less of it (rates are per item). thespian runs in its simplest form, without
transports; "deque" is no runtime at all, but the limit of the interpreter."""


def show(results: list[Result], machine: Machine, console: Console) -> None:
    """Print caveats, machine and a table."""
    console.print(CAVEATS, style="dim")
    console.print(
        f"{machine.python}, {machine.system}, {machine.processor}, {machine.cores} cores; "
        + ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    )
    table = Table(title="median rates; ratio to pykka; spread over the rounds")
    for name in ("benchmark", "peer", "per second", "ratio", "spread", "further"):
        table.add_column(name, justify="right" if name in {"per second", "ratio"} else "left")
    before = ""
    for result in results:
        if before and before != result.benchmark:
            table.add_section()
        first = result.benchmark != before
        before = result.benchmark
        label = f"{result.benchmark} ({result.unit})" if first else ""
        if result.problem:
            table.add_row(label, result.peer, "-", "", "", result.problem)
            continue
        table.add_row(
            label,
            result.peer,
            f"{result.median:,.0f}",
            "" if result.ratio is None else f"{result.ratio:,.1f} x",
            f"{100 * result.spread:.0f} %",
            ", ".join(f"{key} {value:,.2f}" for key, value in result.extra.items()),
        )
    console.print(table)


def write_json(results: list[Result], machine: Machine, path: Path) -> None:
    """Write results and machine."""
    document = {"machine": machine, "results": results}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def plot(results: list[Result], path: Path) -> None:
    """Draw the median rates, one row a benchmark, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [result for result in results if not result.problem]
    names = list(dict.fromkeys(result.benchmark for result in shown))
    peers = list(dict.fromkeys(result.peer for result in shown))
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(names) + 1.5), layout="constrained")
    for peer in peers:
        points = [
            (result.median, names.index(result.benchmark))
            for result in shown
            if result.peer == peer
        ]
        axes.scatter(
            [x for x, _ in points],
            [y for _, y in points],
            label=peer,
            s=70 if peer.startswith("callboard") else 35,
            marker="D" if peer.startswith("callboard") else "o",
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=True, which="both", axis="x", alpha=0.3)
    axes.set_xlabel("items per second (median, logarithmic)")
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=150)
    plt.close(figure)
