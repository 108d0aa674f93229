"""The whole of OTP's supervisor on the live runtime: every way of dying, and what follows from it.

The decisions are tested pure in `test_supervision`, their execution on a clock set by hand in
`test_children`; here real actors die. Nothing sleeps: what hangs is let go at the end.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
import time

import msgspec
import pykka
import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorKilled,
    ActorSystem,
    Backoff,
    ChildSpec,
    DeadLetter,
    RestartLimitExceeded,
    Supervision,
    Terminated,
)

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS = ("permanent", "transient", "temporary")


class Journal:
    """Who did what in which order; a test may wait for an entry."""

    def __init__(self):
        self.entries = []
        self._changed = threading.Condition()

    def __call__(self, *entry):
        with self._changed:
            self.entries.append(entry)
            self._changed.notify_all()

    def wait_for(self, *entry, times=1):
        with self._changed:
            arrived = self._changed.wait_for(lambda: self.entries.count(entry) >= times, 20)
        assert arrived, f"{entry!r} is missing in {self.entries}"

    def start_over(self):
        with self._changed:
            self.entries.clear()


class Plan:
    """What the children of a test share: a journal, and how the one called b is to fail."""

    def __init__(self):
        self.journal = Journal()
        self.fails_in = None  # "on_start" or "on_stop", once
        self.entered, self.release = threading.Event(), threading.Event()

    def due(self, name, hook):
        if name == "b" and self.fails_in == hook:
            self.fails_in = None
            return True
        return False


@pytest.fixture
def plan():
    plan = Plan()
    yield plan
    plan.release.set()


@pytest.fixture
def journal(plan):
    return plan.journal


@pytest.fixture
def impatient(monkeypatch):
    """Abandon at once a thread that hangs; what can be cancelled keeps its grace to hear of it."""

    def abandon_at_once(cls=Threaded):
        if cls is Threaded:
            monkeypatch.setattr("actors._cell._kill.KILL_GRACE", 0.01)

    return abandon_at_once


class Threaded(Actor):
    def __init__(self, name, plan):
        self.name, self.plan = name, plan
        self.note("init")

    def note(self, *what):
        self.plan.journal(self.name, *what)

    def on_start(self):
        if self.plan.due(self.name, "on_start"):
            assert self.plan.release.wait(20)  # until its siblings are there
            raise OSError("on_start")
        self.note("on_start")

    def on_stop(self):
        self.note("on_stop")
        if self.plan.due(self.name, "on_stop"):
            raise OSError("on_stop")

    def on_failure(self, kind, value, traceback):
        self.note("on_failure", kind)

    def on_receive(self, message):
        match message:
            case BaseException():
                raise message
            case "stop":
                self.stop()
            case "timer":
                self.timers.start("t", ValueError("timer"), after=0)
            case "be cancelled":
                raise asyncio.CancelledError
            case "hang":
                self.plan.entered.set()
                self.plan.release.wait(20)
        return self.name


class Looped(Threaded):
    async def on_start(self):
        if self.plan.due(self.name, "on_start"):
            await asyncio.to_thread(self.plan.release.wait, 20)
            raise OSError("on_start")
        self.note("on_start")

    async def on_receive(self, message):
        match message:
            case ("after an await", error):
                await asyncio.sleep(0)
                raise error
            case "be cancelled":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
            case "hang":
                self.plan.entered.set()
                await asyncio.Event().wait()
        return super().on_receive(message)


class Listener(Actor):
    """Watches, and says what it heard."""

    def __init__(self, refs):
        self.heard = []
        for ref in refs:
            self.watch(ref)

    def on_receive(self, message):
        if isinstance(message, Terminated):
            self.heard.append((message.ref.name, message.reason))
            return None
        return list(self.heard)


class Team(Actor):
    """A supervisor: starts the children it is given, and answers what is asked."""

    def __init__(self, specs, journal=None):
        self.specs = specs
        self.journal = journal or Journal()

    def on_start(self):
        for spec in self.specs:
            self.spawn(spec)
        self.journal("on_start")

    def on_stop(self):
        self.journal("on_stop")

    def on_failure(self, kind, value, traceback):
        self.journal("on_failure", kind)

    def on_receive(self, message):
        match message:
            case "children":
                return self.children
            case ("spawn", spec):
                return self.spawn(spec)
            case ("call", function):
                return function()
        return message


class LoopedTeam(Team):
    async def on_receive(self, message):
        return super().on_receive(message)


def supervised(policy, cls=Team):
    return type("Supervised", (cls,), {"supervision": policy})


def team_of(plan, cls=Threaded, **options):
    """Three children a, b and c; `options` are those of b."""
    return [
        ChildSpec(cls, (name, plan), name=name, **(options if name == "b" else {}))
        for name in "abc"
    ]


# -- strategy x restart type x way of dying --------------------------------------------------------

NORMAL, FAILURE = "normal", "failure"

# Way of dying: how it ends for its supervisor, its last hook, and the reason watchers hear.
WAYS = {
    "normal stop": (NORMAL, ("on_stop",), "stopped"),
    "exception in tell": (FAILURE, ("on_failure", ValueError), ValueError),
    "exception in on_start": (FAILURE, ("on_failure", OSError), OSError),
    "exception in on_stop": (FAILURE, ("on_stop",), OSError),
    "exception in a timer": (FAILURE, ("on_failure", ValueError), ValueError),
    "exception after an await": (FAILURE, ("on_failure", KeyError), KeyError),
    "cancellation": (FAILURE, ("on_failure", asyncio.CancelledError), asyncio.CancelledError),
    "SystemExit": (FAILURE, ("on_failure", SystemExit), SystemExit),
    "kill": (FAILURE, ("on_failure", ActorKilled), "killed"),
    "hang": (FAILURE, ("on_failure", ActorKilled), "killed"),
}


def die(way, ref, plan):
    match way:
        case "normal stop":
            ref.tell("stop")
        case "exception in tell":
            ref.tell(ValueError("told"))
        case "exception in on_start":
            plan.release.set()
        case "exception in on_stop":
            plan.fails_in = "on_stop"
            ref.tell("stop")
        case "exception in a timer":
            ref.tell("timer")
        case "exception after an await":
            ref.tell(("after an await", KeyError("awaited")))
        case "cancellation":
            ref.tell("be cancelled")
        case "SystemExit":
            ref.tell(SystemExit(3))
        case "kill":
            ref.kill()
        case "hang":
            ref.tell("hang")
            assert plan.entered.wait(20)
            ref.kill()


CASES = [
    pytest.param(*case, id="-".join((*case[:3], case[3].__name__)))
    for case in itertools.product(STRATEGIES, RESTARTS, WAYS, (Threaded, Looped))
    if case[2] != "exception after an await" or case[3] is Looped
]


@pytest.mark.parametrize(("strategy", "restart", "way", "cls"), CASES)
def test_who_is_restarted_in_which_order_and_what_watchers_hear(
    system, plan, journal, eventually, impatient, strategy, restart, way, cls
):
    if way == "hang":
        impatient(cls)
    ending, last_hook, reason = WAYS[way]
    if way == "exception in on_start":
        plan.fails_in = "on_start"
    top = supervised(Supervision(strategy, intensity=5), Team if cls is Threaded else LoopedTeam)
    team = system.spawn(top, team_of(plan, cls, restart=restart), name="team")
    a, b, c = team.ask("children")
    for name in "ac":
        journal.wait_for(name, "on_start")
    if way != "exception in on_start":
        journal.wait_for("b", "on_start")
    listener = system.spawn(Listener, [a, b, c])
    listener.ask("is there")
    journal.start_over()

    die(way, b, plan)

    comes_back = restart == "permanent" or (restart == "transient" and ending == FAILURE)
    affected = {"one_for_one": "b", "one_for_all": "abc", "rest_for_one": "bc"}[strategy]
    # A handler that a thread is stuck in cannot be told anything any more.
    expected = [] if way == "hang" and cls is Threaded else [("b", *last_hook)]
    if comes_back:
        expected += [(name, "on_stop") for name in reversed(affected) if name != "b"]
        for name in affected:
            expected += [(name, "init"), (name, "on_start")]
        journal.wait_for(affected[-1], "on_start")
        assert [ref.ask("hello") for ref in (a, b, c)] == ["a", "b", "c"]
        assert listener.ask("heard") == [], "a restart is no end"
        assert team.ask("children") == (a, b, c)
    else:
        eventually(lambda: listener.ask("heard"), "its watcher hears")
        ((name, heard),) = listener.ask("heard")
        assert name == "b"
        assert heard == reason if isinstance(reason, str) else type(heard) is reason
        assert [ref.ask("hello") for ref in (a, c)] == ["a", "c"]
        with pytest.raises(ActorDeadError):
            b.ask("hello")
        assert team.ask("children") == (a, c)
    assert journal.entries == expected
    restarts = {node.path[-1]: node.restarts for node in children_of(system, "/team")}
    assert restarts == {
        name: int(comes_back and name in affected) for name in ("abc" if comes_back else "ac")
    }


def children_of(system, path):
    (node,) = [node for node in system.tree().children if node.path == path]
    return node.children


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_siblings_that_are_never_restarted_are_stopped_for_good(
    system, plan, journal, eventually, strategy
):
    specs = [
        msgspec.structs.replace(spec, restart=restart)
        for spec, restart in zip(
            team_of(plan), ("temporary", "permanent", "transient"), strict=True
        )
    ]
    team = system.spawn(supervised(Supervision(strategy, intensity=5)), specs, name="team")
    a, b, c = team.ask("children")
    for ref in (a, b, c):
        ref.ask("is started")
    listener = system.spawn(Listener, [a, b, c])
    listener.ask("is there")
    journal.start_over()
    b.tell(ValueError())
    restarted = "b" if strategy == "one_for_one" else "bc"
    journal.wait_for(restarted[-1], "on_start")
    if strategy == "one_for_all":
        eventually(lambda: listener.ask("heard") == [("a", "stopped")], "its watcher hears")
        assert journal.entries.count(("a", "on_stop")) == 1
        assert ("a", "init") not in journal.entries
    else:
        assert a.ask("hello") == "a"
        assert listener.ask("heard") == []
    assert [name for name, what, *_ in journal.entries if what == "init"] == list(restarted)


# -- starting and stopping -------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Threaded, Looped])
def test_children_start_in_order_and_stop_in_reverse(system, plan, journal, cls):
    team = system.spawn(Team, team_of(plan, cls))
    for ref in team.ask("children"):
        ref.ask("is started")
    assert [name for name, what in journal.entries if what == "init"] == ["a", "b", "c"]
    journal.start_over()
    assert team.stop() is True
    assert journal.entries == [("c", "on_stop"), ("b", "on_stop"), ("a", "on_stop")]


@pytest.mark.parametrize("cls", [Threaded, Looped])
def test_brutal_kill_does_not_ask(system, plan, journal, impatient, cls):
    impatient(cls)
    letters = []
    system.events.subscribe(letters.append, DeadLetter)
    team = system.spawn(Team, team_of(plan, cls, shutdown="brutal_kill"))
    a, b, c = team.ask("children")
    listener = system.spawn(Listener, [a, b, c])
    listener.ask("is there")
    b.tell("hang")
    assert plan.entered.wait(20)
    b.tell("never handled")
    for name in "ac":
        journal.wait_for(name, "on_start")
    journal.start_over()
    assert team.stop() is True
    last = [] if cls is Threaded else [("b", "on_failure", ActorKilled)]
    assert journal.entries == [("c", "on_stop"), *last, ("a", "on_stop")]
    assert listener.ask("heard") == [("c", "stopped"), ("b", "killed"), ("a", "stopped")]
    assert "never handled" in [letter.message for letter in letters]


@pytest.mark.parametrize("cls", [Threaded, Looped])
def test_a_child_that_does_not_stop_in_its_time_is_killed(system, plan, journal, impatient, cls):
    impatient(cls)
    team = system.spawn(Team, team_of(plan, cls, shutdown=0.02))
    a, b, c = team.ask("children")
    listener = system.spawn(Listener, [b])
    listener.ask("is there")
    b.tell("hang")
    assert plan.entered.wait(20)
    assert team.stop() is True
    assert listener.ask("heard") == [("b", "killed")]
    assert ("b", "on_stop") not in journal.entries
    assert [ref.is_alive() for ref in (a, b, c)] == [False] * 3


def test_a_child_with_all_the_time_it_needs_is_waited_for(system, plan, journal):
    team = system.spawn(Team, team_of(plan, shutdown=None))
    a, b, _ = team.ask("children")
    b.tell("hang")
    assert plan.entered.wait(20)
    for name in "ac":
        journal.wait_for(name, "on_start")
    journal.start_over()
    stopping = team.stop(block=False)
    journal.wait_for("c", "on_stop")
    b.tell("handled before the stop, as it was told before")
    assert not stopping.done()
    assert b.is_alive()
    assert a.ask("hello") == "a", "whose turn has not come"
    plan.release.set()
    assert stopping.get(timeout=20) is True
    assert journal.entries == [("c", "on_stop"), ("b", "on_stop"), ("a", "on_stop")]


@pytest.mark.parametrize("cls", [Team, LoopedTeam])
def test_a_child_that_hangs_in_its_start_keeps_neither_its_supervisor_nor_its_siblings(
    system, plan, impatient, cls
):
    impatient()
    plan.fails_in = "on_start"
    team = system.spawn(cls, team_of(plan, shutdown=0.02))
    a, b, c = team.ask("children")
    assert [ref.ask("hello") for ref in (a, c)] == ["a", "c"]
    waiting = b.request("hello")
    assert team.ask("still here") == "still here"
    assert team.stop() is True
    with pytest.raises(ActorDeadError):
        waiting.get(timeout=20)


def test_a_child_that_hangs_in_its_last_hook_is_abandoned(system, plan, journal, impatient):
    impatient()

    class StopsNever(Threaded):
        def on_stop(self):
            super().on_stop()
            plan.release.wait(20)

    b = ChildSpec(StopsNever, ("b", plan), name="b", shutdown=0.02)
    team = system.spawn(Team, [team_of(plan)[0], b])
    for ref in team.ask("children"):
        ref.ask("is started")
    journal.start_over()
    assert team.stop() is True
    assert journal.entries == [("b", "on_stop"), ("a", "on_stop")]


# -- starts in order -------------------------------------------------------------------------------


class Ordered(Team):
    """A supervisor whose children start one after the other."""

    def on_start(self):
        self.refs = self.spawn_in_order(*self.specs)
        self.journal("on_start")


class LoopedOrdered(Ordered):
    async def on_receive(self, message):
        return super().on_receive(message)


class Gated(Threaded):
    """Notes when its start begins and ends, and waits in between until it may go on."""

    gates: dict[str, threading.Event]

    def on_start(self):
        self.note("starts")
        assert self.gates[self.name].wait(20)
        self.note("on_start")


class LoopedGated(Gated):
    async def on_start(self):
        self.note("starts")
        await asyncio.to_thread(self.gates[self.name].wait, 20)
        self.note("on_start")


def gated(cls):
    gates = {name: threading.Event() for name in "abcd"}
    return type(cls.__name__, (cls,), {"gates": gates}), gates


@pytest.mark.parametrize("cls", [Gated, LoopedGated])
@pytest.mark.parametrize("top", [Ordered, LoopedOrdered])
def test_a_start_in_order_begins_when_the_one_before_has_ended(system, plan, journal, cls, top):
    kind, gates = gated(cls)
    team = system.spawn(top, team_of(plan, kind), name="team")
    waiting = [ref.request("hello") for ref in team.ask("children")]
    for name in "abc":
        journal.wait_for(name, "starts")
        assert team.ask("still here", timeout=20) == "still here"
        states = {node.path[-1]: node.state for node in children_of(system, "/team")}
        assert [states[later] for later in "abc" if later > name] == ["new"] * "cba".index(name)
        gates[name].set()
    assert [answer.get(timeout=20) for answer in waiting] == ["a", "b", "c"]
    expected = [(name, what) for name in "abc" for what in ("init", "starts", "on_start")]
    assert journal.entries == expected
    journal.start_over()
    assert team.stop() is True
    assert journal.entries == [("c", "on_stop"), ("b", "on_stop"), ("a", "on_stop")]


@pytest.mark.parametrize("hook", ["on_start", "__init__"])
@pytest.mark.parametrize("cls", [Threaded, Looped])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_start_in_order_that_fails_is_tried_again_before_the_next_begins(
    system, plan, journal, strategy, cls, hook
):
    failing = iter([True])

    class Fails(cls):
        def __init__(self, name, plan):
            super().__init__(name, plan)
            if hook == "__init__" and name == "b" and next(failing, False):
                raise OSError(hook)

    plan.release.set()
    if hook == "on_start":
        plan.fails_in = "on_start"
    policy = Supervision(strategy, intensity=1)
    team = system.spawn(supervised(policy, Ordered), team_of(plan, Fails))
    journal.wait_for("c", "on_start")
    assert [ref.ask("hello") for ref in team.ask("children")] == ["a", "b", "c"]
    begin_a = [("a", "init"), ("a", "on_start")]
    failed = [("b", "init")] + [("b", "on_failure", OSError)] * (hook == "on_start")
    again = [("a", "on_stop"), *begin_a] if strategy == "one_for_all" else []
    assert journal.entries == [
        *begin_a,
        *failed,
        *again,
        *((name, what) for name in "bc" for what in ("init", "on_start")),
    ]


@pytest.mark.parametrize("cls", [Ordered, LoopedOrdered])
def test_a_start_in_order_that_keeps_failing_fails_the_supervisor(system, plan, journal, cls):
    class Fails(Threaded):
        def on_start(self):
            raise OSError("no disk")

    a, b, d = team_of(plan)
    specs = [a, b, ChildSpec(Fails, ("c", plan), name="c"), d]
    own = Journal()
    policy = Supervision(intensity=2)
    specs[3] = msgspec.structs.replace(d, name="d", args=("d", plan))
    team = system.spawn(ChildSpec(supervised(policy, cls), (specs, own), restart="temporary"))
    own.wait_for("on_failure", RestartLimitExceeded)
    assert team.actor_stopped.wait(20)
    began = [(name, what) for name in "ab" for what in ("init", "on_start")]
    tried = [("c", "init"), ("c", "on_failure", OSError)] * 3
    assert journal.entries == [*began, *tried, ("b", "on_stop"), ("a", "on_stop")]


def test_one_that_never_comes_back_does_not_keep_the_next_from_starting(system, plan, journal):
    plan.fails_in = "on_start"
    plan.release.set()
    team = system.spawn(Ordered, team_of(plan, restart="temporary"))
    journal.wait_for("c", "on_start")
    assert [ref.name for ref in team.ask("children")] == ["a", "c"]


def test_a_supervisor_has_started_when_those_it_starts_in_order_have(system, plan, journal):
    kind, gates = gated(Gated)
    a, b, c = team_of(plan, kind)
    inner = ChildSpec(Ordered, ([a, b],), name="inner")
    top = system.spawn(Ordered, [inner, c], name="top")
    journal.wait_for("a", "starts")
    inner_ref, last = top.ask("children")
    assert inner_ref.ask("it takes messages") == "it takes messages"
    gates["a"].set()
    journal.wait_for("b", "starts")
    # Had the next one been told to start, it would have done so before it is told this.
    waiting = last.request("hello")
    assert inner_ref.ask("hello") == top.ask("hello") == "hello"
    assert ("c", "init") not in journal.entries
    gates["b"].set()
    gates["c"].set()
    assert waiting.get(timeout=20) == "c"
    names = [name for name, what in journal.entries if what == "on_start"]
    assert names == ["a", "b", "c"]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_one_whose_turn_to_start_has_not_come_can_be_stopped_or_killed(system, plan, journal, how):
    kind, gates = gated(Gated)
    team = system.spawn(Ordered, team_of(plan, kind))
    a, b, c = team.ask("children")
    journal.wait_for("a", "starts")
    waiting = b.request("hello")
    if how == "stop":
        assert b.stop() is True
        with pytest.raises(ActorDeadError):
            waiting.get(timeout=20)
    else:
        b.kill()  # a failure, after which it would be started; that is what it waits for
    for gate in gates.values():
        gate.set()
    assert c.ask("hello") == "c"
    assert a.ask("hello") == "a"
    begun = [name for name, what in journal.entries if what == "init"]
    assert begun == (["a", "c"] if how == "stop" else ["a", "b", "c"])
    if how == "kill":
        assert waiting.get(timeout=20) == "b"


def test_a_supervisor_that_is_stopped_starts_none_of_those_that_wait(system, plan, journal):
    kind, gates = gated(Gated)
    team = system.spawn(Ordered, team_of(plan, kind))
    _, b, c = team.ask("children")
    journal.wait_for("a", "starts")
    stopping = team.stop(block=False)
    assert c.actor_stopped.wait(20)
    assert b.actor_stopped.wait(20)
    gates["a"].set()
    assert stopping.get(timeout=20) is True
    assert [name for name, what in journal.entries if what == "init"] == ["a"]


def test_the_top_of_the_tree_starts_in_order_too(system, plan, journal):
    kind, gates = gated(Gated)
    refs = system.spawn_in_order(*team_of(plan, kind))
    for name in "abc":
        journal.wait_for(name, "starts")
        gates[name].set()
    assert [ref.ask("hello") for ref in refs] == ["a", "b", "c"]
    expected = [(name, what) for name in "abc" for what in ("init", "starts", "on_start")]
    assert journal.entries == expected


# -- stops that hang -------------------------------------------------------------------------------


class Hangs(Threaded):
    """Hangs in the hook of that name."""

    hook = ""

    def hang(self, hook):
        if hook == self.hook:
            self.plan.entered.set()
            self.plan.release.wait(20)

    def __init__(self, name, plan):
        super().__init__(name, plan)
        if plan.due(name, "__init__"):
            self.hang("__init__")

    def on_start(self):
        self.hang("on_start")

    def on_stop(self):
        self.hang("on_stop")

    def on_failure(self, kind, value, traceback):
        if self.hook == "__init__":
            self.plan.fails_in = "__init__"
        self.hang("on_failure")


class LoopedHangs(Threaded):
    hook = ""

    async def hang(self, hook):
        if hook == self.hook:
            self.plan.entered.set()
            await asyncio.Event().wait()

    async def on_start(self):
        await self.hang("on_start")

    async def on_stop(self):
        await self.hang("on_stop")

    async def on_failure(self, kind, value, traceback):
        await self.hang("on_failure")


@pytest.mark.parametrize("shutdown", [0.02, "brutal_kill"])
@pytest.mark.parametrize(
    ("cls", "hook"),
    [
        *itertools.product((Hangs, LoopedHangs), ("on_start", "on_stop", "on_failure")),
        (Hangs, "__init__"),
    ],
)
@pytest.mark.parametrize("below", [False, True])
def test_a_stop_is_bounded_though_a_hook_hangs(
    system, plan, eventually, impatient, monkeypatch, cls, hook, shutdown, below
):
    impatient()
    monkeypatch.setattr("actors._members.KILL_GRACE", 0.01)
    kind = type(cls.__name__, (cls,), {"hook": hook})
    spec = ChildSpec(kind, ("b", plan), name="b", shutdown=shutdown)
    if below:
        top = system.spawn(Team, [spec], name="team")
        (ref,) = top.ask("children")
    else:
        top = ref = system.spawn(spec)
    if hook in {"on_failure", "__init__"}:
        ref.tell(ValueError())
    if hook != "on_stop":
        assert plan.entered.wait(20)
    stops = [top.stop(block=False), top.stop(block=False, drain=False)]
    assert [stop.get(timeout=10) for stop in stops] == [True, True]
    assert not ref.is_alive()
    eventually(lambda: system.find("/b") is None)


def test_a_stop_lets_messages_take_longer_than_hooks_may(system, plan, journal):
    """Also if it was ordered while a hook ran, whose time has begun to count."""
    seconds = 0.02

    class Slow(Gated):
        def on_receive(self, message):
            over = threading.Event()
            self.system.timers.call_later(3 * seconds, over.set)
            assert over.wait(20)
            self.note(message)

    kind, gates = gated(Slow)
    slow = system.spawn(ChildSpec(kind, ("b", plan), shutdown=seconds))
    journal.wait_for("b", "starts")
    for n in range(3):
        slow.tell(n)
    gates["b"].set()
    stopping = slow.stop(block=False)
    assert stopping.get(timeout=20) is True
    last = [("b", 0), ("b", 1), ("b", 2), ("b", "on_stop")]
    assert journal.entries[-4:] == last


def test_an_actor_without_a_supervisor_is_waited_for_as_in_pykka(plan, monkeypatch):
    brief = functools.partial(ChildSpec, shutdown=0.01)
    monkeypatch.setattr("actors._system.ChildSpec", brief)
    monkeypatch.setattr("actors._cell._kill.KILL_GRACE", 0.01)
    ref = type("Lone", (Hangs,), {"hook": "on_stop"}).start("b", plan)
    stopping = ref.stop(block=False)
    assert plan.entered.wait(20)
    over = threading.Event()
    ref.system.timers.call_later(0.1, over.set)
    assert over.wait(20)
    assert not stopping.done()
    plan.release.set()
    assert stopping.get(timeout=20) is True


# -- between two instances -------------------------------------------------------------------------


class Valued(Actor):
    kind = "class"

    def __init__(self):
        self.made = "instance"

    def double(self, number):
        return 2 * number

    def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        return message


class LoopedValued(Valued):
    async def halve(self, number):
        return number / 2


@pytest.mark.parametrize("cls", [Valued, LoopedValued])
def test_a_reference_is_good_for_everything_between_two_instances(
    system, monkeypatch, eventually, cls
):
    policy = Supervision(intensity=100, backoff=Backoff(1.0, 1.0))
    team = system.spawn(supervised(policy), [ChildSpec(cls, name="b")], name="team")
    (ref,) = team.ask("children")
    held = []

    def hold(seconds, call, *args):
        held.append((call, args))

    with monkeypatch.context() as patched:
        patched.setattr(system.timers, "call_later", hold)
        ref.tell(ValueError())
        eventually(lambda: held, "its restart is due")
    proxy = ref.proxy()
    assert proxy == ref.proxy()
    answers = [proxy.double(2), proxy.kind, ref.request("asked")]
    with pytest.raises(AttributeError):
        proxy.nothing  # noqa: B018
    ref.tell("told")
    assert not any(answer.done() for answer in answers)
    for call, args in held:
        call(*args)
    assert [answer.get(timeout=20) for answer in answers] == [4, "class", "asked"]
    # The same proxy finds what only the instance has, and goes on after the next one.
    assert proxy.made.get(timeout=20) == "instance"
    assert ref.stop() is True
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()


# -- starts that fail ------------------------------------------------------------------------------


@pytest.mark.parametrize("backoff", [None, Backoff(0.0001, 0.001)], ids=["at once", "backoff"])
@pytest.mark.parametrize("cls", [Team, LoopedTeam], ids=["sync", "async"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_start_that_keeps_failing_leaves_the_supervisor_responsive(
    system, plan, backoff, cls, strategy
):
    starts = threading.Semaphore(0)

    class Fails(Actor):
        def __init__(self):
            starts.release()

        def on_start(self):
            raise OSError("no disk")

    policy = Supervision(strategy, intensity=10**9, period=60.0, backoff=backoff)
    team = system.spawn(supervised(policy, cls), [ChildSpec(Fails, name="bad")], name="team")
    good = None
    for n in range(20):
        for _ in range(3):
            assert starts.acquire(timeout=20), "it is started again and again"
        assert team.ask(n, timeout=20) == n
        if n == 10:
            good = team.ask(("spawn", ChildSpec(Threaded, ("good", plan))), timeout=20)
    assert good is not None
    bad = system.find("/team/bad")
    assert bad is not None
    waiting = bad.request("hello")
    assert team.stop(timeout=20) is True
    with pytest.raises(ActorDeadError):
        waiting.get(timeout=20)


def test_a_constructor_that_keeps_failing_leaves_the_supervisor_responsive(system):
    starts = threading.Semaphore(0)
    first = threading.Event()

    class Fails(Actor):
        def __init__(self):
            if first.is_set():
                starts.release()
                raise OSError("no disk")
            first.set()

        def on_receive(self, message):
            raise message

    policy = Supervision(intensity=10**9)
    team = system.spawn(supervised(policy), [ChildSpec(Fails, name="bad")], name="team")
    team.ask("children")[0].tell(ValueError())
    for n in range(20):
        assert starts.acquire(timeout=20)
        assert team.ask(n, timeout=20) == n
    assert team.stop(timeout=20) is True


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_start_that_fails_counts_until_the_supervisor_gives_up(system, strategy):
    starts = []
    journal = Journal()

    class Fails(Actor):
        def on_start(self):
            starts.append(self)
            raise OSError("no disk")

    policy = Supervision(strategy, intensity=4, period=60.0)
    team = system.spawn(
        ChildSpec(supervised(policy), ([ChildSpec(Fails)], journal), restart="temporary")
    )
    journal.wait_for("on_failure", RestartLimitExceeded)
    assert len(starts) == 5, "the first start, and as many again as the intensity"
    team.stop()


# -- backoff and the window, on a clock set by hand ------------------------------------------------


class HandClock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now


@pytest.fixture
def by_hand(monkeypatch):
    """A system in which time passes when the test says so; delays are noted, and not waited for."""
    clock = HandClock()
    delays = []
    with ActorSystem(clock=clock, supervision=Supervision(intensity=1000)) as system:

        def call_now(seconds, call, *args, later=system.timers.call_later):
            delays.append(seconds)
            return later(0, call, *args)

        monkeypatch.setattr(system.timers, "call_later", call_now)
        monkeypatch.setattr("random.random", lambda: 0.0)
        yield system, clock, delays
        monkeypatch.undo()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_delays_grow_to_the_longest_and_return_to_the_first_after_a_quiet_time(
    by_hand, plan, journal, strategy
):
    system, clock, delays = by_hand
    policy = Supervision(strategy, intensity=1000, backoff=Backoff(1.0, 8.0))
    # Whoever has all the time it needs to halt has no timer for that.
    specs = [msgspec.structs.replace(spec, shutdown=None) for spec in team_of(plan)]
    team = system.spawn(supervised(policy), specs)
    a, _, _ = team.ask("children")
    for n, quiet in enumerate((0, 0, 0, 0, 0, 4.5, 0, 0), 1):
        # From the restart on; a failure as late as half of both delays is one of the same series.
        clock.now += (delays[-1] if delays else 0) + quiet + 0.001
        a.tell(ValueError())
        journal.wait_for("a", "on_start", times=n + 1)
        a.ask("is started")
    assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_failures_that_are_further_apart_than_the_period_never_add_up(
    by_hand, plan, journal, strategy
):
    system, clock, _ = by_hand
    own = Journal()
    policy = Supervision(strategy, intensity=1, period=5.0)
    team = system.spawn(supervised(policy), team_of(plan), own)
    a, _, _ = team.ask("children")
    for n in range(1, 11):
        clock.now += 5.001
        a.tell(ValueError())
        journal.wait_for("a", "on_start", times=n + 1)
        a.ask("is started")
    assert own.entries == [("on_start",)]
    clock.now += 4.999
    a.tell(ValueError())
    own.wait_for("on_failure", RestartLimitExceeded)
    own.wait_for("on_start", times=2)


# -- significant children --------------------------------------------------------------------------


def significant(plan, *names, restart="transient"):
    return [
        msgspec.structs.replace(spec, restart=restart, significant=spec.name in names)
        for spec in team_of(plan)
    ]


def spawn_team(system, plan, auto_shutdown, *names, restart="transient"):
    policy = Supervision(auto_shutdown=auto_shutdown, intensity=100)
    specs = significant(plan, *names, restart=restart)
    spec = ChildSpec(supervised(policy), (specs,), name="team", restart="transient")
    team = system.spawn(spec)
    children = team.ask("children")
    for ref in children:
        ref.ask("is started")
    listener = system.spawn(Listener, [*children, team])
    listener.ask("is there")
    return team, children, listener


def test_any_significant_child_that_ends_takes_the_supervisor_along(system, plan, eventually):
    team, (_, b, _), listener = spawn_team(system, plan, "any", "b", "c")
    b.tell("stop")
    eventually(lambda: not team.is_alive(), "the supervisor has stopped")
    assert listener.ask("heard") == [
        ("b", "stopped"),
        ("c", "stopped"),
        ("a", "stopped"),
        ("team", "stopped"),
    ], "the others in reverse, the supervisor last, and normally: it is not restarted"


def test_the_last_of_all_significant_children_takes_the_supervisor_along(system, plan, eventually):
    team, (a, b, c), listener = spawn_team(system, plan, "all", "a", "b")
    a.tell("stop")
    eventually(lambda: listener.ask("heard") == [("a", "stopped")])
    assert team.ask("still here") == "still here"
    c.tell("stop")
    eventually(lambda: listener.ask("heard")[1:] == [("c", "stopped")])
    assert team.ask("still here") == "still here", "c does not count"
    b.tell("stop")
    eventually(lambda: not team.is_alive(), "the supervisor has stopped")
    assert listener.ask("heard")[2:] == [("b", "stopped"), ("team", "stopped")]


def test_a_significant_child_that_is_restarted_has_not_ended(system, plan):
    team, (_, b, _), listener = spawn_team(system, plan, "any", "b")
    b.tell(ValueError())
    assert b.ask("hello") == "b"
    assert team.ask("still here") == "still here"
    assert listener.ask("heard") == []


def test_a_temporary_significant_child_ends_by_failing_too(system, plan, eventually):
    team, (_, b, _), _ = spawn_team(system, plan, "any", "b", restart="temporary")
    b.tell(ValueError())
    eventually(lambda: not team.is_alive(), "the supervisor has stopped")


@pytest.mark.parametrize("auto_shutdown", ["any", "all"])
def test_a_significant_child_that_is_stopped_from_outside_does_not_count(
    system, plan, auto_shutdown
):
    team, (_, b, _), _ = spawn_team(system, plan, auto_shutdown, "b")
    assert b.stop() is True
    assert team.ask("still here") == "still here"


def test_never_means_never(system, plan, eventually):
    team, (a, b, c), listener = spawn_team(system, plan, "never", "a", "b", "c")
    for ref in (a, b, c):
        ref.tell("stop")
    eventually(lambda: len(listener.ask("heard")) == 3)
    assert team.ask("children") == ()


# -- escalation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerant", [1, 2, 3, 4])
def test_a_failure_climbs_to_the_level_that_tolerates_it(plan, tolerant):
    """A leaf under three supervisors under the root; those below the tolerant one give up."""
    plan.release.set()
    journals = {level: Journal() for level in (1, 2, 3)}
    spec = ChildSpec(Threaded, ("leaf", plan), name="leaf")
    for level in (1, 2, 3):
        policy = Supervision(intensity=1 if level == tolerant else 0)
        spec = ChildSpec(supervised(policy), ([spec], journals[level]), name=f"level-{level}")
    with ActorSystem(supervision=Supervision(intensity=1 if tolerant == 4 else 0)) as system:
        system.spawn(spec)
        path = "/level-3/level-2/level-1/leaf"
        plan.journal.wait_for("leaf", "on_start")
        leaf = system.find(path)
        assert leaf is not None
        listener = system.spawn(Listener, [leaf])
        listener.ask("is there")
        leaf.tell(ValueError("deep"))
        plan.journal.wait_for("leaf", "on_start", times=2)
        again = system.find(path)
        assert again is not None
        assert again.ask("hello") == "leaf"
        for level, journal in journals.items():
            gave_up = journal.entries.count(("on_failure", RestartLimitExceeded))
            assert gave_up == (1 if level < tolerant else 0)
            assert journal.entries.count(("on_start",)) == 1 + gave_up
        # Its own supervisor may bring it back; a new supervisor starts children of its own.
        assert (again == leaf) is (tolerant == 1)
        heard = listener.ask("heard")
        assert [name for name, _ in heard] == ([] if tolerant == 1 else ["leaf"])


def test_a_supervisor_that_gives_up_stops_the_others_in_reverse_and_says_why(system, plan, journal):
    own = Journal()
    spec = ChildSpec(
        supervised(Supervision(intensity=0)), (team_of(plan), own), restart="temporary", name="team"
    )
    team = system.spawn(spec)
    a, b, c = team.ask("children")
    for ref in (a, b, c):
        ref.ask("is started")
    listener = system.spawn(Listener, [a, b, c, team])
    listener.ask("is there")
    journal.start_over()
    cause = ValueError("cause")
    b.tell(cause)
    own.wait_for("on_failure", RestartLimitExceeded)
    assert team.actor_stopped.wait(20)
    assert journal.entries == [
        ("b", "on_failure", ValueError),
        ("c", "on_stop"),
        ("a", "on_stop"),
    ]
    *_, (_, reason) = heard = listener.ask("heard")
    assert sorted(heard[:3], key=lambda entry: entry[0]) == [
        ("a", "stopped"),
        ("b", cause),
        ("c", "stopped"),
    ]
    assert isinstance(reason, RestartLimitExceeded)
    assert reason.__cause__ is cause


# -- great numbers ---------------------------------------------------------------------------------


class Small(Actor):
    def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        if message == "stop":
            self.stop()
        return message


class Nursery(Actor):
    """A supervisor whose children come and go."""

    def on_receive(self, message):
        match message:
            case ("start", count, spec):
                for _ in range(count):
                    self.spawn(spec)
            case "children":
                return self.children
        return len(self.children)


def cpu_seconds_of_a_life(system, policy, count, how):
    """Start that many children, have one fail, and end them all; return what that costs."""
    began = time.process_time()
    cls = type("Supervised", (Nursery,), {"supervision": policy})
    nursery = system.spawn(ChildSpec(cls, restart="temporary"))
    spec = ChildSpec(Small, restart="transient", significant=how == "by themselves")
    assert nursery.ask(("start", count, spec)) == count
    children = nursery.ask("children")
    middle = children[count // 2]
    middle.tell(ValueError("one"))
    assert middle.ask("back") == "back"
    assert children[-1].ask("back") == "back"
    assert nursery.ask("count") == count
    match how:
        case "by themselves":
            for child in children:
                child.tell("stop")
        case "given up":
            for _ in range(policy.intensity):
                middle.tell(ValueError("more"))
        case "after each has failed":
            for child in children:
                child.tell(ValueError("each"))
            for child in children:
                assert child.ask("back") == "back"
            nursery.stop(block=False)
        case _:
            nursery.stop(block=False)
    assert nursery.actor_stopped.wait(60)
    assert not any(child.is_alive() for child in children)
    return time.process_time() - began


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "how"),
    [
        *itertools.product(STRATEGIES, ("stopped", "by themselves", "given up")),
        ("one_for_one", "after each has failed"),
    ],
)
def test_ten_thousand_children_of_one_actor_take_ten_times_as_long_as_a_thousand(
    system, strategy, how
):
    intensity = 100_000 if how == "after each has failed" else 2
    policy = Supervision(strategy, intensity=intensity, period=60.0, auto_shutdown="all")
    few = min(cpu_seconds_of_a_life(system, policy, 1000, how) for _ in range(2))
    many = min(cpu_seconds_of_a_life(system, policy, 10_000, how) for _ in range(2))
    # Steps that grow with the square would take a hundred times as long.
    assert many < 30 * few, f"{few:.3f} s for 1000, {many:.3f} s for 10 000"
