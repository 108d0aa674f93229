"""The fixtures of a simulated test, which each of its runs has for itself.

pytest makes the fixtures of a test once. Here those of function scope are ended after a run as
pytest ends them after a test, by the finalizers of the item, so that the next run makes new ones.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

__all__ = ["finish", "fresh", "kept", "renew_instance"]

_OF_A_PARAMETER = "get_direct_param_fixture_func"
"""The name of the function that stands for a parameter among pytest's fixtures."""


def fresh(item: pytest.Function) -> list[str]:
    """Return the fixtures that are made for each run: those of function scope, but what is kept."""
    definitions = item._fixtureinfo.name2fixturedefs
    stay = kept(item)
    return [
        name
        for name in item.fixturenames
        if name in definitions and definitions[name][-1].scope == "function" and name not in stay
    ]


def kept(item: pytest.Function) -> set[str]:
    """Return the fixtures of function scope that are made once for all runs.

    Async ones, since a real loop runs them, and what they need; the folder, which is emptied
    instead; parameters.
    """
    definitions = item._fixtureinfo.name2fixturedefs
    once = {
        name
        for name, found in definitions.items()
        if getattr(found[-1].func, "__name__", "") == _OF_A_PARAMETER
    }
    for name, found in definitions.items():
        if not any(_is_async(definition.func) for definition in found):
            continue
        needed = _needed(name, definitions)
        for other in sorted(needed & definitions.keys(), key=lambda other: other != "sim"):
            if definitions[other][-1].scope == "function" and _is_ours(definitions[other][-1].func):
                pytest.fail(
                    f"the fixture {name!r} is async and depends on `{other}`: make it a plain "
                    "function, which may use `sim.run(...)`",
                    pytrace=False,
                )
        once |= needed
    if "sim" not in _needed("tmp_path", definitions):
        once.add("tmp_path")
    return once


def _needed(name: str, definitions: Mapping[str, Sequence[Any]]) -> set[str]:
    """Return this fixture, those it needs, and those that they need."""
    needed: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            for definition in definitions.get(name, ()):
                waiting.extend(definition.argnames)
    return needed


def _is_ours(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith("actors.testing.")


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def renew_instance(item: pytest.Function) -> None:
    """Have the test be a method of a new instance of its class, as each test of pytest's is."""
    method = item.obj
    if item.cls is None or getattr(method, "__self__", None) is not item.instance:
        return  # a static method, or what another plugin has put in its place
    item._instance = item._getinstance()  # type: ignore[no-untyped-call]
    item.obj = method.__func__.__get__(item._instance)


def finish(
    item: pytest.Function, finalizers: list[Callable[[], object]], once: set[str]
) -> list[Callable[[], object]]:
    """End the fixtures of a run, the last one first, so that the next run makes them anew.

    Also those that the test asked for while it ran. Returns the finalizers of those made `once`.
    """
    __tracebackhide__ = True
    later: list[Callable[[], object]] = []
    try:
        with contextlib.ExitStack() as all_of_them:  # even where one of them fails
            for finalizer in finalizers:
                definition = getattr(getattr(finalizer, "func", None), "__self__", None)
                if getattr(definition, "argname", None) in once:
                    later.append(finalizer)
                else:
                    all_of_them.callback(finalizer)
    finally:
        made = item._request._fixture_defs
        for name in [name for name, found in made.items() if found.cached_result is None]:
            del made[name]
    return later
