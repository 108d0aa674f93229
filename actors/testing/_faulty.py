"""A model with faults: slow, failing, late, talking nonsense; the same ones for the same seed."""

from __future__ import annotations

import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from actors._errors import InvalidOption, ModelError, ModelUnavailable
from actors._options import function
from actors.agents._seat import calling_agent
from actors.agents._types import Message, Model, Reply
from actors.testing._calls import decoded, pause, show_answer
from actors.testing._options import check_rate, check_span

__all__ = ["Fault", "FaultyModel"]

Kind = Literal["slow", "failing", "late", "nonsense"]

# The first is text instead of JSON; the others are JSON that fits no schema of an object.
_NONSENSE = ("as an I cannot blorp {{{", "[null, 0]", '"quux"', "")

_LATE = 3600.0
"""Seconds a late answer takes where nobody gave a timeout."""


class Fault(msgspec.Struct, frozen=True):
    """A fault that was put into a call.

    Attributes:
        kind: "slow", "failing", "late" or "nonsense".
        prompt: the call's last message.
        agent: the name of the agent that called, else the path of the actor; None outside of them.
        seconds: how much longer the call takes, if it is slow.
    """

    kind: Kind
    prompt: str
    agent: str | None
    seconds: float | None = None


class FaultyModel:
    """A model around another, with faults that a seed chooses.

    Which faults a call gets depends on the seed, on who asks what, and on how often he asked it
    before; not on the order in which concurrent agents come to ask. So a failing seed fails again.
    Each share is of all calls, and hits the same ones whatever the others are. A call that is late
    and has a timeout gets no other fault, and one that fails talks no nonsense.

    Args:
        model: the model that answers where there is no fault.
        seed: chooses the faults.
        slow: share of calls (0 to 1) that take longer, and by how many seconds (or the least and
            the most of them); None is none.
        failing: share of calls that raise `error`.
        late: share of calls that have no answer within the caller's timeout; without one, they
            take an hour.
        nonsense: share of calls whose answer is nonsense that fits no schema of an object; it is
            paid for as the real one.
        error: what a failing call raises: an error, or a class of `ModelError`.
        on_fault: called with each `Fault` as it happens, by whoever calls the model.

    Raises:
        InvalidOption: an option makes no sense.
    """

    def __init__(
        self,
        model: Model,
        *,
        seed: int | str = 0,
        slow: tuple[float, float | tuple[float, float]] | None = None,
        failing: float = 0.0,
        late: float = 0.0,
        nonsense: float = 0.0,
        error: BaseException | type[ModelError] = ModelUnavailable,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        given: object = model
        if not callable(getattr(given, "complete", None)):
            raise InvalidOption("model", model, "a model, such as a ScriptedModel")
        if slow is not None and (not isinstance(slow, tuple) or len(slow) != 2):
            raise InvalidOption("slow", slow, "a share of the calls and seconds, or None")
        share, seconds = slow or (0.0, 0.0)
        rates = {"slow": share, "failing": failing, "late": late, "nonsense": nonsense}
        for option, rate in rates.items():
            check_rate(rate, option)
        if not isinstance(error, BaseException) and not (
            isinstance(error, type) and issubclass(error, ModelError)
        ):
            raise InvalidOption("error", error, "an error, or a class of ModelError")
        if on_fault is not None:
            function("on_fault", on_fault, "a function of a Fault")
        self._model = model
        self._seed = seed
        self._seconds = check_span(seconds, "slow")
        self._rates = rates
        self._error = error
        self._on_fault = on_fault
        self._stopped = False
        self._lock = threading.Lock()
        # Invariant: how often each request was made, and the faults in order; guarded by _lock.
        self._asked: Counter[bytes] = Counter()
        self._faults: list[Fault] = []

    def __repr__(self) -> str:
        return f"<FaultyModel {self.name} seed={self._seed}>"

    @property
    def name(self) -> str:
        """The name of the model behind it."""
        return self._model.name

    @property
    def context_window(self) -> int | None:
        """That of the model behind it."""
        return self._model.context_window

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that calls have got, in the order in which they happened."""
        with self._lock:
            return tuple(self._faults)

    @property
    def times(self) -> int:
        """How many faults calls have got."""
        return len(self._faults)

    def stop(self) -> None:
        """Put in no more faults."""
        self._stopped = True

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
            ModelUnavailable, or what `error` says: the call fails.
            ModelTimeout: the answer is late, or too slow.
            UnusableReply: the answer is nonsense where JSON was asked for, or is empty.
        """
        chance = self._chance(messages, max_tokens, schema)
        # All dice are thrown for each call, so that one share does not shift what another hits.
        hit = {kind for kind, rate in self._rates.items() if chance.random() < rate}
        seconds = chance.uniform(*self._seconds)
        nonsense = chance.choice(_NONSENSE)
        if self._stopped:
            hit.clear()

        def note(kind: Kind, seconds: float | None = None) -> None:
            self._note(Fault(kind, messages[-1].content, calling_agent(), seconds))

        if "late" in hit:
            note("late")
            timeout = await pause(self.name, _LATE if timeout is None else math.inf, timeout)
        elif "slow" in hit:
            note("slow", seconds)
            timeout = await pause(self.name, seconds, timeout)
        if "failing" in hit:
            note("failing")
            raise self._failure()
        reply = await self._model.complete(
            messages, max_tokens=max_tokens, schema=schema, timeout=timeout
        )
        if "nonsense" in hit:
            note("nonsense")
            reply = msgspec.structs.replace(reply, text=nonsense, data=None)
            show_answer(reply)
            reply = decoded(self.name, reply, wants_json=schema is not None)
        return reply

    async def aclose(self) -> None:
        """Close the model behind it."""
        await self._model.aclose()

    def _chance(self, messages: Sequence[Message], *rest: Any) -> random.Random:
        asked = (calling_agent(), list(messages), rest)
        request = msgspec.json.encode(asked, order="deterministic")
        with self._lock:
            number = self._asked[request]
            self._asked[request] += 1
        # Seeded with text, since that is hashed the same way in every process.
        return random.Random(f"{self._seed}:{number}:{request!r}")  # noqa: S311 - no secret

    def _note(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)
        if self._on_fault is not None:
            self._on_fault(fault)

    def _failure(self) -> BaseException:
        if isinstance(self._error, BaseException):
            return self._error
        return self._error(self.name, "it fails, as it was told to")
