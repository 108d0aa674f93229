"""Pre-empts simulated threads between two lines of code, as real ones are at any moment.

A simulated thread is left only where it waits. That is enough for actors, which share nothing; for
code that threads do share, each function named here is compiled again with a pause before each of
its statements. A thread that pauses goes on when the schedule chooses it.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from actors._executing import local
from actors.testing._errors import SimulationError
from actors.testing._kernel import Kernel, SimulatedThread

__all__ = ["preempted"]

_PAUSE = "__pause__"


@contextmanager
def preempted(kernel: Kernel, *methods: tuple[type, str]) -> Iterator[None]:
    """Let the methods be left before each of their statements, inside of the scope.

    What a `with` guards is not left, since all simulated threads are one to a real lock.

    Args:
        kernel: of the simulation.
        methods: class and name of each; no closures, so none that call `super()`.

    Raises:
        SimulationError: one of them is a closure, or inherited.
    """

    def pause() -> None:
        thread = local.worker
        if isinstance(thread, SimulatedThread):
            kernel.ready.append((kernel.resume, thread))
            kernel.hub.switch()

    for owner, name in methods:
        if name not in owner.__dict__:
            raise SimulationError(f"{owner.__name__} has no {name} of its own; name its base")
    before = [(owner, name, owner.__dict__[name]) for owner, name in methods]
    try:
        for owner, name, function in before:
            setattr(owner, name, _with_pauses(function, pause))
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _with_pauses(function: Any, pause: Callable[[], None]) -> Any:
    code = function.__code__
    if code.co_freevars:
        raise SimulationError(f"{function.__qualname__} is a closure and cannot be pre-empted")
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    made = tree.body[0]
    assert isinstance(made, ast.FunctionDef)
    made.decorator_list = []
    made.body = _spread(made.body)
    ast.increment_lineno(tree, code.co_firstlineno - 1)
    names = dict(function.__globals__)
    names[_PAUSE] = pause
    exec(compile(tree, code.co_filename, "exec"), names)  # noqa: S102 - the function's own source
    renewed = names[made.name]
    renewed.__qualname__ = function.__qualname__
    return renewed


def _spread(body: list[ast.stmt]) -> list[ast.stmt]:
    """Put a pause before each statement, and inside of what branches or repeats."""
    spread: list[ast.stmt] = []
    for statement in body:
        pause = ast.Expr(ast.Call(ast.Name(_PAUSE, ast.Load()), [], []))
        ast.copy_location(pause, statement)
        ast.fix_missing_locations(pause)
        spread += [pause, statement]
        if isinstance(statement, ast.If | ast.While | ast.For | ast.Try):
            for part in ("body", "orelse", "finalbody"):
                if getattr(statement, part, None):
                    setattr(statement, part, _spread(getattr(statement, part)))
    return spread
