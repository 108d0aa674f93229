"""Recovery: agents around agents that deal with failure. One of them owns the retries.

Failures have a kind: "transient" (unreachable, timed out, died), "rate_limited", "invalid_output"
and "fatal" (refused, a bug: it will not pass). Cancellation, a deadline that has passed and an
exhausted budget are none of these and are never retried.
"""

from __future__ import annotations

import random
import threading
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, ClassVar

from actors import ActorSystem, Backoff, InvalidOption
from patterns import _breaker
from patterns._drawing import Drawing, Ends
from patterns._failures import Kind, describe, kind_of, retry_after
from patterns._results import Attempt, RecoveryResult, RunFailed, RunResult, output_of
from patterns._run import Pattern, as_slot
from patterns._work import Run

__all__ = ["CircuitBreaker", "Degrade", "Fallback", "Retry"]

RETRIED: frozenset[str] = frozenset({"transient", "rate_limited", "invalid_output"})
PASSED_ON: frozenset[str] = RETRIED | {"fatal"}
BACKOFF = Backoff(min=0.5, max=30.0)


class _Tries:
    """The attempts of one run."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    async def one(self, work: Run, agent: Any, prompt: Any, waited: float = 0.0) -> Any:
        """Ask an agent; note the attempt, and raise what it raised."""
        try:
            reply = await work.ask(agent, prompt)
        except Exception as error:
            facts = {"agent": agent.name, "kind": kind_of(error), "error": describe(error)}
            self.attempts.append(Attempt(waited=waited, **facts))
            work.record("attempt", number=len(self.attempts), waited=waited, **facts)
            raise
        self.attempts.append(Attempt(agent=agent.name, waited=waited))
        work.record("attempt", number=len(self.attempts), waited=waited, agent=agent.name)
        return reply


class _Recovery(Pattern[RecoveryResult]):
    """What the recovery patterns have in common."""

    result_type: ClassVar[type[RunResult]] = RecoveryResult

    async def conduct(self, work: Run, given: Any) -> RecoveryResult:
        """Ask, and recover."""
        tries = _Tries()
        try:
            reply = await self._recover(work, given, tries)
        except Exception as error:  # noqa: BLE001 - the attempts belong into the result
            status, reason = work.ending(error)
            nested = error.result if isinstance(error, RunFailed) else None
            return work.result(
                RecoveryResult,
                output=nested.output if nested is not None else None,
                status=status,
                reason=reason,
                error=describe(error),
                attempts=tuple(tries.attempts),
                retry_after=retry_after(error),
                reply=nested,
            )
        nested = reply if isinstance(reply, RunResult) else None
        return work.result(
            RecoveryResult,
            output=output_of(reply),
            text=reply.text,
            status=nested.status if nested is not None else "done",
            reason=nested.reason if nested is not None else "answered",
            degraded=self._is_degraded(tries),
            attempts=tuple(tries.attempts),
            answered_by=tries.attempts[-1].agent,
            reply=reply,
        )

    def _is_degraded(self, _tries: _Tries) -> bool:
        return False

    @abstractmethod
    async def _recover(self, work: Run, prompt: Any, tries: _Tries) -> Any:
        """Return a reply, or raise what there is no recovery from."""


class Retry(_Recovery):
    """Asks again after a failure that may pass.

    Args:
        agent: whom to ask.
        attempts: how often to ask at most, the first time included.
        backoff: growing delays between attempts. A longer time the other side asked for
            (Retry-After) is waited instead.
        on: the kinds of failure that are retried.
        max_wait: longest single wait in seconds; asked to wait longer, it gives up. It also gives
            up where the wait would outlast the deadline.
        name: for the tree, traces and records.
        system: the system to run in.

    Raises:
        InvalidOption: an option makes no sense.
    """

    def __init__(
        self,
        agent: Any,
        attempts: int = 3,
        *,
        backoff: Backoff = BACKOFF,
        on: Collection[Kind] = ("transient", "rate_limited", "invalid_output"),
        max_wait: float = 60.0,
        name: str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        super().__init__(name, system)
        if type(attempts) is not int or attempts < 1:
            raise InvalidOption("attempts", attempts, "a whole number, at least 1")
        if not isinstance(backoff, Backoff):
            raise InvalidOption("backoff", backoff, "a Backoff")
        if not _is_number(max_wait) or not max_wait >= 0:
            raise InvalidOption("max_wait", max_wait, "seconds, 0 or more")
        self._on = _kinds(on, RETRIED)
        self._agent = as_slot(agent)
        self._attempts = attempts
        self._backoff = backoff
        self._max_wait = max_wait

    async def _recover(self, work: Run, prompt: Any, tries: _Tries) -> Any:
        waited = 0.0
        for number in range(1, self._attempts + 1):
            try:
                return await tries.one(work, self._agent, prompt, waited)
            except Exception as error:
                kind = kind_of(error)
                if number == self._attempts or kind not in self._on:
                    raise
                jitter = random.random()  # noqa: S311 - not a secret
                wait = max(self._backoff.delay(number - 1, jitter), retry_after(error) or 0.0)
                left = work.seconds_left()
                if wait > self._max_wait or (left is not None and wait >= left):
                    work.record("give_up", kind=kind, wait=wait, seconds_left=left)
                    raise
                work.record("retry", agent=self._agent.name, kind=kind, wait=wait)
            await work.pause(wait)
            waited = wait
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the agent with a loop around it."""
        with drawing.group(f"{self.name} (at most {self._attempts} times)"):
            first, last = drawing.place(self._agent)
            drawing.arrow(last, first, "again", dotted=True)
        return first, last


class Fallback(_Recovery):
    """Asks one agent after the other until one answers.

    Args:
        agents: in the order in which they are asked.
        on: the kinds of failure after which the next is asked.
        name: for the tree, traces and records.
        system: the system to run in.

    Raises:
        InvalidOption: an option makes no sense.
    """

    def __init__(
        self,
        agents: Sequence[Any],
        *,
        on: Collection[Kind] = ("transient", "rate_limited", "invalid_output", "fatal"),
        name: str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        super().__init__(name, system)
        if isinstance(agents, str) or not isinstance(agents, Iterable) or not agents:
            raise InvalidOption("agents", agents, "a list of at least one agent")
        self._on = _kinds(on, PASSED_ON)
        self._agents = tuple(as_slot(agent) for agent in agents)

    async def _recover(self, work: Run, prompt: Any, tries: _Tries) -> Any:
        for agent, after in zip(self._agents, (*self._agents[1:], None), strict=True):
            try:
                return await tries.one(work, agent, prompt)
            except Exception as error:
                kind = kind_of(error)
                if after is None or kind not in self._on:
                    raise
                work.record(
                    "fallback", agent=agent.name, to=after.name, kind=kind, error=describe(error)
                )
        raise AssertionError  # pragma: no cover - the last agent returns or raises

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the agents in the order they are asked."""
        with drawing.group(self.name):
            ends = [drawing.place(agent) for agent in self._agents]
            for (_, last), (first, _) in pairwise(ends):
                drawing.arrow(last, first, "if it fails", dotted=True)
        return ends[0][0], ends[0][1]


class Degrade(_Recovery):
    """Asks a lesser agent where the wanted one fails or cannot be paid; marks the reply so.

    Args:
        agent: the wanted one.
        to: the lesser one.
        below_usd: ask the lesser one at once while less than this is free in the run's budget.
        on: the kinds of failure after which the lesser one is asked.
        name: for the tree, traces and records.
        system: the system to run in.

    Raises:
        InvalidOption: an option makes no sense.
    """

    def __init__(
        self,
        agent: Any,
        to: Any,
        *,
        below_usd: float | Decimal | None = None,
        on: Collection[Kind] = ("transient", "rate_limited", "invalid_output", "fatal", "budget"),
        name: str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        super().__init__(name, system)
        if below_usd is not None and not (
            (_is_number(below_usd) or isinstance(below_usd, Decimal)) and below_usd >= 0
        ):
            raise InvalidOption("below_usd", below_usd, "an amount of USD, 0 or more")
        self._on = _kinds(on, PASSED_ON | {"budget"})
        self._agent = as_slot(agent)
        self._lesser = as_slot(to)
        self._below_usd = below_usd

    async def _recover(self, work: Run, prompt: Any, tries: _Tries) -> Any:
        facts: dict[str, Any] = {"agent": self._agent.name, "to": self._lesser.name}
        if await self._is_short(work):
            work.record("degrade", reason="low_budget", **facts)
        else:
            try:
                return await tries.one(work, self._agent, prompt)
            except Exception as error:
                kind = kind_of(error)
                if kind not in self._on:
                    raise
                work.record("degrade", reason=kind, error=describe(error), **facts)
        return await tries.one(work, self._lesser, prompt)

    async def _is_short(self, work: Run) -> bool:
        budget = work.context.budget
        if budget is None or self._below_usd is None:
            return False
        free = (await budget.snapshot()).free_usd
        return free is not None and free < self._below_usd

    def _is_degraded(self, tries: _Tries) -> bool:
        return tries.attempts[-1].agent == self._lesser.name

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw both agents."""
        with drawing.group(self.name):
            ends = drawing.place(self._agent)
            lesser, _ = drawing.place(self._lesser)
            drawing.arrow(ends[1], lesser, "degrade", dotted=True)
        return ends


class CircuitBreaker(_Recovery):
    """Stops asking an agent that keeps failing, and tries it again after a while.

    While the circuit is open, runs fail at once with the reason "circuit_open". It is shared by
    all runs of this object.

    Args:
        agent: whom to ask.
        failures: how many in a row open the circuit.
        reset_after: seconds until one run is let through to try; it closes or reopens it.
        on: the kinds of failure that count. Others neither open nor close the circuit.
        name: for the tree, traces and records.
        system: the system to run in.

    Raises:
        InvalidOption: an option makes no sense.
    """

    def __init__(
        self,
        agent: Any,
        *,
        failures: int = 5,
        reset_after: float = 30.0,
        on: Collection[Kind] = ("transient", "rate_limited"),
        name: str | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        super().__init__(name, system)
        if type(failures) is not int or failures < 1:
            raise InvalidOption("failures", failures, "a whole number, at least 1")
        if not _is_number(reset_after) or not reset_after > 0:
            raise InvalidOption("reset_after", reset_after, "seconds above zero")
        self._on = _kinds(on, PASSED_ON)
        self._agent = as_slot(agent)
        self._failures = failures
        self._reset_after = reset_after
        # Invariant: read and replaced under _lock; runs may be on the loops of several systems.
        self._lock = threading.Lock()
        self._circuit = _breaker.Circuit()

    @property
    def state(self) -> str:
        """How the circuit stands: "closed", "open" or "half_open"."""
        return self._circuit.state

    async def conduct(self, work: Run, given: Any) -> RecoveryResult:
        """Ask, if the circuit allows it."""
        with self._lock:
            self._circuit, wait = _breaker.admit(self._circuit, work.now(), self._reset_after)
        if wait is not None:
            return work.result(
                RecoveryResult, status="failed", reason="circuit_open", retry_after=wait
            )
        return await super().conduct(work, given)

    async def _recover(self, work: Run, prompt: Any, tries: _Tries) -> Any:
        before = self._circuit.state
        change: Callable[[_breaker.Circuit], _breaker.Circuit] = _breaker.after_unknown
        try:
            reply = await tries.one(work, self._agent, prompt)
            change = _succeeded
        except Exception as error:
            if kind_of(error) in self._on:
                now = work.now()
                change = lambda c: _breaker.after_failure(c, now, self._failures)  # noqa: E731
            raise
        else:
            return reply
        finally:
            with self._lock:
                self._circuit = change(self._circuit)
                after = self._circuit.state
            if after != before:
                work.record("circuit", agent=self._agent.name, before=before, after=after)

    def draw_on(self, drawing: Drawing) -> Ends:
        """Draw the agent behind its breaker."""
        with drawing.group(self.name):
            gate = drawing.box("circuit closed?", "choice")
            first, last = drawing.place(self._agent)
            drawing.arrow(gate, first)
        return gate, last


def _succeeded(_: _breaker.Circuit) -> _breaker.Circuit:
    return _breaker.after_success()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _kinds(given: Collection[str], possible: Collection[str]) -> frozenset[str]:
    """Check kinds of failure.

    Raises:
        InvalidOption: one of them cannot be recovered from here.
    """
    if (
        isinstance(given, str)
        or not isinstance(given, Iterable)
        or not all(kind in tuple(possible) for kind in given)
    ):
        raise InvalidOption("on", given, f"kinds among {', '.join(sorted(possible))}")
    return frozenset(given)
