"""The scope in which a test has a run written down, to look at it afterwards."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from actors._context import RunContext
from actors._default import default_system
from actors._errors import CallboardError, Timeout
from actors._future import Future
from actors.services.decisions import DecisionLog
from actors.services.run import RunScope, run
from actors.services.tracing import Span, Tracer
from actors.testing._captured import CapturedRun, assemble, read_files
from actors.testing._waiting import wait, wait_on_loop

__all__ = ["RunCapture", "capture_run"]

PATIENCE = 5.0
"""Seconds that the end of the block waits for calls that are still going on, such as the losers of
a broadcast, which are cancelled while its result is out."""

_INSTEAD = "use `async with capture_run(…)`"


class _OpenSpans:
    """Which spans have begun and not ended, and who waits for the last."""

    def __init__(self) -> None:
        # Invariant: guards the fields below; spans begin and end on any thread.
        self._lock = threading.RLock()
        self._open: set[str] = set()
        self._quiet: Future[None] | None = None

    def look(self, span: Span) -> None:
        with self._lock:
            if not span.end:
                self._open.add(span.span_id)
                return
            self._open.discard(span.span_id)
            quiet = None if self._open else self._quiet
        if quiet is not None:
            quiet.try_set(None)

    def all_ended(self) -> Future[None]:
        future: Future[None] = Future()
        with self._lock:
            if self._open:
                self._quiet = future
            else:
                future.set(None)
        return future


class RunCapture:
    """A run that is being captured; see `capture_run`.

    Attributes:
        result: what the run returned; set it in the block.
        context: the run's context, in the block.
    """

    def __init__(self, system: Any, options: dict[str, Any]) -> None:
        self.result: Any = None
        self.context: RunContext | None = None
        self._system = system
        self._options = options
        self._captured: CapturedRun | None = None
        # Invariant: these are there from the beginning of the block to its end.
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._log: DecisionLog | None = None
        self._tracer: Tracer | None = None
        self._scope: RunScope | None = None
        self._spans = _OpenSpans()

    @property
    def run(self) -> CapturedRun:
        """What was captured, once the block has ended.

        Raises:
            CallboardError: it has not.
        """
        if self._captured is None:
            raise CallboardError("look at the captured run after the `with` block, not inside it")
        return self._captured

    def __repr__(self) -> str:
        return f"<RunCapture {'open' if self._captured is None else self._captured.run_id}>"

    def _check_new(self) -> None:
        if self._folder is not None:
            raise CallboardError("this capture was entered before; call capture_run() again")

    def _open(self) -> RunScope:
        self._folder = tempfile.TemporaryDirectory(prefix="callboard-run-")
        base = Path(self._folder.name)
        # What is captured is read once and thrown away: no need that it survives a power failure.
        self._log = DecisionLog(base / "decisions.jsonl", fsync="never", system=self._system)
        self._tracer = Tracer(base / "trace.jsonl", system=self._system)
        self._tracer.watch(self._spans.look)
        self._scope = run(log=self._log, tracer=self._tracer, system=self._system, **self._options)
        return self._scope

    def _read(self, error: BaseException | None) -> None:
        assert self._folder is not None
        assert self.context is not None
        base = Path(self._folder.name)
        # All of it: a run inside this one may have a name of its own.
        decisions, spans = read_files(base / "decisions.jsonl", base / "trace.jsonl")
        self._captured = assemble(self.context.run_id, decisions, spans, self.result, error)

    def _abandon(self) -> None:
        """Give back what was opened for a run that could not be entered."""
        for service in (self._log, self._tracer):
            if service is not None:
                service.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _clear(self) -> None:
        assert self._folder is not None
        self._folder.cleanup()

    def __enter__(self) -> Self:
        self._check_new()
        try:
            self.context = self._open().__enter__()
        except BaseException:
            self._abandon()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._scope is not None
        assert self._log is not None
        assert self._tracer is not None
        self._scope.__exit__(kind, error, traceback)
        try:
            with contextlib.suppress(Timeout):
                wait(self._spans.all_ended(), PATIENCE, instead=_INSTEAD)
            wait(self._log.close(), instead=_INSTEAD)
            wait(self._tracer.close(), instead=_INSTEAD)
            self._read(error)
        finally:
            self._clear()

    async def __aenter__(self) -> Self:
        self._check_new()
        try:
            self.context = await self._open().__aenter__()
        except BaseException:
            self._abandon()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._scope is not None
        assert self._log is not None
        assert self._tracer is not None
        await self._scope.__aexit__(kind, error, traceback)
        try:
            with contextlib.suppress(Timeout):
                await wait_on_loop(self._spans.all_ended(), PATIENCE)
            await self._log.close()
            await self._tracer.close()
            self._read(error)
        finally:
            self._clear()


def capture_run(
    *,
    system: Any = None,
    budget: Any = None,
    deadline: Any = None,
    run_id: str | None = None,
) -> RunCapture:
    """Open a run, `with` or `async with`, whose decisions and spans are captured.

    ```
    with capture_run() as capture:
        capture.result = team.run("the article").get()
    assert capture.run.cost_usd < 0.01
    assert capture == run_snapshot
    ```

    Wait for the results inside the block. Its end waits up to 5 seconds for what else still goes on
    in the run; what ends later is not captured.

    Args:
        system: the actor system to live in; None is the default one.
        budget, deadline, run_id: as those of `actors.run`.

    Raises:
        InvalidOption: an option makes no sense (on entering).
    """
    options = {"budget": budget, "deadline": deadline, "run_id": run_id}
    return RunCapture(default_system() if system is None else system, options)
