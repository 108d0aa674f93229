"""The actors behind an agent: one that works on prompts and meters it, one that shares them out.

A model's call is reserved at its worst before it is made and settled at its real price after it.
A callable is charged for what its reply says it cost, unless it takes the lease and does that
itself; a pattern charges what runs inside it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Coroutine
from contextlib import AsyncExitStack, nullcontext
from contextvars import Context, copy_context
from decimal import Decimal
from types import CoroutineType
from typing import Any

import msgspec

from actors._actor import Actor
from actors._context import RunContext, current
from actors._deadline import Deadline
from actors._default import current_actor
from actors._errors import (
    ActorDeadError,
    BudgetExceeded,
    DeadlineExceeded,
    InvalidOption,
    ModelTimeout,
    UnusableReply,
)
from actors._future import Future
from actors._ref import ActorRef
from actors._supervision import ChildSpec
from actors.agents._types import (
    Message,
    Model,
    Reply,
    Usage,
    estimate_tokens,
    prompt_tokens,
)
from actors.agents._worker import Worker, to_reply, to_text
from actors.agents.pricing import Price, worst_case
from actors.services import _genai
from actors.services.run import run

__all__ = ["MAX_TOKENS", "AgentActor", "Desk", "Job", "Plan", "calling_agent"]

MAX_TOKENS = 512
"""Ceiling of a model's answer where the agent does not set one, in tokens."""


_FREE = Decimal(0)
_UNKNOWN = (None, None)


class Job(msgspec.Struct, frozen=True):
    """One prompt for an agent's actor; answered with a `Reply`.

    Attributes:
        prompt: text, or anything with a `text`.
        budget: USD, a pool or a lease that this prompt may spend; None is that of the run.
    """

    prompt: Any
    budget: Any = None


class Plan(msgspec.Struct, frozen=True):
    """What an agent was made with."""

    worker: Worker
    name: str
    instructions: str | None
    concurrency: int
    timeout: float | None
    price: Price | None
    max_tokens: int
    schema: dict[str, Any] | None
    max_usd: Decimal | None
    owns_model: bool


class _Hand(Actor):
    """Runs a sync worker on the thread pool, so that it does not hold up the agent's loop."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = call

    def on_receive(self, message: tuple[Any, dict[str, Any]]) -> Any:
        prompt, extras = message
        return self._call(prompt, **extras)


class AgentActor(Actor):
    """The actor behind an agent.

    Args:
        plan: what the agent was made with.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._hand: ActorRef[_Hand] | None = None
        self._dearest = _FREE  # what a callable's call has cost at most, in USD
        self._span_name = f"invoke_agent {plan.name}"
        self._span_attributes = {
            _genai.OPERATION_NAME: "invoke_agent",
            _genai.AGENT_NAME: plan.name,
        }
        worker = plan.worker
        self._wants_budget = "budget" in worker.wants
        self._wants_deadline = "deadline" in worker.wants
        # A pattern meters what runs inside it; everything else is admitted here.
        self._meters_itself = worker.kind == "runner" and self._wants_budget

    async def on_stop(self) -> None:  # type: ignore[override]  # pykka's are sync
        """Give the model back, if this agent took it by its name."""
        if self._plan.owns_model:
            await self._plan.worker.call.aclose()

    def on_receive(self, message: Job) -> Coroutine[Any, Any, Reply]:
        """Work on one prompt."""
        if message.budget is None:
            return self._trace(message.prompt, current())
        return self._within_budget(message)

    async def _within_budget(self, message: Job) -> Reply:
        async with run(budget=message.budget) as context:
            return await self._trace(message.prompt, context)

    async def _trace(self, prompt: Any, context: RunContext | None) -> Reply:
        tracer = context.tracer if context is not None else None
        if tracer is None:
            return await self._work(prompt, context)
        with tracer.span(self._span_name, **self._span_attributes):
            return await self._work(prompt, current())

    async def _work(self, prompt: Any, context: RunContext | None) -> Reply:
        plan = self._plan
        limit = context.deadline if context is not None else None
        if limit is not None:
            limit.check(f"the run, before agent {plan.name} began")
        if plan.timeout is not None:
            limit = (
                Deadline(plan.timeout, clock=self.system.clock)
                if limit is None
                else limit.tighten(plan.timeout)
            )
        if plan.worker.kind == "model":
            return await self._ask_model(prompt, context, limit)
        budget = context.budget if context is not None else None
        if budget is None or self._meters_itself:
            return await self._call_worker(prompt, None, limit)
        most = self._most_of(prompt)
        if most == _UNKNOWN and not self._wants_budget:
            # A lease would hold nothing, and nobody would see it.
            await budget.check(more=False)
            reply = await self._call_worker(prompt, None, limit)
            await self._settle_call(budget, reply)
            return reply
        async with budget.acquire(*most) as lease:
            reply = await self._call_worker(prompt, lease, limit)
            if not self._wants_budget:
                await self._settle_call(lease, reply)
            return reply

    # -- callables and runners ---------------------------------------------------------------

    async def _call_worker(self, prompt: Any, lease: Any, limit: Deadline | None) -> Reply:
        plan = self._plan
        extras: dict[str, Any] = {}
        if self._wants_deadline and (limit is not None or plan.worker.kind != "runner"):
            extras["deadline"] = limit if limit is not None else Deadline.never()
        if self._wants_budget and not self._meters_itself:
            extras["budget"] = lease
        if limit is None:
            value = await self._invoke(prompt, extras)
        else:
            async with limit:
                value = await self._invoke(prompt, extras)
        reply = to_reply(value, plan.name)
        if plan.price is not None and not reply.cost_usd and reply.tokens:
            reply = msgspec.structs.replace(reply, cost_usd=plan.price.cost(reply.usage))
        return reply

    def _most_of(self, prompt: Any) -> tuple[Decimal | None, int | None]:
        """Return what to reserve for a call of a callable: USD and tokens, None where unknown.

        What it says itself goes first; then its price; then the dearest call so far. A callable
        of which nothing is known is admitted as long as the budget is not overdrawn.
        """
        plan = self._plan
        if plan.max_usd is not None:
            return plan.max_usd, None
        if plan.price is not None:
            expected = estimate_tokens(to_text(prompt))
            return plan.price.cost(Usage(expected, plan.max_tokens)), expected + plan.max_tokens
        return (self._dearest, None) if self._dearest else _UNKNOWN

    async def _settle_call(self, budget: Any, reply: Reply) -> None:
        """Charge what a callable's reply says that it cost."""
        if reply.cost_usd:
            self._dearest = max(self._dearest, reply.cost_usd)
        if reply.cost_usd or reply.tokens:
            await _settle(budget, reply, self.actor_ref.path)

    async def _invoke(self, prompt: Any, extras: dict[str, Any]) -> Any:
        worker = self._plan.worker
        if worker.kind == "sync":
            if self._hand is None or not self._hand.is_alive():
                self._hand = self.spawn(ChildSpec(_Hand, (worker.call,), restart="temporary"))
            value = await self._hand.request((prompt, extras))
        else:
            value = worker.call(prompt, **extras)
            if type(value) is CoroutineType:
                value = await value
        # What most give is looked at first: to ask whether it can be awaited costs more.
        while not isinstance(value, (str, Reply)) and inspect.isawaitable(value):
            value = await value
        return value

    # -- models ------------------------------------------------------------------------------

    async def _ask_model(
        self, prompt: Any, context: RunContext | None, limit: Deadline | None
    ) -> Reply:
        plan = self._plan
        model: Model = plan.worker.call
        messages = [Message("user", to_text(prompt))]
        if plan.instructions is not None:
            messages.insert(0, Message("system", plan.instructions))
        expected = prompt_tokens(model, messages)
        budget = context.budget if context is not None else None
        tracer = context.tracer if context is not None else None
        async with AsyncExitStack() as scopes:
            span = None
            if tracer is not None:
                names = {
                    _genai.OPERATION_NAME: "chat",
                    _genai.AGENT_NAME: plan.name,
                    _genai.REQUEST_MODEL: model.name,
                    _genai.REQUEST_MAX_TOKENS: plan.max_tokens,
                }
                span = scopes.enter_context(tracer.span(f"chat {model.name}", **names))
            lease = None
            if budget is not None:
                most = self._most_usd(model, expected)
                if most is None and (await budget.snapshot()).cap_usd is not None:
                    raise InvalidOption(
                        "price",
                        None,
                        f"a Price for {model.name}, whose list price is unknown, since a USD "
                        "budget cannot be kept otherwise",
                    )
                lease = await scopes.enter_async_context(
                    budget.acquire(most, expected + plan.max_tokens)
                )
            sent = False
            try:
                timeout = None
                if limit is not None:
                    limit.check(f"agent {plan.name}")
                    timeout = limit.remaining()
                sent = True
                async with limit or nullcontext():
                    reply = await model.complete(
                        messages, max_tokens=plan.max_tokens, schema=plan.schema, timeout=timeout
                    )
            except UnusableReply as error:
                paid = self._priced(error.reply)
                self._note(span, paid)
                if lease is not None:
                    await _settle(lease, paid)
                raise
            except (asyncio.CancelledError, DeadlineExceeded, ModelTimeout) as error:
                if lease is not None and sent:
                    # The prompt was read, or will be, whether we hear of it or not.
                    usage = Usage(expected, 0, estimated=True)
                    self._charge_unseen(lease, model, usage)
                if isinstance(error, ModelTimeout) and limit is not None and limit.expired():
                    raise DeadlineExceeded(f"agent {plan.name}") from error
                raise
            reply = self._priced(reply)
            self._note(span, reply)
            if lease is not None:
                await _settle(lease, reply)
            return reply

    def _most_usd(self, model: Model, expected: int) -> Decimal | None:
        """Return the most this call can cost, in USD; None if that is unknown."""
        plan = self._plan
        if plan.price is not None:
            return plan.price.cost(Usage(expected, plan.max_tokens))
        own = getattr(model, "most_usd", None)
        if own is not None:
            # Models may know better than the list of prices; see `LocalModel.most_usd`.
            most: Decimal | None = own(expected, plan.max_tokens)
            return most
        return worst_case(model.name, expected, plan.max_tokens)

    def _priced(self, reply: Any) -> Reply:
        price = self._plan.price
        if price is not None:
            reply = msgspec.structs.replace(reply, cost_usd=price.cost(reply.usage))
        assert isinstance(reply, Reply)
        return reply

    def _charge_unseen(self, lease: Any, model: Model, usage: Usage) -> None:
        plan = self._plan
        cost = plan.price.cost(usage) if plan.price is not None else None
        if cost is None:
            own = getattr(model, "most_usd", None)
            cost = own(usage.input_tokens, 0) if own is not None else Decimal(0)
        # Not awaited: this may be a task on its way out, and the charge is booked anyway.
        lease.charge(cost or 0, usage.tokens)

    def _note(self, span: Any, reply: Reply) -> None:
        if span is None:
            return
        span.set_attribute(_genai.RESPONSE_MODEL, reply.model)
        span.set_attribute(_genai.RESPONSE_FINISH_REASONS, [reply.finish_reason])
        span.set_attribute(_genai.INPUT_TOKENS, reply.usage.input_tokens)
        span.set_attribute(_genai.OUTPUT_TOKENS, reply.usage.output_tokens)
        span.set_attribute(_genai.COST_USD, reply.cost_usd)


async def _settle(budget: Any, reply: Reply, holder: str | None = None) -> None:
    """Charge what a reply cost; if that goes past the cap, the reply travels with the error."""
    try:
        await budget.charge(reply.cost_usd or 0, reply.tokens, holder=holder)
    except BudgetExceeded as error:
        error.reply = reply
        raise


def calling_agent() -> str | None:
    """Return the name of the agent whose code is executing; else the path of the actor, or None.

    The name of its actor may have a number behind it, and a desk has several actors.
    """
    ref = current_actor()
    if ref is None:
        return None
    actor = ref._actor_weakref()  # noqa: SLF001 - pykka's way from a reference to its actor
    return actor._plan.name if isinstance(actor, AgentActor) else ref.path  # noqa: SLF001 - ours


class Desk(Actor):
    """Hands the prompts of one agent to several actors, first come, first served."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._idle: list[ActorRef[Any]] = []
        self._seats = 0
        self._waiting: deque[tuple[Job, Future[Any], Context]] = deque()

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Free):
            self._idle.append(message.seat)
        else:
            self._waiting.append((message, self.reply_later(), copy_context()))
        while self._waiting and (self._idle or self._seats < self._plan.concurrency):
            job, reply, context = self._waiting.popleft()
            if reply.done():
                continue
            self._give(self._take_seat(), job, reply, context)

    def _take_seat(self) -> ActorRef[Any]:
        while self._idle:
            seat = self._idle.pop()
            if seat.is_alive():
                return seat
            self._seats -= 1
        self._seats += 1
        return self.spawn(ChildSpec(AgentActor, (self._plan,), restart="temporary"))

    def _give(self, seat: ActorRef[Any], job: Job, reply: Future[Any], context: Context) -> None:
        me = self.actor_ref
        inner = context.run(seat.request, job)

        def finished(future: Future[Any]) -> None:
            error = future.exception()
            if error is not None:
                reply.try_set_exception(error)
            else:
                reply.try_set(future.get())
            try:
                me.tell(Free(seat))
            except ActorDeadError:
                return

        inner.add_done_callback(finished)
        # Whoever gives the reply up gives the work up.
        reply.add_done_callback(lambda _: inner.cancel())


class Free(msgspec.Struct, frozen=True):
    """A seat is through with its job."""

    seat: Any
