"""The model behind HTTP: against a real server, and against one that answers whatever we want."""

from __future__ import annotations

import asyncio
import email.utils
import json
import socket
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from actors._errors import (
    ContextWindowExceeded,
    InvalidOption,
    InvalidOutput,
    MissingExtra,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    UnusableReply,
)
from actors.agents._openai import OpenAIModel, _retry_after
from actors.agents.models import Message, resolve_model
from actors.agents.pricing import Price

HELLO = [Message("user", "Say hello.")]
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


class OddServer:
    """A loopback endpoint that gives each request the one answer it was told to give."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.requests: list[dict] = []
        self.asked = threading.Event()
        self.release = threading.Event()
        self.release.set()
        odd = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                odd.requests.append(json.loads(self.rfile.read(length)))
                odd.asked.set()
                odd.release.wait(30)
                self.send_response(odd.status)
                for name, value in {"Content-Type": "application/json", **odd.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(odd.body)))
                self.end_headers()
                self.wfile.write(odd.body)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # the client may well have hung up
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def answers(self, body: object, status: int = 200, **headers: str) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def close(self) -> None:
        self.release.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def odd() -> Iterator[OddServer]:
    server = OddServer()
    yield server
    server.close()


@pytest.fixture
def model(odd) -> OpenAIModel:
    return OpenAIModel("m", base_url=odd.url)


def completion(content: str | None, **more: object) -> dict:
    return {
        "model": "m-2",
        "choices": [{"message": {"role": "assistant", "content": content}, **more}],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 60},
        },
    }


@pytest.mark.slow
async def test_a_real_server_answers_with_real_counts(local_model_server):
    model = resolve_model("openai:smollm", base_url=local_model_server)
    reply = await model.complete(HELLO, max_tokens=6, timeout=60)
    assert reply.text
    assert reply.usage.output_tokens <= 6
    assert 20 < reply.usage.input_tokens < 60
    assert reply.cost_usd is None, "nobody knows the price of this one"
    assert model.context_window is None
    await model.aclose()


@pytest.mark.slow
async def test_a_real_server_follows_a_schema(local_model_server):
    model = OpenAIModel("smollm", base_url=local_model_server, temperature=0)
    reply = await model.complete(
        [Message("user", "Which colour has grass?")], max_tokens=40, schema=COLOUR, timeout=60
    )
    assert reply.data["colour"] in {"red", "green"}


@pytest.mark.slow
async def test_a_real_server_refuses_a_prompt_beyond_its_context(local_model_server):
    model = OpenAIModel("smollm", base_url=local_model_server)
    with pytest.raises(ContextWindowExceeded) as caught:
        await model.complete([Message("user", "sea " * 1500)], max_tokens=5, timeout=60)
    assert caught.value.window == 1024
    assert caught.value.tokens > 1500


def test_one_model_serves_several_event_loops_one_after_the_other_and_at_once(odd, model):
    odd.answers(completion("hi", finish_reason="stop"))
    replies: list[str] = []

    def ask() -> None:
        reply = asyncio.run(model.complete(HELLO, max_tokens=5))
        replies.append(reply.text)

    ask()
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == ["hi"] * 4


async def test_usage_and_model_are_the_endpoints_own(odd, model):
    odd.answers(completion("hi", finish_reason="length"))
    reply = await model.complete(HELLO, max_tokens=5)
    assert (reply.text, reply.model, reply.finish_reason) == ("hi", "m-2", "length")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (100, 7)
    assert reply.usage.cached_tokens == 60
    assert reply.usage.estimated is False


async def test_usage_is_estimated_and_says_so_when_the_endpoint_gives_none(odd, model):
    odd.answers({**completion("hello there"), "usage": None})
    reply = await model.complete(HELLO, max_tokens=5)
    assert reply.usage.estimated
    assert reply.usage.output_tokens == 2
    assert reply.usage.input_tokens >= 3


async def test_what_is_sent_holds_the_messages_and_the_ceiling(odd, model):
    odd.answers(completion("hi"))
    await model.complete([Message("system", "Be brief."), *HELLO], max_tokens=5)
    assert odd.requests == [
        {
            "model": "m",
            "max_tokens": 5,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Say hello."},
            ],
        }
    ]


async def test_your_own_price_makes_the_cost(odd):
    model = OpenAIModel("m", base_url=odd.url, price=Price("1", "10", "0.5"))
    odd.answers(completion("hi"))
    reply = await model.complete(HELLO, max_tokens=5)
    assert reply.cost_usd == Decimal("0.00014")


async def test_a_refused_connection_is_unavailable():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        model = resolve_model(f"openai:m@http://127.0.0.1:{port}/v1")
        with pytest.raises(ModelUnavailable, match=f"127.0.0.1:{port}"):
            await model.complete(HELLO, max_tokens=5)


@pytest.mark.parametrize("status", [500, 502, 503, 529, 408, 409])
async def test_an_error_that_may_pass_is_unavailable_and_not_retried_here(odd, model, status):
    odd.answers({"error": {"message": "overloaded"}}, status)
    with pytest.raises(ModelUnavailable, match=f"HTTP {status}: overloaded"):
        await model.complete(HELLO, max_tokens=5)
    assert len(odd.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_fault_of_the_request_is_rejected(odd, status):
    model = OpenAIModel("m", base_url=odd.url, api_key="sk-secret")
    odd.answers({"error": {"message": "no such model"}}, status)
    with pytest.raises(ModelRejected, match="no such model") as caught:
        await model.complete(HELLO, max_tokens=5)
    assert "sk-secret" not in f"{caught.value!r} {model!r}"


async def test_a_rate_limit_says_how_long_to_wait(odd, model):
    odd.answers({"error": {"message": "slow down"}}, 429, retry_after="7")
    with pytest.raises(ModelRateLimited) as caught:
        await model.complete(HELLO, max_tokens=5)
    assert caught.value.retry_after == 7.0


async def test_an_empty_account_is_no_rate_limit(odd, model):
    odd.answers({"error": {"message": "pay", "code": "insufficient_quota"}}, 429)
    with pytest.raises(ModelRejected):
        await model.complete(HELLO, max_tokens=5)


def test_retry_after_is_read_as_milliseconds_seconds_or_a_date():
    date = email.utils.formatdate(1_000_030, usegmt=True)
    for headers, seconds in (
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": date}, 30.0),
        ({"retry-after": email.utils.formatdate(5, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ):
        assert _retry_after(headers, now=lambda: 1_000_000.0) == seconds, headers


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html><body>Welcome to the portal</body></html>", "text/html"),
        (b"<html>", "application/json"),
        (b"", "application/json"),
        (b'{"choices": [{"mess', "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        ({}, "application/json"),
        ({"choices": []}, "application/json"),
        ({"choices": [{}]}, "application/json"),
        ({"error": {"message": "in a 200"}}, "application/json"),
        ([1, 2], "application/json"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_an_answer_that_is_no_completion_is_an_invalid_output(odd, model, body, content_type):
    odd.answers(body, Content_Type=content_type)
    with pytest.raises(InvalidOutput, match="no chat completion"):
        await model.complete(HELLO, max_tokens=5)


@pytest.mark.parametrize("content", ["", "  \n", None])
async def test_an_empty_answer_is_invalid_but_was_paid_for(odd, model, content):
    odd.answers(completion(content))
    with pytest.raises(UnusableReply, match="empty") as caught:
        await model.complete(HELLO, max_tokens=5)
    assert caught.value.reply.tokens == 107


async def test_text_where_json_was_asked_for_is_invalid_but_was_paid_for(odd, model):
    odd.answers(completion("Sure! Here it is: red"))
    with pytest.raises(UnusableReply, match="no valid JSON") as caught:
        await model.complete(HELLO, max_tokens=5, schema=COLOUR)
    assert caught.value.reply.text.startswith("Sure")
    sent = odd.requests[0]["response_format"]["json_schema"]
    assert sent == {"name": "answer", "strict": True, "schema": COLOUR}


async def test_a_refusal_is_told(odd, model):
    answer = completion(None)
    answer["choices"][0]["message"]["refusal"] = "I must not."
    odd.answers(answer)
    with pytest.raises(UnusableReply, match="refused: I must not"):
        await model.complete(HELLO, max_tokens=5)


async def test_no_answer_in_time_is_a_model_timeout(odd, model):
    odd.release.clear()
    with pytest.raises(ModelTimeout, match=r"0\.05 seconds"):
        await model.complete(HELLO, max_tokens=5, timeout=0.05)


async def test_cancelling_the_caller_ends_the_request(odd, model):
    odd.release.clear()
    calling = asyncio.ensure_future(model.complete(HELLO, max_tokens=5))
    assert await asyncio.to_thread(odd.asked.wait, 30)
    calling.cancel()
    await asyncio.wait({calling})
    assert calling.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_context_stated_in_words_is_understood(odd, model):
    odd.answers({"error": {"message": "This model's maximum context length is 128 tokens."}}, 400)
    with pytest.raises(ContextWindowExceeded) as caught:
        await model.complete(HELLO, max_tokens=500)
    assert caught.value.window == 128
    assert caught.value.tokens > 500


async def test_a_known_context_window_is_checked_before_anything_is_sent(odd):
    model = OpenAIModel("m", base_url=odd.url, context_window=1000)
    with pytest.raises(ContextWindowExceeded):
        await model.complete(HELLO, max_tokens=1000)
    assert odd.requests == []
    assert model.context_window == 1000


def test_openai_itself_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(InvalidOption, match="OPENAI_API_KEY"):
        OpenAIModel("gpt-4o")


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtra, match=r"callboard\[openai\]"):
        OpenAIModel("m", base_url="http://127.0.0.1:1/v1")
