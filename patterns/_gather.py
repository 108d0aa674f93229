"""The actor that collects the replies of a broadcast.

Each reply comes to it as a message, so none is ever waited for before another, and what a
recipient does wrong stays with it.
"""

from __future__ import annotations

import contextlib
import contextvars
from typing import Any, Literal

import msgspec

from actors import Actor, ActorDeadError, ActorRef, BudgetExceeded, Deadline, Future
from patterns._completion import Closing, Until, When, closing
from patterns._results import GivenReply, RunFailed, RunResult

__all__ = ["Closed", "Collect", "Gather", "GatherPlan", "Late", "Outcome", "Settled", "as_given"]

GRACE = 0.1
"""Seconds past the deadline in which nested runs, which end by it, hand in what they have."""


class GatherPlan(msgspec.Struct, frozen=True):
    """How to collect.

    Attributes:
        recipients: name and agent of each.
        until: what is enough.
        timeout: seconds after which it closes anyway, or None.
        deadline: the run's, or None.
        losers: whether those that are not needed any more are cancelled.
        hedge: seconds between one recipient's start and the next one's; None starts all at once.
    """

    recipients: tuple[tuple[str, Any], ...]
    until: Until
    timeout: float | None
    deadline: Deadline | None
    losers: Literal["cancel", "finish"]
    hedge: float | None


class Outcome(msgspec.Struct, frozen=True):
    """What came of one recipient: a reply or an error."""

    position: int
    reply: Any = None
    error: BaseException | None = None


class Collect(msgspec.Struct, frozen=True):
    """Ask everybody, in the context of this message."""

    prompt: Any


class Closed(msgspec.Struct, frozen=True):
    """Collecting is over: the outcomes so far in recipient order, and who has not answered."""

    closing: Closing
    outcomes: tuple[Outcome, ...]
    pending: tuple[int, ...]
    error: BaseException | None = None


class Late(msgspec.Struct, frozen=True):
    """A recipient answered after that."""

    outcome: Outcome


class Settled(msgspec.Struct, frozen=True):
    """Nobody is left who could answer."""


class _Arrived(msgspec.Struct, frozen=True):
    """A recipient's future has its answer."""

    position: int
    future: Future[Any]


class _TimeUp(msgspec.Struct, frozen=True):
    """Time to close."""

    reason: Literal["timeout", "deadline"]


class _StartNext(msgspec.Struct, frozen=True):
    """Time to ask one more."""


class Gather(Actor):
    """Asks the recipients, collects what comes, and tells its owner `Closed`, `Late`, `Settled`.

    Args:
        plan: how to collect.
        owner: whom to tell.
    """

    def __init__(self, plan: GatherPlan, owner: ActorRef[Any]) -> None:
        super().__init__()
        self._plan = plan
        self._boss = owner
        self._prompt: Any = None
        self._context: contextvars.Context | None = None
        self._outcomes: dict[int, Outcome] = {}
        # Invariant: the recipients that were asked and have not been heard of.
        self._waiting: dict[int, Future[Any]] = {}
        self._next = 0
        self._closed = False
        self._ended = False

    def on_receive(self, message: Any) -> None:
        """Ask, collect, close."""
        match message:
            case Collect(prompt):
                self._begin(prompt)
            case _Arrived(position, future):
                self._take(position, future)
            case _StartNext():
                self._start_next()
            case _TimeUp(reason):
                if not self._closed:
                    self._close(Closing(complete=False, reason=reason))
                if reason == "deadline":
                    self._cancel_waiting()
                self._settle()

    def on_stop(self) -> None:
        """Leave nobody working for nothing."""
        self._ended = True
        self._cancel_waiting()

    def on_failure(self, *_: Any) -> None:
        """Leave nobody working for nothing."""
        self._ended = True
        self._cancel_waiting()

    # -- asking ------------------------------------------------------------------------------

    def _begin(self, prompt: Any) -> None:
        plan = self._plan
        self._prompt = prompt
        # Recipients that are asked later are asked in this run's context, too.
        self._context = contextvars.copy_context()
        if plan.timeout is not None:
            self.timers.start("timeout", _TimeUp("timeout"), after=plan.timeout)
        left = plan.deadline.remaining() if plan.deadline is not None else None
        if left is not None:
            self.timers.start("deadline", _TimeUp("deadline"), after=left + GRACE)
        self._consider()
        if plan.hedge is not None:
            self._start_next()
            return
        while self._next < len(plan.recipients) and not self._closed:
            self._ask(self._next)

    def _start_next(self) -> None:
        plan = self._plan
        if self._closed or self._next >= len(plan.recipients):
            return
        if plan.hedge is not None and self._next + 1 < len(plan.recipients):
            self.timers.start("hedge", _StartNext(), after=plan.hedge)
        self._ask(self._next)

    def _ask(self, position: int) -> None:
        self._next = position + 1
        assert self._context is not None
        _, agent = self._plan.recipients[position]
        try:
            future: Future[Any] = self._context.run(agent.run, self._prompt)
        except Exception as error:  # noqa: BLE001 - the others are asked all the same
            self._note(Outcome(position, error=error))
            return
        self._waiting[position] = future
        me = self.actor_ref

        def arrived(answered: Future[Any]) -> None:
            if not self._ended:
                with contextlib.suppress(ActorDeadError):
                    me.tell(_Arrived(position, answered))

        future.add_done_callback(arrived)

    # -- collecting --------------------------------------------------------------------------

    def _take(self, position: int, future: Future[Any]) -> None:
        if self._waiting.pop(position, None) is None:
            return
        error = future.exception()
        reply = future.get() if error is None else None
        if isinstance(error, BudgetExceeded) and getattr(error, "reply", None) is not None:
            # It went past the cap and is paid for, so it counts.
            error, reply = None, getattr(error, "reply", None)
        if isinstance(reply, RunResult) and not reply.usable:
            error, reply = RunFailed(reply), None
        self._note(Outcome(position, reply, error))

    def _note(self, outcome: Outcome) -> None:
        if self._closed:
            self._boss.tell(Late(outcome))
            self._settle()
            return
        self._outcomes[outcome.position] = outcome
        self._consider()
        if outcome.error is not None and self._plan.hedge is not None:
            self._start_next()

    def _consider(self) -> None:
        """Close if there is enough."""
        plan = self._plan
        outcomes = self._in_order()
        valid = [o for o in outcomes if o.error is None]
        enough = False
        if isinstance(plan.until, When) and valid:
            replies = tuple(as_given(plan, outcome) for outcome in valid)
            try:
                enough = bool(plan.until.enough(replies))
            except Exception as error:  # noqa: BLE001 - a user's function
                self._close(Closing(complete=False, reason="condition_failed"), error)
                return
        end = closing(
            plan.until,
            len(plan.recipients),
            len(valid),
            len(outcomes) - len(valid),
            enough=enough,
        )
        if end is not None:
            self._close(end)

    def _in_order(self) -> tuple[Outcome, ...]:
        return tuple(self._outcomes[position] for position in sorted(self._outcomes))

    def _close(self, end: Closing, error: BaseException | None = None) -> None:
        self._closed = True
        self.timers.cancel("timeout")
        self.timers.cancel("hedge")
        total = range(len(self._plan.recipients))
        pending = tuple(i for i in total if i not in self._outcomes)
        self._boss.tell(Closed(end, self._in_order(), pending, error))
        if self._plan.losers == "cancel":
            self._cancel_waiting()
        self._settle()

    def _cancel_waiting(self) -> None:
        for future in list(self._waiting.values()):
            # One that was answered meanwhile is on its way here, and late; so are the cancelled.
            future.cancel()

    def _settle(self) -> None:
        if self._closed and not self._waiting:
            # It ends with the run; ended now, it would be heard of before what it just told.
            self._boss.tell(Settled())


def as_given(plan: GatherPlan, outcome: Outcome, *, late: bool = False) -> GivenReply:
    """Return an outcome without an error as what the user gets."""
    name, _ = plan.recipients[outcome.position]
    return GivenReply(
        recipient=name,
        position=outcome.position,
        text=outcome.reply.text,
        reply=outcome.reply,
        late=late,
    )
