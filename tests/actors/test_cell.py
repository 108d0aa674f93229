"""Failures, restarts and endings of live actors, on a thread and on a loop alike."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorKilled,
    ActorRestarted,
    ActorStarted,
    ActorStopped,
    ActorSystem,
    ChildSpec,
    DeadLetter,
    RestartLimitExceeded,
    Supervision,
    SystemFailed,
    SystemStopped,
    UnexpectedCoroutine,
)
from actors._cell._state import KillOrder


class Journal:
    """What happened in which order, written by actors; a test may wait for an entry."""

    def __init__(self):
        self.entries = []
        self._changed = threading.Condition()

    def __call__(self, *entry):
        with self._changed:
            self.entries.append(entry[0] if len(entry) == 1 else entry)
            self._changed.notify_all()

    def wait_for(self, *entry, times=1):
        wanted = entry[0] if len(entry) == 1 else entry
        with self._changed:
            arrived = self._changed.wait_for(lambda: self.entries.count(wanted) >= times, 20)
        assert arrived, f"{wanted!r} is missing in {self.entries}"

    def count(self, *entry):
        return self.entries.count(entry[0] if len(entry) == 1 else entry)


class Threaded(Actor):
    def __init__(self, journal):
        self.journal = journal
        self.handled = 0
        journal("init")

    def on_start(self):
        self.journal("on_start")

    def on_stop(self):
        self.journal("on_stop")

    def on_failure(self, kind, value, traceback):
        assert isinstance(value, kind)
        self.journal("on_failure", kind.__name__)

    def on_receive(self, message):
        return self.handle(message)

    def handle(self, message):
        match message:
            case BaseException():
                raise message
            case "stop yourself":
                self.stop()
            case "handled":
                return self.handled
            case "children":
                return [child.path for child in self.children]
            case ("spawn", *arguments):
                return self.spawn(*arguments)
            case ("wait", entered, gate):
                entered.set()
                assert gate.wait(20)
            case _:
                self.handled += 1
                self.journal(message)
        return message


class Looped(Threaded):
    async def on_start(self):
        await asyncio.sleep(0)
        self.journal("on_start")

    async def on_stop(self):
        await asyncio.sleep(0)
        self.journal("on_stop")

    async def on_failure(self, kind, value, traceback):
        await asyncio.sleep(0)
        self.journal("on_failure", kind.__name__)

    async def on_receive(self, message):
        if type(message) is tuple and message[0] == "wait":
            _, entered, gate = message
            entered.set()
            try:
                await asyncio.to_thread(gate.wait, 20)
            finally:
                self.journal("finally")
            return message
        await asyncio.sleep(0)
        return self.handle(message)


@pytest.fixture
def journal():
    return Journal()


@pytest.fixture(params=[Threaded, Looped])
def kind(request):
    return request.param


@pytest.fixture(params=["pool", "loop", "pinned"])
def anywhere(request):
    """A specification's class and dispatcher: each way of running an actor."""
    return (Looped, None) if request.param == "loop" else (Threaded, request.param)


# -- a life ------------------------------------------------------------------------------------


def test_a_life_is_constructed_started_used_and_stopped(system, journal, anywhere):
    cls, dispatcher = anywhere
    ref = system.spawn(ChildSpec(cls, (journal,), dispatcher=dispatcher))
    ref.tell("a")
    assert ref.ask("b") == "b"
    assert ref.stop() is True
    assert journal.entries == ["init", "on_start", "a", "b", "on_stop"]
    assert not ref.is_alive()


def test_what_was_queued_before_a_stop_is_handled_and_what_comes_after_is_not(
    system, journal, kind, settled
):
    ref = system.spawn(kind, journal)
    for n in range(200):
        ref.tell(n)
    stopping = ref.stop(block=False)
    stopping.get(timeout=20)
    assert [entry for entry in journal.entries if isinstance(entry, int)] == list(range(200))
    with pytest.raises(ActorDeadError):
        ref.tell("late")
    assert settled(system).dead == 0


def test_a_stop_given_while_the_actor_starts_lets_it_handle_what_it_has(system, journal):
    entered, gate = threading.Event(), threading.Event()

    class SlowStart(Threaded):
        def on_start(self):
            entered.set()
            assert gate.wait(20)

    ref = system.spawn(SlowStart, journal)
    assert entered.wait(20)
    ref.tell("queued")
    stopping = ref.stop(block=False)
    gate.set()
    assert stopping.get(timeout=20) is True
    assert journal.entries == ["init", "queued", "on_stop"]


def test_a_shutdown_while_an_actor_starts_stops_it_without_killing_it(journal):
    entered, gate = threading.Event(), threading.Event()

    class SlowStart(Threaded):
        def on_start(self):
            entered.set()
            assert gate.wait(20)

    system = ActorSystem()
    system.spawn(ChildSpec(SlowStart, (journal,), shutdown=None)).tell("queued")
    assert entered.wait(20)
    ending = system.shutdown()
    gate.set()
    assert ending.get(timeout=20).abandoned == ()
    assert journal.entries == ["init", "queued", "on_stop"]


def test_a_stop_without_draining_leaves_what_waits_as_dead_letters(system, journal, kind, settled):
    letters = []
    system.events.subscribe(letters.append, DeadLetter)
    ref = system.spawn(kind, journal)
    entered, gate = threading.Event(), threading.Event()
    ref.tell(("wait", entered, gate))
    assert entered.wait(20)
    ref.tell("never")
    asked = ref.request("never either")
    stopping = ref.stop(block=False, drain=False)
    gate.set()
    stopping.get(timeout=20)
    with pytest.raises(ActorDeadError):
        asked.get(timeout=20)
    assert {letter.message for letter in letters} == {"never", "never either"}
    assert {letter.kind for letter in letters} == {"actor_dead"}
    stats = settled(system)
    assert (stats.sent, stats.handled, stats.dead) == (3, 1, 2)


def test_events_tell_of_a_life_in_its_order(system, journal, kind):
    events = []
    system.events.subscribe(events.append, ActorStarted, ActorRestarted, ActorStopped)
    ref = system.spawn(kind, journal, name="one")
    error = KeyError("k")
    ref.tell(error)
    journal.wait_for("on_start", times=2)
    ref.stop()
    assert events == [
        ActorStarted(ref, "/one"),
        ActorRestarted(ref, "/one", error),
        ActorStopped(ref, "/one", "stopped"),
    ]


# -- what a failure is ---------------------------------------------------------------------------


def test_an_exception_on_a_told_message_fails_the_actor(system, journal, anywhere):
    cls, dispatcher = anywhere
    ref = system.spawn(ChildSpec(cls, (journal,), dispatcher=dispatcher))
    ref.tell(ValueError("told"))
    assert ref.ask("after") == "after"
    assert journal.entries == [
        "init",
        "on_start",
        ("on_failure", "ValueError"),
        "init",
        "on_start",
        "after",
    ]


def test_an_exception_on_a_request_is_the_answer_and_no_failure(system, journal, kind):
    ref = system.spawn(kind, journal)
    ref.ask("one")
    with pytest.raises(ValueError, match="asked"):
        ref.ask(ValueError("asked"))
    assert ref.ask("handled") == 1, "the same instance goes on"
    assert ("on_failure", "ValueError") not in journal.entries


def test_crash_on_makes_an_answered_exception_a_failure_too(system, journal, kind):
    ref = system.spawn(ChildSpec(kind, (journal,), crash_on=(LookupError,)))
    ref.ask("one")
    with pytest.raises(ValueError, match="harmless"):
        ref.ask(ValueError("harmless"))
    assert ref.ask("handled") == 1
    with pytest.raises(KeyError):
        ref.ask(KeyError("fatal"))
    assert ref.ask("handled") == 0, "a new instance"
    assert journal.count("on_failure", "KeyError") == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_what_is_no_plain_exception_fails_the_actor_and_answers_the_request(
    system, journal, kind, error
):
    ref = system.spawn(ChildSpec(kind, (journal,), restart="temporary"))
    future = ref.request(error())
    with pytest.raises(error):
        future.get(timeout=20)
    journal.wait_for("on_failure", error.__name__)


def test_a_system_exit_on_a_told_message_fails_the_actor_and_no_thread(system, journal, kind):
    ref = system.spawn(kind, journal)
    ref.tell(SystemExit(3))
    assert ref.ask("after") == "after"
    assert journal.count("on_failure", "SystemExit") == 1


def test_a_failing_start_calls_on_failure_and_counts_as_a_restart(journal, kind):
    class NeverStarts(kind):
        def on_start(self):
            raise OSError("no file")

    with ActorSystem(supervision=Supervision(intensity=3)) as system:
        failed = threading.Event()
        system.events.subscribe(lambda event: failed.set(), SystemFailed)
        ref = system.spawn(NeverStarts, journal)
        with pytest.raises(ActorDeadError):
            ref.request("anything").get(timeout=20)
        assert failed.wait(20)
        system.shutdown().get(timeout=20)
        assert isinstance(system.failure, RestartLimitExceeded)
    assert journal.count("init") == 4, "the first start and three more"
    assert journal.count("on_failure", "OSError") == 4
    assert journal.count("on_stop") == 0


def test_a_failing_timer_message_fails_the_actor(system, journal, kind):
    class Timed(kind):
        def handle(self, message):
            if message == "set":
                self.timers.start("t", ValueError("timer"), after=0)
                return None
            return super().handle(message)

    ref = system.spawn(Timed, journal)
    ref.ask("set")
    journal.wait_for("on_failure", "ValueError")
    assert ref.ask("after") == "after"


def test_a_coroutine_from_a_sync_actor_is_an_error_that_says_what_to_do(system):
    async def work():
        return 1

    class Confused(Actor):
        def on_receive(self, message):
            return work()

    with pytest.raises(UnexpectedCoroutine, match="async def"):
        system.spawn(Confused).ask("go")


def test_a_coroutine_from_a_sync_actors_told_message_is_a_failure(system, settled):
    seen = threading.Event()

    async def work():
        return 1

    class Confused(Actor):
        def on_receive(self, message):
            return work()

        def on_failure(self, kind, value, traceback):
            assert kind is UnexpectedCoroutine
            seen.set()

    system.spawn(Confused).tell("go")
    assert seen.wait(20)
    assert settled(system).dead == 1


# -- restarts ------------------------------------------------------------------------------------


def test_a_restart_keeps_the_reference_the_name_and_the_waiting_messages(system, journal, kind):
    ref = system.spawn(kind, journal, name="steady")
    urn = ref.actor_urn
    entered, gate = threading.Event(), threading.Event()
    ref.tell(("wait", entered, gate))
    assert entered.wait(20)
    ref.tell(ValueError("fails"))
    for n in range(100):
        ref.tell(n)
    gate.set()
    assert ref.ask("handled") == 100
    assert [entry for entry in journal.entries if isinstance(entry, int)] == list(range(100))
    assert system.find("/steady") == ref
    assert ref.name == "steady"
    assert ref.actor_urn == urn
    assert system.tree().children[0].restarts == 1


def test_the_message_that_failed_is_not_run_again_but_becomes_a_dead_letter(
    system, journal, kind, settled
):
    letters = []
    system.events.subscribe(letters.append, DeadLetter)
    ref = system.spawn(kind, journal)
    error = ValueError("once")
    ref.tell(error)
    ref.ask("after")
    assert letters == [DeadLetter(error, ref.path, "failed")]
    assert journal.count("on_failure", "ValueError") == 1
    stats = settled(system)
    assert (stats.sent, stats.handled, stats.dead) == (2, 1, 1)


def test_a_restart_builds_the_instance_from_the_same_arguments(system):
    class Made(Actor):
        def __init__(self, a, *, b):
            self.arguments = (a, b)
            self.changed = False

        def on_receive(self, message):
            if message == "change":
                self.changed = True
                raise ValueError
            return (*self.arguments, self.changed)

    ref = system.spawn(Made, 1, b=2)
    ref.tell("change")
    assert ref.ask("look") == (1, 2, False)


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("ending", ["normal", "failure", "kill", "ref.stop"])
def test_restart_type_and_way_of_ending_decide_whether_it_lives_on(
    system, journal, kind, restart, ending, eventually
):
    ref = system.spawn(ChildSpec(kind, (journal,), restart=restart))
    ref.ask("is started")
    match ending:
        case "normal":
            ref.tell("stop yourself")
        case "failure":
            ref.tell(ValueError())
        case "kill":
            ref.kill()
        case _:
            ref.stop()
    lives = ending != "ref.stop" and (
        restart == "permanent" or (restart == "transient" and ending != "normal")
    )
    if lives:
        journal.wait_for("on_start", times=2)
        assert ref.ask("hello") == "hello"
    else:
        eventually(lambda: not ref.is_alive(), "it is dead")
        assert journal.count("init") == 1
    hook = {
        "normal": "on_stop",
        "ref.stop": "on_stop",
        "failure": ("on_failure", "ValueError"),
        "kill": ("on_failure", "ActorKilled"),
    }[ending]
    hooks = [e for e in journal.entries if e == "on_stop" or e[0] == "on_failure"]
    assert hooks == [hook], "exactly one of the two hooks runs"


def test_a_failing_constructor_is_the_spawners_error_and_leaves_nothing_behind(system):
    children = []

    class Child(Actor):
        def __init__(self, dead):
            self.dead = dead

        def on_stop(self):
            self.dead.set()

    dead = threading.Event()

    class Broken(Actor):
        def __init__(self):
            children.append(self.spawn(Child, dead))
            raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        system.spawn(Broken, name="broken")
    assert system.find("/broken") is None
    assert dead.wait(20), "a child that the constructor had spawned lives on"
    system.spawn(Threaded, Journal(), name="broken")


@pytest.mark.parametrize("method", ["__init__", "__new__"])
def test_an_actor_whose_constructor_hangs_is_abandoned_and_never_lives(system, kind, method):
    entered, gate, raised = threading.Event(), threading.Event(), []

    def hang(*_):
        entered.set()
        gate.wait(20)

    class Hangs(kind):
        def __new__(cls, *_):
            if method == "__new__":
                hang()
            return super().__new__(cls)

        def __init__(self, journal):
            super().__init__(journal)
            if method == "__init__":
                hang()

    journal = Journal()

    def spawn():
        try:
            system.spawn(ChildSpec(Hangs, (journal,), name="hangs", shutdown=0.01))
        except SystemStopped as error:
            raised.append(error)

    spawner = threading.Thread(target=spawn, daemon=True)
    spawner.start()
    assert entered.wait(20)
    waiting = system.find("/hangs").request("hello")
    report = system.shutdown().get(timeout=10)
    assert (report.stopped, report.abandoned) == (1, ("/hangs",))
    assert "gate.wait(20)" in report.stacks[0]
    with pytest.raises(ActorDeadError):
        waiting.get(timeout=1)
    gate.set()
    spawner.join(20)
    assert "/hangs was ended before its constructor returned" in str(raised[0])
    assert system.find("/hangs") is None
    assert [e for e in journal.entries if e != "init"] == []


def test_a_constructor_that_returns_just_before_it_would_be_abandoned_makes_an_actor(system):
    entered, gate, spawned = threading.Event(), threading.Event(), []

    class Slow(Actor):
        def __init__(self):
            entered.set()
            gate.wait(20)

        def on_receive(self, message):
            return message

    spawner = threading.Thread(target=lambda: spawned.append(system.spawn(Slow)), daemon=True)
    spawner.start()
    assert entered.wait(20)
    ref = system.find("/slow-1")
    waiting = ref.request("hello")
    ref.stop(block=False)
    ref._cell.kill_order = KillOrder(wanted=True)  # as if it was just being abandoned
    gate.set()
    spawner.join(20)
    assert spawned == [ref]
    assert waiting.get(timeout=10) == "hello"


def test_a_constructor_that_fails_at_a_restart_is_one_more_failure(system, journal, kind):
    class SecondFails(kind):
        def __init__(self, journal):
            super().__init__(journal)
            if journal.count("init") == 2:
                raise OSError("just now")

    ref = system.spawn(SecondFails, journal)
    ref.tell(ValueError())
    assert ref.ask("hello") == "hello"
    assert journal.count("init") == 3
    assert journal.count("on_failure", "OSError") == 0, "there was no instance to tell"


# -- the restart limit ---------------------------------------------------------------------------


class Team(Threaded):
    """Has the children it is given; its own supervision comes from a subclass."""

    def __init__(self, journal, specs):
        super().__init__(journal)
        self.specs = specs

    def on_start(self):
        for spec in self.specs:
            self.spawn(spec)


def team(policy):
    class Supervised(Team):
        supervision = policy

    return Supervised


def find(system, path):
    ref = system.find(path)
    assert ref is not None, f"{path} is not in {system.tree()}"
    return ref


def test_too_many_failures_of_children_fail_their_parent(system, journal):
    own = Journal()
    cls = team(Supervision(intensity=1, period=60.0))
    ref = system.spawn(cls, own, [ChildSpec(Threaded, (journal,), name="child")], name="team")
    ref.ask("is started")
    child = find(system, "/team/child")
    child.tell(ValueError("first"))
    child.tell(ValueError("second"))
    own.wait_for("on_failure", "RestartLimitExceeded")
    own.wait_for("init", times=2)
    assert ref.ask("hello") == "hello"
    again = find(system, "/team/child")
    assert again != child, "a new child, of the new parent"
    assert not child.is_alive()
    assert system.tree().children[0].restarts == 1, "one failure of the parent is one restart"


def test_a_busy_parent_whose_children_gave_up_fails_once(system, journal):
    """Its children are all gone before it comes to hear of the escalation."""
    own = Journal()
    events = []
    system.events.subscribe(events.append, ActorRestarted)
    cls = team(Supervision(intensity=0))
    ref = system.spawn(cls, own, [ChildSpec(Threaded, (journal,), name="child")], name="team")
    entered, gate = threading.Event(), threading.Event()
    ref.tell(("wait", entered, gate))
    assert entered.wait(20)
    child = find(system, "/team/child")
    child.tell(ValueError("only"))
    child.request("never").exception()
    with pytest.raises(ActorDeadError):
        child.request("never").get(timeout=20)
    gate.set()
    own.wait_for("init", times=2)
    ref.ask("hello")
    assert [event.path for event in events] == ["/team"]
    assert own.count("on_failure", "RestartLimitExceeded") == 1


def test_the_failure_climbs_until_somebody_tolerates_it(journal):
    inner, outer = Journal(), Journal()
    strict = team(Supervision(intensity=0))
    leaf = ChildSpec(Threaded, (journal,), name="leaf")
    middle = ChildSpec(strict, (inner, [leaf]), name="middle")
    with ActorSystem(supervision=Supervision(intensity=1)) as system:
        ref = system.spawn(strict, outer, [middle], name="top")
        ref.ask("is started")
        find(system, "/top/middle").ask("is started")
        find(system, "/top/middle/leaf").tell(ValueError("deep"))
        outer.wait_for("init", times=2)
        assert ref.ask("hello") == "hello"
        assert inner.count("on_failure", "RestartLimitExceeded") == 1
        assert outer.count("on_failure", "RestartLimitExceeded") == 1


def test_when_the_root_gives_up_the_system_shuts_down_and_says_why(journal):
    with ActorSystem() as system:
        failed = threading.Event()
        system.events.subscribe(lambda event: failed.set(), SystemFailed)
        ref = system.spawn(Threaded, journal)
        ref.tell(ValueError("first"))
        ref.tell(ValueError("second"))
        assert failed.wait(20)
        system.shutdown().get(timeout=20)
        assert isinstance(system.failure, RestartLimitExceeded)
        assert isinstance(system.failure.__cause__, ValueError)
        assert not system.health().ready
        with pytest.raises(SystemStopped):
            system.spawn(Threaded, journal)


# -- groups --------------------------------------------------------------------------------------


class Member(Threaded):
    def __init__(self, journal, name):
        self.own = name
        super().__init__(lambda *entry: journal(name, *entry))


def members(journal, *restarts, cls=Member):
    return [
        ChildSpec(cls, (journal, name), name=name, restart=restart)
        for name, restart in zip("abcd", restarts, strict=False)
    ]


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [("one_for_one", "b"), ("one_for_all", "abc"), ("rest_for_one", "bc")],
)
def test_a_strategy_restarts_those_it_names_in_start_order_after_stopping_them_in_reverse(
    system, journal, strategy, restarted
):
    cls = team(Supervision(strategy, intensity=5))
    ref = system.spawn(cls, Journal(), members(journal, *["permanent"] * 3), name="team")
    ref.ask("is started")
    for name in "abc":
        find(system, f"/team/{name}").ask("before")
    journal.entries.clear()
    find(system, "/team/b").tell(ValueError())
    for name in restarted:
        journal.wait_for(name, "on_start")
    entries = list(journal.entries)
    assert entries[0] == ("b", "on_failure", "ValueError")
    stopped = [name for name, what, *_ in entries if what == "on_stop"]
    assert stopped == [name for name in reversed(restarted) if name != "b"]
    started = [name for name, what, *_ in entries if what == "on_start"]
    assert started == list(restarted)
    first_init = next(i for i, (_, what, *_) in enumerate(entries) if what == "init")
    assert all(what not in {"on_stop", "on_failure"} for _, what, *_ in entries[first_init:])
    for name in "abc":
        assert find(system, f"/team/{name}").ask("after") == "after"


def test_a_group_restart_keeps_the_waiting_messages_of_all(system, journal):
    cls = team(Supervision("one_for_all", intensity=5))
    system.spawn(cls, Journal(), members(journal, *["permanent"] * 3), name="team").ask("started")
    refs = [find(system, f"/team/{name}") for name in "abc"]
    entered, gate = threading.Event(), threading.Event()
    refs[2].tell(("wait", entered, gate))
    assert entered.wait(20)
    for n in range(50):
        refs[2].tell(n)
    refs[0].tell(ValueError())
    journal.wait_for("a", "on_failure", "ValueError")
    gate.set()
    assert refs[2].ask("last") == "last"
    assert [e[1] for e in journal.entries if type(e[1]) is int] == list(range(50))


def test_a_temporary_member_is_not_brought_back_by_its_siblings(system, journal, eventually):
    cls = team(Supervision("one_for_all", intensity=5))
    specs = members(journal, "permanent", "temporary")
    ref = system.spawn(cls, Journal(), specs, name="team")
    ref.ask("started")
    temporary = find(system, "/team/b")
    find(system, "/team/a").tell(ValueError())
    journal.wait_for("a", "on_start", times=2)
    eventually(lambda: not temporary.is_alive())
    assert journal.count("b", "init") == 1
    assert ref.ask("children") == ["/team/a"]


def test_a_member_stopped_in_the_middle_of_a_group_restart_does_not_hold_the_others_up(
    system, journal
):
    entered, gate = threading.Event(), threading.Event()

    class SlowToRestart(Member):
        def on_start(self):
            if journal.count("a", "init") == 2:
                entered.set()
                assert gate.wait(20)
            super().on_start()

    cls = team(Supervision("one_for_all", intensity=5))
    specs = members(journal, *["permanent"] * 3, cls=SlowToRestart)
    system.spawn(cls, Journal(), specs, name="team").ask("started")
    refs = {name: find(system, f"/team/{name}") for name in "abc"}
    refs["c"].ask("started")
    refs["c"].tell(ValueError())
    assert entered.wait(20), "a restarts first, and takes its time"
    stopped = refs["b"].stop(block=False)
    assert stopped.get(timeout=20) is True, "b, which waits for its turn, is stopped for good"
    gate.set()
    assert refs["c"].request("hello").get(timeout=20) == "hello"


@pytest.mark.parametrize("shutdown", [0.05, "brutal_kill"])
@pytest.mark.slow
def test_a_member_that_does_not_stop_in_time_is_killed_and_still_restarted(
    system, journal, shutdown
):
    cls = team(Supervision("one_for_all", intensity=5))
    good, stuck = members(journal, "permanent", "permanent")
    stuck = ChildSpec(Member, stuck.args, name="b", shutdown=shutdown)
    system.spawn(cls, Journal(), [good, stuck], name="team").ask("started")
    entered, gate = threading.Event(), threading.Event()
    ref = find(system, "/team/b")
    ref.tell(("wait", entered, gate))
    assert entered.wait(20)
    find(system, "/team/a").tell(ValueError())
    assert ref.request("hello").get(timeout=20) == "hello"
    assert journal.count("b", "init") == 2
    assert system.find("/team/b") == ref
    gate.set()


# -- kill ----------------------------------------------------------------------------------------


def test_killing_an_async_actor_cancels_what_it_awaits_and_its_finally_runs(system, journal):
    ref = system.spawn(ChildSpec(Looped, (journal,), restart="temporary"))
    entered, gate = threading.Event(), threading.Event()
    asked = ref.request(("wait", entered, gate))
    assert entered.wait(20)
    ref.kill()
    with pytest.raises(ActorDeadError):
        asked.get(timeout=20)
    journal.wait_for("on_failure", "ActorKilled")
    gate.set()
    assert journal.entries == ["init", "on_start", "finally", ("on_failure", "ActorKilled")]


def test_a_killed_async_actor_is_restarted_once(system, journal):
    ref = system.spawn(Looped, journal)
    gates = []
    for n in range(1, 6):
        entered, gate = threading.Event(), threading.Event()
        gates.append(gate)
        ref.tell(("wait", entered, gate))
        assert entered.wait(20)
        ref.kill()
        journal.wait_for("on_start", times=n + 1)
        assert ref.ask("hello") == "hello"
        assert journal.count("on_failure", "ActorKilled") == n
    for gate in gates:
        gate.set()


def test_a_kill_does_not_wait_for_what_is_queued(system, journal, kind, settled):
    ref = system.spawn(ChildSpec(kind, (journal,), restart="temporary"))
    entered, gate = threading.Event(), threading.Event()
    ref.tell(("wait", entered, gate))
    assert entered.wait(20)
    for _ in range(10):
        ref.tell("never")
    stopping = ref.stop(block=False, drain=False)
    ref.kill()
    gate.set()
    stopping.get(timeout=20)
    assert journal.count("never") == 0
    assert journal.count("on_failure", "ActorKilled") == 1, "kill comes before stop"
    assert journal.count("on_stop") == 0
    settled(system)


def test_an_async_handler_may_kill_its_own_actor(system, journal):
    class Suicidal(Looped):
        async def on_receive(self, message):
            self.actor_ref.kill()
            await asyncio.Event().wait()

    ref = system.spawn(ChildSpec(Suicidal, (journal,), restart="temporary"))
    asked = ref.request("go")
    with pytest.raises(ActorDeadError):
        asked.get(timeout=20)
    journal.wait_for("on_failure", "ActorKilled")


@pytest.mark.slow
def test_a_sync_handler_that_hangs_is_abandoned_by_a_kill(system, journal, eventually):
    ref = system.spawn(ChildSpec(Threaded, (journal,), restart="temporary"))
    entered, gate = threading.Event(), threading.Event()
    asked = ref.request(("wait", entered, gate))
    waiting = ref.request("waits behind it")
    assert entered.wait(20)
    ref.kill()
    for future in (asked, waiting):
        with pytest.raises(ActorDeadError):
            future.get(timeout=20)
    eventually(lambda: not ref.is_alive())
    gate.set()


@pytest.mark.slow
def test_an_abandoned_actor_is_restarted_and_its_old_handler_has_no_effect_on_it(system, journal):
    entered, gate, done = threading.Event(), threading.Event(), threading.Event()
    errors = []

    class Zombie(Threaded):
        def handle(self, message):
            if message != "hang":
                return super().handle(message)
            entered.set()
            assert gate.wait(20)
            self.stop()
            try:
                self.spawn(Threaded, Journal())
            except SystemStopped as error:
                errors.append(error)
            done.set()
            raise ValueError("long dead")

    ref = system.spawn(Zombie, journal, name="z")
    ref.tell("hang")
    assert entered.wait(20)
    ref.tell("queued")
    ref.kill()
    assert ref.request("hello").get(timeout=20) == "hello"
    gate.set()
    assert done.wait(20)
    assert len(errors) == 1, "a dead actor spawns no children"
    assert ref.ask("handled") == 2, "the same new instance"
    assert journal.count("init") == 2
    assert journal.count("on_stop") == 0
    assert system.find("/z") == ref
    assert journal.count("queued") == 1


@pytest.mark.slow
def test_what_belonged_to_an_abandoned_instance_is_settled(system, journal):
    entered, gate = threading.Event(), threading.Event()

    class Debtor(Threaded):
        def handle(self, message):
            match message:
                case "owe":
                    self.timers.start("never", "tick", after=1e6)
                    self.debt = self.reply_later()
                    return None
                case "hang":
                    entered.set()
                    assert gate.wait(20)
                    return None
                case "timer?":
                    return self.timers.is_active("never")
            return super().handle(message)

    ref = system.spawn(Debtor, journal)
    owed = ref.request("owe")
    ref.tell("hang")
    assert entered.wait(20)
    ref.kill()
    with pytest.raises(ActorDeadError, match="owed"):
        owed.get(timeout=20)
    assert ref.request("timer?").get(timeout=20) is False
    gate.set()


@pytest.mark.slow
def test_a_busy_actor_that_was_killed_and_restarted_is_not_abandoned_later(
    system, journal, eventually
):
    ref = system.spawn(Threaded, journal)
    ref.ask("started")
    ref.kill()
    journal.wait_for("on_start", times=2)
    entered, gate = threading.Event(), threading.Event()
    ref.tell(("wait", entered, gate))
    assert entered.wait(20)
    due = threading.Event()
    system.timers.call_later(0.3, due.set)
    assert due.wait(20)
    gate.set()
    assert ref.ask("handled") == 0
    assert journal.count("init") == 2
    assert system.tree().children[0].restarts == 1


def test_watchers_and_stoppers_hear_of_the_end_after_the_last_hook(system, journal):
    in_hook, gate = threading.Event(), threading.Event()

    class SlowStop(Threaded):
        def on_stop(self):
            in_hook.set()
            assert gate.wait(20)
            super().on_stop()

    ref = system.spawn(SlowStop, journal)
    stopping = ref.stop(block=False)
    assert in_hook.wait(20)
    assert ref.is_alive(), "an actor is not dead before its on_stop has run"
    assert not stopping.done()
    gate.set()
    assert stopping.get(timeout=20) is True
    assert journal.entries[-1] == "on_stop"
    assert not ref.is_alive()


def test_a_failing_on_stop_ends_the_actor_all_the_same(system, journal, kind):
    events = []
    system.events.subscribe(events.append, ActorStopped)

    class BadEnd(kind):
        def on_stop(self):
            raise OSError("at the end")

    ref = system.spawn(BadEnd, journal)
    assert ref.stop() is True
    assert isinstance(events[0].reason, OSError)


def test_children_end_before_their_parent(system, journal, kind):
    class Parent(kind):
        def on_start(self):
            self.spawn(Member, journal, "first")
            self.spawn(Member, journal, "second")

    ref = system.spawn(Parent, journal)
    ref.ask("is started")
    journal.wait_for("second", "on_start")
    ref.stop()
    ends = [e for e in journal.entries if e == "on_stop" or (len(e) == 2 and e[1] == "on_stop")]
    assert ends == [("second", "on_stop"), ("first", "on_stop"), "on_stop"]


def test_a_restart_ends_the_children_and_the_new_instance_has_its_own(system, journal, kind):
    class Parent(kind):
        def on_start(self):
            self.spawn(Member, journal, "child", name="child")

    ref = system.spawn(Parent, journal, name="p")
    ref.ask("is started")
    before = find(system, "/p/child")
    ref.tell(ValueError())
    assert ref.ask("children") == ["/p/child"]
    assert not before.is_alive()
    assert find(system, "/p/child").is_alive()


def test_no_request_hangs_whatever_becomes_of_its_actor(system, kind):
    def endings():
        yield lambda ref: ref.stop(block=False)
        yield lambda ref: ref.stop(block=False, drain=False)
        yield lambda ref: ref.tell(ValueError())
        yield lambda ref: ref.tell(SystemExit())
        yield lambda ref: ref.tell("stop yourself")
        yield lambda ref: ref.kill()

    for restart in ("permanent", "temporary"):
        for end in endings():
            ref = system.spawn(ChildSpec(kind, (Journal(),), restart=restart))
            before = [ref.request(n) for n in range(100)]
            end(ref)
            after = [ref.request(n) for n in range(100)]
            for n, future in [*enumerate(before), *enumerate(after)]:
                with contextlib.suppress(ActorDeadError):
                    assert future.get(timeout=20) == n


def test_the_reason_of_a_kill_reaches_on_failure(system):
    reasons = []
    done = threading.Event()

    class Victim(Actor):
        def on_failure(self, kind, value, traceback):
            reasons.append(value)
            done.set()

    system.spawn(Victim).kill()
    assert done.wait(20)
    assert isinstance(reasons[0], ActorKilled)
