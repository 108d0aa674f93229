"""Broadcast: many agents on the same given, and one answer made of their replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from actors import (
    ActorDeadError,
    ActorSystem,
    Agent,
    ChildSpec,
    Deadline,
    InvalidOption,
    Reply,
    Terminated,
    to_text,
)
from patterns._aggregate import Join, Vote, compose, join, vote
from patterns._completion import All, First, Quorum, Until, When
from patterns._drawing import Drawing, Ends
from patterns._failures import describe, kind_of
from patterns._gather import Closed, Collect, Gather, GatherPlan, Late, Outcome, Settled, as_given
from patterns._results import (
    BroadcastResult,
    FailedReply,
    GivenReply,
    RunFailed,
    RunResult,
    Status,
    output_of,
)
from patterns._run import Pattern, Slot, as_slot
from patterns._work import Run

__all__ = ["All", "Broadcast", "First", "Quorum", "When", "join", "vote"]

Losers = Literal["cancel", "finish"]
LatePolicy = Literal["record", "deliver", "drop"]


class _Tail:
    """What comes in after a broadcast has closed."""

    def __init__(self) -> None:
        self.late: list[GivenReply] = []
        self.settled = False


class Broadcast(Pattern[BroadcastResult]):
    """Sends its input to several agents at once and aggregates their replies.

    Args:
        agents: the recipients: a list of agents, a mapping of name to agent, or a callable from
            the input to either.
        aggregate: a sync or async callable of the valid replies (`GivenReply`, in recipient
            order), such as `join()` and `vote()`; or an agent, which gets them in a prompt.
        until: when to stop collecting: `All()`, `Quorum(k)`, `First(k)` or `When(function)`.
        timeout: seconds after which collecting stops anyway; None waits on.
        losers: "cancel" stops the recipients that are not needed any more; "finish" lets them
            end, beside and after the result.
        late: replies after the close are written to the decision log with their cost ("record"),
            also handed to `on_late` ("deliver"), or neither ("drop").
        on_late: a sync or async callable of a late `GivenReply`.
        hedge: seconds to wait before asking the next recipient; a failure asks it at once. None
            asks all at once.
        name: for the tree, traces and records.
        system: the system to run in.

    Raises:
        InvalidOption: an option makes no sense.
    """

    result_type: ClassVar[type[RunResult]] = BroadcastResult

    def __init__(
        self,
        agents: Any,
        aggregate: Any,
        *,
        until: Until = All(),  # noqa: B008 - frozen
        timeout: float | None = None,
        losers: Losers = "cancel",
        late: LatePolicy = "record",
        on_late: Callable[[GivenReply], Any] | None = None,
        hedge: float | None = None,
        name: str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        super().__init__(name, system)
        computed = callable(agents) and not callable(getattr(agents, "run", None))
        self._compute: Callable[[Any], Any] | None = agents if computed else None
        self._recipients = () if computed else _recipients(agents)
        if not isinstance(until, (All, Quorum, First, When)):
            raise InvalidOption("until", until, "All(), Quorum(k), First(k) or When(function)")
        if isinstance(until, (Quorum, First)) and not computed and until.k > len(self._recipients):
            raise InvalidOption("until", until, f"at most {len(self._recipients)} replies")
        if timeout is not None:
            Deadline(timeout)  # the same rules
        if hedge is not None:
            Deadline(hedge)
        if losers not in ("cancel", "finish"):
            raise InvalidOption("losers", losers, "'cancel' or 'finish'")
        if late not in ("record", "deliver", "drop"):
            raise InvalidOption("late", late, "'record', 'deliver' or 'drop'")
        if (on_late is not None) != (late == "deliver") or not callable(on_late or print):
            raise InvalidOption("on_late", on_late, "a callable with late='deliver', else None")
        is_callable = callable(aggregate) and not callable(getattr(aggregate, "run", None))
        self._function: Callable[..., Any] | None = aggregate if is_callable else None
        self._agent = None if is_callable else as_slot(aggregate, "aggregate")
        self._until = until
        self._timeout = timeout
        self._losers: Losers = losers
        self._late: LatePolicy = late
        self._on_late = on_late
        self._hedge = hedge

    async def conduct(self, work: Run, given: Any) -> BroadcastResult:
        """Collect, aggregate, and see to the losers."""
        recipients = self._recipients
        if self._compute is not None:
            computed = await work.call(self._compute, given)
            recipients = _recipients(computed)
            values = computed.values() if isinstance(computed, Mapping) else computed
            made = {id(slot): slot for _, slot in recipients if isinstance(slot, Agent)}
            for value in values:
                made.pop(id(value), None)
            work.owned.extend(made.values())
        plan = GatherPlan(
            recipients, self._until, self._timeout, work.deadline, self._losers, self._hedge
        )
        gather = work.spawn(ChildSpec(Gather, (plan, work.ref), name="gather", restart="temporary"))
        work.watch(gather)
        gather.tell(Collect(given))
        closed = await work.receive()
        while not isinstance(closed, Closed):
            if isinstance(closed, Terminated):
                raise ActorDeadError("the gather actor ended before it closed")
            closed = await work.receive()
        facts = self._facts(work, plan, closed)
        tail = _Tail()
        result = await self._aggregate(work, given, facts)
        await self._look_after(work, plan, tail)
        if not tail.settled:
            work.afterwards = lambda: self._linger(work, plan, tail)
        # Late replies that came meanwhile have been metered, so the cost is read again.
        return msgspec.structs.replace(
            result,
            late=tuple(tail.late),
            cost_usd=work.meter.cost_usd,
            tokens=work.meter.tokens,
        )

    def _facts(self, work: Run, plan: GatherPlan, closed: Closed) -> dict[str, Any]:
        """Meter and record what was collected; return it in the terms of the result."""
        replies, failures = [], []
        for outcome in closed.outcomes:
            if outcome.error is None:
                work.meter.add(outcome.reply)
                replies.append(as_given(plan, outcome))
            else:
                failures.append(_failed(work, plan, outcome))
        names = [name for name, _ in plan.recipients]
        missing = tuple(names[position] for position in closed.pending)
        reason: str = closed.closing.reason
        if not closed.closing.complete and work.out_of_time():
            reason = "deadline"
        work.record(
            "gather",
            closed=reason,
            complete=closed.closing.complete,
            replies=[reply.recipient for reply in replies],
            failures={failure.recipient: failure.kind for failure in failures},
            missing=missing,
            error=None if closed.error is None else describe(closed.error),
        )
        return {
            "replies": tuple(replies),
            "failures": tuple(failures),
            "missing": missing,
            "complete": closed.closing.complete,
            "closed": reason,
        }

    # -- the answer --------------------------------------------------------------------------

    async def _aggregate(self, work: Run, given: Any, facts: dict[str, Any]) -> BroadcastResult:
        replies: tuple[GivenReply, ...] = facts["replies"]
        closed: str = facts["closed"]
        if not replies:
            kinds = {failure.kind for failure in facts["failures"]}
            error = "; ".join(f"{f.recipient}: {f.error}" for f in facts["failures"]) or None
            reason = "no_replies"
            if closed == "deadline" or kinds == {"budget"}:
                reason = "deadline" if closed == "deadline" else "budget"
            status: Status = "failed" if reason == "no_replies" else "halted"
            return work.result(BroadcastResult, status=status, reason=reason, error=error, **facts)
        try:
            value = await self._aggregated(work, given, replies)
        except Exception as error:  # noqa: BLE001 - the replies are paid for and kept
            status, reason = work.ending(error)
            return work.result(
                BroadcastResult, status=status, reason=reason, error=describe(error), **facts
            )
        parts = [value, *(reply.reply for reply in replies)]
        lacking = any(isinstance(part, RunResult) and part.status != "done" for part in parts)
        whole = facts["complete"] and not lacking
        return work.result(
            BroadcastResult,
            output=output_of(value.reply) if isinstance(value, GivenReply) else output_of(value),
            text=to_text(value),
            status="done" if whole else "partial",
            reason=closed,
            **facts,
        )

    async def _aggregated(
        self,
        work: Run,
        given: Any,
        replies: tuple[GivenReply, ...],
    ) -> Any:
        function = self._function
        if function is None:
            return await work.ask(self._agent, compose(given, replies))
        if isinstance(function, (Join, Vote)):
            # They take no time, so they work even when there is none left.
            return function(replies)
        value = await work.call(function, replies)
        if isinstance(value, (Reply, RunResult)) and all(value is not r.reply for r in replies):
            work.meter.add(value)
        return value

    # -- the losers --------------------------------------------------------------------------

    async def _linger(self, work: Run, plan: GatherPlan, tail: _Tail) -> None:
        while not tail.settled:
            await self._mind(work, plan, tail, await work.receive())

    async def _look_after(self, work: Run, plan: GatherPlan, tail: _Tail) -> None:
        for message in work.received():
            await self._mind(work, plan, tail, message)

    async def _mind(self, work: Run, plan: GatherPlan, tail: _Tail, message: Any) -> None:
        match message:
            case Settled() | Terminated():
                tail.settled = True
            case Late(outcome) if outcome.error is not None:
                if self._late != "drop":
                    failed = _failed(work, plan, outcome)
                    kind = "cancel" if failed.kind == "cancelled" else "late_failure"
                    work.record(kind, recipient=failed.recipient, error=failed.error)
            case Late(outcome):
                reply = as_given(plan, outcome, late=True)
                tail.late.append(reply)
                work.meter.add(outcome.reply)
                if self._late != "drop":
                    work.record(
                        "late_reply",
                        recipient=reply.recipient,
                        cost_usd=reply.cost_usd,
                        tokens=reply.tokens,
                    )
                if self._on_late is not None:
                    try:
                        await work.call(self._on_late, reply)
                    except Exception as error:  # noqa: BLE001 - a user's function, after the fact
                        work.record(
                            "late_failure", recipient=reply.recipient, error=describe(error)
                        )

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the recipients side by side between input and gather."""
        with drawing.group(self.name):
            start = drawing.box(self.name, "round")
            label = type(self._until).__name__
            k = getattr(self._until, "k", None)
            gate = drawing.box(f"gather: {label}({k or ''})", "gate")
            if self._compute is not None:
                several = drawing.box(f"{getattr(self._compute, '__name__', 'computed')} → agents")
                drawing.arrow(start, several)
                drawing.arrow(several, gate)
            for name, agent in self._recipients:
                first, last = drawing.place(agent, name)
                drawing.arrow(start, first)
                drawing.arrow(last, gate)
            function = self._function
            if function is None:
                first, end = drawing.place(self._agent)
            else:
                kind = getattr(function, "__name__", type(function).__name__.lower())
                first = end = drawing.box(kind)
            drawing.arrow(gate, first)
        return start, end


def _recipients(agents: Any) -> tuple[tuple[str, Slot], ...]:
    """Return recipients with names of their own.

    Raises:
        InvalidOption: there are none, or they are no agents.
    """
    if isinstance(agents, Mapping):
        pairs: Iterable[tuple[str | None, Any]] = agents.items()
    elif isinstance(agents, Sequence) and not isinstance(agents, str):
        pairs = [(None, agent) for agent in agents]
    else:
        pairs = ()
    slots: dict[str, Slot] = {}
    for name, agent in pairs:
        if name is not None and (not isinstance(name, str) or not name):
            raise InvalidOption("agents", name, "names that are non-empty strings")
        slot = as_slot(agent, name)
        own = base = name or slot.name
        number = 1
        while own in slots:
            number += 1
            own = f"{base}-{number}"
        slots[own] = slot
    if not slots:
        raise InvalidOption("agents", agents, "a list or mapping of at least one agent")
    return tuple(slots.items())


def _failed(work: Run, plan: GatherPlan, outcome: Outcome) -> FailedReply:
    """Meter what a failed recipient cost, and return what the user gets."""
    error = outcome.error
    assert error is not None
    paid = error.result if isinstance(error, RunFailed) else getattr(error, "reply", None)
    if paid is not None:
        work.meter.add(paid)
    return FailedReply(
        recipient=plan.recipients[outcome.position][0],
        position=outcome.position,
        kind=kind_of(error),
        error=describe(error),
        reply=paid,
    )
