"""What a failed simulation tells: which it was, its chart, and the line that replays it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from actors.testing._chart import chart
from actors.testing._explore import Exploration, Plan
from actors.testing._outcome import Outcome

__all__ = ["command", "told"]

_LONGEST = 100
"""Characters of an error that are repeated beside its history."""

_TOO_MANY = 200_000
"""Events of a history of which no digest is printed, since that would take seconds."""

_written = pytest.StashKey[int]()


def told(item: pytest.Function, plan: Plan, found: Exploration, shortest: Outcome) -> str:
    """Return what the report says about a failure."""
    first, shrunk = found.failure, found.shrunk
    assert first is not None
    what = f"{type(first.error).__name__}: {first.error}".partition("\n")[0][:_LONGEST]
    lines = [
        f"{_which(item, plan, found, first)} failed: {what}",
        f"its history: {_size(first)}",
    ]
    if shrunk is not None and shrunk.runs:
        effort = f"{shrunk.runs} runs, {shrunk.seconds:.1f} s"
        ended = f" and was stopped after {shrunk.stopped}" if shrunk.stopped else ""
        if shortest is first:
            lines.append(f"no shorter one was found ({effort}{ended})")
        else:
            lines.append(f"shrunk to:   {_size(shortest)} ({effort}{ended})")
    lines += ["", chart(shortest.history)]
    if written := _write(item, shortest):
        lines.append(f"the whole history: {written}")
    if shortest is not first:
        lines.append(f"replay all of it: {command(item, str(first.replay))}")
    lines.append(f"replay this: {command(item, str(shortest.replay))}")
    return "\n".join(lines)


def _which(item: pytest.Function, plan: Plan, found: Exploration, first: Outcome) -> str:
    """Return which of all that was planned it is."""
    if item.config.getoption("simulate_seed") is not None or plan.seeds == 1:
        return found.tried
    if first.replay.choices is None:
        return f"seed {first.replay}, the {_ordinal(found.runs)} of {found.tried},"
    return f"the schedule {first.replay}, the {_ordinal(found.runs)} that was tried,"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in {11, 12, 13} else ending}"


def _size(outcome: Outcome) -> str:
    choices = f"{len(outcome.taken)} choices, {outcome.deviations()} of them not the oldest"
    history = outcome.history
    digest = f"; sha256 {history.digest()[:16]}" if len(history) < _TOO_MANY else ""
    return f"{len(history)} events; {choices}{digest}"


def command(item: pytest.Function, seed: str) -> str:
    """Return the line that runs it again, from the folder in which pytest was started."""
    config: Any = item.config
    node = shlex.quote(str(config.cwd_relative_nodeid(item.nodeid)))
    return f"pytest {node} --simulate-seed={seed}"


def _write(item: pytest.Function, outcome: Outcome) -> str:
    """Write the history to the file that was asked for; return its name, or "" if none was."""
    name = item.config.getoption("simulate_history")
    if not name:
        return ""
    # One for each failure, and for each process of pytest-xdist.
    count = item.config.stash.get(_written, 0) + 1
    item.config.stash[_written] = count
    parts = [os.environ.get("PYTEST_XDIST_WORKER", ""), str(count) if count > 1 else ""]
    path = Path(item.config.invocation_params.dir, name)
    path = path.with_name("-".join([path.stem, *filter(None, parts)]) + path.suffix)
    path.write_bytes(bytes(outcome.history))
    return str(path)
