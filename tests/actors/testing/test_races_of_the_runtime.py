"""Races of the runtime, as its users meet them, in many orders of events."""

from __future__ import annotations

import asyncio

import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorKilled,
    Bounded,
    CallboardError,
    ChildSpec,
    DeadlineExceeded,
    RequestCancelled,
    Supervision,
    SystemStopped,
    Terminated,
)
from actors._answer import Answer
from actors._cell._life import Life
from actors._cell._orders import Orders
from actors._cell._turns import Cell
from actors._future import Future
from actors._mailbox import Mailbox

pytestmark = pytest.mark.simulate(seeds=50, system={"supervision": Supervision(intensity=10_000)})


class Echo(Actor):
    def on_receive(self, message):
        if message == "crash":
            raise ValueError(message)
        return message


class Slow(Actor):
    """Answers one millisecond later."""

    async def on_receive(self, message):
        await asyncio.sleep(0.001)
        return message


class Asking(Actor):
    """A sync actor that has somebody else answer."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def on_receive(self, message):
        return self.other.ask(message)


class Watcher(Actor):
    def __init__(self, *refs):
        super().__init__()
        self.ended = []
        for ref in refs:
            self.watch(ref)

    def on_receive(self, message):
        if isinstance(message, Terminated):
            self.ended.append(message.reason)
        elif message == "all":
            return self.ended
        else:
            self.watch(message)
        return None


def outcome_of(future):
    """Return what a future was answered with: a value, or the type of an error."""
    try:
        return future.get()
    except CallboardError as error:
        return type(error)


SYNC_AND_ASYNC = pytest.mark.parametrize("kind", [Echo, Slow])


@SYNC_AND_ASYNC
def test_what_was_told_before_a_stop_is_handled_and_what_came_after_is_not_lost(sim, kind):
    ref, other = sim.system.spawn(kind), sim.system.spawn(Echo)
    before = [ref.request(number) for number in range(3)]

    def ask():
        answers = []
        for number in range(3):
            other.ask(number)
            try:
                answers.append(ref.request(number))
            except ActorDeadError:
                break
        return [outcome_of(future) for future in answers]

    asking = sim.thread(ask)
    stopping = sim.thread(lambda: (other.ask("now"), ref.stop()))
    assert [future.get() for future in before] == [0, 1, 2]
    answers = asking.get()
    stopping.get()
    handled = [answer for answer in answers if answer is not ActorDeadError]
    assert handled == [0, 1, 2][: len(handled)], "none is handled after one that was not"


@SYNC_AND_ASYNC
def test_a_kill_leaves_no_request_without_an_answer(sim, kind):
    ref = sim.system.spawn(Asking, sim.system.spawn(kind))
    asking = [sim.thread(lambda n=n: outcome_of(ref.request(n))) for n in range(3)]
    sim.thread(ref.kill)
    assert all(asked.get() in {n, ActorDeadError} for n, asked in enumerate(asking))
    assert ref.ask("and now?") == "and now?", "to its supervisor it is a crash"


def test_a_request_that_crosses_a_restart_is_answered(sim):
    ref, other = sim.system.spawn(Echo), sim.system.spawn(Echo)

    def ask():
        for number in range(3):
            assert ref.ask(number) == number
            other.ask(number)

    asking = sim.thread(ask)
    for _ in range(2):
        sim.thread(lambda: (other.ask("now"), ref.tell("crash")))
    asking.get()
    sim.run()
    assert len(sim.history.of("restart")) == 2


@pytest.mark.parametrize("end", ["stop", "kill", "crash"])
def test_whoever_watches_hears_of_the_end_once(sim, end):
    ref = sim.system.spawn(ChildSpec(Echo, restart="temporary"))
    watcher = sim.system.spawn(Watcher)
    ended = watcher.ask("all")
    watcher.tell(ref)
    if end == "crash":
        ref.tell("crash")
    else:
        getattr(ref, end)(**({"block": False} if end == "stop" else {}))
    sim.run()
    assert [type(reason) for reason in ended] == [ValueError if end == "crash" else str]


def test_a_timer_of_an_instance_does_not_fire_in_the_next(sim):
    class Ticking(Actor):
        count = 0

        def __init__(self):
            super().__init__()
            Ticking.count += 1
            self.number = Ticking.count

        def on_start(self):
            self.timers.start("tick", ("tick", self.number), after=0.001)

        def on_receive(self, message):
            if message == "crash":
                raise ValueError
            ticks.append((self.number, message[1]))

    ticks = []
    ref, slow = sim.system.spawn(Ticking), sim.system.spawn(Slow)
    sim.run(lambda: (slow.ask("a millisecond"), ref.tell("crash")))
    sim.run()
    assert ticks in ([(1, 1), (2, 2)], [(2, 2)])


def test_a_stash_outlives_a_crash_in_its_order(sim):
    class Closed(Actor):
        def __init__(self, seen):
            super().__init__()
            self.seen, self.open = seen, False

        def on_receive(self, message):
            match message:
                case "open":
                    self.open = True
                    self.unstash_all()
                case "crash":
                    raise ValueError
                case _ if self.open:
                    self.seen.append(message)
                    return message
                case _:
                    self.stash()
            return None

    seen = []
    ref, other = sim.system.spawn(Closed, seen), sim.system.spawn(Echo)
    answers = []

    def ask():
        for number in range(3):
            answers.append(ref.request(number))
            other.ask(number)

    asking = sim.thread(ask)
    sim.thread(lambda: (other.ask("now"), ref.tell("crash")))
    asking.get()
    sim.run(seconds=1)
    ref.tell("open")
    assert [future.get() for future in answers] == [0, 1, 2]
    assert seen == [0, 1, 2]


def test_senders_that_wait_for_room_are_let_in_or_told_of_the_end(sim):
    ref = sim.system.spawn(
        ChildSpec(Asking, (sim.system.spawn(Slow),), mailbox=Bounded(1, "block"))
    )

    def send():
        sent = 0
        try:
            for number in range(3):
                ref.tell(number)
                sent += 1
        except ActorDeadError:
            pass
        return sent

    senders = [sim.thread(send) for _ in range(3)]
    stopping = sim.thread(lambda: (ref.ask("now"), ref.stop()))
    sent = sum(sender.get() for sender in senders)
    stopping.get()
    of_it = [event for event in sim.history.of("handle", "dead") if event.target == ref.path]
    assert len(of_it) == sent + 1, "each that was let in, and the question, has its end"


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_group_in_which_several_crash_comes_to_rest_with_all_its_members(sim, strategy):
    class Group(Actor):
        supervision = Supervision(strategy, intensity=1000)

        def on_start(self):
            for name in "abc":
                self.spawn(Echo, name=name)

        def on_receive(self, _):
            return [child.name for child in self.children]

    group = sim.system.spawn(Group)
    assert group.ask("who?") == ["a", "b", "c"]
    members = [sim.system.find(f"{group.path}/{name}") for name in "abc"]
    for member in members:
        sim.thread(lambda member=member: (group.ask("who?"), member.tell("crash")))
    sim.run()
    assert [member.ask("there?") for member in members] == ["there?"] * 3
    assert group.ask("who?") == ["a", "b", "c"]


@pytest.mark.parametrize("drain", [True, False])
def test_a_shutdown_while_actors_start_and_restart_ends_all_of_them(sim, drain):
    class Starting(Actor):
        def __init__(self, gate):
            super().__init__()
            self.gate = gate

        async def on_start(self):
            await self.gate.request("may I?")

        async def on_receive(self, message):
            if message == "crash":
                raise ValueError
            self.spawn(Echo)

    gate = sim.system.spawn(Slow)

    def spawn():
        for _ in range(3):
            try:
                ref = sim.system.spawn(Starting, gate)
                ref.tell("spawn")
                ref.tell("crash")
                gate.ask("a millisecond")
            except (SystemStopped, ActorDeadError):
                return

    spawning = sim.thread(spawn)
    sim.run(seconds=0.001)
    report = sim.system.shutdown(drain=drain).get()
    spawning.get()
    assert report.abandoned == ()
    assert sim.system.stats().actors == 0


def test_a_reply_and_a_deadline_at_the_same_moment_leave_one_answer(sim):
    slow = sim.system.spawn(Slow)
    seen = []
    future = slow.request("in time?", timeout=0.001)
    future.add_done_callback(lambda answered: seen.append(answered.exception()))
    answer = outcome_of(future)
    sim.run()
    assert answer in {"in time?", DeadlineExceeded}
    assert len(seen) == 1
    assert (seen[0] is None) == (answer == "in time?") == (outcome_of(future) == "in time?")


@SYNC_AND_ASYNC
def test_a_reply_and_a_cancellation_leave_one_answer_and_one_letter(sim, kind):
    ref = sim.system.spawn(Asking, sim.system.spawn(kind))
    other = sim.system.spawn(Asking, sim.system.spawn(kind))

    def ask():
        future = ref.request("a reply")
        other.ask("something else")
        gave_up = future.cancel()
        return gave_up, outcome_of(future)

    gave_up, answer = sim.run(ask)
    sim.run()
    assert answer == (RequestCancelled if gave_up else "a reply")
    lost = len(sim.history.of("late")) + len(sim.history.of("dead"))
    assert lost == gave_up


# -- between two lines ---------------------------------------------------------------------------------
# What threads share, and what therefore may be left at any moment.

MAILBOX = ((Mailbox, "put"), (Mailbox, "post"), (Mailbox, "_posted"), (Mailbox, "release"))


def test_a_message_that_crosses_the_end_of_its_reader_is_answered(sim):
    ref = sim.system.spawn(Echo)
    with sim.preempted(*MAILBOX, (Mailbox, "close"), (Life, "_die"), (Orders, "bury")):
        asking = [sim.thread(lambda n=n: outcome_of(ref.request(n))) for n in range(2)]
        stopping = sim.thread(lambda: ref.stop(block=False))
        sim.run()
        assert [a.get() in {n, ActorDeadError} for n, a in enumerate(asking)] == [True, True]
        stopping.get()
        assert sim.system.stats().waiting == 0


def test_an_order_to_stop_that_crosses_a_crash_is_obeyed(sim):
    ref = sim.system.spawn(Echo)
    lines = (*MAILBOX, (Orders, "order_stop"), (Life, "_wind_down"), (Life, "_op_restart"))
    with sim.preempted(*lines):
        sim.thread(lambda: ref.tell("crash"))
        sim.thread(ref.stop)
        sim.run()
    assert not ref.is_alive()


def test_a_watch_that_crosses_the_end_is_told(sim):
    ref, watcher = sim.system.spawn(Echo), sim.system.spawn(Watcher)
    ended = watcher.ask("all")
    with sim.preempted(*MAILBOX, (Mailbox, "close"), (Life, "_die"), (Orders, "bury")):
        watcher.tell(ref)
        sim.thread(ref.stop)
        sim.run()
    assert ended == ["stopped"]


def test_a_restarted_actor_wakes_up_for_what_came_meanwhile(sim):
    ref = sim.system.spawn(Echo)
    lines = (*MAILBOX, (Cell, "_end_turn"), (Life, "_op_restart"), (Life, "_runs"))
    with sim.preempted(*lines):
        sim.thread(lambda: ref.tell("crash"))
        asking = [sim.thread(lambda n=n: ref.ask(n)) for n in range(2)]
        sim.run()
        assert [asked.get() for asked in asking] == [0, 1]


def test_two_that_answer_a_future_at_once_agree_on_who_was_first(sim):
    future = Future()
    heard = []
    with sim.preempted((Answer, "_resolve"), (Answer, "add_done_callback")):
        setting = sim.thread(lambda: future.try_set("value"))
        cancelling = sim.thread(future.cancel)
        sim.thread(lambda: future.add_done_callback(lambda f: heard.append(f.cancelled())))
        sim.run()
        was_set, was_cancelled = setting.get(), cancelling.get()
    assert was_set != was_cancelled
    assert heard == [was_cancelled]


def test_a_kill_that_crosses_the_end_of_a_handler_is_the_reason_or_comes_too_late(sim):
    ref = sim.system.spawn(Asking, sim.system.spawn(Echo))
    watcher = sim.system.spawn(Watcher, ref)
    ended = watcher.ask("all")
    with sim.preempted(*MAILBOX, (Life, "_die"), (Life, "_wind_down")):
        sim.thread(lambda: outcome_of(ref.request(1)))
        sim.thread(ref.kill)
        sim.thread(lambda: ref.stop(block=False))
        sim.run()
    assert len(ended) == 1
    assert ended[0] in {"killed", "stopped"} or isinstance(ended[0], ActorKilled)
