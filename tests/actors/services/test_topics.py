from __future__ import annotations

import itertools
import re

import pytest

from actors._errors import InvalidOption
from actors.services._topics import matches, pattern, topic


@pytest.mark.parametrize("text", ["a:b:c", "a.b.c", "a/b/c", "a:b.c"])
def test_the_three_dividers_mean_the_same(text):
    assert topic(text) == ("a", "b", "c")
    assert pattern(text) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "a:b", False),
        ("a:*", "a:b", True),
        ("a:*", "a", False),
        ("a:*", "a:b:c", False),
        ("*", "a", True),
        ("a:**", "a", True),
        ("a:**", "a:b:c", True),
        ("**", "a:b", True),
        ("**:c", "a:b:c", True),
        ("**:c", "c", True),
        ("a:**:c", "a:c", True),
        ("a:**:c", "a:b:b:c", True),
        ("a:**:c", "a:b:d", False),
        ("a:**:b:**:c", "a:b:b:c:c", True),
        ("*:**", "a", True),
        ("**:*:*", "a", False),
    ],
)
def test_a_pattern_covers_what_it_says(wanted, given, expected):
    assert matches(pattern(wanted), topic(given)) is expected


def test_matching_agrees_with_a_regular_expression_on_every_small_case():
    for length in range(1, 5):
        for wanted in itertools.product(("a", "b", "*", "**"), repeat=length):
            parts = {"*": "[^;]+;", "**": "(?:[^;]+;)*"}
            expression = re.compile("".join(parts.get(w, f"{w};") for w in wanted))
            for size in range(1, 5):
                for given in itertools.product("ab", repeat=size):
                    text = "".join(f"{g};" for g in given)
                    assert matches(wanted, given) is bool(expression.fullmatch(text))


@pytest.mark.parametrize("text", ["", ":", "a:", ":a", "a::b", "a./b", None, 3])
def test_empty_segments_are_refused(text):
    with pytest.raises(InvalidOption):
        topic(text)
    with pytest.raises(InvalidOption):
        pattern(text)


def test_wildcards_stand_alone_and_in_patterns_only():
    for text in ("a*", "a:*b", "***"):
        with pytest.raises(InvalidOption):
            pattern(text)
    for text in ("*", "a:**"):
        with pytest.raises(InvalidOption):
            topic(text)
