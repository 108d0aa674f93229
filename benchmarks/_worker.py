"""One measurement in this process, which was started for nothing else; prints it as JSON."""

from __future__ import annotations

import sys

import msgspec

from benchmarks._cases import BENCHMARKS
from benchmarks._spec import NotInstalled

__all__ = ["NOT_INSTALLED", "main"]

NOT_INSTALLED = 3
"""Exit code that says that the peer is missing; standard error says what of it."""

OURS = ("actors", "patterns", "benchmarks")


def main(name: str, peer: str, factor: float) -> int:
    """Measure one case; return the exit code.

    Args:
        name: the benchmark.
        peer: who does it.
        factor: how much of the full amount of work.
    """
    benchmark = BENCHMARKS[name]
    found = benchmark.cases[peer]
    try:
        measurement = found.run(**benchmark.sized(factor * found.share))
    except NotInstalled as missing:
        sys.stderr.write(f"{missing}\n")
        return NOT_INSTALLED
    except ModuleNotFoundError as missing:
        # A module of our own that is missing is a fault, not a missing peer.
        package = (missing.name or "").partition(".")[0]
        if package in OURS:
            raise
        sys.stderr.write(f"{package}\n")
        return NOT_INSTALLED
    sys.stdout.buffer.write(msgspec.json.encode(measurement) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
