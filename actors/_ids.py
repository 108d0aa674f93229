"""Where the ids of runs and spans come from: one source, so that a simulation can seed it."""

from __future__ import annotations

import os
import random
from typing import Final

__all__ = ["RANDOM"]

RANDOM: Final = random.Random()  # noqa: S311 - ids need not be secret
"""Asking the operating system for each id would cost ten times as much."""

if hasattr(os, "register_at_fork"):
    # Or a child process would give the ids its parent gives.
    os.register_at_fork(after_in_child=RANDOM.seed)
