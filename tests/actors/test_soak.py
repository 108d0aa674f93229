"""The short form of the soak, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "soak.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_long_life_leaves_no_memory_thread_task_descriptor_or_reference_behind():
    # So short a run has warmed up late; the whole one tolerates 2 %.
    done = subprocess.run(
        [
            sys.executable,
            SCRIPT,
            *("--messages", "300000", "--spawns", "8000", "--restarts", "800", "--drift", "0.04"),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
