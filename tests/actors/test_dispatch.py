"""Who runs the turns: the pool, the loop and the pinned thread, seen from actors."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from actors import (
    Actor,
    ActorDeadError,
    ActorSystem,
    ChildSpec,
    Supervision,
    SystemStopped,
    blocking,
    current,
)
from actors._dispatch._pool import MAX_INLINE


class Call(Actor):
    """Calls what it is sent."""

    def on_receive(self, message):
        return message()


class CallOnLoop(Actor):
    async def on_receive(self, message):
        return await message()


# -- the pool ----------------------------------------------------------------------------------------


def test_a_hundred_handlers_that_block_do_not_starve_the_one_they_wait_for(system):
    opened = threading.Event()
    waiting = [system.spawn(Call).request(lambda: opened.wait(20)) for _ in range(100)]
    system.spawn(Call).tell(opened.set)
    assert all(future.get(timeout=20) for future in waiting)


def test_handlers_that_say_that_they_block_hand_over_without_the_monitor(system):
    opened = threading.Event()

    def wait():
        with blocking():
            return opened.wait(20)

    waiting = [system.spawn(Call).request(wait) for _ in range(50)]
    system.spawn(Call).tell(opened.set)
    assert all(future.get(timeout=20) for future in waiting)


def test_actors_that_ask_each_other_many_levels_deep_all_get_their_answers(system):
    class Level(Actor):
        def __init__(self, below):
            self.below = below

        def on_receive(self, message):
            return 0 if self.below is None else 1 + self.below.ask(message)

    ref = None
    depth = 12 * MAX_INLINE
    for _ in range(depth):
        ref = system.spawn(Level, ref)
    assert ref.ask("how deep") == depth - 1
    assert ref.request("how deep").get(timeout=20) == depth - 1
    assert [ref.request("how deep") for _ in range(5)][-1].get(timeout=20) == depth - 1


def test_an_actor_of_the_pool_may_ask_one_on_the_loop_and_the_other_way_round(system):
    async def answer():
        await asyncio.sleep(0)
        return "from the loop"

    looped, pooled = system.spawn(CallOnLoop), system.spawn(Call)
    assert pooled.ask(lambda: looped.ask(answer)) == "from the loop"

    async def ask_the_pool():
        return await pooled.request(lambda: "from the pool")

    assert looped.ask(ask_the_pool) == "from the pool"


def test_one_actor_is_never_run_by_two_threads_at_once(system):
    inside = threading.Lock()
    overlaps = []

    def turn():
        if not inside.acquire(blocking=False):
            overlaps.append(1)
            return
        inside.release()

    ref = system.spawn(Call)
    threads = [
        threading.Thread(target=lambda: [ref.ask(turn) for _ in range(300)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for _ in range(1000):
        ref.tell(turn)
    for thread in threads:
        thread.join(20)
    ref.ask(turn)
    assert overlaps == []


def test_a_busy_actor_lets_its_neighbours_have_their_turns(system):
    done = threading.Event()
    turns = []

    class Endless(Actor):
        def on_receive(self, message):
            turns.append(message)
            if not done.is_set():
                self.actor_ref.tell(message)

    for _ in range(3):
        system.spawn(Endless).tell("again")
    assert system.spawn(Call).request(lambda: "my turn").get(timeout=20) == "my turn"
    done.set()


def test_an_idle_pool_keeps_few_threads(system, eventually):
    opened = threading.Event()
    waiting = [system.spawn(Call).request(lambda: opened.wait(20)) for _ in range(60)]
    eventually(lambda: system.stats().threads > 30, "extra workers have come")
    opened.set()
    for future in waiting:
        future.get(timeout=20)
    # Parked workers end by themselves; what is left is the holder and the monitor.
    eventually(lambda: system.stats().threads <= 3, "extra workers have retired")


def test_twenty_thousand_idle_actors_need_no_thread_each(system):
    refs = [system.spawn(Call) for _ in range(20_000)]
    assert refs[-1].ask(lambda: "awake") == "awake"
    assert system.stats().threads <= 3
    assert system.stats().actors == 20_000


# -- the pinned thread -------------------------------------------------------------------------------


def test_a_pinned_actor_is_always_run_by_the_same_thread_and_nobody_else_is(system):
    spec = ChildSpec(Call, dispatcher="pinned")
    one, two = system.spawn(spec), system.spawn(spec)
    threads = {one.ask(threading.get_ident) for _ in range(50)}
    others = {two.ask(threading.get_ident) for _ in range(50)}
    assert len(threads) == len(others) == 1
    assert threads != others
    assert threading.get_ident() not in threads | others


def test_a_pinned_thread_ends_with_its_actor(system, eventually):
    ref = system.spawn(ChildSpec(Call, dispatcher="pinned"))
    thread = ref.ask(threading.current_thread)
    ref.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_a_pinned_actor_stays_on_its_thread_through_a_restart(system):
    ref = system.spawn(ChildSpec(Call, dispatcher="pinned"))
    thread = ref.ask(threading.get_ident)
    ref.tell(lambda: 1 / 0)
    assert ref.ask(threading.get_ident) == thread


# -- the loop ----------------------------------------------------------------------------------------


async def running_loop():
    return asyncio.get_running_loop()


async def test_inside_async_with_handlers_run_on_the_callers_loop():
    async with ActorSystem() as system:
        assert await system.spawn(CallOnLoop).request(running_loop) is asyncio.get_running_loop()
        assert system.stats().threads == 0


def test_without_it_they_run_on_a_loop_of_their_own_thread(system):
    refs = [system.spawn(CallOnLoop) for _ in range(3)]

    async def where():
        return asyncio.get_running_loop(), threading.get_ident()

    places = {ref.ask(where) for ref in refs}
    assert len(places) == 1
    assert places.pop()[1] != threading.get_ident()


def test_a_sync_actor_may_be_placed_on_the_loop(system):
    ref = system.spawn(ChildSpec(Call, dispatcher="loop"))
    assert ref.ask(asyncio.get_running_loop) is system.spawn(CallOnLoop).ask(running_loop)


async def test_a_handler_that_suspends_holds_up_no_other_actor_but_its_own_messages():
    async with ActorSystem() as system:
        gate = asyncio.Event()
        slow, quick = system.spawn(CallOnLoop), system.spawn(CallOnLoop)
        waiting = slow.request(gate.wait)
        behind = slow.request(running_loop)
        for _ in range(100):
            await quick.request(running_loop)
        assert not waiting.done()
        assert not behind.done()
        gate.set()
        assert await waiting is True
        await behind


async def test_ten_thousand_handlers_sleep_at_once_and_need_no_thread():
    async with ActorSystem() as system:
        gate = asyncio.Event()
        asleep = [system.spawn(CallOnLoop).request(gate.wait) for _ in range(10_000)]
        assert await system.spawn(CallOnLoop).request(running_loop)
        assert not any(future.done() for future in asleep)
        assert system.stats().waiting == 10_000
        assert system.stats().threads == 0
        gate.set()
        assert all([await future for future in asleep])


async def test_a_timeout_inside_a_handler_works():
    async def patient():
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "gave up"

    async def impatient():
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    async with ActorSystem() as system:
        ref = system.spawn(CallOnLoop)
        for _ in range(3):
            assert await ref.request(patient) == "gave up"
            with pytest.raises(TimeoutError):
                await ref.request(impatient)
        assert system.tree().children[0].restarts == 0


async def test_task_groups_and_child_tasks_inside_a_handler_work():
    async def grouped():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, n)) for n in range(5)]
        return [task.result() for task in tasks]

    async with ActorSystem() as system:
        assert await system.spawn(CallOnLoop).request(grouped) == list(range(5))


async def test_each_suspended_handler_has_a_task_and_a_context_of_its_own():
    import contextvars

    variable = contextvars.ContextVar("variable", default="clean")

    async def leave_a_mark(gate):
        before = variable.get()
        variable.set("marked")
        await gate.wait()
        return before, asyncio.current_task()

    async with ActorSystem() as system:
        gate = asyncio.Event()
        futures = [system.spawn(CallOnLoop).request(lambda: leave_a_mark(gate)) for _ in range(5)]
        await system.spawn(CallOnLoop).request(running_loop)
        gate.set()
        outcomes = [await future for future in futures]
        assert len({task for _, task in outcomes}) == 5
        assert current() is None


async def test_a_busy_loop_lets_others_run_in_between():
    class Endless(Actor):
        async def on_receive(self, message):
            if not done:
                self.actor_ref.tell(message)

    done = []
    async with ActorSystem() as system:
        for _ in range(3):
            system.spawn(Endless).tell("again")
        for _ in range(5):
            await asyncio.sleep(0)
        assert await system.spawn(CallOnLoop).request(running_loop)
        done.append(True)


async def test_messages_from_threads_reach_actors_on_the_callers_loop():
    async with ActorSystem() as system:
        ref = system.spawn(CallOnLoop)

        async def one():
            return 1

        answers = await asyncio.gather(
            *(asyncio.to_thread(ref.ask, one) for _ in range(20)), ref.request(one)
        )
        assert answers == [1] * 21


async def test_a_sync_actor_inside_async_with_runs_on_the_pool_and_does_not_block_the_loop():
    async with ActorSystem() as system:
        opened = threading.Event()
        waiting = system.spawn(Call).request(lambda: opened.wait(20))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        opened.set()
        assert await waiting is True


class TimeTravel(asyncio.SelectorEventLoop):
    """A loop of somebody's own, which might leap to whatever is scheduled."""


@pytest.fixture(params=["asyncio", "uvloop", "its own"])
def foreign(request):
    """A system on a loop that its owner will close too early, and that loop."""
    if request.param == "uvloop":
        loop = pytest.importorskip("uvloop").new_event_loop()
    else:
        loop = TimeTravel() if request.param == "its own" else asyncio.new_event_loop()
    system = ActorSystem("early")
    loop.run_until_complete(system.__aenter__())
    yield system, loop
    system.shutdown().get(timeout=20)
    loop.close()


CLOSED = "the event loop of early was closed before the system stopped"


def test_a_loop_closed_under_its_system_answers_instead_of_hanging(foreign):
    system, loop = foreign
    ref, idle, sync = system.spawn(CallOnLoop), system.spawn(CallOnLoop), system.spawn(Call)
    assert loop.run_until_complete(ref.request(running_loop)) is loop
    loop.close()
    with pytest.raises(ActorDeadError, match=CLOSED):
        ref.request(running_loop).get(timeout=10)
    with pytest.raises(ActorDeadError, match=CLOSED):
        ref.tell(running_loop)
    assert idle.stop(timeout=10) is True
    with pytest.raises(SystemStopped, match=CLOSED):
        system.spawn(CallOnLoop)
    assert sync.ask(lambda: "goes on", timeout=10) == "goes on"
    report = system.shutdown().get(timeout=10)
    assert (report.stopped, report.abandoned) == (3, ("/callonloop-1", "/callonloop-2"))


def test_what_waits_when_a_loop_is_closed_under_its_system_is_answered(foreign):
    system, loop = foreign

    class Waits(Actor):
        async def on_receive(self, message):
            entered.append(message)
            await asyncio.get_running_loop().create_future()

    entered = []
    loop.set_exception_handler(lambda *_: None)  # the handler's task is destroyed
    waiting, next_one = system.spawn(Waits), system.spawn(CallOnLoop)
    first = waiting.request(1)
    while not entered:
        loop.run_until_complete(asyncio.sleep(0))
    second = waiting.request(2)
    third = next_one.request(running_loop)  # the loop was told of it, and will not come to it
    loop.close()
    if isinstance(loop, TimeTravel):
        waiting.kill()  # there, it is noticed when the loop is needed next
    for future in (first, second, third):
        with pytest.raises(ActorDeadError, match=CLOSED):
            future.get(timeout=10)
    report = system.shutdown().get(timeout=10)
    assert set(report.abandoned) == {"/waits-1", "/callonloop-2"}
    assert "create_future()" in report.stacks[report.abandoned.index("/waits-1")]


@pytest.mark.parametrize("steps", range(5))
async def test_actors_go_on_after_somebody_cancelled_every_task_of_the_loop(steps):
    async with ActorSystem(supervision=Supervision(intensity=100)) as system:
        refs = [system.spawn(CallOnLoop) for _ in range(3)]
        for round_ in range(4):
            if round_:
                await refs[0].request(running_loop)  # so that drivers are parked
            waiting = [ref.request(running_loop) for ref in refs]
            for _ in range(steps):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            for future in waiting:
                async with asyncio.timeout(5):
                    with contextlib.suppress(ActorDeadError):
                        await future
