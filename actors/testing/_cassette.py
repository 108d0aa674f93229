"""The file of a cassette: JSON lines, one for each recorded call, in the order of recording.

The first line is `{"cassette":1,"models":{NAME:{"context_window":…}}}`. Each other one is
`{"key":…,"request":{…},"reply":{…}}` or has `"error"` in place of `"reply"`. `key` is the SHA-256
of the request's canonical JSON (fields sorted), so that a line that was edited by hand shows.

Redacted is what is written and what is compared: a recording fits whatever the secrets are.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from actors._errors import (
    ContextWindowExceeded,
    InvalidOption,
    InvalidOutput,
    ModelError,
    ModelRejected,
    UnusableReply,
)
from actors.agents._types import Message, Reply
from actors.testing._errors import CassetteError

__all__ = ["Cassette", "RecordedError", "Recording", "Request", "redactor", "to_error", "to_record"]

VERSION = 1
REDACTED = "<redacted>"

_KEYS = (
    r"\bsk-[A-Za-z0-9_-]{8,}",  # OpenAI, Anthropic and many others
    r"\bAIza[A-Za-z0-9_-]{20,}",  # Google
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",  # GitHub
    r"\bAKIA[A-Z0-9]{16}\b",  # AWS
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",  # Slack
    r"\bhf_[A-Za-z0-9]{20,}",  # Hugging Face
    r"(?<=Bearer )[A-Za-z0-9._~+/=-]{8,}",
    r"(?i:(?<=api_key=)|(?<=api-key: )|(?<=apikey=))[^\s&\"']{6,}",
)
_SECRET_VARIABLE = re.compile(r"(_API_KEY|_TOKEN|_SECRET|_PASSWORD)$")
_SHORTEST_SECRET = 8


class Request(msgspec.Struct, frozen=True):
    """What makes two calls the same."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    schema: Any = None

    def key(self) -> str:
        """Return the hash that names it."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    def lines(self) -> list[str]:
        """Return it as lines to be compared by eye."""
        text = [f"model: {self.model}", f"max_tokens: {self.max_tokens}"]
        for message in self.messages:
            text += [f"{message.role}:", *(f"  {line}" for line in message.content.splitlines())]
        if self.schema is not None:
            schema = msgspec.json.encode(self.schema, order="deterministic")
            text += ["schema:", *msgspec.json.format(schema).decode().splitlines()]
        return text


class RecordedError(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error of the model that is the answer to the request, whenever it is asked."""

    kind: str
    detail: str
    reply: Reply | None = None
    tokens: int | None = None
    window: int | None = None


class Recording(msgspec.Struct, frozen=True, omit_defaults=True):
    """One recorded call."""

    key: str
    request: Request
    reply: Reply | None = None
    error: RecordedError | None = None


class _ModelFacts(msgspec.Struct, frozen=True):
    context_window: int | None = None


class _Header(msgspec.Struct, frozen=True):
    cassette: int
    models: dict[str, _ModelFacts]


def to_record(error: ModelError) -> RecordedError | None:
    """Return what to write down of an error; None if it may pass and says nothing of the request.

    An endpoint that is down, slow or busy is no answer worth keeping.
    """
    match error:
        case UnusableReply(reply=Reply() as reply):
            return RecordedError("UnusableReply", error.detail, reply=reply)
        case ContextWindowExceeded():
            return RecordedError(
                "ContextWindowExceeded", error.detail, tokens=error.tokens, window=error.window
            )
        case ModelRejected() | InvalidOutput():
            return RecordedError(type(error).__name__, error.detail)
    return None


def to_error(model: str, record: RecordedError) -> ModelError:
    """Return the error that was recorded."""
    match record.kind:
        case "UnusableReply":
            return UnusableReply(model, record.detail, record.reply)
        case "ContextWindowExceeded":
            return ContextWindowExceeded(model, record.tokens or 0, record.window or 0)
        case "ModelRejected":
            return ModelRejected(model, record.detail)
    return InvalidOutput(model, record.detail)


def redactor(
    patterns: Iterable[str | re.Pattern[str]], environment: Mapping[str, str]
) -> Callable[[Any], Any]:
    """Return a function that takes secrets out of anything made of JSON's types.

    Args:
        patterns: regular expressions of further secrets; a group named `secret` limits what is
            taken out to it.
        environment: variables whose names say that they hold secrets are taken out, too.

    Raises:
        InvalidOption: a pattern is no regular expression.
    """
    given: list[re.Pattern[str]] = []
    for pattern in (*_KEYS, *patterns):
        try:
            given.append(re.compile(pattern))
        except (re.error, TypeError) as error:
            raise InvalidOption("redact", pattern, f"a regular expression ({error})") from error
    secrets = sorted(
        {
            value
            for name, value in environment.items()
            if _SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST_SECRET
        },
        key=len,
        reverse=True,
    )

    def hide(found: re.Match[str]) -> str:
        if "secret" not in found.re.groupindex:
            return REDACTED
        start, end = (at - found.start() for at in found.span("secret"))
        whole = found.group()
        return f"{whole[:start]}{REDACTED}{whole[end:]}"

    def redact(value: Any) -> Any:
        if isinstance(value, str):
            for secret in secrets:
                value = value.replace(secret, REDACTED)
            for pattern in given:
                value = pattern.sub(hide, value)
            return value
        if isinstance(value, Mapping):
            return {redact(key): redact(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [redact(each) for each in value]
        return value

    return redact


class Cassette:
    """The recordings of one file.

    Args:
        path: the file; it need not exist.

    Raises:
        CassetteError: it is none of these files, or damaged.
    """

    def __init__(self, path: Path, *, empty: bool = False) -> None:
        self.path = path
        self.windows: dict[str, int | None] = {}
        self._recordings: list[Recording] = []
        self._by_key: dict[str, list[Recording]] = {}
        if not empty:
            self._read()

    def find(self, key: str, number: int) -> Recording | None:
        """Return the recording of the request's call `number`, counted from 0."""
        found = self._by_key.get(key, ())
        return found[number] if number < len(found) else None

    def times(self, key: str) -> int:
        """Return how often a request is recorded."""
        return len(self._by_key.get(key, ()))

    def dearest(self) -> Decimal | None:
        """Return what the dearest recorded call cost, in USD; None if one has no known price."""
        costs = [each.reply.cost_usd for each in self._recordings if each.reply is not None]
        return None if None in costs else max((c for c in costs if c is not None), default=None)

    def add(self, recording: Recording) -> None:
        """Add a recording and write the file."""
        self._insert(recording)
        self._write()

    def difference(self, request: Request) -> str:
        """Return how the nearest recorded request differs from this one, as a diff."""
        wanted = request.lines()
        nearest: Sequence[str] = ()
        best = -1.0
        for recording in self._recordings:
            lines = recording.request.lines()
            likeness = difflib.SequenceMatcher(None, "\n".join(lines), "\n".join(wanted)).ratio()
            if likeness > best:
                nearest, best = lines, likeness
        if not nearest:
            return ""
        diff = difflib.unified_diff(nearest, wanted, "recorded", "asked now", lineterm="", n=1)
        return "\n".join(diff)

    def _insert(self, recording: Recording) -> None:
        self._recordings.append(recording)
        self._by_key.setdefault(recording.key, []).append(recording)

    def _read(self) -> None:
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise CassetteError(f"{self.path} cannot be read: {error}") from error
        number = 1
        try:
            header = msgspec.json.decode(lines[0] if lines else b"", type=_Header)
            if header.cassette != VERSION:
                raise CassetteError(
                    f"{self.path} is a cassette of version {header.cassette}, and this is "
                    f"{VERSION}: record it anew"
                )
            self.windows = {name: facts.context_window for name, facts in header.models.items()}
            for number, line in enumerate(lines[1:], 2):
                recording = msgspec.json.decode(line, type=Recording)
                if recording.key != recording.request.key():
                    raise CassetteError(
                        f"{self.path}, line {number}: the request was changed by hand, so its key "
                        "does not fit any more; record it anew"
                    )
                self._insert(recording)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CassetteError(f"{self.path}, line {number}: no cassette ({error})") from error

    def _write(self) -> None:
        models = {name: _ModelFacts(window) for name, window in self.windows.items()}
        lines = [msgspec.json.encode(_Header(VERSION, models))]
        lines += map(msgspec.json.encode, self._recordings)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Beside it, so that the replacing is one step; who reads sees the old or the new file.
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(b"\n".join(lines) + b"\n")
            Path(name).chmod(0o644)
            Path(name).replace(self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
