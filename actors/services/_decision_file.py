"""The file format of the decision log: JSON lines in a hash chain.

A line is `{"seq":…,"ts":…,"decision":…,"run_id":…,"span_id":…,"actor":…, fields…, "prev":…}`;
`prev` is the SHA-256 of the line before it (without its line break), null in the first one. So a
line that is changed, dropped, added or moved shows; that the last lines were cut off shows only
to who noted the `head` before. A log that was rotated consists of `name.1`, `name.2`, … and
`name`, and the chain runs through all of them.

Pure: bytes in, Structs out.
"""

from __future__ import annotations

import glob
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from actors._errors import InvalidOption, LogCorrupt
from actors.services._set_order import settled

__all__ = [
    "RESOLVED",
    "Decision",
    "Filter",
    "Verification",
    "check_chain",
    "digest",
    "encode_body",
    "is_record",
    "parse",
    "rotated",
    "seal",
    "seconds",
    "select",
]

RESOLVED = "resolved"
"""The decision of lines that `resolve` appends; their field `resolves` is the seq they are on."""

_OWN = ("seq", "ts", "decision", "run_id", "span_id", "actor")
_FORBIDDEN = frozenset({"seq", "ts", "prev"})


class Decision(msgspec.Struct, frozen=True):
    """One line of the log.

    Attributes:
        seq: its number, from 1.
        ts: when it was recorded, in seconds since the Unix epoch.
        decision: what kind of decision it is.
        run_id, span_id, actor: where it was taken, None outside of runs, spans and actors.
        fields: everything else that was recorded with it.
        prev: the hash of the line before it.
        outcome: what `resolve` said of it last, or None.
    """

    seq: int
    ts: float
    decision: str
    run_id: str | None
    span_id: str | None
    actor: str | None
    fields: dict[str, Any]
    prev: str | None
    outcome: Any = None


class Verification(msgspec.Struct, frozen=True):
    """A log whose chain holds.

    Attributes:
        records: how many lines it has.
        first_seq, last_seq: the numbers of the first and the last, None of an empty log.
        head: the hash of the last line; keep it elsewhere to notice when the end is cut off.
        torn_bytes: what a crash left after the last whole line.
        files: how many files it consists of.
    """

    records: int
    first_seq: int | None
    last_seq: int | None
    head: str | None
    torn_bytes: int
    files: int


class _Line(msgspec.Struct, frozen=True):
    seq: int
    ts: float
    decision: str
    prev: str | None
    run_id: str | None = None
    span_id: str | None = None
    actor: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_all = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def encode_body(own: Mapping[str, Any], fields: Mapping[str, Any]) -> bytes:
    """Return everything of a line that is known before it has its place in the chain.

    Raises:
        InvalidOption: a field has the name of a column, or a value that JSON cannot hold.
    """
    for name, value in fields.items():
        if name in _FORBIDDEN:
            raise InvalidOption(name, value, "another name: the log itself sets this one")
        if name in own and not (isinstance(value, str) or (value is None and name != "decision")):
            raise InvalidOption(name, value, "a str")
    try:
        body = _encode({**own, **fields})
        # A set is written as an array, so most records show at once that they have none.
        # (`in` would take three times as long as `find`.)
        return _encode(settled({**own, **fields})) if body.find(b"[") >= 0 else body
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        for name, value in {**own, **fields}.items():
            try:
                _encode({name: value})
            except (TypeError, ValueError, OverflowError, RecursionError) as reason:
                shown = name.encode(errors="backslashreplace").decode()
                raise InvalidOption(
                    shown, value, f"a value msgspec can encode as JSON ({reason})"
                ) from error
        raise


def seal(seq: int, body: bytes, prev: str | None) -> bytes:
    """Return the line (without line break) that puts `body` into the chain."""
    link = b"null" if prev is None else b'"%s"' % prev.encode()
    return b'{"seq":%d,%s,"prev":%s}' % (seq, body[1:-1], link)


def digest(line: bytes) -> str:
    """Return what the next line has as `prev`."""
    return hashlib.sha256(line).hexdigest()


def is_record(line: bytes) -> bool:
    """Tell whether a line was written by this log, completely."""
    try:
        _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def parse(line: bytes) -> Decision:
    """Read a line.

    Raises:
        LogCorrupt: it is none of this log's.
    """
    try:
        head = _decode_line(line)
        fields = _decode_all(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogCorrupt(f"not a line of a decision log: {line[:80]!r} ({error})") from error
    for name in (*_OWN, "prev"):
        fields.pop(name, None)
    return Decision(
        seq=head.seq,
        ts=head.ts,
        decision=head.decision,
        run_id=head.run_id,
        span_id=head.span_id,
        actor=head.actor,
        fields=fields,
        prev=head.prev,
    )


def rotated(path: Path) -> list[Path]:
    """Return the files a log was rotated into, oldest first."""
    found = []
    for other in path.parent.glob(f"{glob.escape(path.name)}.*"):
        number = other.name[len(path.name) + 1 :]
        if number.isascii() and number.isdigit():
            found.append((int(number), other))
    return [other for _, other in sorted(found)]


def check_chain(files: Iterable[tuple[str, Iterable[tuple[bytes, bool]]]]) -> Verification:
    """Follow the chain through all files, given as their names and lines.

    A log may begin in the middle, where older files were taken away.

    Raises:
        LogCorrupt: a line is damaged, missing, added, or out of order; the text says where.
    """
    head: str | None = None
    first = last = None
    records = count = torn = 0
    for name, lines in files:
        count += 1
        if torn:
            raise LogCorrupt(f"{name}: the file before it ends in a torn line")
        for number, (line, ended) in enumerate(lines, 1):
            where = f"{name}, line {number}"
            if torn or not ended or not is_record(line):
                # Allowed at the very end only: a crash tears the tail, never the middle.
                if ended and is_record(line):
                    raise LogCorrupt(f"{where}: a whole line after a damaged one")
                torn += len(line) + ended
                continue
            record = _decode_line(line)
            if last is None:
                if record.seq == 1 and record.prev is not None:
                    raise LogCorrupt(f"{where}: the first line has something before it")
                first = record.seq
            elif record.seq != last + 1:
                raise LogCorrupt(f"{where}: seq {record.seq} comes after {last}")
            elif record.prev != head:
                raise LogCorrupt(f"{where}: the line before seq {record.seq} was changed")
            head, last = digest(line), record.seq
            records += 1
    return Verification(records, first, last, head, torn, count)


class Filter(msgspec.Struct, frozen=True):
    """Which decisions are wanted; each part that is None lets everything pass.

    Attributes:
        decision: the kind.
        since: the earliest time, included, in seconds since the Unix epoch.
        until: the latest time, excluded.
        run_id: the run.
        where: a predicate on the `Decision`, asked last.
        limit: how many at most, the earliest first.
    """

    decision: str | None = None
    since: float | None = None
    until: float | None = None
    run_id: str | None = None
    where: Callable[[Decision], bool] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        limit = self.limit
        if limit is not None and (type(limit) is not int or limit < 0):
            raise InvalidOption("limit", limit, "a number of records, 0 or more, or None")
        if self.where is not None and not callable(self.where):
            raise InvalidOption("where", self.where, "a function of a Decision, or None")

    def passes(self, line: _Line | Decision) -> bool:
        """Tell whether everything but `where` agrees."""
        return (
            (self.decision is None or line.decision == self.decision)
            and (self.since is None or line.ts >= self.since)
            and (self.until is None or line.ts < self.until)
            and (self.run_id is None or line.run_id == self.run_id)
        )


def seconds(option: str, value: float | datetime | None) -> float | None:
    """Return a time as seconds since the Unix epoch.

    Raises:
        InvalidOption: it is neither a number nor a datetime with a time zone.
    """
    given: object = value
    if given is None:
        return None
    if isinstance(given, datetime) and given.tzinfo is not None:
        return given.timestamp()
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise InvalidOption(
            option, value, "seconds since the Unix epoch, or a datetime with a time zone"
        )
    if math.isnan(given):
        raise InvalidOption(option, value, "a time, not NaN")
    return float(given)


def select(lines: Iterable[bytes], wanted: Filter) -> list[Decision]:
    """Return the decisions among `lines` that are wanted, each with its latest outcome.

    Raises:
        LogCorrupt: a line is none of this log's.
    """
    found = []
    outcomes: dict[int, Any] = {}
    for line in lines:
        try:
            head = _decode_line(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            parse(line)
            raise
        if head.decision == RESOLVED:
            decision = parse(line)
            outcomes[decision.fields.get("resolves", 0)] = decision.fields.get("outcome")
        if wanted.passes(head):
            found.append(line)
    return list(_take(map(parse, found), outcomes, wanted))


def _take(
    decisions: Iterator[Decision], outcomes: dict[int, Any], wanted: Filter
) -> Iterator[Decision]:
    left = wanted.limit
    for bare in decisions:
        if left is not None and left <= 0:
            return
        known = bare.seq in outcomes
        decision = msgspec.structs.replace(bare, outcome=outcomes[bare.seq]) if known else bare
        if wanted.where is None or wanted.where(decision):
            yield decision
            if left is not None:
                left -= 1
