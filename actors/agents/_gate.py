"""Where every call of a real model passes, so that tests can forbid it.

A double of a model does not pass here; a model that starts an engine or opens a connection does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["guarded", "pass_gate"]

Guard = Callable[[str], None]

# Invariant: replaced as a whole, so that who passes needs no lock.
_guards: tuple[Guard, ...] = ()


def pass_gate(model: str) -> None:
    """Have the call of that model looked at; raises what a guard raises."""
    for guard in _guards:
        guard(model)


@contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Have `guard` called with the model's name before each call, in the whole process."""
    global _guards  # noqa: PLW0603 - the one gate
    _guards = (guard, *_guards)
    try:
        yield
    finally:
        # Not what was there before: somebody else's block may have begun meanwhile.
        _guards = tuple(other for other in _guards if other is not guard)
