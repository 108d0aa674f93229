"""The marker `simulate` and the fixture `sim`, for pytest.

A test that takes `sim` runs once for each seed, in a simulation of its own each time. The plugin
makes the runs itself, instead of giving pytest one test for each: the rest of a test (collecting
it, its wider fixtures, its report) takes longer than a simulation.
"""

from __future__ import annotations

import functools
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from actors.testing._fixtures import finish, fresh, kept, renew_instance

if TYPE_CHECKING:  # pytest loads this at each start, whether there are simulations or not
    from actors.testing._explore import Plan
    from actors.testing._simulation import Simulation

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_pyfunc_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_terminal_summary",
    "sim",
]

SEEDS = 100
SCHEDULES = 1000
"""How many schedules are enumerated unless it is said."""

_current = pytest.StashKey["Simulation"]()
_plan = pytest.StashKey["Plan"]()
_section = pytest.StashKey[str]()
_PROPERTY = "simulation"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what may be said on the command line."""
    group = parser.getgroup("callboard", "simulations of actors")
    group.addoption(
        "--simulate-seed",
        metavar="S",
        help="run simulated tests with exactly this seed, as a failure prints it: 17 or 17:3.0.2",
    )
    group.addoption(
        "--simulate-seeds",
        metavar="N",
        help="how many seeds (or enumerated schedules) to run, whatever the markers say",
    )
    group.addoption(
        "--simulate-history",
        metavar="FILE",
        help="write the whole history of a failed simulation to this file",
    )
    parser.addini(
        "simulate_seeds", f"how many seeds to run where no marker says it (default: {SEEDS})"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and check what was said on the command line."""
    config.addinivalue_line(
        "markers",
        "simulate(seeds=100, systematic=False, steps=2_000_000, system={}, shrink=300): run the "
        "test in simulations of actors (fixture `sim`), once for each of the seeds 0, 1, 2 ...; "
        "with systematic=True once for each order of events, or with a number once for each that "
        "delays so often",
    )
    seed = config.getoption("simulate_seed")
    if seed is not None:
        from actors.testing._schedules import Replay

        _or_usage_error(lambda: Replay.parse(seed))
    for name, value in _counts(config):
        if not (value.isascii() and value.isdigit() and int(value) > 0):
            raise pytest.UsageError(f"{name} must be a whole number of at least 1, not {value!r}")


def _counts(config: pytest.Config) -> Iterator[tuple[str, str]]:
    for name, value in (
        ("--simulate-seeds", config.getoption("simulate_seeds")),
        ("simulate_seeds", config.getini("simulate_seeds")),
    ):
        if value:
            yield name, str(value)


def _or_usage_error(call: Callable[[], object]) -> None:
    from actors._errors import InvalidOption

    try:
        call()
    except InvalidOption as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Simulation:
    """A simulation, entered; each run of the test has a fresh one."""
    simulation = request.node.stash.get(_current, None)
    if simulation is None:
        pytest.fail(
            "`sim` lasts for one run of one test: take it as an argument, in the test and in its "
            "fixtures; async ones cannot have it",
            pytrace=False,
        )
    return cast("Simulation", simulation)


def _takes_sim(item: pytest.Function) -> bool:
    """Tell whether a test takes this plugin's `sim`, be it through another fixture of that name."""
    found = item._fixtureinfo.name2fixturedefs.get("sim", ())
    return any(getattr(definition.func, "__module__", "") == __name__ for definition in found)


# -- before a test ---------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Find out whether a test is simulated; keep what is fresh for each run from being made yet."""
    if not isinstance(item, pytest.Function):
        return
    marks = list(item.iter_markers("simulate"))
    case = _is_case(item)
    if not marks and (case or not _takes_sim(item)):
        return
    if not case and not _takes_sim(item):
        pytest.fail(
            f"{item.name} is marked `simulate` and has no simulation: take the fixture `sim`, as "
            f"in `def {item.originalname}(sim)`",
            pytrace=False,
        )
    item.stash[_plan] = _plan_of(item, marks)
    if case:
        item.runtest = lambda: _run_case(item)  # type: ignore[method-assign]
        return
    for name in fresh(item):
        item.funcargs[name] = None
    # Plugins for real event loops have made the item one of theirs, if the test is async.
    item.setup = types.MethodType(pytest.Function.setup, item)  # type: ignore[method-assign]
    item.runtest = types.MethodType(pytest.Function.runtest, item)  # type: ignore[method-assign]


def _is_case(item: pytest.Function) -> bool:
    """Tell whether a test is a method of a `unittest.TestCase`."""
    unittest = sys.modules.get("unittest")  # whoever has such a class has imported it
    return (
        isinstance(item.cls, type)
        and unittest is not None
        and issubclass(item.cls, unittest.TestCase)
    )


def _plan_of(item: pytest.Function, marks: list[pytest.Mark]) -> Plan:
    """Return what is to be tried; the marker closest to the test has the last word."""
    from actors._errors import InvalidOption
    from actors.testing._explore import Plan

    options: dict[str, Any] = {}
    for mark in reversed(marks):
        if mark.args:
            pytest.fail(
                f"the options of `simulate` have names: simulate(seeds={mark.args[0]!r})",
                pytrace=False,
            )
        options.update(mark.kwargs)
    enumerated = options.get("systematic", False) is not False
    usual = SCHEDULES if enumerated else int(item.config.getini("simulate_seeds") or SEEDS)
    options.setdefault("seeds", usual if marks else 1)
    if marks and item.config.getoption("simulate_seeds"):
        options["seeds"] = int(item.config.getoption("simulate_seeds"))
    wrong = ""
    try:
        return Plan.of(options)
    except InvalidOption as error:
        wrong = f"{item.name} is marked `simulate` with a wrong option: {error}"
    pytest.fail(wrong, pytrace=False)


# -- the test --------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a simulated test."""
    __tracebackhide__ = True
    if _plan not in pyfuncitem.stash:
        return None
    item = pyfuncitem
    anew = fresh(item)
    names = item._fixtureinfo.argnames
    # What pytest does for a fixture takes as long as a third of a simulation.
    alone = anew == ["sim"] and len(item._fixtureinfo.name2fixturedefs["sim"]) == 1
    once = kept(item)
    finalizers = item.session._setupstate.stack[item][0]

    def end(before: int) -> None:
        __tracebackhide__ = True
        if len(finalizers) > before:
            added = finalizers[before:]
            del finalizers[before:]
            finalizers.extend(finish(item, added, once))

    def test(sim: Simulation) -> None:
        __tracebackhide__ = True
        before = len(finalizers)
        renew_instance(item)
        try:
            if alone:
                item.funcargs["sim"] = sim
            else:
                for name in anew:
                    item.funcargs[name] = item._request.getfixturevalue(name)
            _call(item, sim, {name: item.funcargs[name] for name in names})
        except BaseException as error:
            try:
                end(before)
            except Exception as another:  # noqa: BLE001 - which may be a consequence
                error.add_note(f"ending its fixtures failed, too: {another!r}")
            raise
        end(before)

    _explore(item, test)
    return True


def _call(item: pytest.Function, sim: Simulation, arguments: dict[str, Any]) -> None:
    """Call the test; if it is async, on the simulated loop."""
    __tracebackhide__ = True
    result = item.obj(**arguments)
    if isinstance(result, types.CoroutineType):
        sim.run(result)
    elif isinstance(result, types.AsyncGeneratorType):
        pytest.fail("a simulated test must not yield", pytrace=False)


def _run_case(item: pytest.Function) -> None:
    """Run a method of a `unittest.TestCase`, which finds the simulation as `self.sim`."""
    method = item.obj

    @functools.wraps(method)
    def explored() -> None:
        __tracebackhide__ = True

        def test(sim: Simulation) -> None:
            __tracebackhide__ = True
            item.instance.sim = sim
            _call(item, sim, {})

        item.obj = method
        _explore(item, test)

    item.obj = explored
    type(item).runtest(item)


def _explore(item: pytest.Function, test: Callable[[Simulation], None]) -> None:
    """Run a test as often as it was planned, and raise the failure that is the best to look at."""
    __tracebackhide__ = True
    import unittest

    from actors.testing._errors import NotDeterministic
    from actors.testing._explore import explore, replay
    from actors.testing._outcome import Attempt
    from actors.testing._report import command, told
    from actors.testing._schedules import Replay

    plan = item.stash[_plan]
    # Invariant: those that are ended are taken out of it.
    made: Any = item._request._fixture_defs

    def run(sim: Simulation) -> None:
        __tracebackhide__ = True
        _forget_output(item)
        if "tmp_path" in made and made["tmp_path"].cached_result is not None:
            _empty(made["tmp_path"].cached_result[0])
        item.stash[_current] = sim
        try:
            test(sim)
        finally:
            del item.stash[_current]

    attempt = Attempt(
        run,
        steps=plan.steps,
        system=plan.system,
        caught=(Exception, pytest.fail.Exception),
        passed_on=(pytest.skip.Exception, pytest.xfail.Exception, unittest.SkipTest),
    )
    seed = item.config.getoption("simulate_seed")
    try:
        found = explore(attempt, plan) if seed is None else replay(attempt, Replay.parse(seed))
    except NotDeterministic as error:
        item.stash[_section] = f"replay this: {command(item, error.replay)}\n"
        raise
    item.user_properties.append((_PROPERTY, found.tried))
    shortest = found.shortest
    if shortest is None:
        return
    item.stash[_section] = told(item, plan, found, shortest)
    assert shortest.error is not None
    raise shortest.error


def _forget_output(item: pytest.Function) -> None:
    """Forget what earlier runs have printed and logged; the last run is the one to report."""
    plugins = item.config.pluginmanager
    capture: Any = plugins.getplugin("capturemanager")
    if capture is not None and capture.is_globally_capturing():
        capture.read_global_capture()
    logging: Any = plugins.getplugin("logging-plugin")
    if logging is not None:
        logging.caplog_handler.clear()
        logging.report_handler.clear()


def _empty(folder: Path) -> None:
    """Have each run begin with an empty folder; that it has the same name keeps histories equal."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


# -- the report ------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Add the history to the report of a failure."""
    report: pytest.TestReport = yield  # type: ignore[assignment, misc]
    section = item.stash.get(_section, None)
    if call.when == "call" and section is not None:
        del item.stash[_section]
        add = getattr(report.longrepr, "addsection", None)
        if add is not None:
            add("simulation", section, "-")
        else:
            report.sections.append(("simulation", section))
    return report  # type: ignore[return-value]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was tried, with `-v`."""
    if config.get_verbosity() < 1:
        return
    lines = [
        f"{report.nodeid}: {value}"
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
    if lines:
        terminalreporter.section("simulations")
        for line in sorted(lines):
            terminalreporter.line(line)
