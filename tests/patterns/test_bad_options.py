"""Patterns refuse options that cannot work when they are made, and say what would be right."""

from __future__ import annotations

import math

import pytest

from actors import InvalidOption
from patterns import (
    Broadcast,
    Choice,
    CircuitBreaker,
    Degrade,
    EmbeddingClassifier,
    Fallback,
    Label,
    ModelClassifier,
    Pipeline,
    Retry,
    Router,
    Stage,
    Supervisor,
    Verdict,
    When,
    join,
    vote,
)

NAN = math.nan


def agent(prompt):
    return "answer"


def router(**options):
    return Router(
        **{"routes": {"a": agent}, "classify": lambda _: "a", "fallback": agent, **options}
    )


def pipeline(**options):
    return Pipeline([Stage(**{"name": "a", "agent": agent, **options})])


def broadcast(**options):
    return Broadcast(**{"agents": [agent], "aggregate": join(), **options})


def supervisor(**options):
    return Supervisor(**{"worker": agent, "reviewer": agent, **options})


OPTIONS = {
    "name": (lambda: router(name=1), "name=1: expected a str that is not empty, or None"),
    "system": (lambda: router(system=1), "system=1: expected an ActorSystem, or None"),
    "routes": (lambda: router(routes=[agent]), "expected a mapping of at least one label"),
    "routes by number": (lambda: router(routes={1: agent}), "routes=1: expected labels that"),
    "routes by None": (lambda: router(routes={None: agent}), "expected labels that are non-empty"),
    "min_confidence": (lambda: router(min_confidence="1"), "='1': expected a number from 0 to 1"),
    "min_confidence nan": (lambda: router(min_confidence=NAN), "expected a number from 0 to 1"),
    "min_margin": (lambda: router(min_margin=[]), r"min_margin=\[\]: expected a number from 0"),
    "stages": (lambda: Pipeline(1), "stages=1: expected a list of at least one Stage"),
    "a stage": (lambda: Pipeline(Stage("a", agent)), "expected a list of at least one Stage"),
    "no stages": (lambda: Pipeline(iter(())), "expected a list of at least one Stage"),
    "Stage.name": (lambda: pipeline(name=1), "Stage.name=1: expected a str"),
    "Stage.name []": (lambda: pipeline(name=[]), r"Stage.name=\[\]: expected a str"),
    "Stage.prompt": (lambda: pipeline(prompt=1), "Stage.prompt=1: expected a template"),
    "Stage.when": (lambda: pipeline(when=1), "Stage.when=1: expected a callable of the State"),
    "Stage.timeout": (lambda: pipeline(timeout="1"), "deadline='1': expected a number of seconds"),
    "agents": (lambda: broadcast(agents={1: agent}), "agents=1: expected names that are non-empty"),
    "losers": (lambda: broadcast(losers=[]), r"losers=\[\]: expected 'cancel' or 'finish'"),
    "late": (lambda: broadcast(late={}), "late={}: expected 'record', 'deliver' or 'drop'"),
    "on_late": (lambda: broadcast(late="deliver", on_late=1), "on_late=1: expected a callable"),
    "When": (lambda: When(1), "When=1: expected a function of the replies so far"),
    "join": (lambda: join(1), "separator=1: expected a str"),
    "vote": (lambda: vote("x"), "key='x': expected a function of a GivenReply, or None"),
    "accept": (lambda: supervisor(accept="9"), "accept='9': expected a score, a function"),
    "accept True": (lambda: supervisor(accept=True), "accept=True: expected a score"),
    "review": (lambda: supervisor(review=1), "review=1: expected a template, which is a str"),
    "revise": (lambda: supervisor(revise=None), "revise=None: expected a template"),
    "Verdict": (lambda: Verdict("approve"), "decision='approve': expected 'accept', 'revise'"),
    "Verdict score": (lambda: Verdict("accept", score="9"), "score='9': expected a number"),
    "Retry on": (lambda: Retry(agent, on=1), "on=1: expected kinds among"),
    "Retry on [[]]": (lambda: Retry(agent, on=[[]]), r"on=\[\[\]\]: expected kinds among"),
    "Retry max_wait": (lambda: Retry(agent, max_wait="1"), "max_wait='1': expected seconds"),
    "Retry max_wait True": (lambda: Retry(agent, max_wait=True), "expected seconds, 0 or more"),
    "Fallback": (lambda: Fallback(1), "agents=1: expected a list of at least one agent"),
    "Degrade": (lambda: Degrade(agent, agent, below_usd="1"), "below_usd='1': expected an amount"),
    "CircuitBreaker": (
        lambda: CircuitBreaker(agent, reset_after="1"),
        "reset_after='1': expected seconds above zero",
    ),
    "Label": (lambda: Label(1), "description=1: expected one line of text"),
    "Label examples": (lambda: Label("x", "one"), "examples='one': expected a tuple of texts"),
    "labels": (lambda: ModelClassifier(agent, 1), "labels=1: expected a list or mapping"),
    "labels by number": (lambda: ModelClassifier(agent, [1, 2]), "labels=1: expected labels that"),
    "max_chars": (lambda: ModelClassifier(agent, ["a", "b"], max_chars="9"), "max_chars='9'"),
    "examples": (lambda: EmbeddingClassifier(agent, 1), "examples=1: expected labels with at"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_a_pattern_that_cannot_work_is_named_with_what_would_be_right(name):
    make, said = OPTIONS[name]
    with pytest.raises(InvalidOption, match=said):
        make()


@pytest.mark.parametrize(
    "choice", [Choice(1), Choice("a", "sure"), Choice("a", True), Choice("a", NAN)], ids=repr
)
async def test_a_choice_that_makes_no_sense_is_a_failure_of_the_classifier(system, choice):
    router = Router({"a": agent}, lambda _: choice, fallback=agent, system=system)
    result = await router.run("x")
    assert (result.why, result.output) == ("classifier_error", "answer")


async def test_a_reviewer_that_says_no_known_word_has_failed(system):
    result = await Supervisor(agent, lambda _: Verdict("fine"), system=system).run("x")
    assert result.reason == "reviewer_failed"
    assert "expected 'accept', 'revise' or 'reject'" in result.error
