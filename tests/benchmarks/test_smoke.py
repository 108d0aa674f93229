"""Every benchmark runs at a tiny size and computes the right answer; no figure is judged here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import asks
from benchmarks._cases import BENCHMARKS
from benchmarks._growth import fit
from benchmarks._report import HEADING, README, read_json, renew, write_json
from benchmarks._runner import BASELINES, Report, Result, describe_machine
from benchmarks._spec import PEERS

MODULES = {
    "thespian": "thespian",
    "xoscar": "xoscar",
    "autogen": "autogen_core",
    "langgraph": "langgraph",
}
TINY = 0.002


def is_missing(peer: str) -> bool:
    """The peers come with the extra `bench` and Erlang with the machine; the tests do without."""
    if peer == "erlang":
        return shutil.which("erlc") is None
    return peer in MODULES and find_spec(MODULES[peer]) is None


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **environment},
    )


CASES = [
    pytest.param(name, peer, id=f"{name} on {peer}")
    for name, benchmark in BENCHMARKS.items()
    for peer in benchmark.cases
    if not is_missing(peer)
]


@pytest.mark.slow
# Sockets and loops that peers leave to the garbage collector are not ours to judge.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "peer"), CASES)
def test_it_runs_at_tiny_size(name: str, peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asks, "MODEL_SECONDS", 0.01)
    monkeypatch.setattr("benchmarks.growth.FLAT_MESSAGES", 200)
    monkeypatch.setattr("benchmarks.erlang.FLAT_MESSAGES", 200)
    monkeypatch.setattr("benchmarks.growth.FLAT_CHILDREN", 20)
    benchmark = BENCHMARKS[name]
    # In this process: what a fresh one would add is start-up time, not correctness.
    measured = benchmark.cases[peer].run(**benchmark.sized(TINY))
    assert measured.items > 0
    assert measured.seconds > 0


def test_the_issue_of_the_suite_is_covered() -> None:
    savina = (
        "count pingpong threadring fjcreate fjthrput big bndbuffer chameneos banking philosopher"
    )
    asked = "ask-thread ask-actor ask-async gather-1 gather-10 gather-100 gather-10000"
    rest = "spawn idle waiting step-pipeline budget log fairness stress-mixed"
    slopes = "slope-actors slope-messages slope-children"
    simulated = "simulate-messages simulate-start simulate-broadcast"
    assert set(f"{savina} {asked} {rest} {slopes} {simulated}".split()) <= set(BENCHMARKS)
    assert {peer for benchmark in BENCHMARKS.values() for peer in benchmark.cases} == set(PEERS)
    for name in savina.split():
        assert {"callboard", "pykka", "asyncio", "deque", "erlang"} <= set(BENCHMARKS[name].cases)


@pytest.mark.slow
def test_the_command_measures_in_fresh_processes_and_renews_the_readme(tmp_path: Path) -> None:
    out, page = tmp_path / "results.json", tmp_path / "README.md"
    peers = "callboard,pykka,asyncio,deque,thespian"
    words = ["pingpong", "slope-children", "--quick", "--peers", peers]
    ended = run(*words, "--json", str(out))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Read first"), "the caveats come first"
    written = json.loads(out.read_text())
    assert written["machine"]["cores"] > 0
    assert written["machine"]["packages"]["pykka"]
    results = {(row["benchmark"], row["peer"]): row for row in written["results"]}
    assert results["pingpong", "callboard"]["median"] > 0
    assert set(results["pingpong", "callboard"]["ratios"]) == set(BASELINES)
    assert results["slope-children", "callboard"]["slope"]["ratio"] >= 1
    for (_, peer), row in results.items():
        if is_missing(peer):
            assert row["problem"].startswith("not installed: ")
        else:
            assert not row["problem"]

    page.write_text(f"# Before\n\n{HEADING}\n\nold figures\n\n## After\n\nkept\n")
    renew(read_json(out), page)
    text = page.read_text()
    assert text.startswith(f"# Before\n\n{HEADING}\n\nCPython")
    assert "old figures" not in text
    assert "| pingpong (messages) | callboard |" in text
    assert "| slope-children (actors) | callboard |" in text
    assert text.endswith("\n\n## After\n\nkept\n")


@pytest.mark.slow
def test_a_peer_that_is_missing_is_reported_and_no_error() -> None:
    ended = run("count", "--quick", "--peers", "erlang", PATH="")
    assert ended.returncode == 0, ended.stderr
    assert "not installed: erl" in ended.stdout


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A file as `--json` writes it."""
    path = tmp_path / "results.json"
    rows = [Result("count", "messages", p, (9.0,), 9.0) for p in ("callboard", "pykka", "asyncio")]
    growth = {1: 0.5, 10: 0.6}
    rows.append(
        Result("slope-actors", "messages", "deque", (9.0,), 9.0, growth=growth, slope=fit(growth))
    )
    rows.append(Result("count", "messages", "xoscar", problem="not installed: xoscar"))
    write_json(Report(describe_machine(), 1, 1.0, rows), path)
    return path


@pytest.mark.slow
def test_results_of_a_file_are_drawn_without_measuring(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "results.png"
    ended = run("--from", str(results), "--plot", str(picture))
    assert ended.returncode == 0, ended.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_readme_has_the_place_that_is_renewed() -> None:
    assert f"\n{HEADING}\n" in README.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["pingpong", "--peers", "pykka,strange"],
        ["pingpong", "--peers", "pykka strange"],
        ["pingpong", "--peers", "pykka", "--peers", "strange"],
        ["strange", "--peers", "pykka"],
    ],
    ids=" ".join,
)
def test_an_unknown_name_is_refused_with_the_names_there_are(words: list[str]) -> None:
    ended = run(*words)
    assert ended.returncode == 2
    assert "strange" in ended.stderr
    assert ("asyncio" if words[0] == "pingpong" else "pingpong") in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("given", [["callboard,asyncio"], ["callboard", "asyncio"]], ids=" ".join)
def test_peers_are_taken_with_commas_and_with_spaces(results: Path, given: list[str]) -> None:
    ended = run("--from", str(results), "count", "--peers", *given)
    assert ended.returncode == 0, ended.stderr
    shown = ended.stdout.partition("spread over the rounds")[2]
    assert "asyncio" in shown.replace("x asyncio", "")
    assert "pykka" not in shown.replace("x pykka", "")


def test_a_flat_series_has_slope_zero_and_a_linear_one_has_slope_one() -> None:
    sizes = [10**e for e in range(6)]
    flat, linear = fit(dict.fromkeys(sizes, 0.5)), fit({n: 2.0 * n for n in sizes})
    assert flat is not None
    assert linear is not None
    assert (flat.exponent, flat.ratio) == pytest.approx((0, 1))
    assert (linear.exponent, linear.ratio) == pytest.approx((1, 100_000))
    assert fit({1: 0.5}) is None
