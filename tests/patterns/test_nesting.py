"""Every pattern in every slot of every other, run and drawn."""

from __future__ import annotations

import itertools
import re

import pytest

import patterns
from patterns import (
    Broadcast,
    CircuitBreaker,
    Degrade,
    Fallback,
    Pipeline,
    Retry,
    Router,
    Stage,
    Supervisor,
    Use,
    join,
)


def echo(prompt):
    return "APPROVED " + (prompt if isinstance(prompt, str) else prompt.text)


LEAVES = {
    "agent": lambda: echo,
    "router": lambda: Router({"a": echo}, lambda p: "a", fallback="a"),
    "pipeline": lambda: Pipeline([Stage("only", echo)]),
    "broadcast": lambda: Broadcast([echo], join()),
    "supervisor": lambda: Supervisor(echo, lambda p: "APPROVED"),
    "retry": lambda: Retry(echo),
    "fallback": lambda: Fallback([echo]),
    "degrade": lambda: Degrade(echo, echo),
    "breaker": lambda: CircuitBreaker(echo),
}


def bad(prompt):
    raise RuntimeError("bad")


SLOTS = {
    "route": lambda a: Router({"a": a}, lambda p: "a", fallback="a"),
    "fallback": lambda a: Router({"a": bad}, lambda p: "b", fallback=a),
    "stage": lambda a: Pipeline([Stage("only", a)]),
    "use": lambda a: Pipeline([Stage("only", bad, on_error=Use(a))]),
    "recipient": lambda a: Broadcast([a], join()),
    "aggregate": lambda a: Broadcast([echo], a),
    "worker": lambda a: Supervisor(a, lambda p: "APPROVED"),
    "reviewer": lambda a: Supervisor(echo, a),
    "retried": Retry,
    "fallen": lambda a: Fallback([bad, a]),
    "degraded": lambda a: Degrade(bad, a),
    "broken": CircuitBreaker,
}


# A bare callable that aggregates is given the replies, not a prompt.
PAIRS = [pair for pair in itertools.product(SLOTS, LEAVES) if pair != ("aggregate", "agent")]


@pytest.mark.parametrize(("slot", "leaf"), PAIRS)
async def test_everything_fits_everywhere(system, runs_over, slot, leaf):
    pattern = SLOTS[slot](LEAVES[leaf]())
    pattern._system = system
    result = await pattern.run("x")
    assert (result.status, result.usable) == ("done", True)
    assert "x" in result.text
    await runs_over()


@pytest.mark.parametrize(("slot", "leaf"), PAIRS)
def test_everything_draws_itself_with_what_is_nested(slot, leaf):
    chart = SLOTS[slot](LEAVES[leaf]()).mermaid()
    assert chart.startswith("flowchart TD\n")
    assert chart.count("subgraph ") == len(re.findall(r"^\s*end$", chart, re.MULTILINE))
    assert chart.count("subgraph ") == (1 if leaf == "agent" or slot == "use" else 2)
    boxes = set(re.findall(r"^\s*(n\d+)[\[({]", chart, re.MULTILINE))
    arrows = re.findall(r"^\s*(n\d+) -\.?->(?:\|.*\|)? (n\d+)$", chart, re.MULTILINE)
    assert {end for arrow in arrows for end in arrow} <= boxes


def test_labels_are_escaped():
    chart = Pipeline([Stage('say "hi" & [go]', echo)], name="a\nb").mermaid()
    assert 'n2["say #quot;hi#quot; #amp; [go]"]' in chart
    assert 'n1["a b"]' in chart


def test_the_facade_lists_what_it_has():
    missing = [name for name in patterns.__all__ if not hasattr(patterns, name)]
    public = {
        name
        for name, value in vars(patterns).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("patterns.")
    }
    assert missing == []
    assert public <= set(patterns.__all__)
    assert patterns.__all__ == sorted(
        patterns.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n)
    )
