from __future__ import annotations

import dataclasses
import enum
import hashlib

import msgspec
import pytest

from actors.services._set_order import settled


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Pair(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    first_one: object = None
    other: object = None


@dataclasses.dataclass(frozen=True)
class Point:
    tags: object


@pytest.mark.parametrize(
    ("value", "json"),
    [
        ({10, 9, -2}, b"[-2,9,10]"),
        (frozenset({"b", "a", "ä"}), '["a","b","ä"]'.encode()),
        ({"b", None, 2, 1.5, "a"}, b'["a","b",1.5,2,null]'),
        ({Colour.RED, Colour.BLUE}, b'["blue","red"]'),
        ({frozenset({2, 1}), frozenset({3}), (0, "x")}, b'[[0,"x"],[1,2],[3]]'),
        ({"z": {2, 1}, "a": {"c": [{4, 3}], "b": 0}}, b'{"z":[1,2],"a":{"c":[[3,4]],"b":0}}'),
        ((1, [{"y", "x"}]), b'[1,[["x","y"]]]'),
        (Pair(first_one={2, 1}), b'{"firstOne":[1,2]}'),
        (Point({2, 1}), b'{"tags":[1,2]}'),
        (set(), b"[]"),
    ],
)
def test_sets_are_in_order_and_all_else_is_as_it_was(value, json):
    assert msgspec.json.encode(settled(value)) == json


@pytest.mark.parametrize(
    "value",
    ["text", 7, None, [1, [2]], (1, 2), {"b": [1], "a": {}}, Pair(1, [2]), Point("x"), Pair],
)
def test_what_has_no_set_is_returned_itself(value):
    assert settled(value) is value


def test_the_value_that_was_given_keeps_its_sets():
    given = {"pair": Pair(first_one={1, 2}), "points": [Point({3})]}
    settled(given)
    assert given == {"pair": Pair(first_one={1, 2}), "points": [Point({3})]}


RECORDS = """
import hashlib, pathlib, sys
from actors import DecisionLog, Tracer
from actors.testing import Simulation

log, trace = map(pathlib.Path, sys.argv[1:])
with Simulation(seed=1) as sim:
    with DecisionLog(log) as decisions, Tracer(trace) as tracer:
        for number in range(20):
            names = {f"{kind}-{number}" for kind in ("a", "b", "c", "d", "e", 1, 2, 3)}
            decisions.record("route", to=names, why={"z": [names, {number, "x"}]}).get()
            with tracer.span("route", to=names) as span:
                span.add_event("seen", by=frozenset(names))
for path in (log, trace):
    print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_log_and_trace_have_the_same_bytes_in_every_process(program, tmp_path, monkeypatch):
    found = []
    for seed in "12":
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        log, trace = tmp_path / f"{seed}.jsonl", tmp_path / f"{seed}.trace"
        process = program(RECORDS, log, trace)
        found.append(process.communicate(timeout=60)[0].split())
        assert process.returncode == 0
    assert found[0] == found[1]
    assert found[0] == [hashlib.sha256(p.read_bytes()).hexdigest() for p in (log, trace)]
