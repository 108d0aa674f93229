"""Pipeline: one stage after the other, each with its own share of budget and time."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from actors import ActorSystem, BudgetExceeded, BudgetPool, Deadline, InvalidOption, to_text
from patterns._drawing import Drawing, Ends
from patterns._failures import describe
from patterns._results import PipelineResult, RunFailed, RunResult, StageResult, output_of
from patterns._run import Pattern, Slot, as_slot
from patterns._stages import Fail, Skip, Stage, State, Use, check_template, fill
from patterns._work import Meter, Run

__all__ = ["Fail", "Pipeline", "Skip", "Stage", "State", "Use"]


class _Step(msgspec.Struct, frozen=True):
    """A stage with its agents in place."""

    stage: Stage
    agent: Slot
    instead: Slot | None


class _Progress:
    """How far one run has come.

    This is what a journal would keep: a run could go on from `stages` alone.
    """

    def __init__(self, given: Any) -> None:
        self.input = given
        self.previous = given
        self.stages: dict[str, StageResult] = {}
        self.output: Any = None
        self.whole = True

    def state(self) -> State:
        return State(self.input, dict(self.stages), self.previous)

    def note(self, stage: StageResult) -> None:
        self.stages[stage.name] = stage
        if stage.status in {"done", "substituted"}:
            self.previous = self.output = stage.output


class Pipeline(Pattern[PipelineResult]):
    """Runs stages in order, each on what the ones before it gave.

    Args:
        stages: at least one `Stage`; their names differ.
        name: for the tree, traces and records.
        system: the system to run in.

    A stage with `max_usd` or `max_tokens` runs on a lease of the run's budget, and what it leaves
    returns. When the budget is used up or the deadline passes, the run is "halted" and its result
    has the stages done so far; its output is that of the last of them.

    Raises:
        InvalidOption: an option of the pipeline or of a stage makes no sense.
    """

    result_type: ClassVar[type[RunResult]] = PipelineResult

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        name: str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        super().__init__(name, system)
        given: object = stages
        if not isinstance(given, Iterable) or not (listed := list(stages)):
            raise InvalidOption("stages", stages, "a list of at least one Stage")
        steps: list[_Step] = []
        names: list[str] = []
        for stage in listed:
            _check(stage, names)
            names.append(stage.name)
            instead = stage.on_error.instead if isinstance(stage.on_error, Use) else None
            works = callable(instead) or callable(getattr(instead, "run", None))
            steps.append(
                _Step(
                    stage,
                    as_slot(stage.agent, stage.name),
                    as_slot(instead, f"{stage.name}-instead") if works else None,
                )
            )
        self._steps = tuple(steps)

    async def conduct(self, work: Run, given: Any) -> PipelineResult:
        """Run stage after stage."""
        progress = _Progress(given)
        for step in self._steps:
            try:
                await work.check_funds()
                done = await self._take(work, step, progress)
            except Exception as error:  # noqa: BLE001 - budget or deadline, or the user's prompt
                status, reason = work.ending(error)
                return self._result(
                    work,
                    progress,
                    status=status,
                    reason=reason,
                    error=describe(error),
                    stopped_at=step.stage.name,
                )
            progress.note(done)
            if done.status == "failed":
                return self._result(
                    work,
                    progress,
                    status="failed",
                    reason=done.reason,
                    error=done.error,
                    stopped_at=step.stage.name,
                )
        return self._result(
            work,
            progress,
            status="done" if progress.whole else "partial",
            reason="completed" if progress.whole else "incomplete",
        )

    def _result(self, work: Run, progress: _Progress, **fields: Any) -> PipelineResult:
        stages = tuple(progress.stages.values())
        return work.result(PipelineResult, output=progress.output, stages=stages, **fields)

    async def _take(self, work: Run, step: _Step, progress: _Progress) -> StageResult:
        """Take one stage; raise only what ends the whole run."""
        stage = step.stage
        if stage.when is not None and not await work.call(stage.when, progress.state()):
            work.record("skip", stage=stage.name, reason="when")
            return StageResult(name=stage.name, status="skipped", reason="when")
        began = work.now()
        prompt: Any = progress.previous
        try:
            if stage.prompt is not None:
                prompt = await self._prompt(work, stage.prompt, progress.state())
            limit = None if stage.timeout is None else work.within(stage.timeout)
            if stage.max_usd is None and stage.max_tokens is None:
                reply = await work.ask(step.agent, prompt, deadline=limit)
            else:
                async with self._share(work, stage) as budget:
                    reply = await work.ask(step.agent, prompt, budget=budget, deadline=limit)
        except Exception as error:
            ends, reason = work.ending(error)
            if ends == "halted" and not (reason == "budget" and _own_cap(error, stage)):
                raise
            if reason == "budget" and isinstance(stage.on_error, Fail):
                raise
            meter = Meter()
            meter.add_paid(error)
            failed = StageResult(
                name=stage.name,
                status="failed",
                reason=reason,
                error=describe(error),
                cost_usd=meter.cost_usd,
                tokens=meter.tokens,
                seconds=work.now() - began,
                reply=error.result if isinstance(error, RunFailed) else None,
            )
            return await self._after_failure(work, step, prompt, failed, progress)
        if isinstance(reply, RunResult) and reply.status != "done":
            progress.whole = False
        return StageResult(
            name=stage.name,
            output=output_of(reply),
            text=reply.text,
            cost_usd=reply.cost_usd,
            tokens=reply.tokens,
            degraded=reply.degraded,
            seconds=work.now() - began,
            reply=reply,
        )

    async def _prompt(self, work: Run, prompt: str | Callable[[State], Any], state: State) -> Any:
        if isinstance(prompt, str):
            return fill(prompt, state.texts())
        return await work.call(prompt, state)

    @asynccontextmanager
    async def _share(self, work: Run, stage: Stage) -> AsyncIterator[Any]:
        """Give a stage its share of the budget, and take back what it leaves."""
        budget = work.context.budget
        if budget is None:
            # Without a run's budget the stage's limits hold all the same.
            pool = BudgetPool(
                stage.max_usd, stage.max_tokens, name=_holder(stage), system=work.ref.system
            )
            async with pool:
                yield pool
            return
        try:
            lease = await budget.acquire(stage.max_usd, stage.max_tokens, holder=_holder(stage))
        except BudgetExceeded as error:
            work.record("admission", stage=stage.name, admitted=False, error=describe(error))
            raise
        work.record("admission", stage=stage.name, admitted=True)
        async with lease:
            yield lease

    async def _after_failure(
        self, work: Run, step: _Step, prompt: Any, failed: StageResult, progress: _Progress
    ) -> StageResult:
        stage = step.stage
        facts = {"stage": stage.name, "reason": failed.reason, "error": failed.error}
        match stage.on_error:
            case Skip():
                work.record("skip", **facts)
                progress.whole = False
                return msgspec.structs.replace(failed, status="skipped")
            case Use(value):
                work.record("fallback", **facts)
                if step.instead is None:
                    return msgspec.structs.replace(
                        failed, status="substituted", output=value, text=to_text(value)
                    )
                reply = await work.ask(step.instead, prompt)
                return msgspec.structs.replace(
                    failed,
                    status="substituted",
                    output=output_of(reply),
                    text=reply.text,
                    cost_usd=_sum(failed.cost_usd, reply.cost_usd),
                    tokens=failed.tokens + reply.tokens,
                    degraded=reply.degraded,
                    reply=reply,
                )
        return failed

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the stages in a row."""
        with drawing.group(self.name):
            ends = [drawing.place(step.agent, step.stage.name) for step in self._steps]
            for (_, last), (first, _), step in zip(ends, ends[1:], self._steps[1:], strict=False):
                drawing.arrow(last, first, "when" if step.stage.when is not None else "")
        return ends[0][0], ends[-1][1]


def _holder(stage: Stage) -> str:
    return f"stage {stage.name}"


def _own_cap(error: BaseException, stage: Stage) -> bool:
    """Tell whether a stage went past its own cap, not past the run's."""
    return isinstance(error, BudgetExceeded) and error.pool in {
        f"lease of {_holder(stage)}",
        _holder(stage),
    }


def _sum(a: Decimal | None, b: Decimal | None) -> Decimal | None:
    return None if a is None or b is None else a + b


def _check(stage: Stage, earlier: Sequence[str]) -> None:
    """Check the options of a stage.

    Raises:
        InvalidOption: one of them makes no sense.
    """
    given: Any = stage
    if not isinstance(given, Stage):
        raise InvalidOption("stages", given, "Stages")
    if not isinstance(given.name, str):
        raise InvalidOption("Stage.name", stage.name, "a str")
    if not stage.name or stage.name in earlier or stage.name in {"input", "previous"}:
        expected = "a name of its own, and neither 'input' nor 'previous'"
        raise InvalidOption("Stage.name", stage.name, expected)
    if isinstance(stage.prompt, str):
        known = (*earlier, "input", "previous")
        check_template(f"prompt of stage {stage.name!r}", stage.prompt, known)
    elif stage.prompt is not None and not callable(stage.prompt):
        raise InvalidOption("Stage.prompt", stage.prompt, "a template, a callable, or None")
    if stage.when is not None and not callable(stage.when):
        raise InvalidOption("Stage.when", stage.when, "a callable of the State, or None")
    if stage.timeout is not None:
        Deadline(stage.timeout)  # the same rules
    if stage.max_usd is not None and not _is_amount(stage.max_usd):
        raise InvalidOption("Stage.max_usd", stage.max_usd, "an amount of USD, 0 or more")
    tokens: object = stage.max_tokens
    if tokens is not None and (type(tokens) is not int or tokens < 0):
        raise InvalidOption("Stage.max_tokens", tokens, "a number of tokens, 0 or more")
    if not isinstance(stage.on_error, (Fail, Skip, Use)):
        raise InvalidOption("Stage.on_error", stage.on_error, "Fail(), Skip() or Use(…)")


def _is_amount(value: Any) -> bool:
    try:
        return math.isfinite(amount := Decimal(str(value))) and amount >= 0
    except ArithmeticError:
        return False
