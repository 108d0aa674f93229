"""What one sees of a system that misbehaves: the tree, the watchdog, the reports of failures."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from actors import (
    Actor,
    ActorFailed,
    ActorSystem,
    ChildSpec,
    DeadLetter,
    InvalidOption,
    MailboxHigh,
    SlowHandler,
    Supervision,
)

TOLERANT = Supervision(intensity=1000)
LIMIT = 0.05


class Work(msgspec.Struct, frozen=True):
    gate: threading.Event
    entered: threading.Event


class Stuck(Actor):
    def on_receive(self, message):
        if isinstance(message, Work):
            message.entered.set()
            message.gate.wait(20)
        return message


class StuckOnLoop(Actor):
    async def on_receive(self, message):
        if isinstance(message, Work):
            message.entered.set()
            await self.linger(message.gate)
        return message

    async def linger(self, gate):
        await asyncio.to_thread(gate.wait, 20)


class StuckPinned(Stuck):
    dispatcher = "pinned"


KINDS = [Stuck, StuckOnLoop, StuckPinned]


def node_at(system, path):
    return next(node for node in system.tree().children if node.path == path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_shows_the_current_message_and_its_age(kind):
    with ActorSystem() as system:
        ref = system.spawn(kind, name="busy")
        assert ref.ask("nothing") == "nothing"
        idle = node_at(system, "/busy")
        assert (idle.message, idle.age) == (None, None)
        work = Work(threading.Event(), threading.Event())
        answer = ref.request(work)
        ref.tell("next")
        assert work.entered.wait(20)
        first = node_at(system, "/busy")
        assert first.message.startswith("Work(gate=")
        assert len(first.message) <= 80
        assert first.waiting == 1
        later = node_at(system, "/busy")
        assert later.age >= first.age >= 0
        work.gate.set()
        answer.get(timeout=20)
        assert ref.ask("after") == "after"


def a_listener(system, kind):
    heard = []
    there = threading.Event()

    def hear(event):
        heard.append(event)
        there.set()

    system.events.subscribe(hear, kind)
    return heard, there


@pytest.mark.parametrize("kind", KINDS)
def test_the_watchdog_reports_a_slow_handler_once_with_its_stack(kind, eventually):
    with ActorSystem(watchdog=LIMIT) as system:
        heard, there = a_listener(system, SlowHandler)
        ref = system.spawn(kind, name="slow")
        work = Work(threading.Event(), threading.Event())
        answer = ref.request(work)
        assert there.wait(20)
        looks = threading.Event()
        system.timers.call_later(3 * LIMIT, looks.set)
        assert looks.wait(20)
        work.gate.set()
        answer.get(timeout=20)
        (report,) = heard
        assert (report.path, report.message, report.waits_for) == ("/slow", work, None)
        assert report.seconds >= LIMIT
        assert "test_diagnosis.py" in report.stack
        assert ("linger" if kind is StuckOnLoop else "gate.wait") in report.stack
        assert "_turns.py" not in report.stack, "the engine's own frames say nothing"


def test_the_watchdog_sees_a_handler_that_holds_up_its_loop():
    class Rude(Actor):
        async def on_receive(self, work):
            work.gate.wait(20)

    with ActorSystem(watchdog=LIMIT) as system:
        heard, there = a_listener(system, SlowHandler)
        work = Work(threading.Event(), threading.Event())
        answer = system.spawn(Rude).request(work)
        assert there.wait(20)
        work.gate.set()
        answer.get(timeout=20)
        assert "work.gate.wait(20)" in heard[0].stack


def test_the_watchdog_names_whom_a_handler_waits_for():
    class Asking(Actor):
        def on_receive(self, message):
            return message[0].ask(message[1])

    with ActorSystem(watchdog=LIMIT) as system:
        heard = {}
        both = threading.Event()

        def hear(event):
            heard[event.path] = event
            if len(heard) == 2:
                both.set()

        system.events.subscribe(hear, SlowHandler)
        stuck = system.spawn(StuckPinned, name="stuck")
        asking = system.spawn(Asking, name="asking")
        work = Work(threading.Event(), threading.Event())
        answer = asking.request((stuck, work))
        assert both.wait(20)
        work.gate.set()
        answer.get(timeout=20)
        assert heard["/asking"].waits_for == "/stuck"
        assert heard["/stuck"].waits_for is None


HOOKS = ["__init__", "on_start", "on_stop", "on_failure"]


class SlowHook(Actor):
    """Waits in the hook of that name, at its first time."""

    def __init__(self, hook, work):
        self.hook, self.work = hook, work
        self.linger("__init__")

    def linger(self, hook):
        if hook == self.hook:
            self.work.entered.set()
            self.work.gate.wait(20)

    def on_start(self):
        self.linger("on_start")

    def on_stop(self):
        self.linger("on_stop")

    def on_failure(self, kind, value, traceback):
        self.linger("on_failure")

    def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        return message


class SlowHookOnLoop(SlowHook):
    async def linger_on_loop(self, hook):
        if hook == self.hook:
            self.work.entered.set()
            await asyncio.to_thread(self.work.gate.wait, 20)

    async def on_start(self):
        await self.linger_on_loop("on_start")

    async def on_stop(self):
        await self.linger_on_loop("on_stop")

    async def on_failure(self, kind, value, traceback):
        await self.linger_on_loop("on_failure")


class SlowHookPinned(SlowHook):
    dispatcher = "pinned"


SLOW_HOOKS = [SlowHook, SlowHookOnLoop, SlowHookPinned]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("kind", SLOW_HOOKS)
def test_the_watchdog_and_the_tree_show_a_slow_hook(kind, hook):
    with ActorSystem(watchdog=LIMIT, supervision=TOLERANT) as system:
        heard, there = a_listener(system, SlowHandler)
        work = Work(threading.Event(), threading.Event())
        spec = ChildSpec(kind, (hook, work), name="slow", shutdown=None)
        # A constructor runs on the thread that spawns.
        threading.Thread(target=system.spawn, args=(spec,)).start()
        if hook in {"on_stop", "on_failure"}:
            while (ref := system.find("/slow")) is None:
                pass
            ref.stop(block=False) if hook == "on_stop" else ref.tell(ValueError())
        assert there.wait(20)
        looks = threading.Event()
        system.timers.call_later(3 * LIMIT, looks.set)
        assert looks.wait(20)
        node = node_at(system, "/slow")
        assert (node.hook, node.message) == (hook, None)
        work.gate.set()
        (report,) = heard
        assert (report.path, report.hook, report.message) == ("/slow", hook, None)
        assert node.age >= report.seconds >= LIMIT
        assert (
            "await asyncio.to_thread"
            if kind is SlowHookOnLoop and hook != "__init__"
            else "gate.wait"
        ) in report.stack
        if hook != "on_stop":
            ref = system.find("/slow")
            assert ref.ask("after") == "after"
            node = node_at(system, "/slow")
            assert (node.hook, node.age) == (None, None)


@pytest.mark.parametrize("kind", SLOW_HOOKS)
def test_a_constructor_that_is_slow_at_a_restart_is_seen_too(kind):
    class Again(kind):
        def linger(self, hook):
            if hook == "__init__" and self._cell.restarts:
                super().linger(hook)

    with ActorSystem(watchdog=LIMIT, supervision=TOLERANT) as system:
        heard, there = a_listener(system, SlowHandler)
        work = Work(threading.Event(), threading.Event())
        ref = system.spawn(Again, "__init__", work, name="slow")
        ref.tell(ValueError())
        assert there.wait(20)
        assert node_at(system, "/slow").hook == "__init__"
        work.gate.set()
        assert ref.request("after").get(timeout=20) == "after"
        assert heard[0].hook == "__init__"
        assert "self.work.gate.wait(20)" in heard[0].stack


@pytest.mark.parametrize("kind", KINDS)
def test_a_mailbox_that_fills_up_while_a_handler_runs_is_reported_meanwhile(kind):
    with ActorSystem(watchdog=LIMIT) as system:
        heard, there = a_listener(system, MailboxHigh)
        ref = system.spawn(kind, name="busy")
        work = Work(threading.Event(), threading.Event())
        answer = ref.request(work)
        assert work.entered.wait(20)
        for n in range(10_001):
            ref.tell(n)
        assert there.wait(20)
        work.gate.set()
        answer.get(timeout=20)
        assert ref.request("after").get(timeout=20) == "after"
        assert [(event.path, event.waiting) for event in heard] == [("/busy", 10_001)]


# -- subscribers that fail -------------------------------------------------------------------------


class Touchy(Actor):
    """Fails at the events that it is told, and notes them."""

    def __init__(self, notes, kinds, resubscribes=False):
        self.notes, self.kinds, self.resubscribes = notes, kinds, resubscribes

    def on_start(self):
        if self.resubscribes:
            self.system.events.subscribe(self.actor_ref, *self.kinds)

    def on_receive(self, message):
        if isinstance(message, str):
            return message
        self.notes.append(message)
        raise ValueError("as it was told")


@pytest.mark.parametrize("kinds", [(ActorFailed,), (DeadLetter,), (ActorFailed, DeadLetter), ()])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("resubscribes", [False, True])
def test_subscribers_that_fail_at_events_do_not_feed_themselves_or_each_other(
    system, kinds, count, resubscribes
):
    notes = []
    refs = [system.spawn(Touchy, notes, kinds, resubscribes) for _ in range(count)]
    for ref in refs:
        assert ref.ask("is there") == "is there"
        if not resubscribes:
            system.events.subscribe(ref, *kinds)
    functions_hear, _ = a_listener(system, ActorFailed)
    failing = system.spawn(Failing, name="failing")

    def what_one_failure_brings():
        """Have each come to what it was told, and to what that brought the others, and so on."""
        before = len(notes)
        failing.tell("fail")
        for _ in range(20):
            for ref in (failing, *refs):
                assert ref.request("still here").get(timeout=20) == "still here"
        told = len(notes)
        for ref in (failing, *refs):
            assert ref.request("still here").get(timeout=20) == "still here"
        assert len(notes) == told, "it comes to an end"
        return told - before

    assert what_one_failure_brings() >= count
    assert {event.path for event in functions_hear} == {"/failing", *(ref.path for ref in refs)}
    assert what_one_failure_brings() >= count, "what happens to others they hear all the same"


def test_a_dead_letter_for_an_event_is_counted_and_not_published(system, settled):
    letters, _ = a_listener(system, DeadLetter)
    events, there = a_listener(system, ActorFailed)
    ref = system.spawn(Touchy, [], ())
    system.events.subscribe(ref, ActorFailed)
    dead = system.stats().dead
    system.spawn(Failing, name="failing").tell("fail")
    assert there.wait(20)
    stats = settled(system)
    assert [letter.message for letter in letters] == ["fail"]
    assert len(events) == 2
    assert stats.dead == dead + 2


def test_a_subscriber_that_dies_leaves_at_once(system):
    ref = system.spawn(Failing)
    for kinds in ((ActorFailed,), (SlowHandler,), ()):
        system.events.subscribe(ref, *kinds)
    assert system.events.heard
    assert ref.stop() is True
    assert not system.events.heard
    system.events.subscribe(ref, ActorFailed)
    assert not system.events.heard, "nor does one that was dead already stay"


def test_a_subscriber_that_is_abandoned_and_restarted_stays(system, monkeypatch):
    monkeypatch.setattr("actors._cell._kill.KILL_GRACE", 0.01)
    ref = system.spawn(Stuck)
    system.events.subscribe(ref, ActorFailed)
    work = Work(threading.Event(), threading.Event())
    ref.tell(work)
    assert work.entered.wait(20)
    ref.kill()
    assert ref.ask("restarted") == "restarted"
    work.gate.set()
    assert system.events.heard
    assert ref.stop() is True
    assert not system.events.heard


def test_quick_handlers_are_not_reported_however_many_there_are():
    with ActorSystem(watchdog=LIMIT) as system:
        heard, _ = a_listener(system, SlowHandler)
        refs = [system.spawn(kind) for kind in KINDS]
        done = threading.Event()
        system.timers.call_later(4 * LIMIT, done.set)
        while not done.is_set():
            for ref in refs:
                ref.ask(None)
        assert heard == []


@pytest.mark.parametrize(
    "option", [{"watchdog": 0}, {"watchdog": True}, {"watchdog": "1"}, {"flight_recorder": -1}]
)
def test_options_that_make_no_sense_are_refused(option):
    with pytest.raises(InvalidOption, match=next(iter(option))):
        ActorSystem(**option)


class Failing(Actor):
    def on_receive(self, message):
        if message == "fail":
            raise ValueError("as it was told")
        return message


class FailingOnLoop(Actor):
    async def on_receive(self, message):
        if message == "fail":
            raise ValueError("as it was told")
        return message


@pytest.mark.parametrize("kind", [Failing, FailingOnLoop])
def test_the_report_of_a_failure_has_the_last_messages_of_an_actor_that_failed_before(kind):
    with ActorSystem(supervision=TOLERANT, flight_recorder=3) as system:
        heard, _ = a_listener(system, ActorFailed)
        ref = system.spawn(kind, name="f")
        for message in ("a", "fail", "b", "c", "d", "e", "fail"):
            ref.tell(message)
        assert ref.ask("done") == "done"
        first, second = heard
        assert (first.path, first.message, first.recent, first.restarts) == ("/f", "fail", (), 0)
        assert isinstance(first.reason, ValueError)
        assert (second.message, second.recent, second.restarts) == ("fail", ("d", "e"), 1)
        assert system.failures() == (first, second)


def test_an_actor_may_have_its_messages_recorded_from_the_start():
    class Recorded(Failing):
        flight_recorder = 5

    with ActorSystem(supervision=TOLERANT) as system:
        heard, _ = a_listener(system, ActorFailed)
        ref = system.spawn(Recorded)
        for n in range(10):
            ref.tell(n)
        assert ref.ask("asked") == "asked"
        ref.tell("fail")
        assert ref.ask("done") == "done"
        assert heard[0].recent == (7, 8, 9, "asked")


def test_a_failing_start_is_reported_without_a_message():
    class Unwilling(Actor):
        def on_start(self):
            raise OSError("not today")

    with ActorSystem() as system:
        heard, there = a_listener(system, ActorFailed)
        system.spawn(ChildSpec(Unwilling, restart="temporary"))
        assert there.wait(20)
        assert heard[0].message is None
        assert isinstance(heard[0].reason, OSError)


def test_reports_of_failures_are_bounded():
    with ActorSystem(supervision=TOLERANT) as system:
        ref = system.spawn(Failing)
        for _ in range(100):
            ref.tell("fail")
        assert ref.ask("done") == "done"
        reports = system.failures()
        assert len(reports) == 32
        assert reports[-1].restarts == 99


def test_a_message_whose_repr_fails_does_not_break_the_tree():
    class Odd:
        def __repr__(self):
            raise RuntimeError("no")

    class Holding(Actor):
        def on_receive(self, message):
            return self.system.tree()

    with ActorSystem() as system:
        tree = system.spawn(Holding).ask(Odd())
        assert tree.children[0].message == "<Odd, whose repr raised RuntimeError>"
