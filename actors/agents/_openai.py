"""Any endpoint that speaks OpenAI's chat completions, through the package openai."""

from __future__ import annotations

import asyncio
import email.utils
import math
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from actors._errors import (
    ContextWindowExceeded,
    InvalidOption,
    InvalidOutput,
    MissingExtra,
    ModelError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    UnusableReply,
)
from actors.agents._gate import pass_gate
from actors.agents._types import (
    Message,
    Reply,
    Usage,
    check_call,
    decode_json,
    estimate_tokens,
    prompt_tokens,
)
from actors.agents.pricing import Price, price, worst_case

if TYPE_CHECKING:
    import openai

__all__ = ["OpenAIModel"]

_OFFICIAL = "https://api.openai.com/v1"


# The parts of an answer that matter here. Parsed by us from the raw body: the client itself takes
# an HTML page or a half-empty object for an answer.
class _Content(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Content
    finish_reason: str | None = None


class _CachedTokens(msgspec.Struct):
    cached_tokens: int | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _CachedTokens | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    model: str = ""
    usage: _Counts | None = None


class OpenAIModel:
    """A model behind an OpenAI-compatible endpoint.

    The client's own retries are off: `patterns.Retry` is the one place for them. A client lives
    for one call only, because its connections belong to an event loop; so the model works on any
    number of loops, has nothing to close and leaves nothing open.

    Args:
        model: the model as the endpoint names it.
        base_url: of the endpoint, up to and including `/v1`; None reads OPENAI_BASE_URL, else it
            is OpenAI's own.
        api_key: None reads OPENAI_API_KEY; not needed with an endpoint other than OpenAI's.
        context_window: tokens of prompt and answer together, if you know it; longer calls are
            then refused before they are sent.
        price: your price; None takes the list price of the provider, if it is known.
        temperature: None leaves it to the endpoint (some models refuse any other).

    Raises:
        MissingExtra: the package openai is not installed.
        InvalidOption: there is no API key, or an option is out of range.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        context_window: int | None = None,
        price: Price | None = None,
        temperature: float | None = None,
    ) -> None:
        try:
            import openai  # noqa: F401 - here, so that the half second it takes is no call's
        except ImportError as error:
            raise MissingExtra("openai") from error
        if context_window is not None and context_window < 1:
            raise InvalidOption("context_window", context_window, "at least 1, or None")
        base_url = base_url or os.environ.get("OPENAI_BASE_URL") or _OFFICIAL
        if not _is_endpoint(base_url):
            raise InvalidOption("base_url", base_url, "a URL such as http://127.0.0.1:8080/v1")
        api_key = api_key or os.environ.get("OPENAI_API_KEY")
        if api_key is None and base_url == _OFFICIAL:
            raise InvalidOption(
                "api_key",
                None,
                "a key, in OPENAI_API_KEY or given, or base_url of an endpoint that needs none",
            )
        self.name = f"openai:{model}"
        self._model = model
        self.base_url = base_url
        self._api_key = api_key or "none"
        self._context_window = context_window
        self._price = price
        self._temperature = temperature
        # Reading the certificates takes 30 ms: once, not for each client.
        self._tls = ssl.create_default_context()

    def __repr__(self) -> str:
        return f"<OpenAIModel {self._model} at {self.base_url}>"

    @property
    def context_window(self) -> int | None:
        """Tokens that prompt and answer may have together, as it was given."""
        return self._context_window

    def count_tokens(self, text: str) -> int:
        """Estimate the tokens of `text`, on the high side: the endpoint has no tokenizer here."""
        return estimate_tokens(text)

    def most_usd(self, input_tokens: int, max_tokens: int) -> Decimal | None:
        """Return the most that a call can cost, in USD; None when the price is unknown."""
        return worst_case(
            self._model, input_tokens, max_tokens, provider=self.base_url, given=self._price
        )

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - part of the published protocol
    ) -> Reply:
        """Answer the conversation; see `Model.complete`.

        A schema is sent as a strict one, so OpenAI itself wants `additionalProperties: false`
        and all properties required. Without `timeout` the client's own ten minutes hold.

        Raises:
            ModelUnavailable: refused, unreachable, or an error of the endpoint's own (5xx).
            ModelRateLimited: asked to slow down (429), with `retry_after` in seconds.
            ModelRejected: the request itself is at fault (other 4xx), or the model refused.
        """
        pass_gate(self.name)
        check_call(messages, max_tokens, timeout)
        window = self._context_window
        if window is not None:
            needed = prompt_tokens(self, messages) + max_tokens
            if needed > window:
                raise ContextWindowExceeded(self.name, needed, window)
        # A task of its own: the client needs one, and its timeouts are for single reads.
        request = asyncio.create_task(self._request(messages, max_tokens, schema))
        try:
            done, _ = await asyncio.wait({request}, timeout=timeout)
        finally:
            if not request.done():
                request.cancel()
                await asyncio.wait({request})
        if not done:
            raise ModelTimeout(self.name, f"no answer within {timeout:g} seconds")
        return self._reply(request.result(), messages, wants_json=schema is not None)

    async def aclose(self) -> None:
        """Nothing to do: a client does not outlive its call."""

    async def _request(
        self, messages: Sequence[Message], max_tokens: int, schema: Mapping[str, Any] | None
    ) -> bytes:
        import openai

        # OpenAI's newer models refuse the old name, most other servers ignore the new one.
        ceiling = "max_completion_tokens" if self.base_url == _OFFICIAL else "max_tokens"
        options: dict[str, Any] = {ceiling: max_tokens}
        if self._temperature is not None:
            options["temperature"] = self._temperature
        if schema is not None:
            options["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            }
        try:
            async with openai.AsyncOpenAI(
                api_key=self._api_key,
                base_url=self.base_url,
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(verify=self._tls),
            ) as client:
                answer = await client.chat.completions.with_raw_response.create(
                    model=self._model,
                    messages=msgspec.to_builtins(messages),
                    **options,
                )
                return bytes(answer.content)
        except openai.APITimeoutError as error:
            raise ModelTimeout(self.name, "the endpoint stopped answering") from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise ModelUnavailable(
                self.name, f"no connection to {self.base_url}: {cause}"
            ) from error
        except openai.APIStatusError as error:
            raise self._status_error(error, messages, max_tokens) from error
        except openai.OpenAIError as error:
            raise InvalidOutput(
                self.name, f"the client could not use the answer: {error}"
            ) from error

    def _status_error(
        self, error: openai.APIStatusError, messages: Sequence[Message], max_tokens: int
    ) -> ModelError:
        status = error.status_code
        body: dict[str, Any] = error.body if isinstance(error.body, dict) else {}
        detail = f"HTTP {status}: {_excerpt(str(body.get('message') or error.message))}"
        if status == 429 and error.code != "insufficient_quota":
            return ModelRateLimited(self.name, detail, _retry_after(error.response.headers))
        # A time-out, a conflict or a request too early on the server's side may pass.
        if status >= 500 or status in {408, 409, 425}:
            return ModelUnavailable(self.name, detail)
        window = _stated_window(body)
        if window is not None:
            needed = body.get("n_prompt_tokens")
            needed = needed if isinstance(needed, int) else prompt_tokens(self, messages)
            return ContextWindowExceeded(self.name, needed + max_tokens, window)
        return ModelRejected(self.name, detail)

    def _reply(self, body: bytes, messages: Sequence[Message], *, wants_json: bool) -> Reply:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
            choice = answer.choices[0]
        except (msgspec.MsgspecError, IndexError, UnicodeDecodeError) as error:
            start = _excerpt(body.decode(errors="replace"))
            raise InvalidOutput(
                self.name, f"no chat completion but {start!r} ({type(error).__name__})"
            ) from error
        text = choice.message.content or ""
        data, problem = decode_json(text) if wants_json else (None, None)
        if not text.strip():
            problem = "an empty answer"
        if choice.message.refusal:
            problem = f"the model refused: {_excerpt(choice.message.refusal)}"
        usage = self._usage(answer.usage, messages, text)
        reply = Reply(
            text=text,
            usage=usage,
            cost_usd=self._cost(answer.model, usage),
            model=answer.model or self._model,
            finish_reason=choice.finish_reason or "stop",
            data=data,
        )
        if problem is not None:
            raise UnusableReply(self.name, problem, reply)
        return reply

    def _usage(self, counts: _Counts | None, messages: Sequence[Message], text: str) -> Usage:
        if counts is None:
            return Usage(prompt_tokens(self, messages), estimate_tokens(text), estimated=True)
        details = counts.prompt_tokens_details
        cached = (details.cached_tokens if details else None) or 0
        return Usage(counts.prompt_tokens, counts.completion_tokens, cached)

    def _cost(self, answered_by: str, usage: Usage) -> Decimal | None:
        if self._price is not None:
            return self._price.cost(usage)
        cost = price(answered_by, usage, self.base_url) if answered_by else None
        return price(self._model, usage, self.base_url) if cost is None else cost


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        return False


def _excerpt(text: str, length: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]}…"


def _stated_window(body: Mapping[str, Any]) -> int | None:
    """Return the context window that an error speaks of: llama.cpp in a field, others in words."""
    if isinstance(body.get("n_ctx"), int):
        return int(body["n_ctx"])
    match = re.search(r"maximum context length (?:is|of) (\d+)", str(body.get("message", "")))
    return int(match.group(1)) if match else None


def _retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds an answer asks to wait: as a number, or until a date."""
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(header, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, date.timestamp() - now())
