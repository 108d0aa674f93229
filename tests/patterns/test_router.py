"""Router: the route taken, every way into the fallback, and the classifiers it ships with."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal

import pytest

from actors import BudgetPool, DeadlineExceeded, InvalidOption, ModelUnavailable, Reply, Usage, run
from patterns import Choice, EmbeddingClassifier, Label, ModelClassifier, Pipeline, Router, Stage
from patterns._choice import as_choice, choose

LABELS = ("code", "prose")


# -- the pure decision ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (Choice("code"), "confident"),
        (Choice("code", 0.8), "confident"),
        (Choice("code", 0.79), "low_confidence"),
        (Choice("poem", 1.0), "unknown_label"),
        (Choice("code", 0.9, (("prose", 0.85),)), "thin_margin"),
        (Choice("code", 0.9, (("prose", 0.5),)), "confident"),
        (Choice("code", 0.9, (("code", 0.9),)), "confident"),
    ],
)
def test_a_choice_is_followed_or_doubted(choice, why):
    assert choose(choice, LABELS, 0.8, 0.1) == why


@pytest.mark.parametrize("confidence", [math.nan, -0.1, 1.1, math.inf])
def test_a_confidence_that_is_none_is_a_classifier_error(confidence):
    with pytest.raises(ValueError, match="confidence"):
        as_choice(Choice("code", confidence))
    with pytest.raises(ValueError, match="confidence"):
        as_choice(Choice("code", 1.0, (("prose", confidence),)))


def test_a_label_may_have_space_around_it_and_anything_else_is_refused():
    assert as_choice(" code\n") == Choice("code")
    with pytest.raises(ValueError, match="label"):
        as_choice(7)


# -- runs ----------------------------------------------------------------------------------------


def team(classify, system=None, **options):
    routes = {"code": lambda prompt: "code: " + prompt, "prose": lambda prompt: "prose: " + prompt}
    options.setdefault("fallback", lambda prompt: "fallback: " + prompt)
    return Router(routes, classify, system=system, **options)


async def test_the_chosen_agent_gets_the_input_and_the_route_is_recorded(system, log, recorded):
    async with run(log=log, system=system):
        result = await team(lambda prompt: Choice("code", 0.9, (("prose", 0.1),)), system).run("x")
    assert (result.text, result.route, result.why) == ("code: x", "code", "confident")
    assert (result.confidence, result.alternatives) == (0.9, (("prose", 0.1),))
    (record,) = await recorded("route")
    assert record["route"] == "code"
    assert record["margin"] == pytest.approx(0.8)


async def test_an_async_classifier_and_an_agent_as_classifier_work(system):
    async def classify(prompt):
        await asyncio.sleep(0)
        return "prose"

    assert (await team(classify, system).run("x")).route == "prose"
    agent = Pipeline([Stage("decide", lambda prompt: "code\n")])
    assert (await team(agent, system).run("x")).route == "code"


def fails(prompt):
    raise ModelUnavailable("m", "down")


@pytest.mark.parametrize(
    ("classify", "why"),
    [
        (fails, "classifier_error"),
        (lambda prompt: 7, "classifier_error"),
        (lambda prompt: "poem", "unknown_label"),
        (lambda prompt: Choice("code", 0.5), "low_confidence"),
        (lambda prompt: Choice("code", 0.9, (("prose", 0.88),)), "thin_margin"),
    ],
)
async def test_every_doubt_goes_to_the_fallback_with_its_own_reason(
    system, log, recorded, classify, why
):
    async with run(log=log, system=system):
        result = await team(classify, system, min_margin=0.1).run("x")
    assert (result.text, result.route, result.why) == ("fallback: x", "fallback", why)
    assert result.status == "done"
    (record,) = await recorded("route")
    assert (record["route"], record["why"]) == ("fallback", why)
    assert (record["error"] is not None) == (why == "classifier_error")


async def test_the_fallback_may_be_one_of_the_routes(system):
    result = await team(lambda prompt: "poem", system, fallback="prose").run("x")
    assert (result.text, result.route, result.why) == ("prose: x", "prose", "unknown_label")


async def test_a_classifier_that_times_out_by_itself_is_a_doubt_not_the_end(system):
    def times_out(prompt):
        raise DeadlineExceeded("the classifier")

    result = await team(times_out, system).run("x")
    assert (result.route, result.why) == ("fallback", "classifier_error")


async def test_what_the_classifier_cost_is_in_the_result(system, paid):
    agent = Pipeline([Stage("decide", lambda prompt: paid("code", "0.5", 3))])
    result = await team(agent, system).run("x")
    assert (result.cost_usd, result.tokens) == (Decimal("0.5"), 3)
    direct = await team(lambda prompt: Choice("code", reply=paid("", "0.25")), system).run("x")
    assert direct.cost_usd == Decimal("0.25")


async def test_a_failing_agent_fails_the_run_and_keeps_the_route(system):
    result = await Router({"a": fails}, lambda prompt: "a", fallback="a", system=system).run("x")
    assert (result.status, result.reason, result.route) == ("failed", "transient", "a")
    assert "down" in result.error


async def test_a_blocking_classifier_does_not_hold_up_the_loop(system):
    loop = asyncio.get_running_loop()

    def classify(prompt):
        # Only answered while the loop runs on.
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "code"), loop).result(timeout=5)

    assert (await team(classify, system).run("x")).route == "code"


@pytest.mark.parametrize(
    "options",
    [
        {"min_confidence": 1.5},
        {"min_margin": math.nan},
        {"min_confidence": True},
        {"classify": 3},
        {"routes": {}},
        {"fallback": 5},
    ],
)
def test_options_that_cannot_work_are_refused(options):
    given = {"routes": {"a": str}, "classify": str, "fallback": "a"} | options
    with pytest.raises(InvalidOption):
        Router(**given)


# -- classifiers ---------------------------------------------------------------------------------


class LabelModel:
    """A model that always answers the same, and remembers what it was asked."""

    name = "label-model"
    context_window = None

    def __init__(self, text, data):
        self.reply = Reply(text, Usage(5, 2), Decimal("0.001"), self.name, data=data)
        self.calls = []

    def count_tokens(self, text):
        return len(text)

    def most_usd(self, prompt, answer):
        return Decimal("0.002")

    async def complete(self, messages, *, max_tokens, schema=None, timeout=None):
        self.calls.append((messages, schema))
        return self.reply


async def test_a_model_classifier_constrains_the_model_to_the_labels(system):
    model = LabelModel('{"label":"prose"}', {"label": "prose"})
    labels = {"code": "source code", "prose": Label("essays", ("Write an essay",))}
    classify = ModelClassifier(model, labels, max_chars=4)
    pool = BudgetPool(usd=1, system=system)
    result = await team(classify, system).run("Essay on bees", budget=pool)
    assert (result.route, result.confidence) == ("prose", 1.0)
    assert result.text == "prose: Essay on bees"
    ((messages, schema),) = model.calls
    assert schema["properties"]["label"]["enum"] == ["code", "prose"]
    assert "essays" in messages[0].content
    assert 'Request: Write an essay\nAnswer: {"label":"prose"}' in messages[0].content
    assert messages[1].content == "Request: Essa\nAnswer:"
    assert result.cost_usd == Decimal("0.001")
    assert (await pool.snapshot()).settled_usd == Decimal("0.001")


@pytest.mark.slow
async def test_the_real_local_model_can_only_name_a_label(system, local_model):
    labels = {
        "code": Label("find bugs in source code", ("Review this function",)),
        "prose": Label("shorten a text", ("Summarize the article",)),
    }
    classify = ModelClassifier(local_model, labels)
    result = await team(classify, system).run("Is this function right? def f(x): return x")
    assert result.why == "confident"
    assert result.target in labels
    assert result.tokens > 0


@pytest.mark.parametrize(
    ("text", "data"), [("prose", None), ("[]", []), ('{"label": 3}', {"label": 3})]
)
async def test_a_model_that_answers_nonsense_is_a_classifier_error(system, text, data):
    classify = ModelClassifier(LabelModel(text, data), LABELS)
    assert (await team(classify, system).run("x")).why == "classifier_error"


def embed(texts):
    """Vectors by how often a text has the letters c and p."""
    return [(text.count("c"), text.count("p")) for text in texts]


async def test_an_embedding_classifier_takes_the_label_of_the_nearest_example(system):
    classify = EmbeddingClassifier(embed, {"code": ["ccc", "ccp"], "prose": ["ppp"]})
    result = await team(classify, system, min_confidence=0.5, min_margin=0.2).run("cc")
    assert (result.route, result.confidence) == ("code", 1.0)
    assert result.alternatives == (("prose", 0.0),)
    torn = await team(classify, system, min_confidence=0.5, min_margin=0.2).run("cpp")
    assert torn.why == "thin_margin"
    nothing = await team(classify, system, min_confidence=0.5).run("xyz")
    assert (nothing.why, nothing.confidence) == ("low_confidence", 0.0)


async def test_an_embedding_classifier_embeds_its_examples_once(system):
    calls = []

    async def counting(texts):
        calls.append(len(texts))
        return embed(texts)

    router = team(EmbeddingClassifier(counting, {"code": ["c"], "prose": ["p", "pp"]}), system)
    await router.run("c")
    await router.run("p")
    assert calls == [3, 1, 1]


@pytest.mark.parametrize(
    "broken",
    [
        lambda texts: [(1, 2)],
        lambda texts: [(math.nan, 1)] * len(texts),
        lambda texts: [tuple(range(1 + len(t))) for t in texts],
    ],
)
async def test_an_embedding_that_makes_no_sense_is_a_classifier_error(system, broken):
    classify = EmbeddingClassifier(broken, {"code": ["c"], "prose": ["pp"]})
    assert (await team(classify, system).run("ccc")).why == "classifier_error"


def test_classifiers_refuse_what_cannot_work():
    for labels in ((), ("one",), {"one": ""}):
        with pytest.raises(InvalidOption):
            ModelClassifier(LabelModel("", None), labels)
    with pytest.raises(InvalidOption):
        ModelClassifier(LabelModel("", None), LABELS, max_chars=0)
    for examples in ({}, {"a": []}, {"a": "text"}):
        with pytest.raises(InvalidOption):
            EmbeddingClassifier(embed, examples)
    with pytest.raises(InvalidOption):
        EmbeddingClassifier(3, {"a": ["b"]})
