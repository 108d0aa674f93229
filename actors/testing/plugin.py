"""The pytest plugin: fixtures and options of the test kit. Nothing is imported before it is used.

- marker `simulate` and fixture `sim`: run a test in many simulations (`_marker`).
- fixture `run_snapshot`: compares captured runs with stored ones (extra `testing`).
- fixture `scripted_model`: makes `ScriptedModel`s, and verifies them at the end of the test.
- fixture `recorded_model`: likewise for `RecordedModel`s.
- fixture `no_real_models`: real models cannot be called in this test.
- ini option `callboard_real_models = false`: nor in any other, unless it is marked `real_models`.
- option `--ci`: as if the environment variable CI were set: no snapshot is written or deleted.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator, Iterator
from types import CodeType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from actors.testing._guard import BlockedCalls
    from actors.testing._recorded import RecordedModel
    from actors.testing._scripted import ScriptedModel
    from actors.testing._snapshot import RunSnapshot

pytest_plugins = ["actors.testing._marker"]

__all__ = ["no_real_models", "recorded_model", "run_snapshot", "scripted_model"]


_blocked = pytest.StashKey["BlockedCalls"]()
_compared = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what is documented above."""
    parser.addini(
        "callboard_real_models",
        "whether tests may call real models without the marker real_models",
        type="bool",
        default=True,
    )
    # Another plugin may have an option of this name; it will mean the same.
    with contextlib.suppress(ValueError):
        parser.getgroup("callboard").addoption(
            "--ci",
            action="store_true",
            default=False,
            help="compare only, write or delete no snapshot of runs",
        )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line("markers", "real_models: this test may call real models")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Block real models from the first fixture to the last finalizer of a test."""
    allowed = item.config.getini("callboard_real_models")
    if allowed or item.get_closest_marker("real_models") is not None:
        return (yield)
    from actors.testing._guard import blocked_calls

    with blocked_calls() as blocked:
        item.stash[_blocked] = blocked
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test if a call was blocked and it has not heard of that."""
    result = yield
    if _blocked in item.stash:
        item.stash[_blocked].verify(_code_of(item))
    return result


def _code_of(item: pytest.Item) -> CodeType | None:
    """Return the code of a test's own function, if it has one."""
    return getattr(inspect.unwrap(getattr(item, "function", _code_of)), "__code__", None)


@pytest.fixture
def no_real_models(request: pytest.FixtureRequest) -> Iterator[BlockedCalls]:
    """Have every call of a real model raise `RealModelBlocked` in this test.

    One of which the test has not heard is raised at its end; see `block_real_models`.
    """
    from actors.testing._guard import blocked_calls

    with blocked_calls() as blocked:
        yield blocked
        blocked.verify(_code_of(request.node))


@pytest.fixture
def scripted_model() -> Iterator[Callable[..., ScriptedModel]]:
    """Return a function that makes a `ScriptedModel`; each is verified at the end of the test."""
    from actors.testing._scripted import ScriptedModel

    made: list[ScriptedModel] = []

    def make(*args: Any, **options: Any) -> ScriptedModel:
        made.append(ScriptedModel(*args, **options))
        return made[-1]

    yield make
    for model in made:
        model.verify()


@pytest.fixture
def recorded_model() -> Iterator[Callable[..., RecordedModel]]:
    """Return a function that makes a `RecordedModel`; each is verified at the end of the test."""
    from actors.testing._recorded import RecordedModel

    made: list[RecordedModel] = []

    def make(*args: Any, **options: Any) -> RecordedModel:
        made.append(RecordedModel(*args, **options))
        return made[-1]

    yield make
    for model in made:
        model.verify()


@pytest.fixture
def run_snapshot(request: pytest.FixtureRequest) -> RunSnapshot:
    """Return what captured runs are compared with: the stored runs of this test."""
    from actors.testing._ci import in_ci
    from actors.testing._snapshot import RunSnapshot

    frozen = in_ci() or bool(request.config.getoption("--ci", default=False))
    if frozen:
        # `--snapshot-update` also deletes what no test has used. Not set for every session, since
        # where no runs are compared, snapshots are syrupy's own.
        options = request.config.option
        if hasattr(options, "no_cleanup"):
            options.no_cleanup = True
        else:  # syrupy before it had this option
            options.update_snapshots = False

    def report(text: str) -> None:
        request.node.add_report_section("call", "run", text)

    # Of a simulated test, the runs of all seeds are compared with the same stored ones.
    again = request.node.stash.get(_compared, False)
    request.node.stash[_compared] = True
    snapshot = request.getfixturevalue("snapshot")
    return RunSnapshot(snapshot, report, frozen=frozen, again=again)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show how a run differs from the stored one."""
    if op != "==" or "RunSnapshot" not in {type(left).__name__, type(right).__name__}:
        return None
    from actors.testing._snapshot import RunSnapshot

    snapshot = left if isinstance(left, RunSnapshot) else right
    if not isinstance(snapshot, RunSnapshot):
        return None
    return ["this run == the stored run (the diff is below)", *snapshot.summary()]
