"""Runs measurements in fresh processes, in alternating rounds, and takes medians."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from benchmarks._spec import Benchmark, Measurement

__all__ = ["BASELINE", "Machine", "Result", "describe_machine", "measure"]

BASELINE = "pykka"
"""The peer that ratios are against, where it takes part."""

TIMEOUT = 600.0
"""Seconds for one measurement."""

_PACKAGES = ("pykka", "msgspec", "thespian", "xoscar", "autogen-core", "langgraph")


class Machine(msgspec.Struct, frozen=True):
    """Where the figures come from."""

    python: str
    system: str
    processor: str
    cores: int
    packages: dict[str, str]


class Result(msgspec.Struct, frozen=True):
    """One benchmark on one peer.

    Attributes:
        rates: items in a second, one for each round.
        median: the median rate.
        spread: (largest - smallest) / median.
        ratio: median rate by the baseline's, where there is one.
        extra: medians of the further figures.
        problem: why there are no figures; empty if all went well.
    """

    benchmark: str
    unit: str
    peer: str
    rates: tuple[float, ...] = ()
    median: float = 0.0
    spread: float = 0.0
    ratio: float | None = None
    extra: dict[str, float] = {}
    problem: str = ""


def describe_machine() -> Machine:
    """Describe this machine and what is installed on it."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
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
        packages=packages,
    )


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
        if reason.startswith("ModuleNotFoundError"):
            return "not installed"
        return reason
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
    taking_part = [peer for peer in benchmark.cases if peer in set(peers)]
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
    results = []
    for peer in taking_part:
        if peer in problems:
            results.append(Result(benchmark.name, benchmark.unit, peer, problem=problems[peer]))
            continue
        results.append(_summed_up(benchmark, peer, found[peer]))
    base = next((r.median for r in results if r.peer == BASELINE and r.median), None)
    if base is None:
        return results
    return [msgspec.structs.replace(r, ratio=r.median / base) if r.median else r for r in results]


def _summed_up(benchmark: Benchmark, peer: str, found: list[Measurement]) -> Result:
    rates = tuple(m.rate for m in found)
    median = statistics.median(rates)
    return Result(
        benchmark=benchmark.name,
        unit=benchmark.unit,
        peer=peer,
        rates=rates,
        median=median,
        spread=(max(rates) - min(rates)) / median,
        extra={
            key: statistics.median(m.extra[key] for m in found if key in m.extra)
            for key in found[0].extra
        },
    )
