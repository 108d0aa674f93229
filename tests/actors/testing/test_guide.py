"""The examples of the guide to testing do what is said of them, in real sessions of pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "actors" / "testing" / "README.md").read_text(encoding="utf-8")


def blocks(heading, language):
    """The fenced blocks of a language below a heading."""
    section = re.split(rf"^### {re.escape(heading)}$", GUIDE, flags=re.MULTILINE)[1]
    section = re.split(r"^##", section, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


@pytest.fixture
def session(tmp_path):
    """Run pytest on the code of an example; returns exit code and output."""

    def run(name, code, *options):
        (tmp_path / name).write_text(code)
        (tmp_path / "pytest.ini").write_text(
            "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"
        )
        env = {key: value for key, value in os.environ.items() if key != "CI"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, name],
            cwd=tmp_path,
            env={**env, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_there_are_four_examples():
    assert len(re.findall(r"^### \d\. ", GUIDE, re.MULTILINE)) == 4


def test_the_first_example_passes_and_finds_a_ticket_that_is_forgotten(session):
    (code,) = blocks("1. An agent, its model and its neighbours", "python")
    status, out = session("test_triage.py", code)
    assert status == 0, out
    status, out = session(
        "test_triage.py", code.replace('self.on_call.tell(("unknown", ticket))', "pass")
    )
    assert status == 1
    assert "expected ('unknown', 'the printer is slow')" in out


def test_the_second_example_fails_as_it_is_shown_and_replays(session):
    heading = "2. A race, found and replayed"
    (code,), (shown,) = blocks(heading, "python"), blocks(heading, "text")
    status, out = session("test_orders.py", code)
    took = re.compile(r", [\d.]+ s\)")
    assert status == 1
    assert took.sub(")", shown) in took.sub(")", out)
    status, replayed = session("test_orders.py", code, "--simulate-seed=0")
    assert status == 1
    digest = re.search(r"sha256 \w+", out)[0]
    assert digest in replayed


def test_the_third_example_passes_and_finds_a_budget_that_does_not_hold(session):
    (code,) = blocks("3. A team under a budget, while everything goes wrong", "python")
    status, out = session("test_readers.py", code)
    assert status == 0, out
    unlimited = code.replace('max_usd="0.10"', 'max_usd="0.01"')
    status, out = session("test_readers.py", unlimited)
    assert status == 1
    assert "--simulate-seed=" in out


def test_the_fourth_example_is_stored_compared_and_told_by_its_class(session):
    heading = "4. A run that has to stay as it was"
    (code,), (shown,) = blocks(heading, "python"), blocks(heading, "text")
    status, out = session("test_newsroom.py", code)
    assert status == 1
    assert "no run is stored" in out
    assert session("test_newsroom.py", code, "--snapshot-update")[0] == 0
    assert session("test_newsroom.py", code)[0] == 0
    dearer = code.replace('cost_usd="0.10"', 'cost_usd="0.14"')
    status, out = session("test_newsroom.py", dearer)
    assert status == 1
    assert shown.strip() in out


def test_the_example_of_the_projects_readme_passes(session):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    section = page.partition("## Tests of a team\n")[2]
    status, out = session("test_team.py", re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])
    assert status == 0, out
