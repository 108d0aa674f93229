"""The actor behind a decision log: it gathers records and writes them together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from loguru import logger

from actors._actor import Actor
from actors._errors import InvalidOption, LogClosed, LogError
from actors._future import Future
from actors._supervision import ChildSpec
from actors._waiting import blocking
from actors.services._decision_file import Filter
from actors.services._decision_storage import Storage, read, run_sql

__all__ = ["CloseLog", "DecisionKeeper", "Query", "RecordOrder", "Sql", "Stats"]


class RecordOrder(msgspec.Struct, frozen=True):
    """Write a record.

    Attributes:
        body: the encoded record, but for its place in the chain.
        resolves: the seq of the decision it is the outcome of, or None.
    """

    body: bytes
    resolves: int | None = None


class Query(msgspec.Struct, frozen=True):
    """Find decisions."""

    wanted: Filter


class Sql(msgspec.Struct, frozen=True):
    """Run a DuckDB statement."""

    statement: str


class Stats(msgspec.Struct, frozen=True):
    """Ask for `LogStats`."""


class CloseLog(msgspec.Struct, frozen=True):
    """Write what waits and let go of the file."""


class _Write(msgspec.Struct, frozen=True):
    """Sent to itself: arrives behind the records that wait, so that one write serves them all."""


class _Job(msgspec.Struct, frozen=True):
    """Something that takes long, done beside the log."""

    work: Callable[[], Any]
    reply: Future[Any]


class _Reader(Actor):
    """Reads the files once and ends, so that records go on being written meanwhile."""

    def on_receive(self, message: _Job) -> None:
        try:
            with blocking():
                result = message.work()
        except Exception as error:  # noqa: BLE001 - it is the answer to the query
            message.reply.try_set_exception(error)
        else:
            message.reply.try_set(result)
        self.stop()


class DecisionKeeper(Actor):
    """Keeps one log.

    Args:
        storage: its files; they outlive a restart.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self._storage = storage
        # Invariant: if it is not empty, a _Write to ourselves is on its way.
        self._pending: list[tuple[bytes, Future[Any]]] = []
        self._closed = False

    def on_receive(self, message: Any) -> Any:
        """Take a record, or answer a question after everything that was recorded before it."""
        match message:
            case RecordOrder(body, resolves):
                self._record(body, resolves)
            case _Write():
                self._write()
            case Query(wanted):
                self._open()
                reading = self._storage.reading()

                def work() -> Any:
                    try:
                        return read(reading, wanted)
                    finally:
                        reading.close()

                self._beside(work)
            case Sql(statement):
                self._open()
                self._beside(lambda: run_sql(self._storage.path, statement))
            case Stats():
                self._open()
                return self._storage.stats()
            case CloseLog():
                return self._close()
        return None

    def _record(self, body: bytes, resolves: int | None) -> None:
        if self._closed:
            raise LogClosed(f"{self._storage.path} was closed")
        # A seq is known to its caller only once it is durable, so it is not among those pending.
        if resolves is not None and resolves > self._storage.last_seq:
            raise InvalidOption("seq", resolves, f"1 to {self._storage.last_seq}, a recorded one")
        if not self._pending:
            self.actor_ref.tell(_Write())
        self._pending.append((body, self.reply_later()))

    def _open(self) -> None:
        if self._closed:
            raise LogClosed(f"{self._storage.path} was closed")
        self._write()

    def _write(self) -> LogError | None:
        pending, self._pending = self._pending, []
        size = 1 if self._storage.fsync == "always" else max(1, len(pending))
        failure: LogError | None = None
        for start in range(0, len(pending), size):
            batch = pending[start : start + size]
            try:
                with blocking():
                    first = self._storage.write([body for body, _ in batch])
            except LogError as error:
                failure = error
                for _, reply in batch:
                    reply.try_set_exception(error)
            else:
                for seq, (_, reply) in enumerate(batch, first):
                    reply.try_set(seq)
        return failure

    def _beside(self, work: Callable[[], Any]) -> None:
        reader = self.spawn(ChildSpec(_Reader, restart="temporary"))
        reader.tell(_Job(work, self.reply_later()))

    def _close(self) -> None:
        if self._closed:
            return
        failure = self._write()
        self._closed = True
        self._storage.close()
        self.actor_ref.stop(block=False)
        if failure is not None:
            raise failure

    def on_stop(self) -> None:
        """Write what is still pending: a shutdown must not cost a record."""
        if self._closed:
            return
        failure = self._write()
        if failure is not None:
            logger.error("{}", failure)
        self._storage.close()
