"""Pipeline: what stages get, what they may spend, what happens when one fails."""

from __future__ import annotations

from decimal import Decimal

import pytest

from actors import BudgetPool, InvalidOption, ModelRejected, UnusableReply, run
from patterns import Fail, Pipeline, Skip, Stage, Use
from patterns._stages import fill


def fails(prompt):
    raise ModelRejected("m", "refused")


async def test_each_stage_gets_the_output_of_the_one_before(system):
    pattern = Pipeline(
        [Stage("a", lambda p: p + "a"), Stage("b", lambda p: p + "b")], system=system
    )
    result = await pattern.run("x")
    assert (result.output, result.status, result.reason) == ("xab", "done", "completed")
    assert [(stage.name, stage.text) for stage in result.stages] == [("a", "xa"), ("b", "xab")]


async def test_templates_name_the_input_and_earlier_stages(system):
    pattern = Pipeline(
        [
            Stage("notes", lambda p: "NOTES"),
            Stage("draft", lambda p: p, prompt="{{{input}}} {notes} {previous}"),
        ],
        system=system,
    )
    assert (await pattern.run("in {put}")).text == "{in {put}} NOTES NOTES"


async def test_a_prompt_may_be_computed_from_the_state(system):
    async def prompt(state):
        return f"{state.input}/{state.stages['a'].text}/{state.previous}"

    pattern = Pipeline([Stage("a", lambda p: "A"), Stage("b", str, prompt=prompt)], system=system)
    assert (await pattern.run("x")).text == "x/A/A"


def test_braces_in_texts_are_not_fields():
    assert fill("{input}!", {"input": "{a}"}) == "{a}!"


@pytest.mark.parametrize("prompt", ["{later}", "{a.text}", "{a!r}", "{a:>9}", "{", "{}", "{0}"])
def test_a_template_with_an_unknown_field_is_refused(prompt):
    with pytest.raises(InvalidOption, match="prompt of stage 'b'"):
        Pipeline([Stage("a", str), Stage("b", str, prompt=prompt), Stage("later", str)])


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [Stage("a", str), Stage("a", str)],
        [Stage("input", str)],
        [Stage("", str)],
        [Stage("a", 5)],
        [Stage("a", str, max_usd=-1)],
        [Stage("a", str, max_usd="lots")],
        [Stage("a", str, max_tokens=1.5)],
        [Stage("a", str, timeout=0)],
        [Stage("a", str, on_error="skip")],
        [str],
    ],
)
def test_stages_that_cannot_work_are_refused(stages):
    with pytest.raises(InvalidOption):
        Pipeline(stages)


async def test_when_skips_a_stage_and_says_so(system, log, recorded):
    pattern = Pipeline(
        [
            Stage("a", lambda p: "A"),
            Stage("b", fails, when=lambda state: state.previous != "A"),
            Stage("c", lambda p: p, prompt="{previous}{b}"),
        ],
        system=system,
    )
    async with run(log=log, system=system):
        result = await pattern.run("x")
    assert (result.text, result.status) == ("A", "done")
    assert (result.stage("b").status, result.stage("b").reason) == ("skipped", "when")
    assert [r["stage"] for r in await recorded("skip")] == ["b"]


# -- errors --------------------------------------------------------------------------------------


def three(on_error, system, paid):
    return Pipeline(
        [
            Stage("a", lambda p: paid("A", "0.1")),
            Stage("b", fails, on_error=on_error),
            Stage("c", lambda p: paid(p + "C", "0.1")),
        ],
        system=system,
    )


async def test_fail_ends_the_run_and_keeps_what_was_paid_for(system, paid, log, recorded):
    async with run(log=log, system=system):
        result = await three(Fail(), system, paid).run("x")
    assert (result.status, result.reason, result.stopped_at) == ("failed", "fatal", "b")
    assert [stage.status for stage in result.stages] == ["done", "failed"]
    assert (result.text, result.cost_usd) == ("A", Decimal("0.1"))
    assert "refused" in result.error
    assert (await recorded("halt"))[0]["reason"] == "fatal"


async def test_skip_goes_on_without_the_stage(system, paid):
    result = await three(Skip(), system, paid).run("x")
    assert (result.status, result.reason, result.text) == ("partial", "incomplete", "AC")
    assert (result.stage("b").status, result.stage("b").reason) == ("skipped", "fatal")


async def test_use_goes_on_with_a_value_or_another_agent(system, paid, log, recorded):
    async with run(log=log, system=system):
        result = await three(Use("B"), system, paid).run("x")
        assert (result.text, result.status) == ("BC", "done")
        result = await three(Use(lambda p: paid(p + "b", "0.3")), system, paid).run("x")
    assert (result.text, result.cost_usd) == ("AbC", Decimal("0.5"))
    assert result.stage("b").status == "substituted"
    assert result.stage("b").cost_usd == Decimal("0.3")
    assert [r["stage"] for r in await recorded("fallback")] == ["b", "b"]


async def test_a_failing_substitute_fails_the_run(system, paid):
    result = await three(Use(fails), system, paid).run("x")
    assert (result.status, result.stopped_at, result.text) == ("failed", "b", "A")


async def test_a_callable_that_raises_is_the_stages_failure(system):
    def broken(state):
        raise KeyError("gone")

    pattern = Pipeline([Stage("a", lambda p: "A"), Stage("b", str, prompt=broken)], system=system)
    result = await pattern.run("x")
    assert (result.status, result.stopped_at, result.text) == ("failed", "b", "A")


async def test_an_answer_that_is_unusable_but_was_billed_is_in_the_cost(system, paid):
    def useless(prompt):
        raise UnusableReply("m", "no JSON", paid("…", "0.2", 20))

    result = await Pipeline([Stage("a", useless)], system=system).run("x")
    assert (result.status, result.reason) == ("failed", "invalid_output")
    assert (result.cost_usd, result.tokens) == (Decimal("0.2"), 20)


async def test_a_timeout_of_a_stage_is_its_failure_and_cancels_it(system, held):
    slow = held()
    pattern = Pipeline(
        [Stage("a", slow, timeout=0.1, on_error=Use("instead")), Stage("b", str)], system=system
    )
    result = await pattern.run("x", deadline=5)
    assert (result.text, result.status) == ("instead", "done")
    assert result.stage("a").reason == "timeout"
    await slow.ended.wait()
    assert slow.ends == {"cancelled": 1}


# -- money and time ------------------------------------------------------------------------------


def spender(usd):
    async def spend(prompt, budget):
        await budget.charge(usd=usd)
        return "spent"

    return spend


async def test_an_empty_pool_halts_with_the_stages_done_so_far(system, log, recorded):
    pattern = Pipeline([Stage(name, spender("0.5")) for name in ("a", "b", "c")], system=system)
    pool = BudgetPool(usd=1, system=system)
    async with run(log=log, system=system):
        result = await pattern.run("x", budget=pool)
    assert (result.status, result.reason, result.stopped_at) == ("halted", "budget", "c")
    assert [stage.name for stage in result.stages] == ["a", "b"]
    assert result.text == "spent"
    assert (await recorded("halt"))[0]["status"] == "halted"


async def test_a_stage_runs_on_a_lease_and_returns_what_it_leaves(system):
    seen = []
    pool = BudgetPool(usd=1, system=system)

    async def first(prompt, budget):
        await budget.charge(usd="0.2")
        seen.append(await pool.snapshot())
        return "ok"

    async def second(prompt, budget):
        seen.append(await pool.snapshot())
        return "ok"

    pattern = Pipeline([Stage("a", first, max_usd="0.6"), Stage("b", second)], system=system)
    await pattern.run("x", budget=pool)
    during, after = seen
    assert (during.settled_usd, during.reserved_usd) == (Decimal("0.2"), Decimal("0.4"))
    assert (after.settled_usd, after.reserved_usd) == (Decimal("0.2"), 0)


async def test_a_stage_the_pool_has_no_room_for_halts_the_run(system, log, recorded):
    pattern = Pipeline(
        [Stage("a", lambda p: "A"), Stage("b", lambda p: "B", max_usd=2)], system=system
    )
    async with run(log=log, system=system):
        result = await pattern.run("x", budget=1)
    assert (result.status, result.reason, result.text) == ("halted", "budget", "A")
    assert {"stage": "b", "admitted": False}.items() <= (await recorded("admission"))[-1].items()


async def test_a_stages_own_limit_holds_without_a_budget_of_the_run(system):
    async def greedy(prompt, budget):
        async with budget.acquire(max_usd=1):
            return "never"

    limited = Stage("a", greedy, max_usd="0.5", on_error=Use("cheap"))
    result = await Pipeline([limited], system=system).run("x")
    assert (result.text, result.stage("a").reason) == ("cheap", "budget")
    within = await Pipeline([limited], system=system).run("x", budget=5)
    assert (within.text, within.stage("a").reason) == ("cheap", "budget")


async def test_the_deadline_halts_with_the_stages_done_so_far(system, held):
    pattern = Pipeline(
        [Stage("a", lambda p: "A"), Stage("b", held(), on_error=Skip()), Stage("c", str)],
        system=system,
    )
    result = await pattern.run("x", deadline=0.2)
    assert (result.status, result.reason, result.stopped_at) == ("halted", "deadline", "b")
    assert (result.text, len(result.stages)) == ("A", 1)


async def test_a_nested_pipeline_that_fails_is_a_failed_stage_with_its_result(system, paid):
    inner = Pipeline([Stage("i", lambda p: paid("I", "0.1")), Stage("j", fails)])
    outer = Pipeline(
        [Stage("n", inner, on_error=Skip()), Stage("o", lambda p: p + "!")], system=system
    )
    result = await outer.run("x")
    assert (result.text, result.status, result.cost_usd) == ("x!", "partial", Decimal("0.1"))
    assert result.stage("n").reply.stage("i").text == "I"
    assert result.stage("n").cost_usd == Decimal("0.1")
