"""A file that only grows, by whole lines, and whose end is whole again after a crash.

Used by everything that must not forget: it knows how to find the last line that was written
completely, to put what follows aside, and to undo a write that failed halfway. It does not know
what the lines mean. One process at a time holds the file.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["AppendFile", "Disk", "lines_of", "using"]

_CHUNK = 1 << 16


class Disk:
    """What files are written to: the machine's."""

    def write(self, file: AppendFile, fd: int, data: memoryview) -> int:  # noqa: ARG002 - others ask
        """Write at the end of `file`; return how many bytes were.

        Raises:
            OSError: it failed.
        """
        return os.write(fd, data)


class _Using(threading.local):
    disk: Disk = Disk()


using = _Using()
"""`using.disk` is what the code of this thread writes to; a simulation puts its own there."""


class AppendFile:
    """An open file of lines.

    Args:
        path: the file, made if it is missing (its directory is not).

    Raises:
        OSError: it cannot be opened, or another process (or handle) holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        new = not path.exists()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self._fd = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _lock(self._fd)
            # Invariant: bytes known to end with a whole line; what is past it is cut off.
            self.size = os.fstat(self._fd).st_size
            if new:
                _sync_directory(path.parent)
        except BaseException:
            os.close(self._fd)
            raise

    def last_line(self, whole: Callable[[bytes], bool]) -> tuple[bytes | None, int]:
        """Return the last line that `whole` accepts, and where it ends.

        Reads backwards, so the length of the file does not matter. Without any such line it
        returns `(None, 0)`.
        """
        span = _CHUNK
        while True:
            start = max(0, self.size - span)
            data = _read(self._fd, start, self.size)
            stop = data.rfind(b"\n")
            while stop >= 0:
                begin = data.rfind(b"\n", 0, stop) + 1
                if begin == 0 and start > 0:
                    break  # the line starts before what was read
                if whole(data[begin:stop]):
                    return data[begin:stop], start + stop + 1
                stop = begin - 1
            if start == 0:
                return None, 0
            span *= 8

    def ends_line(self) -> bool:
        """Tell whether there is any line break in the file's last bytes."""
        return b"\n" in _read(self._fd, max(0, self.size - _CHUNK), self.size)

    def tail(self, start: int) -> bytes:
        """Return everything from byte `start` on."""
        return _read(self._fd, start, self.size)

    def cut(self, size: int) -> None:
        """Cut everything past byte `size` off."""
        os.ftruncate(self._fd, size)
        self.size = size

    def append(self, data: bytes, *, sync: bool) -> None:
        """Write whole lines, and wait until they are on the disk if `sync`.

        Raises:
            OSError: it failed; the file is as it was before.
        """
        try:
            left = memoryview(data)
            while left:
                left = left[using.disk.write(self, self._fd, left) :]
            if sync:
                os.fsync(self._fd)
        except OSError:
            # Half a line, or lines nobody was promised, must not stand before the next ones.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        """Close the file and let others have it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def move_to(self, path: Path) -> AppendFile:
        """Give the file another name and return a new, empty one in its place.

        Raises:
            OSError: it failed; this file stays open, under one of the two names.
        """
        self.path.rename(path)
        try:
            fresh = AppendFile(self.path)
        except OSError:
            path.rename(self.path)
            raise
        self.close()
        return fresh


def lines_of(file: BinaryIO, end: int | None = None) -> Iterator[tuple[bytes, bool]]:
    """Yield each line up to byte `end`, without its line break, and whether it had one."""
    place = 0
    for line in file:
        place += len(line)
        if end is not None and place > end:
            return
        yield line.removesuffix(b"\n"), line.endswith(b"\n")


def _read(fd: int, start: int, stop: int) -> bytes:
    parts = []
    os.lseek(fd, start, os.SEEK_SET)
    while start < stop:
        part = os.read(fd, stop - start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _lock(fd: int) -> None:
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows has no such lock
        return
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_directory(path: Path) -> None:
    """Make a new name in a directory as durable as the file it names."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:  # pragma: no cover - Windows cannot open directories
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
