"""Faults come when the seed says, stand in the history, and find what they are meant to find."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import subprocess
import sys

import msgspec
import pytest

from actors import (
    Actor,
    BudgetExceeded,
    BudgetPool,
    ChildSpec,
    DecisionLog,
    InvalidOption,
    LogError,
    Message,
    ModelTimeout,
    ModelUnavailable,
    Reply,
    Supervision,
    UnusableReply,
    Usage,
    estimate_tokens,
    run,
)
from actors.testing import InjectedCrash, InvariantViolated, Simulation
from actors.testing._schedules import RandomSchedule
from patterns import Broadcast, join

OFTEN = Supervision(intensity=1000)


def faults(sim, target=None):
    return [e.what for e in sim.history.of("fault") if target is None or e.target == target]


class Log(Actor):
    """Remembers what it was told, across restarts if it is given a list."""

    def __init__(self, seen=None):
        self.seen = [] if seen is None else seen

    def on_receive(self, message):
        if message == "all":
            return list(self.seen)
        self.seen.append(message)
        return message


class AsyncLog(Log):
    async def on_receive(self, message):
        await asyncio.sleep(0)
        return super().on_receive(message)


class Sender(Actor):
    """Tells another actor numbers, each with its own path."""

    def __init__(self, other):
        self.other = other

    def on_receive(self, count):
        for number in range(count):
            self.other.tell((self.actor_ref.path, number))


BOTH = pytest.mark.parametrize("cls", [Log, AsyncLog])


# -- crashes -----------------------------------------------------------------------------------------


@BOTH
def test_a_crash_takes_the_message_it_is_told_and_no_other(cls):
    seen = []
    with Simulation(supervision=OFTEN) as sim:
        ref = sim.system.spawn(cls, seen, name="log")
        crash = sim.faults.crash(ref, at=2)
        for number in range(4):
            ref.tell(number)
        sim.run()
        assert seen == [0, 2, 3], "it fails before the handler, and counts on after the restart"
        assert crash.times == 1
        assert faults(sim, "/log") == ["crash (before)"]
        assert [e.kind for e in sim.history.of("fail", "restart")] == ["fail", "restart"]


@BOTH
def test_a_crash_in_a_request_is_its_answer_and_fails_the_actor(cls):
    with Simulation(supervision=OFTEN) as sim:
        ref = sim.system.spawn(cls, name="log")
        sim.faults.crash(ref, at=2)
        assert ref.ask(1) == 1
        with pytest.raises(InjectedCrash, match="/log crashes before message #2"):
            ref.ask(2)
        assert ref.ask("all") == [], "it was restarted"


@BOTH
def test_a_crash_fails_an_actor_once_even_if_its_type_is_in_crash_on(cls):
    with Simulation(supervision=OFTEN) as sim:
        spec = ChildSpec(cls, name="log", crash_on=(Exception,))
        ref = sim.system.spawn(spec)
        sim.faults.crash(ref, at=1)
        with pytest.raises(InjectedCrash):
            ref.ask(1)
        sim.run()
        assert len(sim.history.of("fail")) == 1


@BOTH
def test_a_crash_after_the_handler_loses_the_reply_and_not_the_work(cls):
    seen = []
    with Simulation(supervision=OFTEN) as sim:
        ref = sim.system.spawn(cls, seen)
        sim.faults.crash(ref, at=1, when="after")
        with pytest.raises(InjectedCrash, match="crashes after message #1"):
            ref.ask("paid")
        assert ref.ask("all") == ["paid"]


def test_a_crash_after_the_handler_finds_who_books_only_with_the_reply():
    class Payer(Actor):
        """Has work done that costs, and books it when the answer is there: a mistake."""

        def __init__(self, worker, book):
            self.worker, self.book = worker, book

        def on_receive(self, message):
            try:
                self.book.append(self.worker.ask(message))
            except InjectedCrash:
                return

    def play(at):
        done, book = [], []
        with Simulation(supervision=OFTEN) as sim:
            worker = sim.system.spawn(Log, done)
            if at is not None:
                sim.faults.crash(worker, at=at, when="after")
            payer = sim.system.spawn(Payer, worker, book)
            for number in range(5):
                payer.tell(number)
            sim.eventually(lambda: book == done == list(range(5)), within=1, name="all is booked")

    play(None)
    with pytest.raises(InvariantViolated, match="all is booked"):
        play(3)


class Opened(Log):
    def __init__(self, opened):
        super().__init__()
        self.opened = opened

    def on_start(self):
        self.opened.append("opened")


def test_a_crash_in_a_start_is_one_that_supervision_sees():
    opened = []
    with Simulation(supervision=OFTEN) as sim:
        sim.faults.crash("/log", at=1, when="start")
        ref = sim.system.spawn(Opened, opened, name="log")
        assert ref.ask(1) == 1
        assert opened == ["opened"], "the first instance failed before it had opened anything"
        assert faults(sim) == ["crash (start)"]
        assert len(sim.history.of("restart")) == 1


def test_actors_without_on_start_crash_at_their_start_too():
    with Simulation(supervision=OFTEN) as sim:
        crash = sim.faults.crash(Log, at=1, when="start")
        ref = sim.system.spawn(Log)
        assert ref.ask(1) == 1
        assert crash.times == 1
        assert len(sim.history.of("restart")) == 1


def test_starts_that_always_crash_use_up_the_supervisors_patience():
    with Simulation(supervision=Supervision(intensity=2)) as sim:
        sim.faults.crash(Log, rate=1.0, when="start")
        sim.system.spawn(Log)
        sim.run()
        assert len(sim.history.of("restart")) == 2
        assert sim.system.failure is not None


class Parent(Actor):
    supervision = OFTEN

    def on_start(self):
        self.logs = [self.spawn(Log, name=name) for name in ("a", "b")]

    def on_receive(self, message):
        for log in self.logs:
            log.tell(message)


@pytest.mark.parametrize(
    ("target", "hit"),
    [
        ("/team/*", {"/team/a", "/team/b"}),
        ("/team/b", {"/team/b"}),
        ("/**", {"/team", "/team/a", "/team/b"}),
        ("/*", {"/team"}),
        (Log, {"/team/a", "/team/b"}),
        (Actor, {"/team", "/team/a", "/team/b"}),
        ("/tea", set()),
    ],
    ids=str,
)
def test_a_target_is_a_path_with_stars_or_a_class(target, hit):
    with Simulation(supervision=OFTEN) as sim:
        team = sim.system.spawn(Parent, name="team")
        sim.run()
        sim.faults.crash(target, at=1, when="after")
        team.tell("go")
        sim.run()
        assert {e.target for e in sim.history.of("fault")} == hit


def test_rates_hit_some_and_a_fault_can_be_stopped():
    seen = []
    with Simulation(seed=3, supervision=OFTEN) as sim:
        ref = sim.system.spawn(Log, seen)
        crash = sim.faults.crash(ref, rate=0.3)
        for number in range(100):
            ref.tell(number)
        sim.run()
        assert 15 < crash.times < 45
        assert len(seen) == 100 - crash.times
        before = crash.times
        crash.stop()
        for number in range(100):
            ref.tell(number)
        sim.run()
        assert crash.times == before


# -- delays and order ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_delayed_messages_of_one_sender_stay_in_order_and_so_does_its_stop(seed):
    with Simulation(seed) as sim:
        log = sim.system.spawn(Log, seen := [])
        delay = sim.faults.delay(log, seconds=(0, 5), rate=0.5)
        for number in range(30):
            log.tell(number)
        assert log.stop()
        assert seen == list(range(30))
        assert 0 < delay.times < 30
        assert 0 < sim.clock.now <= 5


@pytest.mark.parametrize("seed", range(20))
def test_messages_delayed_until_the_same_time_stay_in_order(seed):
    with Simulation(seed) as sim:
        log = sim.system.spawn(Log)
        sim.faults.delay(log, seconds=1)
        for number in range(10):
            log.tell(number)
        assert log.ask("all") == list(range(10))


def test_only_what_comes_from_the_named_source_is_delayed():
    with Simulation() as sim:
        log = sim.system.spawn(Log)
        slow, quick = (sim.system.spawn(Sender, log, name=name) for name in ("slow", "quick"))
        sim.faults.delay(log, source="/slow", seconds=2)
        slow.tell(2)
        quick.tell(2)
        sim.run(seconds=1)
        assert log.ask("all") == [("/quick", 0), ("/quick", 1)]
        sim.run(seconds=2)
        assert log.ask("all")[2:] == [("/slow", 0), ("/slow", 1)]


def test_a_delay_finds_a_deadline_that_nobody_minds():
    class Careless(Actor):
        def __init__(self, other):
            self.other = other

        def on_receive(self, message):
            return self.other.request(message, timeout=1).get()

    def play(delayed):
        with Simulation() as sim:
            log = sim.system.spawn(Log)
            careless = sim.system.spawn(Careless, log)
            if delayed:
                sim.faults.delay(log, seconds=2)
            return careless.ask("x")

    assert play(delayed=False) == "x"
    with pytest.raises(TimeoutError):
        play(delayed=True)


def test_a_delayed_message_that_comes_after_the_end_is_a_dead_letter_and_not_lost():
    with Simulation() as sim:
        log = sim.system.spawn(Log)
        sim.faults.delay(log, seconds=1000)
        log.tell("late")
    assert [e.what for e in sim.history.of("dead")] == [("actor_dead", "late")]
    stats = sim.system.stats()
    assert (stats.sent, stats.dead, stats.waiting) == (1, 1, 0)


def test_messages_to_a_bounded_mailbox_are_not_delayed():
    from actors import Bounded

    with Simulation() as sim:
        log = sim.system.spawn(ChildSpec(Log, mailbox=Bounded(2, overflow="block")))
        delay = sim.faults.delay(log, seconds=5)
        assert log.ask("x") == "x"
        assert (delay.times, sim.clock.now) == (0, 0)
        assert faults(sim) == [], "and the history does not say so"


class Account(Actor):
    """Has what was paid in before it pays out: which nothing promises, as two actors send it."""

    def __init__(self):
        self.balance = 0

    def on_receive(self, amount):
        self.balance += amount
        if self.balance < 0:
            raise ValueError("overdrawn")


class Payer(Actor):
    def __init__(self, account, other=None):
        self.account, self.other = account, other

    def on_receive(self, amount):
        self.account.tell(amount)
        if self.other is not None:
            self.other.tell(-amount)


def overdrawn(seed, *, reorder):
    with Simulation(seed, supervision=OFTEN) as sim:
        account = sim.system.spawn(Account)
        second = sim.system.spawn(Payer, account)
        first = sim.system.spawn(Payer, account, second)
        if reorder:
            sim.faults.reorder(account)
        first.tell(10)
        sim.run()
        return bool(sim.history.of("fail"))


def test_reordering_finds_who_relies_on_the_order_of_two_senders():
    assert not any(overdrawn(seed, reorder=False) for seed in range(20)), "the schedule alone"
    assert any(overdrawn(seed, reorder=True) for seed in range(20))


@pytest.mark.parametrize("seed", range(10))
def test_reordering_keeps_the_order_of_each_sender(seed):
    with Simulation(seed) as sim:
        log = sim.system.spawn(Log)
        senders = [sim.system.spawn(Sender, log, name=f"s{n}") for n in range(3)]
        sim.faults.reorder(rate=0.7)
        for sender in senders:
            sender.tell(5)
        sim.run()
        seen = log.ask("all")
        for sender in senders:
            assert [n for path, n in seen if path == sender.path] == list(range(5))
        assert sim.clock.now == 0


# -- clocks ----------------------------------------------------------------------------------------------


class Patient(Actor):
    """Works in many small messages, and has a timer for how long that may take."""

    def on_start(self):
        self.timers.start("late", "late", after=10.0)
        self.ended = None

    def on_receive(self, message):
        if message == "late":
            self.ended = self.ended or "late"
        elif message == "how":
            return self.ended
        elif message:
            self.actor_ref.tell(message - 1)
        else:
            self.ended = self.ended or "done"
        return None


def ended(seed, *, jumps):
    with Simulation(seed) as sim:
        if jumps:
            sim.faults.clock_jump((1, 4), rate=0.2)
        patient = sim.system.spawn(Patient)
        patient.tell(30)
        sim.run(seconds=5)
        return patient.ask("how")


def test_a_clock_that_jumps_lets_timers_race_with_work():
    assert {ended(seed, jumps=False) for seed in range(10)} == {"done"}
    assert {ended(seed, jumps=True) for seed in range(10)} == {"done", "late"}


def test_a_clock_that_jumps_lets_deadlines_pass_before_the_work_is_done():
    def expired(seed):
        with Simulation(seed) as sim:
            sim.faults.clock_jump(2, rate=0.5)
            log = sim.system.spawn(Log)
            for _ in range(3):
                log.tell("before it")
            try:
                log.request("x", timeout=1).get()
            except TimeoutError:
                return True
            return False

    assert {expired(seed) for seed in range(20)} == {True, False}


def test_the_wall_clock_goes_back_and_the_monotonic_one_never():
    with Simulation(seed=1) as sim:
        jump = sim.faults.wall_clock_jump((-3600, 0), rate=0.5)
        log = sim.system.spawn(Log)
        times, walls = [], []

        def look():
            times.append(sim.clock.monotonic())
            walls.append(sim.clock.time())
            return True

        sim.always(look)
        for number in range(20):
            log.tell(number)
        sim.run()
        assert jump.times > 0
        assert any(b < a for a, b in itertools.pairwise(walls))
        assert set(times) == {0.0}


def test_the_wall_clock_finds_who_measures_with_it():
    class Stopwatch(Actor):
        def on_receive(self, message):
            if message == "begin":
                self.began = self.system.clock.time()
                return None
            return self.system.clock.time() - self.began

    def measured(seed, *, jumps):
        with Simulation(seed) as sim:
            if jumps:
                sim.faults.wall_clock_jump(-60, rate=0.5)
            watch = sim.system.spawn(Stopwatch)
            watch.tell("begin")
            sim.run(seconds=1)
            return watch.ask("end")

    assert all(measured(seed, jumps=False) == pytest.approx(1) for seed in range(10))
    assert any(measured(seed, jumps=True) < 0 for seed in range(10))


# -- the disk --------------------------------------------------------------------------------------------


def record(log, count, first=0):
    """Record one by one; return which failed."""
    causes = {}
    for number in range(first, first + count):
        try:
            log.record("step", number=number).get()
        except LogError as error:
            causes[number] = error.__cause__
    assert all(cause.errno == errno.ENOSPC for cause in causes.values())
    return list(causes)


@pytest.mark.parametrize("limit", [{"records": 3}, {"bytes": 700}], ids=str)
def test_a_full_disk_refuses_records_whole_and_the_log_goes_on_later(tmp_path, limit):
    path = tmp_path / "log.jsonl"
    with Simulation() as sim:
        log = DecisionLog(path)
        full = sim.faults.disk_full(log, **limit)
        failed = record(log, 8)
        assert failed == list(range(failed[0], 8))
        assert 3 <= failed[0] <= 5
        assert path.read_bytes().count(b"\n") == failed[0]
        assert path.read_bytes().endswith(b"\n"), "what was half written is gone"
        full.stop()
        assert record(log, 2, first=8) == []
        log.close()
        assert full.times >= len(failed)
        assert set(faults(sim)) == {"disk full"}
        assert {e.target for e in sim.history.of("fault")} == {"log.jsonl"}, "no directory in it"
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, failed[0] + 3)), "no gap"
    with Simulation():
        log = DecisionLog(path)
        assert log.stats().get().last_seq == len(lines)
        log.close()


def test_a_full_disk_has_room_again_at_a_given_time(tmp_path):
    with Simulation() as sim:
        log = DecisionLog(tmp_path / "log.jsonl")
        sim.faults.disk_full(tmp_path / "log.jsonl", until=10.0)
        assert record(log, 1) == [0]
        sim.run(seconds=10)
        assert record(log, 1) == []
        log.close()


def test_only_the_disk_of_the_named_file_is_full(tmp_path):
    with Simulation() as sim:
        logs = [DecisionLog(tmp_path / name) for name in ("a", "b")]
        sim.faults.disk_full(logs[0])
        assert [record(log, 1) for log in logs] == [[0], []]
        for log in logs:
            log.close()


def test_a_disk_is_full_in_its_own_simulation_only(tmp_path):
    with Simulation() as sim:
        sim.faults.disk_full()
        log = DecisionLog(tmp_path / "a")
        assert record(log, 1) == [0]
    with Simulation():
        log = DecisionLog(tmp_path / "b")
        assert record(log, 1) == []
        log.close()


@pytest.mark.parametrize("seed", range(5))
def test_short_writes_are_gone_on_with(tmp_path, seed):
    path = tmp_path / "log.jsonl"
    with Simulation(seed) as sim:
        short = sim.faults.short_writes(rate=0.7)
        full = sim.faults.disk_full(records=6)
        log = DecisionLog(path)
        assert record(log, 8) == [6, 7]
        assert short.times > 0
        full.stop()
        assert record(log, 1) == []
        log.close()
    assert path.read_bytes().count(b"\n") == 7


def test_a_full_disk_finds_who_takes_a_record_for_granted(tmp_path):
    class Careless(Actor):
        """Says that something is on record without having waited for it: a mistake."""

        def __init__(self, log):
            self.log = log

        def on_receive(self, message):
            self.log.record("step", what=message)
            return "recorded"

    def play(*, full):
        path = tmp_path / f"{full}.jsonl"
        with Simulation() as sim:
            log = DecisionLog(path)
            if full:
                sim.faults.disk_full(log, records=1)
            careless = sim.system.spawn(Careless, log)
            said = [careless.ask(number) for number in range(3)]
            sim.run()
            log.close()
        return len(said), path.read_bytes().count(b"\n")

    assert play(full=False) == (3, 3)
    said, kept = play(full=True)
    assert said > kept


# -- budgets ---------------------------------------------------------------------------------------------


def test_an_exhausted_budget_leaves_nothing_from_that_acquire_on():
    with Simulation() as sim:
        pool = BudgetPool(usd=10, name="project")
        exhausted = sim.faults.exhaust(pool, at=3)
        kept = [pool.acquire(max_usd=1).get() for _ in range(2)]
        kept[0].charge(usd="0.5").get()
        for _ in range(2):
            with pytest.raises(BudgetExceeded):
                pool.acquire(max_usd=1).get()
        assert pool.snapshot().get().free_usd == 0
        kept[0].charge(usd="0.5").get()
        with pytest.raises(BudgetExceeded):
            pool.check().get()
        assert faults(sim, "project") == ["budget exhausted"]
        exhausted.stop()
        pool.acquire(max_usd=1).get().release()
        for lease in kept:
            lease.release()
        assert pool.snapshot().get().free_usd == 9


def test_a_budget_without_a_cap_can_be_exhausted_and_its_neighbour_is_left_alone():
    with Simulation() as sim:
        pool, other = BudgetPool(), BudgetPool(usd=1)
        child = pool.child(usd=5)
        sim.faults.exhaust(child, at=2)
        child.acquire(max_usd=1).get().release()
        with pytest.raises(BudgetExceeded):
            child.acquire(max_usd=1).get()
        pool.acquire(max_usd=1).get().release()
        other.acquire(max_usd=1).get().release()


def test_an_exhausted_budget_finds_who_forgets_what_it_has_begun():
    class Buyer(Actor):
        """Begins, then sees whether there is money, and never takes back what it began."""

        def __init__(self, pool):
            self.pool, self.begun, self.done = pool, 0, 0

        def on_receive(self, message):
            self.begun += 1
            with self.pool.acquire(max_usd=1) as lease:
                lease.charge(usd=1).get()
            self.done += 1

    def play(at):
        with Simulation(supervision=OFTEN) as sim:
            pool = BudgetPool(usd=10)
            if at:
                sim.faults.exhaust(pool, at=at)
            buyer = sim.system.spawn(Buyer, pool)
            actor = buyer._cell.instance
            for _ in range(3):
                try:
                    buyer.ask("buy")
                except BudgetExceeded:
                    break
            return actor.begun - actor.done

    assert play(None) == 0
    assert play(2) == 1


# -- models ----------------------------------------------------------------------------------------------


class Steady:
    """A model that answers at once."""

    name = "steady"
    context_window = None

    def __init__(self):
        self.calls = 0

    def count_tokens(self, text):
        return estimate_tokens(text)

    async def complete(self, messages, *, max_tokens, schema=None, timeout=None):
        self.calls += 1
        text = '{"ok": true}' if schema is not None else messages[-1].content.upper()
        data = {"ok": True} if schema is not None else None
        return Reply(text, Usage(10, 5), "0.01", data=data)

    async def aclose(self):
        self.calls = -1


def call(sim, model, *, timeout=None, schema=None):
    return sim.run(
        model.complete([Message("user", "hi")], max_tokens=10, timeout=timeout, schema=schema)
    )


def test_a_model_without_faults_is_the_model_behind_it():
    with Simulation() as sim:
        steady = Steady()
        model = sim.faults.model(steady)
        assert call(sim, model).text == "HI"
        assert (model.name, model.context_window, model.count_tokens("a b")) == ("steady", None, 2)
        assert not hasattr(model, "most_usd")
        assert faults(sim) == []
        sim.run(model.aclose())
        assert steady.calls == -1


def test_a_slow_model_takes_virtual_seconds():
    with Simulation() as sim:
        model = sim.faults.model(Steady(), slow=(1.0, (20, 40)))
        assert call(sim, model).text == "HI"
        assert 20 <= sim.clock.now <= 40
        before = sim.clock.now
        with pytest.raises(ModelTimeout):
            call(sim, model, timeout=5)
        assert sim.clock.now == before + 5


def test_a_failing_model_is_unavailable_and_asks_nobody():
    with Simulation() as sim:
        steady = Steady()
        model = sim.faults.model(steady, failing=0.5)
        failed = 0
        for _ in range(40):
            try:
                call(sim, model)
            except ModelUnavailable:
                failed += 1
        assert 8 < failed < 32
        assert (steady.calls, model.times) == (40 - failed, failed)
        assert set(faults(sim, "test")) == {"model steady: failing"}


def test_concurrent_agents_get_the_same_faults_in_whatever_order_the_seed_has_them_ask():
    from actors import Agent

    def play(schedule):
        with Simulation(seed=7, schedule=schedule) as sim:
            model = sim.faults.model(Steady(), failing=0.3)
            team = [Agent(model, name=f"agent-{n}", system=sim.system) for n in range(20)]
            answers = [agent.run("the same") for agent in team]
            sim.run()
            failed = [fault.agent for fault in model.faults]
            assert len(sim.history.of("fault")) == model.times == len(failed)
            assert sum(answer.exception() is not None for answer in answers) == len(failed)
            return failed

    one, other = play(RandomSchedule(1)), play(RandomSchedule(2))
    assert one != other, "the order is another one"
    assert 0 < len(one) < 20
    assert sorted(one) == sorted(other)


def test_a_late_model_answers_after_the_timeout_or_an_hour():
    with Simulation() as sim:
        model = sim.faults.model(Steady(), late=1.0)
        with pytest.raises(ModelTimeout):
            call(sim, model, timeout=30)
        assert sim.clock.now == 30
        assert call(sim, model).text == "HI"
        assert sim.clock.now == 3630


def test_nonsense_is_paid_for_and_fits_no_schema():
    with Simulation() as sim:
        model = sim.faults.model(Steady(), nonsense=1.0)
        schema = {"type": "object"}
        for _ in range(20):
            try:
                reply = call(sim, model, schema=schema)
                assert not isinstance(reply.data, dict)
            except UnusableReply as error:
                reply = error.reply
            assert str(reply.cost_usd) == "0.01"
            assert reply.text != '{"ok": true}'


def test_a_slow_model_finds_an_agent_without_a_deadline():
    from actors import Agent

    def seconds(deadline):
        with Simulation() as sim:
            agent = Agent(sim.faults.model(Steady(), slow=(1.0, 100)), name="a")

            async def main():
                async with run(deadline=deadline):
                    return await agent.run("x")

            with contextlib.suppress(TimeoutError):
                sim.run(main())
            return sim.clock.now

    assert seconds(None) == 100
    assert seconds(10) == 10


# -- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda f: f.crash("/a"),
        lambda f: f.crash("/a", at=1, rate=0.5),
        lambda f: f.crash("/a", at=0),
        lambda f: f.crash("/a", at=True),
        lambda f: f.crash("/a", rate=1.5),
        lambda f: f.crash("/a", at=1, when="during"),
        lambda f: f.crash(None, at=1),
        lambda f: f.crash(7, at=1),
        lambda f: f.crash("", at=1),
        lambda f: f.crash("a", at=1),
        lambda f: f.reorder("team/*"),
        lambda f: f.delay(seconds=-1),
        lambda f: f.delay(seconds=(2, 1)),
        lambda f: f.delay(seconds=(1, 2, 3)),
        lambda f: f.delay(seconds="soon"),
        lambda f: f.delay(seconds=float("inf")),
        lambda f: f.delay(seconds=1, rate=-0.1),
        lambda f: f.delay(source=Log, seconds=1),
        lambda f: f.reorder(rate="often"),
        lambda f: f.clock_jump(-1, rate=0.5),
        lambda f: f.clock_jump(1, rate=2),
        lambda f: f.wall_clock_jump("back", rate=0.5),
        lambda f: f.disk_full(7),
        lambda f: f.disk_full(records=-1),
        lambda f: f.disk_full(bytes=0.5),
        lambda f: f.short_writes(rate=2),
        lambda f: f.exhaust("pool"),
        lambda f: f.model("gpt"),
        lambda f: f.model(Steady(), slow=0.5),
        lambda f: f.model(Steady(), slow=(2, 1)),
        lambda f: f.model(Steady(), failing=2),
        lambda f: f.model(Steady(), error="down"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(wrong):
    with Simulation() as sim, pytest.raises(InvalidOption):
        wrong(sim.faults)


def test_exhausting_counts_from_one():
    with Simulation() as sim, pytest.raises(InvalidOption):
        sim.faults.exhaust(BudgetPool(usd=1), at=0)


def test_a_fault_of_ones_own_stands_in_the_history():
    with Simulation() as sim:
        sim.fault("/printer", 0, "paper jam")
        (event,) = sim.history.of("fault")
        assert (event.target, event.what) == ("/printer", "paper jam")
        assert "fault   /printer  'paper jam'" in event.line()


# -- the seed decides --------------------------------------------------------------------------------------

STORM = """
import sys
from pathlib import Path
from actors import Actor, BudgetPool, DecisionLog, LogError, Message, ModelError, Reply, Supervision
from actors.testing import Simulation

class Model:
    name, context_window = "m", None
    def count_tokens(self, text): return 1
    async def complete(self, messages, *, max_tokens, schema=None, timeout=None): return Reply("y")
    async def aclose(self): pass

class Worker(Actor):
    def __init__(self, pool, log, model): self.pool, self.log, self.model = pool, log, model
    async def on_receive(self, message):
        try:
            async with self.pool.acquire(max_usd=1) as lease:
                await self.model.complete([Message("user", "x")], max_tokens=5, timeout=3)
                await lease.charge(usd="0.1")
        except ModelError: pass
        await self.log.record("did", what=message)

def storm(seed):
    with Simulation(seed, supervision=Supervision(intensity=10**6)) as sim:
        pool, log = BudgetPool(usd=30), DecisionLog("storm.jsonl")
        f = sim.faults
        model = f.model(Model(), slow=(.3, (1, 5)), failing=.2, late=.1, nonsense=.1)
        workers = [sim.system.spawn(Worker, pool, log, model, name=f"w{i}") for i in range(5)]
        f.crash("/w*", rate=.1); f.crash(Worker, rate=.1, when="after")
        f.crash("/w*", rate=.2, when="start"); f.delay(source="/w*", seconds=(0, 2), rate=.3)
        f.reorder(rate=.3); f.clock_jump((0, 1), rate=.1); f.wall_clock_jump((-9, 9), rate=.1)
        f.short_writes(rate=.2); f.disk_full(records=12); f.exhaust(pool, at=20)
        for number in range(6):
            for worker in workers: worker.tell(number)
        sim.run(seconds=1000)
        log.close(); pool.close()
    Path("storm.jsonl").unlink()
    return sim.history
"""


def storm(tmp_path, seed, hash_seed):
    done = subprocess.run(
        [sys.executable, "-c", f"{STORM}\nh = storm({seed})\nprint(h.digest())\nprint(h)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
    )
    assert done.returncode == 0, done.stderr
    digest, _, text = done.stdout.partition("\n")
    return digest, text


@pytest.mark.slow
def test_the_same_seed_has_the_same_faults_in_every_process(tmp_path):
    first, text = storm(tmp_path, 5, hash_seed=1)
    kinds = ("crash (before)", "crash (after)", "crash (start)", "delay of", "reorder", "jump of")
    others = ("wall clock", "bytes written", "disk full", "exhausted", "slow by", "failing", "late")
    for what in kinds + others:
        assert what in text, f"no {what}"
    again, other_text = storm(tmp_path, 5, hash_seed=2)
    assert other_text == text
    assert again == first
    assert storm(tmp_path, 6, hash_seed=1)[0] != first


def test_one_fault_more_does_not_change_whom_the_others_hit():
    def hit(*, more):
        with Simulation(seed=4, supervision=OFTEN) as sim:
            log = sim.system.spawn(Log, name="log")
            crash = sim.faults.crash(log, rate=0.3)
            if more:
                sim.faults.crash("/other", rate=0.5)
                sim.faults.wall_clock_jump(1, rate=0.5)
            for number in range(50):
                log.tell(number)
            sim.run()
            assert crash.times > 5
            return [e.number for e in sim.history.of("fault") if e.target == "/log"]

    assert hit(more=False) == hit(more=True)


def team(seed, path):
    with Simulation(seed, supervision=OFTEN) as sim:
        pool, log = BudgetPool(usd=1), DecisionLog(path / "team.jsonl")
        names = [f"agent-{number}" for number in range(20)]
        broadcast = Broadcast(dict.fromkeys(names, answer), join(), timeout=60)
        sim.faults.crash("/agent-*", rate=0.3)
        sim.faults.delay(source="/agent-*", seconds=(0, 2), rate=0.2)
        sim.faults.reorder(rate=0.2)

        async def main():
            async with run(budget=pool, log=log), pool.acquire(max_usd="0.1"):
                return await broadcast.run("x")

        result = sim.run(main())
        assert len(result.replies) + len(result.failures) == 20
        log.close()
        pool.close()
    return str(sim.history)


async def answer(given):
    return given


def test_a_team_with_faults_has_the_same_history_again_in_the_same_process(tmp_path):
    texts = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        texts.append(team(8, folder))
    assert texts[0] == texts[1] == texts[2]
    assert "crash (before)" in texts[0]
    (tmp_path / "other").mkdir()
    assert team(9, tmp_path / "other") != texts[0]


def test_a_path_without_its_slash_is_refused_and_the_name_of_a_thread_is_none():
    with Simulation() as sim:
        with pytest.raises(InvalidOption, match=r'begins with "/", such as "/writer"'):
            sim.faults.crash("writer", at=1)
        log = sim.system.spawn(Log, name="log")
        every = sim.faults.delay("**", seconds=1)
        tests_own = sim.faults.delay(log, source="test", seconds=1)
        log.tell("x")
        sim.run()
    assert (every.times, tests_own.times) == (1, 1)
