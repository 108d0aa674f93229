"""One run from start to end: the team at work, signals, and the files it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import time
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live

from actors import (
    ActorSystem,
    BudgetPool,
    CallboardError,
    DecisionLog,
    Future,
    Model,
    Price,
    RequestCancelled,
    Tracer,
    run,
)
from patterns._cli.folder import Folder, InputRecord, RouteRecord, RunRecord, Versions, new_run_id
from patterns._cli.inputs import Assignment
from patterns._cli.kept import Kept
from patterns._cli.newsroom import PLAN, Staff, newsroom
from patterns._cli.outcome import cost_of, ending_of, route_of, text_of_run
from patterns._cli.output import say
from patterns._cli.stopping import INTERRUPTED, Stop
from patterns._cli.tree import Team
from patterns._cli.view import Picture
from patterns._results import RouterResult

__all__ = ["Done", "Order", "execute"]

PATIENCE = 0.5
"""Seconds that a team has to put down its work after a signal; most take a tenth of it."""

FRAME = 0.1
"""Seconds between two pictures."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks for, checked.

    Attributes:
        assignment: the request and the inputs.
        model: who answers.
        model_name: as it was given.
        budget: USD, or None.
        max_tokens: of the whole run, or None.
        deadline: seconds, or None.
        timeout: seconds for one answer.
        price: what tokens cost, or None for the list of prices.
        out: the folder, or None for a fresh one.
    """

    assignment: Assignment
    model: Model
    model_name: str
    budget: float | None = None
    max_tokens: int | None = None
    deadline: float | None = None
    timeout: float | None = None
    price: Price | None = None
    out: Path | None = None


class Done(msgspec.Struct, frozen=True):
    """A run that is over.

    Attributes:
        record: what `run.json` says.
        folder: where it is.
        exit_code: 0, 1 or 130.
        unsaved: what could not be written down, in words; empty if all was.
    """

    record: RunRecord
    folder: Path
    exit_code: int
    unsaved: tuple[str, ...] = ()


def execute(order: Order, live: Console | None, finish: Callable[[Done], int]) -> int:
    """Do the work of an order; return the exit code.

    After a signal this does not return: the process ends as soon as all is written and printed.

    Args:
        order: what to do.
        live: where to draw the team at work; None draws nothing.
        finish: called with what came of it; prints it and returns the exit code.

    Raises:
        Refused: the folder cannot be written.
        UnknownModel: the model cannot be loaded.
    """
    return asyncio.run(_execute(order, live, finish))


async def _execute(order: Order, live: Console | None, finish: Callable[[Done], int]) -> int:
    stop = Stop()
    with stop.listening():
        try:
            if await _loaded(order, stop, live):
                # Only now: a run that cannot begin leaves nothing behind.
                run_id = new_run_id()
                folder = Folder.create(order.out, run_id)
                code = finish(await _Job(order, folder, run_id, stop, live).work())
            else:
                say("stopped before the run began")
                code = INTERRUPTED
            stop.saved()
        finally:
            await order.model.aclose()
    return code


async def _loaded(order: Order, stop: Stop, live: Console | None) -> bool:
    """Load a model that can be loaded; False if a signal came meanwhile."""
    load = getattr(order.model, "load", None)
    if load is None:
        return True
    loading = asyncio.ensure_future(load())
    signalled = asyncio.ensure_future(stop.heard.wait())
    status = live.status(f"loading {order.model_name}") if live else contextlib.nullcontext()
    with status:
        await asyncio.wait({loading, signalled}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if not loading.done():
        loading.cancel()
        return False
    loading.result()
    return not stop.heard.is_set()


class _Job:
    """One run in its folder."""

    def __init__(
        self, order: Order, folder: Folder, run_id: str, stop: Stop, live: Console | None
    ) -> None:
        self._order = order
        self._folder = folder
        self._stop = stop
        self._live = live
        self._model = Kept(order.model)
        self._team = Team()
        self._clock = time.monotonic()
        self._record = RunRecord(
            run_id=run_id,
            request=order.assignment.request,
            inputs=tuple(InputRecord.of(document) for document in order.assignment.documents),
            model=order.model_name,
            started=time.time(),
            budget_usd=order.budget,
            max_tokens=order.max_tokens,
            deadline_seconds=order.deadline,
            versions=Versions(_version(), platform.python_version(), platform.platform()),
        )

    async def work(self) -> Done:
        """Run the team and write down what came of it.

        Raises:
            Refused: nothing can be written.
        """
        # Should the process be killed, this tells what the folder is.
        self._folder.begin(self._record)
        order = self._order
        error: Exception | None = None
        result: RouterResult | None = None
        async with ActorSystem("callboard") as system:
            log = DecisionLog(self._folder.decisions, system=system)
            tracer = Tracer(self._folder.trace, system=system)
            tracer.watch(self._team)
            pool = BudgetPool(order.budget, order.max_tokens, name="the run", system=system)
            try:
                async with run(
                    budget=pool,
                    deadline=order.deadline,
                    log=log,
                    tracer=tracer,
                    run_id=self._record.run_id,
                    system=system,
                ):
                    result = await self._run_team()
            except (CallboardError, OSError) as problem:
                error = problem
            summary = (await tracer.summary()).total
            spent = await pool.snapshot()
            ending = ending_of(result, error, self._stop.name)
            if self._stop.name:
                log.record("halt", status="interrupted", reason=self._stop.name)
            self._record = msgspec.structs.replace(
                self._record,
                status=ending.status,
                reason=ending.reason,
                route=await self._route(log, result),
                ended=time.time(),
                seconds=round(time.monotonic() - self._clock, 3),
                tokens=max(spent.settled_tokens, summary.tokens),
                input_tokens=summary.input_tokens,
                output_tokens=summary.output_tokens,
                calls=len(self._model.replies),
                cost_usd=cost_of(summary, spent, free=order.model_name.startswith("local")),
                result=text_of_run(result, ending, self._model.replies),
            )
            unsaved = [self._save(), await _settled(log.close()), await _settled(tracer.close())]
        problems = tuple(problem for problem in unsaved if problem)
        code = 0 if ending.whole and not problems else 1
        if ending.status == "interrupted":
            code = INTERRUPTED
        return Done(self._record, self._folder.path, code, problems)

    async def _route(self, log: DecisionLog, result: RouterResult | None) -> RouteRecord | None:
        if result is not None and result.route is not None:
            return route_of(msgspec.structs.asdict(result))
        try:
            routes = await log.query("route", limit=1)
        except CallboardError:
            # The folder is gone; that it cannot be written to is told anyway.
            return None
        return route_of(routes[0].fields) if routes else None

    def _save(self) -> str:
        try:
            self._folder.write(self._record, self._record.result)
        except OSError as error:
            return f"{self._folder.path}: cannot be written ({error.strerror or error})"
        return ""

    async def _run_team(self) -> RouterResult | None:
        """Return what the team made of it; None if a signal came first."""
        order = self._order
        staff = Staff(
            self._model,
            order.price,
            order.timeout,
            # In process they would only share the same cores.
            readers=1 if order.model_name.startswith("local") else 4,
        )
        future = newsroom(staff, order.assignment).run(order.assignment)
        signalled = asyncio.ensure_future(self._stop.heard.wait())
        async with self._drawing():
            try:
                answered = asyncio.ensure_future(_awaited(future))
                await asyncio.wait({answered, signalled}, return_when=asyncio.FIRST_COMPLETED)
                if answered.done():
                    return answered.result()
                until = time.monotonic() + PATIENCE
                future.cancel()
                with contextlib.suppress(RequestCancelled, TimeoutError):
                    await asyncio.wait_for(answered, PATIENCE)
                await self._put_down(until)
                return None
            finally:
                signalled.cancel()

    async def _put_down(self, until: float) -> None:
        """Wait until every agent has put down its work, so that the trace has it."""
        # Spans end on several threads, and nobody there knows that somebody waits.
        while not self._team.quiet and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def _drawing(self) -> AsyncIterator[None]:
        if self._live is None:
            yield
            return
        picture = Picture(self._team, f"callboard  {self._order.model_name}", PLAN)
        # Drawn by a task, not by rich's own thread: no thread of ours outlives a Ctrl-C.
        with Live(picture, console=self._live, auto_refresh=False, transient=False) as live:

            async def draw() -> None:
                while True:
                    live.refresh()
                    await asyncio.sleep(FRAME)

            drawing = asyncio.create_task(draw())
            try:
                yield
            finally:
                drawing.cancel()
                live.refresh()


async def _awaited(future: Future[RouterResult]) -> RouterResult:
    return await future


async def _settled(future: Any) -> str:
    """Await a file's end; return what is wrong with it, or nothing."""
    try:
        await future
    except (CallboardError, OSError) as error:
        return str(error)
    return ""


def _version() -> str:
    try:
        return metadata.version("callboard")
    except metadata.PackageNotFoundError:
        # Run from a checkout that was never installed.
        return "unknown"
