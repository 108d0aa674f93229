"""Moments at which the engine could lose a turn, a message or a cancellation, one by one.

Each is what a stress test would meet once in a million runs, set up so that it happens at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time

import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorKilled,
    ActorSystem,
    Bounded,
    CallboardError,
    ChildSpec,
    MailboxFull,
    Supervision,
    SystemStopped,
)
from actors._members import KILL_GRACE

TOLERANT = Supervision(intensity=1_000_000, period=0.001)


class Same(Actor):
    async def on_receive(self, message):
        return message


class Sleeper(Same):
    async def on_receive(self, message):
        await asyncio.sleep(0)
        return message


class Gated(Actor):
    async def on_receive(self, gate):
        await gate.wait()


async def until(holds):
    """Let the loop come round until that is so, for what nothing announces."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


async def park_drivers(system, count=5):
    """Have tasks of the dispatcher wait for work, so that askers lend them their time."""
    gate = asyncio.Event()
    refs = [system.spawn(Gated) for _ in range(count)]
    waiting = [ref.request(gate) for ref in refs]
    await until(lambda: len(system._loop._drivers) >= count)
    gate.set()
    for future in waiting:
        await future
    await until(lambda: len(system._loop._spare) >= count)


class Outer(Actor):
    """Asks the inner one, and then sends somebody else a request."""

    def __init__(self, inner, other, requests):
        super().__init__()
        self.inner, self.other, self.requests = inner, other, requests

    async def on_receive(self, message):
        await self.inner.request(self.actor_ref)
        self.requests.append(self.other.request("hello"))


class Inner(Actor):
    """Does something to whoever asks it."""

    def __init__(self, deed):
        super().__init__()
        self.deed = deed

    async def on_receive(self, asker):
        self.deed(asker)


# -- cancelling, while one task takes turns on the time of another -------------------------------


@pytest.mark.parametrize("how", ["kill", "cancel"])
@pytest.mark.parametrize("lent", [False, True], ids=["own time", "lent time"])
async def test_who_is_cancelled_by_whom_it_asks_does_not_hand_that_on_to_another_actor(how, lent):
    """The outer handler is in the middle of a step when it is cancelled, and takes no other."""
    async with ActorSystem(supervision=TOLERANT) as system:
        await park_drivers(system)
        requests = []

        def deed(asker):
            if how == "kill":
                asker.kill()
            else:
                request.cancel()

        outer = system.spawn(Outer, system.spawn(Inner, deed), system.spawn(Sleeper), requests)
        request = outer.request("go")
        if lent:
            # Whether the answer or the cancellation comes first does not matter here.
            with contextlib.suppress(CallboardError):
                await request
        await until(lambda: requests)
        async with asyncio.timeout(10):
            assert await requests[0] == "hello"
            assert await system.spawn(Sleeper).request("and another") == "and another"


async def test_a_driver_whose_handler_cancelled_its_task_is_not_lent_again():
    class Rash(Actor):
        async def on_receive(self, message):
            asyncio.current_task().cancel()
            asyncio.current_task().uncancel()

    async with ActorSystem(supervision=TOLERANT) as system:
        await park_drivers(system)
        rash, sleeper = system.spawn(Rash), system.spawn(Sleeper)
        for _ in range(5):
            await rash.request("go")
            assert await sleeper.request("hello") == "hello"


async def test_killing_a_handler_that_was_begun_on_lent_time_cancels_what_it_gathers():
    ended = []

    async def part(name):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    class Gathering(Actor):
        async def on_receive(self, message):
            await asyncio.gather(part("one"), part("two"))

    async with ActorSystem(supervision=TOLERANT) as system:
        await park_drivers(system)
        gathering = system.spawn(Gathering)
        request = gathering.request("go")

        async def ask():
            await request

        task = asyncio.create_task(ask())
        await asyncio.sleep(0)
        # The handler waits, and the driver that is to go on with it has not come round yet.
        gathering.kill()
        async with asyncio.timeout(10):
            with pytest.raises(ActorDeadError):
                await task
        await until(lambda: len(ended) == 2)


async def test_a_handler_that_awaits_what_cannot_be_awaited_fails_alone():
    class Odd:
        def __await__(self):
            yield 42

    class Confused(Actor):
        async def on_receive(self, message):
            await Odd()

    async with ActorSystem(supervision=TOLERANT) as system:
        await park_drivers(system)
        confused = system.spawn(Confused)
        async with asyncio.timeout(10):
            for _ in range(3):
                with pytest.raises(RuntimeError, match="bad yield"):
                    await confused.request("go")


async def test_the_users_task_factory_does_not_make_the_runtimes_tasks():
    made = []

    def factory(loop, coroutine):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        async with ActorSystem() as system, asyncio.timeout(10):
            assert await system.spawn(Same).request(1) == 1
    finally:
        loop.set_task_factory(None)
    assert made == []


# -- what is not an Exception, in places where nobody expects it ---------------------------------


class Echo(Actor):
    def on_receive(self, message):
        return message


EVERYWHERE = pytest.mark.parametrize(
    "spec",
    [ChildSpec(Echo), ChildSpec(Same), ChildSpec(Echo, dispatcher="pinned")],
    ids=["pool", "loop", "pinned"],
)


@EVERYWHERE
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_listener_that_raises_whatever_it_likes_does_not_stop_the_actor_it_listens_to(
    system, settled, spec, error
):
    calls = []

    def listen(_):
        calls.append(1)
        raise error

    system.events.subscribe(listen)
    ref = system.spawn(spec)
    gate = threading.Event()
    ref.request("first").add_done_callback(lambda _: gate.wait(10))
    for _ in range(3):
        ref.request("next").add_done_callback(listen)
    gate.set()
    assert ref.request("last").get(timeout=10) == "last"
    assert settled(system).handled == 5
    assert ref.stop(timeout=10)
    assert len(calls) >= 4


def test_a_task_that_wants_to_exit_does_not_take_the_loop_of_all_others_with_it(system):
    class Leaving(Actor):
        async def on_receive(self, error):
            async def leave():
                raise error

            self.task = asyncio.create_task(leave())
            with contextlib.suppress(BaseException):
                await asyncio.wait([self.task])
            self.task.exception()  # or asyncio complains of it, whenever it is collected

    same, leaving = system.spawn(Same), system.spawn(Leaving)
    for error in (SystemExit(1), KeyboardInterrupt()):
        leaving.request(error).get(timeout=10)
        assert same.request("hello").get(timeout=10) == "hello"


def test_a_shutdown_after_the_loop_was_closed_comes_to_an_end():
    system = ActorSystem()

    async def leave_it_open():
        await system.__aenter__()
        ref = system.spawn(ChildSpec(Same, shutdown=0.01))
        assert await ref.request("hello") == "hello"
        return ref

    ref = asyncio.run(leave_it_open())
    waiting = ref.request("is anybody there?")
    report = system.shutdown().get(timeout=20)
    assert report.abandoned == (ref.path,)
    with pytest.raises(ActorDeadError):
        waiting.get(timeout=1)
    system.__exit__(None, None, None)


# -- a handler that is abandoned, and comes back at the worst moment ------------------------------


def test_a_message_that_is_sent_when_an_actor_is_abandoned_just_after_its_turn_is_not_lost(
    system, settled
):
    ref = system.spawn(Echo)
    assert ref.ask("hello") == "hello"
    cell = ref._cell
    count = cell.count_sent

    def meanwhile():
        """Come between the sender's look, which saw it alive, and its message."""
        cell.count_sent = count
        # A reader is at the end of its turn: it has seen as well that the actor is alive, which is
        # abandoned now, and gives the permit back.
        del cell.permit[0]
        cell._die()
        cell.permit[0] = 1
        count()

    cell.count_sent = meanwhile
    ref.tell("is anybody there?")
    assert settled(system).dead == 1


def test_an_abandoned_handler_that_goes_on_spawning_leaves_no_child_behind(system, eventually):
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    class Prolific(Actor):
        supervision = TOLERANT

        def on_receive(self, begun):
            begun.set()
            time.sleep(KILL_GRACE * 0.9)  # until soon before it is given up
            with contextlib.suppress(SystemStopped):
                while True:
                    self.spawn(Echo)

    try:
        refs = [system.spawn(ChildSpec(Prolific, dispatcher="pinned")) for _ in range(3)]
        for ref in refs:
            begun = threading.Event()
            ref.tell(begun)
            assert begun.wait(10)
            ref.kill()
        eventually(lambda: all(ref._cell.restarts for ref in refs), "all were restarted")
        eventually(lambda: system.stats().waiting == 0, "the abandoned handlers have returned")
        eventually(lambda: system.stats().actors == 3, "only those that were restarted are left")
    finally:
        sys.setswitchinterval(before)


def test_a_handler_that_returns_just_when_it_is_abandoned_does_not_end_its_thread(system, settled):
    ref = system.spawn(ChildSpec(Echo, dispatcher="pinned"))
    assert ref.ask("hello") == "hello"
    cell = ref._cell

    def operation(cell):
        # The turn has found the kill, and the actor alive; now the timer's thread abandons it.
        reason = ActorKilled("it was killed")
        cell._succeed()
        return cell._wind_down(reason, "report")

    cell.post(operation)
    ref.tell("to whoever is there now")
    assert ref.ask("hello") == "hello"
    assert settled(system).dead == 0


# -- code that runs in the middle of the runtime's own: finalizers and signal handlers ------------


class Reach:
    """Everything that one may do from anywhere without waiting."""

    def __init__(self, system):
        self.system = system
        self.spawned = 0
        self.room = system.spawn(ChildSpec(Echo, mailbox=Bounded(1, "drop_old")))
        self.full = system.spawn(ChildSpec(Echo, mailbox=Bounded(1, "reject")))

    def everywhere(self):
        self.spawned += 1
        system = self.system
        ref = system.spawn(ChildSpec(Echo, restart="temporary"))
        ref.tell("hello")
        future = ref.request("hello", timeout=60)
        future.add_done_callback(lambda _: None)
        future.cancel()
        self.room.tell("hello")
        with contextlib.suppress(MailboxFull):
            self.full.tell("hello")
        ref.actor_urn  # noqa: B018
        subscription = system.events.subscribe(lambda _: None)
        subscription.cancel()
        if self.spawned % 2:
            ref.kill()
        else:
            ref.stop(block=False)
        system.tree()
        system.stats()

    def work(self, times):
        for _ in range(times):
            self.everywhere()


def test_a_finalizer_may_use_the_runtime_whenever_the_garbage_collector_comes(system, settled):
    reach = Reach(system)
    done = threading.Event()
    me = []

    def collected(phase, _):
        if phase == "start" and threading.get_ident() in me:
            reach.everywhere()

    def work():
        me.append(threading.get_ident())
        reach.work(60)
        done.set()

    before = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(3, 1, 1)
    try:
        threading.Thread(target=work, daemon=True).start()
        assert done.wait(20), "a finalizer waits for a lock that its own thread holds"
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(collected)
    settled(system)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no such timer here")
def test_a_signal_handler_may_use_the_runtime_whenever_the_signal_comes(system, settled):
    reach = Reach(system)
    calls = []

    def handle(*_):
        if not calls or calls[-1] == "done":
            calls.append("begun")
            reach.everywhere()
            calls[-1] = "done"

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        reach.work(1000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(calls) > 10
    settled(system)


# -- answering ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [(1, "value"), (2, (ValueError("error"), None))])
def test_a_wait_that_times_out_in_the_middle_of_the_answer_has_the_answer(system, answer):
    gate = threading.Event()

    class Stuck(Actor):
        def on_receive(self, message):
            gate.wait(20)

    future = system.spawn(Stuck).request("go", timeout=0.01)
    got = []

    def wait():
        try:
            got.append(future.get())
        except BaseException as error:
            got.append(error)

    # Whoever answers is first, and has not written the answer yet.
    assert future._open.pop(0)
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(0.1)
    state, future._value = answer
    future._state = state
    thread.join(10)
    gate.set()
    assert got == ["value"] or str(got[0]) == "error"


# -- the end of the sender's stack ------------------------------------------------------------------


@EVERYWHERE
@pytest.mark.parametrize("how", ["tell", "ask", "request"])
def test_a_recursion_without_end_that_sends_messages_does_not_stop_who_receives_them(
    system, settled, spec, how
):
    ref = system.spawn(spec)

    def endless():
        if how == "tell":
            ref.tell(1)
        elif how == "ask":
            ref.ask(1)
        else:
            ref.request(1).get()
        endless()

    def at_depth(depth):
        # The stack ends at another place of the runtime each time.
        if depth:
            at_depth(depth - 1)
        else:
            with contextlib.suppress(RecursionError):
                endless()

    def work():
        for depth in range(25):
            at_depth(depth)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "a message was sent and its receiver sleeps on"
    assert ref.request("hello").get(timeout=10) == "hello"
    settled(system)
