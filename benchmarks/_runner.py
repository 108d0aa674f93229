"""Runs measurements in fresh processes, in alternating rounds, and takes medians."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from benchmarks._growth import Slope, fit
from benchmarks._spec import PEERS, Benchmark, Measurement
from benchmarks._worker import NOT_INSTALLED

__all__ = ["BASELINES", "Machine", "Report", "Result", "describe_machine", "measure"]

BASELINES = ("pykka", "asyncio", "deque")
"""The peers that ratios are against, where they take part."""

TIMEOUT = 600.0
"""Seconds for one measurement."""

_PACKAGES = (
    "callboard",
    "pykka",
    "msgspec",
    "thespian",
    "xoscar",
    "autogen-core",
    "langgraph",
)


class Machine(msgspec.Struct, frozen=True):
    """Where the figures come from.

    Attributes:
        packages: versions by name; Erlang's, if it is installed, is that of OTP.
    """

    python: str
    system: str
    processor: str
    cores: int
    memory_gb: float
    packages: dict[str, str]


class Result(msgspec.Struct, frozen=True):
    """One benchmark on one peer.

    Attributes:
        rates: items in a second, one for each round.
        median: the median rate.
        spread: (largest - smallest) / median.
        ratios: median rate by that of each baseline that took part.
        extra: medians of the further figures.
        growth: medians of the microseconds per item by size, where it is about how cost grows.
        slope: how steep that is.
        problem: why there are no figures; empty if all went well.
    """

    benchmark: str
    unit: str
    peer: str
    rates: tuple[float, ...] = ()
    median: float = 0.0
    spread: float = 0.0
    ratios: dict[str, float] = {}
    extra: dict[str, float] = {}
    growth: dict[int, float] = {}
    slope: Slope | None = None
    problem: str = ""


class Report(msgspec.Struct, frozen=True):
    """All that one run of the suite found.

    Attributes:
        rounds: how often each was measured.
        factor: how much of the full amount of work.
    """

    machine: Machine
    rounds: int
    factor: float
    results: list[Result]


def describe_machine() -> Machine:
    """Describe this machine and what is installed on it."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    if (erlang := _erlang_release()) is not None:
        packages["erlang"] = erlang
    processor = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return Machine(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.machine()}",
        processor=processor,
        cores=os.cpu_count() or 1,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        packages=packages,
    )


def _erlang_release() -> str | None:
    if shutil.which("erl") is None:
        return None
    ask = "io:put_chars(erlang:system_info(otp_release)), halt()."
    ended = subprocess.run(
        ["erl", "-noshell", "-noinput", "-eval", ask], capture_output=True, text=True, check=False
    )
    return f"OTP {ended.stdout.strip()}" if ended.returncode == 0 else None


def _once(benchmark: str, peer: str, factor: float) -> Measurement | str:
    """Measure in a fresh process; a string says why there is no figure."""
    command = [sys.executable, "-m", "benchmarks._worker", benchmark, peer, repr(factor)]
    try:
        ended = subprocess.run(
            command, capture_output=True, timeout=TIMEOUT, check=False, cwd=_root()
        )
    except subprocess.TimeoutExpired:
        return f"no end after {TIMEOUT:g} s"
    if ended.returncode:
        last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
        reason = last[0] if last else f"exit code {ended.returncode}"
        return f"not installed: {reason}" if ended.returncode == NOT_INSTALLED else reason
    return msgspec.json.decode(ended.stdout.strip().splitlines()[-1], type=Measurement)


def _root() -> Path:
    return Path(__file__).resolve().parent.parent


def measure(
    benchmark: Benchmark,
    peers: Iterable[str],
    *,
    rounds: int,
    factor: float,
    progress: Callable[[str], None],
) -> list[Result]:
    """Measure one benchmark on several peers.

    Args:
        benchmark: what to measure.
        peers: on whom; those it has no case for are left out.
        rounds: how often each; the peers take turns, so that drift hits all alike.
        factor: how much of the full amount of work.
        progress: told what is being measured.
    """
    wanted = set(peers)
    taking_part = [peer for peer in PEERS if peer in wanted and peer in benchmark.cases]
    found: dict[str, list[Measurement]] = {peer: [] for peer in taking_part}
    problems: dict[str, str] = {}
    for number in range(rounds):
        for peer in taking_part:
            if peer in problems:
                continue
            progress(f"{benchmark.name} on {peer}, round {number + 1} of {rounds}")
            outcome = _once(benchmark.name, peer, factor)
            if isinstance(outcome, str):
                problems[peer] = outcome
            else:
                found[peer].append(outcome)
    results = [
        Result(benchmark.name, benchmark.unit, peer, problem=problems[peer])
        if peer in problems
        else _summed_up(benchmark, peer, found[peer])
        for peer in taking_part
    ]
    bases = {r.peer: r.median for r in results if r.peer in BASELINES and not r.problem}
    return [
        r
        if r.problem
        else msgspec.structs.replace(
            r, ratios={name: r.median / bases[name] for name in BASELINES if name in bases}
        )
        for r in results
    ]


def _summed_up(benchmark: Benchmark, peer: str, found: list[Measurement]) -> Result:
    rates = tuple(m.rate for m in found)
    median = statistics.median(rates)
    growth = {size: statistics.median(m.growth[size] for m in found) for size in found[0].growth}
    return Result(
        benchmark=benchmark.name,
        unit=benchmark.unit,
        peer=peer,
        rates=rates,
        median=median,
        spread=(max(rates) - min(rates)) / median,
        extra={key: statistics.median(m.extra[key] for m in found) for key in found[0].extra},
        growth=growth,
        slope=fit(growth),
    )
