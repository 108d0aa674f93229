"""One run from start to end: the team at work, signals, and the files it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.live import Live

from actors import (
    ActorSystem,
    BudgetPool,
    BudgetSnapshot,
    CallboardError,
    DecisionLog,
    Future,
    Model,
    Price,
    RequestCancelled,
    Tracer,
    run,
)
from patterns._cli.checking import tidy
from patterns._cli.folder import Folder, InputRecord, RouteRecord, RunRecord, Versions, new_run_id
from patterns._cli.inputs import Assignment
from patterns._cli.kept import Kept
from patterns._cli.newsroom import PLAN, Staff, newsroom
from patterns._cli.stopping import INTERRUPTED, Stop, end_soon
from patterns._cli.tree import Team
from patterns._cli.view import Picture
from patterns._results import RouterResult, RunResult

__all__ = ["Done", "Order", "execute"]

PATIENCE = 0.7
"""Seconds that a team has to put down its work after a signal; model calls end within a token."""

FRAME = 0.1
"""Seconds between two pictures."""

_WHY = {
    "classifier_error": "the editor could not sort the request, so the rule decided",
    "unknown_label": "the editor named no desk there is, so the rule decided",
    "low_confidence": "the editor's ballots disagreed, so the rule decided",
    "thin_margin": "the editor's ballots were too close, so the rule decided",
}

_ENDINGS = {
    "budget": "the budget is used up",
    "deadline": "the deadline passed",
    "timeout": "the model did not answer in time",
    "completed": "finished",
    "incomplete": "finished, but a part of it failed",
    "max_revisions": "finished: the best draft after all revisions",
    "no_gain": "finished: the best draft, since revising gained nothing",
    "accepted": "finished: the reviewer accepted it",
}


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
    """

    record: RunRecord
    folder: Path
    exit_code: int


def execute(order: Order, live: Console | None, finish: Callable[[Done], None]) -> int:
    """Do the work of an order; return the exit code.

    Args:
        order: what to do.
        live: where to draw the team at work; None draws nothing.
        finish: called with what came of it, before the model is given back: after a signal that
            may take longer than there is time for.

    Raises:
        Refused: the folder cannot be written.
        UnknownModel: the model cannot be loaded.
    """
    return asyncio.run(_execute(order, live, finish))


async def _execute(order: Order, live: Console | None, finish: Callable[[Done], None]) -> int:
    stop = Stop()
    with stop.listening():
        try:
            if not await _loaded(order, stop, live):
                sys.stderr.write("callboard: stopped before the run began\n")
                return INTERRUPTED
            # Only now: a run that cannot begin leaves nothing behind.
            run_id = new_run_id()
            folder = Folder.create(order.out, run_id)
            done = await _Job(order, folder, run_id, stop, live).work()
            finish(done)
            return done.exit_code
        finally:
            if stop.name:
                sys.stdout.flush()
                end_soon(stop.when)
            await order.model.aclose()


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
        """Run the team and write down what came of it."""
        # Should the process be killed, this tells what the folder is.
        self._folder.write(self._record)
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
            routes = await log.query("route", limit=1)
            if self._stop.name:
                log.record("halt", status="interrupted", reason=self._stop.name)
            self._conclude(
                result,
                error,
                tokens=max(spent.settled_tokens, summary.tokens),
                input_tokens=summary.input_tokens,
                output_tokens=summary.output_tokens,
                cost=_cost(summary, spent, free=order.model_name.startswith("local")),
                route=_route(routes[0].fields) if routes else None,
            )
            await asyncio.gather(_settled(log.close()), _settled(tracer.close()))
        codes = {"done": 0, "partial": 0, "interrupted": INTERRUPTED}
        code = codes.get(self._record.status, 1)
        return Done(self._record, self._folder.path, code)

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
                future.cancel()
                with contextlib.suppress(RequestCancelled, TimeoutError):
                    await asyncio.wait_for(answered, PATIENCE)
                await self._put_down()
                return None
            finally:
                signalled.cancel()

    async def _put_down(self) -> None:
        """Wait until every agent has put down its work, so that the trace has it."""
        until = time.monotonic() + PATIENCE
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

    # -- the end -----------------------------------------------------------------------------

    def _conclude(
        self,
        result: RouterResult | None,
        error: Exception | None,
        *,
        tokens: int,
        input_tokens: int,
        output_tokens: int,
        cost: Decimal | None,
        route: RouteRecord | None,
    ) -> None:
        status, reason = self._ending(result, error)
        text = self._text(result, status, reason)
        self._record = msgspec.structs.replace(
            self._record,
            status=status,
            reason=reason,
            route=route,
            ended=time.time(),
            seconds=round(time.monotonic() - self._clock, 3),
            tokens=tokens,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            calls=len(self._model.replies),
            cost_usd=cost,
            result=text,
        )
        self._folder.write(self._record, text)

    def _ending(
        self, result: RouterResult | None, error: Exception | None
    ) -> tuple[Literal["done", "partial", "halted", "failed", "interrupted"], str]:
        if result is None and self._stop.name:
            return "interrupted", f"stopped by {self._stop.name}"
        if result is None:
            return "failed", f"{type(error).__name__}: {error}" if error else "no result"
        cause = _cause(result)
        reason = _ENDINGS.get(cause.reason, cause.reason)
        problem = None if cause.reason == "deadline" else _plainly(cause.error or result.error)
        if cause.reason in {"budget", "deadline"} or result.status == "halted":
            # Also where a usable draft was ready: less was done than was asked for.
            return "halted", f"{reason} ({problem})" if problem else reason
        if result.status == "failed" or cause.reason.endswith("_failed"):
            return "failed", problem or reason
        return result.status, reason

    def _text(self, result: RouterResult | None, status: str, reason: str) -> str:
        if status in {"done", "partial"} and result is not None and result.text.strip():
            return result.text.strip()
        parts = [f"> Unfinished: {reason}. Below is what was done until then."]
        if result is not None and result.text.strip():
            parts.append(result.text.strip())
        kept = [reply for reply in self._model.replies if not reply.is_data]
        if kept:
            parts.append("## What the agents wrote")
            parts.extend(f"### {reply.agent}\n\n{tidy(reply.text)}" for reply in kept)
        if len(parts) == 1:
            parts = [f"> Unfinished: {reason}. Nothing had been written until then."]
        return "\n\n".join(parts)


async def _awaited(future: Future[RouterResult]) -> RouterResult:
    return await future


async def _settled(future: Any) -> None:
    try:
        await future
    except CallboardError as error:
        print(f"callboard: {error}", file=sys.stderr)  # noqa: T201 - there is no other place left


def _route(facts: Mapping[str, Any]) -> RouteRecord:
    """Return the record of a route from the router's own decision."""
    confidence = facts.get("confidence")
    share = f"{confidence:.0%}" if confidence is not None and confidence < 1 else "all"
    why = str(facts.get("why"))
    explanation = _WHY.get(why, f"{share} of the ballots said so")
    return RouteRecord(str(facts["route"]), why, facts.get("target"), confidence, explanation)


def _cost(summary: Any, spent: BudgetSnapshot, *, free: bool) -> Decimal | None:
    """Return what a run cost in USD, or None if that is unknown."""
    if summary.cost_usd is None:
        return None
    unseen = spent.settled_tokens > summary.tokens
    if unseen and not free and spent.settled_usd == summary.cost_usd:
        # A call was cut off: its prompt is booked in tokens, but nobody knows their price.
        return None
    return spent.settled_usd


def _cause(result: RunResult) -> RunResult:
    """Return the innermost result that is the reason why this one is as it is."""
    inner = [getattr(result, "reply", None)]
    inner.extend(stage.reply for stage in reversed(getattr(result, "stages", ())))
    for reply in inner:
        if isinstance(reply, RunResult) and reply.status == result.status != "done":
            return _cause(reply)
    return result


def _plainly(error: str | None) -> str | None:
    """Return an error without the frames of the patterns that it came through."""
    return error and re.sub(r"RunFailed: the run \w+ \(\w+\): |BudgetExceeded: ", "", error)


def _version() -> str:
    try:
        return metadata.version("callboard")
    except metadata.PackageNotFoundError:
        # Run from a checkout that was never installed.
        return "unknown"
