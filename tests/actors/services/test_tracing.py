from __future__ import annotations

import asyncio
import json
import os
import threading
import timeit
from decimal import Decimal

import pytest

from actors import Actor, ActorDeadError, ActorSystem, current
from actors._context import RUN, RunContext
from actors._errors import TraceError
from actors.services import _genai as genai
from actors.services.tracing import Tracer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spans.jsonl"


@pytest.fixture
def tracer(system, path):
    with Tracer(path, system=system) as opened:
        yield opened


def spans(path):
    return {line["name"]: line for line in map(json.loads, path.read_text().splitlines())}


def test_a_span_is_written_with_everything_it_holds(system, tracer, path):
    before = system.clock.time() * 1e9
    with tracer.span("chat", model="m", **{"gen_ai.agent.name": "coder"}) as span:
        span.set_attribute("tokens", 7)
        span.add_event("first token", after=0.1)
    tracer.flush().get()
    line = spans(path)["chat"]
    assert line["span_id"] == span.span_id
    assert len(span.span_id) == 16
    assert line["parent_id"] is None
    assert line["status"] == "ok"
    assert line["attributes"] == {"model": "m", "gen_ai.agent.name": "coder", "tokens": 7}
    assert line["events"][0]["name"] == "first token"
    assert line["events"][0]["attributes"] == {"after": 0.1}
    assert before - 1000 <= line["start"] <= line["end"] <= system.clock.time() * 1e9 + 1000


def test_spans_nest_and_share_the_trace_of_the_run(tracer, path):
    token = RUN.set(RunContext("run 7"))
    with tracer.span("outer") as outer:
        with tracer.span("inner"):
            pass
        with tracer.span("second"):
            pass
    RUN.reset(token)
    tracer.flush().get()
    lines = spans(path)
    assert {line["trace_id"] for line in lines.values()} == {"run 7"}
    assert lines["inner"]["parent_id"] == lines["second"]["parent_id"] == outer.span_id
    assert lines["outer"]["parent_id"] is None


def test_a_span_outside_of_runs_begins_a_trace_and_leaves_nothing_behind(tracer, path):
    with tracer.span("outer"):
        assert current().tracer is tracer
        with tracer.span("inner"):
            pass
    assert current() is None
    with tracer.span("another"):
        pass
    tracer.flush().get()
    lines = spans(path)
    assert lines["inner"]["trace_id"] == lines["outer"]["trace_id"]
    assert lines["another"]["trace_id"] != lines["outer"]["trace_id"]


class SyncHop(Actor):
    def on_receive(self, message):
        tracer, name, rest = message
        with tracer.span(name):
            if rest:
                nxt, *others = rest
                return nxt.request((tracer, name + "i", others)).get()
        return None


class AsyncHop(Actor):
    async def on_receive(self, message):
        tracer, name, rest = message
        async with tracer.span(name):
            await asyncio.sleep(0)
            if rest:
                nxt, *others = rest
                await nxt.request((tracer, name + "i", others))


def test_spans_nest_across_actors_on_threads_and_on_loops(system, tracer, path):
    hops = [system.spawn(kind) for kind in (SyncHop, AsyncHop, AsyncHop, SyncHop)]
    hops[0].request((tracer, "i", hops[1:])).get()
    tracer.flush().get()
    lines = spans(path)
    for name in ("ii", "iii", "iiii"):
        assert lines[name]["parent_id"] == lines[name[:-1]]["span_id"]
    assert len({line["trace_id"] for line in lines.values()}) == 1


async def test_tasks_that_run_at_once_do_not_mix_their_spans(path):
    async with ActorSystem() as system, Tracer(path, system=system) as tracer:

        async def work(n):
            async with tracer.span(f"outer {n}"):
                await asyncio.sleep(0)
                async with tracer.span(f"inner {n}"):
                    await asyncio.sleep(0)

        await asyncio.gather(*(work(n) for n in range(10)))
    lines = spans(path)
    for n in range(10):
        assert lines[f"inner {n}"]["parent_id"] == lines[f"outer {n}"]["span_id"]


def test_an_exception_is_recorded_and_passes(tracer, path):
    with pytest.raises(ZeroDivisionError), tracer.span("outer"), tracer.span("inner"):
        _ = 1 / 0
    tracer.flush().get()
    lines = spans(path)
    assert lines["inner"]["status"] == lines["outer"]["status"] == "error"
    event = lines["inner"]["events"][0]
    assert event["name"] == "exception"
    assert event["attributes"]["exception.type"] == "builtins.ZeroDivisionError"


def test_a_status_that_was_set_stays(tracer, path):
    with tracer.span("x") as span:
        span.set_status("error")
    tracer.flush().get()
    assert spans(path)["x"]["status"] == "error"


def test_a_span_is_entered_once(tracer):
    span = tracer.span("x")
    with span, pytest.raises(RuntimeError), span:
        pass


def test_what_json_cannot_hold_is_written_as_its_repr(tracer, path):
    loop: list = []
    loop.append(loop)
    with tracer.span("x", kind=object, price=Decimal("0.10")):
        pass
    with tracer.span("y", loop=loop):
        pass
    tracer.flush().get()
    assert spans(path)["x"]["attributes"] == {"kind": "<class 'object'>", "price": 0.1}
    assert "y" in path.read_text()


def test_a_generator_that_is_closed_elsewhere_loses_no_span(tracer, path):
    def work():
        with tracer.span("generator"):
            yield

    generator = work()
    next(generator)
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join()
    RUN.set(None)
    tracer.flush().get()
    assert "generator" in spans(path)


def test_the_summary_counts_all_that_has_ended(tracer):
    for n in range(10):
        with tracer.span("chat") as span:
            span.set_attribute(genai.REQUEST_MODEL, "m")
            span.set_attribute(genai.INPUT_TOKENS, 10)
            span.set_attribute(genai.OUTPUT_TOKENS, 5)
            span.set_attribute(genai.COST_USD, Decimal("0.01") if n else None)
    row = tracer.summary().get().by_model["m"]
    assert (row.count, row.tokens) == (10, 150)
    assert row.p95 >= row.p50 > 0
    assert row.cost_usd is None, "one price is unknown"
    assert row.known_cost_usd == Decimal("0.09")


def test_no_span_is_lost_however_many_threads_end_them(tracer, path):
    def work():
        for _ in range(500):
            with tracer.span("x"):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracer.summary().get().total.count == 4000
    tracer.close().get()
    assert len(path.read_text().splitlines()) == 4000


def test_spans_are_written_without_being_asked_for(tracer, path):
    for n in range(3):
        with tracer.span(f"span {n}"):
            pass
        while f"span {n}" not in path.read_text():
            pass


def test_spans_are_written_though_the_keeper_that_was_called_is_replaced(tracer, path):
    for n in range(3):
        with tracer.span(f"span {n}"):
            pass
        keeper = tracer._ref._cell.instance
        while not (keeper.timers.is_active("take") or f"span {n}" in path.read_text()):
            pass
        tracer._ref.kill()
        while f"span {n}" not in path.read_text():
            pass


def test_closing_writes_everything_and_later_spans_are_dropped(system, path):
    tracer = Tracer(path, system=system)
    with tracer.span("late"), tracer.span("in time"):
        pass
    with tracer.span("too late"):
        tracer.close().get()
        tracer.close().get()
    assert set(spans(path)) == {"late", "in time"}
    with pytest.raises(ActorDeadError):
        tracer.summary().get()
    assert not tracer._ended.spans


def test_a_system_that_shuts_down_writes_what_has_ended(path):
    with ActorSystem() as system:
        tracer = Tracer(path, system=system)
        for n in range(100):
            with tracer.span(f"span {n}"):
                pass
    assert len(spans(path)) == 100
    with tracer.span("afterwards"):
        pass
    assert not tracer._ended.spans


def test_a_tracer_without_a_file_sums_up(system):
    with Tracer(system=system) as tracer:
        with tracer.span("x"):
            pass
        assert tracer.summary().get().by_name["x"].count == 1


def test_spans_are_appended_to_those_of_earlier_processes(system, path):
    for name in ("one", "two"):
        path.write_bytes((path.read_bytes() if path.exists() else b"") + b'{"torn')
        with Tracer(path, system=system) as tracer, tracer.span(name):
            pass
        path.write_bytes(path.read_bytes().replace(b'{"torn{', b"{"))
    assert set(spans(path)) == {"one", "two"}


def test_a_file_that_cannot_be_opened_is_a_typed_error(system, tmp_path, path):
    with pytest.raises(TraceError):
        Tracer(tmp_path / "missing" / "spans", system=system)
    with Tracer(path, system=system), pytest.raises(TraceError):
        Tracer(path, system=system)


def test_a_watcher_sees_each_span_begin_and_end(tracer):
    seen = []
    tracer.watch(lambda span: seen.append((span.name, bool(span.end), span.parent_id)))
    with tracer.span("outer") as outer, tracer.span("inner"):
        assert seen == [("outer", False, None), ("inner", False, outer.span_id)]
    assert seen[2:] == [("inner", True, outer.span_id), ("outer", True, None)]


def test_a_watcher_that_fails_does_not_reach_the_work(tracer, path):
    def fail(span):
        raise RuntimeError(span.name)

    tracer.watch(fail)
    with tracer.span("x"):
        pass
    tracer.flush().get()
    assert spans(path)["x"]["status"] == "ok"


@pytest.mark.slow
def test_spans_that_cannot_be_written_are_reported_and_fail_no_work(program, path):
    child = program(
        """
import resource, signal, sys
from actors import ActorSystem
from actors._errors import TraceError
from actors.services.tracing import Tracer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
with ActorSystem() as system, Tracer(sys.argv[1], system=system) as tracer:
    for _ in range(20):
        with tracer.span("x"):
            pass
    try:
        tracer.flush().get()
    except TraceError as error:
        print("reported", tracer.summary().get().total.count)
""",
        path,
    )
    out, _ = child.communicate(timeout=30)
    assert out.split() == ["reported", "20"]
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.slow
def test_a_span_costs_next_to_nothing(system):
    """Start and end together stay far below what anything worth a span takes."""
    with Tracer(system=system) as tracer:

        def measure():
            with tracer.span("x", a=1):
                pass

        token = RUN.set(RunContext("r"))
        best = min(timeit.repeat(measure, number=2000, repeat=7)) / 2000
        RUN.reset(token)
    assert best < 30e-6, "5 µs on a quiet machine, with room for a busy one"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_gives_other_ids(program):
    process = program(
        """
import os
from actors import Tracer

def ids():
    with Tracer() as tracer:
        return [tracer.span("x").span_id for _ in range(3)]

read, write = os.pipe()
if os.fork() == 0:
    os.write(write, " ".join(ids()).encode())
    os._exit(0)
print(os.read(read, 1000).decode(), *ids())
"""
    )
    found = process.stdout.read().split()
    assert len(set(found)) == len(found) == 6
