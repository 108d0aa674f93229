"""The entry of the command `callboard`."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import sys
from typing import Any

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    # Until a run listens for itself, and once it is over, there is nothing to be put away.
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not cost the report of a paid run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if any(importlib.util.find_spec(name) is None for name in ("typer", "rich")):
        from actors import MissingExtra

        sys.stderr.write(f"callboard: {MissingExtra('cli')}\n")
        raise SystemExit(2)
    from patterns._cli.app import app
    from patterns._cli.output import printed, say

    trouble = printed(app)
    if trouble is not None:
        say(f"this cannot be printed ({trouble})")
        raise SystemExit(1)


def _leave(_number: int, _frame: Any) -> None:
    os._exit(INTERRUPTED)


def _open_closed_streams() -> None:
    """Give a stream that was closed (`>&-`) to nobody, or else the run's files get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number is taken, which is this one's.
            opened = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(opened, mode, encoding="utf-8", closefd=False))


if __name__ == "__main__":
    main()
