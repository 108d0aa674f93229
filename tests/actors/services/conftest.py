from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors import ActorSystem

ROOT = Path(__file__).parents[3]


@pytest.fixture
def system():
    with ActorSystem() as running:
        yield running


@pytest.fixture
def program():
    """Start Python code in a process of its own; what is left of it is killed at the end."""
    started = []

    def start(code: str, *args: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", code, *map(str, args)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
