"""Chaos: a tree of actors that fail in every way, while threads and loops do everything to them.

    python -m tests.actors.chaos --seed 1 --seconds 60 --actors 500

The plan (the tree, what each actor is, what each driver does in which order, and which message or
life of which actor fails) is a pure function of the seed; only the interleaving is the machine's.
What must hold at the end is in `Run.judge`. A failure prints the line that replays it.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import faulthandler
import itertools
import sys
import threading
import time
import zlib
from typing import Any

import msgspec

from actors import ActorSystem, CallboardError, ChildSpec
from tests.actors.chaos.cast import TOLERANT, Async, Book, Boom, Sync, Watcher
from tests.actors.chaos.plan import TOP, Deed, Plan, build

PATIENCE = 30.0
"""Seconds within which everything has to have come to rest."""

WATCHERS = 8


class Run:
    """One execution of a plan."""

    def __init__(self, plan: Plan, seconds: float) -> None:
        self.plan, self.seconds = plan, seconds
        self.book = Book(plan)
        self.rough = True
        self.over = threading.Event()
        self.system: Any = None
        self.pending: collections.deque[tuple[Any, Deed]] = collections.deque()
        self.owed: collections.deque[tuple[Any, Deed]] = collections.deque()
        self.extras = itertools.count()
        self.watchers: list[Any] = []
        self.promises: collections.deque[tuple[Any, int]] = collections.deque()

    # What the actors use.

    def spec(self, n: int) -> ChildSpec:
        node = self.plan.nodes[n]
        return ChildSpec(
            Async if node.kind == "async" else Sync,
            (self, node),
            name=f"n{n}",
            restart=node.restart,
            shutdown=node.shutdown,
            mailbox=node.mailbox,
            dispatcher="pinned" if node.kind == "pinned" else None,
            significant=node.significant,
            crash_on=(Boom,) if node.crash_on else (),
        )

    def extra(self, number: int) -> ChildSpec:
        """Return a leaf that is not in the tree of the plan."""
        node = msgspec.structs.replace(
            self.plan.nodes[number % len(self.plan.nodes)], below=(), path=f"extra{number}"
        )
        cls = Sync if number % 2 else Async
        return ChildSpec(cls, (self, node), restart="temporary")

    def find(self, n: int) -> Any:
        return self.system.find(self.plan.nodes[n].path)

    def answer_soon(self, future: Any, number: int) -> None:
        self.promises.append((future, number))

    def watch(self, ref: Any) -> None:
        self.watchers[zlib.crc32(ref.path.encode()) % WATCHERS].tell(ref)

    def keep_promises(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                future, number = self.promises.popleft()
                future.try_set(number)

    # What the drivers do.

    def note(self, deed: Deed, outcome: Any) -> None:
        """Judge what a request came to."""
        if isinstance(outcome, BaseException):
            if not isinstance(outcome, (CallboardError, Boom, SystemExit, asyncio.CancelledError)):
                self.book.complain(f"{deed} came to {outcome!r}")
            self.book.outcomes[type(outcome).__name__] += 1
        elif outcome != deed.number:
            self.book.complain(f"{deed} was answered {outcome!r}")
        else:
            self.book.outcomes["answered"] += 1

    def request(self, ref: Any, deed: Deed) -> Any:
        future = ref.request((deed.message, deed.number), timeout=deed.timeout)
        (self.owed if deed.message in {"owe", "stash"} else self.pending).append((future, deed))
        return future

    def do(self, deed: Deed) -> Any:
        """Do what needs no waiting; return the future of what does."""
        ref = self.find(deed.target)
        if ref is None:
            # Its nearest relation that lives may bring it back.
            path = self.plan.nodes[deed.target].path
            while path.count("/") > 1 and ref is None:
                path = path.rpartition("/")[0]
                ref = self.system.find(path)
            if ref is None:
                with contextlib.suppress(Boom):
                    self.system.spawn(self.spec(int(path[2:])))
            else:
                ref.tell(("regrow", deed.number))
            return None
        message = (deed.message, deed.number)
        match deed.what:
            case "tell":
                ref.tell(message)
            case "burst":
                for _ in range(50):
                    ref.tell(("echo", deed.number))
            case "ask" | "request":
                return self.request(ref, deed)
            case "cancel":
                self.request(ref, deed).cancel()
            case "kill":
                ref.kill()
            case "stop":
                return ref.stop(block=False)
            case "stop_now":
                return ref.stop(block=False, drain=False)
            case "watch":
                self.watch(ref)
            case "unheard":
                ref.request(message)  # nobody keeps the future
            case "regrow":
                ref.tell(("regrow", deed.number))
            case "look":
                stats = self.system.stats()
                if stats.waiting < 0 or stats.sent != stats.handled + stats.dead + stats.waiting:
                    self.book.complain(f"out of balance: {stats}")
                self.system.tree()
        return None

    def drive_thread(self, driver: int) -> None:
        for deed in self.plan.deeds(driver):
            if self.over.is_set():
                return
            self.book.count[deed.what] += 1
            try:
                future = self.do(deed)
                if future is None or deed.message in {"owe", "stash", "later"}:
                    self.keep_promises()
                elif deed.what == "ask":
                    future.get(timeout=0.5)
            except (CallboardError, Boom, SystemExit):
                pass

    async def drive_loop(self, driver: int) -> None:
        tasks: collections.deque[asyncio.Task[Any]] = collections.deque()

        async def wait_for(future: Any) -> None:
            with contextlib.suppress(CallboardError, Boom, SystemExit):
                await future

        for deed in self.plan.deeds(driver):
            if self.over.is_set():
                break
            self.book.count[deed.what] += 1
            try:
                future = self.do(deed)
                if deed.what == "cancel_drivers" and self.plan.drivers[driver] == "home":
                    for other in list(self.system._loop._drivers)[:3]:
                        other.task.cancel()
                elif future is None or deed.message in {"owe", "stash", "later"}:
                    self.keep_promises()
                elif deed.what == "ask":
                    async with asyncio.timeout(0.5):
                        await future
                else:
                    tasks.append(asyncio.create_task(wait_for(future)))
                if len(tasks) > 20:
                    tasks.popleft().cancel()
                if deed.number % 50 == driver:
                    await asyncio.sleep(0)
            except (CallboardError, Boom, SystemExit, TimeoutError):
                pass
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # From the beginning to the end.

    def execute(self) -> Book:
        before = set(threading.enumerate())
        begun, done = threading.Event(), threading.Event()
        system = ActorSystem("chaos", supervision=TOLERANT)

        async def at_home() -> None:
            async with system:
                homes = [n for n, kind in enumerate(self.plan.drivers) if kind == "home"]
                await asyncio.to_thread(self.begin, system)
                begun.set()
                await asyncio.gather(*(self.drive_loop(n) for n in homes))
                await asyncio.to_thread(done.wait)
            if left := asyncio.all_tasks() - {asyncio.current_task()}:
                self.book.complain(f"tasks are left: {left}")

        home = threading.Thread(target=lambda: asyncio.run(at_home()), daemon=True)
        if self.plan.home:
            home.start()
            begun.wait(PATIENCE)
        else:
            self.begin(system)
        threads = []
        for n, kind in enumerate(self.plan.drivers):
            if kind == "thread":
                threads.append(threading.Thread(target=self.guarded, args=(self.drive_thread, n)))
            elif kind == "loop":
                threads.append(
                    threading.Thread(
                        target=self.guarded, args=(lambda n: asyncio.run(self.drive_loop(n)), n)
                    )
                )
        for thread in threads:
            thread.daemon = True
            thread.start()
        time.sleep(self.seconds)
        self.over.set()
        until = time.monotonic() + PATIENCE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self.book.complain("a driver hangs")
        if not self.book.wrong:
            self.judge(done, home)
        left = [t.name for t in set(threading.enumerate()) - before if t.is_alive()]
        if left and not self.book.wrong:
            self.book.complain(f"threads are left: {left}")
        return self.book

    def guarded(self, drive: Any, n: int) -> None:
        try:
            drive(n)
        except BaseException as error:
            self.book.complain(f"driver {n} ended with {error!r}")
            raise

    def begin(self, system: ActorSystem) -> None:
        self.system = system
        self.watchers.extend(system.spawn(Watcher, name=f"w{n}") for n in range(WATCHERS))
        for n in range(min(TOP, len(self.plan.nodes))):
            with contextlib.suppress(Boom):
                system.spawn(self.spec(n))

    def within(self, what: str, holds: Any) -> bool:
        until = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > until:
                self.book.complain(f"not within {PATIENCE:g} seconds: {what}")
                return False
            time.sleep(0.002)
        return True

    def living(self) -> list[Any]:
        paths = []

        def walk(node: Any) -> None:
            for child in node.children:
                paths.append(child.path)
                walk(child)

        walk(self.system.tree())
        refs = [self.system.find(path) for path in paths if not path.startswith("/system")]
        return [ref for ref in refs if ref is not None and ref.actor_class is not Watcher]

    def settle(self) -> bool:
        """Have what was put aside taken up again, and all come to rest."""

        def quiet() -> bool:
            for ref in self.living():
                with contextlib.suppress(CallboardError):
                    ref.tell(("unstash", 0))
            self.keep_promises()
            until = time.monotonic() + 1
            while time.monotonic() < until:
                if self.system.stats().waiting == 0:
                    return True
                time.sleep(0.002)
            return False

        return self.within("every message is handled or dead", quiet)

    def judge(self, done: threading.Event, home: threading.Thread) -> None:
        """Hold what happened against what was promised."""
        book, system = self.book, self.system
        self.rough = False
        if system.failure is not None:
            book.complain(f"the system failed: {system.failure!r}")
        if not self.settle():
            book.complain(f"{system.stats()}")
        self.within("every request is answered", lambda: all(f.done() for f, _ in self.pending))
        # Everybody but the watchers is told to end.
        top = [child.path for child in system.tree().children if child.kind != "Watcher"]
        stops = [ref.stop(block=False) for path in top if (ref := system.find(path)) is not None]
        self.within("what was told to stop has stopped", lambda: all(s.done() for s in stops))
        self.within(
            "nobody but the watchers lives", lambda: system.stats().actors == len(self.watchers)
        )
        stats = system.stats()
        if (stats.waiting, stats.sent) != (0, stats.handled + stats.dead):
            book.complain(f"out of balance at the end: {stats}")
        watched = 0
        for watcher in self.watchers:
            for ref, times in watcher.ask("heard", timeout=PATIENCE).items():
                watched += 1
                if times != 1:
                    book.complain(f"{watcher.path} heard {times} times of the end of {ref.path}")
        book.count["watched"] = watched
        began = time.monotonic()
        report = system.shutdown().get(timeout=PATIENCE)
        done.set()
        if self.plan.home:
            home.join(PATIENCE)
        else:
            system.__exit__(None, None, None)
        if time.monotonic() - began > 10:
            book.complain(f"the shutdown took {time.monotonic() - began:.1f} seconds")
        for future, deed in (*self.pending, *self.owed):
            if not future.done():
                book.complain(f"never answered: {deed}")
            else:
                try:
                    self.note(deed, future.get())
                except BaseException as error:
                    self.note(deed, error)
        self.judge_lives(collections.Counter(report.abandoned))
        stats = system.stats()
        book.outcomes.update(sent=stats.sent, dead=stats.dead, late=stats.late_replies)
        book.outcomes.update(abandoned=len(report.abandoned), instances=len(book.lives))

    def judge_lives(self, abandoned: collections.Counter[str]) -> None:
        for life in self.book.lives:
            if life.built and life.ended is None:
                # Exactly one last hook, unless its handler did not return in time.
                if abandoned[life.path]:
                    abandoned[life.path] -= 1
                else:
                    self.book.complain(f"no last hook of life {life.number} of {life.path}")
            elif not life.built and life.ended is not None:
                self.book.complain(f"a hook of {life.path}, which was never built")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one seed; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the drivers go on")
    parser.add_argument("--actors", type=int, default=500)
    parser.add_argument("--hectic", action="store_true", help="switch threads all the time")
    parser.add_argument("--plan", action="store_true", help="print the plan's digest and leave")
    options = parser.parse_args(arguments)
    plan = build(options.seed, options.actors)
    say(f"plan {plan.fingerprint()} of seed {plan.seed}, {len(plan.nodes)} actors")
    if options.plan:
        return 0
    if options.hectic:
        sys.setswitchinterval(1e-5)
    faulthandler.dump_traceback_later(options.seconds + 6 * PATIENCE, exit=True)
    book = Run(plan, options.seconds).execute()
    faulthandler.cancel_dump_traceback_later()
    say(f"  did {dict(book.count)}")
    say(f"  got {dict(book.outcomes)}")
    if not book.wrong:
        return 0
    say(f"FAILED: {len(book.wrong)} complaints, of which the first are")
    for text in book.wrong[:20]:
        say(f"  - {text}")
    say(
        f"replay: python -m tests.actors.chaos --seed {options.seed}"
        f" --seconds {options.seconds:g} --actors {options.actors}{' --hectic' * options.hectic}"
    )
    faulthandler.dump_traceback(sys.stdout)
    return 1


if __name__ == "__main__":
    sys.exit(main())
