from __future__ import annotations

import datetime as dt
import enum
import json
import random

import pytest

from actors._errors import InvalidOption, LogCorrupt
from actors.services._decision_file import (
    RESOLVED,
    Filter,
    check_chain,
    digest,
    encode_body,
    is_record,
    parse,
    rotated,
    seal,
    seconds,
    select,
)


def body(ts=1.0, decision="route", run_id="r", **fields):
    own = {"ts": ts, "decision": decision, "run_id": run_id, "span_id": None, "actor": None}
    return encode_body(own, fields)


def chain(*bodies, start=1, prev=None):
    lines = []
    for seq, part in enumerate(bodies, start):
        lines.append(seal(seq, part, prev))
        prev = digest(lines[-1])
    return lines


def verify(*files):
    return check_chain(
        (f"file {n}", [(line, True) for line in lines]) for n, lines in enumerate(files)
    )


def test_a_line_is_json_with_its_columns_in_order():
    (line,) = chain(body(target="coder"))
    assert list(json.loads(line)) == [
        *("seq", "ts", "decision", "run_id", "span_id", "actor", "target", "prev"),
    ]
    assert parse(line).fields == {"target": "coder"}
    assert parse(line).prev is None


def test_each_line_carries_the_hash_of_the_one_before_it():
    first, second = chain(body(), body())
    assert parse(second).prev == digest(first)


def test_a_chain_that_holds_is_counted_across_files():
    lines = chain(*[body(n) for n in range(5)])
    report = verify(lines[:2], lines[2:])
    assert (report.records, report.first_seq, report.last_seq, report.files) == (5, 1, 5, 2)
    assert report.head == digest(lines[-1])
    assert report.torn_bytes == 0


def test_an_empty_log_holds():
    report = check_chain([])
    assert (report.records, report.last_seq, report.head) == (0, None, None)


def test_a_log_whose_oldest_files_were_taken_away_holds_from_there():
    assert verify(chain(body(), body(), body())[1:]).first_seq == 2


@pytest.mark.parametrize("seed", range(40))
def test_any_change_in_the_middle_shows(seed):
    rng = random.Random(seed)
    lines = chain(*[body(n, note="x" * n) for n in range(8)])
    at = rng.randrange(1, 6)
    match rng.choice(["flip", "drop", "swap", "repeat", "insert", "rewrite"]):
        case "flip":
            place = rng.randrange(len(lines[at]))
            changed = bytearray(lines[at])
            changed[place] ^= 1 << rng.randrange(7)
            lines[at] = bytes(changed)
        case "drop":
            del lines[at]
        case "swap":
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        case "repeat":
            lines.insert(at, lines[at])
        case "insert":
            lines.insert(at, b"{}")
        case "rewrite":
            lines[at] = seal(at + 1, body(99), digest(lines[at - 1]))
    with pytest.raises(LogCorrupt):
        verify(lines)


def test_what_a_crash_left_at_the_end_is_counted_and_no_corruption():
    lines = chain(body(), body())
    report = check_chain([("file", [(lines[0], True), (lines[1][:9], True), (b"\0\0", False)])])
    assert (report.records, report.torn_bytes) == (1, 12)


def test_a_whole_line_without_its_line_break_was_never_promised():
    lines = chain(body(), body())
    assert check_chain([("file", [(lines[0], True), (lines[1], False)])]).records == 1


# -- what may be recorded --------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


def test_whatever_msgspec_encodes_is_recorded():
    when = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    (line,) = chain(body(colour=Colour.RED, at=when, some={1}, pair=(1, None)))
    assert parse(line).fields == {
        "colour": "red",
        "at": "2026-01-01T00:00:00Z",
        "some": [1],
        "pair": [1, None],
    }


@pytest.mark.parametrize("value", [object(), lambda: 0, 1j, {"deep": [object()]}, "\ud800"])
def test_what_cannot_be_encoded_is_named(value):
    with pytest.raises(InvalidOption) as caught:
        body(fine=1, broken=value)
    assert caught.value.option == "broken"


def test_a_value_that_contains_itself_is_named():
    value: list = []
    value.append(value)
    with pytest.raises(InvalidOption) as caught:
        body(broken=value)
    assert caught.value.option == "broken"


@pytest.mark.parametrize("name", ["seq", "ts", "prev"])
def test_the_logs_own_columns_cannot_be_set(name):
    with pytest.raises(InvalidOption):
        encode_body({"ts": 1.0, "decision": "x"}, {name: 1})


def test_a_column_that_may_be_set_must_stay_readable():
    own = {"ts": 1.0, "decision": "x", "run_id": None, "span_id": None, "actor": None}
    assert is_record(seal(1, encode_body(own, {"run_id": "mine"}), None))
    with pytest.raises(InvalidOption):
        encode_body(own, {"run_id": 7})


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"\0\0", b'{"seq":1}', b"\xff", b"text"])
def test_foreign_lines_are_not_records(line):
    assert not is_record(line)
    with pytest.raises(LogCorrupt):
        parse(line)


# -- queries ---------------------------------------------------------------------------------


LINES = chain(
    body(1.0, "route", "a", target="x"),
    body(2.0, "retry", "a"),
    body(3.0, "route", "b", target="y"),
    body(4.0, RESOLVED, "a", resolves=1, outcome="wrong"),
    body(5.0, RESOLVED, "a", resolves=1, outcome="right"),
    body(6.0, "route", "b", target="x"),
)


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        (Filter(), [1, 2, 3, 4, 5, 6]),
        (Filter(decision="route"), [1, 3, 6]),
        (Filter(run_id="a"), [1, 2, 4, 5]),
        (Filter(since=2.0, until=4.0), [2, 3]),
        (Filter(decision="route", limit=2), [1, 3]),
        (Filter(limit=0), []),
        (Filter(where=lambda d: d.fields.get("target") == "x", limit=1), [1]),
        (Filter(where=lambda d: d.outcome == "right"), [1]),
    ],
)
def test_a_query_gives_what_was_asked_for_in_order(wanted, seqs):
    assert [d.seq for d in select(LINES, wanted)] == seqs


def test_the_latest_outcome_stands():
    assert select(LINES, Filter(limit=1))[0].outcome == "right"


@pytest.mark.parametrize(
    "options", [{"limit": -1}, {"limit": True}, {"limit": 1.5}, {"where": "target = 'x'"}]
)
def test_a_query_that_makes_no_sense_is_refused(options):
    with pytest.raises(InvalidOption):
        Filter(**options)


def test_times_are_seconds_or_datetimes_with_a_zone():
    assert seconds("since", None) is None
    assert seconds("since", 3) == 3.0
    assert seconds("since", dt.datetime(1970, 1, 1, 0, 1, tzinfo=dt.UTC)) == 60.0
    for value in (dt.datetime(2026, 1, 1), "2026", True):  # noqa: DTZ001 - the case tested
        with pytest.raises(InvalidOption):
            seconds("since", value)


def test_rotated_files_are_found_in_the_order_they_were_written(tmp_path):
    for name in ("log[1]", "log[1].2", "log[1].10", "log[1].torn-1", "log1.1", "log[1].x"):
        (tmp_path / name).touch()
    assert [p.name for p in rotated(tmp_path / "log[1]")] == ["log[1].2", "log[1].10"]
