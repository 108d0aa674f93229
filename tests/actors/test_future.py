from __future__ import annotations

import asyncio
import threading
import traceback

import pykka
import pytest

from actors import (
    AlreadySet,
    CallboardError,
    Future,
    RequestCancelled,
    Timeout,
    WouldBlockLoop,
    blocking,
    get_all,
)


def answered(value=None, error=None):
    future = Future()
    if error is None:
        future.set(value)
    else:
        future.set_exception(error)
    return future


def on_a_thread(function, *args):
    """Run on another thread; return a function that joins it and gives its result or raises."""
    outcome = []

    def call():
        try:
            outcome.append((True, function(*args)))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=call)
    thread.start()

    def join():
        thread.join(20)
        assert not thread.is_alive(), "the thread hangs"
        returned, result = outcome[0]
        if not returned:
            raise result
        return result

    return join


# -- answering -------------------------------------------------------------------------------


def test_a_future_gives_the_value_it_was_answered_with():
    assert answered(42).get() == 42


def test_a_future_raises_the_exception_it_was_answered_with():
    with pytest.raises(ZeroDivisionError):
        answered(error=ZeroDivisionError()).get()


def test_set_exception_takes_the_exception_being_handled():
    future = Future()
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        future.set_exception()
    with pytest.raises(ZeroDivisionError) as caught:
        future.get()
    assert "1 / 0" in str(caught.getrepr())


def test_set_exception_takes_an_exc_info_triple():
    future = Future()
    future.set_exception((KeyError, KeyError("k"), None))
    with pytest.raises(KeyError, match="k"):
        future.get()


@pytest.mark.parametrize("first", [lambda f: f.set(1), lambda f: f.set_exception(KeyError())])
@pytest.mark.parametrize("second", [lambda f: f.set(1), lambda f: f.set_exception(KeyError())])
def test_a_future_cannot_be_answered_twice(first, second):
    future = Future()
    first(future)
    with pytest.raises(AlreadySet):
        second(future)


def test_try_set_tells_whether_it_was_first():
    future = Future()
    assert future.try_set(1)
    assert not future.try_set(2)
    assert not future.try_set_exception(KeyError())
    assert future.get() == 1


def test_of_many_threads_that_answer_exactly_one_wins():
    for _ in range(50):
        future, barrier = Future(), threading.Barrier(4)

        def race(value, future=future, barrier=barrier):
            barrier.wait()
            return future.try_set(value)

        joins = [on_a_thread(race, value) for value in range(4)]
        won = [join() for join in joins]
        assert won.count(True) == 1
        assert future.get() == won.index(True)


def test_reading_an_exception_many_times_does_not_make_its_traceback_grow():
    future = answered(error=ValueError("again"))

    def depth():
        with pytest.raises(ValueError, match="again") as caught:
            future.get()
        return len(traceback.extract_tb(caught.value.__traceback__))

    assert len({depth() for _ in range(5)}) == 1


# -- looking ---------------------------------------------------------------------------------


def test_a_pending_future_is_not_done_and_has_no_exception():
    future = Future()
    assert not future.done()
    assert future.exception() is None
    assert not future.cancelled()
    assert repr(future) == "<Future pending>"


def test_exception_returns_what_it_was_answered_with_without_raising():
    error = KeyError("k")
    assert answered(error=error).exception() is error
    assert answered(1).exception() is None


# -- waiting on threads ----------------------------------------------------------------------


def test_get_waits_for_the_answer_of_another_thread():
    future = Future()
    join = on_a_thread(future.get)
    future.set("late")
    assert join() == "late"


def test_every_thread_that_waits_gets_the_answer():
    future = Future()
    joins = [on_a_thread(future.get) for _ in range(8)]
    future.set(7)
    assert [join() for join in joins] == [7] * 8


def test_get_gives_up_after_its_timeout_and_says_how_long_it_waited():
    with pytest.raises(Timeout, match=r"0\.01 seconds") as caught:
        Future().get(timeout=0.01)
    assert caught.value.seconds == 0.01
    assert isinstance(caught.value, pykka.Timeout)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, CallboardError)


def test_a_future_can_still_be_read_after_a_timeout():
    future = Future()
    with pytest.raises(Timeout):
        future.get(timeout=0)
    future.set(1)
    assert future.get(timeout=0) == 1


def test_blocking_is_a_no_op_outside_of_a_dispatcher():
    with blocking():
        pass


# -- cancelling ------------------------------------------------------------------------------


def test_cancelling_a_future_answers_it():
    future = Future()
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    with pytest.raises(RequestCancelled):
        future.get()


def test_an_answered_future_cannot_be_cancelled():
    future = answered(1)
    assert not future.cancel()
    assert future.get() == 1


def test_cancelling_wakes_a_thread_that_waits():
    future = Future()
    join = on_a_thread(future.get)
    future.cancel()
    with pytest.raises(RequestCancelled):
        join()


# -- callbacks -------------------------------------------------------------------------------


def test_a_done_callback_is_called_once_with_the_future():
    future, seen = Future(), []
    future.add_done_callback(seen.append)
    assert seen == []
    future.set(1)
    assert seen == [future]


def test_a_done_callback_added_late_is_called_at_once():
    seen = []
    future = answered(1)
    future.add_done_callback(seen.append)
    assert seen == [future]


def test_a_failing_callback_hurts_neither_the_answer_nor_the_other_callbacks():
    future, seen = Future(), []

    def fail(_):
        raise RuntimeError("listener")

    future.add_done_callback(fail)
    future.add_done_callback(seen.append)
    future.set(1)
    assert seen == [future]
    assert future.get() == 1


# -- awaiting --------------------------------------------------------------------------------


async def test_awaiting_gives_the_answer_of_another_thread_without_blocking_the_loop():
    future, ticked = Future(), asyncio.Event()

    async def tick():
        ticked.set()
        threading.Thread(target=future.set, args=("here",)).start()

    ticking = asyncio.create_task(tick())
    assert await asyncio.wait_for(future, 20) == "here"
    assert ticked.is_set()
    await ticking


async def test_awaiting_an_answered_future_does_not_suspend():
    coroutine = answered(5).__await__()
    with pytest.raises(StopIteration) as stop:
        next(coroutine)
    assert stop.value.value == 5


async def test_awaiting_raises_what_the_future_was_answered_with():
    with pytest.raises(KeyError):
        await answered(error=KeyError())


async def test_several_tasks_may_await_one_future():
    future = Future()

    async def read():
        return await future

    tasks = [asyncio.create_task(read()) for _ in range(5)]
    await asyncio.sleep(0)
    future.set(3)
    assert await asyncio.gather(*tasks) == [3] * 5


def test_tasks_of_several_loops_may_await_one_future():
    future, waiting = Future(), threading.Semaphore(0)

    async def read():
        asyncio.get_running_loop().call_soon(waiting.release)
        return await future

    joins = [on_a_thread(lambda: asyncio.run(read())) for _ in range(3)]
    for _ in joins:
        assert waiting.acquire(timeout=20)
    future.set("all")
    assert [join() for join in joins] == ["all"] * 3


async def test_cancelling_the_only_task_that_waits_cancels_the_request():
    future = Future()

    async def read():
        return await future

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert future.cancelled()


async def test_cancelling_one_of_two_waiting_tasks_leaves_the_request_open():
    future = Future()

    async def read():
        return await future

    first, second = asyncio.create_task(read()), asyncio.create_task(read())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not future.done()
    future.set(1)
    assert await second == 1


async def test_getting_a_pending_future_on_a_loop_raises_and_names_the_fix():
    with pytest.raises(WouldBlockLoop, match="await"):
        Future().get()


async def test_getting_an_answered_future_on_a_loop_works():
    assert answered(1).get() == 1


# -- pykka's combinators ---------------------------------------------------------------------


def test_map_filter_join_and_reduce_compute_from_the_value():
    numbers = answered([1, 2, 3, 4])
    assert numbers.map(len).get() == 4
    assert numbers.filter(lambda n: n % 2 == 0).get() == [2, 4]
    assert numbers.reduce(lambda a, b: a + b).get() == 10
    assert numbers.reduce(lambda a, b: a + b, 100).get() == 110
    assert answered(1).join(answered(2), answered(3)).get() == [1, 2, 3]


def test_combinators_chain():
    future = Future()
    result = future.filter(lambda n: n > 1).map(sum).join(answered(0)).map(max)
    future.set([1, 2, 3])
    assert result.get() == 5


def test_a_mapped_function_runs_once_however_often_it_is_read():
    calls = []
    mapped = answered(1).map(calls.append)
    mapped.get()
    mapped.get()
    assert calls == [1]


def test_a_mapped_function_runs_once_even_if_it_fails():
    calls = []

    def fail(value):
        calls.append(value)
        raise KeyError(value)

    mapped = answered(1).map(fail)
    for _ in range(2):
        with pytest.raises(KeyError):
            mapped.get()
    assert calls == [1]


def test_a_mapped_function_is_not_run_before_it_is_wanted():
    calls, future = [], Future()
    future.map(calls.append)
    future.set(1)
    assert calls == []


def test_a_mapped_future_raises_the_error_of_its_source():
    with pytest.raises(ZeroDivisionError):
        answered(error=ZeroDivisionError()).map(lambda _: 1).get()


def test_a_timeout_on_a_mapped_future_leaves_it_readable():
    future = Future()
    mapped = future.map(str)
    with pytest.raises(Timeout):
        mapped.get(timeout=0.01)
    future.set(1)
    assert mapped.get() == "1"


def test_waiting_for_a_mapped_future_holds_nobody_else_up():
    future = Future()
    mapped = future.map(str)
    join = on_a_thread(mapped.get)
    with pytest.raises(Timeout):
        mapped.get(timeout=0.01)
    assert not mapped.done()
    future.set(2)
    assert join() == "2"


def test_threads_that_race_for_a_mapped_future_run_its_function_once():
    calls, future = [], Future()
    mapped = future.map(lambda value: calls.append(value) or value)
    joins = [on_a_thread(mapped.get) for _ in range(6)]
    future.set(9)
    assert [join() for join in joins] == [9] * 6
    assert calls == [9]


async def test_a_mapped_future_can_be_awaited():
    future = Future()
    asyncio.get_running_loop().call_soon(future.set, 20)
    assert await asyncio.wait_for(future.map(lambda n: n + 1), 20) == 21


async def test_a_joined_future_can_be_awaited():
    first, second = Future(), Future()
    loop = asyncio.get_running_loop()
    loop.call_soon(second.set, 2)
    loop.call_soon(first.set, 1)
    assert await asyncio.wait_for(first.join(second), 20) == [1, 2]


async def test_awaiting_a_join_with_a_future_of_pykka_does_not_hang():
    theirs = pykka.ThreadingFuture()
    theirs.set(2)
    assert await asyncio.wait_for(answered(1).join(theirs), 20) == [1, 2]


async def test_awaiting_what_is_mapped_from_a_future_with_a_get_hook_does_not_hang():
    hooked = Future()
    hooked.set_get_hook(lambda timeout: 20)
    assert await asyncio.wait_for(hooked.map(lambda n: n + 1), 20) == 21


async def test_a_get_on_the_wrong_thread_does_not_spoil_a_mapped_future():
    future = Future()
    mapped = future.map(str)
    with pytest.raises(WouldBlockLoop):
        mapped.get()
    future.set(4)
    assert await mapped == "4"


def test_cancelling_a_mapped_future_cancels_its_source():
    future = Future()
    mapped = future.map(str)
    assert mapped.cancel()
    assert future.cancelled()


def test_the_timeout_of_a_join_is_for_all_of_it_together():
    futures = [Future() for _ in range(5)]
    with pytest.raises(Timeout) as caught:
        futures[0].join(*futures[1:]).get(timeout=0.02)
    assert caught.value.seconds == 0.02


def test_get_all_returns_the_values_in_order():
    assert get_all([answered(1), answered(2)]) == [1, 2]


def test_the_timeout_of_get_all_is_for_all_of_them_together():
    futures = [answered(1), *(Future() for _ in range(3))]
    with pytest.raises(Timeout, match="all of the replies") as caught:
        get_all(futures, timeout=0.02)
    assert caught.value.seconds == 0.02


def test_pykkas_get_all_takes_our_futures():
    assert pykka.get_all([answered(1), answered(2)], timeout=1) == [1, 2]


# -- get hooks -------------------------------------------------------------------------------


def test_a_get_hook_makes_the_value_once():
    calls, future = [], Future()
    future.set_get_hook(lambda timeout: calls.append(timeout) or "made")
    assert future.get(timeout=3) == "made"
    assert future.get() == "made"
    assert calls == [3]


def test_a_get_hook_that_fails_is_asked_again():
    answers = iter([None, "second"])

    def hook(timeout):
        answer = next(answers)
        if answer is None:
            raise KeyError
        return answer

    future = Future()
    future.set_get_hook(hook)
    with pytest.raises(KeyError):
        future.get()
    assert future.get() == "second"


def test_a_future_with_a_hook_cannot_be_answered_and_an_answered_one_takes_no_hook():
    hooked = Future()
    hooked.set_get_hook(lambda timeout: 1)
    with pytest.raises(AlreadySet):
        hooked.set(2)
    with pytest.raises(AlreadySet):
        answered(1).set_get_hook(lambda timeout: 1)


async def test_a_future_with_a_hook_can_be_awaited():
    future = Future()
    future.set_get_hook(lambda timeout: "made elsewhere")
    assert await asyncio.wait_for(future, 20) == "made elsewhere"
