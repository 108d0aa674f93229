"""How cost grows: with actors that are alive, messages that wait, and children of one actor.

Each size handles the same number of items, so that what is paid once (a thread, a wake-up, the last
wait) weighs equally little in all of them, and the figure at size 1 is that of an item, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks._runtimes import PATIENCE, RUNTIMES, Runtime
from benchmarks._spec import Measurement, case, check, define

__all__ = ["FLAT_MESSAGES", "sizes", "slope_actors", "slope_messages"]

slope_actors = define("slope-actors", "messages", "callboard", {"actors": 1_000_000}, ("actors",))
slope_messages = define(
    "slope-messages", "messages", "callboard", {"messages": 100_000}, ("messages",)
)
slope_children = define(
    "slope-children", "actors", "callboard", {"children": 10_000}, ("children",)
)

FLAT_MESSAGES = 100_000
"""Messages that each size handles, at least."""

FLAT_CHILDREN = 10_000
"""Actors that each size starts and stops, about."""


def sizes(most: int) -> Iterator[int]:
    """1, 10, 100, … up to `most`."""
    n = 1
    while n <= most:
        yield n
        n *= 10


def _grown(most: int, measure: Callable[[int], tuple[float, int]]) -> Measurement:
    """Measure each size.

    Args:
        most: the largest.
        measure: from a size to seconds and items.
    """
    measure(1)  # code is slower the first few thousand times
    growth: dict[int, float] = {}
    total_seconds, total = 0.0, 0
    for n in sizes(most):
        seconds, done = measure(n)
        growth[n] = 1e6 * seconds / done
        total_seconds += seconds
        total += done
    return Measurement(total_seconds, total, growth=growth)


def _tell_each(runtime: Runtime, actors: int) -> tuple[float, int]:
    """Tell each of n living actors in turn, again and again."""
    rounds = max(1, FLAT_MESSAGES // actors)
    lock = threading.Lock()
    unfinished = [actors]

    class Counting(runtime.base):  # type: ignore[name-defined,misc]
        left = rounds

        def on_receive(self, message: Any) -> None:
            self.left -= 1
            if not self.left:
                with lock:
                    unfinished[0] -= 1
                    last = not unfinished[0]
                if last:
                    runtime.finish(actors - unfinished[0])

    refs = [runtime.spawn(Counting) for _ in range(actors)]
    began = time.perf_counter()
    for _ in range(rounds):
        for ref in refs:
            ref.tell(1)
    check(runtime.wait(), actors)
    return time.perf_counter() - began, rounds * actors


def _circulate(runtime: Runtime, waiting: int) -> tuple[float, int]:
    """One actor with n messages in its mailbox, each of which it sends to itself again."""

    class Circulating(runtime.base):  # type: ignore[name-defined,misc]
        left = FLAT_MESSAGES
        began = 0.0

        def on_receive(self, message: Any) -> None:
            if message is None:
                for i in range(waiting):
                    self.actor_ref.tell(i)
                self.began = time.perf_counter()
                return
            self.left -= 1
            if self.left > 0:
                self.actor_ref.tell(message)
            elif not self.left:
                runtime.finish((time.perf_counter() - self.began, message))

    runtime.spawn(Circulating).tell(None)
    seconds, last = runtime.wait()
    check(last, (FLAT_MESSAGES - 1) % waiting)  # they come in order
    return seconds, FLAT_MESSAGES


def _enter(peer: str, *, most_actors: float = 1.0) -> None:
    opened, _ = RUNTIMES[peer]

    def on(body: Callable[[Runtime, int], tuple[float, int]], most: int) -> Measurement:
        def measure(n: int) -> tuple[float, int]:
            with opened() as runtime:
                return body(runtime, n)

        return _grown(most, measure)

    @case(slope_actors, peer, share=most_actors)
    def growing_actors(actors: int) -> Measurement:
        return on(_tell_each, actors)

    @case(slope_messages, peer)
    def growing_messages(messages: int) -> Measurement:
        return on(_circulate, messages)


_enter("callboard")
_enter("pykka", most_actors=0.001)  # a thread each
_enter("asyncio", most_actors=0.1)
_enter("deque")


@case(slope_children, "callboard")
def _slope_children(children: int) -> Measurement:
    """Trees of a parent and n children, started and stopped; the parent counts, too."""
    from actors import Actor, ActorSystem, get_all

    class Child(Actor):
        def on_receive(self, message: Any) -> Any:
            return message

    def measure(n: int) -> tuple[float, int]:
        trees = max(1, FLAT_CHILDREN // (n + 1))
        counts: list[int] = []

        class Parent(Actor):
            def on_receive(self, message: Any) -> None:
                for _ in range(message):
                    self.spawn(Child)
                counts.append(len(self.children))

        with ActorSystem("bench") as system:
            began = time.perf_counter()
            parents = [system.spawn(Parent) for _ in range(trees)]
            for parent in parents:
                parent.tell(n)
            get_all([parent.stop(block=False) for parent in parents], timeout=PATIENCE)
            seconds = time.perf_counter() - began
            check(counts, [n] * trees)
            check(system.stats().actors, 0)
        return seconds, trees * (n + 1)

    return _grown(children, measure)
