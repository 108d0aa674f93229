"""A model that says what a script has it say, and nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from actors._errors import ContextWindowExceeded, InvalidOption
from actors.agents._seat import calling_agent
from actors.agents._types import (
    Message,
    Reply,
    Usage,
    check_call,
    estimate_tokens,
    prompt_tokens,
)
from actors.testing._calls import (
    ModelCall,
    Verified,
    decoded,
    pause,
    show_answer,
    show_question,
)
from actors.testing._errors import UnexpectedCall, UnusedReplies
from actors.testing._options import check_seconds

__all__ = ["Matcher", "ScriptedModel", "ScriptedReply"]

Matcher = str | re.Pattern[str] | Callable[[ModelCall], object]
"""Which calls an entry is for: text that one of the messages contains, a regular expression that is
found in one, or a predicate of the `ModelCall`."""

_FREE = Decimal(0)


class ScriptedReply(msgspec.Struct, frozen=True):
    """What a scripted model does for one call.

    Args:
        text: the answer.
        data: a structured answer instead: anything msgspec can encode as JSON, which becomes the
            text, and `Reply.data` where a schema was asked for.
        error: what is raised instead of an answer.
        latency: seconds it takes, on the clock of the event loop.
        usage: tokens; None counts prompt and answer as `estimate_tokens` does.
        cost_usd: the price in USD; None is unknown.
        finish_reason: "stop", "length", or another word of the provider.
        times: how many calls get it; None is any number, none included.

    Raises:
        InvalidOption: an option makes no sense.
    """

    text: str = ""
    data: Any = None
    error: BaseException | None = None
    latency: float = 0.0
    usage: Usage | None = None
    cost_usd: Decimal | float | str | None = _FREE
    finish_reason: str = "stop"
    times: int | None = 1

    def __post_init__(self) -> None:
        check_seconds("latency", self.latency)
        given: object = self.times
        if given is not None and (type(given) is not int or given < 1):
            raise InvalidOption("times", given, "how many calls get it, 1 or more, or None")
        if (self.text != "") + (self.data is not None) + (self.error is not None) > 1:
            raise InvalidOption("text", self.text, "one of text, data and error, not several")
        self.reply("", _NO_TOKENS)  # so that a bad price is found here

    def reply(self, model: str, usage: Usage) -> Reply:
        """Return the model's answer."""
        text = self.text if self.data is None else msgspec.json.encode(self.data).decode()
        return Reply(
            text=text,
            usage=usage if self.usage is None else self.usage,
            cost_usd=self.cost_usd,  # type: ignore[arg-type]  # Reply makes a Decimal of it
            model=model,
            finish_reason=self.finish_reason,
        )

    def describe(self) -> str:
        """Return what it does, in a few words."""
        if self.error is not None:
            return f"raise {self.error!r}"
        return repr(self.text if self.data is None else self.data)


_NO_TOKENS = Usage(0, 0)


class _Entry:
    """A line of the script, and how often it may still be used."""

    def __init__(self, matcher: Matcher | None, reply: ScriptedReply) -> None:
        self.matcher = matcher
        self.reply = reply
        self.left = reply.times

    def takes(self, call: ModelCall) -> bool:
        if self.left == 0:
            return False
        matcher = self.matcher
        if matcher is None:
            return True
        if isinstance(matcher, str):
            return any(matcher in message.content for message in call.messages)
        if isinstance(matcher, re.Pattern):
            return any(matcher.search(message.content) for message in call.messages)
        return bool(matcher(call))

    def describe(self) -> str:
        words = self.reply.describe()
        if self.matcher is not None:
            name = getattr(self.matcher, "pattern", None) or getattr(
                self.matcher, "__qualname__", self.matcher
            )
            words = f"to {name!r}: {words}"
        return words if self.left in {None, 1} else f"{words} ({self.left} times)"


class ScriptedModel(Verified):
    """A model that answers from a script; what the script does not have is an error of the test.

    A call gets the first entry that is not used up and whose matcher accepts it; an entry without
    a matcher accepts every call. In a traced run, the spans of its calls show what was asked and
    answered.

    `with ScriptedModel(…) as model:` verifies at the end of the block, unless it ends by an
    exception.

    Args:
        script: replies, or pairs of a matcher and a reply. A reply is text, an exception to
            raise, a `ScriptedReply`, a `Reply`, or any structured value, which is given as JSON. A
            matcher is text that one of the messages contains (the instructions are one), a compiled
            regular expression, or a predicate of the `ModelCall`.
        name: for errors and traces.
        context_window: tokens that prompt and answer may have together; None is no limit.

    Raises:
        InvalidOption: an entry is none of these.
    """

    def __init__(
        self,
        script: Iterable[Any],
        *,
        name: str = "scripted",
        context_window: int | None = None,
    ) -> None:
        self.name = name
        self._context_window = context_window
        # Invariant: guards what follows; one model serves calls on any number of loops.
        self._lock = threading.Lock()
        self._script = [_entry(item) for item in script]
        self._calls: list[ModelCall] = []
        self._unexpected: UnexpectedCall | None = None

    def __repr__(self) -> str:
        return f"<ScriptedModel {self.name}>"

    @property
    def calls(self) -> tuple[ModelCall, ...]:
        """The calls that were made, in the order in which they began; with what became of them."""
        with self._lock:
            return tuple(self._calls)

    @property
    def context_window(self) -> int | None:
        """Tokens that prompt and answer may have together, as it was given."""
        return self._context_window

    def count_tokens(self, text: str) -> int:
        """Estimate the tokens of `text`, the same each time."""
        return estimate_tokens(text)

    def most_usd(self, input_tokens: int, max_tokens: int) -> Decimal | None:
        """Return the price in USD of the dearest entry; None if one of them is unknown."""
        del input_tokens, max_tokens
        costs = [entry.reply.reply("", _NO_TOKENS).cost_usd for entry in self._script]
        return None if None in costs else max((c for c in costs if c is not None), default=_FREE)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - part of the published protocol
    ) -> Reply:
        """Answer from the script; see `Model.complete`.

        Raises:
            UnexpectedCall: the script has nothing for this call.
            UnusableReply: what the script says is empty, or no JSON where a schema is asked for.
            ModelTimeout: the reply's latency is longer than `timeout`.
            BaseException: the script says so.
        """
        check_call(messages, max_tokens, timeout)
        call = ModelCall(tuple(messages), max_tokens, schema, timeout, calling_agent())
        show_question(messages)
        place, scripted = self._next(call)
        try:
            reply = await self._answer(call, scripted)
        except BaseException as error:
            self._note(place, error=error)
            raise
        self._note(place, reply=reply)
        return reply

    async def aclose(self) -> None:
        """Nothing to do."""

    def verify(self) -> None:
        """Make sure that the script was followed to its end.

        Raises:
            UnexpectedCall: a call was made that it does not have; raised again here, because a
                pattern may have taken it for a failure of the agent.
            UnusedReplies: replies are left that must be used.
        """
        with self._lock:
            if self._unexpected is not None:
                raise self._unexpected
            left = [entry.describe() for entry in self._script if entry.left]
            if left:
                raise UnusedReplies(self.name, left, len(self._calls))

    def _next(self, call: ModelCall) -> tuple[int, ScriptedReply]:
        with self._lock:
            entry = next((entry for entry in self._script if entry.takes(call)), None)
            if entry is None:
                left = [entry.describe() for entry in self._script if entry.left != 0]
                error = UnexpectedCall(self.name, call.agent, call.prompt, left, len(self._calls))
                self._unexpected = self._unexpected or error
                self._calls.append(msgspec.structs.replace(call, error=error))
                raise error
            if entry.left is not None:
                entry.left -= 1
            self._calls.append(call)
            return len(self._calls) - 1, entry.reply

    def _note(self, place: int, **outcome: Any) -> None:
        with self._lock:
            self._calls[place] = msgspec.structs.replace(self._calls[place], **outcome)

    async def _answer(self, call: ModelCall, scripted: ScriptedReply) -> Reply:
        window = self._context_window
        expected = prompt_tokens(self, call.messages)
        if window is not None and expected + call.max_tokens > window:
            raise ContextWindowExceeded(self.name, expected + call.max_tokens, window)
        await pause(self.name, scripted.latency, call.timeout)
        if scripted.error is not None:
            raise scripted.error
        text = scripted.reply("", _NO_TOKENS).text
        reply = scripted.reply(self.name, Usage(expected, estimate_tokens(text)))
        show_answer(reply)
        return decoded(self.name, reply, wants_json=call.schema is not None)


def _entry(item: Any) -> _Entry:
    if not isinstance(item, tuple):
        return _Entry(None, _reply(item))
    if len(item) != 2:
        raise InvalidOption("script", item, "a pair of a matcher and a reply")
    matcher, reply = item
    if not isinstance(matcher, (str, re.Pattern)) and not callable(matcher):
        raise InvalidOption(
            "script", matcher, "as matcher a str, a compiled regular expression, or a predicate"
        )
    return _Entry(matcher, _reply(reply))


def _reply(given: Any) -> ScriptedReply:
    match given:
        case ScriptedReply():
            return given
        case str():
            return ScriptedReply(given)
        case BaseException():
            return ScriptedReply(error=given)
        case Reply():
            return ScriptedReply(
                given.text,
                usage=given.usage,
                cost_usd=given.cost_usd,
                finish_reason=given.finish_reason,
            )
    if given is None:
        raise InvalidOption("script", given, "a reply: text, data, an exception, a ScriptedReply")
    try:
        msgspec.json.encode(given)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidOption("script", given, f"what JSON can hold ({error})") from error
    return ScriptedReply(data=given)
