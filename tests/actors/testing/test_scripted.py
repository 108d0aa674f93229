"""The model that follows a script, and the one with faults."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal

import msgspec
import pytest

from actors import (
    Agent,
    ContextWindowExceeded,
    InvalidOption,
    Message,
    ModelRateLimited,
    ModelTimeout,
    ModelUnavailable,
    Reply,
    UnusableReply,
    Usage,
    run,
)
from actors.agents.models import Model
from actors.testing import FaultyModel, ScriptedModel, ScriptedReply, UnexpectedCall, UnusedReplies
from patterns import Fallback

SCHEMA = {"type": "object"}


def ask(model, prompt="hello", *, schema=None, timeout=None, max_tokens=50):
    return model.complete(
        [Message("user", prompt)], max_tokens=max_tokens, schema=schema, timeout=timeout
    )


class Colour(msgspec.Struct):
    name: str


async def test_replies_are_given_in_the_order_of_the_script():
    with ScriptedModel(["one", "two"]) as model:
        assert isinstance(model, Model)
        assert [(await ask(model)).text for _ in range(2)] == ["one", "two"]


async def test_a_matcher_chooses_the_reply_whatever_the_order_of_calls():
    script = [
        ("weather", "sunny"),
        (re.compile(r"\d+ \+ \d+"), "42"),
        (lambda call: call.max_tokens == 7, "short"),
        "anything",
    ]
    with ScriptedModel(script) as model:
        assert (await ask(model, "now what", max_tokens=7)).text == "short"
        assert (await ask(model, "what is 17 + 25?")).text == "42"
        assert (await ask(model, "the weather?")).text == "sunny"
        assert (await ask(model, "the weather?")).text == "anything"


async def test_a_matcher_sees_the_instructions_too():
    model = ScriptedModel([("You are terse", "ok")])
    messages = [Message("system", "You are terse."), Message("user", "hello")]
    assert (await model.complete(messages, max_tokens=5)).text == "ok"


async def test_an_unexpected_call_fails_with_what_was_asked_and_what_is_left():
    model = ScriptedModel([("weather", "sunny")])
    with pytest.raises(UnexpectedCall) as caught:
        await ask(model, "the time?")
    assert caught.value.prompt == "the time?"
    assert "the time?" in str(caught.value)
    assert "to 'weather': 'sunny'" in str(caught.value)


async def test_an_unexpected_call_that_a_pattern_swallowed_comes_out_at_the_end(system):
    model = ScriptedModel([])
    team = Fallback([Agent(model, name="first"), lambda _: "spare"], system=system)
    with pytest.raises(UnexpectedCall, match="by first"), model:
        try:
            await team.run("hello")
        except UnexpectedCall:
            pytest.fail("the pattern was to swallow it")


async def test_replies_nobody_asked_for_fail_at_the_end_of_the_block():
    with pytest.raises(UnusedReplies, match="1 calls were made") as caught:  # noqa: SIM117
        with ScriptedModel(["one", "two", ScriptedReply("any", times=None)]) as model:
            await ask(model)
    assert caught.value.left == ("'two'",)


async def test_an_exception_in_the_block_is_not_hidden_by_unused_replies():
    with pytest.raises(ZeroDivisionError), ScriptedModel(["one"]):
        _ = 1 / 0


async def test_a_reply_may_be_for_several_calls_or_any_number():
    model = ScriptedModel([("a", ScriptedReply("twice", times=2)), ScriptedReply("x", times=None)])
    assert [(await ask(model, "a")).text for _ in range(4)] == ["twice", "twice", "x", "x"]
    model.verify()


async def test_a_structured_value_is_json_and_decoded_where_a_schema_is_asked_for():
    model = ScriptedModel([Colour("red"), {"name": "red"}])
    plain, decoded = await ask(model), await ask(model, schema=SCHEMA)
    assert plain.text == decoded.text == '{"name":"red"}'
    assert (plain.data, decoded.data) == (None, {"name": "red"})


@pytest.mark.parametrize(("text", "schema"), [("no json", SCHEMA), (" ", None)])
async def test_text_that_is_no_answer_fails_as_with_a_real_model(text, schema):
    model = ScriptedModel([ScriptedReply(text, cost_usd="0.5")])
    with pytest.raises(UnusableReply) as caught:
        await ask(model, schema=schema)
    assert caught.value.reply.cost_usd == Decimal("0.5"), "it was paid for"


async def test_an_exception_is_raised_and_recorded():
    error = ModelRateLimited("scripted", "slow down", 3.0)
    model = ScriptedModel([error])
    with pytest.raises(ModelRateLimited):
        await ask(model)
    assert model.calls[0].error is error
    model.verify()


async def test_usage_and_price_are_those_of_the_script_or_the_same_each_time():
    model = ScriptedModel(
        [ScriptedReply("a", usage=Usage(3, 4), cost_usd="0.25"), "b", "b", Reply("r", Usage(1, 1))]
    )
    given, first, second, reply = [await ask(model) for _ in range(4)]
    assert (given.usage, given.cost_usd) == (Usage(3, 4), Decimal("0.25"))
    assert first.usage == second.usage
    assert first.usage.input_tokens > first.usage.output_tokens > 0
    assert first.cost_usd == 0
    assert reply.cost_usd is None


async def test_a_latency_beyond_the_timeout_is_a_timeout():
    model = ScriptedModel([ScriptedReply("late", latency=60)])
    with pytest.raises(ModelTimeout):
        await ask(model, timeout=0.001)


async def test_a_latency_lets_time_go_by():
    loop = asyncio.get_running_loop()
    began = loop.time()
    await ask(ScriptedModel([ScriptedReply("slow", latency=0.02)]))
    assert loop.time() - began >= 0.019


async def test_a_prompt_beyond_the_window_is_refused():
    model = ScriptedModel(["x"], context_window=60)
    with pytest.raises(ContextWindowExceeded):
        await ask(model, "word " * 100)


async def test_calls_say_who_asked_what_and_what_became_of_it(system):
    model = ScriptedModel(["fine"])
    await Agent(model, name="writer", instructions="Be kind.", system=system).run("hello")
    (call,) = model.calls
    assert call.agent == "writer"
    assert [message.role for message in call.messages] == ["system", "user"]
    assert (call.prompt, call.reply.text, call.error) == ("hello", "fine", None)


async def test_a_budget_admits_what_the_dearest_reply_costs(system):
    model = ScriptedModel([ScriptedReply("a", cost_usd="0.3"), ScriptedReply("b", cost_usd="0.1")])
    agent = Agent(model, name="writer", system=system)
    async with run(budget="0.35", system=system) as context:
        await agent.run("hello")
        assert (await context.budget.snapshot()).settled_usd == Decimal("0.3")


@pytest.mark.parametrize(
    "make",
    [
        lambda: ScriptedModel([None]),
        lambda: ScriptedModel([("a", "b", "c")]),
        lambda: ScriptedModel([(5, "reply")]),
        lambda: ScriptedModel([object()]),
        lambda: ScriptedReply("x", latency=-1),
        lambda: ScriptedReply("x", times=0),
        lambda: ScriptedReply("x", error=ValueError()),
        lambda: ScriptedReply("x", cost_usd="much"),
    ],
)
def test_a_script_that_makes_no_sense_is_refused(make):
    with pytest.raises(InvalidOption):
        make()


# -- faults ----------------------------------------------------------------------------------------


def steady(text='{"name": "red"}'):
    return ScriptedModel([ScriptedReply(text, times=None)])


async def outcomes(model, prompts, schema=None):
    found = {}
    for prompt in prompts:
        try:
            found[prompt] = (await ask(model, prompt, schema=schema)).text
        except (ModelUnavailable, UnusableReply) as error:
            found[prompt] = type(error).__name__
    return found


async def test_the_same_seed_gives_the_same_faults_in_whatever_order_is_asked():
    prompts = [f"prompt {number}" for number in range(40)]
    rates = {"failing": 0.3, "nonsense": 0.3}
    once = await outcomes(FaultyModel(steady(), seed=5, **rates), prompts)
    again = await outcomes(FaultyModel(steady(), seed=5, **rates), reversed(prompts))
    other = await outcomes(FaultyModel(steady(), seed=6, **rates), prompts)
    assert once == again
    assert once != other
    failed = sum(outcome == "ModelUnavailable" for outcome in once.values())
    assert 4 <= failed <= 20


async def test_a_retry_gets_a_chance_of_its_own():
    model = FaultyModel(steady(), seed=1, failing=0.5)
    found = set()
    for _ in range(20):
        found |= set((await outcomes(model, ["the same"])).values())
    assert len(found) == 2


async def test_faults_are_recorded_with_who_asked(system):
    model = FaultyModel(steady(), failing=1.0, error=ModelRateLimited)
    with pytest.raises(ModelRateLimited):
        await Agent(model, name="writer", system=system).run("hello")
    (fault,) = model.faults
    assert (fault.kind, fault.agent, fault.prompt) == ("failing", "writer", "hello")


async def test_nonsense_fits_no_schema_and_is_paid_for():
    model = FaultyModel(steady(), nonsense=1.0)
    prompts = [f"prompt {number}" for number in range(30)]
    unusable = 0
    for prompt in prompts:
        try:
            reply = await ask(model, prompt, schema=SCHEMA)
        except UnusableReply as error:
            unusable += 1
            reply = error.reply
        else:
            assert reply.data != {"name": "red"}
        assert reply.text != '{"name": "red"}'
        assert reply.usage.tokens > 0
    assert 0 < unusable < len(prompts), "some of it is JSON, some is not"


async def test_a_late_answer_is_a_timeout_of_the_caller():
    model = FaultyModel(steady(), late=1.0)
    with pytest.raises(ModelTimeout):
        await ask(model, timeout=0.001)
    assert model.faults[0].kind == "late"
    with pytest.raises(ModelTimeout):
        await ask(model, timeout=0)


async def test_a_slow_model_takes_its_seconds_from_the_callers_timeout():
    with pytest.raises(ModelTimeout):
        await ask(FaultyModel(steady(), slow=(1.0, 60)), timeout=0.001)
    inner = steady()
    assert (await ask(FaultyModel(inner, slow=(1.0, (0.001, 0.002))), timeout=5)).text
    assert 4.9 < inner.calls[0].timeout < 5


async def test_without_rates_it_is_the_model_behind_it():
    inner = steady("fine")
    model = FaultyModel(inner)
    assert (model.name, model.context_window) == (inner.name, None)
    assert model.count_tokens("some words") == inner.count_tokens("some words")
    assert model.most_usd(1, 1) == 0
    assert (await ask(model)).text == "fine"
    assert (model.faults, model.times) == ((), 0)


async def test_one_share_does_not_change_whom_another_hits():
    prompts = [f"prompt {number}" for number in range(40)]
    alone = await outcomes(FaultyModel(steady(), seed=3, failing=0.3), prompts)
    beside = await outcomes(FaultyModel(steady(), seed=3, failing=0.3, nonsense=0.5), prompts)

    def failed(found):
        return {prompt for prompt, outcome in found.items() if outcome == "ModelUnavailable"}

    assert failed(alone) == failed(beside) != set()
    assert alone != beside


async def test_agents_that_ask_the_same_do_not_take_each_others_faults(system):
    async def failing(names):
        model = FaultyModel(steady(), seed=1, failing=0.5)
        failed = set()
        for name in names:
            try:
                await Agent(model, name=name, system=system).run("the same")
            except ModelUnavailable:
                failed.add(name)
        assert failed == {fault.agent for fault in model.faults}
        return failed

    names = [f"agent-{number}" for number in range(20)]
    once = await failing(names)
    assert once == await failing(reversed(names))
    assert 0 < len(once) < 20


async def test_faults_are_told_as_they_happen_until_they_are_stopped():
    told = []
    model = FaultyModel(steady(), slow=(1.0, 0.001), nonsense=1.0, on_fault=told.append)
    await outcomes(model, ["hello"])
    assert told == list(model.faults)
    assert [(fault.kind, fault.seconds) for fault in told] == [("slow", 0.001), ("nonsense", None)]
    model.stop()
    assert (await ask(model)).text == '{"name": "red"}'
    assert (len(told), model.times) == (2, 2)


def test_a_model_without_a_worst_price_does_not_get_one():
    class Bare:
        name, context_window = "bare", None

        async def complete(self, messages, **_):
            return Reply("x")

    assert not hasattr(FaultyModel(Bare()), "most_usd")


@pytest.mark.parametrize(
    "options",
    [
        {"failing": 1.5},
        {"nonsense": -0.1},
        {"late": True},
        {"slow": 0.5},
        {"slow": (2, 1)},
        {"slow": (0.5, -1)},
        {"slow": (0.5, (2, 1))},
        {"error": ValueError},
        {"on_fault": "print"},
    ],
)
def test_faults_that_make_no_sense_are_refused(options):
    with pytest.raises(InvalidOption):
        FaultyModel(steady(), **options)
