"""The entry of the command `callboard`."""

from __future__ import annotations

import importlib.util
import io
import sys

from actors import MissingExtra

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not cost the report of a paid run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if any(importlib.util.find_spec(name) is None for name in ("typer", "rich")):
        sys.stderr.write(f"callboard: {MissingExtra('cli')}\n")
        raise SystemExit(2)
    from patterns._cli.app import app

    app()


if __name__ == "__main__":
    main()
