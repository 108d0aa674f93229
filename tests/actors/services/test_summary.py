from __future__ import annotations

from decimal import Decimal

from actors.services import _genai as genai
from actors.services._summary import Totals


def call(model="m", tokens=(10, 5), cost=None, agent=None):
    return {
        genai.REQUEST_MODEL: model,
        genai.INPUT_TOKENS: tokens[0],
        genai.OUTPUT_TOKENS: tokens[1],
        genai.COST_USD: cost,
        genai.AGENT_NAME: agent,
    }


def summarise(*spans):
    totals = Totals()
    for name, seconds, attributes in spans:
        totals.add(name, seconds, attributes, failed=False)
    return totals.summary()


def test_spans_are_counted_by_name_agent_and_model():
    summary = summarise(
        ("chat", 1.0, call("small", agent="coder", cost="0.1")),
        ("chat", 2.0, call("large", agent="coder", cost=0.2)),
        ("stage", 3.0, {}),
    )
    assert list(summary.by_name) == ["chat", "stage"]
    assert summary.by_agent["coder"].count == 2
    assert summary.by_agent["coder"].cost_usd == Decimal("0.3")
    assert set(summary.by_model) == {"small", "large"}
    assert summary.total.tokens == 30


def test_percentiles_are_durations_that_occurred():
    row = summarise(*[("x", float(n), {}) for n in range(1, 101)]).by_name["x"]
    assert (row.p50, row.p95) == (50.0, 95.0)
    assert summarise(("x", 7.0, {})).by_name["x"].p95 == 7.0


def test_percentiles_of_very_many_spans_take_bounded_memory():
    totals = Totals()
    for n in range(20_000):
        totals.add("x", n / 20_000, {}, failed=False)
    row = totals.summary().by_name["x"]
    assert row.count == 20_000
    assert abs(row.p50 - 0.5) < 0.05
    assert abs(row.p95 - 0.95) < 0.05
    assert sum(len(tally.sample) for tally in totals._tallies.values()) == 2048


def test_percentiles_over_several_names_weigh_each_by_how_many_there_were():
    totals = Totals()
    for n in range(9_000):
        totals.add("often", n / 9_000, {}, failed=False)
    for _ in range(1_000):
        totals.add("seldom", 5.0, {}, failed=False)
    row = totals.summary().total
    assert abs(row.p50 - 0.5 / 0.9) < 0.05
    assert row.p95 == 5.0


def test_an_unknown_price_is_unknown_and_never_zero():
    row = summarise(("chat", 1.0, call(cost="0.1")), ("chat", 1.0, call(cost=None))).total
    assert row.cost_usd is None
    assert row.known_cost_usd == Decimal("0.1")
    assert row.unpriced == 1


def test_a_price_of_zero_is_known():
    assert summarise(("chat", 1.0, call(cost=0))).total.cost_usd == 0


def test_a_cost_that_is_no_amount_is_unknown():
    assert summarise(("chat", 1.0, call(cost=float("nan")))).total.cost_usd is None


def test_spans_that_call_no_model_cost_nothing():
    assert summarise(("stage", 1.0, {})).total.cost_usd == 0


def test_a_call_that_failed_without_usage_is_no_unknown_cost():
    totals = Totals()
    totals.add("chat", 1.0, {genai.REQUEST_MODEL: "m"}, failed=True)
    row = totals.summary().by_model["m"]
    assert (row.errors, row.unpriced) == (1, 0)


def test_the_model_that_answered_counts_not_the_one_asked_for():
    both = {genai.REQUEST_MODEL: "m-latest", genai.RESPONSE_MODEL: "m-2026", genai.COST_USD: 1}
    assert list(summarise(("chat", 1.0, both)).by_model) == ["m-2026"]
