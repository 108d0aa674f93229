"""pykka's documentation, promise by promise, asked of pykka's own actors and of ours alike.

`test_pykka_compat` has the everyday calls, `test_pykka_proxies` what concerns proxies and futures.
At the end stands what differs: each row of "Differences from pykka" in `actors/README.md`.
"""

from __future__ import annotations

import inspect
import logging
import signal
import subprocess
import sys
import threading
import traceback
import uuid
from typing import NamedTuple

import pykka
import pykka.debug
import pytest
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

import actors

# -- the same names and signatures -----------------------------------------------------------------

PAIRS = [
    (pykka.ThreadingActor, actors.Actor),
    (pykka.ActorRef, actors.ActorRef),
    (pykka.ThreadingFuture, actors.Future),
]


def public(cls):
    names = set(dir(cls))
    for ancestor in cls.__mro__:
        names.update(vars(ancestor).get("__annotations__", ()))
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_all_that_is_public_in_pykka_exists_here(theirs, ours):
    assert public(theirs) - public(ours) <= {"use_daemon_thread"}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (getattr(theirs, name), getattr(ours, name))
        for theirs, ours in PAIRS
        for name in sorted(public(theirs))
        if inspect.isroutine(getattr(theirs, name, None))
    ],
)
def test_what_pykkas_methods_take_ours_take(theirs, ours):
    taken = inspect.signature(ours).parameters
    for name, parameter in inspect.signature(theirs).parameters.items():
        assert taken[name].kind == parameter.kind
        assert taken[name].default == parameter.default


def test_our_errors_are_pykkas():
    assert issubclass(actors.ActorDeadError, pykka.ActorDeadError)
    assert issubclass(actors.Timeout, pykka.Timeout)
    assert issubclass(actors.DeadlineExceeded, pykka.Timeout)


# -- starting --------------------------------------------------------------------------------------


def test_the_constructor_runs_where_the_actor_is_started_and_before_it_is_registered(either):
    class Curious(either):
        def __init__(self, *args, **kwargs):
            super().__init__()
            self.arguments = args, kwargs
            self.thread = threading.current_thread()
            self.known = pykka.ActorRegistry.get_by_urn(self.actor_urn)
            self.alive = self.actor_ref.is_alive()
            self.is_stopped = self.actor_stopped.is_set()

    proxy = Curious.start(1, name="n", message=None).proxy()
    assert proxy.arguments.get(timeout=20) == ((1,), {"name": "n", "message": None})
    assert proxy.thread.get(timeout=20) is threading.current_thread()
    assert proxy.known.get(timeout=20) is None
    assert proxy.alive.get(timeout=20) is True
    assert proxy.is_stopped.get(timeout=20) is False


def test_on_start_runs_after_the_actor_is_registered(either, notes):
    class Curious(either):
        def on_start(self):
            notes.append(pykka.ActorRegistry.get_by_urn(self.actor_urn) == self.actor_ref)

    Curious.start()
    notes.wait_for(True)


def test_urns_are_uuids_and_unique(does):
    urns = {does.start().actor_urn for _ in range(10)}
    assert len(urns) == 10
    assert {uuid.UUID(urn).version for urn in urns} == {4}


def test_actors_and_references_show_their_class_and_urn(does):
    ref = does.start()
    assert str(ref) == f"Does ({ref.actor_urn})"
    assert repr(ref) == f"<ActorRef for Does ({ref.actor_urn})>"
    assert ref.ask(ProxyCall(attr_path=("__str__",), args=(), kwargs={})) == str(ref)
    ref.stop()
    assert str(ref) == f"Does ({ref.actor_urn})"


def test_an_actor_may_have_attributes_of_any_public_name(either):
    class Own(either):
        def __init__(self):
            super().__init__()
            self.children, self.system, self.timers = ["child"], "system", {}

        def watch(self, what):
            return f"watching {what}"

    proxy = Own.start().proxy()
    assert proxy.children.get(timeout=20) == ["child"]
    assert proxy.system.get(timeout=20) == "system"
    assert proxy.watch("it").get(timeout=20) == "watching it"
    proxy.children = []
    assert proxy.children.get(timeout=20) == []


# -- stopping --------------------------------------------------------------------------------------


def test_an_actor_that_stops_itself_handles_what_it_has_and_nothing_later(does, notes, gate):
    ref = does.start(notes)
    gate.close(ref)
    ref.tell(lambda me: (me.stop(), me.actor_ref.tell(lambda me: me.notes.append("late"))))
    ref.tell(lambda me: me.notes.append("queued"))
    gate.open()
    assert ref.actor_stopped.wait(20)
    notes.wait_for("on_stop")
    assert notes == ["on_start", "queued", "on_stop"]


def test_stopping_twice_from_inside_is_stopping_once(does, notes):
    ref = does.start(notes)
    ref.ask(lambda me: (me.stop(), me.stop()))
    assert ref.actor_stopped.wait(20)
    notes.wait_for("on_stop")
    assert notes == ["on_start", "on_stop"]


def test_an_actor_may_stop_in_on_start(either, notes):
    class Brief(either):
        def on_start(self):
            self.stop()

        def on_stop(self):
            notes.append("on_stop")

    ref = Brief.start()
    notes.wait_for("on_stop")
    assert ref.actor_stopped.wait(20)


def test_who_stops_an_actor_that_is_being_stopped_hears_true(does, gate):
    ref = does.start()
    gate.close(ref)
    futures = [ref.stop(block=False) for _ in range(3)]
    gate.open()
    assert pykka.get_all(futures, timeout=20) == [True] * 3
    assert ref.stop() is False


def test_a_stop_that_takes_too_long_raises_timeout_and_goes_on(does, gate):
    ref = does.start()
    gate.close(ref)
    with pytest.raises(pykka.Timeout):
        ref.stop(timeout=0.01)
    gate.open()
    assert ref.actor_stopped.wait(20)


def test_an_error_in_on_stop_does_not_keep_the_actor_alive(either):
    class Bad(either):
        def on_stop(self):
            raise OSError

    ref = Bad.start()
    assert ref.stop() is True
    assert not ref.is_alive()
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is None


@pytest.mark.parametrize("hook", ["on_start", "on_failure"])
def test_an_error_in_another_hook_stops_the_actor(either, hook):
    class Bad(either):
        def on_receive(self, message):
            raise LookupError

    def fail(self, *_):
        raise OSError

    setattr(Bad, hook, fail)
    ref = Bad.start()
    if hook == "on_failure":
        ref.tell("fail")
    assert ref.actor_stopped.wait(20)
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("x", timeout=20)


def test_the_event_of_the_end_is_the_same_wherever_it_is_looked_at(does):
    ref = does.start()
    event = ref.actor_stopped
    assert event is ref.actor_stopped
    assert ref.ask(lambda me: me.actor_stopped) is event
    assert not event.is_set()
    ref.stop()
    assert event.is_set()
    assert ref.actor_stopped.is_set()


def test_a_handler_may_look_for_the_end_of_its_actor(does, notes):
    ref = does.start(notes)

    def work(me):
        while not me.actor_stopped.is_set() and len(me.notes) < 1000:
            me.notes.append("piece")

    ref.ask(work)
    assert notes.count("piece") == 999


# -- messages --------------------------------------------------------------------------------------


class Named(NamedTuple):
    to: str
    value: int


@pytest.mark.parametrize(
    "message",
    [
        None,
        False,
        0,
        "",
        (),
        {},
        {"command": "stop"},
        ("a", "b", "c"),
        ("looks like ours", None, None),
        (None, pykka.ThreadingFuture(), None),
        Named("x", 1),
        [1, [2]],
        b"bytes",
        object(),
        ValueError("as a value"),
        ValueError,
        pykka.ThreadingFuture(),
        actors.Future(),
        iter([]),
    ],
    ids=repr,
)
def test_a_message_and_a_reply_may_be_anything_and_are_not_copied(echo, message):
    assert echo.ask(message) is message
    assert echo.ask(message, block=False).get(timeout=20) is message
    assert echo.tell(message) is None


def test_an_actor_that_handles_no_messages_answers_none(either):
    class Deaf(either):
        pass

    assert Deaf.start().ask("anything") is None


def test_what_a_told_message_returns_is_ignored(echo):
    echo.tell("answered to nobody")
    assert echo.ask("next") == "next"


def test_a_message_asked_too_impatiently_is_handled_all_the_same(does, notes, gate):
    ref = does.start(notes)
    gate.close(ref)
    with pytest.raises(pykka.Timeout):
        ref.ask(lambda me: me.notes.append("late"), timeout=0.01)
    gate.open()
    notes.wait_for("late")


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_a_future_that_is_not_answered_in_time_can_be_asked_again(does, gate, timeout):
    ref = does.start()
    gate.close(ref)
    future = ref.ask(lambda me: "at last", block=False)
    with pytest.raises(pykka.Timeout):
        future.get(timeout=timeout)
    gate.open()
    assert future.get(timeout=20) == future.get() == "at last"


def test_an_exception_is_raised_as_it_was_with_the_place_it_comes_from(does):
    error = LookupError("facts", 3)
    future = does.start().ask(lambda me: me.fail(error), block=False)
    for _ in range(3):
        with pytest.raises(LookupError) as caught:
            future.get(timeout=20)
        assert caught.value is error
        places = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert places.count("fail") == 1, "and does not grow with every reader"


def test_on_failure_gets_what_sys_exc_info_has(either, notes):
    class Fails(either):
        def on_receive(self, message):
            raise message

        def on_failure(self, *exc_info):
            notes.append(exc_info)

    error = LookupError("told")
    ref = Fails.start()
    ref.tell(error)
    assert ref.actor_stopped.wait(20)
    notes.wait_for((LookupError, error, error.__traceback__))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, BaseException])
def test_what_is_no_exception_stops_all_actors(does, error):
    others = [does.start() for _ in range(3)]
    failing = does.start()
    failing.tell(lambda me: me.fail(error))
    for ref in (failing, *others):
        assert ref.actor_stopped.wait(20)
    for ref in others:
        ref.stop()
    assert pykka.ActorRegistry.get_all() == []


def test_an_actor_may_ask_another_and_tell_itself(does, notes):
    other = does.start()
    ref = does.start(notes)
    assert ref.ask(lambda me: other.ask(lambda him: him.actor_urn)) == other.actor_urn
    ref.ask(lambda me: me.actor_ref.tell(lambda me: me.notes.append("from myself")))
    notes.wait_for("from myself")


class Part:
    def say(self):
        return "said"


def test_pykkas_own_messages_can_be_sent_without_a_proxy(either):
    class Account(either):
        def __init__(self):
            super().__init__()
            self.balance = 0
            self.part = pykka.traversable(Part())

        def pay(self, amount, *, twice=False):
            self.balance += amount * (1 + twice)
            return self.balance

    ref = Account.start()
    assert ref.ask(ProxyCall(attr_path=("pay",), args=(5,), kwargs={"twice": True})) == 10
    assert ref.tell(ProxyCall(attr_path=("pay",), args=(1,), kwargs={})) is None
    assert ref.ask(ProxyGetAttr(attr_path=("balance",))) == 11
    assert ref.ask(ProxySetAttr(attr_path=("balance",), value=3)) is None
    assert ref.ask(ProxyCall(attr_path=("part", "say"), args=(), kwargs={})) == "said"
    with pytest.raises(AttributeError):
        ref.ask(ProxyGetAttr(attr_path=("missing",)))


# -- the registry ----------------------------------------------------------------------------------


def test_all_are_stopped_last_started_first_and_one_after_the_other(either, notes):
    class Ordered(either):
        def __init__(self, n):
            super().__init__()
            self.n = n

        def on_stop(self):
            notes.append(self.n)

    for n in range(20):
        Ordered.start(n)
    assert pykka.ActorRegistry.stop_all() == [True] * 20
    assert notes == list(reversed(range(20)))


def test_all_can_be_stopped_without_waiting(does, gate):
    refs = [does.start() for _ in range(3)]
    gate.close(refs[0])
    futures = pykka.ActorRegistry.stop_all(block=False)
    gate.open()
    assert pykka.get_all(futures, timeout=20) == [True] * 3


def test_stopping_all_raises_timeout_for_one_that_does_not_stop(does, gate):
    gate.close(does.start())
    with pytest.raises(pykka.Timeout):
        pykka.ActorRegistry.stop_all(timeout=0.01)


def test_the_registry_has_what_runs_in_the_order_it_was_started(either):
    class One(either):
        pass

    class Two(One):
        pass

    refs = [One.start(), Two.start(), One.start()]
    registry = pykka.ActorRegistry
    assert registry.get_all() == refs
    assert registry.get_by_class(One) == refs
    assert registry.get_by_class(Two) == [refs[1]]
    assert registry.get_by_class(pykka.Actor) == refs
    assert registry.get_by_class_name("One") == [refs[0], refs[2]]
    assert registry.get_by_urn(refs[1].actor_urn) == refs[1]
    assert registry.get_by_urn("urn:uuid:unknown") is None
    refs[0].stop()
    assert registry.get_all() == refs[1:]
    registry.get_all().clear()
    assert registry.get_all() == refs[1:], "the list is a copy"


def test_an_actor_that_failed_is_not_in_the_registry(does):
    ref = does.start()
    ref.tell(lambda me: me.fail(LookupError))
    assert ref.actor_stopped.wait(20)
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is None


def test_a_broadcast_reaches_all_or_those_of_a_class(either):
    received = [], []

    class One(either):
        def on_receive(self, message):
            received[0].append(message)

    class Other(either):
        def on_receive(self, message):
            received[1].append(message)

    One.start(), Other.start()
    pykka.ActorRegistry.broadcast({"to": "all"})
    pykka.ActorRegistry.broadcast("to one", target_class=One)
    pykka.ActorRegistry.broadcast("to the other", target_class="Other")
    pykka.ActorRegistry.broadcast("to nobody", target_class="Unknown")
    pykka.ActorRegistry.stop_all()
    assert received == ([{"to": "all"}, "to one"], [{"to": "all"}, "to the other"])


# -- logging ---------------------------------------------------------------------------------------


def records(caplog, ref):
    """What was logged of an actor: level, text without its name, type of the exception."""
    return [
        (
            record.levelname,
            record.getMessage().replace(str(ref), "X"),
            record.exc_info[0] if record.exc_info else None,
        )
        for record in caplog.records
        if record.name.split(".")[0] == "pykka" and ref.actor_urn in record.getMessage()
    ]


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.DEBUG, "pykka")

    def of(ref):
        ref.stop()  # the last lines come before this returns
        return records(caplog, ref)

    return of


def test_the_life_of_an_actor_is_logged_for_debugging(does, logged):
    lines = logged(does.start())
    assert {level for level, _, _ in lines} == {"DEBUG"}
    assert [text for _, text, _ in lines] == [
        "Registered X",
        "Starting X",
        "Unregistered X",
        "Stopped X",
    ]


def test_an_actor_that_was_never_there_is_not_logged(either, caplog):
    class Broken(either):
        def __init__(self):
            super().__init__()
            raise OSError

    caplog.set_level(logging.DEBUG, "pykka")
    with pytest.raises(OSError):
        Broken.start()
    assert [record for record in caplog.records if "Broken" in record.getMessage()] == []


def test_an_unexpected_message_is_a_warning(does, logged):
    ref = does.start()
    assert ref.ask({"unknown": 1}) is None
    warning = ("WARNING", "Unexpected message received by X: {'unknown': 1}", None)
    assert warning in logged(ref)


def test_an_exception_that_is_returned_to_its_caller_is_information(does, logged):
    ref = does.start()
    with pytest.raises(LookupError):
        ref.proxy().fail(LookupError).get(timeout=20)
    assert ("INFO", "Exception returned from X to caller:", LookupError) in logged(ref)


def test_an_exception_that_nobody_gets_is_an_error(does, logged):
    ref = does.start()
    ref.tell(lambda me: me.fail(LookupError))
    assert ref.actor_stopped.wait(20)
    error = ("ERROR", "Unhandled exception in X:", LookupError)
    assert [line for line in logged(ref) if line[0] != "DEBUG"] == [error]


@pytest.mark.parametrize("hook", ["on_start", "on_stop", "on_failure"])
def test_an_exception_in_a_hook_is_an_error(does, logged, hook, eventually):
    def fail(self, *_):
        raise OSError

    setattr(does, hook, fail)
    ref = does.start()
    wanted = 1
    if hook == "on_failure":
        ref.tell(lambda me: me.fail(LookupError))
        wanted = 2

    def errors():
        return [line[1:] for line in logged(ref) if line[0] == "ERROR"]

    eventually(lambda: len(errors()) == wanted, "it is logged")
    assert ("Unhandled exception in X:", OSError) in errors()


def test_what_stops_all_actors_is_logged_for_debugging(does, logged, eventually):
    ref = does.start()
    ref.tell(lambda me: me.fail(SystemExit(3)))
    line = ("DEBUG", "SystemExit(3) in X. Stopping all actors.", None)
    eventually(lambda: line in logged(ref), "it is logged")
    assert [line for line in logged(ref) if line[0] == "ERROR"] == []


def test_nothing_is_written_unless_a_program_wants_it(either, capfd, notes):
    class Fails(either):
        def on_receive(self, message):
            raise LookupError

        def on_failure(self, *_):
            notes.append("on_failure")

    Fails.start().tell("fail")
    notes.wait_for("on_failure")
    pykka.ActorRegistry.stop_all(timeout=20)
    assert capfd.readouterr() == ("", "")
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("pykka").handlers)


# -- debugging -------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")
def test_the_stacks_of_actors_that_wait_for_each_other_can_be_logged(either, caplog):
    """As a signal handler, as the documentation has it, on the main thread."""
    entered, release = threading.Event(), threading.Event()

    class Asks(either):
        def asks_the_other(self, other):
            return other.waits_inside().get(timeout=20)

    class Waits(either):
        def waits_inside(self):
            entered.set()
            release.wait(20)

    waiting = Asks.start().proxy().asks_the_other(Waits.start().proxy())
    assert entered.wait(20)
    before = signal.signal(signal.SIGUSR1, pykka.debug.log_thread_tracebacks)
    try:
        with caplog.at_level(logging.CRITICAL, "pykka"):
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
        release.set()
    waiting.get(timeout=20)
    stacks = [record.getMessage() for record in caplog.records]
    assert all(stack.startswith("Current state of ") for stack in stacks)
    for handler, cls in (("asks_the_other", "Asks"), ("waits_inside", "Waits")):
        (stack,) = (stack for stack in stacks if f"in {handler}\n" in stack)
        assert cls.lower() in stack.splitlines()[0].lower(), "whose it is stands in the first line"
    assert any(stack.startswith("Current state of MainThread") for stack in stacks)


# -- differences from pykka: the rows of the table in actors/README.md -----------------------------


def test_failures_of_every_kind_call_on_failure(notes):
    class Fails(actors.Actor):
        def __init__(self, in_start):
            self.in_start = in_start

        def on_start(self):
            if self.in_start:
                raise OSError

        def on_receive(self, message):
            raise SystemExit

        def on_stop(self):
            notes.append("on_stop")

        def on_failure(self, exception_type, exception_value, traceback):
            notes.append(exception_type)

    Fails.start(in_start=True)
    notes.wait_for(OSError)
    Fails.start(in_start=False).tell("fail")
    notes.wait_for(SystemExit)
    assert notes == [OSError, SystemExit]


def test_the_last_hook_runs_before_the_actor_counts_as_dead(notes):
    class Ends(actors.Actor):
        def on_stop(self):
            registered = pykka.ActorRegistry.get_by_urn(self.actor_urn) is not None
            notes.append((self.actor_ref.is_alive(), self.actor_stopped.is_set(), registered))

    Ends.start().stop()
    assert notes == [(True, False, True)]


def test_a_request_is_answered_even_if_its_handler_exits():
    class Exits(actors.Actor):
        def on_receive(self, message):
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        Exits.start().ask("exit", timeout=20)


async def test_blocking_calls_on_a_running_loop_are_refused_and_awaiting_does_not_block():
    class Plain(actors.Actor):
        attribute = 1

        def on_receive(self, message):
            return message

    ref = Plain.start()
    proxy = ref.proxy()
    for call in (
        lambda: ref.ask("x"),
        lambda: ref.stop(),  # noqa: PLW0108 - as the others
        proxy.attribute.get,
        lambda: setattr(proxy, "attribute", 2),
    ):
        with pytest.raises(actors.WouldBlockLoop):
            call()
    assert await ref.ask("x", block=False) == "x"
    assert await proxy.attribute == 1
    assert await ref.stop(block=False) is True


def test_a_public_async_method_takes_an_actor_to_the_loop_where_proxies_call_it():
    class Async(actors.Actor):
        async def method(self):
            return "awaited"

        def sync(self):
            return "called"

    proxy = Async.start().proxy()
    assert proxy.method().get(timeout=20) == "awaited"
    assert proxy.sync().get(timeout=20) == "called"
    proxy.stop().get(timeout=20)


def test_a_program_ends_although_an_actor_was_not_stopped():
    """Its last hooks run first; `use_daemon_thread` makes no difference."""
    program = (
        "import actors\n"
        "class Kept(actors.Actor):\n"
        "    use_daemon_thread = False\n"
        "    def on_receive(self, message): print(message)\n"
        "    def on_stop(self): print('stopped')\n"
        "Kept.start().tell('handled')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout, ended.stderr) == ("handled\nstopped\n", "")


def test_which_method_receives_is_settled_when_the_instance_is_made():
    class Becomes(actors.Actor):
        def __init__(self, early):
            if early:
                self.on_receive = self.other

        def on_receive(self, message):
            self.on_receive = self.other
            return "first"

        def other(self, message):
            return "other"

    ref = Becomes.start(early=False)
    assert [ref.ask("x"), ref.ask("x")] == ["first", "first"]
    assert Becomes.start(early=True).ask("x") == "other"
    pykka.ActorRegistry.stop_all(timeout=20)


def test_an_instance_made_by_hand_has_no_reference():
    class Plain(actors.Actor):
        def method(self):
            return "called"

    plain = Plain("any", arguments=1)
    assert plain.method() == "called"
    assert str(plain) == "Plain (not started)"
    for name in ("actor_ref", "actor_urn", "actor_inbox", "actor_stopped"):
        with pytest.raises(actors.CallboardError, match="start it with"):
            getattr(plain, name)


def test_a_combining_function_runs_once_even_if_it_fails():
    calls = []

    def fail(value):
        calls.append(value)
        raise LookupError

    future = actors.Future()
    future.set(1)
    mapped = future.map(fail)
    for _ in range(2):
        with pytest.raises(LookupError):
            mapped.get()
    assert calls == [1]


def test_only_actors_without_a_supervisor_are_in_the_registry(system):
    class Plain(actors.Actor):
        pass

    supervised, alone = system.spawn(Plain, name="plain"), Plain.start()
    assert pykka.ActorRegistry.get_by_class(Plain) == [alone]
    assert str(supervised) == "Plain (/plain)"
    alone.stop()


def test_an_actor_that_was_killed_and_abandoned_leaves_the_registry(eventually):
    release = threading.Event()

    class Hangs(actors.Actor):
        def on_receive(self, message):
            release.wait(20)

    ref = Hangs.start()
    ref.tell("hang")
    ref.kill()
    eventually(lambda: pykka.ActorRegistry.get_by_class(Hangs) == [], "it is abandoned")
    assert not ref.is_alive()
    release.set()
