"""The canonical form: the same for the same behaviour, however a run happened to go."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from actors import Agent, CallboardError, DecisionLog, InvalidOption, Tracer, run
from actors.services.decisions import Decision
from actors.testing import (
    CanonicalRun,
    CapturedRun,
    RunUnreadable,
    ScriptedModel,
    ScriptedReply,
    SpanRecord,
    canonical,
    capture_run,
    read_run,
)
from patterns import Broadcast, Fallback, First, Pipeline, Retry, Stage, join
from patterns._cli.folder import RunRecord, Versions

RUN_ID = "0123456789abcdef0123456789abcdef"


def by(agent):
    return lambda call: call.agent == agent


def span(span_id, name="work", *, parent=None, start=0, end=0, **more):
    return SpanRecord(RUN_ID, span_id, parent, name, start, end, **more)


def ruling(seq, decision, *, span_id=None, ts=0.0, **fields):
    return Decision(seq, ts, decision, RUN_ID, span_id, None, fields, None)


def form(*spans, decisions=(), **more):
    mask = more.pop("mask", ())
    return canonical(CapturedRun(run_id=RUN_ID, spans=spans, decisions=decisions, **more), mask)


async def review(system, alice=0.0, bob=0.0, until=None):
    """A team that reads side by side and sums up, whose readers take so many seconds."""
    model = ScriptedModel(
        [
            (by("alice"), ScriptedReply("A", latency=alice, cost_usd="0.25")),
            (by("bob"), ScriptedReply("B", latency=bob)),
            (by("sum"), "the sum"),
        ]
    )
    readers = {name: Agent(model, name=name) for name in ("alice", "bob")}
    team = Pipeline(
        [Stage("read", Broadcast(readers, join())), Stage("sum", Agent(model, name="sum"))],
        system=system,
    )
    async with capture_run(system=system, budget=1) as capture:
        capture.result = await team.run("the text")
    model.verify()
    return capture.run


async def test_two_interleavings_of_a_broadcast_have_the_same_form(system):
    forms = {
        canonical(await review(system, alice, bob)).to_json()
        for alice, bob in [(0.0, 0.0), (0.03, 0.0), (0.0, 0.03), (0.02, 0.01)]
    }
    assert len(forms) == 1


async def test_a_run_is_told_with_its_calls_decisions_prompts_and_answers(system):
    lines = canonical(await review(system)).lines()
    assert [
        line.strip() for line in lines if "callboard." not in line and "gen_ai" not in line
    ] == [
        "status: done (completed)",
        "output: the sum",
        "- workflow pipeline",
        "- workflow broadcast",
        (
            '* gather: pattern="broadcast", closed="complete", complete=true, '
            'replies=["alice","bob"], failures={}, missing=[], error=null'
        ),
        "- side by side",
        "- agent alice",
        "- model scripted",
        "asked: user: the text",
        "answered: A",
        "- agent bob",
        "- model scripted",
        "asked: user: the text",
        "answered: B",
        "- agent sum",
        "- model scripted",
        "asked:",
        "user: A",
        "",
        "B",
        "answered: the sum",
    ]


async def test_cost_tokens_and_latencies_of_a_run_can_be_asserted(system):
    captured = await review(system, alice=0.02)
    assert captured.cost_usd == Decimal("0.25")
    assert captured.tokens == sum(call.tokens for call in captured.model_calls())
    assert captured.agents == ("alice", "bob", "sum")
    assert 0.019 <= captured.latency("alice") <= captured.seconds
    assert len(captured.latencies("bob")) == 1
    assert [call.cost_usd for call in captured.model_calls("alice")] == [Decimal("0.25")]
    with pytest.raises(LookupError, match=r"no agent 'carol' in this run, but \['alice'"):
        captured.latency("carol")


async def test_retries_have_the_same_form_however_long_they_waited(system):
    async def once(seed):
        model = ScriptedModel([OSError("flaky"), ScriptedReply("fine", latency=seed / 1000)])
        team = Retry(Agent(model, name="writer"), system=system)
        async with capture_run(system=system) as capture:
            capture.result = await team.run("hello")
        return capture.run

    first, second = await once(0), await once(7)
    assert canonical(first).to_json() == canonical(second).to_json()
    assert "<duration>" in canonical(first).to_json()


async def test_a_failed_agent_shows_its_error_and_the_fallback_that_answered(system):
    model = ScriptedModel([ValueError("broken")])
    team = Fallback([Agent(model, name="writer"), lambda _: "spare"], system=system)
    async with capture_run(system=system) as capture:
        capture.result = await team.run("hello")
    lines = canonical(capture.run).lines()
    assert "output: spare" in lines
    assert [line.strip() for line in lines].count("error: ValueError: broken") == 2


def test_a_sync_test_captures_a_run_too(system):
    model = ScriptedModel(["fine"])
    with capture_run(system=system, run_id="my-run") as capture:
        assert capture.context.run_id == "my-run"
        capture.result = Agent(model, name="writer", system=system).run("hello").get()
        with pytest.raises(CallboardError, match="after the `with` block"):
            _ = capture.run
    assert (capture.run.output, capture.run.status) == ("fine", "done")
    assert [call.agent for call in capture.run.model_calls()] == ["writer"]


async def test_a_run_that_raises_is_captured_as_failed_and_still_raises(system):
    with pytest.raises(ValueError, match="broken"):
        async with capture_run(system=system) as capture:
            await Agent(ScriptedModel([ValueError("broken")]), name="w", system=system).run("x")
    assert (capture.run.status, capture.run.error) == ("failed", "ValueError: broken")


async def test_a_run_that_leaves_no_record_is_captured_with_its_result_alone(system):
    async with capture_run(system=system) as capture:
        capture.result = "nothing to do"
    assert (capture.run.output, capture.run.spans, capture.run.cost_usd) == (
        "nothing to do",
        (),
        Decimal(0),
    )


async def test_runs_with_names_of_their_own_inside_the_block_are_captured(system):
    async with capture_run(system=system) as capture:
        team = Broadcast({"a": lambda text: text}, join(), system=system)
        await team.run("hello", run_id="own-name")
    assert {span.trace_id for span in capture.run.spans} == {"own-name"}
    assert [decision.decision for decision in capture.run.decisions] == ["gather"]


async def test_a_capture_that_cannot_be_entered_leaves_nothing_open(system, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(InvalidOption):
        async with capture_run(system=system, deadline=-1):
            pytest.fail("it was entered")
    assert list(tmp_path.iterdir()) == []
    capture = capture_run(system=system)
    async with capture:
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CallboardError, match="entered before"):
        async with capture:
            pytest.fail("it was entered twice")


async def test_a_run_is_read_from_the_files_of_its_log_and_tracer(system, tmp_path):
    log = DecisionLog(tmp_path / "decisions.jsonl", system=system)
    tracer = Tracer(tmp_path / "trace.jsonl", system=system)
    for name in ("one", "two"):
        team = Broadcast({"a": lambda text: text}, join(), system=system)
        async with run(log=log, tracer=tracer, run_id=name, system=system):
            await team.run("hello")
    await asyncio.gather(log.close(), tracer.close())
    found = read_run(tmp_path, run_id="one")
    assert [decision.decision for decision in found.decisions] == ["gather"]
    assert {each.trace_id for each in found.spans} == {"one"}
    with pytest.raises(RunUnreadable, match="one, two"):
        read_run(tmp_path)
    with pytest.raises(RunUnreadable, match="no run 'three'"):
        read_run(tmp_path, run_id="three")


async def test_the_folder_of_a_callboard_run_is_read_with_its_result(system, tmp_path):
    log = DecisionLog(tmp_path / "decisions.jsonl", system=system)
    tracer = Tracer(tmp_path / "trace.jsonl", system=system)
    async with run(log=log, tracer=tracer, run_id="r-1", system=system):
        await Broadcast({"a": Agent(str.upper, name="a")}, join(), system=system).run("hello")
    await asyncio.gather(log.close(), tracer.close())
    record = RunRecord(
        run_id="r-1",
        request="review",
        inputs=(),
        model="local",
        status="partial",
        reason="a deadline",
        started=0.0,
        tokens=12,
        cost_usd=Decimal("0.5"),
        versions=Versions("1", "3", "linux"),
        result="# Findings",
    )
    (tmp_path / "run.json").write_text(record.to_json())
    found = read_run(str(tmp_path))
    assert (found.run_id, found.status, found.reason) == ("r-1", "partial", "a deadline")
    assert (found.output, found.cost_usd, found.tokens) == ("# Findings", Decimal("0.5"), 12)
    assert found.agents == ("a",)


def test_files_that_are_none_of_a_run_are_refused(tmp_path):
    with pytest.raises(RunUnreadable, match="give read_run"):
        read_run()
    with pytest.raises(RunUnreadable, match="cannot be read"):
        read_run(tmp_path)
    (tmp_path / "decisions.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "trace.jsonl").write_text("")
    with pytest.raises(RunUnreadable, match=r"decisions\.jsonl"):
        read_run(tmp_path)


def test_calls_that_overlap_stand_side_by_side_in_an_order_of_their_own():
    one = form(span("a1", "b", start=10, end=30), span("a2", "a", start=20, end=40))
    other = form(span("a3", "a", start=5, end=30), span("a4", "b", start=6, end=29))
    assert one == other
    assert [step.kind for step in one.steps] == ["side by side"]


def test_calls_that_follow_each_other_keep_their_order():
    one = form(span("a2", "b", start=10, end=20), span("a1", "a", start=20, end=30))
    assert [step.name for step in one.steps] == ["b", "a"]


def test_recipients_of_a_broadcast_stand_side_by_side_even_if_one_was_through_at_once():
    gather = ruling(1, "gather", span_id="p", ts=30e-9)
    parent = span("p", "team", start=1, end=90)
    quick = (
        span("a", "x", parent="p", start=10, end=11),
        span("b", "y", parent="p", start=20, end=25),
    )
    after = span("c", "aggregate", parent="p", start=40, end=50)
    (team,) = form(parent, *quick, after, decisions=(gather,)).steps
    assert [step.kind for step in team.steps] == ["side by side", "span"]
    swapped = (
        span("a", "y", parent="p", start=10, end=11),
        span("b", "x", parent="p", start=20, end=25),
    )
    assert form(parent, *swapped, after, decisions=(gather,)).steps == (team,)


def test_what_becomes_of_losers_after_a_broadcast_is_left_out():
    gather = ruling(1, "gather")
    late = [ruling(n, kind) for n, kind in enumerate(("late_reply", "cancel", "late_failure"), 2)]
    assert form(decisions=[gather, *late]) == form(decisions=[gather])


def test_decisions_keep_their_order():
    both = [ruling(1, "retry", kind="a"), ruling(2, "retry", kind="b")]
    assert form(decisions=both) != form(decisions=both[::-1])


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("run 6f1d9c1e-8a7b-4c55-9d3e-0123456789ab", "run <id>"),
        (f"in {RUN_ID}", "in <id>"),
        ("span aaaabbbbccccdddd", "span <id>"),
        ("on 2026-01-31T23:59:59.123Z", "on <time>"),
        ("at 2026-01-31 23:59", "at <time>"),
        ("<X object at 0x7f00deadbeef>", "<X object at <address>>"),
        ("wait 5 seconds", "wait 5 seconds"),
        ("the words added, decade and facade", "the words added, decade and facade"),
        ("1234567890123456", "1234567890123456"),
        ("costs 3 USD", "costs 3 USD"),
    ],
)
def test_ids_times_and_addresses_in_an_output_are_replaced_and_its_words_are_not(text, clean):
    assert form(span("aaaabbbbccccdddd"), output=text).output == clean


def test_durations_and_numbers_of_actors_in_errors_and_decisions_are_replaced():
    error = "Timeout: no answer after 0.25 seconds from /team:17/gather"
    decision = ruling(1, "retry", wait=0.7312, error=error, cost_usd="0.3", margin=0.123456)
    found = form(decisions=[decision], error=error)
    assert found.error == "Timeout: no answer after <duration> from /team:<n>/gather"
    assert found.decisions[0].fields == {
        "wait": "<duration>",
        "error": found.error,
        "cost_usd": "<cost>",
        "margin": 0.123,
    }


def test_a_mask_replaces_what_else_differs():
    assert form(output="ticket T-1234", mask=(r"T-\d+",)).output == "ticket <masked>"
    with pytest.raises(InvalidOption):
        form(output="x", mask=("(",))


def test_decisions_of_a_span_that_was_not_written_are_kept():
    assert [
        each.decision for each in form(decisions=[ruling(1, "route", span_id="gone")]).decisions
    ]


async def test_the_form_survives_being_stored(system):
    found = canonical(await review(system))
    assert CanonicalRun.from_json(found.to_json()) == found


def test_an_unknown_price_stays_unknown():
    chat = {"gen_ai.operation.name": "chat", "gen_ai.agent.name": "a"}
    tokens = {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1}
    priced = span("a1", attributes={**chat, **tokens, "callboard.cost_usd": 0.25})
    unpriced = span("a2", attributes={**chat, **tokens})
    failed = span("a3", attributes=chat, status="error")
    assert form(priced, failed).spend["a"].cost_usd == Decimal("0.25")
    assert form(priced, unpriced).spend["a"].cost_usd is None
    assert form(priced, unpriced).spend["a"].tokens == 12


async def test_losers_that_were_cancelled_do_not_make_two_runs_differ(system):
    async def once():
        model = ScriptedModel(
            [
                (by("quick"), "Q"),
                (by("slow"), ScriptedReply("S", latency=30)),
                (by("slower"), ScriptedReply("T", latency=40)),
            ]
        )
        agents = {name: Agent(model, name=name) for name in ("quick", "slow", "slower")}
        team = Broadcast(agents, join(), until=First(1), system=system)
        async with capture_run(system=system) as capture:
            capture.result = await team.run("hello")
        return canonical(capture.run)

    first = await once()
    assert [await once() for _ in range(5)] == [first] * 5
    assert list(first.spend) == ["quick"]
