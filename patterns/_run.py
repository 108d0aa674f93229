"""One run of a pattern: the frame all patterns share.

`Pattern.run` starts a *conductor*, an actor that lives as long as the run. It opens the run's
context and span and has the pattern's `conduct` work in a task of its own, so that the actor stays
free for messages: replies on their way, alarms, and the order to give up, which cancels whatever
`conduct` waits for. What `conduct` may do, it does through its `Run`.
"""

from __future__ import annotations

import asyncio
import itertools
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakKeyDictionary

import msgspec
from loguru import logger

from actors import (
    Actor,
    ActorDeadError,
    ActorSystem,
    Agent,
    BudgetExceeded,
    ChildSpec,
    Deadline,
    Future,
    InvalidOption,
    RestartLimitExceeded,
    RunContext,
    RunScope,
    Span,
    SystemStopped,
    Tracer,
    as_agent,
    carry,
    current,
    current_actor,
    default_system,
    run,
)
from patterns._drawing import Drawing, Ends
from patterns._failures import describe
from patterns._results import RunResult
from patterns._work import Alarm, Run, settle

__all__ = ["Conductor", "Pattern", "Slot", "as_slot"]

R = TypeVar("R", bound=RunResult)

# As libraries do: `logger.enable("patterns")` shows what is logged here.
logger.disable("patterns")

LAST_WORDS = 5.0
"""Seconds that a run has to make its result after its actor failed."""

# The runs of each system are numbered, for their names.
_numbers: WeakKeyDictionary[ActorSystem, itertools.count[int]] = WeakKeyDictionary()


class Begin(msgspec.Struct, frozen=True):
    """Begin the run; its context is that of the message."""

    input: Any
    scope: RunScope
    asked_for_budget: bool


class GiveUp(msgspec.Struct, frozen=True):
    """Nobody wants the result any more."""


class RunFuture(Future[R], Generic[R]):
    """The result of a run; cancelling it ends the run and everything below it."""

    __slots__ = ("_conductor",)

    def __init__(self) -> None:
        super().__init__()
        self._conductor: Any = None

    def follow(self, conductor: Any) -> None:
        """Learn whom to tell when the result is not wanted any more."""
        self._conductor = conductor

    def cancel(self) -> bool:
        """Give the run up; tell whether it was still going on."""
        if not super().cancel():
            return False
        conductor = self._conductor
        if conductor is not None and conductor.is_alive():
            try:
                conductor.tell(GiveUp())
            except ActorDeadError:
                return True
        return True


class Conductor(Actor):
    """The actor of one run.

    Args:
        pattern: what is run.
        answer: where its result goes.
    """

    def __init__(self, pattern: Pattern[Any], answer: RunFuture[Any]) -> None:
        super().__init__()
        self._pattern = pattern
        self._answer = answer
        # Invariant: the run, from its beginning until it is over.
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[Any] | None = None

    @property
    def inbox(self) -> asyncio.Queue[Any]:
        """Where everything goes that is not for the conductor itself, in order."""
        # Most runs get no such message, and a queue takes as long to make as a reply.
        if self._inbox is None:
            self._inbox = asyncio.Queue()
        return self._inbox

    async def on_receive(self, message: Any) -> None:
        """Begin, give up, or hand a message to the run."""
        match message:
            case Begin():
                # The task inherits the context of this message.
                self._task = asyncio.create_task(self._perform(message))
                self._task.add_done_callback(self._over)
            case GiveUp():
                if self._task is not None:
                    self._task.cancel()
            case Alarm():
                message.ring()
            case _:
                self.inbox.put_nowait(message)

    def _over(self, _: object = None) -> None:
        """End with the run, as soon as it is known to be over."""
        if self._task is not None:
            self._task = None
            self.actor_ref.stop(block=False)

    async def _perform(self, begin: Begin) -> None:
        try:
            async with begin.scope as context:
                await self._work(begin, context)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the scope could not be entered
            outer = current() or RunContext(run_id="")
            bare = Run(self, outer, self._pattern.name)
            if isinstance(error, BudgetExceeded):
                bare.record("admission", admitted=False, error=describe(error))
            self._answer.try_set(await self._on_record(bare, self._failure(bare, error)))
        except BaseException as error:  # noqa: BLE001 - SystemExit must not end the event loop
            self._answer.try_set_exception(error)
        finally:
            # The task's callback comes one round of the loop later; it is for a run that was
            # given up before it began.
            self._over()

    async def _work(self, begin: Begin, context: RunContext) -> None:
        work: Run | None = None
        try:
            if context.tracer is None:
                work = Run(self, context, self._pattern.name)
                result = await self._conduct(work, begin, None)
            else:
                with self._span(context.tracer) as span:
                    work = Run(self, current() or context, self._pattern.name)
                    result = await self._conduct(work, begin, span)
            # After the end of the span: who has the result may close the tracer.
            self._answer.try_set(result)
            if work.afterwards is not None:
                await self._linger(work)
        finally:
            for agent in work.owned if work is not None else ():
                agent.close()

    def _span(self, tracer: Tracer) -> Span:
        pattern = self._pattern
        names = {
            "gen_ai.operation.name": "invoke_workflow",
            "callboard.pattern": type(pattern).__name__,
        }
        return tracer.span(f"invoke_workflow {pattern.name}", **names)

    async def _conduct(self, work: Run, begin: Begin, span: Span | None) -> RunResult:
        pattern = self._pattern
        if begin.asked_for_budget:
            work.record("admission", admitted=True)
        try:
            result = await pattern.conduct(work, begin.input)
        except Exception as error:  # noqa: BLE001 - what was paid for until here is kept
            result = self._failure(work, error)
        if span is not None:
            span.set_attribute("callboard.status", result.status)
            span.set_attribute("callboard.reason", result.reason)
            if result.status == "failed":
                span.set_status("error")
        return await self._on_record(work, result)

    async def _linger(self, work: Run) -> None:
        assert work.afterwards is not None
        try:
            await work.afterwards()
        except Exception as error:  # noqa: BLE001 - the result is out; only losers were left
            logger.opt(exception=error).error("{} failed after its result", self._pattern.name)
        await settle(work)

    def _failure(self, work: Run, error: BaseException) -> RunResult:
        status, reason = work.ending(error)
        return work.result(
            self._pattern.result_type, status=status, reason=reason, error=describe(error)
        )

    async def _on_record(self, work: Run, result: RunResult) -> RunResult:
        """Return the result once every decision is on record."""
        if result.status in {"halted", "failed"}:
            work.record("halt", status=result.status, reason=result.reason, error=result.error)
        if work.records and (lost := await settle(work)):
            return msgspec.structs.replace(result, unrecorded=lost)
        return result

    async def on_stop(self) -> None:  # type: ignore[override]  # pykka's are sync
        """End the run with the actor, whoever stopped it."""
        await self._cut_off(None)

    async def on_failure(  # type: ignore[override]  # likewise
        self, _: object, error: BaseException | None, __: object
    ) -> None:
        """End the run; one whose children needed too many restarts may still say what it has."""
        if isinstance(error, RestartLimitExceeded) and self._task is not None:
            await asyncio.wait({self._task}, timeout=LAST_WORDS)
        await self._cut_off(error)

    async def _cut_off(self, cause: BaseException | None) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        if not self._answer.done():
            error = ActorDeadError(f"{self} ended before its run did")
            error.__cause__ = cause
            self._answer.try_set_exception(error)
        # They know each other, so without this the result would stay in memory until the garbage
        # collector comes.
        self._answer.follow(None)


class Pattern(ABC, Generic[R]):
    """What all patterns have in common; each is something that an agent slot accepts.

    Args:
        name: for the tree, traces and records; None takes the kind of pattern.
        system: the system to run in; None is that of the actor that asks, else the default.

    Raises:
        InvalidOption: an option makes no sense.
    """

    result_type: ClassVar[type[RunResult]] = RunResult
    conductor: ClassVar[type[Conductor]] = Conductor
    time_limit: float | Deadline | None = None

    def __init__(self, name: str | None, system: ActorSystem | None) -> None:
        given: object = name
        if given is not None and (not isinstance(given, str) or not given):
            raise InvalidOption("name", name, "a str that is not empty, or None")
        place: object = system
        if place is not None and not isinstance(place, ActorSystem):
            raise InvalidOption("system", system, "an ActorSystem, or None for the default one")
        self.name = name or type(self).__name__.lower()
        self._system = system

    def run(
        self,
        input: Any,  # noqa: A002 - the design's name
        *,
        budget: Any = None,
        deadline: float | Deadline | None = None,
        run_id: str | None = None,
    ) -> Future[R]:
        """Run the pattern; `cancel()` of the future stops everything below.

        The future gives a result for a run that ended early or failed, too: look at its `status`.

        Args:
            input: text, or anything with a `text` (a reply, another pattern's result).
            budget: USD, a `BudgetPool` or a `Lease`; inside a run, USD is a lease on its budget.
            deadline: seconds, or a `Deadline`; never later than that of the run around it.
            run_id: names the run in every record; None takes that of the run around it.

        Raises:
            InvalidOption: an option makes no sense.
            RequestCancelled: the future was cancelled (from the future).
            ActorDeadError, SystemStopped: the system was shut down (from the future).
        """
        system = self._system
        if system is None:
            actor = current_actor()
            system = default_system() if actor is None else actor.system
        limit = _earlier(self.time_limit, deadline)
        scope = run(budget=budget, deadline=limit, run_id=run_id, system=system)
        answer: RunFuture[R] = RunFuture()
        number = next(_numbers.setdefault(system, itertools.count(1)))
        name = f"{self.name.replace('/', '-')}:{number}"
        # Temporary: a run is not repeated by itself, and must not count against the root.
        spec = ChildSpec(self.conductor, (self, answer), name=name, restart="temporary")
        try:
            conductor = system.spawn(spec)
            answer.follow(conductor)
            with carry():
                conductor.tell(Begin(input, scope, budget is not None))
        except (SystemStopped, ActorDeadError) as error:
            answer.try_set_exception(error)
        return answer

    @abstractmethod
    async def conduct(self, work: Run, given: Any) -> R:
        """Do the work of one run."""

    @abstractmethod
    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw this pattern as a part of a drawing."""

    def mermaid(self) -> str:
        """Return the pattern and what is nested in it as a Mermaid flowchart."""
        drawing = Drawing()
        self.draw_on(drawing)
        return drawing.text()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


Slot = Agent | Pattern[Any]
"""What stands in an agent slot, once it was made uniform."""


def as_slot(worker: Any, name: str | None = None) -> Slot:
    """Return the agent or pattern that `worker` is, or an agent around it.

    Raises:
        InvalidOption: it is nothing that could work on a prompt.
    """
    found = as_agent(worker, name=name)
    if isinstance(found, (Agent, Pattern)):
        return found
    return Agent(found, name=name)


def _earlier(
    own: float | Deadline | None, given: float | Deadline | None
) -> float | Deadline | None:
    """Return the earlier of two limits, each in seconds or as a deadline."""
    if own is None or given is None:
        return given if own is None else own
    if isinstance(own, Deadline):
        return own.tighten(given)
    if isinstance(given, Deadline):
        return given.tighten(own)
    Deadline(given)  # the same rules, before the two are compared
    return min(own, given)
