"""Whether this is a machine that checks, and must not write what it checks against."""

from __future__ import annotations

import os

__all__ = ["in_ci"]

_NO = frozenset({"", "0", "false", "no"})


def in_ci() -> bool:
    """Tell whether the environment variable CI says so, as GitHub, GitLab and others set it."""
    return os.environ.get("CI", "").lower() not in _NO
