from __future__ import annotations

import asyncio
import threading

import pytest

from actors import Actor, Deadline, DeadlineExceeded, RunContext, current
from actors._context import RUN


@pytest.fixture
def run():
    context = RunContext("run-1", budget="budget", log="log")
    token = RUN.set(context)
    yield context
    RUN.reset(token)


class Call(Actor):
    def on_receive(self, message):
        return message()


class CallOnLoop(Actor):
    async def on_receive(self, message):
        await asyncio.sleep(0)
        return message()


def remaining():
    return current().deadline.remaining()


@pytest.fixture(params=[Call, CallOnLoop])
def ref(request, system):
    return system.spawn(request.param)


def test_there_is_no_context_outside_of_runs(ref):
    assert current() is None
    assert ref.ask(current) is None


def test_the_context_of_a_sender_is_current_in_the_handler(ref, run):
    assert ref.ask(current) is run
    assert ref.request(current).get(timeout=20) is run
    assert current() is run


def test_a_told_message_carries_it_too(ref, run):
    seen = []
    done = threading.Event()
    ref.tell(lambda: (seen.append(current()), done.set()))
    assert done.wait(20)
    assert seen == [run]


def test_it_travels_on_through_any_number_of_actors(system, ref, run):
    first = system.spawn(Call)
    assert first.ask(lambda: ref.ask(current)) is run


def test_messages_of_different_runs_do_not_mix(ref):
    contexts = [None, RunContext("a"), None, RunContext("b"), RunContext("a")] * 20
    futures = []
    for context in contexts:
        token = RUN.set(context)
        futures.append(ref.request(current))
        RUN.reset(token)
    assert [future.get(timeout=20) for future in futures] == contexts


def test_what_an_asker_runs_for_others_does_not_get_its_context(system, run):
    """Its thread may take the turn itself, with other senders' messages before its own."""
    entered, gate = threading.Event(), threading.Event()
    ref, seen = system.spawn(Call), []
    ref.tell(lambda: (entered.set(), gate.wait(20)))
    assert entered.wait(20)
    token = RUN.set(None)
    ref.tell(lambda: seen.append(current()))
    RUN.reset(token)
    asked = ref.request(current)
    gate.set()
    assert asked.get(timeout=20) is run
    assert seen == [None]


def test_a_child_context_changes_what_it_is_told_and_keeps_the_rest(run):
    child = run.child(budget="lease", span="span")
    assert (child.run_id, child.budget, child.span, child.log) == ("run-1", "lease", "span", "log")
    assert run.budget == "budget"


def test_a_childs_deadline_can_only_be_tighter():
    parent = RunContext("r", deadline=Deadline(10))
    soon, late = Deadline(1), Deadline(100)
    assert parent.child(deadline=soon).deadline.when == soon.when
    assert parent.child(deadline=late).deadline.when == parent.deadline.when
    assert parent.child(deadline=None).deadline is parent.deadline
    assert RunContext("r").child(deadline=soon).deadline is soon


def test_the_deadline_of_a_run_is_that_of_its_requests(system):
    gate = threading.Event()
    busy = system.spawn(Call)
    busy.tell(lambda: gate.wait(20))
    token = RUN.set(RunContext("r", deadline=Deadline(0.01)))
    with pytest.raises(DeadlineExceeded):
        busy.ask(current)
    with pytest.raises(DeadlineExceeded):
        busy.request(current, timeout=1000).get()
    RUN.reset(token)
    gate.set()


def test_the_timeout_of_a_request_is_the_deadline_in_force_at_its_receiver(system, ref):
    token = RUN.set(RunContext("r", deadline=Deadline(1000)))
    inner = ref.request(remaining, timeout=5).get(timeout=20)
    outer = ref.request(remaining, timeout=5000).get(timeout=20)
    RUN.reset(token)
    assert inner <= 5
    assert 5 < outer <= 1000


def test_a_run_without_end_sets_no_deadline(ref):
    token = RUN.set(RunContext("r", deadline=Deadline.never()))
    assert ref.request(remaining).get(timeout=20) is None
    assert ref.request(remaining, timeout=5).get(timeout=20) <= 5
    RUN.reset(token)


def test_what_is_stashed_keeps_its_context(system, run):
    class Stasher(Actor):
        ready = False

        def on_receive(self, message):
            if message == "open":
                self.ready = True
                self.unstash_all()
            elif self.ready:
                return current()
            else:
                self.stash()
            return None

    ref = system.spawn(Stasher)
    asked = ref.request("who")
    token = RUN.set(None)
    ref.tell("open")
    RUN.reset(token)
    assert asked.get(timeout=20) is run
