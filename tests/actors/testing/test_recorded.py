"""Cassettes: what is recorded once is replayed for ever, without secrets, and never in CI."""

from __future__ import annotations

import json
import stat
from decimal import Decimal

import pytest

from actors import (
    Agent,
    ContextWindowExceeded,
    InvalidOption,
    Message,
    ModelRateLimited,
    ModelRejected,
    ModelUnavailable,
    Reply,
    UnusableReply,
    Usage,
    resolve_model,
    run,
)
from actors.testing import (
    CassetteError,
    NoRecording,
    RecordedModel,
    ScriptedModel,
    ScriptedReply,
    block_real_models,
)
from patterns import Fallback

HELLO = "Say hello."


def ask(model, prompt=HELLO, *, max_tokens=8, schema=None):
    return model.complete([Message("user", prompt)], max_tokens=max_tokens, schema=schema)


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    """These tests record, wherever they run."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("CALLBOARD_RECORD", raising=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tapes" / "hello.jsonl"


@pytest.mark.slow
async def test_a_local_model_is_recorded_and_replayed_without_it(local_model, path):
    with_model = RecordedModel(local_model, path, "record")
    recorded = await ask(with_model)
    again = await ask(with_model, "Say goodbye.")
    with block_real_models() as blocked:
        replay = RecordedModel(None, path)
        assert await ask(replay) == recorded
        assert await ask(replay, "Say goodbye.") == again
    assert blocked.errors == ()
    assert recorded.text
    assert recorded.usage.input_tokens > 0
    assert (replay.name, replay.context_window) == (local_model.name, local_model.context_window)


@pytest.mark.slow
async def test_an_endpoint_is_recorded_and_replayed_through_an_agent(
    local_model_server, path, system
):
    real = resolve_model("openai:smollm", base_url=local_model_server)

    async def answer(model):
        agent = Agent(model, name="writer", max_tokens=8, system=system)
        return (await agent.run(HELLO)).text

    recorded = await answer(RecordedModel(real, path, "auto"))
    assert recorded
    with block_real_models():
        assert await answer(RecordedModel(real, path, "auto")) == recorded


async def test_the_file_is_lines_that_people_can_read(path):
    model = ScriptedModel([ScriptedReply("Hello!", usage=Usage(5, 2), cost_usd="0.001")])
    await ask(RecordedModel(model, path, "record"))
    header, line = map(json.loads, path.read_text().splitlines())
    assert header == {"cassette": 1, "models": {"scripted": {"context_window": None}}}
    assert line["request"] == {
        "model": "scripted",
        "messages": [{"role": "user", "content": HELLO}],
        "max_tokens": 8,
        "schema": None,
    }
    assert line["reply"]["text"] == "Hello!"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path], "nothing is left of writing it"


async def test_a_request_that_was_made_several_times_is_replayed_in_that_order(path):
    model = RecordedModel(ScriptedModel(["one", "two"]), path, "record")
    recorded = [(await ask(model)).text for _ in range(2)]
    replay = RecordedModel(None, path)
    assert [(await ask(replay)).text for _ in range(2)] == recorded == ["one", "two"]
    with pytest.raises(NoRecording, match=r"2 time\(s\), and it was made once more") as caught:
        await ask(replay)
    assert caught.value.times == 2


async def test_a_missing_recording_says_how_to_record_and_how_the_nearest_request_differs(path):
    model = RecordedModel(ScriptedModel(["a", "b"]), path, "record")
    await ask(model, "Tell me of\nlions and\nships")
    await ask(model, "something else")
    with pytest.raises(NoRecording) as caught:
        await ask(RecordedModel(None, path), "Tell me of\ntigers and\nships")
    assert "CALLBOARD_RECORD=auto" in str(caught.value)
    changed = [
        line
        for line in caught.value.difference.splitlines()
        if line[1:2] == " " and line[0] in "-+"
    ]
    assert changed == ["-  lions and", "+  tigers and"]
    assert str(path) in str(caught.value)


async def test_a_missing_recording_that_a_pattern_swallowed_comes_out_at_the_end(path, system):
    with pytest.raises(NoRecording), RecordedModel(None, path) as model:
        team = Fallback([Agent(model, name="writer"), lambda _: "spare"], system=system)
        assert (await team.run(HELLO)).text == "spare"
    with pytest.raises(LookupError, match="theirs"), model:
        raise LookupError("theirs")
    with RecordedModel(ScriptedModel(["one"]), path, "auto") as auto:
        await ask(auto)
    with RecordedModel(None, path) as replay:
        await ask(replay)


async def test_an_empty_cassette_says_so_without_a_difference(path):
    with pytest.raises(NoRecording) as caught:
        await ask(RecordedModel(None, path))
    assert caught.value.difference == ""


async def test_auto_adds_what_is_missing_and_calls_nobody_for_the_rest(path):
    await ask(RecordedModel(ScriptedModel(["one"]), path, "record"))
    model = ScriptedModel(["two"])
    auto = RecordedModel(model, path, "auto")
    assert [(await ask(auto)).text, (await ask(auto, "more")).text] == ["one", "two"]
    assert [call.prompt for call in model.calls] == ["more"]
    assert (await ask(RecordedModel(None, path), "more")).text == "two"


async def test_record_begins_a_new_file_with_its_first_call(path):
    await ask(RecordedModel(ScriptedModel(["old"]), path, "record"), "old prompt")
    model = RecordedModel(ScriptedModel(["new"]), path, "record")
    assert "old prompt" in path.read_text()
    await ask(model)
    assert "old prompt" not in path.read_text()


async def test_the_environment_chooses_the_mode_where_the_test_does_not(path, monkeypatch):
    monkeypatch.setenv("CALLBOARD_RECORD", "auto")
    assert (await ask(RecordedModel(ScriptedModel(["new"]), path))).text == "new"
    assert RecordedModel(None, path, "replay").mode == "replay"
    monkeypatch.setenv("CALLBOARD_RECORD", "always")
    with pytest.raises(InvalidOption, match="CALLBOARD_RECORD"):
        RecordedModel(None, path)


@pytest.mark.parametrize("mode", ["record", "auto"])
async def test_in_ci_nothing_is_ever_recorded(path, monkeypatch, mode):
    monkeypatch.setenv("CI", "true")
    model = ScriptedModel(["x"])
    with pytest.raises(NoRecording):
        await ask(RecordedModel(model, path, mode))
    assert model.calls == ()
    assert not path.exists()


async def test_secrets_are_neither_written_nor_returned_nor_part_of_the_request(path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "hunter2-hunter2")
    told = "key sk-abcdefghij0123456789, hunter2-hunter2, card 4111-1111"
    model = ScriptedModel([f"I heard {told}"])
    redact = [r"card (?P<secret>[\d-]+)"]
    reply = await ask(RecordedModel(model, path, "record", redact=redact), f"Remember {told}")
    assert reply.text == "I heard key <redacted>, <redacted>, card <redacted>"
    assert model.calls[0].prompt == f"Remember {told}", "the real model gets the real request"
    for secret in ("abcdefghij", "hunter2", "4111"):
        assert secret not in path.read_text()
    monkeypatch.delenv("SOME_API_KEY")
    other = "key sk-zyxwvutsrq9876543210, <redacted>, card 5500-0000"
    replay = RecordedModel(None, path, redact=redact)
    assert (await ask(replay, f"Remember {other}")) == reply


async def test_errors_of_the_request_are_recorded_and_those_that_may_pass_are_not(path):
    paid = Reply("no json", Usage(3, 4), Decimal("0.5"))
    script = [
        ModelRejected("m", "no such thing"),
        ContextWindowExceeded("m", 100, 50),
        UnusableReply("m", "no JSON", paid),
    ]
    model = RecordedModel(ScriptedModel(script), path, "record")
    for attempt in ("recorded", "replayed"):
        model = model if attempt == "recorded" else RecordedModel(None, path)
        with pytest.raises(ModelRejected, match="no such thing"):
            await ask(model, "1")
        with pytest.raises(ContextWindowExceeded) as caught:
            await ask(model, "2")
        assert (caught.value.tokens, caught.value.window) == (100, 50)
        with pytest.raises(UnusableReply) as unusable:
            await ask(model, "3")
        assert unusable.value.reply == paid
    before = path.read_bytes()
    for passing in (ModelUnavailable("m", "down"), ModelRateLimited("m", "slow down")):
        with pytest.raises(type(passing)):
            await ask(RecordedModel(ScriptedModel([passing]), path, "auto"), "4")
    assert path.read_bytes() == before


async def test_a_schema_and_max_tokens_are_part_of_the_request(path):
    model = RecordedModel(ScriptedModel([{"a": 1}]), path, "record")
    schema = {"type": "object", "title": "a"}
    assert (await ask(model, schema=schema)).data == {"a": 1}
    replay = RecordedModel(None, path)
    for other in ({"schema": {"type": "array"}}, {"schema": schema, "max_tokens": 9}):
        with pytest.raises(NoRecording):
            await ask(replay, **other)
    same = {"title": "a", "type": "object"}
    assert (await ask(replay, schema=same)).data == {"a": 1}, "the order of its fields is none"


async def test_a_usd_budget_works_in_the_replay_as_it_did_when_it_was_recorded(path, system):
    async def spend(model):
        async with run(budget=1, system=system) as context:
            await Agent(model, name="writer", system=system).run(HELLO)
            return (await context.budget.snapshot()).settled_usd

    real = ScriptedModel([ScriptedReply("x", cost_usd="0.25")])
    assert await spend(RecordedModel(real, path, "record")) == Decimal("0.25")
    assert await spend(RecordedModel(None, path)) == Decimal("0.25")


async def test_a_write_that_fails_leaves_the_cassette_as_it_was(path, monkeypatch):
    await ask(RecordedModel(ScriptedModel(["one"]), path, "record"))
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        await ask(RecordedModel(ScriptedModel(["two"]), path, "auto"), "more")
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_a_damaged_cassette_is_an_error_that_names_the_line(path):
    await ask(RecordedModel(ScriptedModel(["one"]), path, "record"))
    whole = path.read_text()
    path.write_text(whole + "{half a li")
    with pytest.raises(CassetteError, match="line 3"):
        RecordedModel(None, path)
    path.write_text(whole.replace("Say hello", "Say goodbye"))
    with pytest.raises(CassetteError, match="line 2: the request was changed by hand"):
        RecordedModel(None, path)
    path.write_text(whole.replace('"cassette":1', '"cassette":2'))
    with pytest.raises(CassetteError, match="version 2"):
        RecordedModel(None, path)
    path.write_text("")
    with pytest.raises(CassetteError, match="line 1"):
        RecordedModel(None, path)


async def test_of_a_cassette_with_several_models_one_has_to_be_named(path):
    await ask(RecordedModel(ScriptedModel(["a"], name="first"), path, "record"))
    await ask(RecordedModel(ScriptedModel(["b"], name="second"), path, "auto"))
    with pytest.raises(InvalidOption, match="first"):
        RecordedModel(None, path)
    assert (await ask(RecordedModel(None, path, name="second"))).text == "b"


async def test_a_model_that_is_given_by_name_is_needed_to_record_only(path):
    assert RecordedModel("local:/no/such/file.gguf", path).name == "local:/no/such/file.gguf"
    with pytest.raises(InvalidOption):
        RecordedModel("local:/no/such/file.gguf", path, "auto")


@pytest.mark.parametrize(
    "options",
    [
        {"model": None, "mode": "record"},
        {"model": None, "mode": "sometimes"},
        {"model": 5},
        {"model": None, "redact": ["("]},
        {"model": None, "redact": "one string"},
    ],
)
def test_options_that_make_no_sense_are_refused(path, options):
    with pytest.raises(InvalidOption):
        RecordedModel(path=path, **options)
