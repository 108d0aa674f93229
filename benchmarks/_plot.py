"""The picture: rates on a logarithmic axis, and how cost grows with both axes logarithmic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._runner import Result
from benchmarks._spec import PEERS

__all__ = ["plot"]

OURS = "callboard"

LOOKS: dict[str, tuple[str, str]] = {
    # peer: (colour, marker); no two look alike
    "callboard": ("#c1272d", "D"),
    "callboard-async": ("#f7931e", "D"),
    "callboard-bare": ("#8c4a14", "D"),
    "pykka": ("#0071bc", "o"),
    "asyncio": ("#22a07a", "s"),
    "deque": ("#333333", "|"),
    "thespian": ("#7f5fb3", "^"),
    "xoscar": ("#b03a9b", "v"),
    "autogen": ("#6fa8dc", "P"),
    "langgraph": ("#9a9a00", "X"),
    "erlang": ("#777777", "*"),
    "fsync-each": ("#b0b0b0", "o"),
}


def plot(results: list[Result], path: Path) -> None:
    """Draw the median rates, a row for each benchmark, and beside them a panel for each slope.

    Args:
        results: what to draw; peers without figures are left out.
        path: the PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rates = [r for r in results if not r.problem and not r.growth]
    growing = [r for r in results if r.growth]
    rows = list(dict.fromkeys(r.benchmark for r in rates))
    panels = list(dict.fromkeys(r.benchmark for r in growing))
    height = max(0.36 * len(rows) + 1.8, 2.9 * len(panels) + 0.6, 3.0)
    # A mosaic of rows: the rates on the left of all panels.
    left = ["rates", "rates"] if rows else []
    mosaic = [[*left, panel] for panel in panels] or [left]
    figure, axes = plt.subplot_mosaic(
        mosaic, figsize=(13 if rows and panels else 9, height), layout="constrained"
    )
    if rows:
        _draw_rates(axes["rates"], rates, rows)
    for panel in panels:
        _draw_growth(axes[panel], [r for r in growing if r.benchmark == panel])
    handles = {
        label: handle
        for axis in axes.values()
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=6, fontsize="small"
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _by_peer(
    results: list[Result], draw: Callable[[str, list[Result], dict[str, Any]], object]
) -> None:
    for peer in sorted({r.peer for r in results}, key=PEERS.index):
        colour, marker = LOOKS[peer]
        # Ours are drawn last and larger, so that nothing hides them.
        style = {"color": colour, "marker": marker, "zorder": 4 if peer.startswith(OURS) else 3}
        draw(peer, [r for r in results if r.peer == peer], style)


def _draw_rates(axis: Any, results: list[Result], rows: list[str]) -> None:
    def draw(peer: str, found: list[Result], style: dict[str, Any]) -> None:
        # Ours in the upper half of a row, the others in the lower, so that none hides another.
        shift = -0.17 if peer.startswith(OURS) else 0.17
        places = [rows.index(r.benchmark) + shift for r in found]
        low = [r.median - min(r.rates) for r in found]
        high = [max(r.rates) - r.median for r in found]
        axis.errorbar(
            [r.median for r in found],
            places,
            xerr=[low, high],
            label=peer,
            linestyle="none",
            elinewidth=1,
            markersize=7 if peer.startswith(OURS) else 6,
            markeredgewidth=2 if style["marker"] == "|" else 0.5,
            **style,
        )

    _by_peer(results, draw)
    units = {r.benchmark: r.unit for r in results}
    axis.set_xscale("log")
    axis.set_yticks(range(len(rows)), [f"{name} ({units[name]})" for name in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    for place in range(1, len(rows), 2):
        axis.axhspan(place - 0.5, place + 0.5, color="#f4f4f4", zorder=0)
    axis.grid(visible=True, which="major", axis="x", color="#cccccc", linewidth=0.8)
    axis.set_xlabel("items per second: median and range of the rounds")


def _draw_growth(axis: Any, results: list[Result]) -> None:
    def draw(peer: str, found: list[Result], style: dict[str, Any]) -> None:
        for r in found:
            axis.plot(list(r.growth), list(r.growth.values()), label=peer, markersize=5, **style)
            if r.slope is not None and peer.startswith(OURS):
                axis.set_title(f"{r.benchmark}: {peer} {r.slope.exponent:+.2f}", fontsize="medium")

    _by_peer(results, draw)
    axis.set_xscale("log")
    axis.set_yscale("log")
    lowest = min(min(r.growth.values()) for r in results)
    highest = max(max(r.growth.values()) for r in results)
    # Two decades at least: a flat line must look flat, not like the noise magnified.
    middle = (lowest * highest) ** 0.5
    axis.set_ylim(min(lowest / 1.5, middle / 10), max(highest * 1.5, middle * 10))
    axis.grid(visible=True, which="major", color="#cccccc", linewidth=0.8)
    axis.set_xlabel(f"number of {results[0].benchmark.removeprefix('slope-')}")
    axis.set_ylabel(f"µs per {results[0].unit.removesuffix('s')}")
