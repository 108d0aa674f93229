"""Everything at once: what must hold however threads, loops and endings interleave.

Each test is seeded and bounded, and ends with the balance `sent == handled + dead + waiting`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
from collections import Counter, defaultdict

import pytest
from loguru import logger

from actors import (
    Actor,
    ActorDeadError,
    ActorSystem,
    Bounded,
    CallboardError,
    ChildSpec,
    DeadLetter,
    MailboxFull,
    Supervision,
    Terminated,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

TOLERANT = Supervision(intensity=1_000_000, period=0.001)


@pytest.fixture(autouse=True, params=[5e-3, 1e-5], ids=["calm", "hectic"])
def switching(request):
    """Run with the interpreter's own pace, and with a switch of threads every few operations."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    logger.disable("actors")  # a traceback for each of ten thousand failures
    yield
    sys.setswitchinterval(before)


def run_all(*functions):
    """Run each function on a thread of its own; raise what any of them raised."""
    errors = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(45)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def assert_balanced(system, settled, eventually):
    # An order to stop stands in the user lane, too, but is no message: the counters may be at
    # rest while a supervisor still has children stopped.
    eventually(
        lambda: not sum(node.waiting for node in flatten(system.tree())), "all mailboxes are empty"
    )
    stats = settled(system)
    assert stats.sent == stats.handled + stats.dead
    return stats


def flatten(node):
    yield node
    for child in node.children:
        yield from flatten(child)


class Ordered(Actor):
    """Checks that each sender's messages arrive in the order they were sent."""

    def __init__(self):
        self.last = defaultdict(lambda: -1)
        self.count = 0

    def on_receive(self, message):
        if message is None:
            return self.count
        sender, n = message
        assert n == self.last[sender] + 1, (sender, n, self.last[sender])
        self.last[sender] = n
        self.count += 1
        return n


class OrderedOnLoop(Ordered):
    async def on_receive(self, message):
        if type(message) is tuple and message[1] % 97 == 0:
            await asyncio.sleep(0)
        return super().on_receive(message)


def test_threads_loops_and_actors_tell_at_once_and_nothing_is_lost_or_reordered(
    settled, eventually
):
    senders, each = 6, 16_000

    class Relay(Actor):
        """A sender that is itself an actor of the pool."""

        def __init__(self, name, targets):
            self.name, self.targets = name, targets

        def on_receive(self, start):
            for n in range(start, start + 500):
                for target in self.targets:
                    target.tell((self.name, n))
            if start + 500 < each:
                self.actor_ref.tell(start + 500)

    with ActorSystem() as system:
        targets = [system.spawn(cls) for cls in (Ordered, OrderedOnLoop, Ordered, OrderedOnLoop)]
        targets.append(system.spawn(ChildSpec(Ordered, dispatcher="pinned")))

        def thread_sender(name):
            for n in range(each):
                for target in targets:
                    target.tell((name, n))

        async def loop_sender(name):
            for n in range(each):
                for target in targets:
                    target.tell((name, n))
                if n % 500 == 0:
                    await asyncio.sleep(0)

        for k in range(2):
            system.spawn(Relay, ("actor", k), targets).tell(0)
        run_all(
            lambda: thread_sender("t0"),
            lambda: thread_sender("t1"),
            lambda: asyncio.run(loop_sender("l0")),
            lambda: asyncio.run(loop_sender("l1")),
        )
        stats = assert_balanced(system, settled, eventually)
        assert stats.dead == 0
        for target in targets:
            assert target.ask(None) == senders * each


def test_threads_and_loops_ask_at_once_and_each_gets_its_own_answer(settled, eventually):
    class Echo(Actor):
        def on_receive(self, message):
            return message

    class EchoOnLoop(Actor):
        async def on_receive(self, message):
            if message[1] % 10 == 0:
                await asyncio.sleep(0)
            return message

    class Through(Actor):
        """Answers by asking another actor, blocking its thread."""

        def __init__(self, target):
            self.target = target

        def on_receive(self, message):
            return self.target.ask(message)

    with ActorSystem() as system:
        echo, looped = system.spawn(Echo), system.spawn(EchoOnLoop)
        targets = [echo, looped, system.spawn(Through, echo), system.spawn(Through, looped)]

        def thread_asker(name):
            for n in range(1500):
                for target in targets:
                    assert target.ask((name, n)) == (name, n)

        async def loop_asker(name):
            for start in range(0, 1500, 50):
                futures = [t.request((name, start + n)) for n in range(50) for t in targets]
                answers = [await future for future in futures]
                assert answers == [(name, start + n) for n in range(50) for _ in targets]

        run_all(
            lambda: thread_asker("t0"),
            lambda: thread_asker("t1"),
            lambda: thread_asker("t2"),
            lambda: asyncio.run(loop_asker("l0")),
            lambda: asyncio.run(loop_asker("l1")),
        )
        stats = assert_balanced(system, settled, eventually)
        assert stats.dead == 0


class Mortal(Actor):
    def on_receive(self, message):
        match message:
            case "crash":
                raise ValueError(message)
            case "exit":
                raise SystemExit(message)
            case "end":
                self.stop()
        return message


class MortalOnLoop(Mortal):
    async def on_receive(self, message):
        if message == "suspend":
            await asyncio.sleep(0.0005)
        return super().on_receive(message)


@pytest.mark.parametrize("seed", range(3))
def test_no_request_hangs_while_its_targets_end_and_restart_in_every_way(settled, seed, eventually):
    specs = [
        ChildSpec(cls, restart=restart, dispatcher=dispatcher)
        for cls, dispatcher in ((Mortal, None), (MortalOnLoop, None), (Mortal, "pinned"))
        for restart in ("permanent", "transient", "temporary")
    ]
    # No Counter: a collection that comes in between its two steps lets others count meanwhile.
    outcomes = []
    letters = []
    with ActorSystem(supervision=TOLERANT) as system:
        system.events.subscribe(letters.append, DeadLetter)
        refs = [system.spawn(spec) for spec in specs]
        finished = threading.Event()
        births = threading.Lock()

        def replace_the_dead():
            with births:
                for i, ref in enumerate(refs):
                    if not ref.is_alive():
                        refs[i] = system.spawn(specs[i])

        def reaper(chance):
            while not finished.is_set():
                ref = chance.choice(refs)
                way = chance.randrange(16)
                try:
                    if way == 0:
                        ref.kill()
                    elif way == 1:
                        ref.stop(block=False)
                    elif way == 2:
                        ref.stop(block=False, drain=False)
                    elif way == 3:
                        ref.tell("end")
                    elif way == 4:
                        ref.tell("exit")
                    elif way < 8:
                        ref.tell("crash")
                    else:
                        replace_the_dead()
                    # Its own pace is that of the others: one request between two deeds.
                    ref.request("pace").get(timeout=20)
                except ActorDeadError:
                    pass

        def asker(chance):
            for _ in range(4000):
                ref = chance.choice(refs)
                message = chance.choice(["hello", "hello", "suspend", "crash"])
                try:
                    if chance.random() < 0.3:
                        answer = ref.request(message, timeout=20).get(timeout=20)
                    else:
                        answer = ref.request(message).get(timeout=20)
                    assert answer == message
                    outcomes.append("answered")
                except ActorDeadError:
                    outcomes.append("dead")
                except ValueError:
                    outcomes.append("error")

        def ask_all():
            try:
                run_all(*(lambda k=k: asker(random.Random(10 * seed + k)) for k in range(4)))
            finally:
                finished.set()

        run_all(ask_all, lambda: reaper(random.Random(seed + 100)))
        stats = assert_balanced(system, settled, eventually)
        assert len(outcomes) == 16_000
        assert "answered" in outcomes
        late = [letter for letter in letters if letter.kind == "late_reply"]
        assert (len(letters) - len(late), len(late)) == (stats.dead, stats.late_replies)
        assert system.failure is None


def test_watchers_hear_exactly_once_however_the_end_races_with_the_watch(settled):
    heard = Counter()

    class Watcher(Actor):
        def on_receive(self, message):
            match message:
                case Terminated(ref=ref):
                    heard[self.actor_ref, ref] += 1
                case ref:
                    self.watch(ref)

    class WatcherOnLoop(Watcher):
        async def on_receive(self, message):
            return super().on_receive(message)

    with ActorSystem(supervision=TOLERANT) as system:
        watchers = [system.spawn(cls) for cls in (Watcher, WatcherOnLoop) * 4]
        mortals = [
            system.spawn(ChildSpec(cls, restart="temporary"))
            for _ in range(150)
            for cls in (Mortal, MortalOnLoop)
        ]

        def watch(chance):
            order = [(w, m) for w in watchers for m in mortals]
            chance.shuffle(order)
            for watcher, mortal in order:
                watcher.tell(mortal)

        def end(chance):
            for mortal in chance.sample(mortals, len(mortals)):
                with contextlib.suppress(ActorDeadError):
                    chance.choice(
                        [
                            mortal.kill,
                            lambda m=mortal: m.stop(block=False),
                            lambda m=mortal: m.tell("crash"),
                            lambda m=mortal: m.tell("end"),
                        ]
                    )()

        run_all(lambda: watch(random.Random(1)), lambda: end(random.Random(2)))
        for mortal in mortals:
            mortal.stop()
        settled(system)
        for watcher in watchers:
            watcher.ask(watcher)  # every signal told before is heard by now
        pairs = {(w, m) for w in watchers for m in mortals}
        assert pairs == set(heard)
        assert set(heard.values()) == {1}


@pytest.mark.parametrize("overflow", ["reject", "drop_new", "drop_old", "block"])
def test_a_bounded_mailbox_keeps_its_bound_and_the_balance_under_contention(
    settled, overflow, eventually
):
    senders, each, capacity = 5, 4_000, 8
    highest = []

    class Slow(Ordered):
        mailbox = Bounded(capacity, overflow)

        def on_receive(self, message):
            if message is None:
                return self.count
            sender, n = message
            assert n > self.last[sender], "out of order"
            self.last[sender] = n
            self.count += 1
            highest.append(len(self.actor_ref._cell.queue))
            return n

    with ActorSystem() as system:
        ref = system.spawn(Slow)
        rejected = Counter()

        def sender(name):
            for n in range(each):
                try:
                    ref.tell((name, n))
                except MailboxFull:
                    rejected[name] += 1

        run_all(*(lambda k=k: sender(k) for k in range(senders)))
        stats = assert_balanced(system, settled, eventually)
        handled = ref.ask(None)
        lost = sum(rejected.values())
        assert max(highest) <= capacity
        assert handled + stats.dead + lost == senders * each
        assert stats.sent == senders * each - lost
        if overflow == "block":
            assert (lost, stats.dead) == (0, 0)
        elif overflow != "reject":
            assert lost == 0
        else:
            assert stats.dead == 0


def test_senders_blocked_by_a_mailbox_whose_actor_crashes_and_ends_all_come_home(
    settled, eventually
):
    class Fragile(Mortal):
        mailbox = Bounded(2, "block")

    with ActorSystem(supervision=TOLERANT) as system:
        for round_ in range(40):
            ref = system.spawn(Fragile)

            def sender(k, ref=ref):
                chance = random.Random(k)
                for _ in range(60):
                    try:
                        ref.tell("crash" if chance.random() < 0.1 else "hello")
                    except ActorDeadError:
                        return

            def end(ref=ref, round_=round_):
                for _ in range(20):
                    with contextlib.suppress(ActorDeadError):
                        ref.request("pace").get(timeout=20)
                if round_ % 2:
                    ref.stop(block=False, drain=False).get(timeout=20)
                else:
                    ref.stop(timeout=20)

            run_all(*(lambda k=k, s=sender: s(k) for k in range(6)), end)
        assert_balanced(system, settled, eventually)


def test_a_shutdown_in_full_flight_answers_everybody_and_leaves_nobody():
    for seed in range(6):
        system = ActorSystem(supervision=TOLERANT)
        refs = [system.spawn(cls) for cls in (Mortal, MortalOnLoop) * 5]
        started = threading.Barrier(4)

        def asker(chance, started=started, refs=refs):
            started.wait()
            try:
                while True:
                    chance.choice(refs).request(chance.choice(["hello", "suspend"])).get(timeout=20)
            except (ActorDeadError, CallboardError):
                return

        def end(started=started, system=system):
            started.wait()
            assert system.shutdown().get(timeout=20).abandoned == ()

        run_all(*(lambda k=10 * seed + k: asker(random.Random(k)) for k in range(3)), end)
        stats = system.stats()
        assert stats.sent == stats.handled + stats.dead + stats.waiting
        assert stats.waiting == 0
        assert stats.actors == 0
        system.__exit__(None, None, None)


def test_a_tree_that_fails_everywhere_settles_with_every_supervisor_in_charge(settled, eventually):
    """After Pekko's SupervisorHierarchySpec: seeded failures, also of constructors and starts."""
    chance = random.Random(7)

    class Node(Actor):
        supervision = Supervision("one_for_all", intensity=1_000_000, period=0.001)

        def __init__(self, depth):
            self.depth = depth
            if chance.random() < 0.02 and depth < 3:
                raise OSError("constructor")

        def on_start(self):
            if self.depth:
                for n in range(3):
                    self.spawn(type(self), self.depth - 1, name=f"n{n}")
            if chance.random() < 0.02:
                raise OSError("start")

        def on_receive(self, message):
            if message == "crash":
                raise ValueError(message)
            return len(self.children)

    class Branch(Node):
        supervision = Supervision("rest_for_one", intensity=1_000_000, period=0.001)

    with ActorSystem(supervision=TOLERANT) as system:
        for n, cls in enumerate((Node, Branch)):
            system.spawn(cls, 3, name=f"root{n}")
        settled(system)
        paths = [
            "/"
            + "/".join(
                [f"root{chance.randrange(2)}", *(f"n{chance.randrange(3)}" for _ in range(d))]
            )
            for d in (chance.randrange(4) for _ in range(300))
        ]
        for path in paths:
            ref = system.find(path)
            if ref is not None:
                with contextlib.suppress(ActorDeadError):
                    ref.tell("crash")
        for n in range(2):
            root = system.find(f"/root{n}")
            for _ in range(50):
                try:
                    assert root.request("how many").get(timeout=20) == 3
                    break
                except ActorDeadError:
                    continue
        assert_balanced(system, settled, eventually)
        assert system.failure is None
        assert system.shutdown().get(timeout=20).abandoned == ()
