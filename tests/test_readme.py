"""Every snippet of every README runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> list[object]:
    found = []
    for page in sorted(ROOT.glob("**/README.md")):
        if any(part.startswith(".") for part in page.relative_to(ROOT).parts):
            continue
        text = page.read_text(encoding="utf-8")
        for number, match in enumerate(FENCE.finditer(text), start=1):
            if match[1] == language:
                name = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"
                found.append(pytest.param(match[2], id=f"{name} (block {number})"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("snippet", _blocks("python"))
def test_python_snippet_runs(snippet: str, tmp_path: Path) -> None:
    script = tmp_path / "snippet.py"
    script.write_text(snippet, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    # A line `# -> text` behind a print says what it prints.
    for expected in re.findall(r"print\(.*\)\s*# -> (.*)$", snippet, re.MULTILINE):
        assert expected in ended.stdout


def test_the_first_two_shell_blocks_are_one_line_each() -> None:
    blocks = [
        match[2].strip()
        for match in FENCE.finditer((ROOT / "README.md").read_text(encoding="utf-8"))
        if match[1] in {"sh", "bash", "shell", "console"}
    ]
    assert len(blocks[0].splitlines()) == len(blocks[1].splitlines()) == 1
    assert "callboard run" in blocks[0]
    assert "pytest" in blocks[1]
