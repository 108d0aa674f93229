"""What every model shares: messages, replies, usage, the `Model` protocol, a token estimate."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from actors._errors import InvalidOption

__all__ = [
    "Message",
    "Model",
    "Reply",
    "Usage",
    "check_call",
    "decode_json",
    "estimate_tokens",
    "prompt_tokens",
]


class Usage(msgspec.Struct, frozen=True):
    """What one call consumed, in tokens.

    Args:
        input_tokens: the whole prompt, cached part included.
        output_tokens: everything generated, reasoning included.
        cached_tokens: the part of `input_tokens` served from a prompt cache.
        estimated: the endpoint reported no usage, so the figures are estimates.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    estimated: bool = False

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class Reply(msgspec.Struct, frozen=True):
    """A model's answer to one call.

    Args:
        text: the answer; with a schema, the raw JSON.
        usage: the tokens it took.
        cost_usd: the price in USD (int, float and str become Decimal); None when it is unknown,
            0 only when it is free.
        model: the model that answered, as it calls itself.
        finish_reason: "stop", "length", or another word of the provider.
        degraded: a lesser model than the one wanted gave it.
        data: with a schema, the decoded JSON.
    """

    text: str
    usage: Usage = Usage(0, 0)
    cost_usd: Decimal | None = None
    model: str = ""
    finish_reason: str = "stop"
    degraded: bool = False
    data: Any = None

    def __post_init__(self) -> None:
        cost: object = self.cost_usd
        if cost is None or isinstance(cost, Decimal):
            return
        if isinstance(cost, bool) or not isinstance(cost, (int, float, str)):
            raise InvalidOption("cost_usd", cost, "a Decimal, an int, float or str of USD, or None")
        try:
            # Through str, so that the float 0.15 becomes 0.15 and not its binary neighbour.
            amount = Decimal(str(cost))
        except InvalidOperation:
            raise InvalidOption("cost_usd", cost, "an amount of USD, or None") from None
        msgspec.structs.force_setattr(self, "cost_usd", amount)

    @property
    def tokens(self) -> int:
        """Input and output tokens together."""
        return self.usage.tokens


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@runtime_checkable
class Model(Protocol):
    """What an agent asks of a language model.

    One instance serves any number of concurrent calls, from any number of event loops.
    """

    @property
    def name(self) -> str:
        """The specification it was resolved from, or an equivalent one; used in errors."""

    @property
    def context_window(self) -> int | None:
        """Tokens that prompt and answer together may have, or None when unknown."""

    def count_tokens(self, text: str) -> int:
        """Count the tokens of `text`: exactly where possible, else estimate them high.

        Never blocks for long: fit for an event loop.
        """

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - part of the published protocol
    ) -> Reply:
        """Answer the conversation.

        Args:
            messages: at least one.
            max_tokens: ceiling of the answer, in tokens.
            schema: a JSON schema that the answer must follow; it is decoded into `Reply.data`.
            timeout: seconds for the whole call, waiting for a free slot included.

        Raises:
            ContextWindowExceeded: prompt and `max_tokens` do not fit.
            InvalidOutput: the answer is empty, nonsense or no JSON; as `UnusableReply` if it
                was paid for.
            ModelTimeout: no answer within `timeout`.
            ModelError: any other failure, see its subclasses.
        """

    async def aclose(self) -> None:
        """Give back what the model holds. A later call takes it again."""


def check_call(messages: Sequence[Message], max_tokens: int, timeout: float | None) -> None:
    """Validate the arguments of `Model.complete`.

    Raises:
        InvalidOption: one of them cannot work.
    """
    if not messages:
        raise InvalidOption("messages", list(messages), "at least one message")
    if max_tokens < 1:
        raise InvalidOption("max_tokens", max_tokens, "at least 1")
    if timeout is not None and not timeout > 0:
        raise InvalidOption("timeout", timeout, "a number of seconds above 0, or None")


def decode_json(text: str) -> tuple[Any, str | None]:
    """Decode an answer that should be JSON.

    Returns:
        The data and None, or None and what is wrong with it.
    """
    try:
        return msgspec.json.decode(text), None
    except msgspec.DecodeError as error:
        return None, f"no valid JSON ({error})"


_WORD_OR_SIGN = re.compile(r"[A-Za-z]+| (?! )|[^\S ]+| {2,}|.", re.DOTALL)
_LETTERS_PER_TOKEN = 5


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text without a tokenizer, on the high side.

    A short word is one token and a long one a token per five letters; a digit or a sign is one
    each, a run of spaces or line ends one per four; beyond ASCII it is a token per two bytes
    of UTF-8. English comes out 10 to 30 % above what common tokenizers say, figures and
    punctuation further above.
    """
    count = 0
    for match in _WORD_OR_SIGN.finditer(text):
        piece = match.group()
        if piece == " ":
            # Part of the token of the word or sign after it, but not of a figure.
            count += text[match.end() : match.end() + 1].isdigit()
            continue
        if piece.isspace():
            count += -(-len(piece) // 4)
        elif not piece.isascii():
            count += -(-len(piece.encode("utf-8", "surrogatepass")) // 2)
        else:
            count += -(-len(piece) // _LETTERS_PER_TOKEN)
    return count


# A chat template adds role marks to each message and may add a system message of its own.
_PER_MESSAGE = 8
_PER_PROMPT = 32


def prompt_tokens(model: Model, messages: Iterable[Message]) -> int:
    """Tokens to reserve for a prompt: the contents and an ample share for the chat template."""
    return _PER_PROMPT + sum(
        _PER_MESSAGE + model.count_tokens(message.content) for message in messages
    )
