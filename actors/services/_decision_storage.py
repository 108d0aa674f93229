"""The files of a decision log on a disk: opened, repaired, written, rotated and read."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
from loguru import logger

from actors._errors import LogCorrupt, LogError, MissingExtra
from actors.services._append_file import AppendFile, lines_of
from actors.services._decision_file import (
    Decision,
    Filter,
    Verification,
    check_chain,
    digest,
    is_record,
    parse,
    rotated,
    seal,
    select,
)

__all__ = ["Fsync", "LogStats", "Reading", "Storage", "read", "run_sql", "verify_files"]

Fsync = Literal["batch", "always", "never"]


class LogStats(msgspec.Struct, frozen=True):
    """What a decision log has done since it was opened.

    Attributes:
        last_seq: the number of the last durable record; 0 of an empty log.
        records: how many were written.
        writes: how many writes (each with its fsync, unless fsync="never") that took.
        bytes: how long the current file is.
        torn_bytes: what a crash had torn off and was cut when the log was opened.
        torn_file: where that was put, or None.
    """

    last_seq: int
    records: int
    writes: int
    bytes: int
    torn_bytes: int
    torn_file: str | None


class Storage:
    """An open log. Used by one actor, and outlives its restarts.

    Args:
        path: the file.
        fsync: whether to wait for the disk.
        rotate_bytes: at what size to begin a new file, or None.

    Raises:
        LogError: the file cannot be opened or repaired, or is in use.
        LogCorrupt: it is no decision log.
    """

    def __init__(self, path: Path, fsync: Fsync, rotate_bytes: int | None) -> None:
        self.path = path
        self.fsync = fsync
        self._rotate_bytes = rotate_bytes
        self._records = self._writes = self._torn_bytes = 0
        self._torn_file: str | None = None
        try:
            self._file = AppendFile(path)
        except BlockingIOError as error:
            raise LogError(f"{path} is in use by another log or process") from error
        except OSError as error:
            raise LogError(f"{path} cannot be opened as a decision log: {error}") from error
        try:
            # Invariant: what the next line has to be chained to; changes after a write only.
            self.last_seq, self._head = self._recover()
        except OSError as error:
            self._file.close()
            raise LogError(f"{path} cannot be repaired: {error}") from error
        except BaseException:
            self._file.close()
            raise

    def _recover(self) -> tuple[int, str | None]:
        file = self._file
        line, end = file.last_line(is_record)
        if line is None and file.size and file.ends_line():
            raise LogCorrupt(f"{self.path} is not a decision log")
        if end < file.size:
            self._set_aside(end)
        if line is None:
            older = rotated(self.path)
            if not older:
                return 0, None
            line = _last_line_of(older[-1])
        return parse(line).seq, digest(line)

    def _set_aside(self, end: int) -> None:
        """Move what a crash left after the last whole line into a file of its own."""
        number = 1
        while (side := self.path.with_name(f"{self.path.name}.torn-{number}")).exists():
            number += 1
        torn = self._file.tail(end)
        aside = AppendFile(side)
        try:
            # First there, then gone from here: a crash in between repeats, but loses nothing.
            aside.append(torn, sync=True)
        finally:
            aside.close()
        self._file.cut(end)
        self._torn_bytes, self._torn_file = len(torn), str(side)
        logger.warning(
            "{}: the last {} bytes were torn by a crash and are now in {}",
            self.path,
            len(torn),
            side.name,
        )

    def write(self, bodies: list[bytes]) -> int:
        """Write records with one write and, but for fsync="never", one fsync.

        Returns:
            The `seq` of the first.

        Raises:
            LogError: it failed, and none of them is in the file.
        """
        seq, head = self.last_seq, self._head
        lines = []
        for body in bodies:
            seq += 1
            line = seal(seq, body, head)
            head = digest(line)
            lines.append(line + b"\n")
        try:
            self._file.append(b"".join(lines), sync=self.fsync != "never")
        except OSError as error:
            raise LogError(
                f"{self.path}: {len(bodies)} records were not written: {error}"
            ) from error
        first = self.last_seq + 1
        self.last_seq, self._head = seq, head
        self._records += len(bodies)
        self._writes += 1
        if self._rotate_bytes is not None and self._file.size >= self._rotate_bytes:
            self._rotate()
        return first

    def _rotate(self) -> None:
        older = rotated(self.path)
        number = int(older[-1].name.rpartition(".")[2]) + 1 if older else 1
        try:
            self._file = self._file.move_to(self.path.with_name(f"{self.path.name}.{number}"))
        except OSError as error:
            # The records are safe where they are; the next write tries again.
            logger.warning("{} could not be rotated: {}", self.path, error)

    def reading(self) -> Reading:
        """Open everything that was written so far, for reading.

        Raises:
            LogError: a file cannot be opened.
        """
        paths = [*rotated(self.path), self.path]
        files: list[BinaryIO] = []
        with ExitStack() as stack:
            try:
                files.extend(stack.enter_context(path.open("rb")) for path in paths)
            except OSError as error:
                raise LogError(f"{self.path} cannot be read: {error}") from error
            return Reading(files, self._file.size, stack.pop_all())

    def stats(self) -> LogStats:
        """Return what was done so far."""
        return LogStats(
            last_seq=self.last_seq,
            records=self._records,
            writes=self._writes,
            bytes=self._file.size,
            torn_bytes=self._torn_bytes,
            torn_file=self._torn_file,
        )

    def close(self) -> None:
        """Let others have the file."""
        self._file.close()


class Reading:
    """The files of a log as they were at one moment, open, whatever is rotated meanwhile.

    Attributes:
        files: oldest first.
        end: up to which byte the last one is read.
    """

    __slots__ = ("_open", "end", "files")

    def __init__(self, files: list[BinaryIO], end: int, open_files: ExitStack) -> None:
        self.files = files
        self.end = end
        self._open = open_files

    def close(self) -> None:
        """Close them."""
        self._open.close()


def read(reading: Reading, wanted: Filter) -> list[Decision]:
    """Return the decisions that are wanted.

    Raises:
        LogCorrupt: a line is none of this log's.
    """
    last = len(reading.files) - 1
    return select(
        (
            line
            for number, file in enumerate(reading.files)
            for line, _ in lines_of(file, reading.end if number == last else None)
        ),
        wanted,
    )


def run_sql(path: Path, statement: str) -> list[dict[str, Any]]:
    """Run a DuckDB statement over the table `decisions`, which holds the whole log.

    Raises:
        MissingExtra: duckdb is not installed.
        LogError: DuckDB refused the statement.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtra("query") from error
    names = [str(p) for p in [*rotated(path), path] if p.stat().st_size]
    try:
        with duckdb.connect(":memory:") as connection:
            if names:
                # ignore_errors: only a line that is being written at this moment can be broken.
                connection.execute(
                    "CREATE TABLE decisions AS SELECT * FROM read_json(?, "
                    "format='newline_delimited', union_by_name=true, sample_size=-1, "
                    "ignore_errors=true)",
                    [names],
                )
            else:
                connection.execute(
                    "CREATE TABLE decisions (seq BIGINT, ts DOUBLE, decision VARCHAR, "
                    "run_id VARCHAR, span_id VARCHAR, actor VARCHAR, prev VARCHAR)"
                )
            connection.execute("SET enable_external_access=false")
            answer = connection.execute(statement)
            columns = [column[0] for column in answer.description or ()]
            return [dict(zip(columns, row, strict=True)) for row in answer.fetchall()]
    except duckdb.Error as error:
        raise LogError(f"DuckDB: {error}") from error


def verify_files(path: Path) -> Verification:
    """Follow the chain through all files of a log.

    Raises:
        LogCorrupt: it does not hold.
        LogError: a file cannot be read.
    """
    try:
        with ExitStack() as stack:
            paths = [*rotated(path), path]
            opened = [(p.name, lines_of(stack.enter_context(p.open("rb")))) for p in paths]
            return check_chain(opened)
    except OSError as error:
        raise LogError(f"{path} cannot be read: {error}") from error


def _last_line_of(path: Path) -> bytes:
    file = AppendFile(path)
    try:
        line, end = file.last_line(is_record)
        if line is None or end != file.size:
            raise LogCorrupt(f"{path}: does not end in a whole line, although it was rotated")
        return line
    finally:
        file.close()
