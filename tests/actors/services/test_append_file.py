from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.services._append_file import AppendFile, lines_of

ROOT = Path(__file__).parents[3]


def whole(line: bytes) -> bool:
    return line.startswith(b"ok")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def opened(path, content: bytes) -> AppendFile:
    path.write_bytes(content)
    return AppendFile(path)


def test_an_empty_file_has_no_last_line(path):
    file = AppendFile(path)
    assert file.last_line(whole) == (None, 0)
    file.close()


@pytest.mark.parametrize(
    ("content", "line", "end"),
    [
        (b"ok 1\nok 2\n", b"ok 2", 10),
        (b"ok 1\nok 2", b"ok 1", 5),
        (b"ok 1\nbad\nbad\nok", b"ok 1", 5),
        (b"ok 1\n" + bytes(300_000), b"ok 1", 5),
        (b"bad\n", None, 0),
        (b"ok", None, 0),
        (b"\n\n", None, 0),
        (b"ok" + b"x" * 70_000 + b"\n", b"ok" + b"x" * 70_000, 70_003),
        (b"ok 1\nok" + b"x" * 600_000 + b"\nbad", b"ok" + b"x" * 600_000, 600_008),
        (b"ok 1\n" + b"x" * (65_536 - 5) + b"\n", b"ok 1", 5),
    ],
)
def test_the_last_whole_line_is_found_however_the_file_ends(path, content, line, end):
    file = opened(path, content)
    assert file.last_line(whole) == (line, end)
    file.close()


@pytest.mark.parametrize("length", range(65_530, 65_545))
def test_a_line_that_straddles_what_is_read_at_once_is_read_whole(path, length):
    line = b"ok" + b"y" * (length - 3)
    file = opened(path, b"ok 1\n" + line + b"\n")
    assert file.last_line(whole) == (line, 5 + length)
    file.close()


def test_what_is_cut_off_is_given_back_and_writing_goes_on_behind_the_cut(path):
    file = opened(path, b"ok 1\nto")
    assert file.tail(5) == b"to"
    file.cut(5)
    file.append(b"ok 2\n", sync=True)
    assert path.read_bytes() == b"ok 1\nok 2\n"
    assert file.size == 10
    file.close()


def test_only_one_holds_the_file(path):
    file = AppendFile(path)
    with pytest.raises(OSError):
        AppendFile(path)
    file.close()
    AppendFile(path).close()


def test_a_directory_that_is_missing_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        AppendFile(tmp_path / "no" / "file")


@pytest.mark.slow
def test_a_write_that_fails_halfway_leaves_the_file_as_it_was(path):
    """A process whose files may not grow past a limit writes a part, and then gets an error."""
    program = """
import resource, signal, sys
from pathlib import Path
from actors.services._append_file import AppendFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
file = AppendFile(Path(sys.argv[1]))
file.append(b"a" * 59 + b"\\n", sync=True)
try:
    file.append(b"b" * 79 + b"\\n", sync=True)
except OSError as error:
    print(type(error).__name__, file.size)
file.append(b"c" * 39 + b"\\n", sync=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["OSError", "60"]
    assert path.read_bytes() == b"a" * 59 + b"\n" + b"c" * 39 + b"\n"


def test_a_file_that_is_moved_away_leaves_an_empty_one_behind(path, tmp_path):
    file = opened(path, b"ok 1\n")
    fresh = file.move_to(tmp_path / "file.1")
    fresh.append(b"ok 2\n", sync=False)
    fresh.close()
    assert (tmp_path / "file.1").read_bytes() == b"ok 1\n"
    assert path.read_bytes() == b"ok 2\n"


def test_lines_are_read_up_to_the_end_that_was_asked_for(path):
    path.write_bytes(b"a\nb\nc")
    with path.open("rb") as file:
        assert list(lines_of(file)) == [(b"a", True), (b"b", True), (b"c", False)]
    with path.open("rb") as file:
        assert list(lines_of(file, 4)) == [(b"a", True), (b"b", True)]
