from __future__ import annotations

import itertools
import math

import pytest

from actors import Actor, Backoff, Bounded, ChildSpec, InvalidOption, Supervision
from actors._supervision import decide

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS = ("permanent", "transient", "temporary")
ENDINGS = ("normal", "failure")


def children(*restarts, significant=()):
    return [
        ChildSpec(Actor, name=f"child-{i}", restart=restart, significant=i in significant)
        for i, restart in enumerate(restarts)
    ]


# -- who is restarted --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "restart", "ending", "position"),
    list(itertools.product(STRATEGIES, RESTARTS, ENDINGS, range(3))),
)
def test_strategy_restart_type_and_ending_decide_together(strategy, restart, ending, position):
    restarts = {
        ("permanent", "normal"): True,
        ("permanent", "failure"): True,
        ("transient", "normal"): False,
        ("transient", "failure"): True,
        ("temporary", "normal"): False,
        ("temporary", "failure"): False,
    }[restart, ending]
    affected = {
        "one_for_one": {position},
        "one_for_all": {0, 1, 2},
        "rest_for_one": set(range(position, 3)),
    }[strategy]
    for siblings in itertools.product(RESTARTS, repeat=2):
        kinds = [*siblings[:position], restart, *siblings[position:]]
        decision = decide(Supervision(strategy), children(*kinds), position, ending, (), 100.0)
        assert decision.forget is not restarts
        assert not decision.escalate
        assert not decision.shut_down
        if not restarts:
            assert decision.restart == decision.stop == ()
            assert decision.history == (), "an ending that restarts nobody does not count"
            continue
        assert decision.history == (100.0,), "and one that does counts once"
        ends = {i for i in affected if kinds[i] == "temporary"}
        assert decision.restart == tuple(sorted(affected - ends))
        assert decision.stop == tuple(sorted(ends)), "what is never restarted is stopped for good"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_temporary_sibling_is_stopped_with_the_others_and_never_restarted(strategy):
    specs = children("temporary", "permanent", "temporary", "transient")
    decision = decide(Supervision(strategy), specs, 1, "failure", (), 0.0)
    assert (
        decision.restart
        == {
            "one_for_one": (1,),
            "one_for_all": (1, 3),
            "rest_for_one": (1, 3),
        }[strategy]
    )
    assert (
        decision.stop
        == {
            "one_for_one": (),
            "one_for_all": (0, 2),
            "rest_for_one": (2,),
        }[strategy]
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_transient_sibling_is_restarted_with_the_one_that_failed(strategy):
    specs = children("permanent", "transient")
    decision = decide(Supervision(strategy), specs, 0, "failure", (), 0.0)
    assert decision.restart == ((0,) if strategy == "one_for_one" else (0, 1))


# -- the window --------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("intensity", [0, 1, 2, 10])
def test_as_many_restarts_as_the_intensity_are_tolerated_and_not_one_more(strategy, intensity):
    policy = Supervision(strategy, intensity=intensity, period=5.0)
    history = ()
    for n in range(intensity):
        decision = decide(policy, children("permanent"), 0, "failure", history, n * 0.1)
        assert not decision.escalate
        history = decision.history
    decision = decide(policy, children("permanent"), 0, "failure", history, 1.0)
    assert decision.escalate
    assert decision.restart == ()


def test_otps_defaults_are_one_restart_in_five_seconds():
    policy = Supervision()
    assert (policy.strategy, policy.intensity, policy.period) == ("one_for_one", 1, 5.0)
    assert policy.backoff is None
    assert policy.auto_shutdown == "never"


@pytest.mark.parametrize(
    ("age", "escalates"),
    [(0.0, True), (4.999, True), (5.0, True), (5.001, False), (1000.0, False)],
)
def test_a_restart_counts_until_it_is_older_than_the_period(age, escalates):
    decision = decide(Supervision(), children("permanent"), 0, "failure", (100.0,), 100.0 + age)
    assert decision.escalate is escalates


def test_what_left_the_window_is_forgotten():
    history = tuple(float(n) for n in range(100))
    policy = Supervision(intensity=10, period=5.0)
    decision = decide(policy, children("permanent"), 0, "failure", history, 103.0)
    assert decision.history == (98.0, 99.0, 103.0)


def test_one_ending_counts_once_however_many_siblings_it_takes_along():
    decision = decide(
        Supervision("one_for_all"), children(*["permanent"] * 9), 0, "failure", (), 7.0
    )
    assert decision.history == (7.0,)


def test_a_normal_end_of_a_permanent_child_counts_as_a_restart():
    decision = decide(Supervision(), children("permanent"), 0, "normal", (1.0,), 2.0)
    assert decision.escalate


# -- auto_shutdown -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auto_shutdown", "significant", "ended", "shuts_down"),
    [
        ("never", (0, 1), 0, False),
        ("any", (0, 1), 0, True),
        ("any", (0,), 1, False),
        ("all", (0, 1), 0, False),
        ("all", (0,), 0, True),
        ("all", (0,), 1, False),
    ],
)
def test_significant_children_may_take_their_supervisor_along(
    auto_shutdown, significant, ended, shuts_down
):
    policy = Supervision(auto_shutdown=auto_shutdown)
    specs = children("temporary", "temporary", significant=significant)
    assert decide(policy, specs, ended, "normal", (), 0.0).shut_down is shuts_down


@pytest.mark.parametrize(
    ("auto_shutdown", "restart", "ending", "strategy"),
    list(
        itertools.product(("never", "any", "all"), ("transient", "temporary"), ENDINGS, STRATEGIES)
    ),
)
def test_only_a_significant_child_that_stays_away_counts(auto_shutdown, restart, ending, strategy):
    policy = Supervision(strategy, auto_shutdown=auto_shutdown)
    stays_away = restart == "temporary" or ending == "normal"
    for significant in ((), (0,), (1,), (0, 1)):
        specs = children(restart, "temporary", significant=significant)
        wanted = {"never": (), "any": ((0,), (0, 1)), "all": ((0,),)}[auto_shutdown]
        decision = decide(policy, specs, 0, ending, (), 0.0)
        assert decision.shut_down is (stays_away and significant in wanted)


def test_a_significant_child_that_is_restarted_has_not_ended():
    policy = Supervision(auto_shutdown="any")
    specs = children("transient", significant=(0,))
    assert not decide(policy, specs, 0, "failure", (), 0.0).shut_down
    assert decide(policy, specs, 0, "normal", (), 0.0).shut_down


# -- backoff -----------------------------------------------------------------------------------


def test_the_delay_doubles_up_to_the_maximum():
    backoff = Backoff(0.5, 4.0, factor=0.0)
    assert [backoff.delay(n, 0.9) for n in range(6)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


def test_jitter_adds_at_most_the_factor():
    backoff = Backoff(1.0, 8.0, factor=0.2)
    assert backoff.delay(1, 0.0) == 2.0
    assert backoff.delay(1, 0.5) == pytest.approx(2.2)
    assert backoff.delay(1, 1.0) == pytest.approx(2.4)


def test_a_crash_loop_of_years_does_not_overflow():
    assert Backoff(0.1, 60.0).delay(10**9, 1.0) == pytest.approx(72.0)


def test_the_delay_returns_to_its_minimum_after_half_of_both_without_a_failure():
    assert Backoff(1.0, 9.0).reset_after == 5.0


# -- options -----------------------------------------------------------------------------------

NO_SECONDS = [-1, math.nan, math.inf, "1", None, True]


@pytest.mark.parametrize(
    ("option", "make"),
    [
        *(("Backoff.min", lambda v=v: Backoff(v, 10.0)) for v in [0, *NO_SECONDS]),
        *(("Backoff.max", lambda v=v: Backoff(1.0, v)) for v in [0.5, *NO_SECONDS]),
        *(
            ("Backoff.factor", lambda v=v: Backoff(1.0, 2.0, factor=v))
            for v in [-0.1, 1.1, math.nan, "0.5", None, True]
        ),
        *(("strategy", lambda v=v: Supervision(v)) for v in ["one_for_none", None, 1]),
        *(("intensity", lambda v=v: Supervision(intensity=v)) for v in [-1, 1.0, "1", None, True]),
        *(("period", lambda v=v: Supervision(period=v)) for v in [0, *NO_SECONDS]),
        ("backoff", lambda: Supervision(backoff=1.0)),
        *(("auto_shutdown", lambda v=v: Supervision(auto_shutdown=v)) for v in ["some", None]),
        *(("restart", lambda v=v: ChildSpec(Actor, restart=v)) for v in ["always", None]),
        *(
            ("shutdown", lambda v=v: ChildSpec(Actor, shutdown=v))
            for v in [-1, math.nan, math.inf, "kill", True]
        ),
        *(("name", lambda v=v: ChildSpec(Actor, name=v)) for v in ["", "a/b", 7]),
        ("dispatcher", lambda: ChildSpec(Actor, dispatcher="fork")),
        *(
            ("crash_on", lambda v=v: ChildSpec(Actor, crash_on=v))
            for v in [(1,), ("Exception",), KeyError, (int,)]
        ),
        ("significant", lambda: ChildSpec(Actor, significant=True)),
    ],
)
def test_a_bad_option_is_refused_by_name_when_it_is_given(option, make):
    with pytest.raises(InvalidOption) as caught:
        make()
    assert caught.value.option == option
    assert repr(caught.value.value) in str(caught.value)
    assert caught.value.expected in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_good_options_are_taken():
    ChildSpec(Actor, shutdown=None)
    ChildSpec(Actor, shutdown="brutal_kill")
    ChildSpec(Actor, shutdown=0)
    ChildSpec(Actor, mailbox=Bounded(3), dispatcher="pinned", crash_on=(KeyError,))
    ChildSpec(Actor, restart="transient", significant=True)
    Supervision(intensity=0, backoff=Backoff(0.1, 0.1, factor=1))
