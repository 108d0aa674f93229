"""What the inside of a run may do: ask, call, wait, record; and what it has cost so far."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import msgspec
from loguru import logger

from actors import (
    Actor,
    ActorDeadError,
    ActorRef,
    Agent,
    BudgetExceeded,
    CallboardError,
    ChildSpec,
    Deadline,
    Future,
    KeyedTimers,
    RunContext,
    to_text,
)
from patterns._failures import describe, kind_of
from patterns._results import RunFailed, RunResult, Status

__all__ = ["Alarm", "Meter", "Run", "is_async", "settle"]

R = TypeVar("R", bound=RunResult)

ALMOST = 0.005
"""Seconds before a deadline that count as having reached it.

Event loops fire timers up to one tick of their clock early, so work can end by a deadline that the
clock says is still ahead.
"""


class Meter:
    """Adds up what replies cost.

    Attributes:
        cost_usd: in USD; None as soon as one reply has no known price.
        tokens: input and output together.
        degraded: whether a lesser agent gave one of them.
    """

    __slots__ = ("cost_usd", "degraded", "tokens")

    def __init__(self) -> None:
        self.cost_usd: Decimal | None = Decimal(0)
        self.tokens = 0
        self.degraded = False

    def add(self, reply: Any) -> None:
        """Add a reply or the result of a nested run."""
        cost = getattr(reply, "cost_usd", None)
        if cost is None or self.cost_usd is None:
            self.cost_usd = None
        else:
            self.cost_usd += cost
        self.tokens += getattr(reply, "tokens", 0)
        self.degraded = self.degraded or bool(getattr(reply, "degraded", False))

    def add_paid(self, error: BaseException) -> None:
        """Add what an error brings along that was paid for all the same."""
        paid = error.result if isinstance(error, RunFailed) else getattr(error, "reply", None)
        if paid is not None:
            self.add(paid)


class Owner(Protocol):
    """What a run needs of its actor."""

    @property
    def actor_ref(self) -> ActorRef[Any]: ...

    @property
    def inbox(self) -> asyncio.Queue[Any]: ...

    @property
    def timers(self) -> KeyedTimers: ...

    def spawn(self, what: ChildSpec, /) -> ActorRef[Any]: ...

    def watch(self, ref: ActorRef[Any]) -> None: ...


class _Call(msgspec.Struct, frozen=True):
    """Call a function."""

    function: Callable[..., Any]
    args: tuple[Any, ...]


class _Clerk(Actor):
    """Calls the sync functions of a run on the thread pool, where they may block."""

    def on_receive(self, message: _Call) -> tuple[Any]:
        # In a tuple, since a coroutine that a sync function returns is not for this actor.
        return (message.function(*message.args),)


class Alarm(msgspec.Struct, frozen=True):
    """The end of a pause."""

    over: Any

    def ring(self) -> None:
        """Wake up who waits, if somebody still does."""
        if not self.over.done():
            self.over.set_result(None)


class Run:
    """One run, as the pattern that conducts it sees it.

    Args:
        owner: its actor.
        context: its context: budget, deadline, log, span.
        name: the pattern's name, for the records.
    """

    def __init__(self, owner: Any, context: RunContext, name: str) -> None:
        self.context = context
        self.meter = Meter()
        self.afterwards: Callable[[], Awaitable[None]] | None = None
        """What is left to do once the result is out."""
        self.records: list[Future[int]] = []
        self.owned: list[Agent] = []
        """Agents that were made for this run alone, and end with it."""
        self._owner: Owner = owner
        self._name = name
        self._clock = owner.actor_ref.system.clock
        self._clerk: ActorRef[Any] | None = None
        self._overdrawn: BudgetExceeded | None = None

    # -- agents ------------------------------------------------------------------------------

    def ask(
        self, agent: Any, prompt: Any, *, budget: Any = None, deadline: Any = None
    ) -> Coroutine[Any, Any, Any]:
        """Return an agent's or a nested pattern's reply to a prompt, and meter it.

        Raises:
            RunFailed: a nested pattern gave no usable answer.
            BudgetExceeded, DeadlineExceeded: there is no money or time for it.
            Exception: what the agent raised.
        """
        if self._overdrawn is not None:
            raise self._overdrawn
        return self.take(agent.run(prompt, budget=budget, deadline=deadline))

    async def take(self, future: Future[Any]) -> Any:
        """Wait for a reply and meter it; raises as `ask` does."""
        try:
            reply = await future
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BudgetExceeded as error:
            reply = getattr(error, "reply", None)
            if reply is None:
                raise
            # It is paid for, so it is used; but nothing more is begun.
            self._overdrawn = error
            self.record("overrun", error=describe(error))
        except Exception as error:
            self.meter_failure(error)
            raise
        except BaseException as error:
            raise ActorDeadError(f"an agent raised {describe(error)}") from error
        self.meter.add(reply)
        if isinstance(reply, RunResult) and not reply.usable:
            raise RunFailed(reply)
        return reply

    def meter_failure(self, error: BaseException) -> None:
        """Meter the reply that came with an error, if it was paid for."""
        reply = getattr(error, "reply", None)
        if reply is not None:
            self.meter.add(reply)

    def spawn(self, spec: ChildSpec) -> ActorRef[Any]:
        """Start a child actor of this run; it ends with the run."""
        return self._owner.spawn(spec)

    def watch(self, ref: ActorRef[Any]) -> None:
        """Have `Terminated` delivered to `receive` when that actor is dead."""
        self._owner.watch(ref)

    @property
    def ref(self) -> ActorRef[Any]:
        """The run's actor; what it is told arrives at `receive`."""
        return self._owner.actor_ref

    # -- functions ---------------------------------------------------------------------------

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a user's function: a sync one on the thread pool, an async one here.

        Raises:
            DeadlineExceeded: the run's deadline passed first.
            Exception: what the function raised.
        """
        if is_async(function):
            async with self._limit():
                return await function(*args)
        if self._clerk is None or not self._clerk.is_alive():
            # Nobody waits for a function that the run has given up on.
            spec = ChildSpec(_Clerk, restart="temporary", shutdown="brutal_kill")
            self._clerk = self.spawn(spec)
        (value,) = await self._clerk.request(_Call(function, args))
        if inspect.isawaitable(value):
            async with self._limit():
                value = await value
        return value

    def _limit(self) -> AbstractAsyncContextManager[Any]:
        return self.context.deadline or nullcontext()

    # -- time --------------------------------------------------------------------------------

    @property
    def deadline(self) -> Deadline | None:
        """The run's deadline, or None."""
        found: Deadline | None = self.context.deadline
        return found

    def seconds_left(self) -> float | None:
        """Return the seconds until the deadline, or None without one."""
        return None if self.deadline is None else self.deadline.remaining()

    def out_of_time(self) -> bool:
        """Tell whether the run's deadline has passed."""
        left = self.seconds_left()
        return left is not None and left <= ALMOST

    def now(self) -> float:
        """Return the time on the system's monotonic clock, in seconds."""
        now: float = self._clock.monotonic()
        return now

    def within(self, seconds: float) -> Deadline:
        """Return the deadline that many seconds from now."""
        return Deadline(seconds, clock=self._clock)

    async def pause(self, seconds: float) -> None:
        """Wait, by a timer of the run's actor."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner.timers.start(over, Alarm(over), after=seconds)
        try:
            await over
        finally:
            self._owner.timers.cancel(over)

    async def receive(self) -> Any:
        """Return the next message to this run's actor."""
        return await self._owner.inbox.get()

    def received(self) -> list[Any]:
        """Return the messages that are there, without waiting."""
        messages = []
        inbox = self._owner.inbox
        while not inbox.empty():
            messages.append(inbox.get_nowait())
        return messages

    # -- money -------------------------------------------------------------------------------

    async def check_funds(self) -> None:
        """Make sure that there is time and money to begin something.

        Raises:
            BudgetExceeded: nothing is left of the budget.
            DeadlineExceeded: the deadline has passed.
        """
        if self.deadline is not None:
            self.deadline.check("the run")
        if self._overdrawn is not None:
            raise self._overdrawn
        if self.context.budget is not None:
            await self.context.budget.check()

    # -- endings -----------------------------------------------------------------------------

    def ending(self, error: BaseException) -> tuple[Status, str]:
        """Return status and reason of a run that this error ends.

        A deadline that is not the run's is a time-out of one agent, which is a failure.
        """
        kind = kind_of(error)
        if kind == "budget":
            return "halted", "budget"
        if kind == "deadline":
            return ("halted", "deadline") if self.out_of_time() else ("failed", "timeout")
        return "failed", error.result.reason if isinstance(error, RunFailed) else kind

    # -- records and result ------------------------------------------------------------------

    def record(self, decision: str, **fields: Any) -> None:
        """Write a decision of this run into the decision log, if there is one."""
        log = self.context.log
        if log is None:
            return
        try:
            self.records.append(log.record(decision, pattern=self._name, **fields))
        except CallboardError as error:
            lost: Future[int] = Future()
            lost.set_exception(error)
            self.records.append(lost)

    def result(self, kind: type[R], *, output: Any = None, **fields: Any) -> R:
        """Return a result of that type with the run's cost so far."""
        fields.setdefault("text", to_text(output))
        fields["degraded"] = self.meter.degraded or fields.get("degraded", False)
        return kind(
            output=output,
            cost_usd=self.meter.cost_usd,
            tokens=self.meter.tokens,
            run_id=self.context.run_id,
            **fields,
        )


async def settle(work: Run) -> int:
    """Wait until a run's decisions are on record; return how many could not be written."""
    lost = 0
    while work.records:
        try:
            await work.records.pop(0)
        except CallboardError as error:
            lost += 1
            logger.error("a decision could not be recorded: {}", describe(error))
    return lost


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether a callable is `async def`, as a function or by its `__call__`."""
    plain = inspect.unwrap(function)
    return inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(
        getattr(plain, "__call__", None)  # noqa: B004 - its kind is wanted, not whether
    )
