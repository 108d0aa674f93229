"""What tests of the runtime share: a system that leaves no thread behind, and waiting for quiet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from actors import ActorSystem, Supervision, SystemStats

PATIENCE = 20.0
"""Seconds after which a test gives up on something that should have happened at once."""


def wait_until(holds: Callable[[], object], what: str = "the condition") -> None:
    """Poll, for the few things that nothing announces."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, f"gave up waiting until {what}"
        time.sleep(0.001)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def settled() -> Callable[[ActorSystem], SystemStats]:
    """Wait until no message waits, and return the statistics of that moment."""

    def settle(system: ActorSystem) -> SystemStats:
        wait_until(lambda: system.stats().waiting == 0, f"{system} is quiet: {system.stats()}")
        return system.stats()

    return settle


@pytest.fixture
def system() -> Iterator[ActorSystem]:
    """A system whose root tolerates whatever a test lets fail."""
    before = set(threading.enumerate())
    with ActorSystem(supervision=Supervision(intensity=10_000)) as running:
        yield running
    left = [t for t in threading.enumerate() if t not in before and t.name.startswith(running.name)]
    assert not left, f"threads are left behind: {left}"
