"""The short form of the chaos run: some seeds, two seconds each, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def chaos(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.actors.chaos", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("pace", ["calm", "hectic"])
@pytest.mark.parametrize("seed", ["0", "1"], ids=["loop of a thread", "own loop"])
def test_after_chaos_all_is_answered_all_has_ended_and_nothing_is_left(seed: str, pace: str):
    done = chaos(
        "--seed", seed, "--seconds", "2", "--actors", "150", *["--hectic"] * (pace == "hectic")
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_plan_of_chaos_is_decided_by_its_seed_alone():
    first, second, other = (
        chaos("--plan", "--seed", seed, PYTHONHASHSEED=hash_seed).stdout
        for seed, hash_seed in (("7", "1"), ("7", "2"), ("8", "1"))
    )
    assert first.startswith("plan ")
    assert first == second
    assert first.split()[1] != other.split()[1]
