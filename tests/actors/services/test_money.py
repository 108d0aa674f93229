from __future__ import annotations

import decimal
from decimal import Decimal

import pytest

from actors._errors import InvalidOption
from actors.services._money import nano_dollars, tokens, usd


@pytest.mark.parametrize(
    ("value", "nanos"),
    [
        (0, 0),
        (1, 1_000_000_000),
        (0.1 + 0.2, 300_000_000),
        ("0.30", 300_000_000),
        (Decimal("0.000000001"), 1),
        ("1e-9", 1),
        (1e-12, 0),
        (999_999_999_999_999, 999_999_999_999_999 * 10**9),
    ],
)
def test_an_amount_becomes_whole_nano_dollars(value, nanos):
    assert nano_dollars(value) == nanos


def test_every_tenth_of_a_cent_survives_a_round_trip():
    for thousandths in range(2000):
        assert nano_dollars(thousandths / 1000) == thousandths * 10**6
        assert usd(nano_dollars(thousandths / 1000)) == Decimal(thousandths) / 1000


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, float("nan"), float("inf"), -0.01, -1, "-1", "NaN", "sNaN", "Infinity"),
        *("ten", "", None, b"1", [1], Decimal("NaN"), Decimal("1e15"), 10**400, "1e999999", 1j),
    ],
)
def test_what_is_no_amount_is_refused_with_the_value_in_the_error(value):
    with pytest.raises(InvalidOption) as caught:
        nano_dollars(value, "max_usd")
    assert caught.value.option == "max_usd"
    assert caught.value.value is value
    assert isinstance(caught.value, ValueError)


def test_a_context_that_traps_or_rounds_changes_nothing():
    with decimal.localcontext(prec=2, rounding=decimal.ROUND_UP) as context:
        context.traps[decimal.Inexact] = True
        assert nano_dollars("123456.789") == 123_456_789_000_000
        assert usd(123_456_789) == Decimal("0.123456789")


def test_usd_prints_as_people_write_it():
    assert [str(usd(n)) for n in (0, 300_000_000, 100 * 10**9, 1)] == ["0", "0.3", "100", "1E-9"]


@pytest.mark.parametrize("value", [True, -1, 1.0, "3", None])
def test_what_is_no_token_count_is_refused(value):
    with pytest.raises(InvalidOption):
        tokens(value)
