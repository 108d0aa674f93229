"""A model that replays what a real one has answered."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from actors._errors import InvalidOption, ModelError
from actors.agents._seat import calling_agent
from actors.agents._types import Message, Model, Reply, check_call, estimate_tokens
from actors.agents.pricing import worst_case
from actors.testing._calls import ModelCall, Verified, show_answer, show_question
from actors.testing._cassette import (
    Cassette,
    Recording,
    Request,
    redactor,
    to_error,
    to_record,
)
from actors.testing._ci import in_ci
from actors.testing._errors import NoRecording

__all__ = ["Mode", "RecordedModel"]

Mode = Literal["replay", "record", "auto"]

_MODES = ("replay", "record", "auto")


class RecordedModel(Verified):
    """A model whose calls are kept in a cassette: JSON lines, to be kept with the tests.

    A request is the model's name, the messages, `max_tokens` and the schema. One that is made n
    times is recorded n times, and replayed in that order. Answers that are errors of the request
    itself (refused, too long, unusable) are recorded, too; failures that may pass are not.

    Secrets are taken out of requests and answers before they are compared, written and returned:
    what looks like an API key, the values of environment variables such as `…_API_KEY`, and what
    `redact` says.

    `with RecordedModel(…) as model:` verifies at the end of the block, unless it ends by an
    exception: a call without a recording comes out, also where a pattern swallowed it.

    Args:
        model: the real model, or a model's name; None is enough to replay.
        path: the cassette.
        mode: "replay" never calls the real model; "record" calls it each time and begins a new
            file with the first call; "auto" calls it for what the cassette does not have, and adds
            that. None is what the environment variable CALLBOARD_RECORD says, else "replay".
            Where the variable CI is set, every mode is "replay".
        redact: regular expressions of further secrets; of one that has a group named `secret`,
            only that.
        name: the model's name if `model` is None and the cassette has several.

    Raises:
        InvalidOption: an option makes no sense; there is no real model to record.
        CassetteError: the cassette cannot be read.
    """

    def __init__(
        self,
        model: Model | str | None,
        path: str | os.PathLike[str],
        mode: Mode | None = None,
        *,
        redact: Iterable[str | re.Pattern[str]] = (),
        name: str | None = None,
    ) -> None:
        chosen = mode if mode is not None else os.environ.get("CALLBOARD_RECORD") or "replay"
        if chosen not in _MODES:
            option = "CALLBOARD_RECORD" if mode is None else "mode"
            raise InvalidOption(option, chosen, '"replay", "record" or "auto"')
        self.mode: Mode = "replay" if in_ci() else cast("Mode", chosen)
        if isinstance(redact, (str, re.Pattern)):
            raise InvalidOption("redact", redact, "a list of regular expressions")
        self._redact = redactor(redact, os.environ)
        self._model = _resolved(model, needed=self.mode != "replay")
        # Invariant: guards what follows; calls come from any number of loops.
        self._lock = threading.Lock()
        self._cassette = Cassette(Path(path), empty=self.mode == "record")
        self._asked: Counter[str] = Counter()
        self._calls: list[ModelCall] = []
        self._missed: NoRecording | None = None
        # The same whether it is recorded or replayed, since it is a part of the request.
        self.name: str = name or (
            model if isinstance(model, str) else getattr(model, "name", None) or self._found_name()
        )

    def __repr__(self) -> str:
        return f"<RecordedModel {self.name} {self.mode} {self._cassette.path}>"

    @property
    def calls(self) -> tuple[ModelCall, ...]:
        """The calls that were answered, in the order in which they ended."""
        with self._lock:
            return tuple(self._calls)

    @property
    def context_window(self) -> int | None:
        """That of the real model, as it was when it was recorded."""
        if self._model is not None:
            return self._model.context_window
        return self._cassette.windows.get(self.name)

    def count_tokens(self, text: str) -> int:
        """Estimate the tokens of `text`, the same whether it is recorded or replayed."""
        return estimate_tokens(text)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - part of the published protocol
    ) -> Reply:
        """Answer from the cassette, or record what the real model answers.

        Raises:
            NoRecording: the cassette does not have this call, and the mode is "replay".
            ModelError: the real model raised it, now or when it was recorded.
        """
        check_call(messages, max_tokens, timeout)
        request = self._request(messages, max_tokens, schema)
        show_question(request.messages)
        key = request.key()
        with self._lock:
            number = self._asked[key]
            self._asked[key] += 1
            found = None if self.mode == "record" else self._cassette.find(key, number)
        if found is None:
            if self.mode == "replay" or self._model is None:
                raise self._missing(request, key)
            found = await self._recorded(request, key, messages, schema, timeout)
        call = ModelCall(request.messages, max_tokens, schema, timeout, calling_agent())
        if found.error is not None:
            error = to_error(self.name, found.error)
            self._note(msgspec.structs.replace(call, error=error))
            raise error
        assert found.reply is not None
        self._note(msgspec.structs.replace(call, reply=found.reply))
        show_answer(found.reply)
        return found.reply

    def verify(self) -> None:
        """Make sure that the cassette had each call.

        Raises:
            NoRecording: it had not; raised again here, because a pattern may have taken it for a
                failure of the agent.
        """
        with self._lock:
            if self._missed is not None:
                raise self._missed

    async def aclose(self) -> None:
        """Close the real model."""
        if self._model is not None:
            await self._model.aclose()

    def most_usd(self, input_tokens: int, max_tokens: int) -> Decimal | None:
        """Return the most that a call can cost, in USD.

        As the real model says; else by its list price; else what the dearest recorded call cost.
        """
        own = getattr(self._model, "most_usd", None)
        if own is not None:
            most: Decimal | None = own(input_tokens, max_tokens)
            return most
        listed = worst_case(self.name, input_tokens, max_tokens)
        return self._cassette.dearest() if listed is None else listed

    def _found_name(self) -> str:
        names = list(self._cassette.windows)
        if len(names) > 1:
            raise InvalidOption("name", None, f"which of the recorded models it is: {names}")
        return names[0] if names else "recorded"

    def _request(
        self, messages: Sequence[Message], max_tokens: int, schema: Mapping[str, Any] | None
    ) -> Request:
        redacted = tuple(
            Message(message.role, self._redact(message.content)) for message in messages
        )
        return Request(self.name, redacted, max_tokens, self._redact(schema))

    async def _recorded(
        self,
        request: Request,
        key: str,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        timeout: float | None,  # noqa: ASYNC109 - handed on
    ) -> Recording:
        assert self._model is not None
        try:
            reply = await self._model.complete(
                messages, max_tokens=request.max_tokens, schema=schema, timeout=timeout
            )
            recording = Recording(key, request, reply=reply)
        except ModelError as error:
            record = to_record(error)
            if record is None:
                raise
            recording = Recording(key, request, error=record)
        # Through the file's form, so that what a test sees now is what it will see replayed.
        plain = self._redact(msgspec.to_builtins(recording))
        recording = msgspec.convert(plain, Recording)
        with self._lock:
            self._cassette.windows[self.name] = self._model.context_window
            self._cassette.add(recording)
        return recording

    def _missing(self, request: Request, key: str) -> NoRecording:
        with self._lock:
            times = self._cassette.times(key)
            difference = "" if times else self._cassette.difference(request)
            error = NoRecording(self._cassette.path, self.name, times, difference)
            self._missed = self._missed or error
        return error

    def _note(self, call: ModelCall) -> None:
        with self._lock:
            self._calls.append(call)


def _resolved(model: Model | str | None, *, needed: bool) -> Model | None:
    if isinstance(model, str):
        from actors.agents.models import resolve_model

        # To replay, neither its package nor its key nor its file is needed.
        return resolve_model(model) if needed else None
    given: object = model
    if given is not None and not callable(getattr(given, "complete", None)):
        raise InvalidOption("model", model, "a model, a model's name, or None to replay")
    if needed and model is None:
        raise InvalidOption("model", None, "the real model, since there is something to record")
    return model
