"""What must not bring an actor, its timers or its system to a standstill."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import math
import pickle
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

import actors
from actors import (
    Actor,
    ActorFailed,
    ActorSystem,
    Bounded,
    ChildSpec,
    InvalidOption,
    Supervision,
    Timeout,
    UnexpectedCoroutine,
)

TOLERANT = Supervision(intensity=1000)


@dataclasses.dataclass(frozen=True)
class NotFound(Exception):
    """Takes no notes."""

    what: str


class Finding(Actor):
    def on_receive(self, message):
        if message == "nothing":
            raise NotFound("it")
        return message


class FindingOnLoop(Actor):
    async def on_receive(self, message):
        if message == "nothing":
            raise NotFound("it")
        return message


@pytest.mark.parametrize(
    "spec", [ChildSpec(Finding), ChildSpec(FindingOnLoop), ChildSpec(Finding, dispatcher="pinned")]
)
def test_an_exception_that_takes_no_notes_is_an_answer_as_any_other(spec):
    with ActorSystem() as system:
        ref = system.spawn(spec)
        with pytest.raises(NotFound):
            ref.request("nothing").get(timeout=20)
        with pytest.raises(NotFound):
            ref.ask("nothing")
        assert ref.ask("still here") == "still here"


@pytest.mark.parametrize("seconds", [1e10, math.inf])
def test_a_timer_of_centuries_does_not_hold_up_the_others(seconds):
    class Waiting(Actor):
        def on_receive(self, message):
            match message:
                case "start":
                    self.timers.start("never", "never", after=seconds)
                    self.timers.start("soon", "soon", after=0.01)
                case "soon":
                    rang.set()

    rang = threading.Event()
    with ActorSystem(watchdog=seconds) as system:
        system.spawn(Waiting).tell("start")
        assert rang.wait(20)


def test_supervision_of_another_type_is_refused_at_once():
    class Odd(Actor):
        supervision = "one_for_all"

    with pytest.raises(InvalidOption, match="supervision"):
        ActorSystem(supervision="one_for_all")
    with ActorSystem() as system, pytest.raises(InvalidOption, match="supervision"):
        system.spawn(Odd)


def test_a_full_mailbox_does_not_keep_an_asker_longer_than_its_timeout():
    class Held(Actor):
        mailbox = Bounded(1, "block")

        def on_receive(self, message):
            if message == "hold":
                entered.set()
                gate.wait(20)
            return message

    entered, gate = threading.Event(), threading.Event()
    with ActorSystem() as system:
        ref = system.spawn(Held)
        ref.tell("hold")
        assert entered.wait(20)
        ref.tell("fills it")
        with pytest.raises(Timeout):
            ref.ask("too late", timeout=0.05)
        waiting = ref.request("in time")
        gate.set()
        assert waiting.get(timeout=20) == "in time"


async def test_giving_up_the_wait_for_a_shutdown_takes_its_report_from_nobody():
    class Slow(Actor):
        async def on_receive(self, message):
            await gate.wait()

    gate = asyncio.Event()
    system = ActorSystem()
    async with system:
        system.spawn(ChildSpec(Slow, shutdown=20)).tell("work")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(system.shutdown(), 0.05)
        assert not system.shutdown().cancel()
        gate.set()
    assert (await system.shutdown()).abandoned == ()


def test_context_variables_pass_from_a_pinned_actor_to_the_pool():
    variable = contextvars.ContextVar("variable", default=None)

    class Reading(Actor):
        def on_receive(self, message):
            return variable.get()

    class Passing(Actor):
        dispatcher = "pinned"

        def on_receive(self, ref):
            return ref.ask("read")

    with ActorSystem() as system:
        token = variable.set("mine")
        try:
            assert system.spawn(Passing).ask(system.spawn(Reading)) == "mine"
        finally:
            variable.reset(token)


def test_a_coroutine_that_an_async_handler_returns_is_an_error():
    class Forgetful(Actor):
        async def on_receive(self, message):
            return self.work() if message == "forget" else message

        async def work(self):
            return "never"

    with ActorSystem(supervision=TOLERANT) as system:
        heard = []
        system.events.subscribe(heard.append, ActorFailed)
        ref = system.spawn(Forgetful)
        with pytest.raises(UnexpectedCoroutine, match="work"):
            ref.request("forget").get(timeout=20)
        ref.tell("forget")
        assert ref.ask("done") == "done"
        assert isinstance(heard[0].reason, UnexpectedCoroutine)


def test_a_full_member_does_not_keep_the_rest_of_a_group_from_hearing():
    class Listening(Actor):
        def __init__(self, gate):
            super().__init__()
            self.gate = gate

        def on_receive(self, message):
            if message == "hold":
                self.gate.wait(20)
            return message

    gate = threading.Event()
    with ActorSystem() as system:
        full = system.spawn(ChildSpec(Listening, (gate,), mailbox=Bounded(1)))
        free = system.spawn(Listening, gate)
        for ref in (full, free):
            system.groups.join("all", ref)
        while system.groups.tell("all", "hold") == 2:
            pass
        gate.set()
        assert free.ask("done") == "done"


def test_a_failure_of_the_runtime_in_a_turn_fails_the_actor_and_answers_its_request(monkeypatch):
    from actors._cell import Cell

    answer = Cell._answer

    def broken(self, future, result):
        if result == "break":
            raise ZeroDivisionError("a bug")
        answer(self, future, result)

    monkeypatch.setattr(Cell, "_answer", broken)
    for spec in (
        ChildSpec(Finding),
        ChildSpec(FindingOnLoop),
        ChildSpec(Finding, dispatcher="pinned"),
    ):
        with ActorSystem(supervision=TOLERANT) as system:
            ref = system.spawn(spec)
            with pytest.raises(Exception, match="could not go on") as caught:
                ref.request("break").get(timeout=20)
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
            assert ref.request("well").get(timeout=20) == "well"
            assert system.tree().children[0].restarts == 1


ERRORS = [
    Timeout(1.5),
    InvalidOption("option", 3, "a text"),
    actors.NameTaken("one", "/"),
    actors.MailboxFull("/full", 3, "undelivered"),
    actors.RestartLimitExceeded("/team", 3, 5.0),
    actors.DeadlineExceeded("the request", 0.5),
    actors.ForkedSystem("served"),
    actors.WouldDeadlock(["/a", "/b", "/a"]),
    actors.MissingExtra("openai"),
    actors.ActorDeadError("it is dead"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_come_out_of_a_process_pool_as_they_went_in(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.slow
def test_a_system_that_nobody_shut_down_is_shut_down_at_exit():
    program = """
        from actors import Actor, ActorSystem
        class Sync(Actor):
            def on_stop(self): print("sync", flush=True)
        class Async(Actor):
            async def on_receive(self, message):
                import asyncio
                try: await asyncio.Event().wait()
                finally: print("finally", flush=True)
            async def on_stop(self): print("async", flush=True)
        from actors import ChildSpec
        system = ActorSystem()
        system.spawn(Sync)
        system.spawn(ChildSpec(Async, shutdown=0.1)).tell("wait")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sorted(done.stdout.split()) == ["finally", "sync"]
    assert (done.returncode, done.stderr) == (0, "")


# -- signals --------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


class InTwoSteps(Actor):
    """Sends the main thread a signal between two steps."""

    def __init__(self):
        super().__init__()
        self.begun = self.ended = 0

    def on_receive(self, message):
        if message == "state":
            return self.begun, self.ended
        self.begun += 1
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        message.wait(20)
        self.ended += 1
        return None


@pytest.fixture
def raising_signal():
    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, before)


HAS_SIGNALS = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")


@HAS_SIGNALS
@pytest.mark.usefixtures("raising_signal")
def test_what_a_signal_handler_raises_ends_the_handler_that_an_ask_runs():
    with ActorSystem() as system:
        ref = system.spawn(InTwoSteps)
        with pytest.raises(Interrupted):
            ref.ask(threading.Event())
        assert ref.ask("state") == (1, 0)


@HAS_SIGNALS
@pytest.mark.usefixtures("raising_signal")
@pytest.mark.parametrize(
    "ask",
    [lambda ref, gate: ref.ask(gate, timeout=60), lambda ref, gate: ref.request(gate).get()],
    ids=["timeout", "request"],
)
def test_what_a_signal_handler_raises_leaves_the_handler_alone_where_one_only_waits(ask):
    gate = threading.Event()
    with ActorSystem() as system:
        ref = system.spawn(InTwoSteps)
        with pytest.raises(Interrupted):
            ask(ref, gate)
        gate.set()
        assert ref.ask("state") == (1, 1)
