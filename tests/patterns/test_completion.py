"""When a broadcast has enough: the pure decision, over all counts of valid and failed replies."""

from __future__ import annotations

import itertools

import pytest

from actors import InvalidOption
from patterns import All, First, Quorum, When
from patterns._completion import closing

COUNTS = [(v, f) for v, f in itertools.product(range(4), repeat=2) if v + f <= 3]


def reason(until, valid, failed, **options):
    end = closing(until, 3, valid, failed, **options)
    return None if end is None else end.reason


@pytest.mark.parametrize(("valid", "failed"), COUNTS)
def test_all_waits_for_everybody(valid, failed):
    expected = None if valid + failed < 3 else "failures" if failed else "complete"
    assert reason(All(), valid, failed) == expected


@pytest.mark.parametrize(("valid", "failed"), COUNTS)
def test_quorum_is_given_up_as_soon_as_it_is_out_of_reach(valid, failed):
    expected = "complete" if valid >= 2 else "unreachable" if failed >= 2 else None
    assert reason(Quorum(2), valid, failed) == expected


@pytest.mark.parametrize(("valid", "failed"), COUNTS)
def test_first_takes_what_it_can_get(valid, failed):
    expected = "complete" if valid >= 2 else "exhausted" if valid + failed == 3 else None
    assert reason(First(2), valid, failed) == expected


@pytest.mark.parametrize("enough", [True, False])
@pytest.mark.parametrize(("valid", "failed"), COUNTS)
def test_when_is_up_to_its_function(valid, failed, enough):
    expected = "complete" if enough else "exhausted" if valid + failed == 3 else None
    assert reason(When(bool), valid, failed, enough=enough) == expected


@pytest.mark.parametrize(("valid", "failed"), COUNTS)
@pytest.mark.parametrize("until", [All(), Quorum(2), First(2), When(bool)])
def test_only_a_close_for_the_wanted_reason_is_complete(until, valid, failed):
    end = closing(until, 3, valid, failed)
    assert end is None or end.complete == (end.reason == "complete")


def test_a_quorum_of_more_than_there_are_is_out_of_reach_at_once():
    assert reason(Quorum(4), 0, 0) == "unreachable"


@pytest.mark.parametrize("k", [0, -1, 1.0, True, "2"])
@pytest.mark.parametrize("until", [Quorum, First])
def test_counts_below_one_are_refused(until, k):
    with pytest.raises(InvalidOption):
        until(k)
