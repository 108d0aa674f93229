"""The frame of all patterns: context, cancellation, deadline, money, records, no leftovers."""

from __future__ import annotations

import asyncio
import gc
import weakref
from decimal import Decimal

import msgspec
import pytest

from actors import (
    ActorDeadError,
    ActorSystem,
    BudgetPool,
    Deadline,
    InvalidOption,
    Reply,
    RequestCancelled,
    Tracer,
    current,
    run,
)
from patterns import Broadcast, Pipeline, Router, RunFailed, Stage, Supervisor, join


def one(agent, **options):
    return Pipeline([Stage("only", agent)], **options)


async def test_a_run_works_from_sync_code_in_the_named_system():
    def blocking_run():
        with ActorSystem("sync") as system:
            return one(lambda prompt: prompt.upper(), system=system).run("hello").get(timeout=5)

    result = await asyncio.to_thread(blocking_run)
    assert (result.text, result.status) == ("HELLO", "done")


async def test_bad_options_are_refused_before_anything_runs(system):
    pattern = one(lambda prompt: prompt, system=system)
    for options in ({"budget": -1}, {"budget": "much"}, {"deadline": 0}, {"run_id": ""}):
        with pytest.raises(InvalidOption):
            pattern.run("x", **options)
    with pytest.raises(InvalidOption):
        one(lambda prompt: prompt, name="")
    assert system.stats().actors == 0


async def test_no_actor_of_a_run_is_left_when_it_is_over(system, runs_over, held):
    worker = held()
    pattern = Router({"a": one(worker)}, lambda prompt: "a", fallback="a", system=system)
    runs = [pattern.run("x") for _ in range(3)]
    worker.go.set()
    for future in runs:
        assert (await future).text == "held"
    await runs_over()
    before = system.stats().actors
    for _ in range(5):
        await pattern.run("x")
    await runs_over()
    assert system.stats().actors == before


async def test_agents_a_broadcast_computed_for_one_run_are_gone_after_it(system, no_actors):
    pattern = Broadcast(
        lambda prompt: [lambda p: p + "1", lambda p: p + "2"], join(","), system=system
    )
    for _ in range(3):
        assert (await pattern.run("x")).text == "x1,x2"
    gc.collect()
    await no_actors()


@pytest.mark.parametrize("kind", ["pipeline", "router", "broadcast", "supervisor"])
async def test_cancelling_the_future_cancels_the_agents_below(system, runs_over, held, kind):
    worker = held()
    pattern = {
        "pipeline": lambda: one(worker),
        "router": lambda: Router({"a": worker}, lambda prompt: "a", fallback="a"),
        "broadcast": lambda: Broadcast([worker, lambda prompt: "quick"], join()),
        "supervisor": lambda: Supervisor(worker, lambda draft: "APPROVED"),
    }[kind]()
    future = one(pattern, system=system).run("x")
    await worker.begun.wait()
    assert future.cancel()
    await worker.ended.wait()
    assert worker.ends == {"cancelled": 1}
    with pytest.raises(RequestCancelled):
        await future
    await runs_over()


async def test_a_run_that_is_given_up_before_it_began_is_over(system, runs_over, held):
    worker = held()
    future = one(worker, system=system).run("x")
    assert future.cancel()
    with pytest.raises(RequestCancelled):
        await future
    await runs_over()
    assert not worker.begun.is_set()


async def test_a_result_that_nobody_keeps_is_gone_without_the_garbage_collector(system, runs_over):
    class Page:
        """Stands for megabytes."""

    seen = []

    async def read(prompt):
        page = Page()
        seen.append(weakref.ref(page))
        return Reply("read", data=page)

    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await one(one(read), system=system).run("x")
            await runs_over()
        # The runtime may still know the last actor it gave a turn to.
        assert [page() for page in seen[:-1]] == [None] * 9
    finally:
        gc.enable()


async def test_cancelling_the_only_task_that_waits_cancels_the_run(system, runs_over, held):
    worker = held()
    waiter = asyncio.ensure_future(_wait(one(one(worker), system=system)))
    await worker.begun.wait()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await worker.ended.wait()
    assert worker.ends == {"cancelled": 1}
    await runs_over()


async def _wait(pattern):
    return await pattern.run("x")


async def test_a_run_that_its_system_ends_is_answered(held):
    worker = held()
    system = ActorSystem("short")
    async with system:
        future = one(worker, system=system).run("x")
        await worker.begun.wait()
        ref = next(node.path for node in system.tree().children if node.kind == "Conductor")
        system.find(ref).stop(block=False)
        with pytest.raises(ActorDeadError):
            await future
        await worker.ended.wait()
    with pytest.raises(RuntimeError):
        await one(worker, system=system).run("x")


async def test_the_deadline_stops_the_work_and_the_result_says_so(system, held, runs_over):
    worker = held()
    result = await one(one(worker), system=system).run("x", deadline=0.2)
    assert (result.status, result.reason) == ("halted", "deadline")
    await worker.ended.wait()
    assert worker.ends == {"cancelled": 1}
    await runs_over()


async def test_a_nested_run_cannot_outlast_the_run_around_it(system):
    seen = []

    async def agent(prompt, deadline):
        seen.append(deadline.remaining())
        return "ok"

    await one(one(agent), system=system).run("x", deadline=Deadline(2))
    assert 0 < seen[0] <= 2


async def test_context_reaches_nested_agents_and_a_child_budget_is_a_lease(system):
    seen = []

    async def agent(prompt):
        context = current()
        await context.budget.charge(usd="0.25")
        seen.append((context.run_id, (await context.budget.snapshot()).cap_usd))
        return "ok"

    pool = BudgetPool(usd=1, system=system)
    async with run(budget=pool, system=system) as context:
        inner = one(agent, system=system)
        result = await inner.run("x", budget=0.5)
        assert result.run_id == context.run_id
    assert seen == [(context.run_id, Decimal("0.5"))]
    assert (await pool.snapshot()).settled_usd == Decimal("0.25")
    assert (await pool.snapshot()).reserved_usd == 0


async def test_a_run_without_room_for_its_budget_is_halted_and_on_record(system, log, recorded):
    async with run(budget=BudgetPool(usd="0.1", system=system), log=log, system=system):
        result = await one(lambda prompt: prompt, system=system).run("x", budget=1)
    assert (result.status, result.reason) == ("halted", "budget")
    assert (await recorded("admission"))[0]["admitted"] is False
    assert (await recorded("halt"))[0]["reason"] == "budget"


async def test_unknown_prices_make_the_cost_unknown_not_zero(system, paid):
    priced = await one(lambda prompt: paid("a", "0.02", 7), system=system).run("x")
    assert (priced.cost_usd, priced.tokens) == (Decimal("0.02"), 7)

    def unpriced(prompt):
        return msgspec.structs.replace(paid("b"), cost_usd=None)

    both = Pipeline(
        [Stage("a", lambda prompt: paid("a", "0.02", 7)), Stage("b", unpriced)], system=system
    )
    result = await both.run("x")
    assert (result.cost_usd, result.tokens) == (None, 17)


async def test_a_call_past_the_cap_is_used_and_nothing_more_is_begun(system, paid, scripted):
    second = scripted("never")
    pattern = Pipeline(
        [Stage("dear", lambda prompt: paid("dear", "2")), Stage("next", second)], system=system
    )
    result = await pattern.run("x", budget=1)
    assert (result.status, result.reason, result.stopped_at) == ("halted", "budget", "next")
    assert (result.text, result.cost_usd) == ("dear", 2)
    assert second.prompts == []


async def test_system_exit_in_an_agent_is_a_failure_of_the_run_not_of_the_loop(system):
    def leaves(prompt):
        raise SystemExit(3)

    result = await one(leaves, system=system).run("x")
    assert result.status == "failed"
    assert (await one(lambda prompt: "fine", system=system).run("x")).text == "fine"


async def test_spans_nest_by_pattern_and_agent(system):
    tracer = Tracer(system=system)
    async with run(tracer=tracer, system=system):
        inner = one(lambda prompt: "ok", name="inner")
        await one(inner, name="outer", system=system).run("x")
    names = (await tracer.summary()).by_name
    assert set(names) == {"invoke_workflow outer", "invoke_workflow inner", "invoke_agent only"}


async def test_the_span_of_a_run_has_ended_when_its_result_is_out(system, tmp_path):
    for _ in range(20):
        tracer = Tracer(tmp_path / "trace.jsonl", system=system)
        ended = []
        tracer.watch(lambda span, ended=ended: ended.append(span.name) if span.end else None)
        async with run(tracer=tracer, system=system):
            future = Pipeline([Stage("one", str)], name="team", system=system).run("x")
            future.add_done_callback(lambda _, ended=ended: ended.append("result"))
            await future
        await tracer.close()
        assert ended == ["invoke_agent one", "invoke_workflow team", "result"]


async def test_a_log_that_is_closed_loses_records_but_not_the_result(system, log):
    async with run(log=log, system=system):
        await log.close()
        result = await Router({"a": lambda p: "ok"}, lambda p: "a", fallback="a").run("x")
    assert (result.text, result.unrecorded) == ("ok", 1)


async def test_a_result_that_is_not_usable_can_be_required(system):
    def fails(prompt):
        raise ValueError("no")

    result = await one(fails, system=system).run("x")
    with pytest.raises(RunFailed) as caught:
        result.require()
    assert caught.value.result is result
    assert "ValueError: no" in str(caught.value)


async def test_results_can_be_written_as_json(system):
    result = await one(one(lambda prompt: "ok"), system=system).run("x")
    assert b'"text":"ok"' in msgspec.json.encode(result)
