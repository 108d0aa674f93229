"""The actors of a chaos run, and the book in which they write what happened to them."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from actors import Actor, CallboardError, Supervision, Terminated
from tests.actors.chaos.plan import Node, Plan, roll

TOLERANT = Supervision(intensity=1_000_000_000, period=0.001)


class Boom(Exception):
    """The failure that is meant."""


class Life:
    """The record of one instance."""

    def __init__(self, path: str, number: int) -> None:
        self.path, self.number = path, number
        self.built = False
        self.ended: str | None = None
        self.inside: str | None = None


class Book:
    """What happened, as far as it is judged."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lock = threading.Lock()
        self.wrong: list[str] = []
        self.lives: list[Life] = []
        self.count: collections.Counter[str] = collections.Counter()
        self.numbers: collections.Counter[str] = collections.Counter()
        self.outcomes: collections.Counter[str] = collections.Counter()

    def complain(self, text: str) -> None:
        with self.lock:
            self.wrong.append(text)

    def new_life(self, path: str) -> Life:
        with self.lock:
            self.numbers[path] += 1
            life = Life(path, self.numbers[path])
            self.lives.append(life)
        return life

    @contextlib.contextmanager
    def hook(self, life: Life, name: str, last: bool = False) -> Iterator[None]:
        """Note that a hook runs: one at a time, and none after the last."""
        if life.ended:
            self.complain(f"undead: {name} of {life.path} ran after {life.ended}")
        if life.inside:
            self.complain(f"{name} of {life.path} ran inside of {life.inside}")
        if last:
            life.ended = name
        life.inside = name
        try:
            yield
        finally:
            life.inside = None


class Chaotic(Actor):
    """Does what a message's number and its own name say."""

    supervision = TOLERANT
    stash_capacity = 20

    def __init__(self, run: Any, node: Node):
        super().__init__()
        self.run, self.node, self.book = run, node, run.book
        self.life = self.book.new_life(self.actor_ref.path)
        self.put_aside: set[int] = set()
        if run.rough and self.fails("init"):
            raise Boom("init")
        self.life.built = True

    def fails(self, hook: str) -> bool:
        return hook in self.node.fragile and self.chance(hook, self.life.number) < 0.1

    def chance(self, *of: object) -> float:
        return roll(self.book.plan.seed, self.node.path, *of)

    def pick(self, number: int, what: str) -> Any:
        nodes = self.book.plan.nodes
        return self.run.find(int(self.chance(number, what) * len(nodes)))

    def grow(self) -> None:
        living = {child.name for child in self.children}
        for n in self.node.below:
            if f"n{n}" not in living:
                with contextlib.suppress(Boom, CallboardError):
                    self.spawn(self.run.spec(n))

    # What each hook does, in sync and async actors alike.

    def started(self) -> None:
        if self.run.rough and self.fails("start"):
            raise Boom("start")
        self.grow()
        if self.chance("timer", self.life.number) < 0.1:
            self.timers.start("beat", ("beat", 0), after=0.01, every=True)

    def stopped(self) -> None:
        if self.run.rough and self.fails("stop"):
            raise Boom("stop")

    def on_failure(self, exception_type, exception_value, traceback):
        with self.book.hook(self.life, "on_failure", last=True):
            if self.run.rough and self.fails("failure"):
                raise Boom("failure")

    def handle(self, message: Any) -> Any:
        """Do what needs no waiting; return the answer."""
        if type(message) is Terminated:
            return None
        what, number = message
        if not self.run.rough and what not in {"unstash", "regrow"}:
            return number  # the end: no more mischief
        match what:
            case "crash" | "crash_later":
                raise Boom(number)
            case "exit":
                raise SystemExit(number)
            case "end":
                self.stop()
            case "later" | "owe":
                with contextlib.suppress(CallboardError):
                    future = self.reply_later()
                    if what == "later":
                        self.run.answer_soon(future, number)
            case "stash":
                if number not in self.put_aside:
                    self.put_aside.add(number)
                    self.stash()
            case "unstash":
                self.unstash_all()
            case "child":
                if len(self.children) < 30:
                    self.run.watch(self.spawn(self.run.extra(number)))
            case "tell":
                if (ref := self.pick(number, "told")) is not None:
                    ref.tell(("echo", number))
            case "timer":
                self.timers.start("once", ("beat", number), after=self.chance(number) / 100)
            case "beat":
                if self.chance("beat", number, self.life.number) < 0.05:
                    raise Boom("timer")
            case "regrow":
                self.grow()
            case "deep":
                self.fall(0)
        return number

    def fall(self, depth: int) -> None:
        # Deep, but not to the end of the stack.
        if depth < 200:
            self.fall(depth + 1)
        elif (ref := self.pick(depth, "deep")) is not None:
            ref.tell(("echo", -1))


class Sync(Chaotic):
    def on_start(self):
        with self.book.hook(self.life, "on_start"):
            self.started()

    def on_receive(self, message):
        with self.book.hook(self.life, "on_receive"):
            what = message[0] if type(message) is tuple else ""
            if what in {"rest", "limit"} and self.run.rough:
                time.sleep(0.0002)
            elif what in {"ask", "gather"} and self.run.rough:
                ref = self.pick(message[1], "asked")
                if ref is not None:
                    with contextlib.suppress(CallboardError, Boom, SystemExit):
                        return ref.ask(("echo", message[1]), timeout=0.1) and message[1]
            return self.handle(message)

    def on_stop(self):
        with self.book.hook(self.life, "on_stop", last=True):
            self.stopped()


class Async(Chaotic):
    async def on_start(self):
        with self.book.hook(self.life, "on_start"):
            if self.chance(self.life.number) < 0.3:
                await asyncio.sleep(0)
            self.started()

    async def on_receive(self, message):
        with self.book.hook(self.life, "on_receive"):
            what, number = message if type(message) is tuple else ("", 0)
            if self.run.rough:
                await self.wait(what, number)
            return self.handle(message)

    async def wait(self, what: str, number: int) -> None:
        match what:
            case "rest" | "crash_later":
                await asyncio.sleep(self.chance(number, "rest") / 500)
            case "gather":
                await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.0005))
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0))
            case "limit":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.chance(number, "limit") / 500):
                        await asyncio.sleep(0.001)
            case "ask":
                ref = self.pick(number, "asked")
                if ref is not None:
                    with contextlib.suppress(CallboardError, Boom, SystemExit):
                        await ref.request(("echo", number), timeout=0.1)
            case "odd":
                with contextlib.suppress(RuntimeError):
                    await Odd()
            case "cancel_self":
                asyncio.current_task().cancel()
                await asyncio.sleep(0)

    async def on_stop(self):
        with self.book.hook(self.life, "on_stop", last=True):
            if self.chance("slow end", self.life.number) < 0.1:
                await asyncio.sleep(0)
            self.stopped()


class Odd:
    def __await__(self):
        yield 42


class Watcher(Actor):
    """Never fails, and counts what it hears of each actor that it was told to watch."""

    def __init__(self):
        super().__init__()
        self.heard: dict[Any, int] = {}

    def on_receive(self, message):
        match message:
            case Terminated(ref=ref):
                self.heard[ref] += 1
            case "heard":
                return dict(self.heard)
            case ref if ref not in self.heard:
                self.heard[ref] = 0
                self.watch(ref)
        return None
