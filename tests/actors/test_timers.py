from __future__ import annotations

import threading

from actors import SystemClock
from actors._timers import LEAST_SWEPT, ScheduledCall, ThreadTimers


def timers():
    return ThreadTimers(SystemClock(), "timers-under-test")


def test_calls_are_made_in_the_order_they_are_due():
    under_test, made, last = timers(), [], threading.Event()
    under_test.call_later(0.03, last.set)
    under_test.call_later(0.02, made.append, "later")
    under_test.call_later(0.01, made.append, "sooner")
    assert last.wait(20)
    assert made == ["sooner", "later"]
    under_test.close()


def test_calls_of_the_same_moment_are_made_in_the_order_they_were_scheduled():
    class Still:
        def __init__(self):
            self.now = 0.0

        def monotonic(self):
            return self.now

        time = monotonic

    under_test, made, last = ThreadTimers(Still(), "still"), [], threading.Event()
    with under_test._changed:
        pass
    for n in range(100):
        under_test.call_later(0, made.append, n)
    under_test.call_later(0, last.set)
    assert last.wait(20)
    assert made == list(range(100))
    under_test.close()


def test_a_call_due_sooner_than_all_others_is_not_slept_through():
    under_test, called = timers(), threading.Event()
    under_test.call_later(3600, lambda: None)
    under_test.call_later(0.001, called.set)
    assert called.wait(20)
    under_test.close()


def test_a_cancelled_call_is_not_made_and_holds_on_to_nothing():
    under_test, made, last = timers(), [], threading.Event()
    scheduled = under_test.call_later(0.01, made.append, 1)
    scheduled.cancel()
    assert scheduled.cancelled
    under_test.call_later(0.02, last.set)
    assert last.wait(20)
    assert made == []
    under_test.close()


def test_a_call_is_made_once_however_often_it_is_run():
    made = []
    call = ScheduledCall(0.0, lambda: made.append(1))
    call.run()
    call.run()
    assert made == [1]


def test_a_failing_call_does_not_end_the_others():
    under_test, called = timers(), threading.Event()
    under_test.call_later(0, lambda: 1 / 0)
    under_test.call_later(0.001, called.set)
    assert called.wait(20)
    under_test.close()


def test_there_is_no_thread_before_the_first_call_and_none_after_the_end():
    under_test = timers()
    assert under_test.threads == 0
    under_test.call_later(3600, lambda: None)
    assert under_test.threads == 1
    under_test.close()
    under_test.join(20)
    assert under_test.threads == 0


def test_closed_timers_forget_what_is_scheduled_and_take_nothing_new():
    under_test, made = timers(), []
    under_test.call_later(0.001, made.append, "before")
    under_test.close()
    under_test.call_later(0, made.append, "after")
    under_test.join(20)
    assert under_test.threads == 0
    assert "after" not in made


def test_a_call_may_close_the_timers_and_join_them():
    under_test, done = timers(), threading.Event()

    def end():
        under_test.close()
        under_test.join()
        done.set()

    under_test.call_later(0, end)
    assert done.wait(20)


def test_cancelled_calls_are_let_go_long_before_they_are_due():
    under_test = timers()
    kept = [under_test.call_later(3600, lambda: None) for _ in range(10)]
    for _ in range(20 * LEAST_SWEPT):
        under_test.call_later(3600, lambda: None).cancel()
    assert len(under_test._heap) <= LEAST_SWEPT
    assert {entry[2] for entry in under_test._heap} >= set(kept)
    under_test.close()
