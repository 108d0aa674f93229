"""The pytest plugin: `@pytest.mark.simulate`, `sim`, and the options of the command line.

Each test runs pytest in a process of its own, with warnings as errors.
"""

from __future__ import annotations

import re
import shlex

import pytest

pytestmark = pytest.mark.slow

PLUGINS = ("-p", "actors.testing.plugin", "-p", "pytest_asyncio.plugin")

ACTORS = """
import asyncio
import pytest
from actors import Actor

class Box(Actor):
    def __init__(self):
        self.seen = []

    def on_receive(self, message):
        if message == "all":
            return self.seen
        self.seen.append(message)

class Courier(Actor):
    def __init__(self, to):
        self.to = to

    async def on_receive(self, message):
        self.to.tell(message)

def couriers(sim):
    box = sim.system.spawn(Box, name="box")
    near = sim.system.spawn(Courier, box, name="near")
    far = sim.system.spawn(Courier, sim.system.spawn(Courier, box, name="further"), name="far")
    for _ in range(3):
        near.tell("order")
        far.tell("cancel")
    return box
"""

RACE = """
@pytest.mark.simulate(seeds=200)
def test_race(sim):
    box = couriers(sim)
    sim.run()
    assert box.ask("all")[0] == "order"
"""


@pytest.fixture
def run(pytester, monkeypatch):
    # Whatever else is installed takes a second to start.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = error\n"
    )

    def run(code, *arguments, plugins=PLUGINS):
        if code:
            pytester.makepyfile(test_it=ACTORS + code)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *plugins, *arguments)

    return run


def replay_line(result):
    return next(line for line in result.outlines if line.startswith("replay this: "))[13:]


def test_the_printed_line_replays_the_failure_with_the_same_history(run, pytester):
    result = run(RACE, "-q", "--simulate-history=history.txt")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "seed *, the * of 200 seeds, from 0 to 199, failed: AssertionError: assert 'cancel' == *",
            "its history: * events; * choices, * of them not the oldest; sha256 *",
            "shrunk to: * events; *",
            "*/box *",
            "*o #*'cancel'*",
            "the whole history: *history.txt",
        ]
    )
    history = (pytester.path / "history.txt").read_bytes()
    assert b"'cancel'" in history

    command = shlex.split(replay_line(result))
    assert command[:2] == ["pytest", "test_it.py::test_race"]
    assert re.fullmatch(r"--simulate-seed=\d+:[\dx.]+", command[2])
    again = run("", "-q", "--simulate-history=again.txt", *command[1:])
    again.assert_outcomes(failed=1)
    assert (pytester.path / "again.txt").read_bytes() == history
    assert replay_line(again) == shlex.join(command)
    errors = [[line for line in r.outlines if line.startswith("E ")] for r in (result, again)]
    assert errors[0] == errors[1]

    whole = next(line for line in result.outlines if line.startswith("replay all of it: "))
    unshrunk = run("", "-q", *shlex.split(whole)[5:])
    unshrunk.assert_outcomes(failed=1)
    digests = re.findall(r"its history: .*sha256 (\w+)", f"{result.stdout}\n{unshrunk.stdout}")
    assert len(digests) == 2
    assert digests[0] == digests[1]


def test_a_test_is_run_with_its_fixtures_once_for_each_seed(run, pytester):
    result = run(
        """
import unittest
runs = []

@pytest.fixture
def inbox():
    return []

@pytest.fixture(scope="module")
def shared():
    return []

@pytest.fixture
async def an_async_one():
    return asyncio.get_running_loop()

@pytest.fixture
def box(sim):
    yield sim.system.spawn(Box)
    assert sim.system.stats().actors, "the simulation is not over yet"
    runs.append("over")

@pytest.fixture
def file(tmp_path):
    return tmp_path / "log.txt"

@pytest.mark.simulate(seeds=3)
def test_fresh_ones(sim, shared, inbox, box, file, tmp_path, an_async_one):
    inbox.append(sim.seed)
    assert inbox == [sim.seed]
    shared.append(sim.seed)
    runs.append(sim.seed)
    assert box.ask("all") == []
    box.tell(1)
    assert not file.exists()
    assert list(tmp_path.iterdir()) == []
    file.write_text("1")
    (tmp_path / "folder").mkdir()
    assert shared == list(range(sim.seed + 1))

def test_that_it_was_run_thrice():
    assert runs == [0, "over", 1, "over", 2, "over"]

@pytest.mark.simulate(seeds=3)
async def test_a_coroutine(sim):
    assert asyncio.get_running_loop().time() == sim.clock.monotonic() == 0
    await asyncio.sleep(3600)
    assert await sim.system.spawn(Box).request("all") == []

async def test_without_the_marker_it_is_run_once(sim, box, inbox):
    assert sim.seed == 0
    inbox.append(1)
    await asyncio.sleep(3600)
    assert await box.request("all") == []
    assert inbox == [1]

@pytest.mark.simulate(seeds=2)
@pytest.mark.parametrize("number", [1, 2])
class TestMethods:
    def test_sync(self, sim, number):
        box = sim.system.spawn(Box)
        box.tell(number)
        assert box.ask("all") == [number]

    @pytest.mark.simulate(seeds=5)
    async def test_async(self, number, sim):
        assert sim.seed < 5
        await asyncio.sleep(number)

class TestCase(unittest.TestCase):
    def setUp(self):
        self.seeds = []

    @pytest.mark.simulate(seeds=3)
    def test_case(self):
        self.seeds.append(self.sim.seed)
        self.assertEqual(self.sim.system.spawn(Box).ask("all"), [])

    def tearDown(self):
        assert self.seeds == [0, 1, 2]

@pytest.mark.simulate(seeds=3)
def test_skipped(sim):
    pytest.skip("not here")

@pytest.mark.xfail(strict=True)
@pytest.mark.simulate(seeds=3)
def test_expected_to_fail(sim):
    assert sim.seed < 2

@pytest.mark.simulate(seeds=3)
def test_fails_by_name(sim):
    if sim.seed == 1:
        pytest.fail("by name")

@pytest.mark.simulate(seeds=3, system={"name": "theirs"}, steps=10)
def test_options_of_the_system(sim):
    assert sim.system.name == "theirs"

@pytest.mark.simulate(systematic=True)
def test_small(sim):
    couriers_box = sim.system.spawn(Box)
    for n in range(2):
        sim.system.spawn(Courier, couriers_box).tell(n)
    sim.run()

@pytest.mark.simulate(systematic=1)
def test_large(sim):
    couriers(sim)
    sim.run()

@pytest.mark.simulate
def test_with_as_many_seeds_as_usual(sim):
    pass
""",
        "-v",
    )
    result.assert_outcomes(passed=13, failed=1, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_case: 3 seeds, from 0 to 2",
            "*test_async[[]1]: 5 seeds, from 0 to 4",
            "*test_sync[[]2]: 2 seeds, from 0 to 1",
            "*test_fails_by_name: 3 seeds, from 0 to 2",
            "*test_large: all * interleavings with at most 1 delay",
            "*test_small: all * interleavings",
            "*test_with_as_many_seeds_as_usual: 100 seeds, from 0 to 99",
            "*test_without_the_marker_it_is_run_once: seed 0",
        ]
    )
    assert "the 2nd of 3 seeds" in str(result.stdout)


def test_every_fixture_of_function_scope_is_made_anew_for_each_seed(run):
    result = run(
        """
import logging, os
ended = []

@pytest.fixture(autouse=True)
def by_itself():
    assert "SEED" not in os.environ
    yield
    ended.append("by itself")

@pytest.fixture(params=["x", "y"])
def box(request):
    yield [request.param]
    ended.append("box")

@pytest.fixture
def crate(box):
    yield box
    ended.append("crate")

@pytest.fixture
def needed_by_an_async_one():
    return []

@pytest.fixture
async def kept(needed_by_an_async_one):
    yield needed_by_an_async_one

@pytest.fixture
def on_request():
    return []

@pytest.mark.simulate(seeds=3)
def test_theirs(sim, crate, box):
    if sim.seed == 0:
        ended.clear()
    assert ended == ["crate", "box", "by itself"] * sim.seed
    box.append(sim.seed)
    assert crate[1:] == [sim.seed]

@pytest.mark.simulate(seeds=3)
def test_those_of_pytest(sim, monkeypatch, capsys, caplog, request, recwarn):
    monkeypatch.setenv("SEED", "1")
    print("seed", sim.seed)
    logging.getLogger().warning("seed")
    assert capsys.readouterr().out == f"seed {sim.seed}\\n"
    assert len(caplog.records) == 1
    request.getfixturevalue("on_request").append(1)
    assert request.getfixturevalue("on_request") == [1]
    folder = request.getfixturevalue("tmp_path")
    assert list(folder.iterdir()) == []
    (folder / "file").write_text("")

@pytest.mark.simulate(seeds=3)
def test_what_async_ones_need_is_kept(sim, kept, needed_by_an_async_one):
    kept.append(sim.seed)
    assert needed_by_an_async_one == list(range(sim.seed + 1))

class TestMethods:
    def setup_method(self):
        assert not hasattr(self, "seeds")
        self.seeds = []

    @pytest.fixture
    def own(self):
        return self.seeds

    @pytest.mark.simulate(seeds=3)
    def test_the_instance_is_new(self, sim, own):
        own.append(sim.seed)
        assert self.seeds == [sim.seed]

    def teardown_method(self):
        assert len(self.seeds) == 1
""",
        "-q",
    )
    result.assert_outcomes(passed=5)


def test_where_a_test_fails_and_then_its_fixture_the_test_is_told_first(run):
    result = run(
        """
@pytest.fixture
def box():
    yield []
    raise LookupError("the fixture")

@pytest.mark.simulate(seeds=3)
def test_both(sim, box):
    raise ValueError("the test")

@pytest.mark.simulate(seeds=3)
def test_the_fixture_alone(sim, box):
    pass
""",
        "-q",
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["E *ValueError: the test", "E *fixture*LookupError('the fixture')"]
    )
    result.stdout.fnmatch_lines(["E *LookupError: the fixture"])


def test_what_is_wrong_with_a_marker_is_said(run):
    result = run(
        """
@pytest.mark.simulate(sedes=3)
def test_a(sim): pass

@pytest.mark.simulate(seeds=0)
def test_b(sim): pass

@pytest.mark.simulate(3)
def test_c(sim): pass

@pytest.mark.simulate
def test_d(): pass

@pytest.mark.simulate(system={"nope": 1})
def test_g(sim): pass

@pytest.fixture
async def box(sim): pass

@pytest.mark.simulate
async def test_e(box, sim): pass

@pytest.fixture
async def hidden(request): return request.getfixturevalue("sim")

@pytest.mark.simulate
def test_f(sim, hidden): pass
""",
        "-q",
    )
    text = str(result.stdout)
    assert "'sedes': expected one of its options: seeds, systematic, steps, system, shrink" in text
    assert "seeds=0: expected a whole number of at least 1" in text
    assert "the options of `simulate` have names: simulate(seeds=3)" in text
    assert "system={'nope': 1}: expected options of `ActorSystem`: name, supervision, " in text
    assert "take the fixture `sim`, as in `def test_d(sim)`" in text
    assert "the fixture 'box' is async and depends on `sim`" in text
    assert "take it as an argument, in the test and in its fixtures" in text
    assert "passed" not in result.outlines[-1]


def test_how_many_seeds_are_run_can_be_said_outside_of_the_test(run, pytester):
    code = """
def test_nothing(sim): pass

@pytest.mark.simulate
def test_unsaid(sim): pass

@pytest.mark.simulate(seeds=7)
def test_said(sim): pass

@pytest.mark.simulate(systematic=True)
def test_enumerated(sim):
    couriers(sim)
"""
    usual = run(code, "-v", "-o", "simulate_seeds=4")
    usual.stdout.fnmatch_lines(
        ["*::test_nothing: seed 0", "*::test_said: 7 seeds*", "*::test_unsaid: 4 seeds*"]
    )
    quick = run("", "-v", "--simulate-seeds=2", "-o", "simulate_seeds=4")
    quick.stdout.fnmatch_lines(
        [
            "*::test_enumerated: 2 interleavings: all with fewer than 1 delay, and some with 1",
            "*::test_nothing: seed 0",
            "*::test_said: 2 seeds*",
            "*::test_unsaid: 2 seeds*",
        ]
    )
    one = run("", "-v", "--simulate-seed=12:3.1", "--simulate-seeds=2")
    one.stdout.fnmatch_lines(["*::test_nothing: the schedule 12:3.1", "*::test_said: the sched*"])


@pytest.mark.parametrize(
    "argument", ["--simulate-seed=one", "--simulate-seeds=0", "--simulate-seeds=x"]
)
def test_a_wrong_argument_ends_pytest_with_what_would_be_right(run, argument):
    result = run(RACE, argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*17:3.0.2*" if "seed=" in argument else "*whole number*"])


def test_a_test_that_depends_on_more_than_the_seed_is_told_so(run):
    result = run(
        """
runs = []

@pytest.mark.simulate(seeds=3)
def test_state_is_left(sim):
    runs.append(1)
    sim.system.spawn(Box).ask(len(runs))
    assert len(runs) < 2
""",
        "-q",
    )
    result.stdout.fnmatch_lines(
        ["E *NotDeterministic: seed 1 failed, and when it was run again it gave another history*"]
    )
    result.stdout.fnmatch_lines(["E *at first*#1  2", "E *then*#1  3"])


def test_without_pytest_asyncio_coroutines_are_run_too(run, pytester):
    code = """
@pytest.mark.simulate(seeds=2)
async def test_a_coroutine(sim):
    await asyncio.sleep(3600)
    assert sim.clock.monotonic() == 3600

@pytest.mark.simulate
async def test_a_generator(sim):
    yield
"""
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(test_it=ACTORS + code)
    result = run("", plugins=PLUGINS[:2])
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*a simulated test must not yield"])


def test_collecting_is_quick_and_knows_nothing_of_seeds(run):
    result = run(RACE, "--collect-only", "-q")
    result.stdout.fnmatch_lines(["test_it.py::test_race", "", "1 test collected*"])


def test_the_plugin_imports_no_simulation_before_one_is_run(run):
    result = run(
        """
def test_it():
    import sys
    assert "actors.testing._simulation" not in sys.modules
    assert "actors.testing._explore" not in sys.modules
    assert "greenlet" not in sys.modules
""",
    )
    result.assert_outcomes(passed=1)


def test_a_fixture_of_the_name_sim_that_is_another_ones_is_left_alone(run):
    result = run(
        """
@pytest.fixture
def sim():
    return "theirs"

def test_theirs(sim):
    assert sim == "theirs"

class TestExtended:
    @pytest.fixture
    def sim(self):
        return "mine"

    def test_mine(self, sim):
        assert sim == "mine"
"""
    )
    result.assert_outcomes(passed=2)


def test_the_fixture_sim_may_be_extended(run):
    result = run(
        """
@pytest.fixture
def sim(sim):
    sim.box = sim.system.spawn(Box)
    return sim

@pytest.mark.simulate(seeds=3)
def test_extended(sim):
    sim.box.tell(sim.seed)
    assert sim.box.ask("all") == [sim.seed]
"""
    )
    result.assert_outcomes(passed=1)


def test_the_report_has_the_output_and_the_files_of_the_run_that_it_shows(run, pytester):
    result = run(
        """
import logging

@pytest.mark.simulate(seeds=200)
def test_race(sim, tmp_path, caplog):
    print("seed", sim.seed, "was printed")
    logging.getLogger().warning("seed %s was logged", sim.seed)
    assert len(caplog.records) == 1
    box = couriers(sim)
    sim.run()
    (tmp_path / "seen").write_text(f"{box.ask('all')}")
    assert box.ask("all")[0] == "order"
""",
        "-q",
        "--basetemp=files",
    )
    seed = re.search(r"--simulate-seed=(\d+):", replay_line(result))[1]
    text = str(result.stdout)
    assert re.findall("seed (.*) was printed\n", text) == [seed]
    assert re.findall("seed (.*) was logged\n", text) == [seed]
    seen = pytester.path / "files" / "test_race0" / "seen"
    assert seen.read_text().startswith("['cancel', ")


def test_several_failures_write_their_histories_to_files_of_their_own(run, pytester):
    run(
        """
@pytest.mark.simulate(seeds=3)
@pytest.mark.parametrize("name", ["one", "two"])
def test_fails(sim, name):
    sim.system.spawn(Box, name=name).ask(1)
    assert False
""",
        "--simulate-history=history.txt",
    )
    assert "/one" in (pytester.path / "history.txt").read_text()
    assert "/two" in (pytester.path / "history-2.txt").read_text()
