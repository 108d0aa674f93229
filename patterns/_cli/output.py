"""Saying and printing, also where a stream is full, closed or read by nobody any more."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

__all__ = ["printed", "say"]


def say(message: str) -> None:
    """Tell the user, on the standard error."""
    # With that gone too, there is no place left.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"callboard: {message}\n")
        sys.stderr.flush()


def printed(show: Callable[[], None]) -> str | None:
    """Print something on the standard output; return why that failed, or None.

    A reader that has seen enough (`| head -1`) is no failure.

    Args:
        show: what prints it.
    """
    try:
        show()
        sys.stdout.flush()
    except BrokenPipeError:
        why = None
    except OSError as error:
        why = error.strerror or type(error).__name__
    else:
        return None
    # What is left in the buffer would fail once more when the interpreter ends.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return why
