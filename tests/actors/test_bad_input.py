"""Bad input gets an error of the tree that says what to do, before anything is begun with it."""

from __future__ import annotations

import asyncio
import math
from fractions import Fraction

import pykka
import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorSystem,
    Agent,
    Backoff,
    Bounded,
    BudgetPool,
    CallboardError,
    ChildSpec,
    Deadline,
    DecisionLog,
    EventBus,
    ForeignRef,
    Future,
    InvalidOption,
    LogError,
    Price,
    Supervision,
    Timeout,
    Tracer,
    UnexpectedCoroutine,
    UnknownModel,
    WouldBlockLoop,
    get_all,
    resolve_model,
    run,
    split_text,
)
from actors._clock import SystemClock
from actors.testing import Simulation

NAN, INF = math.nan, math.inf
HALF = "\ud800"
"""Half of a surrogate pair, which no file can hold."""


class Worker(Actor):
    """Answers with what it is asked, or with what it returns of itself."""

    def on_receive(self, message):
        return message(self) if callable(message) else message


class PykkaWorker(pykka.ThreadingActor):
    pass


@pytest.fixture
def ref(system):
    return system.spawn(Worker)


def refused(kind, text):
    """Expect exactly that type of error, with that text in it."""
    return pytest.raises(kind, match=text)


@pytest.mark.parametrize("option", ["block", "drain"])
@pytest.mark.parametrize("value", ["x", None, 0], ids=repr)
def test_a_stop_that_is_told_neither_yes_nor_no_stops_nothing(ref, option, value):
    with refused(InvalidOption, f"{option}={value!r}: expected True or False"):
        ref.stop(**{option: value})
    assert ref.ask("still there") == "still there"


# -- how long to wait --------------------------------------------------------------------------

NO_SECONDS = ["1", True, NAN, [1], object(), 1j]


@pytest.mark.parametrize("timeout", NO_SECONDS, ids=repr)
def test_a_timeout_that_is_no_number_of_seconds_is_refused_before_anything_is_sent(ref, timeout):
    said = "timeout=.*a number of seconds, or None to wait as long as it takes"
    before = ref.system.stats().sent
    with refused(InvalidOption, said):
        ref.ask(1, timeout=timeout)
    with refused(InvalidOption, "timeout=.*seconds above zero, or None"):
        ref.request(1, timeout=timeout)
    with refused(InvalidOption, said):
        ref.stop(timeout=timeout)
    assert ref.is_alive()
    assert ref.system.stats().sent == before
    answered = ref.request("answer")
    assert answered.get() == "answer"
    for future in (Future(), answered, answered.map(str), Future().map(str)):
        with refused(InvalidOption, said):
            future.get(timeout=timeout)
    with refused(InvalidOption, said):
        get_all([answered], timeout=timeout)


def test_what_is_left_of_a_deadline_that_has_passed_is_no_time_as_in_pykka(ref):
    for timeout in (-1, 0, -INF):
        with pytest.raises(Timeout):
            Future().get(timeout=timeout)
        with pytest.raises(Timeout):
            get_all([Future()], timeout=timeout)
    with refused(InvalidOption, "seconds above zero"):
        ref.request(1, timeout=-1)


@pytest.mark.parametrize("timeout", [5, 5.0, INF, 10**400, Fraction(5)], ids=lambda n: f"{n}"[:9])
def test_any_real_number_of_seconds_can_be_waited(ref, timeout):
    assert ref.ask("answer", timeout=timeout) == "answer"
    assert ref.request("answer", timeout=min(timeout, INF)).get(timeout=timeout) == "answer"
    assert get_all([ref.request("answer")], timeout=timeout) == ["answer"]


@pytest.mark.parametrize("after", [10**400, INF], ids=["whole", "inf"])
def test_a_timer_may_be_due_when_no_clock_comes_to_it(ref, after):
    ref.ask(lambda me: me.timers.start("key", "message", after=after))
    assert ref.ask(lambda me: me.timers.is_active("key"))


@pytest.mark.parametrize("seconds", [10**400, INF], ids=["whole", "inf"])
def test_a_deadline_that_no_clock_comes_to_is_refused(seconds):
    for make in (Deadline, lambda s: ChildSpec(Worker, shutdown=s), lambda s: Backoff(1, s)):
        with refused(InvalidOption, "a finite number of seconds"):
            make(seconds)


def test_a_timeout_that_nobody_waits_for_is_not_looked_at_as_in_pykka(ref):
    assert ref.ask("answer", block=False, timeout="soon").get() == "answer"


# -- futures -----------------------------------------------------------------------------------

FUTURES = {
    "map": (lambda f: f.map(1), "func=1: expected a function of the value"),
    "filter": (lambda f: f.filter("x"), "func='x': expected a function of one item"),
    "reduce": (lambda f: f.reduce(None), "func=None: expected a function of two items"),
    "join": (lambda f: f.join(1), "futures=1: expected futures, as `request`"),
    "join a dict": (lambda f: f.join({}), "futures={}: expected futures, as `request`"),
    "callback": (lambda f: f.add_done_callback(1), "callback=1: expected a function of the"),
    "hook": (lambda f: f.set_get_hook(1), "func=1: expected a function of the timeout"),
    "exception": (lambda f: f.set_exception("x"), "exc_info='x': expected an exception"),
    "class": (lambda f: f.set_exception(ValueError), "expected an exception"),
    "triple": (lambda f: f.set_exception((1, 2, 3)), "expected an exception"),
    "try exception": (lambda f: f.try_set_exception("x"), "error='x': expected an exception"),
}


@pytest.mark.parametrize("name", FUTURES)
def test_what_a_future_cannot_do_is_refused_when_it_is_asked_for_and_leaves_it_open(name):
    call, said = FUTURES[name]
    future = Future()
    with refused(InvalidOption, said):
        call(future)
    future.set("answer")
    assert future.get() == "answer"


def test_a_filter_of_none_keeps_what_is_true_as_in_pykka(ref):
    assert ref.request([0, 1, "", "x"]).filter(None).get() == [1, "x"]


@pytest.mark.parametrize("futures", [[1, 2], "ab", None, 1, [Future(), None], [{}]], ids=repr)
def test_get_all_of_what_is_no_future_is_refused_before_one_is_waited_for(futures):
    with refused(InvalidOption, "futures="):
        get_all(futures)


def test_get_all_passes_on_the_time_out_of_a_handler_and_names_its_own():
    answer = Future()
    answer.set_exception(Timeout(7, "something inside"))
    for timeout in (None, 20):
        with refused(Timeout, "something inside"):
            get_all([answer], timeout=timeout)
    with refused(Timeout, "all of the replies"):
        get_all([pykka.ThreadingFuture()], timeout=0)


# -- what is spawned ---------------------------------------------------------------------------

SPECS = {
    "args=1": ({"args": 1}, "args=1: expected a tuple"),
    "args='ab'": ({"args": "ab"}, "args='ab': expected a tuple"),
    "args=None": ({"args": None}, "args=None: expected a tuple or list"),
    "kwargs=[]": ({"kwargs": []}, r"kwargs=\[\]: expected a dict from argument names"),
    "kwargs={1: 2}": ({"kwargs": {1: 2}}, "expected a dict from argument names"),
    "restart": ({"restart": ["permanent"]}, "restart=.*one of 'permanent'"),
    "shutdown": ({"shutdown": "5"}, "shutdown='5': expected a finite number of seconds"),
    "shutdown=kill": ({"shutdown": "kill"}, "seconds, 0 or more, None or 'brutal_kill'"),
    "shutdown=nan": ({"shutdown": NAN}, "shutdown=nan: expected a finite number"),
    "dispatcher": ({"dispatcher": "thread"}, "dispatcher='thread': expected one of 'pool'"),
    "dispatcher=[]": ({"dispatcher": []}, r"dispatcher=\[\]: expected one of 'pool'"),
    "significant": ({"significant": "yes", "restart": "temporary"}, "'yes': expected True or"),
    "significant=1": ({"significant": 1, "restart": "temporary"}, "=1: expected True or False"),
    "crash_on": ({"crash_on": Exception}, "expected a tuple of exception types"),
    "mailbox": ({"mailbox": Bounded}, r"expected Unbounded\(\) or Bounded\(n\)"),
    "name": ({"name": 1}, "name=1: expected a non-empty string without '/'"),
    "name with /": ({"name": "a/b"}, "name='a/b': expected a non-empty string without"),
    "name, half": ({"name": HALF}, "a non-empty string without '/' that UTF-8 can hold"),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_specification_that_cannot_work_starts_nothing(system, ref, name):
    options, said = SPECS[name]
    for spawn in (
        system.spawn,
        system.spawn_service,
        lambda spec: ref.ask(lambda me: me.spawn(spec)),
    ):
        with refused(InvalidOption, said):
            spawn(ChildSpec(Worker, **options))
    assert system.stats().actors == 1
    assert ref.ask("still there") == "still there"


@pytest.mark.parametrize(
    "what", [None, 1, "Worker", [Worker], int, PykkaWorker, Future, lambda: 1], ids=repr
)
def test_only_classes_of_actors_can_be_spawned(system, ref, what):
    for spawn in (
        system.spawn,
        system.spawn_service,
        lambda what: ref.ask(lambda me: me.spawn(what)),
    ):
        with refused(InvalidOption, "expected a class derived from actors.Actor"):
            spawn(what)


ATTRIBUTES = {
    "flight_recorder='x'": ({"flight_recorder": "x"}, "whole number of messages, 0 or more"),
    "flight_recorder=-1": ({"flight_recorder": -1}, "whole number of messages, 0 or more"),
    "flight_recorder=True": ({"flight_recorder": True}, "whole number of messages"),
    "stash_capacity='x'": ({"stash_capacity": "x"}, "Odd.stash_capacity='x': expected a whole"),
    "stash_capacity=inf": ({"stash_capacity": INF}, "whole number of messages"),
    "dispatcher": ({"dispatcher": "thread"}, "Odd.dispatcher='thread': expected one of 'pool'"),
    "dispatcher=[]": ({"dispatcher": []}, "expected one of 'pool', 'loop', 'pinned', or None"),
    "supervision": ({"supervision": Supervision}, r"expected a Supervision\(\.\.\.\)"),
    "mailbox": ({"mailbox": 5}, r"mailbox=5: expected Unbounded\(\) or Bounded\(n\)"),
    "on_receive": ({"on_receive": None}, "Odd.on_receive=None: expected a method"),
    "on_stop": ({"on_stop": "x"}, "Odd.on_stop='x': expected a method"),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_class_attribute_that_makes_no_sense_is_named_when_it_is_spawned(system, name):
    attributes, said = ATTRIBUTES[name]
    odd = type("Odd", (Worker,), attributes)
    for spawn in (system.spawn, system.spawn, odd.start, lambda c: system.spawn(ChildSpec(c))):
        with refused(InvalidOption, said):
            spawn() if spawn == odd.start else spawn(odd)
    assert system.stats().actors == 0


class Yields(Actor):
    def on_receive(self, message):
        yield message


class YieldsAsync(Actor):
    async def on_receive(self, message):
        yield message


class YieldsAtStart(Actor):
    def on_start(self):
        yield


class YieldsAtStop(Actor):
    async def on_stop(self):
        yield


class Inherits(Yields):
    pass


@pytest.mark.parametrize("kind", [Yields, YieldsAsync, YieldsAtStart, YieldsAtStop, Inherits])
def test_a_hook_with_a_yield_in_it_would_never_run_and_is_refused_at_spawn(system, kind):
    for spawn in (system.spawn, system.spawn_service, lambda c: c.start()):
        with refused(UnexpectedCoroutine, "has a `yield` in it.*Return a list"):
            spawn(kind)
    assert system.stats().actors == 0


def test_a_handler_may_answer_with_a_generator_of_another_function(ref):
    assert list(ref.ask(lambda me: (n * n for n in range(3)))) == [0, 1, 4]


OPTIONS = {
    "Supervision strategy": (lambda: Supervision(strategy=[]), "strategy=.*'one_for_one'"),
    "Supervision intensity": (lambda: Supervision(intensity=True), "whole number, 0 or more"),
    "Supervision period": (lambda: Supervision(period="5"), "finite number of seconds"),
    "Supervision period=-1": (lambda: Supervision(period=-1), "seconds above zero"),
    "Backoff min=-1": (lambda: Backoff(-1, 1), "Backoff.min=-1: .* seconds above zero"),
    "Supervision backoff": (lambda: Supervision(backoff=1), "backoff=1: expected a Backoff"),
    "Supervision auto_shutdown": (lambda: Supervision(auto_shutdown=True), "'never', 'any'"),
    "Backoff": (lambda: Backoff("1", 2), "Backoff.min='1': expected a finite number"),
    "Bounded": (lambda: Bounded("1"), "capacity='1': expected a whole number above zero"),
    "Bounded overflow": (lambda: Bounded(1, []), r"overflow=\[\]: expected one of reject"),
    "Deadline": (lambda: Deadline("1"), "deadline='1': expected a number of seconds"),
    "Deadline inf": (lambda: Deadline(INF), "expected a finite number of seconds above zero"),
    "Deadline clock": (lambda: Deadline(1, clock=1), "clock=1: expected a Clock"),
    "Deadline.at": (lambda: Deadline.at("1"), "when='1': expected a point in time in seconds"),
    "Deadline.at nan": (lambda: Deadline.at(NAN), "when=nan: expected a point in time"),
    "tighten": (lambda: Deadline(1).tighten([]), r"deadline=\[\]: expected a number of seconds"),
    "ActorSystem name": (lambda: ActorSystem(1), "name=1: expected a non-empty string"),
    "ActorSystem clock": (lambda: ActorSystem(clock=object()), "clock=.*expected a Clock"),
    "ActorSystem name, half": (lambda: ActorSystem(HALF), "text that UTF-8 can hold"),
    "ActorSystem clock, class": (lambda: ActorSystem(clock=SystemClock), "expected a Clock"),
    "ActorSystem drain": (lambda: ActorSystem().shutdown(drain="x"), "drain='x': .*True or False"),
    "ActorSystem clock=0": (lambda: ActorSystem(clock=0), "clock=0: expected a Clock"),
    "ActorSystem supervision": (lambda: ActorSystem(supervision=1), r"a Supervision\(\.\.\.\)"),
    "ActorSystem watchdog": (lambda: ActorSystem(watchdog="1"), "watchdog='1': expected seconds"),
    "ActorSystem recorder": (lambda: ActorSystem(flight_recorder=-1), "whole number, 0 or more"),
    "run budget": (lambda: run(budget=[]), r"budget=\[\]: expected USD, a BudgetPool"),
    "run deadline": (lambda: run(deadline="1"), "deadline='1': expected a number of seconds"),
    "run log": (lambda: run(log="x"), "log='x': expected a DecisionLog"),
    "run run_id": (lambda: run(run_id=1), "run_id=1: expected a non-empty string, or None"),
    "run run_id, half": (lambda: run(run_id=HALF), "expected text that UTF-8 can hold"),
    "run system": (lambda: run(system="x"), "system='x': expected an ActorSystem"),
    "BudgetPool": (lambda: BudgetPool("x"), "usd='x': expected an amount of USD"),
    "BudgetPool path": (lambda: BudgetPool(path=1), "path=1: expected the path of a file"),
    "BudgetPool name": (lambda: BudgetPool(name=[]), r"name=\[\]: expected a non-empty string"),
    "BudgetPool system": (lambda: BudgetPool(system=1), "system=1: expected an ActorSystem"),
    "DecisionLog path": (lambda: DecisionLog(None), "path=None: expected the path of a file"),
    "DecisionLog fsync": (lambda: DecisionLog("x", fsync=[]), '"batch", "always" or "never"'),
    "DecisionLog verify": (lambda: DecisionLog.verify(1), "path=1: expected the path of a file"),
    "EventBus system": (lambda: EventBus(system="x"), "system='x': expected an ActorSystem"),
    "Tracer path": (lambda: Tracer([]), r"export_path=\[\]: expected the path of a file"),
    "Tracer system": (lambda: Tracer(system=1), "system=1: expected an ActorSystem"),
    "Agent worker": (lambda: Agent(1), "worker=1: expected a callable"),
    "Agent worker()": (lambda: Agent(lambda: "x"), "expected a callable that takes a prompt"),
    "Agent name": (lambda: Agent(str, name=1), "name=1: expected a non-empty string, or None"),
    "Agent name, half": (lambda: Agent(str, name=HALF), "expected text that UTF-8 can hold"),
    "Agent instructions": (lambda: Agent(str, instructions=1), "instructions=1: expected a str"),
    "Agent price": (lambda: Agent(str, price="1"), r"price='1': expected a Price\(\.\.\.\)"),
    "Agent schema": (lambda: Agent(str, schema="x"), "schema='x': expected a JSON schema"),
    "Agent system": (lambda: Agent(str, system="x"), "system='x': expected an ActorSystem"),
    "Agent timeout": (lambda: Agent(str, timeout=NAN), "finite number of seconds above zero"),
    "Price": (lambda: Price(None, 1), "input_per_mtok=None: expected a finite number of USD"),
    "split_text": (
        lambda: split_text(1, max_tokens=5, count_tokens=len),
        "text=1: expected a str",
    ),
    "split_text size": (
        lambda: split_text("a", max_tokens="5", count_tokens=len),
        "max_tokens='5': expected a whole number",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_cannot_work_is_named_with_its_value_and_what_would_be_right(name):
    make, said = OPTIONS[name]
    with refused(InvalidOption, said):
        make()


def test_a_model_that_is_no_name_is_an_unknown_model():
    with refused(UnknownModel, "model=1: expected 'local'"):
        resolve_model(1)


# -- references, paths, groups, events, timers -------------------------------------------------

REFERENCES = {
    "join": lambda me, ref: me.system.groups.join("g", ref),
    "leave": lambda me, ref: me.system.groups.leave("g", ref),
    "watch": lambda me, ref: me.watch(ref),
    "unwatch": lambda me, ref: me.unwatch(ref),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("given", [None, 1, "x", [], Worker], ids=repr)
def test_what_is_no_reference_is_refused_wherever_one_is_wanted(ref, name, given):
    with refused(InvalidOption, "ref=.*expected an ActorRef, as `spawn` returns it"):
        ref.ask(lambda me: REFERENCES[name](me, given))
    assert ref.system.groups.names() == ()


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_of_pykkas_own_is_foreign_wherever_one_of_ours_is_wanted(ref, name):
    theirs = PykkaWorker.start()
    try:
        with refused(ForeignRef, "derive its class from actors.Actor"):
            ref.ask(lambda me: REFERENCES[name](me, theirs))
    finally:
        theirs.stop()


def test_a_group_takes_neither_the_dead_nor_those_of_other_systems(system):
    dead = system.spawn(Worker)
    dead.stop()
    with refused(ActorDeadError, "is dead: watch it to hear of its end, and spawn a new one"):
        system.groups.join("g", dead)
    with ActorSystem() as other:
        stranger = other.spawn(Worker)
        with refused(ForeignRef, "join it there"):
            system.groups.join("g", stranger)
    assert system.groups.names() == ()


def test_a_proxy_of_a_dead_actor_is_our_error_and_says_what_to_do(ref):
    ref.stop()
    with refused(ActorDeadError, "spawn a new one"):
        ref.proxy()


CALLS = {
    "find(None)": (lambda me: me.system.find(None), "path=None: expected a string such as"),
    "find(bytes)": (lambda me: me.system.find(b"/a"), "expected a string such as '/team/writer'"),
    "group=None": (lambda me: me.system.groups.join(None, me.actor_ref), "group=None"),
    "members([])": (lambda me: me.system.groups.members([]), r"group=\[\]: expected a non-empty"),
    "tell('')": (lambda me: me.system.groups.tell("", 1), "group='': expected a non-empty string"),
    "leave(1)": (lambda me: me.system.groups.leave(1, me.actor_ref), "group=1: expected"),
    "subscribe": (lambda me: me.system.events.subscribe(1), "target=1: expected an ActorRef"),
    "kinds": (lambda me: me.system.events.subscribe(print, "x"), "kinds='x': expected an event"),
    "timer key": (lambda me: me.timers.start([], 1, after=1), r"key=\[\]: expected something"),
    "timer cancel": (lambda me: me.timers.cancel([]), "expected something hashable"),
    "timer active": (lambda me: me.timers.is_active({}), "expected something hashable"),
    "timer after": (lambda me: me.timers.start(1, 1, after="1"), "after='1': expected a number"),
    "timer every": (
        lambda me: me.timers.start(1, 1, after=1, every=5),
        "every=5: expected True or False; how often is said by `after`",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_inside_of_an_actor_that_makes_no_sense_says_what_would(ref, name):
    call, said = CALLS[name]
    with refused(InvalidOption, said):
        ref.ask(call)


def test_a_timer_goes_on_if_its_replacement_is_refused(ref):
    def replace(me):
        me.timers.start("key", "message", after=1000)
        with pytest.raises(InvalidOption):
            me.timers.start("key", "message", after=1, every="yes")
        return me.timers.is_active("key")

    assert ref.ask(replace)


# -- what cannot be written down ---------------------------------------------------------------

UNWRITABLE = {
    "object": {"decision": "d", "field": object()},
    "complex": {"decision": "d", "field": 1j},
    "half": {"decision": "d", "field": HALF},
    "half as the decision": {"decision": HALF},
    "half as a name": {"decision": "d", HALF: 1},
    "half as the run": {"decision": "d", "run_id": HALF},
    "key": {"decision": "d", "field": {(1, 2): 3}},
    "reference": {"decision": "d", "field": PykkaWorker},
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_a_record_that_cannot_be_written_is_refused_and_the_others_are_kept(system, tmp_path, name):
    with DecisionLog(tmp_path / "log", system=system) as log:
        first = log.record("first")
        with pytest.raises(InvalidOption) as caught:
            log.record(**UNWRITABLE[name])
        assert str(caught.value).encode()  # can be shown
        assert [first.get(), log.record("second").get()] == [1, 2]
    assert DecisionLog.verify(tmp_path / "log").records == 2


@pytest.mark.parametrize(
    "returned",
    [None, 1, "x", ["decision"], {"decision": None}, {"decision": 1}, {1: 2}, {"decision": ""}],
    ids=repr,
)
def test_what_a_redactor_returns_is_written_only_if_it_can_be_read_again(
    system, tmp_path, returned
):
    answers = iter([returned, {"decision": "kept"}])
    with DecisionLog(tmp_path / "log", redact=lambda _: next(answers), system=system) as log:
        with refused(InvalidOption, "redact"):
            log.record("first", secret=1)
        assert log.record("second").get() == 1
        assert [decision.decision for decision in log.query().get()] == ["kept"]


QUERIES = {
    "decision": ({"decision": 1}, "decision=1: expected a non-empty string, or None"),
    "run_id": ({"run_id": []}, r"run_id=\[\]: expected a non-empty string, or None"),
    "since": ({"since": NAN}, "since=nan: expected a time"),
    "where": ({"where": 1}, "where=1: expected a function of a Decision"),
    "limit": ({"limit": True}, "limit=True: expected a number of records"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_filter_that_could_let_nothing_through_is_refused(system, tmp_path, name):
    options, said = QUERIES[name]
    with DecisionLog(tmp_path / "log", system=system) as log:
        with refused(InvalidOption, said):
            log.query(**options)
        with refused(InvalidOption, "statement=None: expected a non-empty string"):
            log.sql(None)
        with refused((InvalidOption, LogError), "seq=True: expected the number of a record"):
            log.resolve(True, "outcome")


@pytest.mark.parametrize("holder", [1, [], "", HALF], ids=ascii)
def test_a_charge_that_no_ledger_could_hold_is_refused_before_it_is_booked(
    system, tmp_path, holder
):
    with BudgetPool(1, path=tmp_path / "ledger", system=system) as pool:
        with refused(InvalidOption, "holder="):
            pool.charge(0.5, holder=holder)
        with refused(InvalidOption, "holder="):
            pool.acquire(0.5, holder=holder)
        with refused(InvalidOption, "more='x': expected True or False"):
            pool.check(more="x")
        pool.charge(0.25).get()
        assert pool.snapshot().get().settled_usd == 0.25


@pytest.mark.parametrize("timeout", NO_SECONDS, ids=repr)
def test_a_lease_is_not_taken_with_a_timeout_that_is_no_number(system, timeout):
    with BudgetPool(1, system=system) as pool:
        with refused(InvalidOption, "timeout="):
            pool.acquire(0.5).get(timeout=timeout)
        assert pool.snapshot().get().reserved_usd == 0


def test_a_span_that_cannot_be_summed_up_costs_no_other_span(system, tmp_path):
    with Tracer(tmp_path / "trace", system=system) as tracer:
        with refused(InvalidOption, r"name=\[\]: expected the kind of work"):
            tracer.span([])
        with tracer.span("work") as span:
            for call in (lambda: span.set_attribute([], 1), lambda: span.add_event(1)):
                with refused(InvalidOption, "name="):
                    call()
            with refused(InvalidOption, "status=.*expected 'ok', 'error' or 'unset'"):
                span.set_status([])
        with refused(InvalidOption, "watcher=1: expected a function of a Span"):
            tracer.watch(1)
        assert tracer.summary().get().total.count == 1


def yields(event):
    yield event


async def yields_async(event):
    yield event


def test_a_handler_of_events_that_would_never_run_is_refused_when_it_subscribes(system):
    with EventBus(system=system) as bus:
        for handler in (yields, yields_async):
            for subscribe in (bus.on, bus.once):
                with refused(UnexpectedCoroutine, "has a `yield` in it.*Return a list"):
                    subscribe("topic", handler)
        for call in (bus.on, bus.once, bus.off):
            with refused(InvalidOption, "handler=1: expected"):
                call("topic", 1)
            with refused(InvalidOption, "pattern=1: expected a str of segments"):
                call(1)
        for call in (bus.emit, bus.publish):
            with refused(InvalidOption, "topic=None: expected a str of segments"):
                call(None)


# -- blocking calls on a loop ------------------------------------------------------------------


async def test_each_blocking_call_on_a_loop_names_what_to_write_instead_of_it(tmp_path):
    never = asyncio.Event()

    class Waits(Actor):
        async def on_receive(self, message):
            await never.wait()

    async with ActorSystem() as system:
        ref = system.spawn(ChildSpec(Waits, shutdown="brutal_kill", mailbox=Bounded(1, "block")))
        pending = ref.request(1)
        await asyncio.sleep(0)
        log = DecisionLog(tmp_path / "log", system=system)
        blocking = {
            r"ActorRef.ask\(\) .*`reply = await ref.request\(message\)`": lambda: ref.ask(1),
            r"ActorRef.stop\(\) .*`await ref.stop\(block=False\)`": ref.stop,
            r"Future.get\(\) .*`await` the future": pending.get,
            r"get_all\(\) .*`await asyncio.gather\(\*futures\)`": lambda: get_all([pending]),
            r"leaving `with DecisionLog.*`async with DecisionLog": lambda: log.__exit__(None),
        }
        for said, call in blocking.items():
            with refused(WouldBlockLoop, said) as caught:
                call()
            assert str(caught.value).count("`await ref.request") <= 1
        ending = system.shutdown()
        if not ending.done():
            with refused(WouldBlockLoop, r"shutdown\(\).get\(\) .*`await system.shutdown\(\)`"):
                ending.get()


def test_every_refusal_is_of_the_one_tree():
    for kind in (InvalidOption, UnexpectedCoroutine, WouldBlockLoop, ForeignRef, Timeout):
        assert issubclass(kind, CallboardError)


def test_a_simulation_runs_what_can_be_run_for_seconds_that_are_some():
    pytest.importorskip("greenlet")
    with Simulation() as simulation:
        with refused(InvalidOption, "work=1: expected a coroutine, a function"):
            simulation.run(1)
        with refused(InvalidOption, "seconds='1': expected a number of seconds"):
            simulation.run(seconds="1")
        assert simulation.run(lambda: "done") == "done"
    with refused(InvalidOption, "seed='1': expected a whole number"):
        Simulation(seed="1")
