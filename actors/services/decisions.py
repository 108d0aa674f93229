"""The decision log: what was decided, when, by whom and in which run, kept beyond any crash."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from actors._context import current
from actors._default import current_actor, system_for
from actors._errors import InvalidOption, LogClosed
from actors._future import Future
from actors._options import filled, place
from actors._system import ActorSystem
from actors.services._decision_file import (
    RESOLVED,
    Decision,
    Filter,
    Verification,
    encode_body,
    seconds,
)
from actors.services._decision_keeper import (
    CloseLog,
    DecisionKeeper,
    Query,
    RecordOrder,
    Sql,
    Stats,
)
from actors.services._decision_storage import LogStats, Storage, verify_files
from actors.services._errand import errand, nothing_to_end, wait_for_end

__all__ = ["Decision", "DecisionLog", "LogStats", "Verification"]

Redact = Callable[[dict[str, Any]], Mapping[str, Any]]


class DecisionLog:
    """An append-only log of decisions, as JSON lines in a hash chain.

    Each line has `seq, ts, decision, run_id, span_id, actor`, the fields that were recorded, and
    `prev`, the hash of the line before it. A tail that a crash tore is cut off when the log is
    opened, kept in a file beside it, and reported in `stats()`.

    Args:
        path: the file; its directory must exist.
        fsync: "batch" makes everything that waits durable with one write and one fsync; "always"
            gives each record its own; "never" leaves it to the operating system, so that a power
            failure (not a crash of the process) can take acknowledged records.
        rotate_bytes: at that size the file becomes `name.1` (then `.2` …) and a new one goes on
            with the chain; None never does.
        redact: called with a record's fields (`decision` among them) before they are encoded;
            what it returns is written instead. If it raises, nothing is.
        system: the actor system to live in; None is the default one.

    Raises:
        InvalidOption: an option is out of range.
        LogError: the file cannot be opened or written, or is in use.
        LogCorrupt: the file is no decision log.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fsync: Literal["batch", "always", "never"] = "batch",
        rotate_bytes: int | None = None,
        redact: Redact | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        if fsync not in ("batch", "always", "never"):
            raise InvalidOption("fsync", fsync, '"batch", "always" or "never"')
        given: object = rotate_bytes
        if given is not None and (type(given) is not int or given < 1):
            raise InvalidOption("rotate_bytes", rotate_bytes, "a size in bytes above zero, or None")
        if redact is not None and not callable(redact):
            raise InvalidOption("redact", redact, "a function from fields to fields, or None")
        self.path = place("path", path)
        self._redact = redact
        self._system = system_for(system)
        storage = Storage(self.path, fsync, rotate_bytes)
        try:
            self._ref = self._system.spawn_service(DecisionKeeper, storage)
        except BaseException:
            storage.close()
            raise
        # Invariant: once _closed is set, under the lock, nothing more is sent; so what was sent
        # stands before the order to close and is written.
        self._lock = threading.Lock()
        self._closed = False

    def record(self, /, decision: str, **fields: Any) -> Future[int]:
        """Write a decision down; the future is answered with its `seq` once it is durable.

        `run_id`, `span_id` and `actor` are those of the code that calls this, unless they are
        given. The record is written even if the deadline has passed or nobody waits any more.

        Args:
            decision: what kind of decision it is, such as "route".
            fields: whatever msgspec can encode as JSON. They are encoded now, so later changes
                of a list or dict do not show.

        Raises:
            InvalidOption: a field cannot be encoded, or has the name of a column; or `redact`
                returned no fields. Nothing was written.
            LogClosed: the log is closed (from the future, as are the next).
            LogError: the record could not be written.
        """
        filled("decision", decision)
        return self._send(decision, fields, None)

    def resolve(self, /, seq: int, outcome: Any, **fields: Any) -> Future[int]:
        """Append what became of decision `seq`; `query` shows the latest as its `outcome`.

        Args:
            seq: the number of an earlier record.
            outcome: whatever msgspec can encode as JSON.
            fields: the same.

        Raises:
            InvalidOption: as `record`, or there is no decision `seq` (from the future).
            LogClosed, LogError: as `record`.
        """
        given: object = seq
        if type(given) is not int or given < 1:
            raise InvalidOption("seq", seq, "the number of a record")
        return self._send(RESOLVED, {"resolves": seq, "outcome": outcome, **fields}, seq)

    def _send(self, decision: str, fields: dict[str, Any], resolves: int | None) -> Future[int]:
        if self._redact is not None:
            kept: object = self._redact({"decision": decision, **fields})
            if not isinstance(kept, Mapping) or not all(isinstance(name, str) for name in kept):
                raise InvalidOption("redact", kept, "a function that returns a dict of the fields")
            fields = dict(kept)
            decision = fields.pop("decision", decision)
            filled("the decision that `redact` returned", decision)
            if resolves is not None:
                fields["resolves"] = resolves
        run = current()
        actor = current_actor()
        own = {
            "ts": self._system.clock.time(),
            "decision": decision,
            "run_id": None if run is None else run.run_id,
            "span_id": None if run is None else getattr(run.span, "span_id", None),
            "actor": None if actor is None else actor.path,
        }
        order = RecordOrder(encode_body(own, fields), resolves)
        # Before the lock, which in a forked process may be held by nobody who is there.
        self._system.check_process()
        with self._lock:
            if not self._closed:
                return errand(self._ref, order)
        return self._refused()

    def _refused(self) -> Future[Any]:
        refused: Future[Any] = Future()
        refused.set_exception(LogClosed(f"{self.path} was closed"))
        return refused

    def _ask(self, message: Any) -> Future[Any]:
        self._system.check_process()
        with self._lock:
            return self._refused() if self._closed else errand(self._ref, message)

    def query(
        self,
        decision: str | None = None,
        since: float | datetime | None = None,
        until: float | datetime | None = None,
        run_id: str | None = None,
        where: Callable[[Decision], bool] | None = None,
        limit: int | None = None,
    ) -> Future[list[Decision]]:
        """Return the decisions that pass every filter, the earliest first.

        What was recorded before this call is included. The files are read beside the log, so
        records go on being written.

        Args:
            decision: the kind of decision.
            since: the earliest time, included: seconds since the Unix epoch, or a datetime with
                a time zone.
            until: the latest time, excluded.
            run_id: the run.
            where: a predicate on a `Decision`; what it raises comes out of the future.
            limit: how many at most.

        Raises:
            InvalidOption: a filter makes no sense.
            LogClosed, LogCorrupt, LogError: from the future.
        """
        filled("decision", decision, optional=True)
        filled("run_id", run_id, optional=True)
        wanted = Filter(
            decision, seconds("since", since), seconds("until", until), run_id, where, limit
        )
        return self._ask(Query(wanted))

    def sql(self, statement: str) -> Future[list[dict[str, Any]]]:
        """Return the rows of a DuckDB query over the table `decisions` (extra `query`).

        Columns are those of the lines; fields that only some decisions have are NULL elsewhere.

        Args:
            statement: such as `SELECT decision, count(*) AS n FROM decisions GROUP BY 1`.

        Raises:
            InvalidOption: `statement` is no text.
            MissingExtra: duckdb is not installed (from the future, as is the next).
            LogError: DuckDB refused the statement.
        """
        filled("statement", statement)
        return self._ask(Sql(statement))

    def stats(self) -> Future[LogStats]:
        """Return how much was written, and what opening the log had to repair."""
        return self._ask(Stats())

    @staticmethod
    def verify(path: str | Path) -> Verification:
        """Follow the hash chain of a log, open or not, through all its files.

        Raises:
            LogCorrupt: a line was changed, removed, added or moved; the text says where.
            LogError: the files cannot be read.
        """
        return verify_files(place("path", path))

    def close(self) -> Future[None]:
        """Write what waits, then close; the future is answered when both are done.

        Raises:
            LogError: what waited could not be written (from the future).
        """
        inherited = nothing_to_end(self._ref)
        if inherited is not None:
            return inherited
        with self._lock:
            if self._closed:
                done: Future[None] = Future()
                done.set(None)
                return done
            self._closed = True
            return errand(self._ref, CloseLog())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        wait_for_end(self.close(), "DecisionLog")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<DecisionLog {self.path}>"
