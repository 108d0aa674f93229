"""What a benchmark is, and the registry of them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

__all__ = [
    "BENCHMARKS",
    "PEERS",
    "Benchmark",
    "Case",
    "Measurement",
    "NotInstalled",
    "case",
    "check",
    "define",
]

PEERS = (
    "callboard",
    "callboard-async",
    "callboard-bare",
    "pykka",
    "asyncio",
    "deque",
    "thespian",
    "xoscar",
    "autogen",
    "langgraph",
    "fsync-each",
    "erlang",
)
"""Everyone who takes part, in the order of the tables."""


class NotInstalled(Exception):
    """A peer is not on this machine, which is reported and no error."""


class Measurement(msgspec.Struct, frozen=True):
    """What one run of one case gave.

    Attributes:
        seconds: how long the measured part took.
        items: how many of the benchmark's unit it did.
        extra: further figures by name, each with its unit in the name.
        growth: microseconds per item by size, where the question is how cost grows.
    """

    seconds: float
    items: int
    extra: dict[str, float] = {}
    growth: dict[int, float] = {}

    @property
    def rate(self) -> float:
        """Items in a second."""
        return self.items / self.seconds


class Case(msgspec.Struct, frozen=True):
    """One benchmark on one peer.

    Attributes:
        peer: who does the work.
        run: does it, with the given parameters.
        share: the part of the work it gets, where it is too slow for all of it; rates stay
            comparable since they are per item.
    """

    peer: str
    run: Callable[..., Measurement]
    share: float = 1.0


class Benchmark(msgspec.Struct):
    """A benchmark with its parameters and cases."""

    name: str
    unit: str
    source: str
    params: dict[str, int]
    scaled: tuple[str, ...]
    cases: dict[str, Case] = {}

    def sized(self, factor: float) -> dict[str, int]:
        """Return the parameters with the amount of work multiplied by `factor`."""
        return {
            key: max(2, int(value * factor)) if key in self.scaled else value
            for key, value in self.params.items()
        }


BENCHMARKS: dict[str, Benchmark] = {}


def define(
    name: str, unit: str, source: str, params: dict[str, int], scaled: tuple[str, ...]
) -> Benchmark:
    """Enter a benchmark.

    Args:
        name: what it is called on the command line.
        unit: what its rate counts.
        source: where it and its parameters come from.
        params: its full size.
        scaled: the parameters that `--quick` and a case's share make smaller.
    """
    benchmark = BENCHMARKS[name] = Benchmark(name, unit, source, params, scaled, {})
    return benchmark


def case(
    benchmark: Benchmark, peer: str, *, share: float = 1.0
) -> Callable[[Callable[..., Measurement]], Callable[..., Measurement]]:
    """Enter a function as the work of a benchmark on a peer."""
    assert peer in PEERS

    def enter(run: Callable[..., Measurement]) -> Callable[..., Measurement]:
        benchmark.cases[peer] = Case(peer, run, share)
        return run

    return enter


def check(found: Any, wanted: Any) -> None:
    """Refuse a measurement whose answer is wrong.

    Raises:
        AssertionError: it is.
    """
    if found != wanted:
        raise AssertionError(f"wrong answer: {found!r} instead of {wanted!r}")
