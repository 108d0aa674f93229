"""Whole teams in simulation: what has to hold in whatever order things happen."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

import actors
import patterns
from actors import BudgetPool, DecisionLog, Reply, RequestCancelled, Supervision, Tracer, Usage
from patterns import (
    All,
    Broadcast,
    Fallback,
    First,
    Pipeline,
    Quorum,
    Retry,
    Router,
    Skip,
    Stage,
    Supervisor,
    Verdict,
)

pytestmark = pytest.mark.simulate(seeds=50, system={"supervision": Supervision(intensity=10_000)})

PRICE = Decimal("0.01")


def reply(text, **fields):
    return Reply(text, Usage(1, 1), PRICE, "double", **fields)


def agent(text, seconds=0.0, *, fails=False, calls=None):
    """An agent that works for some time and costs a cent, unless it fails."""

    async def work(prompt):
        if calls is not None:
            calls.append(text)
        await asyncio.sleep(seconds)
        if fails:
            raise ConnectionError(text)
        return reply(text)

    work.__name__ = text
    return work


# -- router --------------------------------------------------------------------------------------------


def test_a_router_whose_classifier_and_deadline_end_at_once_takes_the_fallback_or_halts(sim):
    async def classify(_):
        await asyncio.sleep(0.010)
        raise ConnectionError("the classifier is away")

    router = Router({"a": agent("a")}, classify, fallback=agent("fallback"))
    result = router.run("where to?", deadline=0.010).get()
    assert (result.status, result.text) in {("done", "fallback"), ("halted", "")}
    assert result.cost_usd == (PRICE if result.status == "done" else 0)


# -- pipeline --------------------------------------------------------------------------------------------


def test_pipelines_under_one_budget_never_overrun_it_and_pay_for_what_they_did(sim):
    pool = BudgetPool("0.05")
    flaky = agent("flaky", 0.001, fails=True)
    stages = [
        Stage("draft", agent("draft", 0.001), max_usd="0.02"),
        Stage("check", flaky, max_usd="0.01", on_error=Skip()),
        Stage("polish", agent("polish", 0.001), max_usd="0.02"),
    ]
    pipeline = Pipeline(stages)
    runs = [pipeline.run("text", budget=pool) for _ in range(3)]
    results = [run.get() for run in runs]
    after = pool.snapshot().get()
    assert after.settled_usd <= Decimal("0.05")
    assert after.settled_usd == sum(result.cost_usd for result in results)
    assert after.reserved_usd == 0
    assert {result.status for result in results} <= {"done", "partial", "halted"}
    for result in results:
        assert result.stages or result.reason == "budget"


def test_a_pipeline_that_is_cancelled_at_any_moment_returns_its_leases(sim):
    pool = BudgetPool(1)
    calls = []
    names = ["one", "two", "three"]
    stages = [Stage(n, agent(n, 0.001, calls=calls), max_usd="0.02") for n in names]
    run = Pipeline(stages).run("text", budget=pool)
    moment = sim.random.choice([0.0, 0.001, 0.002, 0.003])

    async def cancel():
        await asyncio.sleep(moment)
        return run.cancel()

    given_up = sim.run(cancel())
    try:
        assert run.get().status == "done"
    except RequestCancelled:
        assert given_up
    sim.run()
    after = pool.snapshot().get()
    assert after.reserved_usd == 0
    assert len(calls) - 1 <= after.settled_usd / PRICE <= len(calls)


# -- broadcast ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", [All(), First(1), Quorum(2)])
@pytest.mark.parametrize("losers", ["cancel", "finish"])
def test_each_reply_of_a_broadcast_is_counted_once_early_or_late(sim, until, losers):
    pool = BudgetPool(1)
    late = []
    agents = [agent(str(n), 0.010) for n in range(3)]
    broadcast = Broadcast(
        [*agents, agent("fails", 0.010, fails=True)],
        lambda replies: ", ".join(r.text for r in replies),
        until=until,
        losers=losers,
        late="deliver",
        on_late=lambda r: late.append(r.text),
    )
    result = broadcast.run("?", budget=pool).get()
    sim.run()
    in_time = [r.text for r in result.replies]
    assert in_time == sorted(in_time), "in recipient order"
    assert len({*in_time, *late}) == len(in_time) + len(late), "none is counted twice"
    after = pool.snapshot().get()
    counted = PRICE * (len(in_time) + len(late))
    # A loser whose call was billed just before it was cancelled has paid, and lost its reply.
    assert counted <= after.settled_usd <= 3 * PRICE
    assert after.reserved_usd == 0
    if losers == "finish":
        assert after.settled_usd == counted
        assert {*in_time, *late} == {"0", "1", "2"}, "none is lost"
    assert result.complete == (not isinstance(until, All)), "of all, one failed"


def test_a_quorum_that_is_met_at_the_deadline_is_whole_or_says_what_is_missing(sim):
    agents = [agent(str(n), 0.010) for n in range(3)]
    broadcast = Broadcast(agents, patterns.join(), until=Quorum(2), timeout=0.010)
    result = broadcast.run("?").get()
    got = [*result.replies, *result.failures]
    assert len(got) + len(result.missing) == 3
    assert result.complete == (len(result.replies) >= 2)
    assert (result.status == "done") == result.complete


# -- supervisor ----------------------------------------------------------------------------------------------


def test_a_revision_loop_with_crashes_and_a_deadline_returns_its_best_draft(sim):
    drafts = []

    async def write(_):
        await asyncio.sleep(0.002)
        if sim.random.random() < 0.3:
            raise ConnectionError("the model is away")
        drafts.append(f"draft {len(drafts)}")
        return reply(drafts[-1])

    async def review(_):
        await asyncio.sleep(0.002)
        return Verdict("revise", score=len(drafts) / 10, feedback="better")

    team = Supervisor(write, review, max_revisions=5)
    result = team.run("write", deadline=0.012).get()
    assert result.reason in {"deadline", "worker_failed", "max_revisions"}
    reviewed = [draft for draft in result.drafts if draft.verdict is not None]
    if reviewed:
        assert result.text == max(reviewed, key=lambda draft: draft.score).text
    assert result.cost_usd == PRICE * len(result.drafts)


# -- recovery ---------------------------------------------------------------------------------------------------


def test_what_is_retried_and_replaced_is_asked_as_often_as_it_says(sim):
    calls = []
    flaky = agent("flaky", 0.001, fails=True, calls=calls)
    team = Fallback([Retry(flaky, attempts=3), agent("other", calls=calls)])
    results = [team.run("?") for _ in range(2)]
    assert [run.get().text for run in results] == ["other"] * 2
    assert sorted(calls) == ["flaky"] * 6 + ["other"] * 2


# -- nested, with everything ------------------------------------------------------------------------------------


def everything(sim, path):
    """A broadcast within a pipeline, with budget, log and tracer."""
    log, tracer = DecisionLog(path, fsync="never"), Tracer()
    experts = [agent(name, 0.010) for name in ("ann", "bob", "cem")]
    ask_all = Broadcast(experts, patterns.join(), until=Quorum(2), losers="finish")
    team = Pipeline(
        [Stage("ask", ask_all, max_usd="0.10"), Stage("sum up", agent("summary", 0.001))]
    )

    async def work():
        async with actors.run(budget=1, deadline=60, log=log, tracer=tracer):
            return await team.run("What is it?")

    result = sim.run(work())
    sim.run(seconds=1)
    return result, log, tracer


def test_budget_log_and_trace_agree_on_what_a_team_did(sim, tmp_path):
    result, log, tracer = everything(sim, tmp_path / f"{sim.seed}.jsonl")
    assert (result.status, result.text) == ("done", "summary")
    gathered = log.query("gather").get()
    assert [decision.fields["closed"] for decision in gathered] == ["complete"]
    late = log.query("late_reply").get()
    assert len(gathered[0].fields["replies"]) + len(late) == 3
    assert {decision.run_id for decision in log.query().get()} == {result.run_id}
    by_name = tracer.summary().get().by_name
    assert by_name["invoke_workflow pipeline"].count == 1
    assert by_name["invoke_workflow broadcast"].count == 1
