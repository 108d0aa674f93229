"""Broadcast: collecting, closing early, losers, late replies, aggregators."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from actors import ActorStarted, InvalidOption, ModelUnavailable, run
from patterns import All, Broadcast, First, GivenReply, Pipeline, Quorum, Stage, When, join, vote


def fails(prompt):
    raise ModelUnavailable("m", "down")


def texts(replies):
    return ",".join(reply.text for reply in replies)


async def test_replies_are_aggregated_in_recipient_order_whoever_was_first(system, held):
    slow = held("slow")

    async def quick(prompt):
        slow.go.set()
        return "quick"

    result = await Broadcast([slow, quick], texts, system=system).run("x")
    assert (result.text, result.status, result.complete) == (
        "held" * 0 + "slow,quick",
        "done",
        True,
    )
    assert [(r.position, r.recipient) for r in result.replies] == [(0, "held"), (1, "quick")]


async def test_recipients_have_names_of_their_own(system):
    result = await Broadcast([lambda p: "1", lambda p: "2"], join(), system=system).run("x")
    assert len({reply.recipient for reply in result.replies}) == 2
    named = await Broadcast({"a": lambda p: "1", "b": lambda p: "2"}, join(), system=system).run(
        "x"
    )
    assert [reply.recipient for reply in named.replies] == ["a", "b"]


async def test_a_failure_does_not_touch_its_siblings(system, paid, log, recorded):
    team = {"a": lambda p: paid("A", "0.1"), "b": fails, "c": lambda p: paid("C", "0.2")}
    async with run(log=log, system=system):
        result = await Broadcast(team, texts, system=system).run("x")
    assert (result.text, result.status, result.reason) == ("A,C", "partial", "failures")
    assert not result.complete
    assert [(f.recipient, f.kind) for f in result.failures] == [("b", "transient")]
    assert result.cost_usd == Decimal("0.3")
    (record,) = await recorded("gather")
    assert record["failures"] == {"b": "transient"}


async def test_without_any_valid_reply_the_run_fails_and_says_why(system):
    result = await Broadcast({"a": fails, "b": fails}, texts, system=system).run("x")
    assert (result.status, result.reason, result.output) == ("failed", "no_replies", None)
    assert "a: ModelUnavailable" in result.error


@pytest.mark.parametrize("until", [Quorum(2), First(2), When(lambda replies: len(replies) == 2)])
async def test_it_closes_when_there_is_enough_and_cancels_the_loser(
    system, held, until, runs_over, log, recorded
):
    loser = held()

    async def quick(prompt):
        await loser.begun.wait()
        return "quick"

    async with run(log=log, system=system):
        result = await Broadcast([loser, quick, quick], texts, until=until, system=system).run("x")
    assert (result.text, result.status, result.complete) == ("quick,quick", "done", True)
    assert result.missing == ("held",)
    await loser.ended.wait()
    assert loser.ends == {"cancelled": 1}
    await runs_over()
    assert [r["recipient"] for r in await recorded("cancel")] == ["held"]


async def test_a_quorum_out_of_reach_closes_early_with_what_is_there(system, held, runs_over):
    slow = held()
    team = {"slow": slow, "a": fails, "b": lambda p: "B", "c": fails}
    result = await Broadcast(team, texts, until=Quorum(3), system=system).run("x")
    assert (result.status, result.reason, result.complete) == ("partial", "unreachable", False)
    await runs_over()


async def test_a_timeout_closes_with_what_is_there(system, held):
    slow = held()
    team = {"slow": slow, "quick": lambda p: "quick"}
    result = await Broadcast(team, texts, timeout=0.2, system=system).run("x")
    assert (result.text, result.status, result.reason) == ("quick", "partial", "timeout")
    assert (result.missing, result.complete) == (("slow",), False)
    await slow.ended.wait()


async def test_the_deadline_keeps_the_replies_even_if_nobody_can_aggregate_them(system, held, paid):
    team = {"slow": held(), "quick": lambda p: paid("quick", "0.1")}
    joined = await Broadcast(team, join(), system=system).run("x", deadline=0.2)
    assert (joined.text, joined.status, joined.reason) == ("quick", "partial", "deadline")
    result = await Broadcast(team, Pipeline([Stage("sum", str)]), system=system).run(
        "x", deadline=0.2
    )
    assert (result.status, result.reason) == ("halted", "deadline")
    assert [reply.text for reply in result.replies] == ["quick"]
    assert result.cost_usd == Decimal("0.1")


async def test_a_nested_run_hands_in_what_it_has_at_the_deadline(system, held):
    inner = Broadcast({"slow": held(), "quick": lambda p: "quick"}, join(), name="inner")
    result = await Broadcast([inner], join(), system=system).run("x", deadline=0.2)
    assert (result.text, result.status) == ("quick", "partial")


# -- losers and late replies ---------------------------------------------------------------------


async def test_losers_that_may_finish_do_and_are_recorded_with_their_cost(
    system, held, runs_over, log, recorded
):
    loser = held("late")
    pattern = Broadcast(
        [loser, lambda p: "quick"], texts, until=First(1), losers="finish", system=system
    )
    async with run(log=log, system=system, run_id="r1"):
        result = await pattern.run("x")
    assert result.text == "quick"
    assert not loser.ended.is_set()
    loser.go.set()
    await runs_over()
    assert loser.ends == {"finished": 1}
    (record,) = await log.query("late_reply")
    assert (record.run_id, record.fields["recipient"]) == ("r1", "held")
    assert record.fields["cost_usd"] in {"0.01", 0.01}
    assert record.fields["tokens"] == 10


async def test_late_replies_are_delivered(system, held, runs_over):
    loser, got = held("late"), []
    pattern = Broadcast(
        [loser, lambda p: "quick"],
        texts,
        until=First(1),
        losers="finish",
        late="deliver",
        on_late=got.append,
        system=system,
    )
    await pattern.run("x")
    loser.go.set()
    await runs_over()
    ((reply),) = got
    assert (reply.text, reply.late, reply.recipient) == ("late", True, "held")


async def test_late_replies_are_dropped_without_a_record(system, held, runs_over, log):
    loser = held("late")
    pattern = Broadcast(
        [loser, lambda p: "quick"],
        texts,
        until=First(1),
        losers="finish",
        late="drop",
        system=system,
    )
    async with run(log=log, system=system):
        await pattern.run("x")
    loser.go.set()
    await runs_over()
    assert await log.query("late_reply") == []


async def test_a_late_failure_and_a_failing_on_late_are_on_record(
    system, held, runs_over, log, recorded
):
    def refuses(reply):
        raise ValueError("no thanks")

    go = asyncio.Event()

    async def fails_late(prompt):
        await go.wait()
        raise ModelUnavailable("m", "down")

    loser = held("late")
    pattern = Broadcast(
        {"loser": loser, "broken": fails_late, "quick": lambda p: "quick"},
        texts,
        until=First(1),
        losers="finish",
        late="deliver",
        on_late=refuses,
        system=system,
    )
    async with run(log=log, system=system):
        await pattern.run("x")
    loser.go.set()
    go.set()
    await runs_over()
    errors = {record["error"] for record in await recorded("late_failure")}
    assert errors == {"ValueError: no thanks", "ModelUnavailable: m: down"}


async def test_the_deadline_ends_losers_that_may_finish(system, held, runs_over):
    loser = held()
    pattern = Broadcast(
        [loser, lambda p: "quick"], texts, until=First(1), losers="finish", system=system
    )
    assert (await pattern.run("x", deadline=0.2)).text == "quick"
    await runs_over()
    assert loser.ends == {"cancelled": 1}


# -- who is asked, and when ----------------------------------------------------------------------


async def test_recipients_may_be_computed_from_the_input(system):
    def plan(prompt):
        return {word: (lambda p, word=word: word.upper()) for word in prompt.split()}

    result = await Broadcast(plan, texts, system=system).run("one two three")
    assert result.text == "ONE,TWO,THREE"
    nobody = await Broadcast(plan, texts, system=system).run("")
    assert (nobody.status, nobody.reason) == ("failed", "fatal")


async def test_a_hedge_asks_the_next_one_only_if_the_first_takes_too_long(system, held, scripted):
    spare = scripted("spare")
    pattern = Broadcast([lambda p: "first", spare], texts, until=First(1), hedge=30, system=system)
    result = await pattern.run("x")
    assert (result.text, spare.prompts) == ("first", [])

    slow = held()
    hedged = Broadcast([slow, spare], texts, until=First(1), hedge=0.02, system=system)
    assert (await hedged.run("x")).text == "spare"
    await slow.ended.wait()


async def test_a_hedge_asks_the_next_one_at_once_after_a_failure(system):
    pattern = Broadcast([fails, lambda p: "b"], texts, until=First(1), hedge=30, system=system)
    assert (await pattern.run("x")).text == "b"


async def test_a_hedged_recipient_works_in_the_context_of_the_run(system, log, recorded):
    async with run(log=log, system=system, run_id="hedged"):
        inner = Broadcast([lambda p: "b"], join())
        pattern = Broadcast([fails, inner], texts, until=First(1), hedge=30, system=system)
        assert (await pattern.run("x")).replies[0].reply.run_id == "hedged"


# -- aggregators ---------------------------------------------------------------------------------


async def test_an_agent_gets_the_replies_in_its_prompt_and_is_in_the_cost(system, paid, scripted):
    judge = scripted(paid("verdict", "0.5"))
    pattern = Broadcast(
        {"a": lambda p: paid("A", "0.1"), "b": lambda p: "B"},
        Pipeline([Stage("judge", judge)]),
        system=system,
    )
    result = await pattern.run("which?")
    assert (result.text, result.cost_usd) == ("verdict", Decimal("0.6"))
    (prompt,) = judge.prompts
    assert prompt.index("which?") < prompt.index("A") < prompt.index("B")


async def test_an_aggregator_that_fails_leaves_the_replies(system, paid):
    async def broken(replies):
        raise ValueError("no idea")

    result = await Broadcast([lambda p: paid("A", "0.1")], broken, system=system).run("x")
    assert (result.status, result.reason) == ("failed", "fatal")
    assert (result.replies[0].text, result.cost_usd) == ("A", Decimal("0.1"))


async def test_a_condition_that_raises_closes_with_what_is_there(system):
    def broken(replies):
        raise KeyError("x")

    result = await Broadcast([lambda p: "A"], join(), until=When(broken), system=system).run("x")
    assert (result.text, result.status, result.closed) == ("A", "partial", "condition_failed")


def given(*words):
    from actors import Reply

    return [
        GivenReply(recipient=str(i), position=i, text=word, reply=Reply(word))
        for i, word in enumerate(words)
    ]


@pytest.mark.parametrize(
    ("words", "winner"),
    [
        (("yes", "no", "Yes."), "yes"),
        (("a", "b"), "a"),
        (("b", "a", "a", "b"), "b"),
        (("x  y", "z", "X y!"), "x  y"),
    ],
)
def test_a_vote_goes_to_the_most_and_a_tie_to_the_first(words, winner):
    assert vote()(given(*words)).text == winner


def test_a_vote_may_compare_by_a_key():
    assert vote(lambda reply: len(reply.text))(given("aa", "b", "c")).text == "b"


def test_join_keeps_the_order():
    assert join(" / ")(given("a", "b", "c")) == "a / b / c"


async def test_the_winner_of_a_vote_is_not_paid_twice(system, paid):
    team = [lambda p: paid("yes", "0.1"), lambda p: paid("yes", "0.1")]
    result = await Broadcast(team, vote(), system=system).run("x")
    assert (result.output, result.text, result.cost_usd) == ("yes", "yes", Decimal("0.2"))


# -- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"agents": []},
        {"agents": "local"},
        {"agents": 3},
        {"until": 3},
        {"until": Quorum(2)},
        {"timeout": 0},
        {"hedge": -1},
        {"losers": "kill"},
        {"late": "ignore"},
        {"late": "deliver"},
        {"on_late": print},
        {"aggregate": 3},
    ],
)
def test_options_that_cannot_work_are_refused(options):
    given = {"agents": [str], "aggregate": join(), "until": All()} | options
    with pytest.raises(InvalidOption):
        Broadcast(**given)


async def test_the_gather_is_an_actor_below_the_run(system):
    paths = []
    subscription = system.events.subscribe(lambda event: paths.append(event.path), ActorStarted)
    await Broadcast([lambda p: "A"], join(), name="angles", system=system).run("x")
    subscription.cancel()
    assert any(p.startswith("/angles:") and p.endswith("/gather") for p in paths)
