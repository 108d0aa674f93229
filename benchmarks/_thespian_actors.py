"""thespian's side: classes at module level, since it may load them by name."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from thespian.actors import Actor, ActorSystem

from benchmarks._spec import check

__all__ = ["run_count", "run_pingpong"]

SIMPLE = "simpleSystemBase"
"""All actors in this process and thread: thespian without its transports, its fastest form."""


class Counter(Actor):  # type: ignore[misc]
    seen = 0

    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - thespian's name
        if message == "get":
            self.send(sender, self.seen)
        elif isinstance(message, int):
            self.seen += 1


class Pong(Actor):  # type: ignore[misc]
    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - thespian's name
        if isinstance(message, int):
            self.send(sender, message)


class Ping(Actor):  # type: ignore[misc]
    def receiveMessage(self, message: Any, sender: Any) -> None:  # noqa: N802 - thespian's name
        if isinstance(message, tuple):
            self.asker = sender
            self.pong, self.left = message
            self.send(self.pong, self.left)
        elif isinstance(message, int):
            self.left -= 1
            if self.left:
                self.send(self.pong, self.left)
            else:
                self.send(self.asker, "done")


def run_count(messages: int) -> float:
    system = ActorSystem(SIMPLE)
    try:
        counter = system.createActor(Counter)
        began = time.perf_counter()
        for i in range(messages):
            system.tell(counter, i)
        check(system.ask(counter, "get", timedelta(seconds=120)), messages)
        return time.perf_counter() - began
    finally:
        system.shutdown()


def run_pingpong(pings: int) -> float:
    system = ActorSystem(SIMPLE)
    try:
        pong, ping = system.createActor(Pong), system.createActor(Ping)
        began = time.perf_counter()
        check(system.ask(ping, (pong, pings), timedelta(seconds=120)), "done")
        return time.perf_counter() - began
    finally:
        system.shutdown()
