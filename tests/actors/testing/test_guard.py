"""Real models are kept out of tests, whoever calls them."""

from __future__ import annotations

import contextlib

import pytest

from actors import Actor, Agent, Message, resolve_model
from actors.testing import RealModelBlocked, RecordedModel, ScriptedModel, block_real_models
from patterns import Fallback

HELLO = [Message("user", "hello")]


@pytest.fixture
def endpoint():
    # Nobody listens there: a call that passes fails otherwise.
    return resolve_model("openai:some-model", base_url="http://127.0.0.1:9/v1")


async def test_a_blocked_call_names_the_agent_and_how_to_allow_it(endpoint, system):
    agent = Agent(endpoint, name="writer", system=system)
    with block_real_models() as blocked, pytest.raises(RealModelBlocked) as caught:
        await agent.run("hello")
    assert (caught.value.agent, caught.value.model) == ("writer", "openai:some-model")
    assert "@pytest.mark.real_models" in str(caught.value)
    assert "ScriptedModel" in str(caught.value)
    assert blocked.errors == (caught.value,)


async def test_the_local_model_is_blocked_before_it_is_loaded(tmp_path):
    model = resolve_model("local")
    with block_real_models(), pytest.raises(RealModelBlocked, match="outside of actors"):
        await model.complete(HELLO, max_tokens=1)
    assert model._engine is None


async def test_a_failure_that_a_pattern_swallowed_comes_out_at_the_end(endpoint, system):
    team = Fallback([Agent(endpoint, name="writer"), lambda _: "spare"], system=system)
    with pytest.raises(RealModelBlocked, match="writer"), block_real_models():
        assert (await team.run("hello")).text == "spare"
    with block_real_models() as blocked:
        await team.run("hello")
        assert [error.agent for error in blocked.clear()] == ["writer"]
    assert blocked.errors == ()
    with pytest.raises(LookupError), block_real_models():
        await team.run("hello")
        raise LookupError


def test_a_failure_that_the_test_has_heard_of_is_over(endpoint, system):
    agent = Agent(endpoint, name="writer", system=system)
    with contextlib.ExitStack() as stack:
        stack.enter_context(block_real_models())
        with pytest.raises(RealModelBlocked):
            agent.run("hello").get(timeout=20)


def test_a_handler_that_swallows_it_is_not_the_test(endpoint, system):
    class Author(Actor):
        def on_receive(self, _):
            with contextlib.suppress(RealModelBlocked):
                agent.run("hello").get(timeout=20)

    agent = Agent(endpoint, name="writer", system=system)
    with pytest.raises(RealModelBlocked), block_real_models():
        system.spawn(Author).ask("write", timeout=20)


async def test_doubles_answer_and_a_recording_is_blocked_at_the_real_model(
    endpoint, tmp_path, monkeypatch
):
    monkeypatch.delenv("CI", raising=False)
    with block_real_models():
        assert (await ScriptedModel(["x"]).complete(HELLO, max_tokens=1)).text == "x"
        with pytest.raises(RealModelBlocked):
            await RecordedModel(endpoint, tmp_path / "t", "auto").complete(HELLO, max_tokens=1)


async def test_blocks_may_overlap_and_end_in_any_order(endpoint):
    first, second = block_real_models(), block_real_models()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(RealModelBlocked):
        await endpoint.complete(HELLO, max_tokens=1)
    second.__exit__(None, None, None)
    with pytest.raises(Exception, match="no connection"):
        await endpoint.complete(HELLO, max_tokens=1)
