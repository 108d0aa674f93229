from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest
from loguru import logger

import actors
from actors import (
    Actor,
    ActorDeadError,
    ActorStarted,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    DeadLetter,
    InvalidOption,
    MailboxHigh,
    ShutdownReport,
    Supervision,
    SystemStopped,
    TreeNode,
    WouldBlockLoop,
)
from actors._clock import SystemClock
from actors._events import DeadLetterReport
from actors._tree import all_below


class Call(Actor):
    """Calls what it is sent, with itself."""

    def on_receive(self, message):
        return message(self)


class CallOnLoop(Actor):
    async def on_receive(self, message):
        return message(self)


class Ends(Actor):
    def __init__(self, log, name, *children):
        self.log, self.own = log, name
        for child in children:
            self.spawn(Ends, log, *child) if isinstance(child, tuple) else self.spawn(
                Ends, log, child
            )

    def on_stop(self):
        self.log.append(self.own)


class EndsOnLoop(Ends):
    async def on_stop(self):
        await asyncio.sleep(0)
        self.log.append(self.own)


# -- looking -----------------------------------------------------------------------------------------


def test_an_actor_is_found_by_its_path(system):
    team = system.spawn(Call, name="team")
    writer = team.ask(lambda me: me.spawn(Call, name="writer"))
    unnamed = team.ask(lambda me: me.spawn(Call))
    service = system.spawn_service(Call, name="budget")
    assert system.find("/team") == team
    assert system.find("/team/writer") == writer
    assert system.find(unnamed.path) == unnamed
    assert system.find("/system/budget") == service
    for nowhere in ("/", "", "/nobody", "/team/nobody", "/team/writer/child", "/team/call-x"):
        assert system.find(nowhere) is None


def test_the_tree_shows_who_lives_where(system):
    team = system.spawn(Call, name="team")
    team.ask(lambda me: me.spawn(Call, name="writer") and None)
    system.spawn_service(Call, name="budget")
    node = system.tree()
    assert (node.path, node.kind, node.state) == ("/", "ActorSystem", "running")
    first, services = node.children
    assert first == TreeNode(
        "/team", "Call", "running", 0, 0, (TreeNode("/team/writer", "Call", "running", 0, 0),)
    )
    assert services.path == "/system"
    assert [child.path for child in services.children] == ["/system/budget"]


def test_a_tree_deeper_than_the_stack_can_be_looked_at(system, eventually):
    class Nests(Actor):
        def __init__(self, below):
            self.below = below

        def on_start(self):
            self.spawn(Call, name="first")
            if self.below:
                self.spawn(Nests, self.below - 1, name="n")

    depth = 2 * sys.getrecursionlimit()
    system.spawn(Nests, depth, name="n")
    eventually(lambda: system.stats().actors == 2 * (depth + 1), "all have started")
    node = system.tree().children[0]
    assert repr(node).count("kind='Nests'") == 33
    for level in range(1, depth + 2):
        assert node.path == "/n" * level
        first, *rest = node.children
        assert first.path == node.path + "/first"
        node = rest[0] if rest else None
    assert node is None
    assert len(all_below(system._user)) == 2 * (depth + 1)


def test_the_repr_of_a_tree_shows_all_of_it_and_can_be_evaluated(system):
    for name in ("a", "b"):
        system.spawn(Call, name=name).ask(lambda me: me.spawn(Call, name="below") and None)
    tree = system.tree()
    assert eval(repr(tree)) == tree


def test_the_statistics_balance_at_every_reading(system, settled):
    ref = system.spawn(Call)
    readings = []
    done = threading.Event()

    def read():
        while not done.is_set():
            readings.append(system.stats())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5000):
        ref.tell(lambda me: None)
    settled(system)
    done.set()
    reader.join(20)
    for stats in readings:
        assert stats.sent == stats.handled + stats.dead + stats.waiting
        assert stats.waiting >= 0
    final = system.stats()
    assert (final.sent, final.handled, final.waiting) == (5000, 5000, 0)


def test_actors_and_services_are_counted_while_they_live(system):
    assert system.stats().actors == 0
    ref = system.spawn(Call)
    system.spawn_service(Call)
    assert system.stats().actors == 2
    ref.stop()
    assert system.stats().actors == 1


def test_health_says_whether_it_lives_and_takes_work():
    with ActorSystem("probe") as system:
        assert system.health() == actors.Health(live=True, ready=True, why="")
        gate, entered = threading.Event(), threading.Event()
        ref = system.spawn(Call)
        ref.tell(lambda me: (entered.set(), gate.wait(20)))
        assert entered.wait(20)
        system.shutdown()
        assert system.health() == actors.Health(live=True, ready=False, why="shutting down")
        gate.set()
    assert system.health() == actors.Health(live=False, ready=False, why="stopped")
    assert repr(system) == "<ActorSystem 'probe'>"


def test_health_says_that_the_loop_was_closed_under_it():
    async def leave_without_shutting_down():
        system = ActorSystem()
        await system.__aenter__()
        assert system.health().ready
        return system

    system = asyncio.run(leave_without_shutting_down())
    health = system.health()
    assert (health.live, health.ready) == (False, False)
    assert "loop was closed" in health.why


def test_health_says_that_a_handler_holds_up_the_loop(system, monkeypatch, eventually):
    class Blocks(Actor):
        async def on_receive(self, message):
            entered.set()
            gate.wait(20)

    monkeypatch.setattr("actors._system.HELD_UP_SECONDS", 0.01)
    entered, gate = threading.Event(), threading.Event()
    system.spawn(Blocks).tell("block")
    assert entered.wait(20)
    eventually(lambda: not system.health().ready)
    assert system.health().live
    assert "held up" in system.health().why
    gate.set()
    eventually(lambda: system.health().ready)


def test_health_says_that_all_threads_are_stuck(system, monkeypatch, eventually):
    monkeypatch.setattr("actors._dispatch._pool.MAX_STUCK", 3)
    gate = threading.Event()
    for _ in range(5):
        system.spawn(Call).tell(lambda me: gate.wait(20))
    eventually(lambda: not system.health().ready)
    assert system.health().live
    assert "threads" in system.health().why
    gate.set()
    eventually(lambda: system.health().ready)


def test_health_says_what_failed_the_system():
    system = ActorSystem(supervision=Supervision(intensity=0))
    system.spawn(Call).tell(lambda me: 1 / 0)
    assert system._terminated.wait(20)
    assert system.health().why.startswith("failed: the children of / needed more than 0 restarts")
    assert not system.health().live
    system.__exit__(None, None, None)


@pytest.mark.parametrize("name", ["", 7])
def test_a_system_has_a_proper_name(name):
    with pytest.raises(InvalidOption, match="name"):
        ActorSystem(name)


# -- events --------------------------------------------------------------------------------------------


def test_an_actor_may_subscribe_to_events(system):
    heard = []
    arrived = threading.Event()

    class Listener(Actor):
        def on_receive(self, message):
            heard.append(message)
            arrived.set()

    listener = system.spawn(Listener)
    system.events.subscribe(listener, ActorStopped)
    ref = system.spawn(Call, name="one")
    ref.stop()
    assert arrived.wait(20)
    assert heard == [ActorStopped(ref, "/one", "stopped")]


def test_a_cancelled_subscription_hears_no_more(system):
    heard = []
    subscription = system.events.subscribe(heard.append, ActorStarted)
    system.spawn(Call)
    subscription.cancel()
    system.spawn(Call)
    assert len(heard) == 1


def test_a_dead_subscriber_is_dropped_and_a_failing_one_hurts_nobody(system):
    heard = []
    dead = system.spawn(Call)
    system.events.subscribe(dead)
    system.events.subscribe(lambda event: 1 / 0)
    system.events.subscribe(heard.append, ActorStarted)
    dead.stop()
    ref = system.spawn(Call)
    assert [event.ref for event in heard] == [ref]
    assert all(s.target != dead for s in system.events._subscriptions)


def test_only_actors_and_functions_subscribe(system):
    with pytest.raises(InvalidOption, match="target"):
        system.events.subscribe("me")


def test_a_high_mailbox_is_published_once(system, settled):
    events = []
    system.events.subscribe(events.append, MailboxHigh)
    entered, gate = threading.Event(), threading.Event()
    ref = system.spawn(Call)
    ref.tell(lambda me: (entered.set(), gate.wait(20)))
    assert entered.wait(20)
    for _ in range(25_000):
        ref.tell(lambda me: None)
    gate.set()
    settled(system)
    assert [event.path for event in events] == [ref.path]
    assert events[0].waiting > 10_000


@pytest.fixture
def log():
    lines = []
    logger.enable("actors")
    sink = logger.add(lines.append, format="{level} {message}", level="WARNING")
    yield lines
    logger.remove(sink)
    logger.disable("actors")


class ManualClock:
    now = 0.0

    def monotonic(self):
        return self.now

    time = monotonic


def test_ten_dead_letters_are_logged_and_then_a_count_every_five_minutes(log):
    clock = ManualClock()
    report = DeadLetterReport(clock)
    for n in range(100):
        report.note(DeadLetter(n, "/a", "actor_dead"))
    assert len(log) == 10
    clock.now = 300.0
    report.note(DeadLetter(0, "/a", "actor_dead"))
    assert len(log) == 11
    assert "91 more dead letters" in log[-1]
    report.note(DeadLetter(0, "/a", "actor_dead"))
    assert len(log) == 11


def test_nobody_who_buries_messages_waits_for_another_who_does(log):
    entered, gate = threading.Event(), threading.Event()

    class SlowClock(ManualClock):
        def monotonic(self):
            if threading.current_thread() is slow:
                entered.set()
                gate.wait(20)
            return self.now

    def bury(letters):
        for n in range(letters):
            report.note(DeadLetter(n, "/a", "actor_dead"))

    slow = threading.Thread(target=bury, args=(1,), daemon=True)
    others = [threading.Thread(target=bury, args=(50,), daemon=True) for _ in range(4)]
    clock = SlowClock()
    report = DeadLetterReport(clock)
    bury(10)
    slow.start()
    assert entered.wait(20)
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(5)
        assert not thread.is_alive(), "it waits for the one that looks at the clock"
    clock.now = 300.0
    gate.set()
    slow.join(20)
    bury(1)
    clock.now = 600.0
    bury(1)
    assert len(log) > 10
    # Each is told of once.
    assert sum(int(line.split()[1]) for line in log[10:]) == 203


def test_dead_letters_of_a_shutdown_are_counted_but_not_logged(log):
    with ActorSystem() as system:
        ref = system.spawn(ChildSpec(Call, shutdown="brutal_kill"))
        entered, gate = threading.Event(), threading.Event()
        ref.tell(lambda me: (entered.set(), gate.wait(20)))
        assert entered.wait(20)
        ref.tell(lambda me: None)
        ending = system.shutdown()
        gate.set()
        ending.get(timeout=20)
        assert system.stats().dead == 1
    assert not [line for line in log if "dead letter" in line]


# -- shutdown --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Ends, EndsOnLoop])
def test_shutdown_goes_from_children_to_parents_in_reverse_and_services_last(kind):
    log = []
    with ActorSystem() as system:
        system.spawn_service(kind, log, "service 1")
        system.spawn_service(kind, log, "service 2")
        system.spawn(kind, log, "a", ("a1", "a11"), "a2")
        system.spawn(kind, log, "b", "b1")
    assert log == ["b1", "b", "a2", "a11", "a1", "a", "service 2", "service 1"]


def test_a_shutdown_lets_actors_handle_what_they_have_and_their_services_answer():
    answers = []

    class Service(Actor):
        def on_receive(self, message):
            return message * 2

    class User(Actor):
        def __init__(self, service):
            self.service = service

        def on_receive(self, message):
            answers.append(self.service.ask(message))

    with ActorSystem() as system:
        user = system.spawn(User, system.spawn_service(Service))
        for n in range(500):
            user.tell(n)
    assert answers == [2 * n for n in range(500)]


def test_a_shutdown_runs_once_and_everybody_gets_its_report():
    system = ActorSystem()
    system.spawn(Call)
    futures = [system.shutdown() for _ in range(3)]
    assert futures[0] is futures[1] is futures[2]
    report = futures[0].get(timeout=20)
    assert isinstance(report, ShutdownReport)
    assert (report.stopped, report.abandoned) == (1, ())
    assert report.seconds >= 0
    with pytest.raises(SystemStopped):
        system.spawn(Call)
    with pytest.raises(SystemStopped, match="make a new one"), system:
        pass


def test_an_empty_system_shuts_down():
    with ActorSystem() as system:
        pass
    assert system.shutdown().get().stopped == 0


def test_an_actor_may_shut_its_system_down():
    system = ActorSystem()
    system.spawn(Call).tell(lambda me: me.system.shutdown() and None)
    system.__exit__(None, None, None)
    assert system.stats().actors == 0


@pytest.mark.slow
@pytest.mark.parametrize("first", [0.05, 30.0])
def test_a_stuck_handler_bounds_the_shutdown_by_its_own_time_and_is_reported(first):
    """Whatever the actors that stop before it are allowed."""
    entered, gate = threading.Event(), threading.Event()
    with ActorSystem() as system:
        ref = system.spawn(ChildSpec(Call, name="stuck", shutdown=0.05))
        system.spawn(ChildSpec(Call, name="quick", shutdown=first))
        ref.tell(lambda me: (entered.set(), gate.wait(20)))
        assert entered.wait(20)
        report = system.shutdown().get(timeout=10)
        assert report.abandoned == ("/stuck",)
        assert "gate.wait(20)" in report.stacks[0]
        assert report.seconds < 5
    gate.set()


@pytest.mark.slow
async def test_an_async_handler_that_ignores_its_cancellation_is_abandoned_too():
    class Stubborn(Actor):
        async def on_receive(self, message):
            while not gate.is_set():
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    continue

    gate = asyncio.Event()
    async with ActorSystem() as system:
        system.spawn(ChildSpec(Stubborn, name="stubborn", shutdown=0.01)).tell("go")
        await asyncio.sleep(0)
        report = await system.shutdown()
        assert report.abandoned == ("/stubborn",)
        gate.set()


def test_leaving_with_on_a_loop_is_refused_with_the_fix():
    async def wrong():
        with ActorSystem() as system:
            system.spawn(Call)

    with pytest.raises(WouldBlockLoop, match="async with"):
        asyncio.run(wrong())


async def test_a_shutdown_is_awaited_on_the_loop_whose_actors_it_stops():
    log = []
    async with ActorSystem() as system:
        system.spawn(EndsOnLoop, log, "a", "a1")
    assert log == ["a1", "a"]


async def test_cancelling_the_task_that_leaves_a_system_does_not_cut_the_shutdown_short():
    log = []
    inside = asyncio.Event()

    async def live():
        async with ActorSystem() as system:
            system.spawn(EndsOnLoop, log, "a", "a1")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(live())
    await inside.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["a1", "a"]


def test_no_thread_is_left_behind():
    before = set(threading.enumerate())
    with ActorSystem() as system:

        class Loops(Actor):
            async def on_receive(self, message):
                return message

        system.spawn(Loops).ask(1)
        system.spawn(ChildSpec(Call, dispatcher="pinned")).ask(lambda me: None)
        opened = threading.Event()
        waiting = [system.spawn(Call).request(lambda me: opened.wait(20)) for _ in range(10)]
        system.spawn(Call).tell(lambda me: opened.set())
        for future in waiting:
            future.get(timeout=20)
        system.timers.call_later(100, lambda: None)
    left = [t for t in threading.enumerate() if t not in before and t.name.startswith(system.name)]
    for thread in left:
        thread.join(5)
    assert not [t for t in left if t.is_alive()]


def threads_of(name):
    return [t for t in threading.enumerate() if t.name.startswith(name)]


@pytest.mark.parametrize("kind", [Call, CallOnLoop])
@pytest.mark.parametrize("watchdog", [None, 30])
def test_a_system_that_is_forgotten_without_actors_warns_and_its_threads_end(
    kind, watchdog, eventually
):
    def forget():
        system = ActorSystem("forgotten", watchdog=watchdog)
        ref = system.spawn(kind)
        assert ref.ask(lambda me: me.system) is system
        ref.stop()
        assert threads_of("forgotten")
        return weakref.ref(system)

    def gone():
        gc.collect()
        return system() is None

    with pytest.warns(ResourceWarning, match="'forgotten'> was forgotten.* in a `with` block"):  # noqa: PT031
        system = forget()
        eventually(gone)
    eventually(lambda: not threads_of("forgotten"))


def test_a_system_that_is_forgotten_before_it_has_threads_warns_of_nothing(recwarn):
    system = weakref.ref(ActorSystem("forgotten"))
    gc.collect()
    assert system() is None
    assert not recwarn


def test_systems_side_by_side_share_nothing():
    with ActorSystem() as one, ActorSystem() as two:
        mine, yours = one.spawn(Call, name="same"), two.spawn(Call, name="same")
        assert one.find("/same") == mine
        assert two.find("/same") == yours
        assert mine.ask(lambda me: me.system) is one
        assert yours.ask(lambda me: mine.ask(lambda me: me.system)) is one
        one.shutdown().get(timeout=20)
        assert not mine.is_alive()
        assert yours.is_alive()
        assert two.stats().actors == 1


def test_a_system_takes_another_clock():
    with ActorSystem(clock=SystemClock()) as system:
        assert system.clock.monotonic() > 0
        assert system.clock.time() > 1e9


# -- whole interpreters ----------------------------------------------------------------------------------


def interpreter(code, timeout=30):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


@pytest.mark.slow
def test_an_interpreter_with_living_actors_exits_and_lets_them_finish():
    done = interpreter("""
        from actors import Actor
        class Hello(Actor):
            def on_receive(self, message): print(message, flush=True)
            def on_stop(self): print("stopped", flush=True)
        ref = Hello.start()
        ref.tell("hello")
    """)
    assert (done.returncode, done.stdout) == (0, "hello\nstopped\n"), done.stderr


@pytest.mark.slow
def test_an_interpreter_exits_although_a_system_was_never_left():
    done = interpreter("""
        from actors import Actor, ActorSystem
        class Loops(Actor):
            async def on_receive(self, message): return message
        system = ActorSystem()
        print(system.spawn(Loops).ask("hello"), system.spawn(Actor).ask("x"))
        system.timers.call_later(1000, print)
    """)
    assert (done.returncode, done.stdout) == (0, "hello None\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Idle", "Suspended", "Ticks"])
def test_a_system_that_is_forgotten_goes_on_while_an_actor_lives_and_is_stopped_at_exit(kind):
    done = interpreter(f"""
        import asyncio, gc, threading, weakref
        from actors import *
        class Idle(Actor):
            def on_stop(self): print("stopped", flush=True)
        class Suspended(Idle):
            async def on_receive(self, message): await asyncio.Event().wait()
            def on_failure(self, *_): print("stopped", flush=True)
        class Ticks(Idle):
            def on_start(self): self.timers.start("tick", "tick", after=0.001, every=True)
            def on_receive(self, message):
                if gate.is_set(): ticked.set()
        def forget():
            system = ActorSystem()
            kill = {kind} is Suspended
            system.spawn(ChildSpec({kind}, shutdown="brutal_kill" if kill else 20)).tell("begin")
            return weakref.ref(system)
        gate, ticked = threading.Event(), threading.Event()
        system = forget()
        for _ in range(3): gc.collect()
        gate.set()
        if {kind} is Ticks: ticked.wait()
        print(system() is not None, system().health().live)
    """)
    assert (done.returncode, done.stdout) == (0, "True True\nstopped\n"), done.stderr


@pytest.mark.slow
def test_an_interpreter_with_a_hung_handler_exits_in_bounded_time():
    done = interpreter("""
        import threading
        from actors import Actor
        class Hangs(Actor):
            def on_receive(self, message): entered.set(); threading.Event().wait()
        entered = threading.Event()
        Hangs.start().tell("hang")
        entered.wait()
        print("leaving")
    """)
    assert (done.returncode, done.stdout) == (0, "leaving\n"), done.stderr


@pytest.mark.slow
def test_ctrl_c_in_the_main_thread_ends_the_interpreter():
    done = interpreter("""
        import os, signal, threading
        from actors import Actor, ActorSystem
        # A shell that starts the tests in the background has them inherit "ignored".
        signal.signal(signal.SIGINT, signal.default_int_handler)
        class Hangs(Actor):
            def on_receive(self, message):
                self.reply_later()
                threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with ActorSystem() as system:
            system.spawn(Hangs).ask("never")
    """)
    assert done.returncode != 0
    assert "KeyboardInterrupt" in done.stderr


@pytest.mark.slow
def test_a_signal_handler_may_shut_the_system_down_whatever_it_interrupted():
    done = interpreter("""
        import os, signal, threading
        from actors import Actor, ActorSystem, SystemStopped
        system = ActorSystem("served")
        signal.signal(signal.SIGTERM, lambda *_: system.shutdown())
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        spawned = 0
        try:
            # The signal comes somewhere in here, most likely while a lock is held.
            while True:
                system.spawn(Actor).stop(block=False)
                spawned += 1
        except SystemStopped:
            report = system.shutdown().get(timeout=10)
        print(spawned > 0, report.abandoned)
    """)
    assert (done.returncode, done.stdout) == (0, "True ()\n"), done.stderr


def test_a_shutdown_without_draining_leaves_what_waits_as_dead_letters():
    gate, entered = threading.Event(), threading.Event()
    system = ActorSystem()
    ref = system.spawn(Call)
    ref.tell(lambda me: (entered.set(), gate.wait(20)))
    handled = []
    for _ in range(3):
        ref.tell(handled.append)
    assert entered.wait(20)
    ending = system.shutdown(drain=False)
    gate.set()
    assert ending.get(timeout=20).abandoned == ()
    assert handled == []
    stats = system.stats()
    assert (stats.dead, stats.waiting) == (3, 0)


def test_leaving_a_system_on_ctrl_c_does_not_wait_for_what_is_queued():
    handled = []
    with pytest.raises(KeyboardInterrupt), ActorSystem() as system:
        gate, entered = threading.Event(), threading.Event()
        ref = system.spawn(Call)
        ref.tell(lambda me: (entered.set(), gate.wait(20)))
        for _ in range(100):
            ref.tell(handled.append)
        assert entered.wait(20)
        threading.Timer(0.05, gate.set).start()
        raise KeyboardInterrupt
    assert handled == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_gets_a_clear_error_and_may_start_its_own_system():
    done = interpreter("""
        import os, sys, warnings
        from actors import *
        warnings.simplefilter("ignore")
        class Loops(Actor):
            async def on_receive(self, message): return message
        with ActorSystem("parent") as system:
            refs = [system.spawn(Actor), system.spawn(Loops),
                    system.spawn(ChildSpec(Actor, dispatcher="pinned"))]
            for ref in refs: ref.ask("warm up")
            Actor.start().ask("warm up")
            pid = os.fork()
            if pid == 0:
                errors = 0
                tries = [lambda: system.spawn(Actor), system.shutdown().get]
                for ref in refs:
                    tries += [lambda r=ref: r.tell(1), lambda r=ref: r.request(1).get(timeout=5),
                              lambda r=ref: r.ask(1), lambda r=ref: r.stop(timeout=5)]
                for attempt in tries:
                    try: attempt()
                    except ForkedSystem: errors += 1
                assert not system.health().live
                with ActorSystem() as own:
                    assert own.spawn(Loops).ask("own") == "own"
                assert Loops.start().ask("default") == "default"
                print("errors", errors, flush=True)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            print("parent", refs[1].ask("still here"))
    """)
    assert (done.returncode, done.stdout) == (0, "errors 13\nparent still here\n"), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_waits_for_no_answer_of_its_parents_actors_and_can_watch_none():
    done = interpreter("""
        import asyncio, os, threading, warnings
        from actors import *
        warnings.simplefilter("ignore")
        class Gated(Actor):
            def on_receive(self, message):
                entered.set()
                gate.wait()
        class Suspended(Actor):
            async def on_receive(self, message):
                entered.set()
                await asyncio.to_thread(gate.wait)
        class Owes(Actor):
            def on_receive(self, message):
                self.reply = self.reply_later()
                entered.set()
            def on_stop(self): self.reply.set()
        class Watches(Actor):
            def on_receive(self, ref): self.watch(ref)
        gate = threading.Event()
        with ActorSystem("parent") as system:
            pending = []
            for kind in (Gated, Suspended, Owes):
                entered = threading.Event()
                ref = system.spawn(kind)
                pending.append(ref.request("handled"))
                entered.wait()
                if kind is not Owes: pending.append(ref.request("waiting"))
            pid = os.fork()
            if pid == 0:
                errors = []
                for future in pending:
                    try: future.get(timeout=10)
                    except Exception as error: errors.append(type(error).__name__)
                with ActorSystem() as own:
                    try: own.spawn(Watches).ask(ref)
                    except ForkedSystem as error: errors.append("watch")
                print(*errors, flush=True)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            gate.set()
        print("parent", [future.get(timeout=10) for future in pending])
    """)
    assert done.stdout == (
        "ForkedSystem ForkedSystem ForkedSystem ForkedSystem ForkedSystem watch\n"
        "parent [None, None, None, None, None]\n"
    ), done.stderr
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_in_a_forked_process_whatever_is_asked_of_the_parents_system_is_refused_each_time():
    done = interpreter("""
        import multiprocessing, threading, warnings
        from actors import *
        warnings.simplefilter("ignore")
        class Loops(Actor):
            async def on_receive(self, message): return message
        class Gated(Actor):
            def on_receive(self, message):
                entered.set()
                gate.wait()
        entered, gate = threading.Event(), threading.Event()
        def of_system():
            return {
                "spawn": lambda: system.spawn(Actor), "enter": system.__enter__,
                "stats": system.stats, "tree": system.tree, "find": lambda: system.find("/gated"),
                "events": lambda: system.events.subscribe(print),
                "groups": lambda: system.groups.members("all")}
        def of_reference(ref):
            return {
                "tell": lambda: ref.tell(1), "ask": lambda: ref.ask(1),
                "ask for a while": lambda: ref.ask(1, timeout=20),
                "request": lambda: ref.request(1), "stop": ref.stop,
                "stop later": lambda: ref.stop(block=False),
                "stop without draining": lambda: ref.stop(block=False, drain=False),
                "kill": ref.kill, "proxy": ref.proxy, "wait": lambda: ref.actor_stopped.wait()}
        def check():
            pending = {f"pending {n}": lambda f=f: f.get(timeout=20) for n, f in enumerate(futures)}
            for tries in (of_system(), *map(of_reference, refs), pending):
                for what, attempt in (*tries.items(), *tries.items()):
                    try: print(what, "gave", attempt(), flush=True)
                    except ForkedSystem as error: assert "start a new ActorSystem" in str(error)
            assert not any(ref.is_alive() for ref in refs)
            print("done", flush=True)
        with ActorSystem("parent") as system:
            full = ChildSpec(Gated, name="gated", mailbox=Bounded(1, overflow="block"))
            refs = [system.spawn(full), system.spawn(Actor), system.spawn(Loops),
                    system.spawn(ChildSpec(Actor, dispatcher="pinned")), Actor.start()]
            for ref in refs[1:]: ref.ask("warm up")
            futures = [refs[0].request("handled")]
            entered.wait()
            futures += [refs[0].request("waiting"), refs[0].request("waiting for room"),
                        refs[0].stop(block=False)]
            child = multiprocessing.get_context("fork").Process(target=check)
            child.start()
            child.join(60)
            gate.set()
            print(child.exitcode, [futures[n].get(timeout=20) for n in (0, 1, 3)])
    """)
    assert done.stdout == "done\n0 [None, None, True]\n", done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("state", ["running", "stopping"])
def test_a_forked_process_may_leave_and_shut_down_its_parents_system_without_effect(state):
    done = interpreter(f"""
        import asyncio, os, sys, threading, warnings
        from actors import *
        warnings.simplefilter("ignore")
        class Loops(Actor):
            async def on_receive(self, message): return message
            def on_stop(self): print("stopped in", "parent" if os.getpid() == parent else "child")
        class Gated(Actor):
            def on_receive(self, message):
                entered.set()
                gate.wait()
        async def child(system):
            assert not system.shutdown().get(timeout=20).stopped
            await system.__aexit__(None, None, None)
        parent = os.getpid()
        entered, gate = threading.Event(), threading.Event()
        with ActorSystem("parent") as system:
            with ActorSystem("gated") as gated:
                ref = system.spawn(Loops)
                ref.ask("warm up")
                if {state == "stopping"}:
                    gated.spawn(Gated).tell("in")
                    entered.wait()
                    gated.shutdown()
                pid = os.fork()
                if not pid:
                    assert not gated.shutdown().get(timeout=20).stopped
                    sys.exit(3)  # through both `with` blocks
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
                gate.set()
            print(ref.ask("still here"))
            pid = os.fork()
            if not pid:
                asyncio.run(child(system))
                os._exit(4)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
            print(ref.ask("and still"))
    """)
    assert done.stdout == "still here\nand still\nstopped in parent\n", done.stdout + done.stderr
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_a_default_system_and_a_registry_of_its_own():
    done = interpreter("""
        import os, pykka, warnings
        from actors import *
        warnings.simplefilter("ignore")
        class Tells(Actor):
            def on_receive(self, message): return os.getpid()
        parents, system = Tells.start(), default_system()
        assert parents.ask("who") == os.getpid()
        pid = os.fork()
        if not pid:
            assert default_system() is not system
            own = Tells.start()
            assert pykka.ActorRegistry.get_all() == [own]
            print(own.ask("who") == os.getpid(), pykka.ActorRegistry.stop_all(), flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert default_system() is system and pykka.ActorRegistry.get_all() == [parents]
        print(parents.ask("who") == os.getpid())
    """)
    assert done.stdout == "True [True]\nTrue\n", done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_in_a_handler_handles_nothing_of_what_waits_for_its_parent():
    done = interpreter("""
        import os, threading, warnings
        from actors import *
        warnings.simplefilter("ignore")
        class Forks(Actor):
            def on_receive(self, message):
                if message != "fork": return print(message, os.getpid() == parent, flush=True)
                gate.wait()
                pids.append(os.fork())
        parent, pids, gate = os.getpid(), [], threading.Event()
        with ActorSystem("parent") as system:
            ref, other = system.spawn(Forks), system.spawn(Forks)
            for target, message in ((ref, "fork"), (ref, "mine"), (other, "another's")):
                target.tell(message)
            gate.set()
            system.shutdown().get(timeout=20)
            os.waitpid(pids[0], 0)
    """)
    assert sorted(done.stdout.splitlines()) == ["another's True", "mine True"], done.stderr


def test_a_dead_actor_of_a_stopped_system_says_so():
    with ActorSystem() as system:
        ref = system.spawn(Call)
    with pytest.raises(ActorDeadError):
        ref.tell("late")


def test_something_else_than_an_event_type_is_refused_as_a_kind(system):
    with pytest.raises(InvalidOption, match="ActorStopped"):
        system.events.subscribe(print, "ActorStopped")
    system.spawn(Call)
