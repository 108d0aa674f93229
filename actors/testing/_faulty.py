"""A model with faults: slow, failing, late, talking nonsense; the same ones for the same seed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from actors._errors import InvalidOption, ModelError, ModelTimeout, ModelUnavailable
from actors.agents._seat import calling_agent
from actors.agents._types import Message, Model, Reply
from actors.testing._calls import check_rate, check_seconds, decoded, pause, show_answer

__all__ = ["Fault", "FaultyModel"]

Kind = Literal["failure", "late", "nonsense"]

# None is what was asked for: the first is text instead of JSON, the others are JSON of another
# shape than any schema of an object, and nothing a reader would take for an answer.
_NONSENSE = ("as an I cannot blorp {{{", "[null, 0]", '{"unexpected": []}', '"quux"')

_TOO_LATE = 3600.0


class Fault(msgspec.Struct, frozen=True):
    """A fault that was put into a call.

    Attributes:
        kind: "failure", "late" or "nonsense".
        prompt: the call's last message.
        agent: the name of the agent that called, else the path of the actor; None outside of them.
    """

    kind: Kind
    prompt: str
    agent: str | None


class FaultyModel:
    """A model around another, with faults that a seed chooses.

    Which fault a call gets depends on the seed, on what is asked, and on how often it was asked
    before; not on the order in which concurrent agents come to ask. So a failing seed fails again.

    Args:
        model: the model that answers where there is no fault.
        seed: chooses the faults.
        delay: seconds that each call takes longer, or the least and the most of them.
        failure_rate: share of calls (0 to 1) that raise `failure`.
        late_rate: share of calls whose answer comes after the caller's timeout has passed; without
            one, after an hour.
        nonsense_rate: share of calls whose answer is nonsense that does not fit any schema; it is
            paid for as the real one.
        failure: what a failing call raises: an error, or a class of `ModelError`.

    Raises:
        InvalidOption: an option makes no sense.
    """

    def __init__(
        self,
        model: Model,
        *,
        seed: int = 0,
        delay: float | tuple[float, float] = 0.0,
        failure_rate: float = 0.0,
        late_rate: float = 0.0,
        nonsense_rate: float = 0.0,
        failure: BaseException | type[ModelError] = ModelUnavailable,
    ) -> None:
        given: object = model
        if not callable(getattr(given, "complete", None)):
            raise InvalidOption("model", model, "a model, such as a ScriptedModel")
        least, most = delay if isinstance(delay, tuple) else (delay, delay)
        check_seconds("delay", least)
        check_seconds("delay", most)
        if least > most:
            raise InvalidOption("delay", delay, "the least and the most seconds, in that order")
        rates = {"failure": failure_rate, "late": late_rate, "nonsense": nonsense_rate}
        for name, rate in rates.items():
            check_rate(f"{name}_rate", rate)
        if sum(rates.values()) > 1 + 1e-9:
            raise InvalidOption("failure_rate", rates, "rates of at most 1 together")
        self._model = model
        self._seed = seed
        self._delay = (least, most)
        self._rates: dict[Any, float] = rates
        self._failure = failure
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
        """The faults that calls have got, in the order in which the calls began."""
        with self._lock:
            return tuple(self._faults)

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
            ModelUnavailable, or what `failure` says: the call got that fault.
            ModelTimeout: the answer is late.
            UnusableReply: the answer is nonsense where a schema was asked for.
        """
        chance = self._chance(messages, max_tokens, schema)
        kind = self._choose(chance)
        seconds = chance.uniform(*self._delay)
        nonsense = chance.choice(_NONSENSE)
        if kind is not None:
            fault = Fault(kind, messages[-1].content, calling_agent())
            with self._lock:
                self._faults.append(fault)
        if kind == "late":
            await pause(self.name, max(_TOO_LATE, timeout or 0.0), timeout)
            raise ModelTimeout(self.name, "the answer came too late, as it was told to")
        timeout = await pause(self.name, seconds, timeout)
        if kind == "failure":
            raise self._error()
        reply = await self._model.complete(
            messages, max_tokens=max_tokens, schema=schema, timeout=timeout
        )
        if kind == "nonsense":
            reply = msgspec.structs.replace(reply, text=nonsense, data=None)
            show_answer(reply)
            reply = decoded(self.name, reply, wants_json=schema is not None)
        return reply

    async def aclose(self) -> None:
        """Close the model behind it."""
        await self._model.aclose()

    def _chance(self, messages: Sequence[Message], *rest: Any) -> random.Random:
        request = msgspec.json.encode((list(messages), rest), order="deterministic")
        with self._lock:
            number = self._asked[request]
            self._asked[request] += 1
        # Seeded with text, since that is hashed the same way in every process.
        return random.Random(f"{self._seed}:{number}:{request!r}")  # noqa: S311 - no secret

    def _choose(self, chance: random.Random) -> Kind | None:
        point = chance.random()
        for kind, rate in self._rates.items():
            if point < rate:
                found: Kind = kind
                return found
            point -= rate
        return None

    def _error(self) -> BaseException:
        if isinstance(self._failure, BaseException):
            return self._failure
        return self._failure(self.name, "it fails, as it was told to")
