"""The pytest plugin, in sessions of its own: fixtures, options, and what it must not do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

TEAM = """
from actors import ActorSystem, Agent
from actors.testing import ScriptedModel, ScriptedReply, capture_run
from patterns import Pipeline, Stage

ANSWER, COST = "a draft", "0.10"

def captured():
    with ActorSystem() as system:
        model = ScriptedModel([ScriptedReply(ANSWER, cost_usd=COST), "edited"])
        team = Pipeline(
            [Stage("write", Agent(model, name="writer")), Stage("edit", Agent(model, name="editor"))],
            system=system,
        )
        with capture_run(system=system) as capture:
            capture.result = team.run("a story").get(timeout=20)
    return capture

def test_the_team(run_snapshot):
    assert captured() == run_snapshot

def test_within_ten_percent(run_snapshot):
    capture = captured()
    assert capture.run.cost_usd <= 1
    assert capture.run == run_snapshot(cost=0.1, name="tolerant")
"""


@pytest.fixture
def session(tmp_path):
    """Run pytest on files in a process of its own; returns exit code and output."""

    def run(files=None, *options, ini="", **environment):
        for name, text in (files or {}).items():
            (tmp_path / name).write_text(text)
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}\n")
        env = {name: value for name, value in os.environ.items() if name != "CI"}
        env |= {"PYTHONPATH": str(ROOT), **environment}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    run.folder = tmp_path
    return run


@pytest.mark.slow
def test_a_run_is_stored_on_request_compared_ever_after_and_never_stored_in_ci(session):
    stored = session.folder / "__snapshots__" / "test_team"
    files = {"test_team.py": TEAM}

    code, out = session(files)
    assert code == 1
    assert "no run is stored: `pytest --snapshot-update`" in out
    assert "+ output: edited" in out
    assert not stored.exists()

    for how in ({"CI": "true"}, {}):
        code, out = session(files, "--snapshot-update", *([] if how else ["--ci"]), **how)
        assert code == 1, out
        assert not stored.exists()

    code, out = session(files, "--snapshot-update")
    assert code == 0, out
    names = sorted(path.name for path in stored.iterdir())
    assert names == [
        "test_the_team.run.json",
        "test_within_ten_percent[tolerant].run.json",
    ]
    run = json.loads((stored / names[0]).read_text())
    assert (run["output"], run["spend"]["writer"]["cost_usd"]) == ("edited", "0.1")

    code, out = session(files, CI="true")
    assert code == 0, out

    fewer = {"test_team.py": TEAM.replace("def test_within_ten", "def within_ten")}
    for how in ({"CI": "true"}, {}):
        code, out = session(fewer, "--snapshot-update", *([] if how else ["--ci"]), **how)
        assert code == 0, out
        assert sorted(path.name for path in stored.iterdir()) == names, "nothing is deleted"
    code, out = session(fewer, "--snapshot-update")
    assert [path.name for path in stored.iterdir()] == names[:1], "but elsewhere it is"


@pytest.mark.slow
def test_a_run_that_differs_is_told_by_class_and_diff_within_its_tolerance(session):
    code, out = session({"test_team.py": TEAM}, "--snapshot-update")
    assert code == 0, out
    dearer = TEAM.replace('"0.10"', '"0.11"')
    code, out = session({"test_team.py": dearer})
    assert "1 failed, 1 passed" in out
    assert "E         cost up: agent writer: up by 10 %: 0.1 USD, now 0.11" in out
    other = TEAM.replace('"a draft"', '"a sketch"')
    code, out = session({"test_team.py": other}, CI="1")
    assert "2 failed" in out
    path = "workflow pipeline > agent writer > model scripted"
    assert f"output changed: {path}: answered 'a draft', now 'a sketch'" in out
    assert "calls changed: workflow pipeline > agent editor > model scripted: asked " in out
    assert "Captured run call" in out
    assert "\n+            answered: a sketch\n" in out
    code, out = session({"test_team.py": other}, "--snapshot-update", "--ci")
    assert "2 failed" in out, "it is not written over in CI"


SEEDS = """
import pytest
from actors import Actor, Agent
from actors.testing import capture_run
from patterns import Pipeline, Stage

@pytest.mark.simulate(seeds=10)
def test_seeds(sim, run_snapshot):
    order = []

    class Racer(Actor):
        def on_receive(self, message):
            order.append(message)

    racers = [sim.system.spawn(Racer) for _ in range(4)]
    for number, racer in enumerate(racers):
        racer.tell(number)
    sim.run()
    for text in ("first", f"second{sorted(order)}"):
        with capture_run(system=sim.system) as capture:
            capture.result = Pipeline([Stage("a", Agent(lambda _: text))]).run("q").get()
        assert capture == run_snapshot(cost=0.1)
"""


@pytest.mark.slow
def test_all_seeds_of_a_test_are_compared_with_the_same_stored_runs(session):
    racy = {"test_seeds.py": SEEDS.replace("sorted(order)", "order")}
    code, out = session(racy, "--snapshot-update")
    assert code == 1, "the second seed is compared with what the first one stored"
    assert "output changed" in out

    sound = {"test_seeds.py": SEEDS}
    code, out = session(sound, "--snapshot-update")
    assert code == 0, out
    stored = session.folder / "__snapshots__" / "test_seeds"
    names = ["test_seeds.1.run.json", "test_seeds.run.json"]
    assert sorted(path.name for path in stored.iterdir()) == names
    for options in ([], ["--simulate-seeds=20"], ["--simulate-seed=5"]):
        code, out = session({}, *options)
        assert code == 0, out
        assert "unused" not in out
    code, out = session(racy, "--simulate-seed=5")
    assert code == 1
    assert "output changed" in out


@pytest.mark.slow
def test_what_is_no_run_is_an_error_and_no_difference(session):
    code, out = session({"test_x.py": "def test_x(run_snapshot):\n    assert 5 == run_snapshot\n"})
    assert code == 1
    assert "InvalidOption: run=5: expected a RunCapture" in out


@pytest.mark.slow
def test_without_syrupy_the_fixture_names_the_extra(session):
    test = "def test_x(run_snapshot):\n    pass\n"
    hidden = "import sys\nsys.modules['syrupy.assertion'] = None\n"
    code, out = session({"test_x.py": test, "conftest.py": hidden}, "-p", "no:syrupy")
    assert code == 1
    assert "pip install 'callboard[testing]'" in out


GUARDED = """
import pytest
from actors import Message, ModelUnavailable, resolve_model
from actors.testing import RealModelBlocked

async def call():
    model = resolve_model("openai:m", base_url="http://127.0.0.1:9/v1")
    await model.complete([Message("user", "hello")], max_tokens=5)

async def test_plain():
    with pytest.raises({plain}):
        await call()

@pytest.mark.real_models
async def test_allowed():
    with pytest.raises(ModelUnavailable):
        await call()

@pytest.mark.real_models
async def test_forbidden(no_real_models):
    with pytest.raises(RealModelBlocked):
        await call()
    assert len(no_real_models.errors) == 1

@pytest.fixture
async def answer():
    with pytest.raises({plain}):
        await call()

async def test_in_a_fixture(answer):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ini", "plain"),
    [("", "ModelUnavailable"), ("callboard_real_models = false", "RealModelBlocked")],
)
def test_real_models_are_blocked_by_option_and_fixture_and_allowed_by_marker(session, ini, plain):
    ini = f"asyncio_mode = auto\naddopts = --strict-markers\n{ini}"
    code, out = session({"test_models.py": GUARDED.replace("{plain}", plain)}, ini=ini)
    assert code == 0, out
    assert "4 passed" in out


SWALLOWED = """
import pytest
from actors import Agent, resolve_model
from actors.testing import RealModelBlocked
from patterns import Fallback

def writer():
    return Agent(resolve_model("openai:m", base_url="http://127.0.0.1:9/v1"), name="writer")

def team():
    return Fallback([writer(), lambda _: "spare"])

@pytest.mark.simulate(seeds=2)
def test_swallowed(sim, {fixture}):
    assert team().run("hello").get().text == "spare"

@pytest.mark.simulate(seeds=2)
def test_caught(sim, {fixture}):
    with pytest.raises(RealModelBlocked):
        writer().run("hello").get()

@pytest.mark.simulate(seeds=2)
def test_expected(sim, no_real_models):
    team().run("hello").get()
    assert len(no_real_models.clear()) == 1
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ini", "fixture"),
    [("", "no_real_models"), ("callboard_real_models = false", "tmp_path")],
)
def test_a_blocked_call_that_was_swallowed_fails_the_test(session, ini, fixture):
    code, out = session({"test_it.py": SWALLOWED.replace("{fixture}", fixture)}, ini=ini)
    assert code == 1
    assert "1 failed, 2 passed" in out
    assert "FAILED test_it.py::test_swallowed - actors.testing._errors.RealModelBlocked" in out


@pytest.mark.slow
def test_scripts_are_verified_at_the_end_of_the_test(session):
    test = "def test_x(scripted_model):\n    scripted_model(['never asked for'])\n"
    code, out = session({"test_x.py": test})
    assert code == 1
    assert "UnusedReplies: scripted: 0 calls were made" in out
    assert "1 passed, 1 error" in out


@pytest.mark.slow
def test_cassettes_are_verified_at_the_end_of_each_run(session):
    test = """
import pytest
from actors import Agent
from patterns import Fallback

@pytest.mark.simulate(seeds=2)
def test_x(sim, recorded_model):
    team = Fallback([Agent(recorded_model(None, "tape"), name="w"), lambda _: "spare"])
    assert team.run("hello").get().text == "spare"
"""
    code, out = session({"test_x.py": test})
    assert code == 1
    assert "NoRecording: tape has no such request" in out
    assert "replay this: pytest test_x.py::test_x --simulate-seed=0" in out


@pytest.mark.slow
def test_the_plugin_can_be_switched_off(session):
    test = "def test_x(request):\n    assert not request.config.pluginmanager.has_plugin('callboard')\n"
    code, out = session({"test_x.py": test}, "-p", "no:callboard")
    assert code == 0, out


@pytest.mark.slow
def test_another_plugin_may_have_an_option_of_the_same_name(session):
    other = (
        "def pytest_addoption(parser):\n"
        "    parser.addoption('--ci', action='store_true', default=False)\n"
    )
    test = "def test_x(request):\n    assert request.config.getoption('--ci')\n"
    code, out = session({"test_x.py": test, "other.py": other}, "-p", "other", "--ci")
    assert code == 0, out


def test_the_plugin_itself_imports_nothing_of_the_test_kit():
    code = (
        "import sys, actors.testing.plugin\n"
        "print([m for m in sys.modules if m.startswith(('actors.testing.', 'actors.agents', "
        "'actors.services', 'syrupy', 'openai'))])"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.strip() == "['actors.testing.plugin']"
