"""Many simulations of one test: by seed or enumerated; a failure is checked, shrunk and replayed."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from actors import Actor, InvalidOption
from actors.testing import EndlessSimulation, InvariantViolated, NotDeterministic, Simulation
from actors.testing._explore import Plan, explore, replay
from actors.testing._outcome import Attempt, kind_of
from actors.testing._schedules import ChosenSchedule, RandomSchedule, Replay
from actors.testing._shrink import shrink


class Chatter(Actor):
    """Fills the history with what has nothing to do with anything."""

    def on_receive(self, message):
        if message:
            self.actor_ref.tell(message - 1)


class Box(Actor):
    def __init__(self):
        self.seen = []

    def on_receive(self, message):
        if message == "all":
            return self.seen
        self.seen.append(message)
        return None


class Courier(Actor):
    def __init__(self, box):
        self.box = box

    def on_receive(self, message):
        self.box.tell(message)


def overtaking(sim, chatters=0):
    """A cancellation has the longer way, and must not come before the order."""
    seen = []

    class Shop(Actor):
        def on_receive(self, message):
            seen.append(message)

    shop = sim.system.spawn(Shop, name="shop")
    for _ in range(chatters):
        sim.system.spawn(Chatter).tell(5)
    near = sim.system.spawn(Courier, shop, name="near")
    far = sim.system.spawn(Courier, sim.system.spawn(Courier, shop, name="further"), name="far")
    sim.always(lambda: seen[:1] != ["cancel"], "the order comes first")
    near.tell("order")
    far.tell("cancel")
    sim.run()


def noisy(sim):
    overtaking(sim, chatters=5)


def three_couriers(sim):
    """Three messages arrive in any order."""
    box = sim.system.spawn(Box, name="box")
    couriers = [sim.system.spawn(Courier, box, name=f"courier-{n}") for n in range(3)]
    for number, courier in enumerate(couriers):
        courier.tell(number)
    sim.run()
    return box.ask("all")


def failing(test, plan=None):
    found = explore(Attempt(test), plan or Plan(seeds=500))
    assert found.failure is not None
    return found


# -- what is printed replays -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Replay(17), "17"),
        (Replay(-3), "-3"),
        (Replay(17, (3, 0, 2)), "17:3.0.2"),
        (Replay(17, (3, *[0] * 40, 2)), "17:3.40x0.2"),
        (Replay(0, (0, 0, 0, 1)), "0:0.0.0.1"),
        (Replay(0, (1,) * 4), "0:4x1"),
    ],
)
def test_what_replays_a_simulation_is_short_text_that_can_be_read_back(value, text):
    assert str(value) == text
    assert Replay.parse(text) == value


def test_a_schedule_that_always_takes_the_oldest_has_a_text_too():
    assert str(Replay(5, ())) == "5:0"
    assert Replay.parse("5:0").schedule().choose(7) == 0


@pytest.mark.parametrize(
    "text", ["", "x", "1.5", "1:", "1:a", "1:2..3", "1:x3", "1:2x", "1:-1", "\u0661"]
)
def test_other_text_is_refused(text):
    with pytest.raises(InvalidOption, match=r"17:3\.0\.2"):
        Replay.parse(text)


def test_choices_that_are_used_up_are_followed_by_the_oldest():
    schedule = ChosenSchedule((2, 9))
    assert [schedule.choose(4), schedule.choose(3), schedule.choose(5)] == [2, 2, 0]
    assert schedule.taken == [2, 2, 0]
    assert schedule.counts == [4, 3, 5]


def test_the_recorded_choices_of_a_seed_give_its_history():
    schedule = RandomSchedule(3)
    with Simulation(3, schedule=schedule) as sim:
        three_couriers(sim)
    with Simulation(3, schedule=ChosenSchedule(tuple(schedule.taken))) as again:
        three_couriers(again)
    assert bytes(again.history) == bytes(sim.history)


def test_the_shrunk_history_is_replayed_from_its_text():
    shortest = failing(noisy).shortest
    again = replay(Attempt(noisy), Replay.parse(str(shortest.replay))).failure
    assert bytes(again.history) == bytes(shortest.history)
    assert again.kind == shortest.kind


# -- by seed -----------------------------------------------------------------------------------------


def test_seeds_are_run_from_zero_on_each_in_a_fresh_simulation():
    seen = []
    found = explore(Attempt(lambda sim: seen.append((sim.seed, len(sim.history)))), Plan(seeds=5))
    assert seen == [(seed, 0) for seed in range(5)]
    assert (found.runs, found.tried, found.failure) == (5, "5 seeds, from 0 to 4", None)


def test_the_first_failing_seed_ends_the_exploration():
    seen = []

    def test(sim):
        seen.append(sim.seed)
        assert sim.seed < 3

    found = explore(Attempt(test), Plan(seeds=100, shrink=0))
    assert found.failure.replay == Replay(3)
    assert found.runs == 4
    assert seen == [0, 1, 2, 3, 3], "the failing one is checked once more"


def test_what_is_found_only_at_the_end_of_the_simulation_is_a_failure_too():
    class Forgetful(Actor):
        async def on_receive(self, message):
            await asyncio.Event().wait()

    found = explore(Attempt(lambda sim: sim.system.spawn(Forgetful).request(1)), Plan(seeds=3))
    assert "no answer" in str(found.failure.error)


def test_a_test_may_be_skipped_in_a_run_and_is_not_run_again():
    class Skipped(Exception):
        pass

    def skips(sim):
        raise Skipped

    with pytest.raises(Skipped):
        explore(Attempt(skips, passed_on=(Skipped,)), Plan(seeds=3))


def test_an_option_that_the_system_does_not_have_is_not_a_failing_seed():
    with pytest.raises(TypeError, match="nonsense"):
        explore(Attempt(lambda _: None, system={"nonsense": 1}), Plan(seeds=3))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sedes": 3}, "one of its options: seeds, systematic, steps, system, shrink"),
        ({"seeds": 0}, "a whole number of at least 1"),
        ({"seeds": True}, "a whole number of at least 1"),
        ({"seeds": "9"}, "a whole number of at least 1"),
        ({"steps": 0}, "a whole number of at least 1"),
        ({"shrink": -1}, "a whole number of at least 0"),
        ({"systematic": 0}, "True, or how many delays"),
        ({"systematic": "yes"}, "True, or how many delays"),
        ({"system": 3}, "a dict of options"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, text):
    with pytest.raises(InvalidOption, match=text):
        Plan.of(options)


# -- a bound on steps --------------------------------------------------------------------------------


def ping_pong_while_the_test_waits(sim):
    class Never(Actor):
        async def on_receive(self, message):
            await asyncio.Event().wait()

    class Restless(Actor):
        def on_receive(self, message):
            self.actor_ref.tell(message)

    sim.system.spawn(Restless).tell(1)
    sim.system.spawn(Never).ask(1)


def test_a_simulation_that_does_not_end_fails_wherever_the_test_waits_and_is_not_shrunk():
    attempt = Attempt(ping_pong_while_the_test_waits, steps=1000)
    found = explore(attempt, Plan(seeds=2))
    assert type(found.failure.error) is EndlessSimulation
    assert "1,000 steps" in str(found.failure.error)
    assert found.shrunk is None


@pytest.mark.parametrize("steps", [0, 1.5, True, None])
def test_a_bound_on_steps_is_a_whole_number(steps):
    with pytest.raises(InvalidOption, match="steps"):
        Simulation(steps=steps)


# -- shrinking ---------------------------------------------------------------------------------------


def test_a_failing_history_is_shrunk_to_the_deviations_that_matter():
    found = failing(noisy)
    first, shortest = found.failure, found.shortest
    assert found.shrunk.runs <= 300
    assert shortest.kind == first.kind
    assert len(shortest.history) < len(first.history)
    assert 1 <= shortest.deviations() <= 4 < first.deviations()
    assert len(shortest.replay.choices) < len(first.taken)
    assert shortest.replay.choices[-1] != 0


def test_what_was_shrunk_passes_in_the_oldest_first_order():
    assert replay(Attempt(noisy), Replay(0, ())).failure is None


def test_shrinking_keeps_to_the_assertion_that_failed():
    def two_ways(sim):
        seen = three_couriers(sim)
        assert seen[0] == 0
        assert seen[1] == 1

    places = {}
    for seed in range(40):
        outcome = Attempt(two_ways)(Replay(seed))
        if outcome.error is not None:
            shortest = shrink(outcome, Attempt(two_ways), runs=100).outcome
            assert shortest.kind == outcome.kind
            places[outcome.kind.place] = shortest.deviations()
    assert list(places.values()) == [1, 1]


def test_what_is_shrunk_never_has_a_longer_history():
    shrunk = 0
    for seed in range(60):
        first = Attempt(noisy)(Replay(seed))
        if first.error is not None:
            shortest = shrink(first, Attempt(noisy), runs=60).outcome
            assert len(shortest.history) <= len(first.history)
            shrunk += shortest is not first
    assert shrunk > 5


def test_shrinking_stops_after_the_runs_it_is_given():
    first = failing(noisy, Plan(seeds=500, shrink=0)).failure
    shrunk = shrink(first, Attempt(noisy), runs=3)
    assert (shrunk.runs, shrunk.stopped) == (3, "3 runs")


def test_shrinking_stops_after_the_seconds_it_is_given():
    first = failing(noisy, Plan(seeds=500, shrink=0)).failure
    shrunk = shrink(first, Attempt(noisy), runs=300, seconds=0)
    assert (shrunk.runs, shrunk.stopped, shrunk.outcome) == (0, "its time", first)


def test_schedules_that_lead_nowhere_are_left_early_while_shrinking():
    steps = []

    def endless_if_oldest_first(sim):
        class Restless(Actor):
            def on_receive(self, message):
                self.actor_ref.tell(message)

        try:
            if three_couriers(sim) == [0, 1, 2]:
                sim.system.spawn(Restless).tell(1)
                sim.run()
            raise ValueError
        finally:
            steps.append(sim._kernel.steps)

    found = failing(endless_if_oldest_first)
    assert type(found.shortest.error) is ValueError
    assert max(steps) < 10_000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ValueError(1), ValueError(2)),
        (
            InvariantViolated("1 x after step 3, at 1.5 s"),
            InvariantViolated("2 x after step 4, at 2 s"),
        ),
        (InvariantViolated("lost: a, b"), InvariantViolated("lost: c")),
    ],
)
def test_failures_of_one_kind_may_differ_in_details(one, other):
    assert kind_of(one) == kind_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ValueError(1), TypeError(1)),
        (InvariantViolated("a does not hold"), InvariantViolated("b does not hold")),
    ],
)
def test_failures_of_different_kinds_are_told_apart(one, other):
    assert kind_of(one) != kind_of(other)


# -- code that does something else each time -----------------------------------------------------------


def test_code_that_depends_on_something_besides_the_seed_is_told_with_the_first_difference():
    runs = itertools.count()

    def test(sim):
        box = sim.system.spawn(Box, name="box")
        box.ask("same")
        box.ask(f"run {next(runs)}")
        raise ValueError

    with pytest.raises(NotDeterministic, match="first difference is line 5 ") as caught:
        explore(Attempt(test), Plan(seeds=3))
    error = caught.value
    assert (error.replay, error.line) == ("0", 5)
    assert "'run 0'" in error.first
    assert "'run 1'" in error.second
    assert type(error.__cause__) is ValueError


def test_a_failure_that_does_not_come_again_with_the_same_history_is_told_too():
    runs = itertools.count()

    def test(sim):
        if next(runs) == 0:
            raise ValueError

    with pytest.raises(NotDeterministic) as caught:
        explore(Attempt(test), Plan(seeds=3))
    assert (caught.value.first, caught.value.second) == ("fails: ValueError", "passes")


# -- enumerated ----------------------------------------------------------------------------------------


def every_schedule(test):
    """Count through all schedules, as an odometer does; yield each with its counts."""
    choices = ()
    while True:
        outcome = Attempt(test)(Replay(0, choices))
        yield tuple(outcome.taken), outcome
        taken = list(outcome.taken)
        while taken and taken[-1] == outcome.counts[len(taken) - 1] - 1:
            taken.pop()
        if not taken:
            return
        taken[-1] += 1
        choices = tuple(taken)


def enumerated(test, **options):
    seen = []

    def watched(sim):
        seen.append(sim.schedule)
        test(sim)

    found = explore(Attempt(watched), Plan(seeds=100_000, **options))
    return found, [tuple(schedule.taken) for schedule in seen]


def test_enumeration_runs_every_schedule_once():
    found, taken = enumerated(three_couriers, systematic=True)
    expected = [schedule for schedule, _ in every_schedule(three_couriers)]
    assert len(taken) == len(set(taken)) == len(expected)
    assert set(taken) == set(expected)
    assert found.tried == f"all {len(expected)} interleavings"
    assert found.failure is None


def test_a_bound_on_delays_leaves_out_the_schedules_with_more():
    found, taken = enumerated(three_couriers, systematic=2)
    expected = {s for s, _ in every_schedule(three_couriers) if sum(s) <= 2}
    assert set(taken) == expected
    assert [sum(schedule) for schedule in taken] == sorted(sum(s) for s in expected)
    assert found.tried == f"all {len(expected)} interleavings with at most 2 delays"


def test_a_bound_that_nothing_exceeds_is_not_mentioned():
    assert enumerated(three_couriers, systematic=1000)[0].tried.endswith("interleavings")


def test_the_first_failure_of_an_enumeration_needs_the_fewest_delays():
    found, _ = enumerated(overtaking, systematic=True)
    assert found.failure is not None
    fewest = sum(found.failure.replay.choices)
    assert fewest == min(sum(s) for s, outcome in every_schedule(overtaking) if outcome.error)
    assert fewest > 1
    assert enumerated(overtaking, systematic=fewest)[0].failure is not None
    assert enumerated(overtaking, systematic=fewest - 1)[0].failure is None


def test_an_enumeration_that_is_not_done_says_how_far_it_came():
    with_one = enumerated(three_couriers, systematic=1)[0].runs
    for some, delays in ((2, 1), (with_one - 1, 1), (with_one + 1, 2)):
        found = explore(Attempt(three_couriers), Plan(seeds=some, systematic=True))
        assert found.runs == some
        assert found.tried == (
            f"{some} interleavings: all with fewer than {delays} delay{'s' * (delays > 1)}, "
            f"and some with {delays}"
        )


def test_a_system_without_choices_has_one_interleaving():
    def test(sim):
        sim.system.spawn(Box).ask(1)

    assert explore(Attempt(test), Plan(systematic=True)).tried == "the only interleaving"
