"""The pure parts of the command: which desk, what a text claims, who did what."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest

from patterns._cli.checking import check, tidy, without_items
from patterns._cli.inputs import Assignment, Document
from patterns._cli.sorting import PHRASES, by_rule, desks_for, phrase_schema
from patterns._cli.tree import Team
from patterns._cli.view import count, money, seconds

PROSE = Document("a.md", "a.md", "text", 4, "")
SOURCE = Document("a.py", "a.py", "code", 4, "")


@pytest.mark.parametrize(
    ("request_text", "documents", "desk"),
    [
        ("Summarize this article for a newcomer", (PROSE,), "summarize"),
        ("tl;dr please", (PROSE,), "summarize"),
        ("What are the key takeaways?", (PROSE,), "summarize"),
        ("Write a review of this article", (PROSE,), "summarize"),
        ("Give me the gist of this module", (SOURCE,), "summarize"),
        ("Find the bugs", (SOURCE,), "code_review"),
        ("Is this safe to use from several threads?", (SOURCE,), "code_review"),
        ("Review inventory.py", (), "code_review"),
        ("Why do keepers draw curtains?", (PROSE,), "research"),
        ("The history of lighthouses", (), "research"),
    ],
)
def test_the_rule_knows_the_desk_of_a_plain_request(request_text, documents, desk):
    assert by_rule(Assignment(request_text, documents)) == desk


def test_only_desks_that_fit_the_inputs_are_on_the_ballot():
    assert desks_for(Assignment("Sum up", (PROSE,))) == ("summarize", "research")
    assert desks_for(Assignment("Sum up", (SOURCE,))) == ("code_review", "summarize", "research")
    assert desks_for(Assignment("Why?")) == ("research",)
    allowed = phrase_schema(("research",))["properties"]["request"]["enum"]
    assert allowed == list(PHRASES["research"])


def test_every_phrase_belongs_to_one_desk():
    phrases = [phrase for some in PHRASES.values() for phrase in some]
    assert len(phrases) == len(set(phrases))


def test_tidying_drops_repetitions_and_the_torso_and_nothing_else():
    text = "1. A lens bends the light.\n2. A lens bends the light.\n\nIt was lit in 1823. It was th"
    assert tidy(text, cut_off=True) == "1. A lens bends the light.\n\nIt was lit in 1823."
    assert tidy(text).endswith("It was th")
    assert tidy("All but a torso", cut_off=True) == "All but a torso …"


def test_a_claim_whose_names_and_numbers_have_no_ground_is_struck_out():
    source = "Fresnel was born in 1788. Buffon had the idea in 1748."
    text = "He was born in 1788. A man named Newton had it in 1748. It was the idea of Buffon."
    found = check(text, source)
    assert found.text == "He was born in 1788. It was the idea of Buffon."
    assert found.dropped == (("A man named Newton had it in 1748.", ("Newton",)),)


def test_a_text_that_would_lose_most_of_itself_is_kept_whole():
    german = "Die Linse von Fresnel bündelt das Licht. Sie steht auf dem Turm."
    assert check(german, "The lens of Fresnel").text == german


def test_the_marks_of_a_list_are_no_claims():
    text = "The facts are:\n\n1. It bends light.\n2. It is thin."
    assert check(text, "light").dropped == ()
    assert without_items(text) == "It bends light. It is thin."


def span(name, number, parent=None, end=0, **attributes):
    return SimpleNamespace(
        name=name, span_id=number, parent_id=parent, start=1, end=end, status="ok",
        attributes=attributes,
    )  # fmt: skip


def test_the_team_adds_up_what_its_members_do():
    team = Team()
    usage = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5}
    team(span("invoke_workflow newsroom", "a"))
    for agent, chat in (("b", "c"), ("d", "e")):
        team(span("invoke_agent reader", agent, "a"))
        team(span("chat m", chat, agent))
        team(span("chat m", chat, agent, 2, **usage, **{"callboard.cost_usd": Decimal("0.1")}))
        team(span("invoke_agent reader", agent, "a", 2))
    newsroom, reader = team.members(10**9)
    assert (newsroom.state, reader.state) == ("working", "done")
    assert (reader.calls, reader.tokens, reader.cost_usd) == (2, 30, Decimal("0.2"))
    assert (newsroom.tokens, newsroom.depth, reader.depth) == (30, 0, 1)
    team(span("chat m", "f", "a"))
    team(span("chat m", "f", "a", 2, **usage))
    assert team.members(10**9)[0].cost_usd is None, "one price is unknown"
    assert not team.quiet


def test_figures_are_written_for_people():
    assert [seconds(0.42), seconds(59.94), seconds(125)] == ["0.4 s", "59.9 s", "2 min 05 s"]
    assert count(1234567) == "1\u202f234\u202f567"
    amounts = [money(None), money(Decimal(0)), money(Decimal("0.00012")), money(Decimal("2.5"))]
    assert amounts == ["unknown", "$0", "$0.00012", "$2.50"]
