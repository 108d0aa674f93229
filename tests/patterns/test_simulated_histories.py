"""The history of a whole team, with budget, log and tracing, depends on nothing but the seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import actors

RUN = """
import importlib.util
import sys
from pathlib import Path
from actors.testing import Simulation

spec = importlib.util.spec_from_file_location("team", sys.argv[1])
team = importlib.util.module_from_spec(spec)
spec.loader.exec_module(team)
for number in range(int(sys.argv[3])):
    path = Path(sys.argv[2], f"{number}.jsonl")
    with Simulation(seed=7) as sim:
        team.everything(sim, path)
sys.stdout.buffer.write(bytes(sim.history) + path.read_bytes())
"""


@pytest.mark.slow
def test_the_same_seed_gives_the_same_history_in_any_process(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN)
    team = Path(__file__).with_name("test_simulated_patterns.py")

    def history(hash_seed: str, times: str) -> bytes:
        folder = tmp_path / hash_seed
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, tmp_path / "run.py", team, folder, times],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(actors.__file__).parent.parent,
            capture_output=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    first = history("0", "1")
    assert b"LeaseOrder" in first
    assert b"late_reply" in first
    assert history("1", "1") == first
    assert history("4711", "3") == first, "nor does it matter what ran there before"
