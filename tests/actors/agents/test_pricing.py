"""Prices are exact, and an unknown one is None."""

from __future__ import annotations

import sys
from decimal import Decimal

import pytest

from actors._errors import InvalidOption
from actors.agents.models import Usage
from actors.agents.pricing import Price, price, worst_case


def test_a_listed_model_has_a_price():
    cost = price("gpt-4o", Usage(1_000_000, 0), "openai")
    assert isinstance(cost, Decimal)
    assert cost > 0


def test_output_costs_more_than_input_and_cached_input_less():
    whole = price("gpt-4o", Usage(1000, 0))
    cached = price("gpt-4o", Usage(1000, 0, cached_tokens=800))
    output = price("gpt-4o", Usage(0, 1000))
    assert cached < whole < output


@pytest.mark.parametrize(
    ("model", "provider"),
    [("no-such-model", None), ("gpt-4o", "no-such-provider"), ("m", "http://127.0.0.1:1/v1")],
)
def test_an_unknown_price_is_none_and_never_zero(model, provider):
    assert price(model, Usage(1000, 1000), provider) is None
    assert worst_case(model, 1000, 1000, provider=provider) is None


def test_a_provider_may_be_named_by_its_url():
    usage = Usage(1000, 1000)
    by_url = price("gpt-4o", usage, "https://api.openai.com/v1")
    assert by_url == price("gpt-4o", usage, "openai")


def test_without_the_package_every_price_is_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert price("gpt-4o", Usage(1000, 1000)) is None


def test_the_worst_case_covers_whatever_the_call_uses():
    most = worst_case("gpt-4o", 1000, 500)
    assert most == price("gpt-4o", Usage(1000, 500))
    assert most >= price("gpt-4o", Usage(1000, 500, cached_tokens=900))
    assert most > price("gpt-4o", Usage(1000, 499))


def test_your_own_price_goes_before_the_list():
    mine = Price(input_per_mtok=1, output_per_mtok="2.5")
    assert worst_case("gpt-4o", 1_000_000, 1_000_000, given=mine) == Decimal("3.5")
    assert worst_case("no-such-model", 2, 0, given=mine) == Decimal("0.000002")


def test_a_price_is_exact_whatever_type_it_was_given_in():
    assert Price(0.15, "0.6").cost(Usage(1, 1)) == Decimal("0.00000075")
    assert Price(0.1, 0.2) == Price(Decimal("0.1"), Decimal("0.2"))
    assert Price(0, 0).cost(Usage(5, 5)) == 0


def test_cached_tokens_have_their_own_price_or_the_one_of_input():
    usage = Usage(1_000_000, 0, cached_tokens=400_000)
    assert Price(10, 0).cost(usage) == 10
    assert Price(10, 0, 1).cost(usage) == Decimal("6.4")


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "much"])
def test_a_price_that_is_no_amount_is_refused(bad):
    with pytest.raises(InvalidOption, match="output_per_mtok"):
        Price(1, bad)


def test_a_local_call_costs_nothing_and_an_unknown_model_has_no_known_worst_case() -> None:
    from actors.agents._local import LocalModel
    from actors.agents._openai import OpenAIModel

    assert LocalModel().most_usd(1000, 1000) == 0
    stranger = OpenAIModel("no-such-model", base_url="http://127.0.0.1:9/v1", api_key="-")
    assert stranger.most_usd(1000, 1000) is None
    listed = OpenAIModel("gpt-4o-mini", base_url="https://api.openai.com/v1", api_key="-")
    most = listed.most_usd(1_000_000, 1_000_000)
    assert most is not None
    assert most > 0
