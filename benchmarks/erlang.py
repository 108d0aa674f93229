"""Erlang beside the rest: the same parameters on the BEAM, timed inside it.

`erlc` compiles bench.erl into a temporary folder once in a process. The BEAM uses all cores,
which no Python peer does.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import savina
from benchmarks._spec import Benchmark, Measurement, NotInstalled, case, check
from benchmarks.asks import ask_actor, gathers
from benchmarks.growth import FLAT_MESSAGES, sizes, slope_actors, slope_messages
from benchmarks.scale import idle, spawn

__all__: list[str] = []

SOURCE = Path(__file__).parent / "bench.erl"

PROCESSES = 2_000_000
"""How many processes the BEAM may have; a quarter of a million unless told."""


@functools.cache
def _compiled() -> tempfile.TemporaryDirectory[str]:
    """Compile, and return the folder, which is removed when this process ends."""
    if shutil.which("erlc") is None or shutil.which("erl") is None:
        raise NotInstalled("erl")
    folder = tempfile.TemporaryDirectory(prefix="bench-erl-")
    subprocess.run(["erlc", "-o", folder.name, str(SOURCE)], check=True, capture_output=True)
    return folder


def _run(name: str, *params: int) -> tuple[float, int, dict[str, float]]:
    """Run one benchmark in a fresh BEAM; return seconds, the answer, and further figures."""
    command = ["erl", "-noshell", "-noinput", "+P", str(PROCESSES), "-pa", _compiled().name]
    # halt, since an orderly stop of the BEAM takes a second.
    command += ["-eval", f"bench:main({name},{list(params)}),halt()."]
    ended = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        # No memory dump of a benchmark that fails.
        env={**os.environ, "ERL_CRASH_DUMP_SECONDS": "0"},
    )
    if ended.returncode:
        raise RuntimeError(f"erl: {(ended.stderr or ended.stdout).strip()[:200]}")
    nanoseconds, answer, *further = ended.stdout.split()
    extra = dict(figure.split("=") for figure in further)
    return int(nanoseconds) / 1e9, int(answer), {key: float(value) for key, value in extra.items()}


def _savina(benchmark: Benchmark, sums: Callable[..., tuple[int, int]]) -> None:
    """Enter one of Savina's.

    Args:
        benchmark: which.
        sums: from its parameters to how many items it is, and the right answer.
    """

    @case(benchmark, "erlang")
    def run(**params: int) -> Measurement:
        items, answer = sums(**params)
        seconds, found, _ = _run(benchmark.name, *params.values())
        check(found, answer)
        return Measurement(seconds, items)


_savina(savina.count, lambda messages: (messages, messages))
_savina(savina.pingpong, lambda pings: (2 * pings, pings))
_savina(savina.threadring, lambda actors, hops: (hops, hops % actors))
_savina(savina.fjcreate, lambda actors: (actors, actors))
_savina(savina.fjthrput, lambda messages, actors: (messages * actors, actors))
_savina(savina.big, lambda messages, actors: (2 * messages * actors, messages * actors))
_savina(
    savina.bndbuffer,
    lambda size, producers, consumers, items, cost: (producers * items, producers * items),
)
_savina(savina.chameneos, lambda chameneos, meetings: (meetings, 2 * meetings))
_savina(savina.banking, lambda accounts, transactions: (transactions, transactions))
_savina(
    savina.philosopher, lambda philosophers, meals: (philosophers * meals, philosophers * meals)
)


@case(ask_actor, "erlang")
def _ask(asks: int) -> Measurement:
    """A process that calls a gen_server."""
    seconds, total, _ = _run("ask", asks)
    check(total, asks * (asks - 1) // 2)
    return Measurement(seconds, asks)


def _gather(benchmark: Benchmark) -> None:
    @case(benchmark, "erlang")
    def run(replies: int, width: int) -> Measurement:
        seconds, found, _ = _run("gather", replies, width)
        check(found, max(1, replies // width) * width)
        return Measurement(seconds, found)


for _benchmark in gathers:
    _gather(_benchmark)


@case(spawn, "erlang")
def _spawn(actors: int) -> Measurement:
    """gen_servers, each started and stopped."""
    seconds, stopped, extra = _run("spawn", actors)
    check(stopped, actors)
    return Measurement(seconds, actors, extra)


@case(idle, "erlang", share=0.1)
def _idle(actors: int) -> Measurement:
    """Bare processes."""
    seconds, alive, extra = _run("idle", actors)
    check(alive, actors)
    return Measurement(seconds, actors, extra)


@case(slope_actors, "erlang")
def _slope_actors(actors: int) -> Measurement:
    growth: dict[int, float] = {}
    total_seconds, total = 0.0, 0
    for n in sizes(actors):
        seconds, ended, _ = _run("actors", n, FLAT_MESSAGES)
        check(ended, n)
        items = max(1, FLAT_MESSAGES // n) * n
        growth[n] = 1e6 * seconds / items
        total_seconds += seconds
        total += items
    return Measurement(total_seconds, total, growth=growth)


@case(slope_messages, "erlang")
def _slope_messages(messages: int) -> Measurement:
    growth: dict[int, float] = {}
    total_seconds, total = 0.0, 0
    for n in sizes(messages):
        seconds, left, _ = _run("waiting", n, FLAT_MESSAGES)
        check(left, 0)
        growth[n] = 1e6 * seconds / FLAT_MESSAGES
        total_seconds += seconds
        total += FLAT_MESSAGES
    return Measurement(total_seconds, total, growth=growth)
