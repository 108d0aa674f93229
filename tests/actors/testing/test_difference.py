"""Each class of difference between two runs, as pure functions of their canonical forms."""

from __future__ import annotations

from decimal import Decimal

import pytest

from actors import InvalidOption
from actors.testing import CanonicalRun, Change, Ruling, Spend, Step, compare


def model(asked="hello", answered="fine", **more):
    return Step("model", "m", asked=(f"user: {asked}",), answered=answered, **more)


def agent(name, *steps, **more):
    return Step("agent", name, steps=steps or (model(),), **more)


def beside(*steps):
    return Step("side by side", steps=steps)


def a_run(*steps, cost="1.00", tokens=1000, spend=None, output="the answer", **more):
    if spend is None:
        spend = {"writer": Spend(1, tokens, None if cost is None else Decimal(cost))}
    return CanonicalRun(
        steps=steps,
        output=output,
        tokens=tokens,
        cost_usd=None if cost is None else Decimal(cost),
        spend=spend,
        **more,
    )


WRITER, EDITOR = agent("writer"), agent("editor")


def one(difference):
    (change,) = difference.changes
    return change


def test_equal_runs_do_not_differ():
    difference = compare(a_run(WRITER, EDITOR), a_run(WRITER, EDITOR))
    assert not difference
    assert (difference.changes, difference.diff, str(difference)) == ((), (), "")


def test_another_output_is_told_with_both_texts_and_a_diff():
    difference = compare(a_run(WRITER), a_run(WRITER, output="another"))
    assert one(difference) == Change("output", "the run", "'the answer', now 'another'")
    assert [line for line in difference.diff if line[:1] in "-+"][2:] == [
        "-output: the answer",
        "+output: another",
    ]


def test_another_answer_of_an_agent_is_told_with_its_path():
    changed = agent("writer", model(answered="worse"))
    change = one(compare(a_run(WRITER), a_run(changed)))
    assert change == Change("output", "agent writer > model m", "answered 'fine', now 'worse'")


def test_an_answer_that_was_cut_off_is_another_output():
    cut = agent("writer", model(finish_reason="length"))
    whole = agent("writer", model(finish_reason="stop"))
    assert one(compare(a_run(whole), a_run(cut))).detail == "ended by stop, now length"


def test_the_same_calls_in_another_order_are_a_change_of_order_alone():
    difference = compare(a_run(WRITER, EDITOR), a_run(EDITOR, WRITER))
    assert difference.kinds == {"order"}
    assert difference.changes[0].detail == "is called earlier than it was"


def test_the_same_agent_asked_the_same_things_in_another_order_is_a_change_of_order_alone():
    first, second = agent("writer", model("a"), model("b")), agent("writer", model("b"), model("a"))
    assert compare(a_run(first), a_run(second)).kinds == {"order"}


def test_calls_that_are_made_side_by_side_now_are_a_change_of_order():
    difference = compare(a_run(WRITER, EDITOR), a_run(beside(EDITOR, WRITER)))
    assert difference.kinds == {"order"}


def test_a_call_more_and_a_call_less_are_changes_of_calls():
    more = compare(a_run(WRITER), a_run(WRITER, EDITOR))
    assert [(change.kind, change.where, change.detail) for change in more.changes] == [
        ("calls", "agent editor", "is called, and was not"),
        ("calls", "agent editor > model m", "is called, and was not"),
    ]
    less = compare(a_run(WRITER, EDITOR), a_run(EDITOR))
    assert {change.detail for change in less.changes} == {"is not called any more"}
    assert {change.where for change in less.changes} == {"agent writer", "agent writer > model m"}


def test_another_prompt_is_a_change_of_calls():
    changed = agent("writer", model("good bye"))
    change = one(compare(a_run(WRITER), a_run(changed)))
    assert (change.kind, change.detail) == ("calls", "asked 'user: hello', now 'user: good bye'")


def test_a_message_more_is_a_change_of_calls():
    longer = Step("model", "m", asked=("user: hello", "user: now"), answered="fine")
    change = one(compare(a_run(WRITER), a_run(agent("writer", longer))))
    assert change.detail == "asked 1 messages, now 2"


def test_another_option_of_a_call_is_a_change_of_calls():
    before, after = (agent("writer", model(attributes={"max": n})) for n in (1, 2))
    assert one(compare(a_run(before), a_run(after))) == Change(
        "calls", "agent writer > model m", "max 1, now 2"
    )


def test_another_end_of_a_pattern_is_a_change_of_output():
    before, after = (
        Step("workflow", "team", attributes={"callboard.reason": why}) for why in ("a", "b")
    )
    assert one(compare(a_run(before), a_run(after))).kind == "output"


def test_an_agent_that_fails_now_is_a_new_failure_and_it_comes_first():
    broken = agent("writer", model(answered=None, error="ModelUnavailable: down"))
    difference = compare(a_run(WRITER), a_run(broken, output="spare"))
    assert difference.changes[0] == Change(
        "new_failure", "agent writer > model m", "it succeeded, now ModelUnavailable: down"
    )
    assert difference.kinds == {"new_failure", "output"}


def test_a_call_that_was_not_made_and_fails_is_a_new_failure_too():
    broken = agent("spare", model(answered=None, error="ValueError: x"))
    assert "new_failure" in compare(a_run(WRITER), a_run(WRITER, broken)).kinds


def test_another_error_is_a_new_failure_and_one_that_is_gone_is_another_output():
    first, second = agent("writer", error="A: x"), agent("writer", error="B: y")
    assert one(compare(a_run(first), a_run(second))).detail == "A: x, now B: y"
    gone = one(compare(a_run(first), a_run(WRITER)))
    assert (gone.kind, gone.detail) == ("output", "does not fail any more with A: x")


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ({"status": "done"}, {"status": "failed", "error": "A: x"}, "new_failure"),
        ({"status": "partial"}, {"status": "halted", "reason": "budget"}, "new_failure"),
        (
            {"status": "failed", "error": "A: x"},
            {"status": "failed", "error": "B: y"},
            "new_failure",
        ),
        ({"status": "failed", "error": "A: x"}, {"status": "done"}, "output"),
        ({"reason": "accepted"}, {"reason": "max_revisions"}, "output"),
    ],
)
def test_how_a_run_ends_is_a_new_failure_or_another_output(old, new, kind):
    assert one(compare(a_run(WRITER, **old), a_run(WRITER, **new))).kind == kind


def test_decisions_are_compared_in_calls_and_outside_of_them():
    sure, unsure = (Ruling("route", {"confidence": sure}) for sure in (0.9, 0.3))
    before, after = (agent("writer", decisions=(ruling,)) for ruling in (sure, unsure))
    change = one(compare(a_run(before), a_run(after)))
    assert (change.kind, change.detail) == ("decisions", "route with other fields")
    retried = agent("writer", decisions=(sure, Ruling("retry")))
    change = one(compare(a_run(before), a_run(retried)))
    assert change.detail == "['route'], now ['route', 'retry']"
    outside = compare(a_run(WRITER), a_run(WRITER, decisions=(sure,)))
    assert (one(outside).kind, one(outside).where) == ("decisions", "the run")


# -- cost ------------------------------------------------------------------------------------------


def test_a_higher_cost_is_told_with_its_agent_and_by_how_much():
    change = one(compare(a_run(WRITER), a_run(WRITER, cost="1.25")))
    assert (change.kind, change.where, change.percent) == ("cost", "agent writer", 25.0)
    assert str(change) == "cost up: agent writer: up by 25 %: 1.00 USD, now 1.25"


@pytest.mark.parametrize(("cost", "differs"), [("1.10", False), ("1.11", True), ("0.50", False)])
def test_within_the_tolerance_and_below_it_a_cost_is_no_difference(cost, differs):
    difference = compare(a_run(WRITER), a_run(WRITER, cost=cost), cost=0.1)
    assert bool(difference) is differs


def test_tokens_have_a_tolerance_of_their_own_else_that_of_cost():
    dearer = a_run(WRITER, tokens=1150)
    assert one(compare(a_run(WRITER), dearer)).detail == "up by 15 %: 1000 tokens, now 1150"
    assert compare(a_run(WRITER), dearer, cost=0.1)
    assert not compare(a_run(WRITER), dearer, cost=0.15)
    assert not compare(a_run(WRITER), dearer, tokens=0.2)


def test_an_unknown_price_that_was_known_is_a_difference_and_not_the_other_way_round():
    known, unknown = a_run(WRITER), a_run(WRITER, cost=None)
    assert one(compare(known, unknown)).detail == "1.00 USD, now an unknown price"
    assert not compare(unknown, known)


def test_a_cost_where_there_was_none_has_no_percentage():
    change = one(compare(a_run(WRITER, cost="0"), a_run(WRITER, cost="0.01")))
    assert (change.percent, change.detail) == (None, "up from nothing: 0 USD, now 0.01")


def test_a_total_that_no_agent_explains_is_told_of_the_run():
    dearer = a_run(WRITER, cost="2.00", spend=a_run(WRITER).spend)
    assert one(compare(a_run(WRITER), dearer)).where == "the run"


@pytest.mark.parametrize("options", [{"cost": -0.1}, {"tokens": float("nan")}, {"cost": True}])
def test_a_tolerance_that_makes_no_sense_is_refused(options):
    with pytest.raises(InvalidOption):
        compare(a_run(), a_run(), **options)
