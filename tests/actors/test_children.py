"""The supervisor's side alone: children that only note their orders, and a clock set by hand."""

from __future__ import annotations

import random
from collections import deque

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
    assert scene.orders() == [("halt", "b")], "in case the first was there before it had started"
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


# -- starts in order -------------------------------------------------------------------------------


def waiting(scene, *keys):
    for key in keys:
        scene.children[key] = child = Child(scene.log, key)
        assert scene.under_test.add(child, in_order=True)
        scene.under_test.start_next()


def test_the_next_starts_when_the_one_before_runs():
    scene = Scene()
    waiting(scene, *"abc")
    for key in "abc":
        assert scene.orders() == [("restart", key)]
        scene.started(key)
    assert scene.orders() == []


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_the_next_waits_while_the_one_before_is_tried_again(strategy):
    scene = Scene(Supervision(strategy, intensity=5))
    waiting(scene, *"abc")
    scene.started("a")
    scene.fails("b")
    if strategy == "one_for_all":
        assert scene.orders() == [("restart", "a"), ("restart", "b"), ("halt", "a")]
        scene.halted("a")
        assert scene.orders() == [("restart", "a")]
        scene.started("a")
        assert scene.orders() == [("restart", "b")]
    else:
        assert scene.orders() == [("restart", "a"), ("restart", "b"), ("restart", "b")]
    scene.started("b")
    assert scene.orders() == [("restart", "c")]


def test_one_that_ends_before_or_while_it_starts_makes_way_for_the_next():
    scene = Scene()
    waiting(scene, *"abc")
    scene.ended("b")
    scene.ended("a")
    assert scene.orders() == [("restart", "a"), ("restart", "c")]


def test_one_that_is_never_restarted_still_starts_for_the_first_time_after_a_group_restart():
    scene = Scene(Supervision("one_for_all", intensity=5))
    waiting(scene, "a")
    scene.children["b"] = b = Child(scene.log, "b", restart="temporary")
    assert scene.under_test.add(b, in_order=True)
    scene.started("a")
    scene.orders()
    scene.under_test.replace(b)
    waiting(scene, "c")
    scene.fails("a")
    assert scene.orders() == [("stop", "b")], "it was on its way"
    scene.ended("b")
    scene.started("a")
    assert scene.orders() == [("restart", "a"), ("restart", "c")]


def test_the_owner_hears_when_all_have_started():
    scene = Scene()
    assert not scene.under_test.call_when_started(lambda: scene.log.append("all"))
    waiting(scene, *"ab")
    assert scene.under_test.call_when_started(lambda: scene.log.append("all"))
    scene.started("a")
    scene.started("b")
    assert scene.orders() == [("restart", "a"), ("restart", "b"), "all"]


def test_one_that_was_spawned_during_a_group_restart_and_fails_does_not_make_it_forget_the_group():
    scene = Scene(Supervision("rest_for_one", intensity=5), *abc())
    scene.fails("b")
    scene.halted("c")
    scene.children["f"] = Child(scene.log, "f")
    assert scene.under_test.add(scene.children["f"])
    scene.fails("f")
    assert scene.orders() == [("halt", "c"), ("restart", "b")]
    for key in "bcf":
        scene.started(key)
    assert scene.orders() == [("restart", "c"), ("restart", "f")]


def test_one_that_was_spawned_while_a_group_halts_and_fails_does_not_keep_it_from_halting():
    scene = Scene(Supervision("rest_for_one", intensity=5), *abc())
    scene.fails("a")
    scene.children["f"] = Child(scene.log, "f")
    assert scene.under_test.add(scene.children["f"])
    scene.fails("f")
    scene.halted("c")
    scene.halted("b")
    orders = scene.orders()
    assert orders[-2:] == [("halt", "b"), ("restart", "a")]
    for key in "abcf":
        scene.started(key)
    assert scene.orders() == [("restart", "b"), ("restart", "c"), ("restart", "f")]


def test_one_that_is_to_halt_just_as_it_starts_is_started_once_more():
    scene = Scene(Supervision("one_for_all", intensity=5), *abc())
    scene.fails("c")
    scene.halted("b")
    scene.halted("a")
    scene.children["f"] = Child(scene.log, "f")
    assert scene.under_test.add(scene.children["f"])
    scene.orders()
    scene.fails("f")
    scene.started("a")
    assert scene.orders() == [("halt", "a")] * 2
    scene.halted("a")
    for key in "abcf":
        assert scene.orders() == [("restart", key)]
        scene.started(key)


def test_a_delay_is_waited_for_although_another_member_has_started(monkeypatch):
    monkeypatch.setattr("random.random", lambda: 0.0)
    policy = Supervision("rest_for_one", intensity=5, backoff=Backoff(2.0, 8.0))
    scene = Scene(policy, *abc())
    scene.fails("c")
    scene.time.pass_to(2.0)
    assert scene.orders() == [("restart", "c")]
    scene.children["f"] = Child(scene.log, "f")
    assert scene.under_test.add(scene.children["f"])
    scene.fails("f")
    scene.started("c")
    assert scene.orders() == []
    scene.time.pass_to(6.0)
    assert scene.orders() == [("restart", "f")]


class LivingChild(Child):
    """Obeys its orders one after the other, each when the test picks it."""

    def __init__(self, scene, key, state, **options):
        super().__init__(scene.log, key, **options)
        self.scene = scene
        self.in_order = state == "new"
        self.state = state
        self.ran = not self.in_order
        self.lane = deque()

    def order_restart(self, reason):
        # Others may give orders between the decision and its order, as these do not hold the lock.
        if self.scene.troubled and len(self.lane) % 2 == 0:
            self.scene.on_its_way.append(self)
        else:
            self.lane.append("restart")

    def order_halt(self):
        self.lane.append("halt")

    def order_stop(self, *, drain=True):
        self.lane.append("stop")

    def order_die(self):
        self.lane.append("die")

    def order_kill(self, *, wanted=True):
        self.lane.append("stop" if wanted else "fail")

    def may_move(self):
        return self.state != "dead" and (self.state == "starting" or bool(self.lane))

    def move(self, dice):
        if self.state == "starting":
            if self.scene.troubled and dice.random() < 0.2:
                self.fail()
            else:
                self.state, self.ran = "running", True
                self.scene.under_test.started(self)
            return
        match self.lane.popleft(), self.state:
            case "restart", "new" | "between":
                self.scene.check_start_of(self)
                self.state = "starting"
            case "halt", "running":
                self.state = "between"
                self.scene.under_test.report(self, "normal", None)
            case ("stop", _) | ("die", "between" | "new"):
                self.state = "dead"
                self.scene.under_test.ended(self)
            case "fail", "running":
                self.fail()

    def fail(self):
        self.state = "between"
        self.scene.under_test.report(self, "failure", ValueError(self.key))


class LivingScene(Scene):
    troubled = True

    def __init__(self, *args):
        super().__init__(*args)
        self.on_its_way = []

    def deliver(self):
        for child in self.on_its_way:
            child.lane.append("restart")
        self.on_its_way.clear()

    def check_start_of(self, child):
        members = [c for c in self.children.values() if c.state != "dead"]
        if self.strategy != "one_for_one":
            assert not any(c.state == "starting" for c in members), "one after the other"
        if not child.ran:
            before = members[: members.index(child)]
            assert all(c.ran or "die" in c.lane for c in before if c.in_order), "in order"


@pytest.mark.parametrize("delays", [False, True])
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_whoever_fails_or_ends_in_whatever_order_all_others_run_in_the_end(strategy, delays):
    for seed in range(400):
        dice = random.Random(seed)
        backoff = Backoff(0.5, 2.0) if delays else None
        scene = LivingScene(Supervision(strategy, intensity=10**6, backoff=backoff))
        scene.strategy = strategy

        def add(scene=scene, dice=dice):
            key = f"{len(scene.children)}"
            in_order = dice.random() < 0.6
            kind = dice.choice(["permanent", "permanent", "transient", "temporary"])
            state = "new" if in_order else "running"
            time = dice.choice(["brutal_kill", None, 0.1])
            child = LivingChild(scene, key, state, restart=kind, shutdown=time)
            scene.children[key] = child
            assert scene.under_test.add(child, in_order=in_order)
            if in_order:
                scene.under_test.start_next()

        for _ in range(dice.randint(1, 4)):
            add()
        for _ in range(80):
            living = [c for c in scene.children.values() if c.state != "dead"]
            movable = [c for c in living if c.may_move()]
            what = dice.random()
            if what < 0.05:
                scene.deliver()
            elif what < 0.1:
                add()
            elif what < 0.2 and (running := [c for c in living if c.state == "running"]):
                dice.choice(running).fail()
            elif what < 0.23 and living:
                dice.choice(living).order_stop()
            elif what < 0.3:
                scene.time.pass_to(scene.time.now + dice.random())
            elif movable:
                dice.choice(movable).move(dice)
        scene.troubled = False
        scene.deliver()
        for _ in range(2000):
            movable = [c for c in scene.children.values() if c.may_move()]
            if movable:
                dice.choice(movable).move(dice)
            elif scene.time.scheduled:
                scene.time.pass_to(scene.time.now + 1.0)
            else:
                break
        states = {key: child.state for key, child in scene.children.items()}
        assert set(states.values()) <= {"running", "dead"}, (seed, states)
        assert [c.key for c in scene.under_test.snapshot()] == [
            key for key, state in states.items() if state == "running"
        ]
