"""Each promise of actors/README.md and of its guide to testing names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "actors" / "README.md", ROOT / "actors" / "testing" / "README.md")
NAMED = sorted({n for page in PAGES for n in re.findall(r"`(test_\w+)`", page.read_text())})
EXISTING = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("name", NAMED)
def test_the_test_that_holds_a_promise_exists(name: str) -> None:
    assert name in EXISTING


def test_there_are_promises() -> None:
    assert len(NAMED) > 20
