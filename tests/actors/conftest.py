"""What tests of the runtime share: a system that leaves no thread behind, and waiting for quiet."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator

import pykka
import pytest

import actors
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


# -- pykka's actors and ours ------------------------------------------------------------------------


@pytest.fixture(params=[pykka.ThreadingActor, actors.Actor], ids=["pykka", "ours"])
def either(request):
    yield request.param
    pykka.ActorRegistry.stop_all(timeout=20)


class Notes(list):
    """What actors write down; a test may wait for an entry."""

    def __init__(self):
        super().__init__()
        self._changed = threading.Condition()

    def append(self, item):
        with self._changed:
            super().append(item)
            self._changed.notify_all()

    def wait_for(self, item):
        with self._changed:
            assert self._changed.wait_for(lambda: item in self, 20), (item, list(self))


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def does(either):
    """An actor class whose instances do what they are sent: call it with themselves."""

    class Does(either):
        def __init__(self, notes=None):
            super().__init__()
            self.notes = notes if notes is not None else Notes()

        def on_start(self):
            self.notes.append("on_start")

        def on_stop(self):
            self.notes.append("on_stop")

        def on_failure(self, exception_type, exception_value, traceback):
            self.notes.append(("on_failure", exception_type))

        def on_receive(self, message):
            return message(self) if inspect.isfunction(message) else super().on_receive(message)

        def fail(self, kind):
            raise kind

    return Does


@pytest.fixture
def echo(either):
    class Echo(either):
        def on_receive(self, message):
            return message

    return Echo.start()


class Gate:
    """A handler that waits inside until the test lets it go on."""

    def __init__(self):
        self._entered, self._open = threading.Event(), threading.Event()

    def close(self, ref):
        ref.tell(lambda _: (self._entered.set(), self._open.wait(20)))
        assert self._entered.wait(20)

    def open(self):
        self._open.set()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open()
