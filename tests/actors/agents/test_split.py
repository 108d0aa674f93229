"""Chunks fit, and nothing is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from actors._errors import InvalidOption
from actors.agents._split import split_text
from actors.agents.models import estimate_tokens

ARTICLE = (Path(__file__).parents[2] / "data" / "article.md").read_text()


def test_a_text_that_fits_stays_whole():
    assert split_text("one two", max_tokens=2, count_tokens=estimate_tokens) == ["one two"]


def test_an_empty_text_has_no_chunks():
    assert split_text("", max_tokens=5, count_tokens=estimate_tokens) == []


@pytest.mark.parametrize("max_tokens", [10, 50, 400, 1000])
def test_chunks_of_an_article_fit_and_join_to_the_article(max_tokens):
    chunks = split_text(ARTICLE, max_tokens=max_tokens, count_tokens=estimate_tokens)
    assert "".join(chunks) == ARTICLE
    assert all(chunks)
    assert max(map(estimate_tokens, chunks)) <= max_tokens
    assert len(chunks) <= 2.5 * estimate_tokens(ARTICLE) / max_tokens


@pytest.mark.slow
def test_the_models_own_tokenizer_can_do_the_counting(local_model):
    chunks = split_text(ARTICLE, max_tokens=600, count_tokens=local_model.count_tokens)
    assert "".join(chunks) == ARTICLE
    assert max(map(local_model.count_tokens, chunks)) <= 600
    assert len(chunks) <= 7


def test_a_chunk_ends_before_a_heading_where_one_is_near():
    chunks = split_text(ARTICLE, max_tokens=700, count_tokens=estimate_tokens)
    assert all(chunk.startswith("#") for chunk in chunks)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("aa bb cc\ndd ee ff\n\ngg hh ii jj", "aa bb cc\ndd ee ff\n\n"),
        ("aa bb cc dd\nee ff gg hh ii jj", "aa bb cc dd\n"),
        ("aa bb cc dd. ee ff gg hh ii", "aa bb cc dd. "),
        ("aa bb cc dd ee ff gg hh", "aa bb cc dd ee ff "),
        ("aabbccddeeffgghh", "aabbcc"),
    ],
    ids=["paragraph", "line", "sentence", "word", "character"],
)
def test_a_cut_falls_on_the_best_border_in_the_later_half(text, first):
    count = len if " " not in text else lambda part: len(part.split())
    assert split_text(text, max_tokens=6, count_tokens=count)[0] == first


@pytest.mark.parametrize("seed", range(20))
def test_no_text_loses_a_character(seed):
    rng = random.Random(seed)
    alphabet = [
        "word",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n",
        "# ",
        "é",
        "漢字",
        "🙂",
        ".",
        "\t",
        "x" * 50,
    ]
    text = "".join(rng.choices(alphabet, k=400))
    most = rng.randint(3, 60)
    chunks = split_text(text, max_tokens=most, count_tokens=estimate_tokens)
    assert "".join(chunks) == text
    assert max(map(estimate_tokens, chunks)) <= most


def test_a_long_text_is_not_counted_over_and_over():
    counted = 0

    def count(part: str) -> int:
        nonlocal counted
        counted += len(part)
        return estimate_tokens(part)

    text = ARTICLE * 20
    split_text(text, max_tokens=400, count_tokens=count)
    assert counted < 30 * len(text)


@pytest.mark.parametrize("most", [0, 1])
def test_a_ceiling_below_a_single_character_is_refused(most):
    with pytest.raises(InvalidOption, match="max_tokens"):
        split_text("漢", max_tokens=most, count_tokens=lambda text: 2 * len(text))
