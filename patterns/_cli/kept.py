"""A model that remembers its answers, so that what was paid for outlives any failure of a team."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from actors import Message, Model, Reply, UnusableReply, current

__all__ = ["Kept", "KeptReply"]


class KeptReply(msgspec.Struct, frozen=True):
    """An answer as it came.

    Attributes:
        agent: who asked for it.
        text: the answer.
        is_data: whether it was asked for as JSON, so is a decision and no prose.
    """

    agent: str
    text: str
    is_data: bool


class Kept:
    """Stands for a model and keeps each reply in `replies`, in the order they came.

    Args:
        model: the one that answers.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.name
        self.replies: list[KeptReply] = []

    def __getattr__(self, name: str) -> Any:
        # What some models have beyond the protocol, such as the price they know of.
        return getattr(self._model, name)

    @property
    def context_window(self) -> int | None:
        """As the model says."""
        return self._model.context_window

    def count_tokens(self, text: str) -> int:
        """As the model counts."""
        return self._model.count_tokens(text)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - part of the published protocol
    ) -> Reply:
        """Have the model answer, and keep what it says; see `Model.complete`."""
        try:
            reply = await self._model.complete(
                messages, max_tokens=max_tokens, schema=schema, timeout=timeout
            )
        except UnusableReply as error:
            if isinstance(error.reply, Reply):
                self._keep(error.reply, is_data=schema is not None)
            raise
        self._keep(reply, is_data=schema is not None)
        return reply

    def _keep(self, reply: Reply, *, is_data: bool) -> None:
        run = current()
        span = run.span if run is not None else None
        agent = getattr(span, "attributes", {}).get("gen_ai.agent.name", "agent")
        if reply.text.strip():
            self.replies.append(KeptReply(agent, reply.text, is_data))

    async def aclose(self) -> None:
        """Close the model."""
        await self._model.aclose()
