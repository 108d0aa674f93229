"""Services that a process has inherited by fork, whose actors stayed in its parent."""

from __future__ import annotations

import os

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]

SCOPES = """
import asyncio, os, pathlib, sys, warnings
from actors import *
from actors import run as opened
warnings.simplefilter("ignore")
folder = pathlib.Path(sys.argv[1])
system = ActorSystem("parent").__enter__()
services = {
    "pool": lambda: BudgetPool(usd=1, path=folder / "ledger", system=system),
    "lease": lambda: BudgetPool(usd=1, system=system).acquire(max_usd=1),
    "child": lambda: BudgetPool(usd=1, system=system).child(usd=1),
    "log": lambda: DecisionLog(folder / "log", system=system),
    "tracer": lambda: Tracer(folder / "trace", system=system),
    "span": lambda: Tracer(system=system).span("work"),
    "bus": lambda: EventBus(system=system),
    "run": lambda: opened(budget=1, system=system),
}

def left(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

async def leave(service):
    try:
        async with service():
            pid = os.fork()
            if not pid:
                raise KeyError("of the child")
            assert left(pid) == 5
    except KeyError:
        os._exit(5)  # at once: to end the loop would end what wakes its parent's
"""


def test_leaving_a_service_in_a_forked_process_hides_no_exit_and_ends_nothing(program, tmp_path):
    process = program(
        SCOPES
        + """
for name, service in services.items():
    with service():
        pid = os.fork()
        if not pid:
            sys.exit(3)
        print(name, left(pid), flush=True)
system.__exit__(None, None, None)
""",
        tmp_path,
    )
    out = process.communicate(timeout=60)[0]
    names = ["pool", "lease", "child", "log", "tracer", "span", "bus", "run"]
    assert out.splitlines() == [f"{name} 3" for name in names]
    assert process.returncode == 0


def test_so_does_leaving_it_in_an_async_scope(program, tmp_path):
    process = program(
        SCOPES
        + """
for name, service in services.items():
    asyncio.run(leave(service))
    print(name, flush=True)
system.__exit__(None, None, None)
""",
        tmp_path,
    )
    out = process.communicate(timeout=60)[0]
    assert out.split() == ["pool", "lease", "child", "log", "tracer", "span", "bus", "run"]
    assert process.returncode == 0


def test_what_its_parent_has_goes_on_and_what_it_asks_itself_is_refused(program, tmp_path):
    process = program(
        SCOPES
        + """
with services["log"]() as log, services["tracer"]() as tracer, services["pool"]() as pool:
    assert log.record("before").get() == 1
    log._lock.acquire()  # as if another thread were recording
    pid = os.fork()
    if not pid:
        for attempt in (
            lambda: log.record("in the child").get(timeout=20),
            lambda: log.query().get(timeout=20),
            lambda: tracer.flush().get(timeout=20),
            lambda: pool.snapshot().get(timeout=20),
        ):
            try: attempt()
            except ForkedSystem: continue
            os._exit(4)
        for service in (log, tracer, pool):
            service.close().get(timeout=20)
        with tracer.span("in the child"): pass
        sys.exit(3)
    print(left(pid))
    log._lock.release()
    with tracer.span("after"): pass
    with pool.acquire(max_usd=1) as lease: lease.charge(usd="0.5").get()
    print(log.record("after").get(), pool.snapshot().get().settled_usd)
print([d.decision for d in DecisionLog(folder / "log", system=system).query().get()])
print((folder / "trace").read_text().count('"name"'))
system.__exit__(None, None, None)
""",
        tmp_path,
    )
    out = process.communicate(timeout=60)[0]
    assert out.splitlines() == ["3", "2 0.5", "['before', 'after']", "1"]
    assert process.returncode == 0


def test_actors_can_be_imported_where_there_is_no_fork(program):
    process = program(
        """
import os
del os.fork, os.register_at_fork
import actors.agents, actors.testing, patterns
from actors import ActorSystem, Tracer
with ActorSystem() as system, Tracer(system=system) as tracer:
    print(len(tracer.span("x").span_id))
"""
    )
    assert process.communicate(timeout=60)[0] == "16\n"
