"""The examples of actors/README.md that need a host: real servers, a real kernel, real clients."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import re
import socket
import sys
import threading
import time
import types
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from actors import ActorSystem, Supervision

pytestmark = pytest.mark.slow

README = (Path(__file__).parents[2] / "actors" / "README.md").read_text(encoding="utf-8")


def example(heading):
    """The first fenced block below a heading of the README."""
    section = re.split(rf"^### {re.escape(heading)}$", README, flags=re.MULTILINE)[1]
    return re.search(r"^```\w+\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1]


def loaded(heading):
    """The example as a module."""
    module = types.ModuleType("shop")
    source = example(heading)
    exec(compile(source, "shop.py", "exec"), vars(module))
    return module


# -- ASGI --------------------------------------------------------------------------------------


@contextmanager
def served(app, loop="asyncio"):
    """Serve an ASGI application on a free port, in a thread with a loop of its own; yield its URL."""
    uvicorn = pytest.importorskip("uvicorn")
    listening = socket.create_server(("127.0.0.1", 0))
    ready = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            ready.set()

    config = uvicorn.Config(app, loop=loop, lifespan="on", log_config=None, ws="none")
    server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        assert ready.wait(20), "the server did not start"
        assert server.started
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"
        listening.close()


@pytest.fixture
def shop(monkeypatch):
    """The ASGI example, with a root that tolerates whatever a test lets fail."""
    module = loaded("An ASGI application")
    tolerant = functools.partial(ActorSystem, supervision=Supervision(intensity=1_000_000))
    module.ActorSystem = tolerant
    return module


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_asgi_example_serves(shop, loop):
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with served(shop.app, loop) as url, httpx.Client(base_url=url, timeout=30) as client:
        assert client.get("/greet/ada").text == "Hello, Ada!"
        for path in ("/healthz", "/readyz"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()) == (200, {"why": ""})
        system = shop.app.state.system
        shop.app.state.greeter.stop(block=True)
        answer = client.get("/greet/ada")
        assert answer.status_code == 503
        assert answer.text.startswith("ActorDeadError: Greeter (/greeter) is dead")
    assert not system.health().live, "the lifespan has shut it down"


def test_a_failed_request_shows_the_line_of_the_endpoint_and_of_the_handler(shop):
    caught = []

    class Fails(shop.Actor):
        async def on_receive(self, name):
            raise LookupError(name)

    async def note(request, error):
        frames, innermost = [], error.__traceback__
        while innermost is not None:
            frames.append(innermost.tb_frame.f_code.co_name)
            innermost = innermost.tb_next
        caught.append((frames, error.__notes__))
        return shop.PlainTextResponse(repr(error), status_code=500)

    shop.app.add_exception_handler(LookupError, note)
    shop.Greeter = Fails
    with served(shop.app) as url:
        answer = httpx.get(f"{url}/greet/ada", timeout=30)
    assert (answer.status_code, answer.text) == (500, "LookupError('ada')")
    frames, notes = caught[0]
    assert frames.index("greet") < frames.index("on_receive")
    assert notes == ["while /greeter handled str"]


def test_probes_see_a_shutdown_before_the_end(shop):
    entered, gate = threading.Event(), threading.Event()

    class Slow(shop.Actor):
        async def on_receive(self, name):
            entered.set()
            await asyncio.to_thread(gate.wait, 20)
            return f"Hello at last, {name}!"

    shop.Greeter = Slow
    with served(shop.app) as url, httpx.Client(base_url=url, timeout=30) as client:
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(httpx.get(f"{url}/greet/ada", timeout=30))
        )
        asking.start()
        assert entered.wait(20)
        shop.app.state.system.shutdown()
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"why": "shutting down"})
        gate.set()
        asking.join(20)
        assert answers[0].text == "Hello at last, ada!", "what it had taken on it finished"


HANDLING, BETWEEN_HARMS, BETWEEN_PROBES = 0.002, 0.003, 0.01
"""The load, in seconds: what a handler takes, and how often actors are harmed and probes come."""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_under_load_every_request_is_answered_while_the_actors_crash_all_the_while(shop, loop):
    """Some 600 requests of 24 clients, to an actor that asks one that asks one on the thread pool."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")

    class Thinks(shop.Actor):
        def on_receive(self, name):
            if name == "crash":
                raise ArithmeticError("crashed on purpose")
            return name.title()

    class Greets(shop.Actor):
        def __init__(self):
            self.thinker = self.spawn(Thinks)

        supervision = Supervision(intensity=1_000_000)

        async def on_receive(self, name):
            if name == "crash":
                raise ArithmeticError("crashed on purpose")
            await asyncio.sleep(HANDLING)
            return f"Hello, {await self.thinker.request(name)}!"

    shop.Greeter = Greets
    over = threading.Event()

    def cause_chaos():
        dice = random.Random(7)
        harm = 0
        while not over.wait(BETWEEN_HARMS):
            system = shop.app.state.system
            greeter = system.tree().children[0]
            victim = system.find(dice.choice([greeter, *greeter.children]).path)
            if victim is None:
                continue
            try:
                victim.kill() if dice.random() < 0.5 else victim.tell("crash")
            except shop.CallboardError:
                continue
            harm += 1
        harms.append(harm)

    async def ask(client, answers, seconds):
        for _ in range(25):
            began = time.perf_counter()
            answers.append(await client.get("/greet/ada"))
            seconds.append(time.perf_counter() - began)

    async def probe(client, lives):
        while not over.is_set():
            lives.append((await client.get("/healthz")).status_code)
            await asyncio.sleep(BETWEEN_PROBES)

    async def load(url):
        answers, seconds, lives = [], [], []
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            probing = asyncio.create_task(probe(client, lives))
            await asyncio.gather(*(ask(client, answers, seconds) for _ in range(24)))
            over.set()
            await probing
        return answers, sorted(seconds), lives

    harms = []
    with served(shop.app, loop) as url:
        chaos = threading.Thread(target=cause_chaos)
        chaos.start()
        try:
            answers, seconds, lives = asyncio.run(load(url))
        finally:
            over.set()
            chaos.join(20)
    greeted = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(answers) == 600
    assert {answer.text for answer in greeted} == {"Hello, Ada!"}
    assert {answer.status_code for answer in refused} <= {503}
    for answer in refused:
        assert re.match(r"ActorDeadError: .*/greeter", answer.text), answer.text
    assert greeted
    assert harms[0] > 10
    assert set(lives) == {200}
    assert seconds[int(0.99 * len(seconds))] < 5, "nobody waits for what has died"


# -- WSGI --------------------------------------------------------------------------------------


def test_the_thread_pool_example_serves_many_clients_at_once():
    waitress = pytest.importorskip("waitress.server")
    shop = loaded("A thread-pool server")
    server = waitress.create_server(shop.app, host="127.0.0.1", port=0, threads=8)
    thread = threading.Thread(target=server.run)
    thread.start()

    async def load():
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            return await asyncio.gather(*(client.get(f"/page-{n % 3}") for n in range(200)))

    try:
        url = f"http://127.0.0.1:{server.effective_port}"
        answers = asyncio.run(load())
        visits = sorted(int(re.match(r"visit (\d+), to /page-\d$", a.text)[1]) for a in answers)
        assert visits == list(range(1, 201)), "an actor handles one message at a time"
        shop.counter.stop()
        late = httpx.get(f"{url}/late", timeout=30)
        assert late.status_code == 503
        assert late.text.startswith("ActorDeadError: Counter")
    finally:
        server.trigger.pull_trigger(server.close)
        thread.join(20)
        shop.system.shutdown().get(timeout=20)
    assert not thread.is_alive()


# -- a notebook --------------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A client of a real kernel in a process of its own, which leaves nothing in the home."""
    manager = pytest.importorskip("jupyter_client.manager")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    kernel.shutdown_kernel(now=True)


def run_cell(client, code):
    """Run a cell; return what it shows or raises, as text."""
    shown = []

    def note(message):
        content = message["content"]
        if message["msg_type"] == "execute_result":
            shown.append(content["data"]["text/plain"])
        elif message["msg_type"] == "error":
            shown.append(f"{content['ename']}: {content['evalue']}")

    client.execute_interactive(code, timeout=60, output_hook=note)
    return "".join(shown)


def test_the_notebook_example_runs_in_a_kernel(kernel):
    cells = re.split(r"^# %%.*$", example("A notebook"), flags=re.MULTILINE)[1:]
    assert len(cells) == 3
    for cell in cells:
        shown = run_cell(kernel, cell)
        expected = re.search(r"# -> (.*)$", cell, re.MULTILINE)
        assert (expected[1] in shown) if expected else not shown, shown
        if cell is cells[1]:
            assert run_cell(kernel, 'echo.ask("hello")').startswith("WouldBlockLoop")
            assert "async with" in run_cell(kernel, "with ActorSystem() as another: pass")
            waits = "import asyncio; await asyncio.gather(*(echo.request(n) for n in range(3)))"
            assert run_cell(kernel, waits) == "[0, 1, 2]"
    assert "ActorDeadError" in run_cell(kernel, 'await echo.request("late")')
    left = "import threading; [t for t in threading.enumerate() if t.name.startswith('notebook-')]"
    for _ in range(100):
        if run_cell(kernel, left) == "[]":
            break
    else:
        pytest.fail("threads are left behind")
