"""All benchmarks, with the modules that define them imported."""

from __future__ import annotations

from benchmarks import (
    asks,
    erlang,
    growth,
    peers,
    savina,
    scale,
    services,
    simulation,
    steps,
    stress,
)
from benchmarks._spec import BENCHMARKS

__all__ = ["BENCHMARKS", "MODULES"]

MODULES = (savina, peers, asks, scale, growth, services, simulation, steps, stress, erlang)
