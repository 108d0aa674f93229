"""What doubles of models share: notes of calls, verifying, the trace, waiting, JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from actors._context import current
from actors._errors import ModelTimeout, UnusableReply
from actors.agents._types import Message, Reply, decode_json

__all__ = [
    "INPUT_MESSAGES",
    "OUTPUT_MESSAGES",
    "ModelCall",
    "Verified",
    "decoded",
    "pause",
    "show_answer",
    "show_question",
]

# OpenTelemetry's names for what was asked and answered, which it has traced on request only: here
# the test has asked for it.
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"


class ModelCall(msgspec.Struct, frozen=True):
    """One call that a double of a model has got.

    Attributes:
        messages: the conversation.
        max_tokens: ceiling of the answer, in tokens.
        schema: the JSON schema that was asked for, or None.
        timeout: seconds that the caller gave it, or None.
        agent: the name of the agent that called, else the path of the actor, or None outside of
            actors.
        reply: what it was answered, or None.
        error: what was raised instead, or None.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    schema: Mapping[str, Any] | None = None
    timeout: float | None = None
    agent: str | None = None
    reply: Reply | None = None
    error: BaseException | None = None

    @property
    def prompt(self) -> str:
        """The last message's text."""
        return self.messages[-1].content


class Verified:
    """What is a scope that verifies at its end, unless it ends by an exception."""

    def verify(self) -> None:
        """Raise what the test has to hear of."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.verify()


def show_question(messages: Sequence[Message]) -> None:
    """Write what is asked into the span of the call, if the run is traced."""
    span = getattr(current(), "span", None)
    if span is not None:
        span.set_attribute(INPUT_MESSAGES, msgspec.to_builtins(list(messages)))


def show_answer(reply: Reply) -> None:
    """Write what is answered into the span of the call, if the run is traced."""
    span = getattr(current(), "span", None)
    if span is not None:
        span.set_attribute(OUTPUT_MESSAGES, [{"role": "assistant", "content": reply.text}])


async def pause(model: str, seconds: float, timeout: float | None) -> float | None:  # noqa: ASYNC109
    """Let time go by, on the loop's clock, and return what is left of `timeout`.

    Raises:
        ModelTimeout: `timeout` is shorter.
    """
    if not seconds:
        return timeout
    if timeout is not None and seconds >= timeout:
        await asyncio.sleep(timeout)
        raise ModelTimeout(model, f"no answer within {timeout:g} seconds")
    await asyncio.sleep(seconds)
    return None if timeout is None else timeout - seconds


def decoded(model: str, reply: Reply, *, wants_json: bool) -> Reply:
    """Return the reply as a real model gives it: with `data`, if a schema was asked for.

    Raises:
        UnusableReply: it is empty, or should be JSON and is none.
    """
    problem = None
    if wants_json and reply.data is None:
        data, problem = decode_json(reply.text)
        reply = msgspec.structs.replace(reply, data=data)
    if not reply.text.strip():
        problem = "an empty answer"
    if problem is not None:
        raise UnusableReply(model, problem, reply)
    return reply
