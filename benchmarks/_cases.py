"""All benchmarks, with the modules that define them imported."""

from __future__ import annotations

from benchmarks import asks, peers, savina, scale, services
from benchmarks._spec import BENCHMARKS

__all__ = ["BENCHMARKS", "MODULES"]

MODULES = (savina, peers, asks, scale, services)
