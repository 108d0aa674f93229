from __future__ import annotations

import itertools

import pytest

from actors._lifecycle import State, advance, may_advance

ALLOWED = {
    (State.NEW, State.STARTING),
    (State.NEW, State.STOPPING),
    (State.STARTING, State.RUNNING),
    (State.STARTING, State.RESTARTING),
    (State.STARTING, State.STOPPING),
    (State.RUNNING, State.RESTARTING),
    (State.RUNNING, State.STOPPING),
    (State.RESTARTING, State.STARTING),
    (State.RESTARTING, State.STOPPING),
    (State.STOPPING, State.STOPPED),
}


@pytest.mark.parametrize(("now", "to"), list(itertools.product(State, State)))
def test_an_actor_takes_the_steps_of_the_contract_and_no_other(now, to):
    assert may_advance(now, to) is ((now, to) in ALLOWED)
    if (now, to) in ALLOWED:
        assert advance(now, to) is to
    else:
        with pytest.raises(AssertionError, match=f"{now.name} to {to.name}"):
            advance(now, to)


def reachable(start):
    found, look = set(), [start]
    while look:
        now = look.pop()
        for to in State:
            if may_advance(now, to) and to not in found:
                found.add(to)
                look.append(to)
    return found


def test_nothing_leads_out_of_stopped():
    assert reachable(State.STOPPED) == set()


def test_an_actor_that_stops_can_only_become_stopped():
    assert reachable(State.STOPPING) == {State.STOPPED}


def test_the_only_way_back_is_a_restart():
    backward = {(now, to) for now, to in ALLOWED if to < now}
    assert backward == {(State.RESTARTING, State.STARTING)}


def test_nobody_is_new_again():
    assert all(State.NEW not in reachable(state) for state in State)
