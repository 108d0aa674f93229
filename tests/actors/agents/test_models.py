"""Specifications, replies and token estimates."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from actors._errors import InvalidOption, UnknownModel
from actors.agents._local import LocalModel
from actors.agents._openai import OpenAIModel
from actors.agents.models import (
    Message,
    Model,
    Reply,
    Usage,
    estimate_tokens,
    prompt_tokens,
    resolve_model,
)

DATA = Path(__file__).parents[2] / "data"


def test_local_names_the_model_of_the_wheel():
    model = resolve_model("local")
    assert isinstance(model, LocalModel)
    assert isinstance(model, Model)
    assert model.name == "local:SmolLM2-135M-Instruct.Q4_1"
    assert model.context_window == 4096


def test_an_openai_specification_may_carry_its_endpoint():
    model = resolve_model("openai:org/some@name@http://127.0.0.1:1/v1")
    assert isinstance(model, OpenAIModel)
    assert isinstance(model, Model)
    assert model.name == "openai:org/some@name"
    assert "127.0.0.1:1/v1" in repr(model)


def test_the_endpoint_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:2/v1")
    assert "127.0.0.1:2/v1" in repr(resolve_model("openai:x"))
    assert "127.0.0.1:3/v1" in repr(resolve_model("openai:x", base_url="http://127.0.0.1:3/v1"))


@pytest.mark.parametrize("spec", ["", "lokal", "local:", "openai", "openai:", "gpt-4o", "x:y"])
def test_an_unknown_specification_is_told_what_is_possible(spec):
    with pytest.raises(UnknownModel) as caught:
        resolve_model(spec)
    assert "'local'" in str(caught.value)
    assert "openai:NAME" in str(caught.value)


def test_two_endpoints_for_one_model_are_refused():
    with pytest.raises(InvalidOption, match="base_url"):
        resolve_model("openai:x@http://127.0.0.1:1/v1", base_url="http://127.0.0.1:2/v1")
    with pytest.raises(InvalidOption, match="base_url"):
        resolve_model("local", base_url="http://127.0.0.1:2/v1")


def test_a_reply_adds_up_its_tokens_and_does_not_change():
    reply = Reply("hello", Usage(10, 5, cached_tokens=4), Decimal("0.1"), "m", "stop")
    assert reply.tokens == 15
    assert not reply.degraded
    with pytest.raises(AttributeError):
        reply.text = "other"
    assert msgspec.json.decode(msgspec.json.encode(reply), type=Reply) == reply


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("", 1.0),
        ((DATA / "article.md").read_text(), 1.4),
        ((DATA / "inventory.py").read_text(), 1.8),
        ("Total: 12,345.67 USD on 2024-10-31 (+3.5 %)", 1.8),
        ("internationalisation of misunderstandings notwithstanding", 2.5),
        ("Größe, Übergang, naïve café", 2.0),
        ("Мы видим маяк на скале", 2.0),
    ],
)
@pytest.mark.slow
def test_an_estimate_is_above_the_real_count_but_not_far(local_model, text, most):
    exact = local_model.count_tokens(text)
    assert exact <= estimate_tokens(text) <= max(exact * most, exact + 2)


@pytest.mark.slow
async def test_the_tokens_to_reserve_for_a_prompt_cover_its_template(local_model):
    for messages in (
        [Message("user", "Hi")],
        [Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello.")],
    ):
        reply = await local_model.complete(messages, max_tokens=1)
        assert reply.usage.input_tokens <= prompt_tokens(local_model, messages)
