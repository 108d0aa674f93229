"""Supervisor: strict verdicts, revisions, the best draft, restarts, and every way to stop."""

from __future__ import annotations

from decimal import Decimal

import pytest

from actors import (
    ActorRestarted,
    BudgetExceeded,
    InvalidOption,
    InvalidOutput,
    ModelRateLimited,
    ModelRejected,
    Reply,
    run,
)
from patterns import VERDICT_SCHEMA, Draft, Pipeline, Stage, Supervisor, Verdict
from patterns._revision import accepts, best, gains_nothing, read_verdict

REVISE = Verdict("revise", feedback="more")


# -- pure: verdicts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("APPROVED", "accept"),
        ("Approved.", "accept"),
        ("**APPROVED** - well done", "accept"),
        ("\n  APPROVED: fine", "accept"),
        ("NOT APPROVED", "revise"),
        ("This is not approved.", "revise"),
        ("I cannot say APPROVED yet", "revise"),
        ("UNAPPROVED", "revise"),
        ("APPROVED-ish", "revise"),
        ("DISAPPROVED", "revise"),
        ("approvedly", "revise"),
        ("REJECTED, start over", "reject"),
        ("Shorten it.", "revise"),
        ("1. APPROVED", "revise"),
    ],
)
def test_a_text_approves_only_by_its_first_word(text, decision):
    assert read_verdict(Reply(text)).decision == decision


def test_what_stands_after_the_word_is_the_feedback():
    assert read_verdict(Reply("**REJECTED**: too long")).feedback == "too long"
    assert read_verdict(Reply("Shorten it.")).feedback == "Shorten it."


def test_data_is_a_verdict_or_an_error():
    data = {"decision": "revise", "score": 3, "issues": ["a"], "feedback": "f"}
    assert read_verdict(Reply("…", data=data)) == Verdict("revise", 3.0, ("a",), "f")
    assert set(data) == set(VERDICT_SCHEMA["properties"])
    for broken in ({"decision": "maybe"}, {"score": 3}, [], "accept"):
        with pytest.raises(InvalidOutput):
            read_verdict(Reply("…", data=broken))
    with pytest.raises(InvalidOutput):
        read_verdict(Reply("  "))


@pytest.mark.parametrize(
    ("verdict", "accept", "expected"),
    [
        (Verdict("accept"), None, True),
        (Verdict("revise", 10), None, False),
        (Verdict("revise", 8), 8, True),
        (Verdict("accept", 7), 8, False),
        (Verdict("accept"), 8, True),
        (Verdict("reject", 10), 8, False),
        (Verdict("revise", 1), lambda v: v.score == 1, True),
        (Verdict("reject", 1), lambda v: True, False),
    ],
)
def test_acceptance_follows_the_decision_the_score_or_a_function(verdict, accept, expected):
    assert accepts(verdict, accept) is expected


def drafts(*scores, texts=None):
    made = []
    for i, score in enumerate(scores):
        text = texts[i] if texts else f"d{i}"
        verdict = Verdict("revise", score)
        made.append(Draft(revision=i, output=text, text=text, verdict=verdict))
    return made


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [((1, 3, 2), 1), ((2, 2), 1), ((None, None), 1), ((1, None), 0), ((None, 1), 1)],
)
def test_the_best_draft_has_the_highest_score_and_ties_go_to_the_later(scores, chosen):
    assert best(drafts(*scores)).revision == chosen


def test_nothing_is_best_of_nothing():
    assert best([]) is None
    assert not gains_nothing([])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [((5,), False), ((5, 5), False), ((5, 5, 5), True), ((5, 4, 6), False), ((1, 2, 3, 3), False)],
)
def test_two_reviews_without_a_better_score_gain_nothing(scores, expected):
    assert gains_nothing(drafts(*scores)) is expected


def test_a_repeated_draft_gains_nothing():
    assert gains_nothing(drafts(None, None, texts=["a", "a"]))
    assert not gains_nothing(drafts(None, None, None))


# -- runs ----------------------------------------------------------------------------------------


async def test_an_accepted_first_draft_ends_the_run(system, scripted, log, recorded):
    async with run(log=log, system=system):
        result = await Supervisor(scripted("draft"), scripted("APPROVED"), system=system).run(
            "task"
        )
    assert (result.text, result.status, result.reason) == ("draft", "done", "accepted")
    assert (result.revisions, result.chosen) == (0, 0)
    (record,) = await recorded("review")
    assert (record["verdict"], record["accepted"]) == ("accept", True)


async def test_the_worker_gets_its_draft_and_the_feedback(system, scripted):
    worker, reviewer = scripted("one", "two"), scripted("NOT APPROVED: longer", "APPROVED")
    result = await Supervisor(worker, reviewer, system=system).run("the task")
    assert (result.text, result.revisions) == ("two", 1)
    first, second = worker.prompts
    assert first == "the task"
    for part in ("the task", "one", "NOT APPROVED: longer"):
        assert part in second
    assert "two" in reviewer.prompts[1]
    assert [verdict.decision for verdict in result.verdicts] == ["revise", "accept"]


async def test_the_prompts_are_templates(system, scripted):
    reviewer = scripted("APPROVED")
    await Supervisor(scripted("{d}"), reviewer, review="{draft}|{input}", system=system).run("x")
    assert reviewer.prompts == ["{d}|x"]
    with pytest.raises(InvalidOption):
        Supervisor(str, str, review="{feedback}")


async def test_the_best_draft_is_returned_not_the_last(system, scripted):
    scores = [Verdict("revise", 1), Verdict("revise", 9), Verdict("revise", 5)]
    pattern = Supervisor(scripted("a", "b", "c"), scripted(*scores), max_revisions=2, system=system)
    result = await pattern.run("x")
    assert (result.text, result.reason, result.status) == ("b", "max_revisions", "partial")
    assert (result.chosen, len(result.drafts)) == (1, 3)


async def test_a_rejection_ends_the_run_as_failed_with_its_draft(system, scripted):
    result = await Supervisor(scripted("a"), scripted("REJECTED"), system=system).run("x")
    assert (result.status, result.reason, result.text) == ("failed", "rejected", "a")


async def test_a_score_may_be_what_counts(system, scripted):
    scores = [Verdict("accept", 0.5), Verdict("revise", 0.9)]
    pattern = Supervisor(scripted("a", "b"), scripted(*scores), accept=0.8, system=system)
    result = await pattern.run("x")
    assert (result.text, result.reason) == ("b", "accepted")


async def test_a_repeated_draft_is_not_reviewed_again(system, scripted):
    reviewer = scripted("shorter", "never asked")
    result = await Supervisor(scripted("a", "a"), reviewer, system=system).run("x")
    assert (result.reason, result.text, len(reviewer.prompts)) == ("no_gain", "a", 1)


async def test_scores_that_do_not_rise_end_the_run(system, scripted):
    reviews = [Verdict("revise", 5), Verdict("revise", 5), Verdict("revise", 4)]
    pattern = Supervisor(
        scripted("a", "b", "c", "d"), scripted(*reviews), max_revisions=9, system=system
    )
    result = await pattern.run("x")
    assert (result.reason, result.text) == ("no_gain", "b")


# -- crashes -------------------------------------------------------------------------------------


async def test_a_crashed_worker_is_restarted_and_asked_again(system, scripted, log, recorded):
    restarts = []
    system.events.subscribe(restarts.append, ActorRestarted)
    worker = scripted(RuntimeError("boom"), "draft")
    async with run(log=log, system=system):
        result = await Supervisor(worker, scripted("APPROVED"), system=system).run("x")
    assert (result.text, result.reason, result.crashes) == ("draft", "accepted", 1)
    assert worker.prompts == ["x", "x"]
    assert [event.path.rsplit("/", 1)[1] for event in restarts] == ["worker"]
    (record,) = await recorded("restart")
    assert (record["role"], record["error"]) == ("worker", "RuntimeError: boom")


async def test_a_class_is_made_anew_at_each_start(system, scripted):
    made = []

    class Fragile:
        def __init__(self):
            made.append(self)

        def run(self, prompt):
            if len(made) == 1:
                raise RuntimeError("the first one is broken")
            return "draft"

    result = await Supervisor(Fragile, scripted("APPROVED"), system=system).run("x")
    assert (result.text, len(made)) == ("draft", 2)


async def test_a_worker_that_keeps_crashing_is_given_up(system, scripted, runs_over):
    worker = scripted(*[RuntimeError(f"boom {i}") for i in range(9)])
    result = await Supervisor(worker, scripted("APPROVED"), system=system).run("x")
    assert (result.status, result.reason, result.output) == ("failed", "worker_failed", None)
    assert "boom" in result.error
    assert len(worker.prompts) == 4  # the first time, and three restarts
    await runs_over()
    assert (await Supervisor(scripted("d"), scripted("APPROVED"), system=system).run("x")).usable


async def test_a_worker_that_fails_later_leaves_its_draft(system, scripted):
    worker = scripted("draft", ModelRejected("m", "no"))
    result = await Supervisor(worker, scripted("more"), system=system).run("x")
    assert (result.status, result.reason, result.text) == ("partial", "worker_failed", "draft")


async def test_a_reviewer_that_keeps_crashing_leaves_the_draft(system, scripted, runs_over):
    reviewer = scripted(*[RuntimeError("boom")] * 9)
    result = await Supervisor(scripted("draft"), reviewer, system=system).run("x")
    assert (result.status, result.reason, result.text) == ("partial", "reviewer_failed", "draft")
    assert len(reviewer.prompts) == 4
    await runs_over()


async def test_a_reviewer_that_answers_nonsense_is_asked_again_and_then_given_up(system, scripted):
    nonsense = [Reply("…", data={"decision": "maybe"})] * 4
    reviewer = scripted(nonsense[0], Verdict("accept"))
    assert (await Supervisor(scripted("d"), reviewer, system=system).run("x")).reason == "accepted"
    result = await Supervisor(scripted("d"), scripted(*nonsense), system=system).run("x")
    assert (result.reason, result.text) == ("reviewer_failed", "d")


@pytest.mark.parametrize("error", [ModelRejected("m", "no"), ModelRateLimited("m", "slow", 30.0)])
async def test_what_a_restart_cannot_help_is_not_tried_again(system, scripted, error):
    worker = scripted(error, "never")
    result = await Supervisor(worker, scripted("APPROVED"), system=system).run("x")
    assert (result.reason, len(worker.prompts)) == ("worker_failed", 1)


# -- money and time ------------------------------------------------------------------------------


async def test_the_deadline_keeps_the_best_draft(system, scripted, held):
    result = await Supervisor(scripted("draft"), held(), deadline=0.2, system=system).run("x")
    assert (result.status, result.reason, result.text) == ("partial", "deadline", "draft")
    nothing = await Supervisor(held(), str, deadline=0.2, system=system).run("x", deadline=9)
    assert (nothing.status, nothing.reason, nothing.output) == ("halted", "deadline", None)


async def test_the_budget_keeps_the_best_draft(system, scripted, paid):
    # The second draft costs more than the dearest so far, which was reserved for it.
    worker = scripted(paid("a", "0.3"), paid("b", "0.8"), paid("c", "0.8"))
    result = await Supervisor(worker, scripted(REVISE, REVISE, REVISE), system=system).run(
        "x", budget=1
    )
    assert (result.status, result.reason, result.text) == ("partial", "budget", "b")
    assert result.cost_usd == Decimal("1.1")
    assert len(worker.prompts) == 2


async def test_an_exhausted_budget_is_no_crash(system, scripted):
    error = BudgetExceeded(unit="usd", cap=1, settled=1, reserved=0, asked=1, pool="p")
    result = await Supervisor(scripted(error), scripted("APPROVED"), system=system).run("x")
    assert (result.status, result.reason, result.crashes) == ("halted", "budget", 0)


async def test_a_pattern_may_be_worker_and_reviewer(system, scripted):
    worker = Pipeline([Stage("a", lambda p: "notes"), Stage("b", lambda p: p + "!")])
    reviewer = Pipeline([Stage("read", lambda p: "APPROVED")])
    result = await Supervisor(worker, reviewer, system=system).run("x")
    assert (result.text, result.reason) == ("notes!", "accepted")


async def test_a_nested_worker_that_fails_is_asked_again(system, scripted):
    worker = Pipeline([Stage("a", scripted(RuntimeError("boom"), "draft"))])
    result = await Supervisor(worker, scripted("APPROVED"), system=system).run("x")
    assert (result.text, result.crashes) == ("draft", 1)


@pytest.mark.parametrize(
    "options",
    [
        {"max_revisions": -1},
        {"max_revisions": 1.5},
        {"deadline": 0},
        {"accept": float("nan")},
        {"worker": 3},
        {"reviewer": None},
    ],
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(InvalidOption):
        Supervisor(**({"worker": str, "reviewer": str} | options))
