"""Recovery: kinds of failure, retries that wait as asked, fallbacks, degrading, circuit breaking."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from actors import (
    ActorDeadError,
    Backoff,
    BudgetExceeded,
    BudgetPool,
    ContextWindowExceeded,
    DeadlineExceeded,
    InvalidOption,
    InvalidOutput,
    MailboxFull,
    MissingExtra,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    RequestCancelled,
    UnusableReply,
    WouldDeadlock,
    run,
)
from patterns import CircuitBreaker, Degrade, Fallback, Pipeline, Retry, RunFailed, RunResult, Stage
from patterns._breaker import Circuit, admit, after_failure, after_success, after_unknown
from patterns._failures import hopeless, kind_of, retry_after

DOWN = ModelUnavailable("m", "down")
NO_MONEY = BudgetExceeded(unit="usd", cap=1, settled=1, reserved=0, asked=1, pool="p")
AT_ONCE = Backoff(min=0.001, max=0.001)


# -- pure: kinds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DOWN, "transient"),
        (ModelTimeout("m", "slow"), "transient"),
        (ActorDeadError("gone"), "transient"),
        (MailboxFull("/a", 1, "x"), "transient"),
        (ConnectionResetError(), "transient"),
        (TimeoutError(), "transient"),
        (ModelRateLimited("m", "slow down", 3.0), "rate_limited"),
        (InvalidOutput("m", "nonsense"), "invalid_output"),
        (UnusableReply("m", "nonsense", None), "invalid_output"),
        (ModelRejected("m", "401"), "fatal"),
        (ContextWindowExceeded("m", 9, 8), "fatal"),
        (InvalidOption("a", 1, "b"), "fatal"),
        (WouldDeadlock(["/a", "/a"]), "fatal"),
        (KeyError("bug"), "fatal"),
        (NO_MONEY, "budget"),
        (DeadlineExceeded("x"), "deadline"),
        (RequestCancelled("x"), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (RunFailed(RunResult(status="failed", reason="rate_limited")), "rate_limited"),
        (RunFailed(RunResult(status="halted", reason="budget")), "budget"),
        (RunFailed(RunResult(status="failed", reason="timeout")), "deadline"),
        (RunFailed(RunResult(status="failed", reason="circuit_open")), "transient"),
        (RunFailed(RunResult(status="failed", reason="rejected")), "fatal"),
    ],
)
def test_every_error_has_a_kind(error, kind):
    assert kind_of(error) == kind


def test_only_errors_of_the_request_itself_are_hopeless():
    assert hopeless(ModelRejected("m", "401"))
    assert hopeless(MissingExtra("openai"))
    assert not hopeless(RuntimeError("boom"))
    assert not hopeless(InvalidOutput("m", "nonsense"))


def test_retry_after_is_read_from_errors_and_nested_results():
    assert retry_after(ModelRateLimited("m", "x", 3)) == 3.0
    assert retry_after(ModelRateLimited("m", "x", None)) is None
    assert retry_after(ModelRateLimited("m", "x", -1)) is None
    assert retry_after(DOWN) is None


# -- retry ---------------------------------------------------------------------------------------


async def test_a_failure_that_passes_is_retried_and_every_attempt_recorded(
    system, scripted, log, recorded
):
    agent = scripted(DOWN, InvalidOutput("m", "?"), "ok", name="flaky")
    async with run(log=log, system=system):
        result = await Retry(agent, 3, backoff=AT_ONCE, system=system).run("x")
    assert (result.text, result.status, result.answered_by) == ("ok", "done", "flaky")
    assert [a.kind for a in result.attempts] == ["transient", "invalid_output", None]
    assert all(a.waited >= 0.001 for a in result.attempts[1:])
    assert [r["number"] for r in await recorded("attempt")] == [1, 2, 3]
    assert len(await recorded("retry")) == 2


async def test_the_last_failure_is_the_result(system, scripted):
    agent = scripted(DOWN, DOWN, "never")
    result = await Retry(agent, 2, backoff=AT_ONCE, system=system).run("x")
    assert (result.status, result.reason, len(agent.prompts)) == ("failed", "transient", 2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelRejected("m", "401"), "fatal"),
        (NO_MONEY, "budget"),
        (DeadlineExceeded("x"), "timeout"),
        (RequestCancelled("x"), "cancelled"),
        (KeyError("bug"), "fatal"),
    ],
)
async def test_what_will_not_pass_is_not_retried(system, scripted, error, reason):
    agent = scripted(error, "never")
    result = await Retry(agent, 5, backoff=AT_ONCE, system=system).run("x")
    assert (result.reason, len(agent.prompts)) == (reason, 1)


async def test_only_the_wanted_kinds_are_retried(system, scripted):
    agent = scripted(DOWN, "never")
    await Retry(agent, 5, on=["rate_limited"], backoff=AT_ONCE, system=system).run("x")
    assert len(agent.prompts) == 1


async def test_retry_after_is_waited_even_if_the_backoff_is_shorter(system, scripted):
    agent = scripted(ModelRateLimited("m", "slow", 0.05), "ok")
    result = await Retry(agent, backoff=AT_ONCE, system=system).run("x")
    assert (result.text, result.attempts[1].waited) == ("ok", 0.05)


@pytest.mark.parametrize(("asked", "deadline"), [(30.0, 5), (3600.0, None)])
async def test_a_wait_past_the_deadline_or_the_limit_is_not_begun(
    system, scripted, log, recorded, asked, deadline
):
    agent = scripted(ModelRateLimited("m", "slow", asked), "never")
    async with run(log=log, system=system):
        result = await Retry(agent, system=system).run("x", deadline=deadline)
    assert (result.status, result.reason, result.retry_after) == ("failed", "rate_limited", asked)
    assert (await recorded("give_up"))[0]["wait"] == asked


async def test_cancelling_during_a_wait_ends_the_run(system, scripted, runs_over, log):
    waits = asyncio.Event()

    async def agent(prompt):
        waits.set()
        raise DOWN

    pattern = Retry(agent, backoff=Backoff(min=50, max=50), system=system)
    future = pattern.run("x")
    await waits.wait()
    future.cancel()
    await runs_over()


async def test_attempts_that_were_billed_are_in_the_cost(system, scripted, paid):
    agent = scripted(UnusableReply("m", "?", paid("?", "0.2")), paid("ok", "0.1"))
    result = await Retry(agent, backoff=AT_ONCE, system=system).run("x")
    assert result.cost_usd == Decimal("0.3")


async def test_a_nested_run_that_failed_is_retried_by_its_reason(system, scripted):
    agent = scripted(DOWN, "ok")
    inner = Pipeline([Stage("a", agent)])
    assert (await Retry(inner, backoff=AT_ONCE, system=system).run("x")).text == "ok"


# -- fallback and degrade ------------------------------------------------------------------------


async def test_the_next_agent_is_asked_when_one_fails_in_any_way(system, log, recorded, scripted):
    first = scripted(InvalidOutput("m", "nonsense"), name="first")
    second = scripted(ModelRejected("m", "401"), name="second")
    third = scripted("ok", name="third")
    async with run(log=log, system=system):
        result = await Fallback([first, second, third], system=system).run("x")
    assert (result.text, result.answered_by, result.degraded) == ("ok", "third", False)
    moves = [(r["agent"], r["to"], r["kind"]) for r in await recorded("fallback")]
    assert moves == [("first", "second", "invalid_output"), ("second", "third", "fatal")]


@pytest.mark.parametrize("error", [NO_MONEY, RequestCancelled("x"), DeadlineExceeded("x")])
async def test_no_fallback_without_money_time_or_somebody_who_wants_it(system, scripted, error):
    second = scripted("never")
    await Fallback([scripted(error), second], system=system).run("x")
    assert second.prompts == []


async def test_the_last_of_a_fallback_decides(system, scripted):
    result = await Fallback([scripted(DOWN), scripted(KeyError("k"))], system=system).run("x")
    assert (result.status, result.reason) == ("failed", "fatal")


async def test_a_lesser_agent_answers_marked_as_degraded(system, scripted, log, recorded):
    async with run(log=log, system=system):
        pattern = Degrade(scripted(DOWN, name="big"), scripted("ok", name="small"), system=system)
        result = await pattern.run("x")
    assert (result.text, result.degraded, result.answered_by) == ("ok", True, "small")
    assert (await recorded("degrade"))[0]["reason"] == "transient"
    fine = await Degrade(scripted("big", name="big"), scripted("small"), system=system).run("x")
    assert (fine.text, fine.degraded) == ("big", False)


async def test_degraded_replies_mark_the_runs_above(system, scripted):
    inner = Degrade(scripted(DOWN), scripted("ok", name="small"))
    assert (await Pipeline([Stage("a", inner)], system=system).run("x")).degraded


async def test_what_cannot_be_paid_is_asked_of_the_lesser_agent(system, scripted):
    big, small = scripted(NO_MONEY, name="big"), scripted("ok", name="small")
    assert (await Degrade(big, small, system=system).run("x")).degraded


async def test_a_low_budget_degrades_before_the_wanted_agent_is_asked(system, scripted):
    big = scripted("big", name="big")
    pattern = Degrade(big, lambda p: "small", below_usd=0.5, system=system)
    async with BudgetPool(usd=1, system=system) as pool:
        assert (await pattern.run("x", budget=pool)).text == "big"
        await pool.charge(usd="0.6")
        assert (await pattern.run("x", budget=pool)).text == "small"
    assert len(big.prompts) == 1


# -- circuit breaker -----------------------------------------------------------------------------


def test_a_circuit_opens_after_failures_in_a_row():
    circuit = Circuit()
    for _ in range(2):
        circuit = after_failure(circuit, 0.0, 3)
    assert circuit.state == "closed"
    assert after_success() == Circuit()
    circuit = after_failure(circuit, 10.0, 3)
    assert circuit.state == "open"
    assert admit(circuit, 12.0, 30.0) == (circuit, 28.0)


def test_one_call_tries_an_open_circuit_after_its_time():
    circuit = Circuit("open", 3, 0.0)
    trial, wait = admit(circuit, 30.0, 30.0)
    assert (trial.state, wait) == ("half_open", None)
    assert admit(trial, 31.0, 30.0)[1] == 29.0
    assert after_failure(trial, 31.0, 3) == Circuit("open", 4, 31.0)


def test_a_trial_that_says_nothing_or_never_returns_does_not_keep_it_shut():
    trial, _ = admit(Circuit("open", 3, 0.0), 30.0, 30.0)
    assert admit(after_unknown(trial), 30.1, 30.0)[1] is None
    assert admit(trial, 61.0, 30.0)[1] is None
    assert after_unknown(Circuit()) == Circuit()


async def test_an_open_circuit_fails_at_once_and_says_when_to_come_back(
    system, scripted, log, recorded
):
    agent = scripted(DOWN, DOWN, "never")
    breaker = CircuitBreaker(agent, failures=2, reset_after=60, system=system)
    async with run(log=log, system=system):
        for _ in range(2):
            assert (await breaker.run("x")).reason == "transient"
        assert breaker.state == "open"
        result = await breaker.run("x")
    assert (result.status, result.reason) == ("failed", "circuit_open")
    assert 0 < result.retry_after <= 60
    assert len(agent.prompts) == 2
    assert [(r["before"], r["after"]) for r in await recorded("circuit")] == [("closed", "open")]


async def test_a_trial_closes_the_circuit_again(system, scripted):
    agent = scripted(DOWN, "ok", "fine")
    breaker = CircuitBreaker(agent, failures=1, reset_after=1e-9, system=system)
    await breaker.run("x")
    assert (await breaker.run("x")).text == "ok"
    assert breaker.state == "closed"
    assert (await breaker.run("x")).text == "fine"


async def test_failures_that_do_not_count_leave_the_circuit_alone(system, scripted):
    breaker = CircuitBreaker(
        scripted(ModelRejected("m", "401"), NO_MONEY), failures=1, system=system
    )
    for _ in range(2):
        await breaker.run("x")
    assert breaker.state == "closed"


async def test_recovery_patterns_nest(system, scripted):
    breaker = CircuitBreaker(scripted(DOWN), failures=1, name="breaker")
    retry = Retry(breaker, 2, backoff=AT_ONCE, name="retry")
    result = await Fallback([retry, scripted("spare", name="spare")], system=system).run("x")
    assert (result.text, result.answered_by) == ("spare", "spare")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(str, 0),
        lambda: Retry(str, True),
        lambda: Retry(str, backoff=1.0),
        lambda: Retry(str, max_wait=-1),
        lambda: Retry(str, on=["budget"]),
        lambda: Retry(str, on="transient"),
        lambda: Retry(3),
        lambda: Fallback([]),
        lambda: Fallback("local"),
        lambda: Degrade(str, str, below_usd=-1),
        lambda: Degrade(str, str, on=["cancelled"]),
        lambda: CircuitBreaker(str, failures=0),
        lambda: CircuitBreaker(str, reset_after=0),
    ],
)
def test_options_that_cannot_work_are_refused(make):
    with pytest.raises(InvalidOption):
        make()
