"""The supervisor's side alone: children that only note their orders, and a clock set by hand."""

from __future__ import annotations

import pytest

from actors import Actor, Backoff, ChildSpec, NameTaken, RestartLimitExceeded, Supervision
from actors._children import Children


class Time:
    """A clock and timers in one, moved by the test."""

    def __init__(self):
        self.now = 0.0
        self.scheduled = []

    def monotonic(self):
        return self.now

    def call_later(self, seconds, call, *args):
        self.scheduled.append((self.now + seconds, lambda: call(*args)))

    def pass_to(self, now):
        while due := sorted((s for s in self.scheduled if s[0] <= now), key=lambda s: s[0]):
            self.scheduled.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = now


class Child:
    def __init__(self, log, key, **options):
        self.log, self.key = log, key
        self.spec = ChildSpec(Actor, name=key if isinstance(key, str) else None, **options)

    def order_restart(self, reason):
        self.log.append(("restart", self.key))

    def order_halt(self):
        self.log.append(("halt", self.key))

    def order_stop(self, *, drain=True):
        self.log.append(("stop", self.key))

    def order_die(self):
        self.log.append(("die", self.key))

    def order_kill(self, *, wanted=True):
        self.log.append(("kill" if wanted else "kill to restart", self.key))


class Scene:
    def __init__(self, policy=None, *children):
        self.time = Time()
        self.log = []
        self.errors = []
        self.under_test = Children(
            policy or Supervision(),
            self.time,
            self.time,
            lambda: "/boss",
            self.errors.append,
            lambda: self.log.append("shut down"),
            lambda: self.log.append("empty"),
        )
        self.children = {}
        for key, options in children:
            self.children[key] = child = Child(self.log, key, **options)
            assert self.under_test.add(child)

    def fails(self, key, reason=None):
        self.under_test.report(self.children[key], "failure", reason or ValueError(key))

    def ended(self, key):
        self.under_test.ended(self.children[key])

    def halted(self, key):
        self.under_test.report(self.children[key], "normal", None)

    def started(self, key):
        self.under_test.started(self.children[key])

    def orders(self):
        orders, self.log[:] = list(self.log), []
        return orders


def abc(**options):
    return [(key, options) for key in "abc"]


def test_names_are_unique_among_the_living():
    scene = Scene(None, *abc())
    with pytest.raises(NameTaken):
        scene.under_test.add(Child([], "b"))
    scene.ended("b")
    assert scene.under_test.add(Child([], "b"))


def test_children_without_a_name_are_numbered():
    scene = Scene()
    numbered = [Child([], 0) for _ in range(3)]
    assert all(scene.under_test.add(child) for child in numbered)
    assert [child.key for child in numbered] == [1, 2, 3]


def test_children_stop_one_after_the_other_in_reverse_order():
    scene = Scene(None, *abc())
    scene.under_test.stop_all()
    for key in "cba":
        assert scene.orders() == [("stop", key)]
        scene.ended(key)
    assert scene.orders() == ["empty"]
    assert not scene.under_test.add(Child([], "late")), "a stopping supervisor takes nobody in"


def test_a_child_that_ends_out_of_turn_while_all_stop_is_not_waited_for():
    scene = Scene(None, *abc())
    scene.under_test.stop_all()
    scene.ended("b")
    scene.ended("c")
    assert scene.orders() == [("stop", "c"), ("stop", "a")]


def test_a_child_is_killed_when_its_time_to_stop_is_over():
    scene = Scene(None, ("a", {"shutdown": 1.0}))
    scene.under_test.stop_all()
    scene.time.pass_to(0.9)
    assert scene.orders() == [("stop", "a")]
    scene.time.pass_to(1.0)
    assert scene.orders() == [("kill", "a")]


def test_a_child_with_little_time_is_not_given_that_of_the_one_before_it():
    scene = Scene(None, ("a", {"shutdown": 1.0}), ("b", {"shutdown": 60.0}))
    scene.under_test.stop_all()
    scene.ended("b")
    scene.time.pass_to(1.0)
    assert scene.orders() == [("stop", "b"), ("stop", "a"), ("kill", "a")]


def test_brutal_kill_asks_nobody_and_none_waits_for_ever():
    scene = Scene(None, ("a", {"shutdown": None}), ("b", {"shutdown": "brutal_kill"}))
    scene.under_test.stop_all()
    scene.ended("b")
    scene.time.pass_to(1e9)
    assert scene.orders() == [("kill", "b"), ("stop", "a")]


def test_the_owner_hears_once_for_each_stop_that_all_are_gone():
    scene = Scene(Supervision(intensity=0), ("a", {}))
    scene.fails("a")
    assert isinstance(scene.errors[0], RestartLimitExceeded)
    scene.ended("a")
    assert scene.orders() == [("stop", "a")], "nobody has asked yet"
    scene.under_test.stop_all()
    assert scene.orders() == ["empty"]
    scene.under_test.reopen()
    assert scene.under_test.add(Child([], "a"))


def test_a_group_halts_in_reverse_one_after_the_other_and_starts_again_in_order():
    scene = Scene(Supervision("one_for_all"), *abc())
    scene.fails("b")
    assert scene.orders() == [("halt", "c")]
    scene.halted("c")
    assert scene.orders() == [("halt", "a")]
    scene.halted("a")
    for key in "abc":
        assert scene.orders() == [("restart", key)]
        scene.started(key)
    assert scene.orders() == []


def test_a_member_that_fails_while_the_group_halts_does_not_count_again():
    scene = Scene(Supervision("one_for_all", intensity=1), *abc())
    scene.fails("b")
    scene.fails("c")
    scene.halted("a")
    assert scene.errors == []
    assert scene.orders() == [("halt", "c"), ("halt", "a"), ("restart", "a")]


def test_a_member_that_does_not_halt_in_time_is_killed_to_be_restarted():
    scene = Scene(Supervision("one_for_all"), ("a", {}), ("b", {"shutdown": 2.0}))
    scene.fails("a")
    scene.time.pass_to(2.0)
    assert scene.orders() == [("halt", "b"), ("kill to restart", "b")]
    scene.halted("b")
    assert scene.orders() == [("restart", "a")]


def test_a_member_that_ends_for_good_while_it_waits_makes_way_for_the_next():
    scene = Scene(Supervision("one_for_all"), *abc())
    scene.fails("c")
    scene.halted("b")
    scene.halted("a")
    assert scene.orders() == [("halt", "b"), ("halt", "a"), ("restart", "a")]
    scene.ended("a")
    assert scene.orders() == [("restart", "b")]


def test_a_failure_during_a_group_restart_takes_the_rest_along_again():
    scene = Scene(Supervision("rest_for_one", intensity=5), *abc())
    scene.fails("b")
    scene.halted("c")
    assert scene.orders() == [("halt", "c"), ("restart", "b")]
    scene.fails("a")  # while b starts
    assert scene.orders() == [("halt", "b")]
    scene.started("b")
    scene.halted("b")
    for key in "abc":
        assert scene.orders() == [("restart", key)]
        scene.started(key)
    assert scene.orders() == []


def test_a_member_that_fails_to_start_begins_the_group_again_without_those_at_rest():
    scene = Scene(Supervision("one_for_all", intensity=5), *abc())
    scene.fails("c")
    scene.halted("b")
    scene.halted("a")
    scene.started("a")
    assert scene.orders()[-1] == ("restart", "b")
    scene.fails("b")
    assert scene.orders() == [("halt", "a")]
    scene.halted("a")
    for key in "abc":
        assert scene.orders() == [("restart", key)]
        scene.started(key)


def test_a_group_that_is_restarting_can_be_stopped():
    scene = Scene(Supervision("one_for_all"), *abc())
    scene.fails("b")
    scene.under_test.stop_all()
    assert scene.orders() == [("halt", "c"), ("stop", "c")]
    scene.halted("c")
    assert scene.orders() == [("die", "c")]
    for key in "cba":
        scene.ended(key)
    assert scene.orders() == [("stop", "b"), ("stop", "a"), "empty"]


def test_restarts_wait_longer_and_longer_and_start_anew_after_a_quiet_time(monkeypatch):
    monkeypatch.setattr("random.random", lambda: 0.0)
    policy = Supervision(intensity=100, backoff=Backoff(1.0, 8.0))
    scene = Scene(policy, ("a", {}))
    delays = []
    for quiet in (0.0, 0.0, 0.0, 0.0, 0.0, 4.4, 4.6, 0.0):
        scene.time.pass_to(scene.time.now + quiet)
        before = scene.time.now
        scene.fails("a")
        scene.time.pass_to(scene.time.scheduled[0][0])
        delays.append(scene.time.now - before)
        assert scene.orders() == [("restart", "a")]
    assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 1.0, 2.0]


def test_a_child_that_left_is_told_to_die_when_it_reports():
    scene = Scene(None, ("a", {}))
    scene.ended("a")
    scene.fails("a")
    assert scene.orders() == [("die", "a")]


def test_significant_children_shut_their_supervisor_down():
    scene = Scene(
        Supervision(auto_shutdown="any"), ("a", {"restart": "temporary", "significant": True})
    )
    scene.fails("a")
    assert scene.orders() == [("die", "a"), "shut down"]


def test_the_last_of_all_significant_children_is_the_last_to_report_not_to_die():
    both = {"restart": "temporary", "significant": True}
    scene = Scene(Supervision(auto_shutdown="all"), ("a", both), ("b", both), ("c", {}))
    scene.fails("a")
    assert scene.orders() == [("die", "a")]
    scene.fails("b")  # on another thread, before a has come to its order
    assert scene.orders() == [("die", "b"), "shut down"]


def test_a_significant_child_that_was_stopped_from_outside_is_not_waited_for():
    both = {"restart": "temporary", "significant": True}
    scene = Scene(Supervision(auto_shutdown="all"), ("a", both), ("b", both))
    scene.ended("a")
    scene.fails("b")
    scene.ended("b")
    assert scene.orders() == [("die", "b"), "shut down"]
