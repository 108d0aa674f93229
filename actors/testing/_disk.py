"""A disk that is full, or that takes less at once than it was given."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from actors._errors import InvalidOption
from actors.services._append_file import AppendFile, Disk
from actors.testing._injection import Injection, Site
from actors.testing._options import check_rate

__all__ = ["FaultyDisk", "FullDisk", "ShortWrites", "path_of"]


def path_of(target: Any) -> Path | None:
    """Return the file that is meant.

    Args:
        target: a path, something that has one (a log, a ledger), or None for every file.

    Raises:
        InvalidOption: it is none of these.
    """
    path = getattr(target, "path", target)
    if path is None:
        return None
    if not isinstance(path, (str, Path)) or not str(path):
        raise InvalidOption("target", target, "a path, a DecisionLog, or None for every file")
    return Path(path).absolute()


class FaultyDisk(Disk):
    """What the files of one simulation are written to."""

    def __init__(self) -> None:
        self.faults: list[FullDisk | ShortWrites] = []

    def write(self, file: AppendFile, fd: int, data: memoryview) -> int:
        for fault in self.faults:
            if fault.path is None or fault.path == file.path.absolute():
                data = fault.cut(file, fd, data)
        return super().write(file, fd, data)


class FullDisk(Injection):
    """The disk has no more room.

    A write of which a part fits has that part written, as on a real disk; what is cut off again
    makes room again.

    Args:
        site: the simulation.
        index: which of its faults this is.
        path: the file, or None for every one.
        records: how many lines still fit, or None.
        size: how many bytes still fit, or None; nothing does if both are None.
        until: virtual seconds since the simulation began, when there is room again, or None.
    """

    def __init__(
        self,
        site: Site,
        index: int,
        path: Path | None,
        records: int | None,
        size: int | None,
        until: float | None,
    ) -> None:
        super().__init__(site, index)
        for option, value in (("records", records), ("bytes", size)):
            given: object = value
            if given is not None and (
                isinstance(given, bool) or not isinstance(given, int) or given < 0
            ):
                raise InvalidOption(option, value, "a whole number, 0 or more")
        self.path = path
        self._lines = records
        self._room = size
        self._until = until
        # Up to where each file may grow.
        self._limits: dict[Path, int] = {}
        # Up to where each file was allowed to, should others cut that write into pieces.
        self._granted: dict[Path, int] = {}

    def cut(self, file: AppendFile, fd: int, data: memoryview) -> memoryview:
        """Return the part of `data` that fits.

        Raises:
            OSError: nothing does.
        """
        if self._stopped or (self._until is not None and self._site.clock.now >= self._until):
            return data
        size = os.fstat(fd).st_size
        fits = self._fits(file, size, data)
        if fits <= 0:
            self._inject(file.path.name, 0, "disk full")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.path.name)
        return data[:fits]

    def _fits(self, file: AppendFile, size: int, data: memoryview) -> int:
        fits = 0 if self._room is None and self._lines is None else len(data)
        if self._room is not None:
            fits = min(fits, self._limits.setdefault(file.path, size + self._room) - size)
        if self._lines is None or size + len(data) == self._granted.get(file.path):
            return fits
        if size > file.size:
            return 0  # what fitted of this append stands there already, and will be cut off
        count = bytes(data).count(b"\n")
        if count <= self._lines:
            self._lines -= count
            self._granted[file.path] = size + len(data)
            return fits
        end = 0
        for _ in range(self._lines):
            end = bytes(data).index(b"\n", end) + 1
        # And a part of the line that does not fit.
        return min(fits, end + (bytes(data).index(b"\n", end) - end) // 2)


class ShortWrites(Injection):
    """The disk takes a part of what it is given, without an error, as it may at any time."""

    def __init__(self, site: Site, index: int, path: Path | None, rate: float) -> None:
        super().__init__(site, index)
        check_rate(rate)
        self.path = path
        self._rate = rate

    def cut(self, file: AppendFile, _fd: int, data: memoryview) -> memoryview:
        """Return the part of `data` that is taken."""
        if len(data) < 2 or not self._happens(self._rate):
            return data
        taken = self._random.randrange(1, len(data))
        self._inject(file.path.name, 0, f"{taken} of {len(data)} bytes written")
        return data[:taken]
