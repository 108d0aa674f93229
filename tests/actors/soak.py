"""A soak: messages, spawns and restarts by the million in one process, and what is left of them.

    python tests/actors/soak.py --messages 20000000 --spawns 200000 --restarts 20000

The work comes in rounds that are all alike: tells and asks, sync and async; short-lived actors with
children, watchers, timers and requests; actors that crash and are restarted. Resident memory in the
last quarter of the rounds must be within 2 % of that in the second quarter, and when the system has
shut down, no thread, task, file descriptor or weak reference may be left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import statistics
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import msgspec

from actors import Actor, ActorSystem, Bounded, ChildSpec, Supervision, Terminated

PAGE = os.sysconf("SC_PAGE_SIZE")
TOLERANT = Supervision(intensity=1_000_000_000, period=0.001)
ROUNDS = 40
DRIFT = 0.02
SAMPLE = 997
"""Every so many-th actor is remembered by a weak reference."""


def resident() -> int:
    """Return the bytes of memory that the process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Sink(Actor):
    def __init__(self):
        super().__init__()
        self.count = 0

    def on_receive(self, message):
        self.count += 1
        return message


class SinkOnLoop(Sink):
    async def on_receive(self, message):
        if message == 100:
            await asyncio.sleep(0)
        return super().on_receive(message)


class SmallSink(Sink):
    mailbox = Bounded(100, "block")


class Mayfly(Actor):
    """Does a little of everything, with a child, and ends."""

    supervision = TOLERANT

    def __init__(self, sink):
        super().__init__()
        self.sink = sink

    def on_receive(self, message):
        if type(message) is Terminated:
            self.stop()
            return None
        self.timers.start("never", "message", after=3600)
        self.watch(self.sink)
        child = self.spawn(ChildSpec(type(self).child, restart="temporary"))
        self.watch(child)
        self.timers.start("often", child, after=3600, every=True)
        child.stop(block=False)
        return message


class MayflyOnLoop(Mayfly):
    async def on_receive(self, message):
        return super().on_receive(message)


Mayfly.child = Sink
MayflyOnLoop.child = SinkOnLoop


class Crashing(Actor):
    def on_receive(self, message):
        if message == "crash":
            raise ValueError(message)
        return message


class CrashingOnLoop(Crashing):
    async def on_receive(self, message):
        return super().on_receive(message)


class Report(msgspec.Struct, frozen=True):
    """What a soak found.

    Attributes:
        seconds: how long all rounds took.
        handled: messages.
        actors: how many lived.
        restarts: how many there were.
        second, last: median bytes of resident memory in those quarters of the rounds.
        left: what should be gone and is not.
    """

    seconds: float
    handled: int
    actors: int
    restarts: int
    second: float
    last: float
    left: tuple[str, ...]

    @property
    def drift(self) -> float:
        """By which part memory has grown between the two quarters."""
        return self.last / self.second - 1


class Soak:
    """The rounds, and the actors that live through all of them."""

    def __init__(self, system: ActorSystem, messages: int, spawns: int, restarts: int) -> None:
        self.system = system
        self.messages, self.spawns, self.restarts = messages, spawns, restarts
        self.sinks: list[Any] = [
            system.spawn(Sink),
            system.spawn(SinkOnLoop),
            system.spawn(SmallSink),
            system.spawn(ChildSpec(Sink, dispatcher="pinned")),
        ]
        self.crashing = [system.spawn(cls) for cls in (Crashing, CrashingOnLoop)]
        self.refs: list[weakref.ref[Any]] = []
        self.born = 0

    def remember(self, ref: Any) -> None:
        self.born += 1
        if self.born % SAMPLE == 0:
            self.refs.append(weakref.ref(ref._cell))
            if (instance := ref._cell.instance) is not None:
                self.refs.append(weakref.ref(instance))

    def round(self) -> None:
        self.send(self.messages // ROUNDS)
        self.spawn(self.spawns // ROUNDS // 2)
        self.crash(self.restarts // ROUNDS)

    def send(self, messages: int) -> None:
        # Nine tenths are told, in bursts that are waited for; the rest is asked.
        burst = 2_000
        for sink in self.sinks:
            for _ in range(-(messages * -9 // 10 // len(self.sinks) // burst)):
                tell = sink.tell
                for n in range(burst):
                    tell(n)
                sink.ask(0)
        for n in range(messages // 40 + 1):
            for sink in self.sinks:
                sink.ask(n) if n % 8 else sink.request(n, timeout=60).get()

    def spawn(self, pairs: int) -> None:
        for start in range(0, pairs, 100):
            refs = [
                self.system.spawn(
                    ChildSpec((Mayfly, MayflyOnLoop)[n % 2], (self.sinks[0],), restart="temporary")
                )
                for n in range(min(100, pairs - start))
            ]
            for ref in refs:
                self.remember(ref)
                ref.request("live").get(timeout=60)
            for ref in refs:
                ref.stop(timeout=60)

    def crash(self, times: int) -> None:
        for n in range(times):
            ref = self.crashing[n % 2]
            ref.tell("crash")
            ref.ask("are you back?")


def settled(system: ActorSystem) -> None:
    until = time.monotonic() + 60
    while system.stats().waiting:
        assert time.monotonic() < until, system.stats()
        time.sleep(0.001)


def soak(messages: int, spawns: int, restarts: int, say: Any = lambda _: None) -> Report:
    """Run all rounds and look at what is left."""
    before = (descriptors(), set(threading.enumerate()))
    memory: list[int] = []
    began = time.monotonic()
    with ActorSystem("soak", supervision=TOLERANT) as system:
        work = Soak(system, messages, spawns, restarts)
        for n in range(ROUNDS):
            work.round()
            settled(system)
            gc.collect()
            memory.append(resident())
            say(f"round {n + 1}: {memory[-1] / 2**20:.1f} MiB, {time.monotonic() - began:.0f} s")
        seconds = time.monotonic() - began
        stats = system.stats()
        born = system._born.value
        restarted = sum(ref._cell.restarts for ref in work.crashing)
        loop = system._loop
    refs, left = work.refs, []
    tasks = [task for task in asyncio.all_tasks(loop.loop) if not task.done()]
    del work, loop, system
    gc.collect()
    if len(refs) < 2 and spawns > 4 * SAMPLE:
        left.append("no weak references were taken")
    if dead := sum(1 for ref in refs if ref() is not None):
        left.append(f"{dead} of {len(refs)} weak references")
    if threads := set(threading.enumerate()) - before[1]:
        left.append(f"threads {[thread.name for thread in threads]}")
    if descriptors() != before[0]:
        left.append(f"{descriptors() - before[0]} file descriptors")
    if tasks:
        left.append(f"tasks {tasks}")
    if (stats.waiting, stats.sent) != (0, stats.handled + stats.dead):
        left.append(f"messages: {stats}")
    quarter = ROUNDS // 4
    return Report(
        seconds,
        stats.handled,
        born,
        restarted,
        statistics.median(memory[quarter : 2 * quarter]),
        statistics.median(memory[-quarter:]),
        tuple(left),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run a soak; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=20_000_000)
    parser.add_argument("--spawns", type=int, default=200_000)
    parser.add_argument("--restarts", type=int, default=20_000)
    parser.add_argument("--drift", type=float, default=DRIFT, help="tolerated growth of memory")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(arguments)

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        with contextlib.suppress(OSError):
            sys.stdout.flush()

    report = soak(
        options.messages,
        options.spawns,
        options.restarts,
        say if options.verbose else lambda _: None,
    )
    say(
        f"{report.handled:,} messages, {report.actors:,} actors, {report.restarts:,} restarts"
        f" in {report.seconds:.0f} s"
    )
    say(
        f"memory {report.second / 2**20:.1f} MiB in the second quarter,"
        f" {report.last / 2**20:.1f} MiB in the last ({report.drift:+.2%})"
    )
    for text in report.left:
        say(f"left: {text}")
    return int(bool(report.left) or report.drift > options.drift)


if __name__ == "__main__":
    sys.exit(main())
