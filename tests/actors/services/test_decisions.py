from __future__ import annotations

import asyncio
import builtins
import datetime as dt
import json
import threading

import pytest

from actors import (
    Actor,
    ActorSystem,
    CallboardError,
    Deadline,
    InvalidOption,
    LogClosed,
    LogCorrupt,
    LogError,
    MissingExtra,
)
from actors._context import RUN, RunContext
from actors.services.decisions import DecisionLog
from actors.services.tracing import Tracer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decisions.jsonl"


@pytest.fixture
def log(system, path):
    with DecisionLog(path, system=system) as opened:
        yield opened


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def record_some(log, count, **fields):
    return [f.get() for f in [log.record("route", n=n, **fields) for n in range(count)]]


# -- recording -------------------------------------------------------------------------------


def test_a_record_is_on_disk_when_its_future_is_done(log, path):
    assert log.record(decision="route", target="coder", confidence=0.9).get() == 1
    (line,) = lines(path)
    assert line["decision"] == "route"
    assert line["target"] == "coder"
    assert line["seq"] == 1
    assert line["prev"] is None


async def test_records_can_be_awaited(path):
    async with ActorSystem() as system, DecisionLog(path, system=system) as log:
        futures = [log.record("route", n=n) for n in range(10)]
        assert [await future for future in futures] == list(range(1, 11))
    assert DecisionLog.verify(path).records == 10


def test_one_write_serves_all_records_that_wait(system, path):
    with DecisionLog(path, system=system) as log:
        assert record_some(log, 500) == list(range(1, 501))
        stats = log.stats().get()
    assert (stats.records, stats.last_seq) == (500, 500)
    assert stats.writes < 100


@pytest.mark.parametrize(("fsync", "writes"), [("always", 20), ("never", None)])
def test_every_record_can_have_its_own_write_or_none_a_sync(system, path, fsync, writes):
    with DecisionLog(path, fsync=fsync, system=system) as log:
        record_some(log, 20)
        if writes is not None:
            assert log.stats().get().writes == writes
    assert DecisionLog.verify(path).records == 20


def test_many_threads_record_into_one_chain(log, path):
    threads = [threading.Thread(target=record_some, args=(log, 50)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert DecisionLog.verify(path).records == 400


class Recorder(Actor):
    def on_receive(self, log):
        return log.record("inside").get()


def test_run_span_and_actor_are_filled_in(system, log, path):
    recorder = system.spawn(Recorder, name="recorder")
    tracer = Tracer(system=system)
    token = RUN.set(RunContext("run 7"))
    try:
        with tracer.span("work") as span:
            log.record("outside").get()
            recorder.request(log).get()
    finally:
        RUN.reset(token)
    outside, inside = lines(path)
    assert (outside["run_id"], outside["span_id"], outside["actor"]) == (
        "run 7",
        span.span_id,
        None,
    )
    assert (inside["run_id"], inside["span_id"], inside["actor"]) == (
        "run 7",
        span.span_id,
        "/recorder",
    )


def test_a_decision_after_the_deadline_is_recorded(system, log, path):
    expired = Deadline.at(system.clock.monotonic() - 1, clock=system.clock)
    token = RUN.set(RunContext("late", deadline=expired))
    try:
        assert log.record("halt", reason="deadline").get() == 1
    finally:
        RUN.reset(token)


async def test_a_decision_whose_task_is_cancelled_is_recorded(path):
    async with ActorSystem() as system, DecisionLog(path, system=system) as log:

        async def decide():
            await log.record("halt")

        task = asyncio.create_task(decide())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert DecisionLog.verify(path).records == 1


def test_what_is_changed_after_recording_does_not_change_the_record(log, path):
    choices = ["a"]
    future = log.record("route", choices=choices)
    choices.append("b")
    future.get()
    assert lines(path)[0]["choices"] == ["a"]


def test_a_field_that_cannot_be_encoded_is_refused_before_anything_is_written(log, path):
    with pytest.raises(InvalidOption) as caught:
        log.record("route", target="coder", callback=print)
    assert caught.value.option == "callback"
    assert log.stats().get().records == 0
    for bad in ("", None, 3):
        with pytest.raises(InvalidOption):
            log.record(bad)


def test_what_is_redacted_is_not_on_disk(system, path):
    def redact(fields):
        return {**fields, "prompt": "…"} if "prompt" in fields else fields

    with DecisionLog(path, redact=redact, system=system) as log:
        log.record("route", prompt="my secret").get()
        seq = log.record("retry").get()
        log.resolve(seq, "done", prompt="my secret").get()
    assert "secret" not in path.read_text()
    assert [line["decision"] for line in lines(path)] == ["route", "retry", "resolved"]


def test_a_redaction_that_fails_writes_nothing(system, path):
    def redact(fields):
        raise ZeroDivisionError

    with DecisionLog(path, redact=redact, system=system) as log, pytest.raises(ZeroDivisionError):
        log.record("route", prompt="my secret")
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "options", [{"fsync": "sometimes"}, {"rotate_bytes": 0}, {"rotate_bytes": True}, {"redact": 3}]
)
def test_options_that_make_no_sense_are_refused(system, path, options):
    with pytest.raises(InvalidOption):
        DecisionLog(path, system=system, **options)
    assert not path.exists()


# -- resolving and asking --------------------------------------------------------------------


def test_an_outcome_is_appended_and_shown(log, path):
    seq = log.record("route", target="coder").get()
    log.record("route", target="critic").get()
    log.resolve(seq, "wrong").get()
    log.resolve(seq, {"verdict": "right"}, by="a human").get()
    first, second, *_ = log.query().get()
    assert first.outcome == {"verdict": "right"}
    assert second.outcome is None
    assert lines(path)[0]["target"] == "coder", "and nothing was overwritten"
    assert len(lines(path)) == 4


@pytest.mark.parametrize("seq", [2, 10**30])
def test_a_decision_that_does_not_exist_cannot_be_resolved(log, seq):
    log.record("route").get()
    with pytest.raises(InvalidOption):
        log.resolve(seq, "x").get()
    for bad in (0, -1, True, "1"):
        with pytest.raises(InvalidOption):
            log.resolve(bad, "x")


def test_a_query_sees_what_was_recorded_before_it(log):
    for n in range(5):
        log.record("route" if n % 2 else "retry", n=n)
    found = log.query(decision="route", where=lambda d: d.fields["n"] > 1).get()
    assert [d.fields["n"] for d in found] == [3]
    assert [d.seq for d in log.query(limit=2).get()] == [1, 2]


def test_a_query_by_run_and_time(system, log):
    token = RUN.set(RunContext("mine"))
    log.record("route").get()
    RUN.reset(token)
    log.record("route").get()
    assert [d.seq for d in log.query(run_id="mine").get()] == [1]
    now = dt.datetime.now(dt.UTC)
    assert len(log.query(since=now - dt.timedelta(hours=1), until=now).get()) == 2
    assert log.query(since=now + dt.timedelta(hours=1)).get() == []


def test_a_predicate_that_fails_fails_the_query_only(log):
    log.record("route").get()
    with pytest.raises(KeyError):
        log.query(where=lambda d: d.fields["missing"]).get()
    assert log.record("route").get() == 2


def test_a_slow_query_does_not_hold_up_recording(log):
    log.record("route").get()
    go_on = threading.Event()
    slow = log.query(where=lambda _: go_on.wait(10))
    assert log.record("route").get() == 2
    assert not slow.done()
    go_on.set()
    assert len(slow.get()) == 1


@pytest.mark.slow
def test_sql_over_the_log(system, path):
    pytest.importorskip("duckdb")
    with DecisionLog(path, rotate_bytes=400, system=system) as log:
        assert log.sql("SELECT count(*) AS n FROM decisions").get() == [{"n": 0}]
        record_some(log, 10)
        log.record("retry", why="because").get()
        rows = log.sql(
            "SELECT decision, count(*) AS n, max(why) AS why FROM decisions GROUP BY 1 ORDER BY 1"
        ).get()
        with pytest.raises(LogError):
            log.sql("SELECT nonsense").get()
        with pytest.raises(LogError):
            log.sql("SELECT * FROM read_text('/etc/hostname')").get()
    assert rows == [
        {"decision": "retry", "n": 1, "why": "because"},
        {"decision": "route", "n": 10, "why": None},
    ]


def test_sql_without_duckdb_names_the_extra(log, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "duckdb":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra) as caught:
        log.sql("SELECT 1").get()
    assert caught.value.extra == "query"


# -- opening again ---------------------------------------------------------------------------


def test_the_chain_goes_on_when_the_log_is_opened_again(system, path):
    for _ in range(3):
        with DecisionLog(path, system=system) as log:
            record_some(log, 4)
    report = DecisionLog.verify(path)
    assert (report.records, report.last_seq) == (12, 12)


def test_rotated_files_continue_the_chain(system, path):
    for _ in range(2):
        with DecisionLog(path, rotate_bytes=500, system=system) as log:
            for n in range(10):
                log.record("route", n=n).get()
            assert len(log.query().get()) == log.stats().get().last_seq
    report = DecisionLog.verify(path)
    assert report.records == 20
    assert report.files > 4
    assert sorted(p.name for p in path.parent.iterdir())[:3] == [
        "decisions.jsonl",
        "decisions.jsonl.1",
        "decisions.jsonl.2",
    ]


def test_a_log_that_was_just_rotated_is_opened_again(system, path):
    with DecisionLog(path, rotate_bytes=1, system=system) as log:
        log.record("route").get()
    assert path.read_bytes() == b""
    with DecisionLog(path, rotate_bytes=1, system=system) as log:
        assert log.record("route").get() == 2
    assert DecisionLog.verify(path).records == 2


@pytest.mark.parametrize("torn", [b"\0\0\0", b'{"seq":3,"ts":1', b"\0\n\0\n\0", b"{}\n"])
def test_a_torn_tail_is_put_aside_and_reported(system, path, torn):
    with DecisionLog(path, system=system) as log:
        record_some(log, 2)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with DecisionLog(path, system=system) as log:
        stats = log.stats().get()
        assert log.record("route").get() == 3
    assert stats.torn_bytes == len(torn)
    assert path.with_name("decisions.jsonl.torn-1").read_bytes() == torn
    assert stats.torn_file == str(path.with_name("decisions.jsonl.torn-1"))
    assert path.read_bytes().startswith(whole)
    assert DecisionLog.verify(path).records == 3


def test_a_second_crash_does_not_overwrite_what_the_first_one_left(system, path):
    for torn in (b"first", b"second"):
        path.write_bytes((path.read_bytes() if path.exists() else b"") + torn)
        with DecisionLog(path, system=system) as log:
            log.record("route").get()
    assert path.with_name("decisions.jsonl.torn-1").read_bytes() == b"first"
    assert path.with_name("decisions.jsonl.torn-2").read_bytes() == b"second"


def test_a_changed_line_shows(system, path):
    with DecisionLog(path, system=system) as log:
        record_some(log, 3)
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":9'))
    with pytest.raises(LogCorrupt, match="line 3"):
        DecisionLog.verify(path)


def test_another_file_is_not_taken_for_a_log(system, path):
    path.write_text("milk\neggs\n")
    with pytest.raises(LogCorrupt):
        DecisionLog(path, system=system)
    assert path.read_text() == "milk\neggs\n"


def test_a_log_is_open_once(system, path, log):
    with pytest.raises(LogError, match="in use"):
        DecisionLog(path, system=system)


def test_a_path_that_cannot_be_written_is_a_typed_error(system, tmp_path):
    for impossible in (tmp_path / "missing" / "log", tmp_path):
        with pytest.raises(LogError):
            DecisionLog(impossible, system=system)
    with pytest.raises(LogError):
        DecisionLog.verify(tmp_path / "missing")


# -- closing and crashing --------------------------------------------------------------------


def test_what_was_recorded_before_closing_is_written(system, path):
    log = DecisionLog(path, system=system)
    futures = [log.record("route") for _ in range(50)]
    log.close().get()
    log.close().get()
    assert [future.get() for future in futures] == list(range(1, 51))


def test_a_closed_log_refuses_in_words(system, path):
    log = DecisionLog(path, system=system)
    log.close().get()
    for refused in (log.record("route"), log.resolve(1, "x"), log.query(), log.stats()):
        with pytest.raises(LogClosed):
            refused.get()


def test_every_record_that_races_the_closing_is_written_or_refused(system, path):
    log = DecisionLog(path, system=system)
    outcomes = []
    begun = threading.Barrier(5)

    def record():
        begun.wait()
        for _ in range(100):
            try:
                outcomes.append(log.record("route").get(timeout=10))
            except LogClosed:
                outcomes.append(None)

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    log.close().get()
    for thread in threads:
        thread.join()
    written = [seq for seq in outcomes if seq is not None]
    assert len(outcomes) == 400
    assert DecisionLog.verify(path).records == len(written)


def test_a_system_that_shuts_down_writes_what_waits(path):
    with ActorSystem() as system:
        log = DecisionLog(path, system=system)
        futures = [log.record("route") for _ in range(200)]
    assert all(isinstance(f.get(), int) for f in futures)
    assert DecisionLog.verify(path).records == 200


@pytest.mark.slow
def test_a_full_disk_is_told_to_those_who_recorded_and_harms_nothing_else(program, path):
    child = program(
        """
import resource, signal, sys
from actors import ActorSystem, LogError
from actors.services.decisions import DecisionLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
with ActorSystem() as system, DecisionLog(sys.argv[1], system=system) as log:
    log.record("route").get()
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    refused = [log.record("route", n=n) for n in range(20)]
    for future in refused:
        try:
            print(future.get())
        except LogError:
            print("refused")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(log.record("route").get())
""",
        path,
    )
    out, _ = child.communicate(timeout=30)
    answers = out.split()
    assert "refused" in answers
    written = [int(answer) for answer in answers if answer != "refused"]
    assert written == list(range(2, 2 + len(written))), "no number is given to what was refused"
    assert DecisionLog.verify(path).records == 1 + len(written)


@pytest.mark.slow
@pytest.mark.parametrize("rotate_bytes", [None, 2000])
def test_an_acknowledged_record_survives_kill_9(program, path, system, rotate_bytes):
    acknowledged = set()
    for _ in range(3):
        child = program(
            """
import os, sys, threading
from actors import ActorSystem
from actors.services.decisions import DecisionLog
size = None if sys.argv[2] == "None" else int(sys.argv[2])
with ActorSystem() as system:
    log = DecisionLog(sys.argv[1], rotate_bytes=size, system=system)
    def decide():
        while True:
            futures = [log.record("route", filler="x" * 50) for _ in range(5)]
            for future in futures:
                os.write(1, b"%d\\n" % future.get())
    for _ in range(4):
        threading.Thread(target=decide, daemon=True).start()
    threading.Event().wait()
""",
            path,
            rotate_bytes,
        )
        for _ in range(100):
            acknowledged.add(int(child.stdout.readline()))
        child.kill()
        rest = child.stdout.read()
        acknowledged.update(int(n) for n in rest[: rest.rfind("\n") + 1].split())
        child.wait()
        with DecisionLog(path, system=system) as log:
            kept = {decision.seq for decision in log.query().get()}
        assert acknowledged <= kept
        assert DecisionLog.verify(path).torn_bytes == 0


def test_errors_of_the_log_are_callboards(path):
    assert issubclass(LogError, CallboardError)
    assert issubclass(LogCorrupt, LogError)
    assert issubclass(LogClosed, LogError)
