"""One generation of a llama.cpp server: what is asked, and what its stream answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from actors._errors import ContextWindowExceeded, ModelError, ModelRejected, ModelUnavailable
from actors.agents._types import Message

__all__ = ["CLOSED", "Call", "Generation"]

CLOSED = "the model was closed"


class Generation(msgspec.Struct, frozen=True):
    """The outcome of one call."""

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int


# The parts of llama.cpp's stream that matter here; everything else in it is ignored.
class _Progress(msgspec.Struct):
    total: int


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _CachedTokens(msgspec.Struct):
    cached_tokens: int = 0


class _Counts(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _CachedTokens | None = None


class _Failure(msgspec.Struct):
    code: int = 500
    message: str = ""
    type: str = ""
    n_prompt_tokens: int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Counts | None = None
    prompt_progress: _Progress | None = None
    error: _Failure | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class Call:
    """One generation: what to ask, and what has come of it so far."""

    def __init__(
        self,
        model: str,
        messages: Sequence[Message],
        max_tokens: int,
        schema: Mapping[str, Any] | None,
    ) -> None:
        self.model = model
        self.max_tokens = max_tokens
        self.future: Future[Generation] = Future()
        self.stopped = False
        request: dict[str, Any] = {
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": 0,
            "seed": 1,
            # A reused prefix was computed in other batches, which changes the last bits and so,
            # now and then, the answer (two of six prompts tried).
            "cache_prompt": False,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
        }
        if schema is not None:
            # Not `grammar`: one that llama.cpp cannot compile is dropped there without a word.
            request["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
        self._request = msgspec.json.encode(request)
        self._window = 0
        self._text: list[str] = []
        self._finish_reason = ""
        self._counts: _Counts | None = None
        self._error: Exception | None = None

    def abandon(self) -> None:
        """Nobody waits any more: drop it while it waits, else end it at the next token or batch."""
        self.stopped = True
        self.future.cancel()

    def run(self, server: Any, window: int) -> Generation:
        """Generate. Blocks the thread.

        Raises:
            ModelError: it failed, does not fit `window` tokens, or was stopped.
        """
        self._window = window
        try:
            server.handle_chat_completions(self._request, self._on_chunk)
        except ValueError as error:  # llama.cpp's "invalid argument", say a bad schema
            raise ModelRejected(self.model, str(error).rpartition("failed: ")[2]) from error
        except Exception as error:
            raise ModelUnavailable(self.model, f"llama.cpp failed: {error}") from error
        finally:
            # Else an error kept by the caller holds, through its traceback, the loaded model:
            # in memory after it was closed, and into the end of the interpreter, where it crashes.
            del server
        if self._error is not None:
            raise self._error
        if self._counts is None:
            raise ModelUnavailable(self.model, CLOSED if self.stopped else "llama.cpp broke off")
        cached = self._counts.prompt_tokens_details
        return Generation(
            text="".join(self._text),
            finish_reason=self._finish_reason,
            input_tokens=self._counts.prompt_tokens,
            output_tokens=self._counts.completion_tokens,
            cached_tokens=cached.cached_tokens if cached else 0,
        )

    def _on_chunk(self, data: bytes) -> bool:
        """Take one piece of the stream; True ends the generation."""
        try:
            chunk = _CHUNK.decode(data)
        except msgspec.MsgspecError as error:
            self._error = ModelUnavailable(self.model, f"unreadable stream: {error}")
            return True
        if chunk.error is not None:
            self._error = self._to_error(chunk.error)
        progress = chunk.prompt_progress
        if progress is not None and progress.total + self.max_tokens > self._window:
            # llama.cpp would cut the answer off where the context ends.
            needed = progress.total + self.max_tokens
            self._error = ContextWindowExceeded(self.model, needed, self._window)
        for choice in chunk.choices:
            if choice.delta.content:
                self._text.append(choice.delta.content)
            if choice.finish_reason:
                self._finish_reason = choice.finish_reason
        if chunk.usage is not None:
            self._counts = chunk.usage
        return self.stopped or self._error is not None

    def _to_error(self, failure: _Failure) -> ModelError:
        if failure.n_prompt_tokens is not None:
            needed = failure.n_prompt_tokens + self.max_tokens
            return ContextWindowExceeded(self.model, needed, self._window)
        kind = ModelRejected if 400 <= failure.code < 500 else ModelUnavailable
        return kind(self.model, failure.message)
