"""Every benchmark runs at a tiny size and computes the right answer; no figure is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks._cases import BENCHMARKS

NEEDS = {
    "thespian": "thespian",
    "xoscar": "xoscar",
    "autogen": "autogen_core",
    "langgraph": "langgraph",
}
TINY = 0.002


def _cases() -> list[object]:
    return [
        pytest.param(name, peer, id=f"{name} on {peer}")
        for name, benchmark in BENCHMARKS.items()
        for peer in benchmark.cases
        # The peers come with the extra `bench`, which the tests do without.
        if peer not in NEEDS or find_spec(NEEDS[peer]) is not None
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "peer"), _cases())
def test_it_runs_at_tiny_size(name: str, peer: str) -> None:
    benchmark = BENCHMARKS[name]
    # In this process: what a fresh one would add is start-up time, not correctness.
    measured = benchmark.cases[peer].run(**benchmark.sized(TINY))
    assert measured.items > 0
    assert measured.seconds > 0


@pytest.mark.slow
def test_the_command_measures_in_fresh_processes_and_reports_a_missing_peer(
    tmp_path: Path,
) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "pingpong", "--quick", "--json", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 0, ended.stderr
    results = {row["peer"]: row for row in json.loads(out.read_text())["results"]}
    assert results["callboard"]["median"] > 0
    for peer, module in NEEDS.items():
        if peer in results and find_spec(module) is None:
            assert results[peer]["problem"] == "not installed"


def test_an_unknown_benchmark_is_refused_with_the_names_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks", "nothing"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "pingpong" in ended.stderr
