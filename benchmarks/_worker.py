"""One measurement in this process, which was started for nothing else; prints it as JSON."""

from __future__ import annotations

import sys

import msgspec

from benchmarks._cases import BENCHMARKS

__all__ = ["main"]


def main(name: str, peer: str, factor: float) -> None:
    """Measure one case.

    Args:
        name: the benchmark.
        peer: who does it.
        factor: how much of the full amount of work.
    """
    benchmark = BENCHMARKS[name]
    found = benchmark.cases[peer]
    measurement = found.run(**benchmark.sized(factor * found.share))
    sys.stdout.buffer.write(msgspec.json.encode(measurement) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
