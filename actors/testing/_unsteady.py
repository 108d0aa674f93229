"""A model that is slow, fails, answers too late or talks nonsense, as the seed decides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from actors._default import current_actor
from actors._errors import InvalidOption, ModelTimeout, ModelUnavailable, UnusableReply
from actors.agents._types import Message, Model, Reply, decode_json
from actors.testing._injection import Injection, Site, check_rate, check_span

__all__ = ["UnsteadyModel"]

# The first is text instead of JSON; the others are JSON that fits no schema of an object.
_NONSENSE = ("as an I cannot blorp {{{", "[null, 0]", '"quux"', "")

_LATE = 3600.0
"""Seconds a late answer takes where nobody gave a timeout."""


class UnsteadyModel(Injection):
    """A model around another, with faults; a `Model` itself.

    Args:
        site: the simulation.
        index: which of its faults this is.
        model: the model that answers where there is no fault.
        slow: share of calls that take longer, and by how many seconds.
        failing: share of calls that raise `ModelUnavailable`.
        late: share of calls that have no answer within the caller's timeout; without one, they
            take an hour.
        nonsense: share of calls whose answer is nonsense, which is paid for as the real one.

    Raises:
        InvalidOption: an option makes no sense.
    """

    def __init__(
        self,
        site: Site,
        index: int,
        model: Model,
        slow: tuple[float, Any] | None,
        failing: float,
        late: float,
        nonsense: float,
    ) -> None:
        super().__init__(site, index)
        given: object = model
        if not callable(getattr(given, "complete", None)):
            raise InvalidOption("model", model, "a model, such as a ScriptedModel")
        if slow is not None and (not isinstance(slow, tuple) or len(slow) != 2):
            raise InvalidOption("slow", slow, "a share of the calls and seconds, or None")
        rate, seconds = slow or (0.0, 0.0)
        self._seconds = check_span(seconds, "slow")
        for option, share in (
            ("slow", rate),
            ("failing", failing),
            ("late", late),
            ("nonsense", nonsense),
        ):
            check_rate(share, option)
        self._slow, self._failing, self._late, self._nonsense = rate, failing, late, nonsense
        self._model = model

    @property
    def name(self) -> str:
        """The name of the model behind it."""
        return self._model.name

    @property
    def context_window(self) -> int | None:
        """That of the model behind it."""
        return self._model.context_window

    def count_tokens(self, text: str) -> int:
        """Count as the model behind it."""
        return self._model.count_tokens(text)

    def __getattr__(self, name: str) -> Any:
        # `most_usd` is there if the model behind has it: agents look for it.
        if name == "most_usd":
            return getattr(self._model, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - part of the published protocol
    ) -> Reply:
        """Answer as the model behind it, or with a fault; see `Model.complete`.

        Raises:
            ModelUnavailable: the call fails.
            ModelTimeout: the answer is late, or too slow.
            UnusableReply: the answer is nonsense where a schema was asked for.
        """
        # All dice are thrown for each call, so that one rate does not shift what another hits.
        slow, failing, late, nonsense = map(
            self._happens, (self._slow, self._failing, self._late, self._nonsense)
        )
        seconds = self._random.uniform(*self._seconds)
        text = self._random.choice(_NONSENSE)
        if late:
            self._hit("late")
            await asyncio.sleep(_LATE if timeout is None else timeout)
            if timeout is not None:
                raise ModelTimeout(self.name, f"no answer within {timeout:g} s, as its test wants")
        elif slow:
            self._hit(f"slow by {seconds:.6f} s")
            timeout = await self._wait(seconds, timeout)
        if failing:
            self._hit("failing")
            raise ModelUnavailable(self.name, "it fails, as its test wants")
        reply = await self._model.complete(
            messages, max_tokens=max_tokens, schema=schema, timeout=timeout
        )
        if nonsense:
            self._hit("nonsense")
            return self._garbled(reply, text, wants_json=schema is not None)
        return reply

    async def aclose(self) -> None:
        """Close the model behind it."""
        await self._model.aclose()

    def _hit(self, what: str) -> None:
        actor = current_actor()
        self._inject("test" if actor is None else actor.path, 0, f"model {self.name}: {what}")

    async def _wait(self, seconds: float, timeout: float | None) -> float | None:  # noqa: ASYNC109 - as of the call
        if timeout is not None and seconds >= timeout:
            await asyncio.sleep(timeout)
            raise ModelTimeout(self.name, f"no answer within {timeout:g} s")
        await asyncio.sleep(seconds)
        return None if timeout is None else timeout - seconds

    def _garbled(self, reply: Reply, text: str, *, wants_json: bool) -> Reply:
        data, problem = decode_json(text) if wants_json else (None, None)
        garbled = msgspec.structs.replace(reply, text=text, data=data)
        if not text:
            problem = "an empty answer"
        if problem is not None:
            raise UnusableReply(self.name, problem, garbled)
        return garbled
