"""A system in one thread: every order is the seed's choice, and time stands still while it works."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Queue

import msgspec
import pykka
import pytest

import actors
from actors import Actor, ActorSystem, Backoff, Bounded, ChildSpec, Deadline, Supervision
from actors.testing import (
    InvariantViolated,
    RealWorld,
    Simulation,
    SimulationDeadlock,
    SimulationError,
    TestProbe,
)


class Echo(Actor):
    def on_receive(self, message):
        return message


class AsyncEcho(Actor):
    async def on_receive(self, message):
        return message


class Slow(Actor):
    async def on_receive(self, message):
        await asyncio.sleep(message)
        return message


class Asker(Actor):
    """Asks another actor, and waits for the answer in its handler."""

    def __init__(self, other):
        self.other = other

    def on_receive(self, message):
        return self.other.ask(message)


class Log(Actor):
    def __init__(self):
        self.seen = []

    def on_receive(self, message):
        if message == "all":
            return list(self.seen)
        self.seen.append(message)
        return None


class Call(Actor):
    """Calls what it is told."""

    def on_receive(self, message):
        return message()


class AsyncCall(Actor):
    async def on_receive(self, message):
        return await message()


# -- one thread --------------------------------------------------------------------------------------


def test_sync_and_async_actors_answer_in_one_thread():
    threads = threading.active_count()
    with Simulation() as sim:
        here = threading.get_ident()
        sync, coop = sim.system.spawn(Call), sim.system.spawn(AsyncCall)

        async def where():
            return threading.get_ident()

        assert sync.ask(threading.get_ident) == here
        assert coop.ask(where) == here
        assert threading.active_count() == threads


def test_a_blocking_ask_leaves_its_handler_and_lets_others_run():
    with Simulation() as sim:
        slow = sim.system.spawn(Slow)
        asker = sim.system.spawn(Asker, slow)
        log = sim.system.spawn(Log)
        reply = asker.request(60)
        sim.run(seconds=1)
        log.tell("meanwhile")
        assert log.ask("all") == ["meanwhile"]
        assert not reply.done()
        assert reply.get() == 60
        assert sim.clock.monotonic() == 60


def test_asks_nest_as_deep_as_there_are_actors():
    with Simulation() as sim:
        ref = sim.system.spawn(Echo)
        for _ in range(200):
            ref = sim.system.spawn(Asker, ref)
        assert ref.ask("hello") == "hello"


def test_a_coroutine_of_the_test_runs_in_the_simulation():
    with Simulation() as sim:
        refs = [sim.system.spawn(Slow) for _ in range(10)]

        async def all_of_them():
            return await asyncio.gather(*(ref.request(n) for n, ref in enumerate(refs)))

        assert sim.run(all_of_them()) == list(range(10))
        assert sim.clock.monotonic() == 9


async def test_a_simulation_runs_within_a_test_that_has_a_loop_of_its_own():
    mine = asyncio.get_running_loop()
    with Simulation() as sim:
        ref = sim.system.spawn(AsyncEcho)

        async def ask():
            assert asyncio.get_running_loop() is not mine
            return await ref.request(1)

        assert sim.run(ask()) == 1
    assert asyncio.get_running_loop() is mine


def test_simulated_threads_wait_beside_each_other():
    with Simulation() as sim:
        slow = [sim.system.spawn(Slow) for _ in range(3)]
        replies = [sim.thread(lambda ref=ref: ref.ask(5)) for ref in slow]
        assert [reply.get() for reply in replies] == [5, 5, 5]
        assert sim.clock.monotonic() == 5


def test_to_thread_takes_a_simulated_thread():
    with Simulation() as sim:
        slow, call = sim.system.spawn(Slow), sim.system.spawn(AsyncCall)
        assert call.ask(lambda: asyncio.to_thread(slow.ask, 7)) == 7


def test_context_variables_stay_with_those_who_set_them():
    with Simulation() as sim:
        from contextvars import ContextVar

        variable = ContextVar("variable", default=0)
        call = [sim.system.spawn(Call) for _ in range(3)]
        slow = sim.system.spawn(Slow)

        def handler(n):
            variable.set(n)
            slow.ask(1)
            return variable.get()

        replies = [ref.request(lambda n=n: handler(n)) for n, ref in enumerate(call, 1)]
        assert [reply.get() for reply in replies] == [1, 2, 3]
        assert [ref.ask(variable.get) for ref in call] == [0, 0, 0]
        assert variable.get() == 0


def test_what_pykka_can_do_works_in_a_simulation():
    class Counter(Actor):
        count = 0

        def up(self):
            self.count += 1
            return self.count

    with Simulation() as sim:
        ref = Counter.start()
        proxy = ref.proxy()
        assert [proxy.up().get(), proxy.up().get(), proxy.count.get()] == [1, 2, 2]
        stopped = ref.actor_stopped
        assert not stopped.is_set()
        assert ref.stop()
        assert stopped.wait(1)
        assert ref.system is sim.system
        assert not pykka.ActorRegistry.get_by_class(Counter)


def test_pinned_and_bounded_actors_work():
    class Pinned(Echo):
        dispatcher = "pinned"

    class Full(Log):
        mailbox = Bounded(2, "block")

    with Simulation() as sim:
        assert sim.system.spawn(Pinned).ask(3) == 3
        full = sim.system.spawn(Full)

        def flood():
            for n in range(50):
                full.tell(n)

        sim.thread(flood).get()
        assert full.ask("all") == list(range(50))


def test_the_default_system_is_the_simulated_one_for_as_long_as_it_lasts():
    with Simulation() as sim:
        assert actors.default_system() is sim.system
        assert Echo.start().ask(1) == 1
    assert actors.default_system() is not sim.system


# -- the order -----------------------------------------------------------------------------------------


def orders(seed):
    """Tell ten actors, who tell one; return in which order it heard of them."""
    with Simulation(seed) as sim:
        log = sim.system.spawn(Log)
        for n in range(10):
            sim.system.spawn(Call).tell(lambda n=n, log=log: log.tell(n))
        sim.run()
        return log.ask("all"), bytes(sim.history)


def test_the_seed_chooses_who_is_next():
    assert orders(1) == orders(1)
    assert len({tuple(orders(seed)[0]) for seed in range(20)}) == 20


def test_what_one_actor_tells_another_arrives_in_order_under_every_seed():
    for seed in range(20):
        with Simulation(seed) as sim:
            log = sim.system.spawn(Log)
            senders = [sim.system.spawn(Call) for _ in range(3)]
            for n in range(10):
                for name, ref in zip("abc", senders, strict=True):
                    ref.tell(lambda n=n, name=name, log=log: log.tell((name, n)))
            sim.run()
            seen = log.ask("all")
            for name in "abc":
                assert [n for who, n in seen if who == name] == list(range(10))


class Note(msgspec.Struct, frozen=True):
    text: str
    tags: frozenset[str]


SCENARIO = """
import asyncio, sys
from actors import Actor, ChildSpec
from actors.testing import Simulation

class Worker(Actor):
    async def on_receive(self, message):
        await asyncio.sleep(len(message) / 10)
        if "bad" in message:
            raise ValueError(message)
        return {frozenset(message), self}

class Team(Actor):
    def on_start(self):
        self.workers = [self.spawn(Worker) for _ in range(5)]

    def on_receive(self, message):
        replies = [worker.request(message | {name}) for name, worker in zip("abcde", self.workers)]
        return [str(reply.exception()) for reply in replies if reply.get(timeout=60) is None]

with Simulation(11) as sim:
    team = sim.system.spawn(Team)
    sim.run(seconds=1)
    for words in ({"x", "y", "z"}, {"good", "better", "best"}, {"p", "q"}):
        team.tell(frozenset(words))
    sim.run(seconds=100)
sys.stdout.write(sim.history.digest())
"""


def digest(hash_seed):
    done = subprocess.run(
        [sys.executable, "-c", SCENARIO],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_same_seed_gives_the_same_history_in_every_process():
    first = digest("1")
    assert len(first) == 64
    assert digest("2") == first
    assert digest("random") == first


def test_the_random_module_and_ids_are_the_seeds_within_and_what_they_were_afterwards():
    before = random.getstate()
    drawn = []
    for _ in range(2):
        with Simulation(5) as sim:
            drawn.append((random.random(), sim.random.random()))
            call = sim.system.spawn(Call)
            drawn[-1] += (call.ask(random.random),)
    assert drawn[0] == drawn[1]
    assert random.getstate() == before


# -- time ----------------------------------------------------------------------------------------------


def test_an_hour_passes_in_milliseconds():
    began = time.process_time()
    with Simulation() as sim:
        assert sim.system.spawn(Slow).ask(3600) == 3600
        assert sim.clock.monotonic() == 3600
    assert time.process_time() - began < 1


def test_timers_sleep_timeouts_and_deadlines_use_virtual_time():
    class Timed(Actor):
        def on_start(self):
            self.timers.start("tick", "tick", after=30)
            self.at = None

        def on_receive(self, message):
            if message == "tick":
                self.at = self.system.clock.monotonic()
            return self.at

    async def waits():
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.sleep(1000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1000), 50)
        with pytest.raises(actors.DeadlineExceeded):
            async with Deadline(25):
                await asyncio.sleep(1000)
        return loop.time() - began

    with Simulation() as sim:
        timed = sim.system.spawn(Timed)
        sim.run(seconds=60)
        assert timed.ask("when") == 30
        assert sim.run(waits()) == 175
        slow = sim.system.spawn(Slow)
        with pytest.raises(actors.DeadlineExceeded):
            slow.request(10, timeout=4).get()
        with pytest.raises(actors.Timeout):
            slow.request(10).get(timeout=5)
        assert sim.clock.monotonic() == 60 + 175 + 4 + 5


def test_deadlines_without_a_system_are_measured_on_virtual_time():
    with Simulation() as sim:
        deadline = Deadline(10)
        sim.run(seconds=6)
        assert deadline.remaining() == 4
    assert Deadline(10).remaining() > 9


def test_a_timer_for_ever_needs_to_be_told_for_how_long():
    class Beating(Actor):
        def on_start(self):
            self.timers.start("beat", "beat", after=1, every=True)
            self.beats = 0

        def on_receive(self, message):
            self.beats += message == "beat"
            return self.beats

    with Simulation() as sim:
        heart = sim.system.spawn(Beating)
        sim.run(seconds=3600.5)
        assert heart.ask("beats") == 3600


def test_restarts_wait_for_their_backoff_on_virtual_time():
    class Fragile(Actor):
        def on_receive(self, message):
            if message == "crash":
                raise ValueError
            return self.system.clock.monotonic()

    with Simulation() as sim:
        policy = Supervision(intensity=10, backoff=Backoff(8.0, 8.0))
        system = sim.system

        class Parent(Actor):
            supervision = policy

            def on_receive(self, message):
                return self.spawn(Fragile)

        child = system.spawn(Parent).ask("spawn")
        child.tell("crash")
        sim.run(seconds=1)
        assert child.ask("time") >= 4


def test_a_handler_that_hangs_is_killed_in_virtual_time():
    with Simulation() as sim:
        never = sim.system.spawn(AsyncCall)
        stuck = sim.system.spawn(Asker, never)

        async def hang():
            await asyncio.Event().wait()

        stuck.tell(hang)
        sim.run(seconds=1)
        report = sim.system.shutdown().get()
        assert report.seconds < 60
        assert not stuck.is_alive()


# -- what must not be --------------------------------------------------------------------------------------


def test_a_deadlock_is_reported_at_once_with_who_waits_for_whom():
    async def hang():
        await asyncio.Event().wait()

    with pytest.raises(SimulationDeadlock) as caught, Simulation(3) as sim:
        never = sim.system.spawn(AsyncCall, name="never")
        asker = sim.system.spawn(Asker, never, name="asker")
        asker.ask(hang)
    text = str(caught.value)
    assert "/asker waits for /never" in text
    assert "/never waits for something" in text
    assert "test has no answer" in text
    assert "seed 3" in text


def test_a_test_that_waits_for_nobody_is_told_so():
    with pytest.raises(SimulationDeadlock), Simulation():
        actors.Future().get()


def test_a_run_that_leaves_somebody_waiting_is_a_deadlock():
    async def hang():
        await asyncio.Event().wait()

    with Simulation() as sim:
        sim.system.spawn(AsyncCall, name="never").tell(hang)
        with pytest.raises(SimulationDeadlock, match="/never"):
            sim.run()


def test_a_simulation_that_does_not_end_says_so():
    class Endless(Actor):
        def on_receive(self, message):
            self.actor_ref.tell(message)

    with pytest.raises(SimulationError, match="does not end"), Simulation(steps=1000) as sim:
        sim.system.spawn(Endless).tell("go")
        sim.run()


def opens_a_socket():
    socket.socket()


def opens_a_file():
    Path(__file__).read_text()


def sleeps():
    time.sleep(0.001)


def starts_a_thread():
    threading.Thread(target=print).start()


def starts_a_process():
    subprocess.run([sys.executable, "-c", ""], check=True)


def starts_a_system():
    system = ActorSystem()
    try:
        system.spawn(Echo)
    finally:
        system.shutdown()


def runs_a_loop():
    async def nothing():
        pass

    asyncio.run(nothing())


@pytest.mark.parametrize(
    "what",
    [
        opens_a_socket,
        opens_a_file,
        sleeps,
        starts_a_thread,
        starts_a_process,
        starts_a_system,
    ],
)
def test_the_real_world_is_kept_out(what):
    with Simulation() as sim:
        with pytest.raises(RealWorld, match="real time"):
            sim.system.spawn(Call).ask(what)

        async def coop():
            what()

        with pytest.raises(RealWorld, match="real time"):
            sim.system.spawn(AsyncCall).ask(coop)


def test_the_test_itself_may_do_what_it_likes(tmp_path):
    with Simulation() as sim:
        call = sim.system.spawn(Call)
        with pytest.raises(RealWorld):
            call.ask(sleeps)
        sleeps()
        (tmp_path / "file").write_text("text")
        starts_a_thread()
    sleeps()


def test_other_threads_may_do_what_they_like():
    slept = []
    go, done = threading.Lock(), threading.Lock()
    go.acquire()
    done.acquire()

    def other():
        go.acquire(timeout=10)
        time.sleep(0.001)
        slept.append(True)
        done.release()

    thread = threading.Thread(target=other)
    thread.start()

    def handler():
        go.release()
        done.acquire(timeout=10)  # a lock itself is not seen through

    with Simulation() as sim:
        sim.system.spawn(Call).ask(handler)
    thread.join()
    assert slept == [True]


def test_imports_may_be_done_in_a_handler():
    def imports():
        import colorsys

        return colorsys.rgb_to_hsv(0, 0, 0)

    sys.modules.pop("colorsys", None)
    with Simulation() as sim:
        assert sim.system.spawn(Call).ask(imports) == (0.0, 0.0, 0)


def test_a_predicate_or_callback_that_waits_is_refused():
    with Simulation() as sim:
        echo = sim.system.spawn(Echo)
        sim.always(lambda: echo.ask(1) == 1)
        echo.tell(2)
        with pytest.raises(SimulationError, match="must not wait"):
            sim.run()
        sim._kernel.after_step.clear()


def test_a_simulation_inside_of_itself_is_refused():
    with Simulation() as sim:
        call = sim.system.spawn(Call)
        with pytest.raises(SimulationError, match="running already"):
            call.ask(sim.run)


def test_what_a_handler_raises_comes_out_as_ever():
    def boom():
        raise LookupError("no such thing")

    with Simulation() as sim:
        with pytest.raises(LookupError, match="no such thing"):
            sim.system.spawn(Call).ask(boom)

        async def coop():
            boom()

        with pytest.raises(LookupError):
            sim.run(coop())
        with pytest.raises(LookupError):
            sim.run(boom)


def test_an_error_of_the_test_comes_out_and_everything_is_put_back():
    worker = actors._executing.local.worker
    with pytest.raises(ZeroDivisionError), Simulation() as sim:
        stuck = sim.system.spawn(Asker, sim.system.spawn(Slow))
        stuck.tell(1000)
        sim.run(seconds=1)
        _ = 1 / 0
    assert actors._executing.local.worker is worker
    assert time.sleep.__module__ != "actors.testing._world"
    assert actors.default_system() is not sim.system


def test_finally_blocks_run_when_a_simulation_is_over():
    ended = []

    async def hang():
        try:
            await asyncio.sleep(1e9)
        finally:
            ended.append("async")

    with pytest.raises(ZeroDivisionError), Simulation() as sim:
        never = sim.system.spawn(AsyncCall)

        def wait():
            try:
                never.ask(hang)
            finally:
                ended.append("sync")

        sim.system.spawn(Call).tell(wait)
        sim.run(seconds=1)
        _ = 1 / 0
    assert sorted(ended) == ["async", "sync"]


def test_a_simulation_is_entered_once():
    with Simulation() as sim:
        pass
    with pytest.raises(SimulationError, match="once"), sim:
        pass


@pytest.mark.parametrize("seed", ["1", 1.5, True, None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(actors.InvalidOption, match="whole number"):
        Simulation(seed)


def test_a_supervised_team_restarts_in_every_order():
    class Fragile(Actor):
        handled = 0

        def on_receive(self, message):
            if message == "crash":
                raise ValueError
            return message

    for seed in range(30):
        with Simulation(seed) as sim:
            refs = [
                sim.system.spawn(ChildSpec(Fragile, name=f"f{n}", restart="permanent"))
                for n in range(3)
            ]
            for ref in refs[:1]:
                ref.tell("crash")
            assert [ref.ask("hello") for ref in refs] == ["hello"] * 3
            assert len(sim.history.of("restart")) == 1


def test_what_is_left_of_a_simulation_does_not_hang():
    with pytest.raises(ZeroDivisionError), Simulation() as sim:
        slow = sim.system.spawn(Slow)
        reply = slow.request(10)
        sim.run(seconds=1)
        _ = 1 / 0
    with pytest.raises(SimulationError, match="over"):
        reply.get(timeout=5)
    with pytest.raises(SimulationError, match="over"):
        slow.ask(1)
    assert sim.system.shutdown().get(timeout=5).abandoned == ()
    assert sim.system not in actors._system.running_systems()


def test_a_coroutine_that_a_broken_invariant_leaves_behind_is_cancelled():
    ends = []

    async def work(sim):
        echo = sim.system.spawn(Echo)
        try:
            await echo.request(1)
            await echo.request(2)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    with pytest.raises(InvariantViolated), Simulation() as sim:
        sim.always(lambda: len(sim.history) < 5, "the history is short")
        sim.run(work(sim))
    assert ends == ["cancelled"]


class Shared:
    """What no actor should be given: state that others change at the same time."""

    def __init__(self):
        self.count = 0

    def add(self):
        seen = self.count
        self.count = seen + 1


def counted(seed, *methods):
    shared = Shared()
    with Simulation(seed) as sim, sim.preempted(*methods):
        for _ in range(5):
            sim.system.spawn(Call).tell(shared.add)
        sim.run()
    return shared.count


def test_a_counter_that_threads_share_loses_counts_if_it_is_preempted():
    assert {counted(seed) for seed in range(20)} == {5}
    counts = [counted(seed, (Shared, "add")) for seed in range(20)]
    assert min(counts) < 5
    assert counts == [counted(seed, (Shared, "add")) for seed in range(20)]


def test_what_cannot_be_preempted_says_why():
    class Heir(Shared):
        def add(self):
            super().add()

    with Simulation() as sim:
        for method in ((Heir, "add"), (Heir, "count")):
            with (
                pytest.raises(SimulationError, match=r"pre-empted|of its own"),
                sim.preempted(method),
            ):
                pass


# -- what code of all kinds may do -------------------------------------------------------------------


def test_events_queues_and_futures_of_threads_take_virtual_time():
    with Simulation() as sim:
        queue, event = Queue(), threading.Event()
        taker, giver = sim.system.spawn(Call), sim.system.spawn(Call)
        taken = taker.request(lambda: queue.get(timeout=7200))
        sim.run(seconds=3600)
        giver.tell(lambda: queue.put("late"))
        assert taken.get() == "late"
        with pytest.raises(Empty):
            taker.ask(lambda: queue.get(timeout=3600))
        giver.tell(event.set)
        assert event.wait(1)  # by the test, which lets the simulation go on
        assert not threading.Event().wait(3600)
        assert sim.clock.monotonic() == 3 * 3600

        async def threadsafe():
            loop = asyncio.get_running_loop()
            return await asyncio.to_thread(
                lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(5, "slept"), loop).result()
            )

        assert sim.system.spawn(AsyncCall).ask(threadsafe) == "slept"


def test_a_test_may_wait_for_a_thread_of_its_own():
    event = threading.Event()
    with Simulation() as sim:
        thread = threading.Thread(target=event.set)
        sim.system.spawn(Echo)
        thread.start()
        assert event.wait()
        thread.join()


def test_an_async_generator_that_is_left_is_closed_on_the_loop():
    ended = []

    async def numbers():
        try:
            for n in range(10):
                await asyncio.sleep(1)
                yield n
        finally:
            await asyncio.sleep(1)
            ended.append("closed")

    async def leaves():
        async for n in numbers():
            if n == 2:
                break
        await asyncio.sleep(10)
        return list(ended)

    with Simulation() as sim:
        assert sim.system.spawn(AsyncCall).ask(leaves) == ["closed"]


@pytest.mark.parametrize("what", [sleeps, opens_a_file, opens_a_socket])
def test_who_catches_a_refusal_does_not_hide_it_from_the_test(what):
    def swallows():
        try:
            what()
        except Exception:
            return "nothing happened"

    with Simulation() as sim:
        call = sim.system.spawn(Call)
        with pytest.raises(RealWorld):
            call.ask(swallows)
        assert call.ask(lambda: "goes on") == "goes on"
        call.tell(what)
        with pytest.raises(RealWorld):
            sim.run()


def test_refusals_of_the_loop_are_not_hidden_either():
    async def starts_a_process_on_the_loop():
        with contextlib.suppress(Exception):
            await asyncio.create_subprocess_exec("true")

    async def has_an_executor():
        with ThreadPoolExecutor() as executor, contextlib.suppress(Exception):
            await asyncio.get_running_loop().run_in_executor(executor, print)

    for what in (starts_a_process_on_the_loop, has_an_executor):
        with Simulation() as sim, pytest.raises(RealWorld):
            sim.system.spawn(AsyncCall).ask(what)


def test_files_may_be_opened_where_that_is_allowed(tmp_path):
    (tmp_path / "prompt.txt").write_text("write well")
    with Simulation() as sim:
        sim.allow("files")
        assert sim.system.spawn(Call).ask((tmp_path / "prompt.txt").read_text) == "write well"


def test_what_takes_hours_may_be_left_alone_at_the_end():
    with Simulation() as sim:
        reply = sim.system.spawn(Slow).request(7200)
    assert reply.get() == 7200


def test_whoever_asks_a_probe_waits_for_the_test():
    with Simulation() as sim:
        probe = TestProbe(sim.system)
        reply = sim.system.spawn(Asker, probe.ref).request("question")
        sim.run()
        probe.expect("question")
        probe.reply("answer")
        assert reply.get() == "answer"


def test_a_handler_that_hangs_for_ever_is_no_lost_message():
    def hang():
        actors.Future().get()

    with Simulation() as sim:
        call = sim.system.spawn(Call)
        call.tell(hang)
        sim.run(seconds=1)
        call.kill()
        sim.run(seconds=5)
        assert call.ask(lambda: "restarted") == "restarted"
        assert sim.system.shutdown().get().abandoned == ("/call-1",)


def test_simulations_that_failed_are_not_kept():
    async def hang():
        await asyncio.Event().wait()

    def fails(seed):
        with pytest.raises(SimulationDeadlock), Simulation(seed) as sim:
            never = sim.system.spawn(AsyncCall)
            sim.thread(lambda: never.ask(hang))
            sim.system.spawn(Asker, never).ask(hang)
        return weakref.ref(sim)

    left = [fails(seed) for seed in range(5)]
    gc.collect()
    assert [ref() for ref in left] == [None] * 5


def test_code_in_a_simulation_is_told_the_virtual_time_and_nobody_else():
    with Simulation() as sim:
        call = sim.system.spawn(Call)
        sim.run(seconds=1000)
        assert call.ask(time.monotonic) == 1000
        assert call.ask(time.time) == call.ask(sim.clock.time)
        assert call.ask(time.time_ns) == int(sim.clock.time() * 1e9)
        assert abs(time.time() - datetime.now(UTC).timestamp()) < 60
    assert time.monotonic is actors.SystemClock.monotonic


def hears_of_sets(seed):
    """Everything that people keep in sets, and go through."""

    async def tasks(log):
        async def work(n):
            try:
                await asyncio.sleep(50)
            finally:
                log.tell(n)

        waiting = {asyncio.create_task(work(n)) for n in range(12)}
        await asyncio.sleep(1)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for n in range(12):
                    group.create_task(work(n))
                group.create_task(asyncio.wait_for(asyncio.sleep(5), 1))
        for done in asyncio.as_completed([log.request(n) for n in range(12)]):
            await done

    with Simulation(seed) as sim:
        log = sim.system.spawn(Log, name="log")
        for ref in {sim.system.spawn(Echo) for _ in range(12)}:
            ref.tell("hello")
        sim.run(tasks(log))
    return bytes(sim.history)


def test_sets_of_references_and_tasks_have_an_order_of_their_own():
    first = hears_of_sets(1)
    kept = [object() for _ in range(1001)]
    assert [hears_of_sets(1) for _ in range(3)] == [first] * 3
    assert kept


def test_who_waits_for_ever_is_told_at_the_end():
    async def hang():
        await asyncio.Event().wait()

    with pytest.raises(SimulationDeadlock, match="/never waits for something"), Simulation() as sim:
        sim.system.spawn(AsyncCall, name="never").tell(hang)


def test_what_has_no_answer_when_a_deadlock_is_told_gets_one_at_the_end():
    with pytest.raises(SimulationDeadlock), Simulation() as sim:
        reply = sim.system.spawn(Call).request(actors.Future().get)
        sim.run()
    with pytest.raises(SimulationError, match="over"):
        reply.get(timeout=5)


def test_a_deadlock_that_was_told_is_not_told_again():
    with Simulation() as sim:
        never = sim.system.spawn(Call)
        with pytest.raises(SimulationDeadlock):
            never.ask(actors.Future().get)
